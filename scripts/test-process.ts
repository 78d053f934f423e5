/**
 * Loaded into each process of the tests. When its event loop has ended, so does it: Node 24 and 26 wait for V8's compiler threads then, and
 * now and then for ever (nodejs/node issue 64274), which may be why a file whose tests had all passed once stood still. When its tests are
 * done and the loop goes on, that is a fault of ours, and it says what keeps it going.
 */
import { existsSync } from 'node:fs';
import { after } from 'node:test';
import { isMainThread } from 'node:worker_threads';

const SHELL = '/bin/sh';
/** From the last test's end to that of the loop. A host process that ends takes ten seconds. */
const PATIENCE_MS = 60_000;

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
