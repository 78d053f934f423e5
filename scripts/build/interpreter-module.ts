/** Generates dist/interpreter.wasm from the instruction table. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { generateInterpreter } from '../../src/cpu/interpreter/generate.ts';

export function buildInterpreterModule(): void {
  mkdirSync('dist', { recursive: true });
  writeFileSync('dist/interpreter.wasm', generateInterpreter());
}
