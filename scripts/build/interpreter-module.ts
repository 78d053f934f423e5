/** Generates dist/interpreter.wasm and dist/rare-forms.wasm from the instruction table. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { generateInterpreter } from '../../src/cpu/interpreter/generate.ts';
import { generateRareForms } from '../../src/cpu/interpreter/rare-forms.ts';
import { writeAnew } from './write-anew.ts';

export function buildInterpreterModules(): void {
  mkdirSync('dist', { recursive: true });
  const rareForms = generateRareForms();
  writeAnew('dist/rare-forms.wasm', rareForms);
  writeFileSync('dist/interpreter.wasm', generateInterpreter(rareForms));
}
