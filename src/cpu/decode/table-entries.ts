/**
 * Entries of the decoder as the instruction table has them. In the bundle of the command they come from a file that was made of
 * the table before (scripts/build/decoder-table.ts), and the table is not made.
 */
import { type Definition, type OperandSpec, writesMemory } from '../isa/definition.ts';
import { variantsOf } from '../isa/forms.ts';
import { sizeOf } from '../isa/operand-size.ts';
import { TABLE } from '../isa/table.ts';
import { Vcpu } from '../vcpu/layout.ts';
import {
  type Entry,
  Field,
  formsOf,
  type ImmediateStep,
  Prefix,
  type RegisterPlace,
  RegRule,
  RmRule,
  SizeRule,
  Unit,
  VEX_MAPS,
  World,
} from './entry.ts';

const V = Vcpu.offsets;

function entryOf(definition: Definition, number: number): Entry {
  const { operands, options, rm, hasModrm, vex } = definition;
  const variants = variantsOf(definition).toSorted(([a], [b]) => a - b);
  const has = (kinds: string) => operands.some(({ kind }) => kinds.includes(kind));
  // A control register's MOV has a register in ModRM.rm whatever mod says.
  const isFree = !hasModrm || rm === 'any' || (rm === 'register' && !vex && has('CD'));
  return {
    number,
    opcode: definition.opcode,
    prefix: Prefix[definition.prefix],
    hasModrm,
    modrm: definition.modrm,
    digit: definition.digit,
    only: definition.only,
    rmRule: isFree ? RmRule.any : rm === 'memory' ? RmRule.memory : RmRule.register,
    ignoresMod: rm === 'register' && !vex,
    worlds: worldsOf(options.mode),
    plusRegister: definition.plusRegister,
    vexLength: vex?.length ?? 0,
    vexW: vex?.w ?? -1,
    isVex: vex !== undefined,
    sizeRule:
      options.size === 'f64'
        ? SizeRule.forced64
        : options.size === 'd64'
          ? SizeRule.default64
          : SizeRule.plain,
    regRule: regRuleOf(operands),
    allowsLock: Boolean(options.lock),
    immediates: operands.flatMap(immediateStep),
    isGathered: has('K'),
    usesVvvv: has('HB'),
    forms: formsOf(variants),
    ownForms: variants.map(([, form]) => form),
    registers: operands.flatMap(registerPlace),
    ends: options.ends === true,
    unit: Unit[options.unit ?? 'none'],
    mayUseMemory: has('EMWQO'),
    onlyMemory: has('MO'),
    hasOffset: has('O'),
    isJump: has('J'),
    hasTwoImmediates: operands.filter(({ kind }) => kind === 'I').length > 1,
    isScalable:
      operands.some(({ size }) => typeof size === 'string') ||
      options.sized === true ||
      options.size !== undefined,
    hasRep: options.rep === true,
    isAddressSized: options.addressSized === true,
    isModal: options.modal === true,
    isAlwaysLocked: options.lock === 'always',
    noAccess: options.noAccess === true,
    isBitString: options.bitString === true,
    elements: options.elements ?? 0,
    isPop: definition.name === 'pop',
    hasGeneralVvvv: has('B'),
    writesMemory: writesMemory(definition),
    memoryOperand: operands.find(({ kind }) => 'EMWQO'.includes(kind)),
  };
}

function worldsOf(mode: Definition['options']['mode']): number {
  switch (mode) {
    case 'only64':
      return World.long;
    case 'no64':
      return World.protected | World.real;
    case 'protected':
      return World.long | World.protected;
    case 'protectedNo64':
      return World.protected;
    default:
      return World.long | World.protected | World.real;
  }
}

function regRuleOf(operands: readonly OperandSpec[]): number {
  const at = operands.findIndex(({ kind }) => 'SCD'.includes(kind));
  const kind = operands[at]?.kind;
  if (kind === 'C') return RegRule.control;
  if (kind === 'D') return RegRule.debug;
  if (kind === 'S') return at === 0 ? RegRule.loadedSegment : RegRule.segment;
  return RegRule.any;
}

function immediateStep({ kind, size }: OperandSpec): ImmediateStep[] {
  if (kind === 'O' || kind === 'A') return [{ kind, bytes: [0, 0, 0] }];
  if (kind === 'Y') return [{ kind, bytes: [1, 1, 1] }];
  if (kind !== 'I' && kind !== 'J') return [];
  return [{ kind: 'I', bytes: [sizeOf(size, 2), sizeOf(size, 4), sizeOf(size, 8)] }];
}

/** What VEX adds has a place of its own, where others have a second immediate. */
function registerPlace({ kind, size }: OperandSpec): RegisterPlace[] {
  const place = (field: number, mask: number, base: number, stride: number): RegisterPlace[] => [
    {
      isRm: 'ERWUQNTZK'.includes(kind),
      mayBeMemory: 'ERWUQNT'.includes(kind),
      field,
      mask,
      base,
      stride,
      isByte: 'GERZ'.includes(kind) && size === 1,
    },
  ];
  switch (kind) {
    case 'G':
      return place(Field.reg, 15, V.gpr, 8);
    case 'E':
    case 'R':
      return place(Field.rm, 15, V.gpr, 8);
    case 'Z':
      return place(Field.opcode, 15, V.gpr, 8);
    case 'S':
      return place(Field.reg, 7, 0, 1);
    case 'C':
    case 'D':
      return place(Field.reg, 15, 0, 1);
    case 'T':
      return place(Field.rm, 7, 0, 1);
    case 'V':
      return place(Field.reg, 15, V.ymm, 32);
    case 'W':
    case 'U':
      return place(Field.rm, 15, V.ymm, 32);
    case 'K':
      return place(Field.index, 15, V.ymm, 32);
    case 'P':
      return place(Field.reg, 7, V.fpr, 16);
    case 'Q':
    case 'N':
      return place(Field.rm, 7, V.fpr, 16);
    default:
      return [];
  }
}

const DEFINITIONS: number[][] = Array.from({ length: 2 * VEX_MAPS * 256 }, () => []);
for (const [number, definition] of TABLE.entries()) {
  const map = definition.map + (definition.vex ? VEX_MAPS : 0);
  for (let i = 0; i < (definition.plusRegister ? 8 : 1); i++) {
    (DEFINITIONS[map * 256 + definition.opcode + i] as number[]).push(number);
  }
}
const particular = (d: Definition): number =>
  (d.modrm >= 0 ? 4 : 0) + (d.prefix !== 'any' ? 2 : 0) + (d.digit >= 0 ? 1 : 0);

/** Of all that an opcode byte of a map may be, most particular first: their numbers in the table. */
export function numbersAt(map: number, opcode: number): readonly number[] {
  const rank = (number: number) => particular(TABLE[number] as Definition);
  return (DEFINITIONS[map * 256 + opcode] as number[]).toSorted((a, b) => rank(b) - rank(a));
}
export const entryAt = (number: number): Entry => entryOf(TABLE[number] as Definition, number);
