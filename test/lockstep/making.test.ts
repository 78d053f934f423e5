/** The thread that makes regions: it is there for as long as a machine wants it, and no longer. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { startMaking } from '../../src/cpu/translator/maker-thread.ts';
import { createMachineMemory } from '../../src/machine/memory.ts';
import { readAsset } from '../../src/platform/node/files.ts';

const runtime = new WebAssembly.Module(readAsset('runtime.wasm'));
const start = () => startMaking({ runtime, nrInstallers: 1 });
const memory = () => createMachineMemory(1 << 20);

/** A machine that the thread knows of. */
function known() {
  const making = start();
  making.begin(memory());
  assert.equal(making.links.length, 1);
  return making;
}

test('machines that end at the same time all end, whether or not the thread knows of them', async () => {
  for (const others of [[start], [known], [start, known], [known, start], [start, known, start]]) {
    const makings = [known(), ...others.map(make => make())];
    await Promise.all(makings.map(making => making.end()));
  }
});

test('a machine that was given up does not keep the process alive', () => {
  const program = `
    const { startMaking } = await import(${JSON.stringify(new URL('../../src/cpu/translator/maker-thread.ts', import.meta.url).href)});
    const { createMachineMemory } = await import(${JSON.stringify(new URL('../../src/machine/memory.ts', import.meta.url).href)});
    const { readAsset } = await import(${JSON.stringify(new URL('../../src/platform/node/files.ts', import.meta.url).href)});
    const runtime = new WebAssembly.Module(readAsset('runtime.wasm'));
    const known = () => {
      const making = startMaking({ runtime, nrInstallers: 1 });
      making.begin(createMachineMemory(1 << 20));
      making.links;
      return making;
    };
    known();
    await known().end();
    console.log('ended');
  `;
  const { stdout, stderr, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.equal(stdout, 'ended\n', stderr);
  assert.equal(signal, null);
});
