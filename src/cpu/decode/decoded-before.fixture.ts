/** Machines with code in a few pages, for copying records between threads. */
import assert from 'node:assert/strict';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { W } from '../runtime/test-machine.ts';
import { machineWithDecoder, PAGE, PHYSICAL, VA } from './decoding-machine.fixture.ts';
import type { CodeServices } from './records.ts';

export const PAGES = 4;
const SIZE = 6;
/** A run of instructions is so long, and begins at one of so many. */
const [RUN, STARTS] = [60, 8];
const ROUNDS = 4000;

/**
 * A machine with pages of code, each with the same instructions but for their operands: add REG, IMM32, and a return.
 * @param originOf where page `number`, from 1, is in another machine
 */
export function codeMachine(originOf: CodeServices['originOf']) {
  const readPage = () => assert.fail('pages have their contents');
  const { machine } = machineWithDecoder({ originOf, readPage });
  const { runtime, memory, cpu, vcpu } = machine;
  for (let page = 0; page < PAGES; page++) {
    const physical = PHYSICAL + page * PAGE;
    machine.map(VA + BigInt(page * PAGE), physical, W);
    machine.frameOf(physical).next = page + 1;
    for (let at = 0; at < RUN * SIZE; at += SIZE)
      memory.u8.set([0x81, 0xc0 + page, page, at, at >> 8, page], machine.guest(physical) + at);
    memory.u8[machine.guest(physical) + RUN * SIZE] = 0xc3;
  }
  /** The record of an instruction of a page. */
  const lookup = (page: number, index: number): Uint32Array => {
    vcpu.rip = VA + BigInt(page * PAGE + index * SIZE);
    const record = runtime.lookup(cpu) >>> 0;
    return memory.u32.subarray(record / 4, record / 4 + 8);
  };
  return { memory, lookup, discard: () => runtime.discardCode(), frame: machine.guest(PHYSICAL) / PAGE };
}

/** Chance that chooses instructions: a page and an index. */
export function chooser(seed: number): () => readonly [page: number, index: number] {
  const chance = createSeededEntropy(seed);
  const words = new Uint32Array(1);
  return () => {
    chance.fill(new Uint8Array(words.buffer));
    const [word] = words as unknown as [number];
    return [word % PAGES, (word >>> 8) % STARTS];
  };
}

/** Decode in a copy of a machine, whose first page of code is at a frame. Returns how many records are not what decoding makes of them. */
export function copyAndCompare(wasm: WebAssembly.Memory, frame: number): number {
  const u32 = new Uint32Array(wasm.buffer);
  const memory = { u32, u8: new Uint8Array(wasm.buffer) } as never;
  const copies = new Int32Array(frame + PAGES);
  const alone = codeMachine(() => undefined);
  const copy = codeMachine(number => ({ memory, frame: frame + number - 1, copies }));
  const choose = chooser(3);
  let nrWrong = 0;
  for (let round = 0; round < ROUNDS; round++) {
    copy.discard();
    for (let i = 0; i < PAGES; i++) {
      const [page, first] = choose();
      copy.lookup(page, first);
      for (let index = first; index < RUN; index++) {
        const expected = alone.lookup(page, index);
        const found = copy.lookup(page, index);
        if (expected.some((word, at) => word !== found[at])) nrWrong += 1;
      }
    }
  }
  return nrWrong;
}
