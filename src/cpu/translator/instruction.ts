/** A decoded instruction as the translator sees it: the record's fields, and how control goes on. */
import type { MachineMemory } from '../../machine/memory.ts';
import { CodeRecord, LINK_OFFSET } from '../decode/record.ts';
import { type Form, formById } from '../isa/forms.ts';

const O = CodeRecord.offsets;

export interface Instruction {
  /** Machine address of the record. */
  readonly record: number;
  readonly form: Form;
  readonly length: number;
  /** Where in its page the instruction starts. */
  readonly offset: number;
  /** Operands as byte offsets into the vCPU block. */
  readonly segment: number;
  readonly reg: number;
  readonly rm: number;
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: bigint;
  readonly immediate: bigint;
}

/** The instruction of a record; undefined for records that are not instructions. */
export function readInstruction(
  memory: Pick<MachineMemory, 'u8' | 'u16' | 'view'>,
  record: number,
): Instruction | undefined {
  const { u8, u16, view } = memory;
  const field = (name: 'handler' | 'offset' | 'segment' | 'reg' | 'rm' | 'base' | 'index') =>
    u16[(record + O[name]) >>> 1] as number;
  const form = formById(field('handler'));
  if (!form) return undefined;
  return {
    record,
    form,
    length: u8[record + O.length] as number,
    offset: field('offset'),
    segment: field('segment'),
    reg: field('reg'),
    rm: field('rm'),
    base: field('base'),
    index: field('index'),
    scale: u8[record + O.scale] as number,
    displacement: view.getBigInt64(record + O.displacement, true),
    immediate: view.getBigInt64(record + O.immediate, true),
  };
}

/** Write the record of an instruction that is executed by itself, at an address of `memory`. */
export function writeInstruction(memory: DataView, address: number, instruction: Instruction): void {
  const { form, length, offset, segment, reg, rm, base, index, scale, displacement } = instruction;
  const fields = { handler: form.id, offset, segment, reg, rm, base, index };
  for (const name of ['handler', 'offset', 'segment', 'reg', 'rm', 'base', 'index'] as const) {
    memory.setUint16(address + O[name], fields[name], true);
  }
  memory.setUint8(address + O.length, length);
  memory.setUint8(address + O.scale, scale);
  memory.setBigInt64(address + O.displacement, displacement, true);
  memory.setBigInt64(address + O.immediate, instruction.immediate, true);
  // What a direct jump leads to is not known there.
  if (isDirect(form)) memory.setUint32(address + LINK_OFFSET, 0, true);
}

const isDirect = ({ definition }: Form): boolean => definition.operands.some(({ kind }) => kind === 'J');

/** How control leaves an instruction. */
export type Control =
  /** To the next instruction. */
  | 'next'
  /** To its target or the next one. */
  | 'conditional'
  | 'jump'
  | 'call'
  /** To a computed address. */
  | 'indirect'
  | 'return'
  /** Somewhere, as its handler says. */
  | 'stop'
  /** To one of the targets, by number: the dispatcher, which is no instruction. */
  | 'dispatch';

export function controlOf(form: Form): Control {
  const { options, name } = form.definition;
  if (isDirect(form)) return name === 'call' ? 'call' : options.ends ? 'jump' : 'conditional';
  if (!options.ends) return 'next';
  if (name === 'ret') return 'return';
  return name === 'jmp' || name === 'call' ? 'indirect' : 'stop';
}
