/**
 * The host's processor as a runner of cases: builds the harness once for its contents, keeps one process, feeds it
 * batches. `open` says why when this machine cannot serve (no gcc, not x86-64 Linux); tests skip with that text.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { Vector } from '../../src/cpu/isa/emitter.ts';
import {
  type CaseRunner,
  End,
  harnessHeader,
  type MachineCase,
  type MachineResult,
  READONLY_IMAGE,
  readResult,
  recordWriter,
  WINDOW_IMAGE,
  writeCase,
} from './machine-case.ts';
import { initialState, Q } from './machine-state.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Bytes of cases sent at a time: large enough that the switch between processes does not count. */
const BATCH_BYTES = 1 << 20;
/** Bound at the start: the dynamic linker looks for its thread by FS, which cases have for themselves. */
const GCC_OPTIONS =
  '-O2 -std=gnu11 -Wall -Wextra -Werror -fPIE -pie -fno-stack-protector -fcf-protection=none -fno-strict-aliasing -Wl,-z,now'.split(
    ' ',
  );

export interface HostFeatures {
  /** Names as in /proc/cpuinfo. */
  readonly cpu: ReadonlySet<string>;
  readonly vendor: string;
  readonly model: string;
  readonly avx: boolean;
  readonly fsGsBase: boolean;
  /** Whether the kernel lets a process run code of this width, and carries its state correctly. */
  readonly modes: { readonly 16: boolean; readonly 32: boolean; readonly 64: boolean };
}

export interface HostCpu extends CaseRunner, AsyncDisposable {
  readonly features: HostFeatures;
  close(): Promise<void>;
}

