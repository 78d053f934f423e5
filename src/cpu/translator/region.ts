/**
 * What a region is: a graph of basic blocks, entered at one place or at several, that becomes one WebAssembly function.
 * It goes over direct branches, over pages, into called functions and back, and to where computed jumps were seen to lead.
 */
import { Mode } from '../decode/mode.ts';
import { withDispatcher } from './dispatcher.ts';
import { blocksOf } from './graph-blocks.ts';
import type { Control, Instruction } from './instruction.ts';
import { type CodeView, InstructionGraph, type Limits } from './instruction-graph.ts';
import { traitsOf } from './traits.ts';

export const PAGE = 4096;

/** A place in code: pages away from the page where the region begins, and the offset in that page. */
export interface Place {
  readonly page: number;
  readonly offset: number;
}

/** Where control goes: to a block of the region, or out of it to `place`. */
export interface Edge {
  readonly place: Place;
  readonly block: Block | undefined;
  /** Another page than the one that control comes from: its mapping must be looked at. */
  readonly crosses: boolean;
  /** The block is reached by way of the dispatcher: its number there. */
  readonly dispatch: number | undefined;
}

export interface Block {
  readonly id: number;
  readonly place: Place;
  readonly instructions: readonly Instruction[];
  /** How the last instruction ends it; `next` when the block simply goes on with `next`. */
  readonly control: Control;
  readonly taken: Edge | undefined;
  readonly next: Edge | undefined;
  /** Where a computed jump or a return may go, as far as known; of the dispatcher, all that it leads to. */
  readonly targets: readonly Edge[];
}

export interface Region {
  /**
   * The first one is where the region begins, or the dispatcher: a block without instructions that leads to every entry, and to
   * blocks in the middle of loops.
   */
  readonly blocks: readonly Block[];
  /** Where the region can be entered, by number; the first one is where it was found. With a dispatcher, its targets. */
  readonly entries: readonly Place[];
  /** Machine addresses of the code pages by `Place.page`. */
  readonly codePages: ReadonlyMap<number, number>;
  readonly entriesToGrow: number | undefined;
}

/** Form the region that begins at `offset` of the entry's page; undefined when there is nothing to translate. */
export function formRegion(view: CodeView, offset: number, limits: Limits): Region | undefined {
  if ((view.mode & Mode.sizeMask) !== Mode.code64) return undefined;
  const graph = new InstructionGraph(view, limits);
  const entry = graph.explore({ page: 0, offset });
  if (!entry) return undefined;
  const { entriesToGrow } = limits;
  return { ...withDispatcher(blocksOf(entry)), codePages: graph.codePages, entriesToGrow };
}

/** The instructions that handlers run, in a fixed order. */
export const calledInstructions = ({ blocks }: Region): Instruction[] =>
  blocks.flatMap(({ instructions }) => instructions.filter(({ form }) => !traitsOf(form).isInline));

/** The blocks that are counted, in a fixed order: those of a region that is to grow, so that it is known which way. */
export const countedBlocks = ({ blocks, entriesToGrow }: Region): Block[] =>
  entriesToGrow === undefined ? [] : blocks.filter(({ control }) => control !== 'dispatch');

/** Blocks that may come next, the likeliest last. Those behind the dispatcher count as its successors, not as the edge's. */
export function successors({ taken, next, targets }: Block): Edge[] {
  return [...targets, taken, next].filter(edge => edge?.block !== undefined) as Edge[];
}

export function displaced({ page, offset }: Place, distance: number): Place {
  const total = page * PAGE + offset + distance;
  const to = Math.floor(total / PAGE);
  return { page: to, offset: total - to * PAGE };
}
/** Does an instruction end in the page behind its own? */
export const reachesOver = (offset: number, length: number): boolean => offset + length > PAGE;
export const samePlace = (a: Place, b: Place): boolean => a.page === b.page && a.offset === b.offset;
