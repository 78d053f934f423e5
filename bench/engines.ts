/** The three that run a workload: Domus and QEMU TCG run the same ELF file, native runs the same object code. */
import { fileURLToPath } from 'node:url';
import type { DomusRun } from './domus-guest.ts';
import { lastLines, runProcess } from './process.ts';

export interface Rounds {
  readonly roundMs: readonly number[];
  /** Instructions of each round; only Domus counts them. */
  readonly retired?: readonly number[];
  /** What the workload computed, the same wherever it runs. */
  readonly check: string;
}

export type Engine = (arguments_: string) => Promise<Rounds>;

const TIMEOUT_MS = 120_000;
const DOMUS_GUEST = fileURLToPath(new URL('./domus-guest.ts', import.meta.url));

function checkValue(text: string): string {
  const found = /=([0-9a-f]+)/.exec(text);
  if (!found) throw new Error(`the workload did not finish: ${lastLines(text)}`);
  return found[1]!;
}

export const domusEngine =
  (guest: string, nodeOptions: readonly string[] = []): Engine =>
  async arguments_ => {
    const args = [...nodeOptions, DOMUS_GUEST, guest, arguments_];
    const done = await runProcess(process.execPath, args, { timeoutMs: TIMEOUT_MS });
    if (done.code !== 0) throw new Error(`Domus: ${lastLines(done.stderr, 8)}`);
    const result = JSON.parse(done.stdout) as DomusRun;
    return { ...result, check: checkValue(result.text) };
  };

export const QEMU = 'qemu-system-x86_64';
export const QEMU_MACHINE = [
  '-accel',
  'tcg',
  '-M',
  'q35',
  '-nodefaults',
  '-no-user-config',
  '-display',
  'none',
  '-no-reboot',
];

/** Rounds are timed when their marks arrive at this end of the pipe: good to a fraction of a millisecond. */
export const qemuEngine =
  (guest: string): Engine =>
  async arguments_ => {
    const times: number[] = [];
    const args = [...QEMU_MACHINE, '-m', '64', '-debugcon', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4'];
    args.push('-kernel', guest, '-append', arguments_);
    const done = await runProcess(QEMU, args, {
      timeoutMs: TIMEOUT_MS,
      onOutput(text, atMs) {
        for (const character of text) if (character === 'B' || character === '.') times.push(atMs);
      },
    });
    // Marks that came in one piece have one time: the round was shorter than the pipe's delay.
    return { roundMs: times.slice(1).map((time, i) => time - times[i]!), check: checkValue(done.stdout) };
  };

export const nativeEngine =
  (program: string): Engine =>
  async arguments_ => {
    const done = await runProcess(program, [arguments_], { timeoutMs: TIMEOUT_MS });
    const roundMs = [...done.stdout.matchAll(/^\.(\d+)$/gm)].map(match => Number(match[1]) / 1e6);
    return { roundMs, check: checkValue(done.stdout) };
  };
