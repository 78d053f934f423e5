/** The command as users type it, in processes of its own, with a folder of its own for the state of guests. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const DOMUS = fileURLToPath(new URL('../bin/domus.js', import.meta.url));

/** Less than a test has: a command that does not return is a failure with its name. */
const TIMEOUT_MS = (process.env.DOMUS_TEST_FULL === '1' ? 60 : 15) * 60_000;

export interface CommandEnd {
  /** Null when a signal has ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Command {
  readonly child: ChildProcess;
  readonly end: Promise<CommandEnd>;
}

export interface CommandLineOptions {
  /** Number of the user and of the group that commands run as; only root can say so. */
  readonly user?: number | undefined;
  readonly env?: NodeJS.ProcessEnv;
}

/** @param folder where commands run */
export function commandLine(folder: string, stateFolder: string, options: CommandLineOptions = {}) {
  const env = { ...process.env, DOMUS_STATE: stateFolder, ...options.env };
  const { user } = options;
  const start = (...args: string[]): Command => {
    const child = spawn(process.execPath, [DOMUS, ...args], {
      ...{ cwd: folder, env, uid: user, gid: user },
      ...{ timeout: TIMEOUT_MS, killSignal: 'SIGKILL' },
    });
    const text = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', chunk => {
        text[name] += chunk;
      });
    child.stdin.end();
    return { child, end: new Promise(resolve => child.on('close', code => resolve({ code, ...text }))) };
  };
  return {
    start,
    /** What it prints. @throws AssertionError when it does not end with 0 */
    async ok(...args: string[]): Promise<string> {
      const { code, stdout, stderr } = await start(...args).end;
      assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
      return stdout;
    },
  };
}
