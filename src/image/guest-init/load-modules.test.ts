import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadModules } from './load-modules.ts';

test('modules are loaded in order, each with its own options from the command line', () => {
  const folder = mkdtempSync(join(tmpdir(), 'domus-modules-'));
  try {
    const path = (name: string) => join(folder, name);
    const run = (script: string) =>
      execFileSync('sh', ['-e', '-c', `insmod() { echo "$@"; }\n${script}`], { encoding: 'utf8' });
    const script = loadModules(folder).replaceAll('/proc/cmdline', path('cmdline'));
    writeFileSync(
      path('cmdline'),
      'quiet a.b=1 xen_blk_front.max=256 xen_blk_front.trusted=0 xen_blk=9 init=/x.y\n',
    );
    assert.equal(run(script), '');
    for (const name of ['000-xen-blk-front', '001-a', '002-plain']) writeFileSync(path(`${name}.ko`), '');
    assert.deepEqual(run(script).replaceAll(`${folder}/`, '').split('\n'), [
      '000-xen-blk-front.ko max=256 trusted=0',
      '001-a.ko b=1',
      '002-plain.ko',
      '',
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
