/** Regions for tests of the library: they fit together, and no machine has such code. */
import { FIRST_CALLED, FORMS } from '../../isa/forms.ts';
import type { Instruction } from '../instruction.ts';
import type { StoredRegion } from './volume.ts';

function instruction(isCalled: boolean, offset: number): Instruction {
  const form = FORMS.find(({ id }) => id >= FIRST_CALLED === isCalled);
  if (!form) throw new Error('there are forms of both kinds');
  return {
    record: 0,
    form,
    length: 3,
    offset,
    segment: 1,
    reg: 16,
    rm: 24,
    base: 32,
    index: 40,
    scale: 2,
    displacement: -5n,
    immediate: 7n,
  };
}

/** @param number export of the module */
export const storedRegion = (key: number, number: number): StoredRegion => ({
  key,
  number,
  image: {
    mode: 2,
    pages: [0, -3],
    entries: [
      { number: 0, place: { page: 0, offset: 16 }, instruction: instruction(false, 16) },
      { number: 2, place: { page: -3, offset: 4000 }, instruction: instruction(true, 4000) },
    ],
    called: [instruction(true, 4000)],
    counted: [{ page: 1, offset: 4000 }],
    runs: [
      { page: 0, from: 16, to: 19 },
      { page: 1, from: 4000, to: 4005 },
    ],
    grows: number === 1,
  },
  code: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]),
});
