/**
 * A guest that stays, with a real kernel: commands at the same time, copying both ways, logs, and its end. Kernel and userland come
 * from the machine's package client or the cache; without either the test is skipped.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DomusError } from '../src/base/errors.ts';
import { createImage } from '../src/disk/create.ts';
import { openDisk } from '../src/disk/open.ts';
import type { Daemon, RemoteCommand } from '../src/toolstack/daemon/client.ts';
import { recordBytes } from '../src/toolstack/daemon/guest-log.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';
import {
  archiveFromGuest,
  archiveToGuest,
  copyFromGuest,
  copyToGuest,
} from '../src/toolstack/transfer/copy.ts';
import { startDaemon } from './daemon.fixture.ts';

const scratch = mkdtempSync(join(tmpdir(), 'domus-guest-'));

describe('a guest that stays', () => {
  const stop = new AbortController();
  let ended: Promise<void>;
  let daemon: Daemon;
  let unavailable: string | undefined;

  before(async () => {
    const stateFolder = join(scratch, 'state');
    ({ daemon, ended } = await startDaemon(stateFolder, stop.signal));
    try {
      await daemon.create({
        name: 'web',
        command: ['sh', '-c', 'echo begun; echo complaint >&2; sleep 100000'],
      });
    } catch (error) {
      const isMissing = error instanceof DomusError && /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code);
      if (!isMissing) throw error;
      unavailable = `no Debian kernel to be had: ${error.message}`;
    }
  });
  after(async () => {
    stop.abort();
    await ended;
    rmSync(scratch, { recursive: true, force: true });
  });

  async function exec(command: string[], options: Omit<RemoteCommand, 'command'> = {}, input?: Uint8Array) {
    const out: Uint8Array[] = [];
    const err: Uint8Array[] = [];
    const running = await daemon.exec('web', { command, ...options, hasInput: input !== undefined });
    running.onStdout(bytes => void out.push(bytes));
    running.onStderr(bytes => void err.push(bytes));
    if (input) {
      await running.writeStdin(input);
      running.closeStdin();
    }
    const code = await running.exit;
    return {
      code,
      bytes: Buffer.concat(out),
      out: Buffer.concat(out).toString(),
      err: Buffer.concat(err).toString(),
    };
  }
  const guest = {
    exec: (command: RemoteCommand) => daemon.exec('web', command),
    onSkip: (path: string) => assert.fail(path),
  };
  const inGuest = (name: string, run: () => Promise<void>) =>
    test(name, async t => {
      if (unavailable !== undefined) t.skip(unavailable);
      else await run();
    });

  inGuest('streams apart, exit code, environment, folder, user', async () => {
    const result = await exec(['sh', '-c', 'echo "$A"; pwd; id -un; id -gn; echo err >&2; exit 9'], {
      env: { A: 'b c' },
      workingFolder: '/tmp',
      user: 'nobody:root',
    });
    assert.deepEqual([result.code, result.out, result.err], [9, 'b c\n/tmp\nnobody\nroot\n', 'err\n']);
    await assert.rejects(exec(['true'], { user: 'nosuch' }), { code: 'E_GUEST_USER' });
    assert.deepEqual((await exec(['nosuch'])).code, 127);
  });

  inGuest('ten commands at the same time, each with its own input', async () => {
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        exec(['sh', '-c', 'sleep 0.1; cat'], {}, Buffer.from(`input ${i}`)),
      ),
    );
    assert.deepEqual(
      results.map(({ out }) => out),
      results.map((_, i) => `input ${i}`),
    );
  });

  inGuest('binary input and output', async () => {
    const input = Uint8Array.from({ length: 150_000 }, (_, i) => (i * i) >> 3);
    assert.ok((await exec(['cat'], {}, input)).bytes.equals(input));
  });

  inGuest('a terminal', async () => {
    const { out } = await exec(['sh', '-c', 'stty size; tty'], { terminal: { rows: 33, columns: 99 } });
    assert.equal(out, '33 99\r\n/dev/pts/0\r\n');
  });

  inGuest('a folder goes in and comes back as it was', async () => {
    const folder = join(scratch, 'site');
    mkdirSync(join(folder, 'inner'), { recursive: true });
    writeFileSync(join(folder, 'page'), 'x'.repeat(20_000));
    chmodSync(join(folder, 'page'), 0o751);
    utimesSync(join(folder, 'page'), 1_000_000_000, 1_000_000_000);
    writeFileSync(join(folder, 'inner', `${'long'.repeat(40)}`), 'deep');
    symlinkSync('../page', join(folder, 'inner', 'link'));
    await copyToGuest(guest, folder, '/srv');
    assert.equal(
      (await exec(['sh', '-c', 'stat -c "%a %Y" /srv/page; readlink /srv/inner/link'])).out,
      '751 1000000000\n../page\n',
    );
    const back = join(scratch, 'back');
    await copyFromGuest(guest, '/srv', back);
    const facts = lstatSync(join(back, 'page'));
    assert.deepEqual([facts.mode & 0o777, facts.mtimeMs, facts.size], [0o751, 1_000_000_000_000, 20_000]);
    assert.equal(readlinkSync(join(back, 'inner', 'link')), '../page');
    assert.equal(readFileSync(join(back, 'inner', 'long'.repeat(40)), 'utf8'), 'deep');
    // Into a folder that is there: under its own name.
    await copyToGuest(guest, join(folder, 'page'), '/tmp');
    await copyFromGuest(guest, '/tmp/page', back);
    assert.equal(readFileSync(join(back, 'page')).length, 20_000);
    await assert.rejects(copyFromGuest(guest, '/no/such', back), { code: 'E_COPY_GUEST' });
    await assert.rejects(copyToGuest(guest, folder, '/no/such/folder'), { code: 'E_COPY_TARGET' });
  });

  inGuest('archives through standard streams', async () => {
    const archive: Uint8Array[] = [];
    await archiveFromGuest(guest, '/etc', async chunk => void archive.push(chunk));
    await exec(['mkdir', '/tmp/copy']);
    await archiveToGuest(
      guest,
      (async function* () {
        yield* archive;
      })(),
      '/tmp/copy',
    );
    assert.equal((await exec(['cmp', '/etc/passwd', '/tmp/copy/etc/passwd'])).code, 0);
  });

  inGuest('a disk comes; it is kept, cloned, grown and merged while it is there; it goes', async () => {
    const at = (name: string) => join(scratch, name);
    const host = nodeDiskHost();
    await createImage(host, at('data.vhd'), { format: 'vhd', sizeBytes: 8 << 20 });
    const write = (text: string) =>
      exec(['sh', '-c', `printf ${text} | dd of=/dev/xvdc conv=notrunc,fsync 2>&1 || exit 1`]);
    const found = async (path: string) => {
      const disk = await openDisk(host, path, { isReadOnly: true });
      const bytes = new Uint8Array(512);
      await disk.read(0, bytes);
      await disk.close();
      return new TextDecoder().decode(bytes).replace(/\0+$/, '');
    };
    const { device } = await daemon.attachDisk('web', { path: at('data.vhd'), device: 'xvdc' });
    assert.equal(device, 'xvdc');
    await exec(['sh', '-c', 'until [ -b /dev/xvdc ]; do usleep 10000; done']);
    assert.equal((await write('alpha')).code, 0);
    await daemon.actOnDisk('web', 'xvdc', { action: 'snapshot', path: at('first.vhd') });
    await write('bravo');
    await daemon.actOnDisk('web', 'xvdc', { action: 'snapshot', path: at('second.vhd') });
    await write('delta');
    await daemon.actOnDisk('web', 'xvdc', { action: 'clone', path: at('clone.vhd') });
    await write('gamma');
    const grown = await daemon.actOnDisk('web', 'xvdc', { action: 'resize', size: '+8M' });
    assert.deepEqual([grown.sizeBytes, grown.files.length, grown.isReadOnly], [16 << 20, 4, false]);
    const isGrown = 'until [ "$(cat /sys/block/xvdc/size)" = 32768 ]; do usleep 10000; done';
    assert.equal((await exec(['sh', '-c', isGrown])).code, 0);
    // Two images build on this one: it would change under the clone's feet.
    const base = grown.files[1] ?? '';
    await assert.rejects(daemon.actOnDisk('web', 'xvdc', { action: 'coalesce', path: base }), {
      code: 'E_DISK_SHARED',
    });
    const merged = await daemon.actOnDisk('web', 'xvdc', { action: 'coalesce', path: at('second.vhd') });
    assert.equal(merged.files.length, 3);
    const [listed] = await daemon.disks('web');
    assert.ok(listed && listed.device === 'xvdc' && listed.writtenBytes >= 4 * 512);
    assert.deepEqual(await daemon.detachDisk('web', 'xvdc'), []);
    assert.equal((await exec(['test', '-e', '/dev/xvdc'])).code, 1);
    assert.deepEqual(
      [await found(at('data.vhd')), await found(at('clone.vhd')), await found(at('first.vhd'))],
      // What was merged into first.vhd it holds now.
      ['gamma', 'delta', 'bravo'],
    );
    await assert.rejects(daemon.detachDisk('web', 'xvdc'), { code: 'E_DISK_UNKNOWN' });
    await assert.rejects(daemon.attachDisk('web', { path: at('none.vhd') }), { code: 'E_DISK_NOT_FOUND' });
  });

  inGuest('a command that a guest’s power-off ends, and what is left', async () => {
    const logs = async (streams: ('console' | 'stdout' | 'stderr')[]) => {
      const chunks: Uint8Array[] = [];
      for await (const record of daemon.logs('web', { streams })) chunks.push(recordBytes(record));
      return Buffer.concat(chunks).toString();
    };
    await assert.rejects(exec(['poweroff', '-f']), { code: 'E_GUEST_STOPPED' });
    assert.equal((await daemon.wait('web')).state, 'exited');
    assert.equal(await logs(['stdout']), 'begun\n');
    assert.equal(await logs(['stderr']), 'complaint\n');
    assert.match(await logs(['console']), /Linux version [\s\S]*reboot: /);
    await daemon.destroy('web');
    assert.deepEqual(await daemon.list(), []);
  });
});
