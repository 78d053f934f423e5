/**
 * A region without its code: what a machine must have and be given for it to be entered there. Nothing in it depends on where
 * things are, so that it can be kept for other machines.
 */
import { invariant } from '../../base/errors.ts';
import type { Instruction } from './instruction.ts';
import {
  calledInstructions,
  countedBlocks,
  PAGE,
  type Place,
  type Region,
  reachesOver,
  samePlace,
} from './region.ts';

/** Bytes `from` .. `to - 1` of a page that the region was made of; `page` is a position in `RegionImage.pages`. */
export interface Run {
  readonly page: number;
  readonly from: number;
  readonly to: number;
}
export interface EntryPoint {
  /** As the region's code knows it. */
  readonly number: number;
  readonly place: Place;
  /** The instruction there, which is executed by itself when the region cannot be entered. */
  readonly instruction: Instruction;
}
export interface RegionImage {
  /** The decoder's. */
  readonly mode: number;
  /** Pages away from the entry's, in the order in which the region knows them. */
  readonly pages: readonly number[];
  /** The first one is where the region was found. */
  readonly entries: readonly EntryPoint[];
  /** Instructions that handlers run, by number. */
  readonly called: readonly Instruction[];
  /** Where the blocks begin that are counted, by number; `page` is a position in `pages`. */
  readonly counted: readonly Place[];
  readonly runs: readonly Run[];
  /** It counts its entries, and asks for a larger one. */
  readonly grows: boolean;
}

export function imageOf(region: Region, mode: number): RegionImage {
  const pages = [...region.codePages.keys()];
  const entries = region.entries.map((place, number) => ({
    number,
    place,
    instruction: instructionAt(region, place),
  }));
  return {
    mode,
    pages,
    // Of an instruction over two pages there are two records, which an entry cannot take the place of.
    entries: entries.filter(({ place, instruction }) => !reachesOver(place.offset, instruction.length)),
    called: calledInstructions(region),
    counted: countedBlocks(region).map(({ place: { page, offset } }) => ({
      page: pages.indexOf(page),
      offset,
    })),
    runs: runsOf(region, pages),
    grows: region.entriesToGrow !== undefined,
  };
}

function instructionAt({ blocks }: Region, entry: Place): Instruction {
  const block = blocks.find(({ place, instructions }) => instructions.length > 0 && samePlace(place, entry));
  invariant(block, 'a block begins at each entry');
  return block.instructions[0] as Instruction;
}

/** One for each run of instructions. */
function runsOf({ blocks }: Region, pages: readonly number[]): Run[] {
  const runs: { page: number; from: number; to: number }[] = [];
  const add = (distance: number, from: number, to: number) => {
    const page = pages.indexOf(distance);
    invariant(page >= 0, 'a page of the region');
    const last = runs.at(-1);
    if (last?.page === page && last.to === from) last.to = to;
    else runs.push({ page, from, to });
  };
  for (const { place, instructions } of blocks) {
    for (const { offset, length } of instructions) {
      add(place.page, offset, Math.min(offset + length, PAGE));
      if (reachesOver(offset, length)) add(place.page + 1, 0, offset + length - PAGE);
    }
  }
  return runs;
}
