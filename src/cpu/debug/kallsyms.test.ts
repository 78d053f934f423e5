/** kallsyms tables made here, in the layouts of several kernels, and damaged ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { random } from '../../../test/oracle/random.ts';
import { findKallsyms, type KernelSymbol } from './kallsyms.ts';

const BASE = 0xffff_ffff_8100_0000n;
const COUNT = 1500;
/** Tokens that are characters have their own code; these two stand for more. */
const TOKENS = Array.from({ length: 256 }, (_, i) =>
  i === 1 ? 'Tsys_' : i === 2 ? 'handler' : i < 32 ? 'q' : String.fromCharCode(i),
);
const SYMBOLS: KernelSymbol[] = Array.from({ length: COUNT }, (_, i) => [
  BASE + BigInt(i * 48),
  i % 3 === 0 ? `sys_${i}` : i === 700 ? `long_${'x'.repeat(200)}` : `do_${i}_handler`,
]);

function encodeName(name: string): number[] {
  const text = `T${name}`.replace(/^Tsys_/, '\x01').replace(/handler$/, '\x02');
  const bytes = Array.from(text, c => c.charCodeAt(0));
  return [
    ...(bytes.length < 0x80 ? [bytes.length] : [(bytes.length & 0x7f) | 0x80, bytes.length >> 7]),
    ...bytes,
  ];
}

interface Layout {
  readonly addressesFirst: boolean;
  readonly hasSequences: boolean;
  readonly isSigned: boolean;
}

/** An image with the tables somewhere in it. */
function imageOf({ addressesFirst, hasSequences, isSigned }: Layout): Uint8Array {
  const out: number[] = Array.from({ length: 4096 }, (_, i) => (i * 7) & 0xff);
  const pad = () => {
    while (out.length % 8 !== 0) out.push(0);
  };
  const put32 = (value: number) =>
    out.push(value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24);
  const put64 = (value: bigint) => {
    put32(Number(value & 0xffff_ffffn));
    put32(Number(value >> 32n));
  };
  const putAddresses = () => {
    for (const [address] of SYMBOLS) put32(Number(isSigned ? BASE - 1n - address : address - BASE));
    pad();
    put64(BASE);
  };
  if (addressesFirst) putAddresses();
  put32(COUNT);
  pad();
  const start = out.length;
  const markers: number[] = [];
  for (const [i, [, name]] of SYMBOLS.entries()) {
    if (i % 256 === 0) markers.push(out.length - start);
    out.push(...encodeName(name));
  }
  pad();
  for (const marker of markers) put32(marker);
  pad();
  if (hasSequences) for (let i = 0; i < COUNT; i++) out.push(i >> 16, (i >> 8) & 255, i & 255);
  pad();
  const table = out.length;
  const index: number[] = [];
  for (const token of TOKENS) {
    index.push(out.length - table);
    out.push(...Array.from(token === '\0' ? 'q' : token, c => c.charCodeAt(0)), 0);
  }
  pad();
  for (const offset of index) out.push(offset & 255, offset >> 8);
  if (!addressesFirst) putAddresses();
  return Uint8Array.from([...out, ...new Array(64).fill(0)]);
}

for (const layout of [
  { addressesFirst: true, hasSequences: false, isSigned: true },
  { addressesFirst: true, hasSequences: true, isSigned: true },
  { addressesFirst: false, hasSequences: false, isSigned: true },
  { addressesFirst: false, hasSequences: true, isSigned: false },
]) {
  test(`names and addresses are read: ${JSON.stringify(layout)}`, () => {
    assert.deepEqual(findKallsyms(imageOf(layout)), SYMBOLS);
  });
}

test('no table, or a damaged one, is never an exception', () => {
  assert.deepEqual(findKallsyms(new Uint8Array(0)), []);
  assert.deepEqual(findKallsyms(new Uint8Array(8192).fill(0x30)), []);
  const draw = random(0xca11);
  const whole = imageOf({ addressesFirst: true, hasSequences: true, isSigned: true });
  for (let round = 0; round < 60; round++) {
    const image = whole.slice(0, draw.oneIn(2) ? draw.below(whole.length) : whole.length);
    for (let n = 0; n < 8 && image.length > 0; n++) image[draw.below(image.length)] = draw.below(256);
    assert.ok(Array.isArray(findKallsyms(image)));
  }
});
