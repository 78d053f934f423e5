/** Code that changes all the time: regions come and go, results stay right, and memory does not grow. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { translatorState } from '../../src/cpu/translator/layout.ts';
import { makerLink, startMaking } from '../../src/cpu/translator/maker-thread.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { readAsset } from '../../src/platform/node/files.ts';
import { garbageCollector } from '../../src/platform/node/garbage.ts';
import { Assembler, imm32 } from './assembler.ts';
import { CODE, createLockstepMachine, DATA, type LockstepMachine, PAGE } from './machine.ts';

const [RAX, RCX, RBX] = [0, 1, 3];
const INNER = 200;
const ADDED = 5;
const HOT_JUMPS = 40;

const collect = garbageCollector();
const rssMib = (): number => {
  // What finalisers let go of is there for the next collection.
  for (let i = 0; i < 3; i++) collect();
  return process.memoryUsage.rss() / 2 ** 20;
};

/**
 * `rounds` times: add a constant INNER times to RAX, then make the constant in the instruction greater by one; HLT.
 * @returns where the constant is, from the code's beginning, and the distance of the instruction that changes it
 */
function load(machine: LockstepMachine, rounds: number): { constant: number; distance: number } {
  const code = new Assembler(CODE, PAGE);
  code.bytes(0xbb, ...imm32(rounds)); // mov ebx, rounds
  const outer = code.here();
  code.bytes(0xb9, ...imm32(INNER)); // mov ecx, INNER
  const inner = code.here();
  code.bytes(0x48, 0x05); // add rax, ADDED
  const constant = code.address;
  code.bytes(...imm32(ADDED));
  code.bytes(0xff, 0xc9); // dec ecx
  code.jumpIf(5, inner);
  code.op({}, [0xff], 0, { label: { address: constant } }); // inc dword [constant]
  const distance = code.address - 4;
  code.bytes(0xff, 0xcb); // dec ebx
  code.jumpIf(5, outer);
  code.bytes(0xf4);
  machine.guest.set(code.finish(), CODE_AT);
  machine.vcpu.rip = BigInt(CODE);
  return { constant: constant - CODE, distance: distance - CODE };
}
/** Guest-physical address of the first code page (machine.ts). */
const CODE_AT = 8 * PAGE;

const sum = (rounds: number): bigint => {
  let total = 0n;
  for (let round = 0; round < rounds; round++) total += BigInt(INNER * (ADDED + round));
  return total;
};
const runToHalt = ({ engine, cpu }: LockstepMachine): void => {
  for (let i = 0; i < 1e5; i++) if (engine.run(cpu, 10_000) === Exit.halt) return;
};

test('a guest that changes the code of its hot loop over and over', () => {
  const machine = createLockstepMachine({ translates: true, hotJumps: HOT_JUMPS, codeCacheBytes: 4 << 20 });
  const run = (rounds: number) => {
    load(machine, rounds);
    machine.engine.runtime.invalidateCode((machine.guest.byteOffset + CODE_AT) >>> 12, 0, PAGE);
    machine.vcpu.gpr.set(RAX, 0n);
    runToHalt(machine);
    assert.equal(machine.vcpu.gpr.get(RAX), sum(rounds));
    assert.equal(machine.vcpu.gpr.get(RCX) | machine.vcpu.gpr.get(RBX), 0n);
  };
  run(700);
  const early = rssMib();
  run(2000);
  const { nrRegions, nrDropped } = translatorState(machine.engine.memory);
  assert.ok(nrRegions > 2500, `${nrRegions} regions were made`);
  assert.ok(nrRegions - nrDropped < 10, `${nrDropped} of ${nrRegions} were taken back`);
  const grown = rssMib() - early;
  // 2000 modules that nobody lets go of are 100 MiB and more.
  assert.ok(grown < 40, `memory has grown by ${grown.toFixed(0)} MiB`);
});

const runtime = new WebAssembly.Module(readAsset('runtime.wasm'));
let failure: unknown;
const making = startMaking({ runtime, nrInstallers: 1 });
making.onFailure(error => {
  failure ??= error;
});
after(() => making.end());

test('regions that are made on another thread while their code changes', () => {
  const link = making.links[0]!;
  const options = { translates: true, hotJumps: HOT_JUMPS, makerLink: makerLink(link) };
  const machine = createLockstepMachine(options);
  const { engine, cpu, vcpu, guest } = machine;
  making.begin(engine.memory);
  const { constant, distance } = load(machine, 0x7fff_ffff);
  const state = translatorState(engine.memory);
  const view = new DataView(guest.buffer, guest.byteOffset);
  // The guest's own change is made into one of data.
  view.setInt32(CODE_AT + distance, DATA - (CODE + distance + 4), true);
  let expected = 0n;
  let seen = 0;
  for (let round = 0; round < 60 && failure === undefined; round++) {
    const [before, added] = [vcpu.retired, BigInt(view.getUint32(CODE_AT + constant, true))];
    const regions = state.nrRegions;
    // In every third round the change comes at any moment; else when there is a region to be taken back.
    const slices = round % 3 === 0 ? round % 7 : 3000;
    vcpu.gpr.set(RAX, 0n);
    vcpu.rip = BigInt(CODE);
    for (let i = 0; i <= slices && state.nrRegions === regions; i++) engine.run(cpu, 5000 + i);
    engine.run(cpu, 100_003);
    if (state.nrRegions > regions) seen += 1;
    expected = additions(vcpu.retired - before) * added;
    assert.equal(vcpu.gpr.get(RAX), expected, `round ${round}`);
    view.setUint32(CODE_AT + constant, round * 3 + 1, true);
    engine.runtime.invalidateCode((guest.byteOffset + CODE_AT) >>> 12, constant, 4);
  }
  assert.equal(failure, undefined);
  assert.ok(seen > 20, `in ${seen} rounds there was a region`);
});

/** How many of the first so many instructions of the program are the addition. */
function additions(retired: bigint): bigint {
  const outer = BigInt(1 + INNER * 3 + 3);
  const afterFirst = retired - 1n;
  const inRound = afterFirst % outer;
  const begun = inRound <= 1n ? 0n : (inRound - 1n + 2n) / 3n;
  return (afterFirst / outer) * BigInt(INNER) + (begun > BigInt(INNER) ? BigInt(INNER) : begun);
}
