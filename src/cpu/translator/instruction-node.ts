/** The instructions of a region in the making, and how control goes between them. */
import type { Control, Instruction } from './instruction.ts';
import type { Counts } from './profile.ts';
import type { Place } from './region.ts';

/** A function that was copied in: where it returns to. */
export interface Call {
  readonly caller: Call | undefined;
  readonly depth: number;
  readonly function: Place;
  readonly returnsTo: Place;
}

export interface Node {
  readonly place: Place;
  readonly call: Call | undefined;
  readonly instruction: Instruction;
  readonly control: Control;
  /** How often it is executed, as a share of the entry's executions. */
  weight: number;
  /** Of the block that it is in. */
  counts: Counts | undefined;
  isFollowed: boolean;
  taken: Link | undefined;
  next: Link | undefined;
  targets: Link[];
  /** Behind a call of a function that was not copied in. */
  returnPoint: Node | undefined;
  /** Edges that lead here from elsewhere than the instruction before, or from more than one. */
  nrPredecessors: number;
  isLeader: boolean;
  block: number;
}
export interface Link {
  readonly place: Place;
  node: Node | undefined;
  readonly crosses: boolean;
}
