/**
 * One test case: code bytes, an initial state and a small data window; and what came of it. Also the binary form in
 * which cases and results travel to and from the harness and lie in recorded vectors (little-endian, every record a
 * multiple of 8 bytes).
 *
 * The address space of a case, the same on the host and in any processor under test (all else is not mapped):
 *
 *   CODE_BASE    64 KiB, read and execute, filled with INT3; the code lies at the state's RIP. Arriving at an INT3
 *                outside of the code's own bytes ends the case: "completed", with RIP at that INT3.
 *   DATA_BASE    two pages read and write: the window, WINDOW_IMAGE overlaid with the case's patches
 *   READONLY_BASE  one page, read only, READONLY_IMAGE
 *
 * Segments: 64-bit mode flat, FS and GS bases from the state. 32-bit mode: CS, DS, ES, SS flat, FS base DATA_BASE
 * without limit, GS base DATA_BASE with limit WINDOW_BYTES - 1. 16-bit mode: CS base CODE_BASE, DS, ES, SS base
 * DATA_SEGMENT16, limit 64 KiB, 16-bit stack; FS and GS as in 32-bit mode.
 */
import { bytes, struct, u8, u16, u32, u64 } from '../../src/base/struct.ts';
import { D, type MachineState, machineState, Q, STATE_BYTES, State } from './machine-state.ts';

export const CODE_BASE = 0x1000_0000;
export const CODE_BYTES = 0x1_0000;
export const DATA_SEGMENT16 = 0x2000_0000;
export const DATA_BASE = 0x2000_1000;
export const WINDOW_BYTES = 0x2000;
export const READONLY_BASE = 0x2000_4000;
export const PAGE_BYTES = 0x1000;
export const MAX_CODE_BYTES = 64;

/** Initial contents of the window: fixed noise. */
export const WINDOW_IMAGE = (() => {
  const words = new Uint32Array(WINDOW_BYTES / 4);
  let x = 0x9e37_79b9;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return new Uint8Array(words.buffer);
})();
/** Contents of the read-only page. */
export const READONLY_IMAGE = WINDOW_IMAGE.slice(PAGE_BYTES);

/** Bytes at an offset of the data window. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export type Mode = 16 | 32 | 64;

export interface MachineCase {
  readonly mode: Mode;
  readonly code: Uint8Array;
  readonly state: MachineState;
  readonly patches: readonly Patch[];
}

export const End = {
  /** Reached an INT3 outside of the code. */
  completed: 0,
  /** An exception: see vector, errorCode and faultAddress. */
  exception: 1,
  /** A system call instruction, which the sandbox refused. The state is not meaningful. */
  systemCall: 2,
  /** Ran too long. The state is not meaningful. */
  timeout: 3,
} as const;

export interface MachineResult {
  readonly end: number;
  /** Exception vector, 3 when completed. */
  readonly vector: number;
  readonly errorCode: number;
  /** Linear address of a page fault, else 0. */
  readonly faultAddress: bigint;
  readonly state: MachineState;
  /** Aligned 8-byte units of the window that are not as the case began, neighbours joined, in ascending order. */
  readonly changes: readonly Patch[];
}

/** Whatever can run cases: the host, recorded vectors, an engine. */
export interface CaseRunner {
  run(cases: readonly MachineCase[]): Promise<MachineResult[]>;
}

export const CaseHeader = struct('case_header', {
  /** Bytes of the whole record: header, state, patches. */
  size: u32,
  mode: u8,
  codeBytes: u8,
  patchCount: u16,
  code: bytes(MAX_CODE_BYTES),
});
export const ResultHeader = struct('result_header', {
  size: u32,
  end: u8,
  vector: u8,
  patchCount: u16,
  errorCode: u32,
  pad: u32,
  faultAddress: u64,
});
/** Followed by the bytes, padded to a multiple of 8. */
export const PatchHeader = struct('patch_header', { offset: u32, length: u32 });

const roundUp8 = (n: number): number => (n + 7) & ~7;
const patchBytes = (patches: readonly Patch[]): number =>
  patches.reduce((sum, p) => sum + PatchHeader.size + roundUp8(p.bytes.length), 0);

/** Growing output of records. */
export interface RecordWriter {
  buffer: ArrayBuffer;
  bytes: Uint8Array;
  view: DataView;
  length: number;
}
export function recordWriter(capacity = 1 << 16): RecordWriter {
  const buffer = new ArrayBuffer(capacity);
  return { buffer, bytes: new Uint8Array(buffer), view: new DataView(buffer), length: 0 };
}
function reserve(writer: RecordWriter, size: number): number {
  const at = writer.length;
  if (at + size > writer.buffer.byteLength) {
    const old = writer.bytes;
    writer.buffer = new ArrayBuffer(2 * (at + size));
    writer.bytes = new Uint8Array(writer.buffer);
    writer.view = new DataView(writer.buffer);
    writer.bytes.set(old.subarray(0, at));
  }
  writer.length = at + size;
  return at;
}
function writePatches(writer: RecordWriter, at: number, patches: readonly Patch[]): void {
  for (const patch of patches) {
    writer.view.setUint32(at, patch.offset, true);
    writer.view.setUint32(at + 4, patch.bytes.length, true);
    writer.bytes.set(patch.bytes, at + PatchHeader.size);
    at += PatchHeader.size + roundUp8(patch.bytes.length);
  }
}
function readPatches(buffer: ArrayBufferLike, view: DataView, at: number, count: number): Patch[] {
  const patches: Patch[] = [];
  for (let i = 0; i < count; i++) {
    const length = view.getUint32(at + 4, true);
    patches.push({
      offset: view.getUint32(at, true),
      bytes: new Uint8Array(buffer, at + PatchHeader.size, length),
    });
    at += PatchHeader.size + roundUp8(length);
  }
  return patches;
}

