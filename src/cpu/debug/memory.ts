/**
 * Guest memory as a debugger sees it: by linear address in a vCPU's address space, whatever the page allows, without
 * faults, accessed bits or TLB entries. Devices are not asked: where there is no memory, reading stops.
 */
import type { CpuEngine } from '../engine.ts';

const PAGE = 4096n;

/** Bytes from `address` on, up to the first that is not there. */
export function readGuest(engine: CpuEngine, cpu: number, address: bigint, sizeBytes: number): Uint8Array {
  const result = new Uint8Array(sizeBytes);
  let done = 0;
  while (done < sizeBytes) {
    const piece = pieceAt(engine, cpu, address + BigInt(done), sizeBytes - done);
    if (piece === undefined) break;
    result.set(engine.memory.u8.subarray(piece.at, piece.at + piece.sizeBytes), done);
    done += piece.sizeBytes;
  }
  return done === sizeBytes ? result : result.subarray(0, done);
}

/** Write bytes, also to read-only pages. False, and nothing written, when not all of them have memory. */
export function writeGuest(engine: CpuEngine, cpu: number, address: bigint, bytes: Uint8Array): boolean {
  const pieces: { at: number; sizeBytes: number }[] = [];
  for (let done = 0; done < bytes.length; ) {
    const piece = pieceAt(engine, cpu, address + BigInt(done), bytes.length - done);
    if (piece === undefined) return false;
    pieces.push(piece);
    done += piece.sizeBytes;
  }
  let done = 0;
  for (const { at, sizeBytes } of pieces) {
    engine.memory.u8.set(bytes.subarray(done, done + sizeBytes), at);
    engine.runtime.invalidateCode(at >>> 12, at & 4095, sizeBytes);
    done += sizeBytes;
  }
  return true;
}

/** A 64-bit value, undefined where there is no memory. */
export function readGuest64(engine: CpuEngine, cpu: number, address: bigint): bigint | undefined {
  const bytes = readGuest(engine, cpu, address, 8);
  return bytes.length < 8 ? undefined : new DataView(bytes.buffer).getBigUint64(0, true);
}

function pieceAt(engine: CpuEngine, cpu: number, address: bigint, wanted: number) {
  const linear = BigInt.asUintN(64, address);
  const at = engine.runtime.translate(cpu, linear, 0, 1) >>> 0;
  if (at === 0) return undefined;
  return { at, sizeBytes: Math.min(wanted, Number(PAGE - (linear & (PAGE - 1n)))) };
}
