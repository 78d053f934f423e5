/** Writes a static ELF program: one segment of code, one of data. Source: System V ABI, "Program Header". */
import { GLOBALS_BYTES, type Layout, type MachineCode } from './compile.ts';

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PAGE = 4096;
const PT_LOAD = 1;
const PT_GNU_STACK = 0x6474e551;
const [EXECUTE, WRITE, READ] = [1, 2, 4];
const NR_SEGMENTS = 3;
/** Code begins behind the headers, in the file and in memory. */
export const TEXT_OFFSET = HEADER_BYTES + NR_SEGMENTS * PROGRAM_HEADER_BYTES;

export function writeElf({ text, data, dataBytes }: MachineCode, layout: Layout): Uint8Array {
  const dataOffset = Math.ceil((TEXT_OFFSET + text.length) / PAGE) * PAGE;
  const file = new Uint8Array(dataOffset + data.length);
  const view = new DataView(file.buffer);
  const u64 = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true);
  // 64-bit, little-endian, version 1.
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  u64(24, layout.textAddress);
  u64(32, HEADER_BYTES);
  view.setUint16(52, HEADER_BYTES, true);
  view.setUint16(54, PROGRAM_HEADER_BYTES, true);
  view.setUint16(56, NR_SEGMENTS, true);
  const segment = (
    index: number,
    type: number,
    flags: number,
    [offset, address, inFile, inMemory]: [number, number, number, number],
  ) => {
    const at = HEADER_BYTES + index * PROGRAM_HEADER_BYTES;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    u64(at + 8, offset);
    u64(at + 16, address);
    u64(at + 24, address);
    u64(at + 32, inFile);
    u64(at + 40, inMemory);
    u64(at + 48, PAGE);
  };
  const textEnd = TEXT_OFFSET + text.length;
  segment(0, PT_LOAD, READ | EXECUTE, [0, layout.textAddress - TEXT_OFFSET, textEnd, textEnd]);
  segment(1, PT_LOAD, READ | WRITE, [
    dataOffset,
    layout.memoryAddress - GLOBALS_BYTES,
    data.length,
    dataBytes,
  ]);
  segment(2, PT_GNU_STACK, READ | WRITE, [0, 0, 0, 0]);
  file.set(text, TEXT_OFFSET);
  file.set(data, dataOffset);
  return file;
}
