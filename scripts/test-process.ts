/**
 * Loaded into each process of the tests. When its event loop has ended, so does it: Node 24 and 26 wait for V8's compiler threads then, and
 * now and then for ever (nodejs/node issue 64274), which may be why a file whose tests had all passed once stood still. When its tests are
 * done and the loop goes on, that is a fault of ours, and it says what keeps it going.
 *
 * Programs that a test waits for with its event loop standing still, no time limit of the runner can end: they have one of their own.
 */
import childProcess from 'node:child_process';
import { existsSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { after } from 'node:test';
import { isMainThread } from 'node:worker_threads';

const SHELL = '/bin/sh';
/** From the last test's end to that of the loop. A host process that ends takes ten seconds. */
const PATIENCE_MS = 60_000;
/** Less than a test has. */
const PROGRAM_MS_MAX = (process.env.DOMUS_TEST_FULL === '1' ? 60 : 10) * 60_000;

/** `call`, with a time limit among its last argument's options where they say none. */
function bounded<A extends unknown[], R>(call: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    const last = args.at(-1);
    const options = last instanceof Object && !Array.isArray(last) ? (args.pop() as object) : {};
    args.push({ timeout: PROGRAM_MS_MAX, killSignal: 'SIGKILL', ...options });
    return call(...args);
  };
}

if (process.env.NODE_TEST_CONTEXT) {
  for (const name of ['spawnSync', 'execFileSync', 'execSync'] as const)
    childProcess[name] = bounded(childProcess[name] as (...args: unknown[]) => unknown) as never;
  syncBuiltinESMExports();
}

if (isMainThread && process.env.NODE_TEST_CONTEXT) {
  process.on('exit', code => {
    if (existsSync(SHELL)) process.execve?.(SHELL, [SHELL, '-c', `exit ${code}`]);
  });
  after(() => {
    const complain = () => {
      console.error(
        `the tests are done, and the process goes on: ${process.getActiveResourcesInfo().join(', ')}`,
      );
      process.exit(1);
    };
    setTimeout(complain, PATIENCE_MS).unref();
  });
}
