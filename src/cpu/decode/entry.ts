/**
 * What the decoder needs to know of a definition, as plain numbers that are the same fields for all of them: an instruction is then
 * decoded without looking at a string or making an object. Entries are made when an opcode is met first.
 */
import { type Definition, type OperandSpec, sizeOf, writesMemory } from '../isa/definition.ts';
import { formIndex } from '../isa/forms.ts';
import { TABLE } from '../isa/table.ts';
import { Vcpu } from '../vcpu/layout.ts';

const V = Vcpu.offsets;

/** Kinds of processor mode, as bits of `Entry.worlds`. */
export const World = { long: 1, protected: 2, real: 4 } as const;

/** What must come before the opcode; of VEX entries, what the prefix must stand for. */
export const Prefix = { any: 0, NP: 1, NFx: 2, '66': 3, F3: 4, F2: 5 } as const;

/** What ModRM.mod may be. */
export const RmRule = { any: 0, memory: 1, register: 2 } as const;

/** Which registers ModRM.reg may name: not all segment, control and debug registers exist, and CS cannot be loaded. */
export const RegRule = { any: 0, segment: 1, loadedSegment: 2, control: 3, debug: 4 } as const;

export const SizeRule = { plain: 0, default64: 1, forced64: 2 } as const;

export const Unit = { none: 0, x87: 1, mmx: 2, sse: 3, avx: 4 } as const;

/** Where the number of a register operand is. */
export const Field = { reg: 0, rm: 1, opcode: 2, index: 3 } as const;

/** An immediate operand, or what is encoded like one. */
export interface ImmediateStep {
  readonly kind: 'O' | 'A' | 'Y' | 'I';
  /** Its bytes for operand sizes 2, 4 and 8. */
  readonly bytes: readonly [number, number, number];
}

/** A register operand: how its place in a record comes from its number. */
export interface RegisterPlace {
  /** It goes to the record's `rm`, otherwise to `reg`. */
  readonly isRm: boolean;
  /** ModRM.rm, which may be in memory instead. */
  readonly mayBeMemory: boolean;
  /** A value of `Field`. */
  readonly field: number;
  readonly mask: number;
  readonly base: number;
  readonly stride: number;
  /** A byte register: without REX, numbers 4 to 7 are AH to BH. */
  readonly isByte: boolean;
}

export class Entry {
  readonly definition: Definition;
  readonly prefix: number;
  readonly hasModrm: boolean;
  readonly modrm: number;
  readonly digit: number;
  readonly only: number;
  readonly rmRule: number;
  /** MOV to and from control and debug registers ignores ModRM.mod. */
  readonly ignoresMod: boolean;
  readonly worlds: number;
  readonly plusRegister: boolean;
  /** VEX.L and VEX.W: 0 and -1 where they do not matter. */
  readonly vexLength: number;
  readonly vexW: number;
  readonly isVex: boolean;

  readonly sizeRule: number;
  readonly regRule: number;
  readonly allowsLock: boolean;
  readonly immediates: readonly ImmediateStep[];
  /** The memory operand has a vector of indices. */
  readonly isGathered: boolean;
  readonly usesVvvv: boolean;

  /** Form by variant: see isa/forms.ts. */
  readonly forms: Uint16Array;
  readonly registers: readonly RegisterPlace[];
  readonly ends: boolean;
  readonly unit: number;
  readonly mayUseMemory: boolean;
  readonly onlyMemory: boolean;
  /** The memory operand is an offset without ModRM. */
  readonly hasOffset: boolean;
  readonly isJump: boolean;
  readonly hasTwoImmediates: boolean;
  readonly isScalable: boolean;
  readonly hasRep: boolean;
  readonly isAddressSized: boolean;
  readonly isModal: boolean;
  readonly isAlwaysLocked: boolean;
  readonly noAccess: boolean;
  readonly isBitString: boolean;
  readonly elements: number;
  readonly isPop: boolean;
  /** vvvv names a general register. */
  readonly hasGeneralVvvv: boolean;
  readonly writesMemory: boolean;
  readonly memoryOperand: OperandSpec | undefined;

