/** Runs one program to its end: when each piece of its output came, how long it took, how much memory it had. */
import { type SpawnOptions, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly wallMs: number;
  /** Largest resident size of the process or one of its children; undefined where /proc is missing. */
  readonly peakBytes: number | undefined;
}

export interface ProcessOptions extends Pick<SpawnOptions, 'env' | 'cwd'> {
  readonly timeoutMs: number;
  /** Every piece of standard output, with the time at which it was read. */
  readonly onOutput?: (text: string, atMs: number) => void;
  readonly measureMemory?: boolean;
}

const MEMORY_SAMPLE_MS = 20;

/** Largest resident size so far of `pid` and its children; the kernel keeps it, so that seldom sampling suffices. */
function peakOf(pid: number): number {
  try {
    const own = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    let peak = Number(own?.[1] ?? 0) * 1024;
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      for (const child of readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ')) {
        if (child !== '') peak = Math.max(peak, peakOf(Number(child)));
      }
    }
    return peak;
  } catch {
    return 0;
  }
}

export function runProcess(
  command: string,
  args: readonly string[],
  options: ProcessOptions,
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.env,
      cwd: options.cwd,
    });
    let stdout = '';
    let stderr = '';
    let peak = 0;
    const sampler =
      options.measureMemory &&
      setInterval(() => {
        peak = Math.max(peak, peakOf(child.pid ?? 0));
      }, MEMORY_SAMPLE_MS);
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs);
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      options.onOutput?.(text, performance.now());
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', error => {
      clearTimeout(timer);
      if (sampler) clearInterval(sampler);
      reject(error);
    });
    // The exit is what a user waits for; the pipes may close a little later.
    let wallMs = 0;
    child.on('exit', () => {
      wallMs = performance.now() - start;
    });
    child.on('close', code => {
      clearTimeout(timer);
      if (sampler) clearInterval(sampler);
      resolve({ code, stdout, stderr, wallMs, peakBytes: peak || undefined });
    });
  });
}

export const lastLines = (text: string, count = 3): string =>
  text.trim().split('\n').slice(-count).join(' | ');
