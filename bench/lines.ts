/**
 * What a program tells the host, line by line: `@begin`, `@end`, `@check HEX`, perhaps `@retired N`, and at the end
 * `@exit CODE`. Other lines are the program's own. Every line has the time at which it was read.
 */

import { type CpuTimes, cpuBetween } from './cpu-time.ts';

export interface Line {
  readonly text: string;
  readonly atMs: number;
  /** Processor time of the engine until then, where it is known. */
  readonly cpu?: CpuTimes;
}

export interface CommandResult {
  /** From `@begin` to `@end`. */
  readonly ms: number;
  /** Processor time of the engine meanwhile, all threads. */
  readonly cpuMs?: number;
  /** What the program computed, the same wherever it runs. */
  readonly check: string;
  /** Instructions, where the engine counts them. */
  readonly retired?: number;
}

/** Makes lines of pieces. Carriage returns are the console's. */
export class LineReader {
  #rest = '';
  readonly #onLine: (line: Line) => void;
  constructor(onLine: (line: Line) => void) {
    this.#onLine = onLine;
  }
  push(piece: string, atMs: number): void {
    const lines = (this.#rest + piece).split('\n');
    this.#rest = lines.pop()!;
    for (const text of lines) this.#onLine({ text: text.replace(/\r/g, ''), atMs });
  }
}

/** A program's way to say that this processor cannot run it. */
export const EXIT_CANNOT = 99;
export class CannotRun extends Error {}

/** What a command's lines mean once `@exit` has come. @throws Error when the command failed */
export function readCommand(lines: readonly Line[]): CommandResult {
  const find = (word: string) => lines.find(({ text }) => text === word || text.startsWith(`${word} `));
  const own = lines.flatMap(({ text }) => (text.startsWith('@') ? [] : [text]));
  const said = own.join(' | ').trim().slice(-300);
  const code = find('@exit')?.text.slice(6);
  if (code === String(EXIT_CANNOT)) throw new CannotRun(said);
  if (code !== '0') throw new Error(`exit code ${code}${said && `: ${said}`}`);
  const begin = find('@begin');
  const end = find('@end');
  const check = find('@check');
  if (!begin || !end || !check) throw new Error(`the program did not finish${said && `: ${said}`}`);
  const cpuMs = cpuBetween(begin.cpu, end.cpu);
  const retired = find('@retired');
  return {
    ms: end.atMs - begin.atMs,
    ...(cpuMs !== undefined && { cpuMs }),
    check: check.text.slice(7),
    ...(retired && { retired: Number(retired.text.slice(9)) }),
  };
}