/** Path of the harness, built if it is not there. Throws with the compiler's words. */
export function buildHarness(directory = join(ROOT, 'dist/oracle')): string {
  const source = readFileSync(join(import.meta.dirname, 'harness.c'), 'utf8');
  const header = harnessHeader();
  const hash = createHash('sha256').update(source).update(header).update(GCC_OPTIONS.join(' ')).digest('hex');
  const path = join(directory, `harness-${hash.slice(0, 16)}`);
  if (existsSync(path)) return path;
  mkdirSync(directory, { recursive: true });
  const work = mkdtempSync(join(directory, 'build-'));
  try {
    writeFileSync(join(work, 'harness-layout.h'), header);
    writeFileSync(join(work, 'harness.c'), source);
    execFileSync('gcc', [...GCC_OPTIONS, '-o', 'harness', 'harness.c'], { cwd: work, stdio: 'pipe' });
    renameSync(join(work, 'harness'), path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return path;
}

/** Why the host cannot be the oracle, or undefined. */
export function hostUnavailable(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the host is not x86-64 Linux';
  try {
    buildHarness();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'gcc is not installed';
    const { stderr } = error as { stderr?: Buffer };
    throw new Error(`the oracle harness does not build:\n${stderr ?? error}`, { cause: error });
  }
  return showsItsProcessor() ? undefined : 'a hypervisor stands between this host and its processor';
}

/**
 * Hypervisors without hardware support run the kernel itself in user mode, and give programs what they think of exceptions and
 * segments: no oracle. One case tells, by the manual: PUSH with a stack pointer that is not canonical is #SS(0).
 */
function showsItsProcessor(): boolean {
  const state = initialState();
  state.u64[4] = 0x8000_0000_0000_1000n;
  state.u64[Q.rip] = 0x1000_0100n;
  const { status, stdout } = spawnSync(buildHarness(), [], {
    input: Buffer.concat([
      WINDOW_IMAGE,
      READONLY_IMAGE,
      batchOf([{ mode: 64, code: Uint8Array.of(0x50), state, patches: [] }], 0).bytes,
    ]),
  });
  if (status !== 0 || stdout.length < 8) return false;
  /** A buffer of its own, not part of Node's pool. */
  const { buffer } = new Uint8Array(stdout.subarray(8));
  const { result } = readResult(buffer, 0, new DataView(buffer));
  return result.end === End.exception && result.vector === Vector.SS;
}

/** As many cases from `from` on as go together, in the form that the harness reads; and which one is next. */
function batchOf(cases: readonly MachineCase[], from: number): { bytes: Uint8Array; next: number } {
  const writer = recordWriter(BATCH_BYTES + (1 << 16));
  writer.length = 8;
  let next = from;
  while (next < cases.length && writer.length < BATCH_BYTES) writeCase(writer, cases[next++]!);
  writer.view.setUint32(0, next - from, true);
  writer.view.setUint32(4, writer.length - 8, true);
  return { bytes: writer.bytes.subarray(0, writer.length), next };
}

/** Takes `size` bytes at a time from a stream, without copying more than once. */
function exactReader(stream: Readable): (size: number) => Promise<Buffer> {
  const chunks: Buffer[] = [];
  let available = 0;
  let ended = false;
  let wake: (() => void) | undefined;
  stream.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    available += chunk.length;
    wake?.();
  });
  const end = () => {
    ended = true;
    wake?.();
  };
  stream.on('end', end).on('close', end).on('error', end);
  return async size => {
    while (available < size) {
      if (ended) throw new Error('the oracle harness ended unexpectedly');
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
    /** A buffer of its own, so that typed arrays over it are aligned. */
    const result = Buffer.from(new ArrayBuffer(size));
    let filled = 0;
    while (filled < size) {
      const chunk = chunks[0]!;
      const taken = Math.min(chunk.length, size - filled);
      chunk.copy(result, filled, 0, taken);
      filled += taken;
      if (taken === chunk.length) chunks.shift();
      else chunks[0] = chunk.subarray(taken);
    }
    available -= size;
    return result;
  };
}

const write = (stream: Writable, data: Uint8Array): void => {
  // Waiting for the drain is not needed: the results are awaited batch by batch.
  stream.write(data);
};

interface Harness {
  /** What the processor has, as the harness found it. */
  readonly bits: number;
  readonly run: HostCpu['run'];
  close(): Promise<void>;
}

async function startHarness(): Promise<Harness> {
  const child: ChildProcess = spawn(buildHarness(), [], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = new Promise<void>(resolve => child.once('exit', () => resolve()));
  child.stdin!.on('error', () => {});
  const read = exactReader(child.stdout!);
  write(child.stdin!, WINDOW_IMAGE);
  write(child.stdin!, READONLY_IMAGE);
  const bits = (await read(4)).readUInt32LE();

  const send = (cases: readonly MachineCase[], from: number): number => {
    const { bytes, next } = batchOf(cases, from);
    write(child.stdin!, bytes);
    return next;
  };
  const receive = async (results: MachineResult[]): Promise<void> => {
    const size = (await read(4)).readUInt32LE();
    const { buffer } = await read(size);
    const view = new DataView(buffer);
    for (let at = 0; at < size; ) {
      const { result, next } = readResult(buffer, at, view);
      results.push(result);
      at = next;
    }
  };
  const runAll = async (cases: readonly MachineCase[]): Promise<MachineResult[]> => {
    const results: MachineResult[] = [];
    let sent = 0;
    let received = 0;
    const waiting: number[] = [];
    // Two batches under way keep both processes busy.
    while (received < cases.length) {
      while (sent < cases.length && waiting.length < 2) {
        sent = send(cases, sent);
        waiting.push(sent);
      }
      await receive(results);
      received = waiting.shift()!;
    }
    return results;
  };
  /** Calls are served one after another. */
  let last: Promise<unknown> = Promise.resolve();
  const run = (cases: readonly MachineCase[]): Promise<MachineResult[]> => {
    const result = last.then(() => runAll(cases));
    last = result.catch(() => {});
    return result;
  };
  const close = async (): Promise<void> => {
    child.stdin!.end();
    await exited;
  };

  return { bits, run, close };
}

/** Which of the narrower modes the kernel carries the state of. Under some hypervisors the attempt ends the process. */
async function narrowModes(): Promise<{ readonly 16: boolean; readonly 32: boolean }> {
  const trial = (mode: 16 | 32): MachineCase => {
    const state = initialState();
    // inc eax; push ax: shows the operand size, the stack and the carried state.
    state.u64[0] = 0x1234_ffffn;
    state.u64[4] = mode === 16 ? 0x1100n : 0x2000_1100n;
    state.u64[Q.rip] = mode === 16 ? 0x100n : 0x1000_0100n;
    return { mode, code: Uint8Array.of(0x40, 0x50), state, patches: [] };
  };
  const { bits, run, close } = await startHarness();
  const results = await run([trial(32), trial(16)]).catch(() => []);
  await close();
  const increments = (result: MachineResult | undefined, rax: bigint): boolean =>
    (bits & 2) !== 0 && result?.end === End.completed && result.state.u64[0] === rax;
  return { 32: increments(results[0], 0x1235_0000n), 16: increments(results[1], 0x1234_0000n) };
}

export async function openHostCpu(): Promise<HostCpu> {
  const { bits, run, close } = await startHarness();
  const narrow = await narrowModes();
  const cpuinfo = readFileSync('/proc/cpuinfo', 'utf8');
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(cpuinfo)?.[1] ?? '';
  const features: HostFeatures = {
    cpu: new Set(field('flags').split(' ')),
    vendor: field('vendor_id'),
    model: field('model name'),
    avx: (bits & 1) !== 0,
    fsGsBase: (bits & 4) !== 0,
    modes: { 64: true, ...narrow },
  };
  return { features, run, close, [Symbol.asyncDispose]: close };
}
