/**
 * XSAVE, XSAVEC, XSAVEOPT and XRSTOR of x87, SSE and AVX state against the host's processor: the components' places, the header, what is
 * left out, initial states, refusals. Left aside are the x87 pointers and MXCSR_MASK, which are up to the processor.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { analyse } from './analysis.ts';
import { asRunner } from './compare.ts';
import { createGuestCpu } from './guest-cpu.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { CODE_BASE, DATA_BASE, type MachineCase, type MachineResult, windowOf } from './machine-case.ts';
import { B, D } from './machine-state.ts';
import { type Random, random } from './random.ts';
import { makeCase } from './state.ts';

const skip = hostUnavailable() ?? false;
const full = process.env.DOMUS_TEST_FULL === '1';
const RIP = BigInt(CODE_BASE + 0x4000);
const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
/** Something with 256-bit operands, for a state that has some. */
const SAMPLE = analyse(hex('c5 f4 58 c2'), 64, RIP)!;
/** All work on [rbx] with the mask in edx:eax. */
const PROGRAMS: Record<string, string> = {
  xsave: '0f ae 23',
  xsave64: '48 0f ae 23',
  xsavec64: '48 0f c7 23',
  xsaveopt64: '48 0f ae 33',
  xrstor64: '48 0f ae 2b',
  'xsavec64, vzeroall, xrstor64': '48 0f c7 23 c5 fc 77 48 0f ae 2b',
  'xsave64, vzeroall, xrstor64': '48 0f ae 23 c5 fc 77 48 0f ae 2b',
};
const HEADER = 512;
/** A processor may take a component in its initial state to be in use; some do after an interrupt in the wrong moment. */
const ATTEMPTS = 5;
/** x87 control, status and tags, MXCSR, XMM, the header, the upper halves. */
const COMPARED = [
  [0, 5],
  [24, 28],
  [160, 416],
  [HEADER, 576],
  [576, 832],
] as const;

const areaOf = (test: MachineCase): number => Number(test.state.u64[3]!) - DATA_BASE;

function makeState(draw: Random, code: Uint8Array): MachineCase {
  const test = makeCase(draw, SAMPLE, code, RIP);
  const { state } = test;
  state.u64[3] = BigInt(DATA_BASE + 0x40 * (1 + draw.below(90)) + (draw.oneIn(20) ? 16 : 0));
  state.u64[0] = BigInt(draw.below(8));
  state.u64[2] = 0n;
  const clear = (from: number) => {
    for (let i = 0; i < 16; i++) state.bytes.fill(0, B.ymm + 32 * i + from, B.ymm + 32 * i + from + 16);
  };
  if (draw.oneIn(3)) clear(16);
  if (draw.oneIn(4)) clear(0);
  const header = new Uint8Array(64);
  header[0] = draw.below(8);
  if (draw.oneIn(3)) {
    header[15] = 0x80;
    header[8] = draw.oneIn(3) ? draw.below(8) : 7;
  }
  // The host may have more components than those of these tests, in the lowest three bytes of both sets.
  const odd = draw.below(64);
  if (draw.oneIn(12) && (odd >= 16 || odd % 8 >= 3)) header[odd]! |= 1 << draw.below(8);
  const mxcsr = new Uint8Array(8);
  new DataView(mxcsr.buffer).setUint32(0, draw.below(10) ? 0x1f80 | draw.below(64) : 0x1_0000, true);
  const at = Number(state.u64[3]) - DATA_BASE;
  const patches = [
    { offset: (at & ~7) + HEADER, bytes: header },
    { offset: (at & ~7) + 24, bytes: mxcsr },
  ];
  return { ...test, patches: patches.filter(({ offset, bytes }) => offset + bytes.length <= 0x2000) };
}

function imageOf(test: MachineCase, result: MachineResult): Uint8Array {
  const window = windowOf(test);
  for (const { offset, bytes } of result.changes) window.set(bytes, offset);
  return window;
}

/** Whether XRSTOR refuses the MXCSR of a compacted area, by when some processors have loaded vector registers. */
function isRefusedLate(test: MachineCase, end: MachineResult): boolean {
  if (end.vector !== 13) return false;
  const [window, at] = [windowOf(test), areaOf(test)];
  const mxcsr = new DataView(window.buffer, window.byteOffset).getUint32(at + 24, true);
  return (window[at + HEADER + 15]! & 0x80) !== 0 && mxcsr > 0xffff;
}

function differences(test: MachineCase, expected: MachineResult, actual: MachineResult): string[] {
  const found: string[] = [];
  if (expected.end !== actual.end || expected.vector !== actual.vector)
    return [`ended ${expected.end}/${expected.vector}, not ${actual.end}/${actual.vector}`];
  if (expected.state.u32[D.mxcsr] !== actual.state.u32[D.mxcsr]) found.push('MXCSR');
  const registers = (result: MachineResult) => result.state.bytes.subarray(B.ymm, B.ymm + 512);
  if (!isRefusedLate(test, expected) && Buffer.compare(registers(expected), registers(actual)) !== 0)
    found.push('vector registers');
  // After a page fault part of the image may have been written.
  if (expected.vector === 14) return found;
  const [want, have] = [imageOf(test, expected), imageOf(test, actual)];
  const at = areaOf(test);
  for (const [from, to] of COMPARED)
    if (Buffer.compare(want.subarray(at + from, at + to), have.subarray(at + from, at + to)) !== 0)
      found.push(`bytes ${from} to ${to}`);
  return found;
}

test('XSAVE and its relatives do what the host does', { skip }, async t => {
  await using host = await openHostCpu();
  if (!['xsavec', 'xsaveopt', 'avx'].every(name => host.features.cpu.has(name)))
    return t.skip('the host has no XSAVEC, XSAVEOPT or AVX');
  const guest = asRunner(createGuestCpu());
  const draw = random(0x5a7e);
  for (const [name, code] of Object.entries(PROGRAMS)) {
    const cases = Array.from({ length: full ? 4000 : 250 }, () => makeState(draw, hex(code)));
    const actual = await guest.run(cases);
    let left = cases.map((_, i) => i);
    let lines: string[] = [];
    for (let attempt = 0; attempt < ATTEMPTS && left.length > 0; attempt++) {
      const expected = await host.run(left.map(i => cases[i]!));
      const found = left.map((i, at) => differences(cases[i]!, expected[at]!, actual[i]!));
      lines = found.flatMap((each, at) =>
        each.map(line => `mask ${cases[left[at]!]!.state.u64[0]}, case ${left[at]}: ${line}`),
      );
      left = left.filter((_, at) => found[at]!.length > 0);
    }
    assert.deepEqual(lines, [], name);
  }
});
