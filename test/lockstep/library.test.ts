/** Regions of an earlier run: they are used where the code is the same, and only there. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { translatorState } from '../../src/cpu/translator/layout.ts';
import { type Making, makerLink, startMaking } from '../../src/cpu/translator/maker-thread.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { readAsset } from '../../src/platform/node/files.ts';
import { Assembler, imm32 } from './assembler.ts';
import { CODE, createLockstepMachine, type LockstepMachine, PAGE, STACK_TOP } from './machine.ts';

const [RAX, RBX, RSP] = [0, 3, 4];
/** More jumps than there are rounds. */
const NEVER = 0xffff;
const ROUNDS = 60_000;
/** Pauses of 2 ms until there must be a region, when the thread that makes it is there and when it is not; and slices until the guest's end. */
const MOMENT = 400;
const BEGINNING = 4000;
const PATIENCE = 100_000;
/** Guest-physical address of the first code page (machine.ts). */
const CODE_AT = 8 * PAGE;
const FAR = 3 * PAGE + 0x123;

const folder = mkdtempSync(join(tmpdir(), 'domus-library-'));
after(() => rmSync(folder, { recursive: true }));

/**
 * ROUNDS times: call a function three pages away, which adds to RAX and, by a handler, clears and restores the direction flag; then
 * HLT. `added` is in the function; with `late`, code that did not run before is reached in the last round.
 */
function program(added: number): Uint8Array {
  const code = new Assembler(CODE, 4 * PAGE);
  code.bytes(0xbb, ...imm32(ROUNDS)); // mov ebx, ROUNDS
  const loop = code.here();
  code.bytes(0xe8, ...imm32(FAR - (code.address - CODE) - 5)); // call FAR
  code.bytes(0xff, 0xcb); // dec ebx
  code.jumpIf(5, loop);
  code.bytes(0xf4);
  const bytes = new Uint8Array(4 * PAGE);
  bytes.set(code.finish());
  // add rax, added; pushfq; std; popfq; ret
  bytes.set([0x48, 0x05, ...imm32(added), 0x9c, 0xfd, 0x9d, 0xc3], FAR);
  return bytes;
}

interface Run {
  readonly rax: bigint;
  readonly retired: bigint;
  readonly regions: number;
  readonly machine: LockstepMachine;
}

/** Run it on a machine whose regions are made, or only taken from the library, when `hotJumps` is NEVER. */
async function run(
  code: Uint8Array,
  hotJumps: number,
  meddle?: (run: LockstepMachine) => void,
): Promise<Run> {
  let failure: unknown;
  const making: Making = startMaking({
    runtime: new WebAssembly.Module(readAsset('runtime.wasm')),
    nrInstallers: 1,
    libraryFolder: folder,
  });
  making.onFailure(error => {
    failure ??= error;
  });
  const link = makerLink(making.links[0]!);
  const machine = createLockstepMachine({ translates: true, hotJumps, makerLink: link });
  making.begin(machine.engine.memory);
  const { engine, cpu, vcpu, guest } = machine;
  // What is decoded before the thread has read the library is not looked for there.
  if (hotJumps === NEVER) {
    const hasNone = () => link.known?.words.every(word => word === 0);
    for (let i = 0; i < BEGINNING && hasNone(); i++) Atomics.wait(PAUSE, 0, 0, 5);
  }
  guest.set(code, CODE_AT);
  vcpu.gpr.set(RSP, BigInt(STACK_TOP));
  vcpu.rip = BigInt(CODE);
  const state = translatorState(engine.memory);
  // The thread must have its turn before much has been done.
  const [moment, slice] = hotJumps === NEVER ? [MOMENT, 500] : [BEGINNING, 50];
  for (let i = 0; i < moment && state.nrRegions === 0; i++) {
    engine.run(cpu, slice);
    Atomics.wait(PAUSE, 0, 0, 2);
  }
  engine.run(cpu, 50_000);
  meddle?.(machine);
  for (let i = 0; i < PATIENCE; i++) if (engine.run(cpu, 50_000) === Exit.halt) break;
  await making.end();
  assert.equal(failure, undefined);
  const { nrRegions } = state;
  assert.equal(vcpu.gpr.get(RBX), 0n);
  return { rax: vcpu.gpr.get(RAX), retired: vcpu.retired, regions: nrRegions, machine };
}
const PAUSE = new Int32Array(new SharedArrayBuffer(4));
const volumes = (): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.regions'));

test('what one run has made the next one has at once, and with the same results', async () => {
  const first = await run(program(5), 50);
  assert.equal(first.rax, BigInt(5 * ROUNDS));
  assert.ok(first.regions > 0);
  assert.ok(volumes().length > 0, 'nothing was kept');
  const second = await run(program(5), NEVER);
  assert.ok(second.regions > 0, 'no region of the library was used');
  assert.deepEqual([second.rax, second.retired], [first.rax, first.retired]);
});

test('a region is not used where a byte of it is another one', async () => {
  const { rax } = await run(program(6), NEVER);
  assert.equal(rax, BigInt(6 * ROUNDS));
});

test('a region of the library is over when its code changes', async () => {
  let done = 0n;
  const { rax, regions } = await run(program(5), NEVER, ({ engine, vcpu, guest }) => {
    done = vcpu.gpr.get(RAX) / 5n;
    guest[CODE_AT + FAR + 2] = 7;
    engine.runtime.invalidateCode((guest.byteOffset + CODE_AT + FAR) >>> 12, (FAR + 2) % PAGE, 1);
  });
  assert.equal(rax, done * 5n + (BigInt(ROUNDS) - done) * 7n);
  assert.ok(regions > 0 && done > 0n);
});

test('damaged files are left out, and make way when they are looked into', async () => {
  const before = volumes();
  for (const name of before) {
    const path = join(folder, name);
    const bytes = readFileSync(path);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(path, bytes);
  }
  // The guest may be through before the thread beside it has looked.
  for (let i = 0; i < 10 && (i === 0 || volumes().length === before.length); i++) {
    const { rax, regions } = await run(program(5), NEVER);
    assert.equal(rax, BigInt(5 * ROUNDS));
    assert.equal(regions, 0);
  }
  // What no place asks for that becomes warm is not looked into.
  assert.ok(volumes().length < before.length);
});
