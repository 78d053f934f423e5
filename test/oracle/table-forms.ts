/**
 * Encodings of our own instruction table, in 64-bit mode: for each form that a user program may execute, bytes with random
 * registers, addresses and immediates. What iced-forms.ts makes from another table, this makes from ours, so that a form that only
 * our table has is tried too.
 */
import { type Definition, sizeOf } from '../../src/cpu/isa/definition.ts';
import { FORMS, type Form } from '../../src/cpu/isa/forms.ts';
import { codePlace, type Encoding, type InstructionForm } from './forms.ts';
import type { Random } from './random.ts';

const ESCAPES = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const MANDATORY: Record<string, number> = { '66': 0x66, F3: 0xf3, F2: 0xf2 };
const RSP = 4;
const RBX = 3;

function immediateBytes(definition: Definition, size: number, random: Random): number[] {
  return definition.operands
    .filter(operand => operand.kind === 'I' || operand.kind === 'Y')
    .flatMap(operand => {
      const length = operand.kind === 'Y' ? 1 : sizeOf(operand.size, size);
      return Array.from({ length }, () => random.below(256));
    });
}

const VEX_PREFIXES = ['NP', '66', 'F3', 'F2'];
/** The three bytes of VEX; R, X, B and vvvv are inverted. */
function vexPrefix({ definition, size }: Form, rex: number, random: Random): number[] {
  const vex = definition.vex!;
  const w = vex.w >= 0 ? vex.w : size === 8 ? 1 : random.below(2) & (scalable(definition) ? 0 : 1);
  const usesVvvv = definition.operands.some(operand => operand.kind === 'H' || operand.kind === 'B');
  let vvvv = usesVvvv ? random.below(16) : 0;
  if (vvvv === RSP) vvvv = RBX;
  const l = vex.length === 32 || (vex.length === 0 && random.oneIn(2)) ? 4 : 0;
  return [
    0xc4,
    ((~rex & 7) << 5) | definition.map,
    (w << 7) | ((~vvvv & 15) << 3) | l | VEX_PREFIXES.indexOf(definition.prefix),
  ];
}
const scalable = (definition: Definition): boolean =>
  definition.operands.some(operand => operand.size === 'y') || definition.options.sized === true;

function legacyPrefixes({ definition, size, memory, lock }: Form, rex: number): number[] {
  const bytes: number[] = [];
  if (lock && definition.options.lock !== 'always') bytes.push(0xf0);
  if (size === 2 && definition.prefix === 'any') bytes.push(0x66);
  const mandatory = MANDATORY[definition.prefix];
  if (mandatory !== undefined) bytes.push(mandatory);
  bytes.push(0x40 | (memory ? rex & 0xc : rex));
  bytes.push(...(ESCAPES[definition.map] as number[]));
  return bytes;
}

function encode(form: Form, random: Random): Uint8Array {
  const { definition, size } = form;
  const { options } = definition;
  const rex = random.below(8) | (size === 8 && options.size !== 'd64' ? 8 : 0);
  const bytes: number[] = definition.vex ? vexPrefix(form, form.memory ? rex & 4 : rex, random) : [];
  if (!definition.vex) bytes.push(...legacyPrefixes(form, rex));
  // A memory operand is [rbx + disp8], which the cases point into the window; registers are any but the stack pointer.
  const usesMemory = form.memory;
  const register = () => {
    const number = random.below(8);
    return number === RSP ? RBX : number;
  };
  bytes.push(definition.opcode + (definition.plusRegister ? register() : 0));
  if (definition.modrm >= 0) bytes.push(definition.modrm);
  else if (definition.hasModrm) {
    const reg = definition.digit >= 0 ? definition.digit : register();
    bytes.push(usesMemory ? 0x40 | (reg << 3) | RBX : 0xc0 | (reg << 3) | register());
    if (usesMemory) bytes.push(random.below(64));
  }
  return Uint8Array.from([...bytes, ...immediateBytes(definition, size, random)]);
}

/** The forms of these entries, one `InstructionForm` each. */
export function tableForms(definitions: readonly Definition[]): InstructionForm[] {
  const wanted = new Set(definitions);
  return (
    FORMS.filter(form => wanted.has(form.definition) && form.mode64 && form.rep === 0)
      .filter(form => form.addressSize === 8 && !form.definition.options.mode?.endsWith('o64'))
      // Absolute addresses, and vectors of indices, are left to the other table.
      .filter(form => !form.definition.operands.some(operand => operand.kind === 'O' || operand.kind === 'K'))
      .map(form => ({
        name: `${form.lock ? 'lock ' : ''}${form.definition.name} ${form.definition.encoding} ${form.size * 8}${form.memory ? ' memory' : ''}`,
        mnemonic: form.definition.name,
        modes: [64],
        hostFeatures: [],
        generate: (random): Encoding => ({ code: encode(form, random), rip: codePlace(random, 64) }),
      }))
  );
}
