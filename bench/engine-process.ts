/**
 * The process of an engine, and its lines. Time is taken here, outside of the guest, when a line arrives: no guest's clock is
 * trusted, and it is the same clock for all.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { cpuTimes } from './cpu-time.ts';
import { type Line, LineReader } from './lines.ts';

export interface CommandLine {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Programs are processes below this one: they are gone before their processor time can be read. */
  readonly isShell?: boolean;
}

export interface EngineProcess {
  readonly startMs: number;
  readonly pid: number;
  /** Waits for a line that begins with `word`; gives all lines since the last call. @throws Error when none comes */
  until(word: string, timeoutMs: number): Promise<readonly Line[]>;
  write(line: string): void;
  /** Settles when the process has ended: by itself within this time, or by force. */
  end(patienceMs: number): Promise<void>;
}

const running = new Set<ChildProcessWithoutNullStreams>();

/** Ends every engine that this process started. */
export function killEngines(): void {
  for (const child of running) child.kill('SIGKILL');
}

export function startEngine({ command, args, env, isShell }: CommandLine): EngineProcess {
  const startMs = performance.now();
  const child = spawn(command, args, { stdio: 'pipe', env });
  running.add(child);
  let lines: Line[] = [];
  let errors = '';
  let isOver = false;
  let failure: Error | undefined;
  /** Called at every line and at the end of the process. */
  let wake: () => void = () => {};
  const reader = new LineReader(line => {
    const isMark = !isShell && /^@(?:begin|end|output)$/.test(line.text);
    lines.push(isMark ? { ...line, cpu: cpuTimes(child.pid ?? 0) } : line);
    wake();
  });
  child.stdout.setEncoding('latin1').on('data', (text: string) => reader.push(text, performance.now()));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4000);
  });
  // A process that has gone does not read; that it has gone is reported below.
  child.stdin.on('error', () => {});
  const ended = new Promise<void>(resolve => {
    const over = (error: Error) => {
      running.delete(child);
      isOver = true;
      failure ??= error;
      wake();
      resolve();
    };
    child.on('error', over);
    child.on('close', (code, signal) => {
      const said = [...lines.slice(-4).map(({ text }) => text), ...errors.trim().split('\n').slice(-4)];
      over(new Error(`the engine ended with ${code ?? signal}: ${said.filter(Boolean).join(' | ')}`));
    });
  });
  return {
    startMs,
    pid: child.pid ?? 0,
    until: (word, timeoutMs) =>
      new Promise((resolve, reject) => {
        const settle = (act: () => void) => {
          clearTimeout(timer);
          wake = () => {};
          act();
        };
        const timer = setTimeout(() => {
          child.kill('SIGKILL');
          settle(() => reject(new Error(`nothing came within ${Math.round(timeoutMs / 1000)} s`)));
        }, timeoutMs);
        wake = () => {
          if (lines.at(-1)?.text.startsWith(word)) {
            const taken = lines;
            lines = [];
            settle(() => resolve(taken));
          } else if (isOver) settle(() => reject(failure));
        };
        wake();
      }),
    write: line => void child.stdin.write(`${line}\n`),
    async end(patienceMs) {
      const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}
