/** A decoded instruction as the translator sees it: the record's fields, and how control goes on. */
import type { MachineMemory } from '../../machine/memory.ts';
import { CodeRecord } from '../decode/record.ts';
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
export function readInstruction(memory: MachineMemory, record: number): Instruction | undefined {
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

export function controlOf({ definition }: Form): Control {
  const { operands, options, name } = definition;
  const isDirect = operands.some(operand => operand.kind === 'J');
  if (isDirect) return name === 'call' ? 'call' : options.ends ? 'jump' : 'conditional';
  if (!options.ends) return 'next';
  if (name === 'ret') return 'return';
  return name === 'jmp' || name === 'call' ? 'indirect' : 'stop';
}