  constructor(definition: Definition) {
    const { operands, options, rm, hasModrm, vex } = definition;
    const has = (kinds: string) => operands.some(({ kind }) => kinds.includes(kind));
    this.definition = definition;
    this.prefix = Prefix[definition.prefix];
    this.hasModrm = hasModrm;
    this.modrm = definition.modrm;
    this.digit = definition.digit;
    this.only = definition.only;
    // A control register's MOV has a register in ModRM.rm whatever mod says.
    const isFree = !hasModrm || rm === 'any' || (rm === 'register' && !vex && has('CD'));
    this.rmRule = isFree ? RmRule.any : rm === 'memory' ? RmRule.memory : RmRule.register;
    this.ignoresMod = rm === 'register' && !vex;
    this.worlds = worldsOf(options.mode);
    this.plusRegister = definition.plusRegister;
    this.vexLength = vex?.length ?? 0;
    this.vexW = vex?.w ?? -1;
    this.isVex = vex !== undefined;
    this.sizeRule =
      options.size === 'f64'
        ? SizeRule.forced64
        : options.size === 'd64'
          ? SizeRule.default64
          : SizeRule.plain;
    this.regRule = regRuleOf(operands);
    this.allowsLock = Boolean(options.lock);
    this.immediates = operands.flatMap(immediateStep);
    this.isGathered = has('K');
    this.usesVvvv = has('HB');
    this.forms = formIndex(definition);
    this.registers = operands.flatMap(registerPlace);
    this.ends = options.ends === true;
    this.unit = Unit[options.unit ?? 'none'];
    this.mayUseMemory = has('EMWQO');
    this.onlyMemory = has('MO');
    this.hasOffset = has('O');
    this.isJump = has('J');
    this.hasTwoImmediates = operands.filter(({ kind }) => kind === 'I').length > 1;
    this.isScalable =
      operands.some(({ size }) => typeof size === 'string') ||
      options.sized === true ||
      options.size !== undefined;
    this.hasRep = options.rep === true;
    this.isAddressSized = options.addressSized === true;
    this.isModal = options.modal === true;
    this.isAlwaysLocked = options.lock === 'always';
    this.noAccess = options.noAccess === true;
    this.isBitString = options.bitString === true;
    this.elements = options.elements ?? 0;
    this.isPop = definition.name === 'pop';
    this.hasGeneralVvvv = has('B');
    this.writesMemory = writesMemory(definition);
    this.memoryOperand = operands.find(({ kind }) => 'EMWQO'.includes(kind));
  }
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

/** Opcode maps: four without VEX, then four with it. */
export const VEX_MAPS = 4;
const DEFINITIONS: Definition[][] = Array.from({ length: 2 * VEX_MAPS * 256 }, () => []);
for (const definition of TABLE) {
  const map = definition.map + (definition.vex ? VEX_MAPS : 0);
  for (let i = 0; i < (definition.plusRegister ? 8 : 1); i++) {
    (DEFINITIONS[map * 256 + definition.opcode + i] as Definition[]).push(definition);
  }
}
const particular = (d: Definition): number =>
  (d.modrm >= 0 ? 4 : 0) + (d.prefix !== 'any' ? 2 : 0) + (d.digit >= 0 ? 1 : 0);
const made = new Map<Definition, Entry>();
const entryOf = (definition: Definition): Entry => {
  const entry = made.get(definition) ?? new Entry(definition);
  made.set(definition, entry);
  return entry;
};
const ENTRIES: (readonly Entry[] | undefined)[] = new Array(DEFINITIONS.length).fill(undefined);

/** All entries that an opcode byte of a map may be, most particular first. */
export function entriesAt(map: number, opcode: number): readonly Entry[] {
  const at = map * 256 + opcode;
  const known = ENTRIES[at];
  if (known) return known;
  const sorted = (DEFINITIONS[at] as Definition[]).sort((a, b) => particular(b) - particular(a));
  const entries = sorted.map(entryOf);
  ENTRIES[at] = entries;
  return entries;
}
/** Some entry, for a result that holds nothing yet. */
export const firstEntry = (): Entry => entryOf(TABLE[0] as Definition);
