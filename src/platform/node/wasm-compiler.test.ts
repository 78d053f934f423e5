import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

test('a process that is not ours keeps the stack checks of its own modules', () => {
  const program = `
    const { engineModules } = await import(new URL('../../toolstack/engine-modules.ts', ${JSON.stringify(import.meta.url)}));
    engineModules();
    // (func $f (export "f") (call $f))
    const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 6, 1, 4, 0, 16, 0, 11]);
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
    try {
      exports.f();
    } catch (error) {
      console.log(error.name);
    }
  `;
  const flags = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program];
  const { stdout, stderr } = spawnSync(process.execPath, flags, { encoding: 'utf8' });
  assert.equal(stdout.trim(), 'RangeError', stderr);
});
