import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const skip = process.platform === 'linux' ? false : 'threads have priorities of their own on Linux only';

test('threads that work for later give way, and the main thread does not', { skip }, () => {
  const program = `
    import { readdirSync, readFileSync } from 'node:fs';
    import { getPriority } from 'node:os';
    import { Worker } from 'node:worker_threads';
    const source = new URL('background.ts', ${JSON.stringify(import.meta.url)});
    const worker = new Worker(
      \`import(\${JSON.stringify(source.href)}).then(({ giveWay }) => {
        giveWay();
        process.getBuiltinModule('node:worker_threads').parentPort.postMessage(process.getBuiltinModule('node:os').getPriority(0));
      })\`,
      { eval: true },
    );
    worker.once('message', own => {
      const threads = readdirSync('/proc/self/task').map(thread => ({
        name: readFileSync('/proc/self/task/' + thread + '/comm', 'utf8').trim(),
        nice: getPriority(Number(thread)),
      }));
      console.log(JSON.stringify({ own, main: getPriority(process.pid), threads }));
      worker.terminate();
    });
  `;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program],
    { encoding: 'utf8' },
  );
  assert.ok(stdout, stderr);
  const { own, main, threads } = JSON.parse(stdout) as {
    own: number;
    main: number;
    threads: { name: string; nice: number }[];
  };
  assert.ok(own > main, stdout);
  const compilers = threads.filter(({ name }) => name.includes('V8'));
  assert.ok(compilers.length > 0, stdout);
  for (const { nice } of compilers) assert.ok(nice > own, stdout);
});
