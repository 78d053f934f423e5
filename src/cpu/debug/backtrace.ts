/**
 * Where a vCPU came from: return addresses on its stack, innermost first.
 *
 * The chain of frame pointers is followed where code keeps one. Distribution kernels do not, and their unwind tables
 * are not in guest memory in a form that is worth reading; there every word of the stack counts that points behind a
 * CALL in the kernel's text. Such a scan may show calls that have returned already, but misses none.
 */
import { Decoder } from '../decode/decoder.ts';
import { Mode } from '../decode/mode.ts';
import type { CpuEngine } from '../engine.ts';
import { Vcpu } from '../vcpu/layout.ts';
import { readGuest, readGuest64 } from './memory.ts';

export interface BacktraceFrame {
  readonly address: bigint;
  readonly symbol?: string;
  readonly offset?: number;
}

/** What names addresses: a kernel's symbol table. */
export interface Symbolizer {
  symbolAt(address: bigint): { readonly name: string; readonly offset: number } | undefined;
}

/** Kernel text and modules in Linux's memory map (x86_64/mm.rst). */
const TEXT_START = 0xffff_ffff_8000_0000n;
const TEXT_END = 0xffff_ffff_ff00_0000n;
/** A kernel stack is 16 KiB. */
const STACK_BYTES = 16384;
const FRAMES_MAX = 24;
const CALL_LENGTH_MIN = 2;
const CALL_LENGTH_MAX = 8;
const RSP = 4;
const RBP = 5;

const decoder = new Decoder();

export function backtrace(engine: CpuEngine, cpu: number, symbols?: Symbolizer): BacktraceFrame[] {
  const state = Vcpu.at(engine.memory.view, cpu);
  const chain = followFramePointers(engine, cpu, state.gpr.get(RSP), state.gpr.get(RBP));
  const returns = chain.length > 1 ? chain : scanStack(engine, cpu, state.gpr.get(RSP));
  return [state.rip, ...returns].map((address, i) => {
    // A return address belongs to the CALL before it, which may be the last of its function.
    const found = symbols?.symbolAt(i === 0 ? address : address - 1n);
    return found ? { address, symbol: found.name, offset: found.offset + (i === 0 ? 0 : 1) } : { address };
  });
}

function followFramePointers(engine: CpuEngine, cpu: number, stack: bigint, base: bigint): bigint[] {
  const frames: bigint[] = [];
  let lowest = stack;
  let frame = base;
  while (frames.length < FRAMES_MAX && frame >= lowest && frame - lowest < BigInt(STACK_BYTES)) {
    const next = readGuest64(engine, cpu, frame);
    const address = readGuest64(engine, cpu, frame + 8n);
    if (next === undefined || address === undefined || !followsCall(engine, cpu, address)) break;
    frames.push(address);
    lowest = frame + 16n;
    frame = next;
  }
  return frames;
}

function scanStack(engine: CpuEngine, cpu: number, stack: bigint): bigint[] {
  // Stacks are aligned to their size.
  const top = (stack | BigInt(STACK_BYTES - 1)) + 1n;
  const bytes = readGuest(engine, cpu, stack, Number(top - stack) & ~7);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: bigint[] = [];
  for (let at = 0; at + 8 <= bytes.length && frames.length < FRAMES_MAX; at += 8) {
    const address = view.getBigUint64(at, true);
    if (address < TEXT_START || address >= TEXT_END) continue;
    if (followsCall(engine, cpu, address)) frames.push(address);
  }
  return frames;
}

/** Is there a CALL that ends where `address` begins? */
function followsCall(engine: CpuEngine, cpu: number, address: bigint): boolean {
  const bytes = readGuest(engine, cpu, address - BigInt(CALL_LENGTH_MAX), CALL_LENGTH_MAX);
  if (bytes.length < CALL_LENGTH_MAX) return false;
  const mode = Vcpu.at(engine.memory.view, cpu).mode & Mode.sizeMask;
  decoder.ripRelative = mode === Mode.code64;
  for (let length = CALL_LENGTH_MIN; length < CALL_LENGTH_MAX; length++) {
    const start = CALL_LENGTH_MAX - length;
    if (decoder.decode(bytes, start, bytes.length, mode)) continue;
    if (decoder.result.length === length && decoder.result.definition.name === 'call') return true;
  }
  return false;
}
