/**
 * Layout constants for the runtime module: AssemblyScript cannot import the structure descriptions, so their
 * offsets, sizes and the numbers beside them are written out as plain constants.
 *
 *     struct Vcpu { cr3 }      ->  export const VCPU_cr3: usize = 408;  and  VCPU_BYTES
 *     const TLB_ENTRIES        ->  export const TLB_ENTRIES: i32 = 1024;
 *     const Mode = { code64 }  ->  export const MODE_code64: i32 = 2;
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as mode from '../../src/cpu/decode/mode.ts';
import * as record from '../../src/cpu/decode/record.ts';
import { Pseudo } from '../../src/cpu/interpreter/pseudo.ts';
import { FIRST_REGION } from '../../src/cpu/isa/forms.ts';
import * as translator from '../../src/cpu/translator/layout.ts';
import * as exit from '../../src/cpu/vcpu/exit.ts';
import * as layout from '../../src/cpu/vcpu/layout.ts';
import * as frames from '../../src/machine/frames.ts';
import * as header from '../../src/machine/header.ts';
import * as memory from '../../src/machine/memory.ts';

const OUTPUT = 'src/cpu/runtime/assembly/generated/layout.ts';

/** `TlbEntry` -> `TLB_ENTRY`. */
const constantCase = (name: string) => name.replace(/[a-z](?=[A-Z])/g, letter => `${letter}_`).toUpperCase();

function constant(name: string, value: number | bigint): string {
  if (typeof value === 'bigint') return `export const ${name}: u64 = 0x${value.toString(16)};`;
  return `export const ${name}: ${value > 0x7fffffff ? 'i64' : 'i32'} = ${value};`;
}

function lines(name: string, value: unknown): string[] {
  if (typeof value === 'number' || typeof value === 'bigint') return [constant(name, value)];
  if (typeof value !== 'object' || value === null) return [];
  const prefix = constantCase(name);
  if ('offsets' in value && 'size' in value) {
    const fields = Object.entries(value.offsets as Record<string, number>);
    return [
      ...fields.map(([field, offset]) => `export const ${prefix}_${field}: usize = ${offset};`),
      `export const ${prefix}_BYTES: usize = ${value.size};`,
    ];
  }
  return Object.entries(value).flatMap(([key, member]) =>
    typeof member === 'number' || typeof member === 'bigint' ? [constant(`${prefix}_${key}`, member)] : [],
  );
}

export function writeLayoutConstants(): void {
  const modules: Record<string, unknown>[] = [
    layout,
    mode,
    exit,
    record,
    { Pseudo, FIRST_REGION },
    translator,
    frames,
    header,
    memory,
  ];
  const text = [
    '// Written by scripts/build.ts from the structure descriptions.',
    ...modules.flatMap(module => Object.entries(module).flatMap(([name, value]) => lines(name, value))),
    '',
  ].join('\n');
  if (existsSync(OUTPUT) && readFileSync(OUTPUT, 'utf8') === text) return;
  mkdirSync(path.dirname(OUTPUT), { recursive: true });
  writeFileSync(OUTPUT, text);
}
