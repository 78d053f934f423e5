/**
 * A folder of the host as the root file system of a guest, over 9p, for a user without privileges: the command as users type it, with
 * Debian's generic kernel and its own 9p client. Root runs it as another user.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DomusError } from '../src/base/errors.ts';
import { openImageCache } from '../src/image/cache.ts';
import { obtainBusybox } from '../src/image/debian.ts';
import { FOLDER_MODULES } from '../src/toolstack/guest-folder.ts';
import { copyCache } from './cache-copy.fixture.ts';
import { commandLine } from './command-line.fixture.ts';

const TIMEOUT_MS = 600_000;
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;
const folder = fs.mkdtempSync(join(tmpdir(), 'domus-folder-root-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);
const { start } = commandLine(folder, path('state'), {
  user: isRoot ? NOBODY : undefined,
  env: { DOMUS_CACHE: path('cache') },
});

let unavailable: string | undefined;
before(async () => {
  try {
    fs.mkdirSync(path('root/bin'), { recursive: true });
    fs.mkdirSync(path('outside'));
    fs.mkdirSync(path('site'));
    fs.writeFileSync(path('site/page'), 'a page\n');
    fs.writeFileSync(path('outside/secret'), 'secret\n');
    fs.writeFileSync(path('root/bin/busybox'), (await obtainBusybox({ cache: openImageCache() })).contents, {
      mode: 0o755,
    });
    fs.symlinkSync('busybox', path('root/bin/sh'));
    fs.symlinkSync('../outside/secret', path('root/up'));
    fs.symlinkSync(path('outside/secret'), path('root/absolute'));
    const source = fileURLToPath(new URL('./folders/checks.c', import.meta.url));
    execFileSync('gcc', ['-static', '-O1', '-o', path('root/bin/checks'), source], { stdio: 'pipe' });
    execFileSync('mkfifo', [path('root/pipe')]);
    await copyCache(path('cache'), FOLDER_MODULES);
    if (isRoot) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, folder]);
    const { code, stderr } = await start('version').end;
    if (code !== 0) unavailable = `a user without privileges cannot run the command: ${stderr}`;
  } catch (error) {
    const isMissing = error instanceof DomusError ? /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code) : true;
    if (!isMissing) throw error;
    unavailable = `no Debian kernel or no gcc: ${(error as Error).message}`;
  }
});

async function guest(script: string): Promise<string> {
  const words = [
    'run',
    '-q',
    '-v',
    './root:/',
    '-v',
    './site:/srv:ro',
    '--',
    'sh',
    '-e',
    '-c',
    `set -o pipefail\n${script}`,
  ];
  const { code, stdout, stderr } = await start(...words).end;
  assert.equal(code, 0, `${stdout}${stderr}`);
  return stdout;
}

test('a folder is the root of a guest, for a user without privileges', { timeout: TIMEOUT_MS }, async t => {
  if (unavailable !== undefined) return t.skip(unavailable);
  const said = await guest(`
    busybox --install -s /bin
    mount | grep ' / '
    mkdir /work; cd /work; checks
    # No way out: links and .. lead to where they lead in the guest, and a pipe of the host is shown, not opened.
    ! cat /up /absolute /../outside/secret /work/../../outside/secret
    [ "$(ls -a /..)" = "$(ls -a /)" ]
    [ -p /pipe ]
    mkdir /jail; cp /bin/busybox /jail; chroot /jail /busybox sh -c '! [ -e /../work ]'
    [ "$(cat /srv/page)" = 'a page' ]; ! echo x 2>&1 >/srv/page
    # What stays, without a sync: contents and all that the host has no place for.
    echo written >/written
    echo kept >/kept; ln /kept /kept-too; chown 7:8 /kept; chmod 2640 /kept
    mkdir -m 1777 /shared; mv /pipe /moved
    ! ls -A / | grep domus
  `);
  assert.match(said, /^domus0 on \/ type 9p \(rw,/);
  assert.equal(said.match(/^ok /gm)?.length, 18, said);

  // On the host everything is the user's own and harmless.
  const own = isRoot ? NOBODY : process.getuid?.();
  const found = execFileSync('find', [path('root'), '!', '-type', 'p', '-printf', '%y %m %U %P\\0'], {
    encoding: 'utf8',
  });
  for (const line of found.split('\0').slice(0, -1)) {
    assert.match(line, new RegExp(`^[dfl] [0-7]?[0-7]{3} ${own} `), line);
  }
  assert.equal(fs.readFileSync(path('root/written'), 'utf8'), 'written\n');
  assert.equal(fs.readFileSync(path('root/kept-too'), 'utf8'), 'kept\n');
  assert.equal(fs.statSync(path('root/kept')).nlink, 2);
  assert.equal(fs.statSync(path('root/moved')).isFIFO(), true);
  assert.deepEqual(fs.readdirSync(path('outside')), ['secret']);

  // Another guest finds it as it was left.
  assert.equal(
    await guest(`
      stat -c '%u %g %a %h %F' /kept /kept-too /shared /work/null /work/moved-pipe /work/soft /work/owned
      cd /work; checks attribute renamed; cat unlinked; rm -r /work
    `),
    `7 8 2640 2 regular file
7 8 2640 2 regular file
0 0 1777 2 directory
0 0 644 1 character special file
0 0 644 1 fifo
7 8 777 1 symbolic link
1001 2000 755 1 regular file
3000 v
other`,
  );
  // Of what is gone nothing is left beside it: kept, shared and tmp have owners or modes of their own.
  assert.equal(fs.readdirSync(path('root/.domus-metadata')).length, 3);
});
