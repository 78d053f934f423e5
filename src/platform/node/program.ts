/** Runs another program of this machine to its end and collects what it says. */
import { spawn } from 'node:child_process';

export interface ProgramResult {
  /** Exit code; 128 + n if a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly folder?: string;
  /** Added to this process's environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Called with each line of stderr and stdout as it comes. */
  readonly onLine?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** What is kept of each stream. */
const OUTPUT_LIMIT_CHARACTERS = 64 << 20;

/** Undefined if there is no such program. */
export function runProgram(
  command: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), {
      cwd: options.folder,
      env: { ...process.env, ...options.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: options.signal,
    });
    let stdout = '';
    let stderr = '';
    const follow = (stream: NodeJS.ReadableStream, keep: (text: string) => void): void => {
      let partial = '';
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        keep(text);
        if (!options.onLine) return;
        const lines = (partial + text).split(/[\r\n]+/);
        partial = lines.pop() ?? '';
        for (const line of lines) if (line !== '') options.onLine(line);
      });
    };
    follow(child.stdout, text => {
      if (stdout.length < OUTPUT_LIMIT_CHARACTERS) stdout += text;
    });
    follow(child.stderr, text => {
      if (stderr.length < OUTPUT_LIMIT_CHARACTERS) stderr += text;
    });
    child.on('error', error => {
      if ((error as { code?: string }).code === 'ENOENT') resolve(undefined);
      else reject(error);
    });
    child.on('close', (code, signal) => {
      resolve({ code: code ?? (signal ? 128 + 15 : 1), stdout, stderr });
    });
  });
}