export function writeCase(writer: RecordWriter, test: MachineCase): void {
  const size = CaseHeader.size + STATE_BYTES + patchBytes(test.patches);
  const at = reserve(writer, size);
  const { view, bytes } = writer;
  view.setUint32(at, size, true);
  view.setUint8(at + CaseHeader.offsets.mode, test.mode);
  view.setUint8(at + CaseHeader.offsets.codeBytes, test.code.length);
  view.setUint16(at + CaseHeader.offsets.patchCount, test.patches.length, true);
  bytes.set(test.code, at + CaseHeader.offsets.code);
  bytes.set(test.state.bytes, at + CaseHeader.size);
  writePatches(writer, at + CaseHeader.size + STATE_BYTES, test.patches);
}

/** The case at `at` of `buffer` (which keeps being shared), and where the next record is. */
export function readCase(buffer: ArrayBufferLike, at: number): { test: MachineCase; next: number } {
  const view = new DataView(buffer);
  return {
    test: {
      mode: view.getUint8(at + CaseHeader.offsets.mode) as Mode,
      code: new Uint8Array(
        buffer,
        at + CaseHeader.offsets.code,
        view.getUint8(at + CaseHeader.offsets.codeBytes),
      ),
      state: machineState(buffer, at + CaseHeader.size),
      patches: readPatches(
        buffer,
        view,
        at + CaseHeader.size + STATE_BYTES,
        view.getUint16(at + CaseHeader.offsets.patchCount, true),
      ),
    },
    next: at + view.getUint32(at, true),
  };
}

export function writeResult(writer: RecordWriter, result: MachineResult): void {
  const size = ResultHeader.size + STATE_BYTES + patchBytes(result.changes);
  const at = reserve(writer, size);
  const { view, bytes } = writer;
  view.setUint32(at, size, true);
  view.setUint8(at + ResultHeader.offsets.end, result.end);
  view.setUint8(at + ResultHeader.offsets.vector, result.vector);
  view.setUint16(at + ResultHeader.offsets.patchCount, result.changes.length, true);
  view.setUint32(at + ResultHeader.offsets.errorCode, result.errorCode, true);
  view.setBigUint64(at + ResultHeader.offsets.faultAddress, result.faultAddress, true);
  bytes.set(result.state.bytes, at + ResultHeader.size);
  writePatches(writer, at + ResultHeader.size + STATE_BYTES, result.changes);
}

export function readResult(
  buffer: ArrayBufferLike,
  at: number,
  view = new DataView(buffer),
): { result: MachineResult; next: number } {
  return {
    result: {
      end: view.getUint8(at + ResultHeader.offsets.end),
      vector: view.getUint8(at + ResultHeader.offsets.vector),
      errorCode: view.getUint32(at + ResultHeader.offsets.errorCode, true),
      faultAddress: view.getBigUint64(at + ResultHeader.offsets.faultAddress, true),
      state: machineState(buffer, at + ResultHeader.size),
      changes: readPatches(
        buffer,
        view,
        at + ResultHeader.size + STATE_BYTES,
        view.getUint16(at + ResultHeader.offsets.patchCount, true),
      ),
    },
    next: at + view.getUint32(at, true),
  };
}

/** Linear address of the first code byte. */
export const codeAddress = (test: MachineCase): number =>
  test.mode === 16 ? CODE_BASE + (test.state.u32[D.rip]! & 0xffff) : test.state.u32[D.rip]!;

/** RIP after falling through the code. */
export const endRip = (test: MachineCase): bigint => test.state.u64[Q.rip]! + BigInt(test.code.length);

/** The window as the case finds it. */
export function windowOf(test: MachineCase): Uint8Array {
  const window = WINDOW_IMAGE.slice();
  for (const patch of test.patches) window.set(patch.bytes, patch.offset);
  return window;
}

/** The canonical form of what changed between two images of the window. */
export function changesBetween(before: Uint8Array, after: Uint8Array): Patch[] {
  const changes: Patch[] = [];
  for (let at = 0; at < before.length; at += 8) {
    const start = at;
    while (at < before.length && !same8(before, after, at)) at += 8;
    if (at > start) changes.push({ offset: start, bytes: after.slice(start, at) });
  }
  return changes;
}
function same8(a: Uint8Array, b: Uint8Array, at: number): boolean {
  for (let i = at; i < at + 8; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The C header that gives the harness these layouts. */
export function harnessHeader(): string {
  const lines: string[] = [];
  for (const layout of [State, CaseHeader, ResultHeader, PatchHeader]) {
    const prefix = layout.structName.toUpperCase();
    lines.push(`#define ${prefix}_BYTES ${layout.size}`);
    for (const [name, offset] of Object.entries(layout.offsets))
      lines.push(`#define ${prefix}_${name.toUpperCase()} ${offset}`);
  }
  const constants = {
    CODE_BASE,
    CODE_BYTES,
    DATA_SEGMENT16,
    DATA_BASE,
    WINDOW_BYTES,
    READONLY_BASE,
    PAGE_BYTES,
  };
  for (const [name, value] of Object.entries(constants))
    lines.push(`#define ${name} 0x${value.toString(16)}`);
  for (const [name, value] of Object.entries(End)) lines.push(`#define END_${name.toUpperCase()} ${value}`);
  return `${lines.join('\n')}\n`;
}
