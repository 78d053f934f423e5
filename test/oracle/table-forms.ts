/**
 * Encodings of our own instruction table, in all modes: for each form that a user program may execute, bytes with random
 * registers, addresses and immediates. What iced-forms.ts makes from another table, this makes from ours, so that a form that only
 * our table has is tried too.
 */
import type { Definition } from '../../src/cpu/isa/definition.ts';
import { FORMS, type Form } from '../../src/cpu/isa/forms.ts';
import { sizeOf } from '../../src/cpu/isa/operand-size.ts';
import { codePlace, type Encoding, type InstructionForm } from './forms.ts';
import { EXCLUDED } from './iced-forms.ts';
import type { Mode } from './machine-case.ts';
import type { Random } from './random.ts';

const ESCAPES = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const MANDATORY: Record<string, number> = { '66': 0x66, F3: 0xf3, F2: 0xf2 };
const RSP = 4;
const RBX = 3;
/** ModRM.rm of [bx] in 16-bit addresses. */
const BX_IN_16 = 7;

function immediateBytes(definition: Definition, size: number, random: Random): number[] {
  return definition.operands
    .filter(operand => operand.kind === 'I' || operand.kind === 'Y')
    .flatMap(operand => {
      const length = operand.kind === 'Y' ? 1 : sizeOf(operand.size, size);
      return Array.from({ length }, () => random.below(256));
    });
}

const VEX_PREFIXES = ['NP', '66', 'F3', 'F2'];
/** The three bytes of VEX; R, X, B and vvvv are inverted. Outside 64-bit mode there are eight registers. */
function vexPrefix({ definition, size }: Form, mode: Mode, rex: number, random: Random): number[] {
  const vex = definition.vex!;
  const w = vex.w >= 0 ? vex.w : size === 8 ? 1 : random.below(2) & (dependsOnW(definition) ? 0 : 1);
  const usesVvvv = definition.operands.some(operand => operand.kind === 'H' || operand.kind === 'B');
  let vvvv = usesVvvv ? random.below(mode === 64 ? 16 : 8) : 0;
  if (vvvv === RSP) vvvv = RBX;
  const l = vex.length === 32 || (vex.length === 0 && random.oneIn(2)) ? 4 : 0;
  return [
    0xc4,
    ((~(mode === 64 ? rex : 0) & 7) << 5) | definition.map,
    (w << 7) | ((~vvvv & 15) << 3) | l | VEX_PREFIXES.indexOf(definition.prefix),
  ];
}
const dependsOnW = (definition: Definition): boolean =>
  definition.operands.some(operand => operand.size === 'y') || definition.options.sized === true;
/** Does the operand size matter to it? */
const isScalable = ({ operands, options }: Definition): boolean =>
  operands.some(operand => typeof operand.size === 'string') ||
  options.sized === true ||
  options.size !== undefined;

function legacyPrefixes(form: Form, mode: Mode, rex: number): number[] {
  const { definition, size, memory } = form;
  const bytes: number[] = [];
  if (form.lock && definition.options.lock !== 'always') bytes.push(0xf0);
  if (form.rep !== 0) bytes.push(form.rep === 1 ? 0xf3 : 0xf2);
  const isUnusual = mode === 16 ? size === 4 : size === 2;
  const takesPrefix = definition.prefix !== 'NP' && definition.prefix !== '66';
  if (isUnusual && takesPrefix && isScalable(definition)) bytes.push(0x66);
  const mandatory = MANDATORY[definition.prefix];
  if (mandatory !== undefined) bytes.push(mandatory);
  if (mode === 64) bytes.push(0x40 | (memory ? rex & 0xc : rex));
  bytes.push(...(ESCAPES[definition.map] as number[]));
  return bytes;
}

function encode(form: Form, mode: Mode, random: Random): Uint8Array {
  const { definition, size } = form;
  const { options } = definition;
  const rex = random.below(8) | (size === 8 && options.size !== 'd64' ? 8 : 0);
  const bytes: number[] = definition.vex ? vexPrefix(form, mode, form.memory ? rex & 4 : rex, random) : [];
  if (!definition.vex) bytes.push(...legacyPrefixes(form, mode, rex));
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
    const base = mode === 16 ? BX_IN_16 : RBX;
    bytes.push(usesMemory ? 0x40 | (reg << 3) | base : 0xc0 | (reg << 3) | register());
    if (usesMemory) bytes.push(random.below(64));
  }
  return Uint8Array.from([...bytes, ...immediateBytes(definition, size, random)]);
}

/** The modes in which the decoder may choose this form. */
function modesOf(form: Form): Mode[] {
  const { mode, modal, addressSized } = form.definition.options;
  const modes: Mode[] = [];
  if (form.mode64 && form.addressSize === 8 && !mode?.endsWith('o64')) modes.push(64);
  const isLegacy = modal ? !form.mode64 : form.mode64;
  if (!isLegacy || mode === 'only64' || (isScalable(form.definition) && form.size === 8)) return modes;
  if (!addressSized || form.addressSize === 4) modes.push(32);
  if (!addressSized || form.addressSize === 2) modes.push(16);
  return modes;
}

/** Absolute addresses and vectors of indices are left to the other table; segment and control registers to no user. */
const OTHER_OPERANDS = 'OKSCD';

/** The forms of these entries, one `InstructionForm` each, but for those that no host can serve (EXCLUDED). */
export function tableForms(definitions: readonly Definition[]): InstructionForm[] {
  const wanted = new Set(
    definitions.filter(
      ({ name, operands }) =>
        !EXCLUDED.some(([pattern]) => pattern.test(name)) &&
        !/^(ins|outs)$/.test(name) &&
        !operands.some(operand => OTHER_OPERANDS.includes(operand.kind)),
    ),
  );
  return FORMS.filter(form => wanted.has(form.definition))
    .map(form => ({ form, modes: modesOf(form) }))
    .filter(({ modes }) => modes.length > 0)
    .map(({ form, modes }) => ({
      name: [
        form.lock ? 'lock ' : '',
        form.rep === 0 ? '' : `rep${form.rep} `,
        `${form.definition.name} ${form.definition.encoding} ${form.size * 8}`,
        form.memory ? ' memory' : '',
        form.mode64 ? '' : ` legacy ${form.addressSize * 8}`,
      ].join(''),
      mnemonic: form.definition.name,
      modes,
      hostFeatures: [],
      generate: (random, mode): Encoding => ({
        code: encode(form, mode, random),
        rip: codePlace(random, mode),
      }),
    }));
}
