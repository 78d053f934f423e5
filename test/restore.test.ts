/**
 * Guests that are saved while they run and gone on with elsewhere, as their owners see them: through the library, with a real kernel.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DomusError } from '../src/base/errors.ts';
import { createImage } from '../src/disk/create.ts';
import { defaultCacheFolder } from '../src/platform/node/cache-folder.ts';
import { TrailHeader } from '../src/state/trail-file.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';
import { removeTrailOf } from '../src/toolstack/trails.ts';
import { realHost } from './real-host.fixture.ts';

const TIMEOUT_MS = 300_000;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const folder = mkdtempSync(join(tmpdir(), 'domus-restore-'));
const file = (name: string) => join(folder, name);

const phases: string[] = [];
const real = realHost({ onPhase: ({ name }) => phases.push(name) }, TIMEOUT_MS);
const { guest } = real;
after(() => rmSync(folder, { recursive: true }));

guest('the second run of a kind does not boot', async () => {
  phases.length = 0;
  const { exitCode, stdout } = await real.host.run({
    command: 'uname -s; exit 3',
    timeoutMs: TIMEOUT_MS,
    isPrepared: true,
  });
  assert.equal(text(stdout), 'Linux\n');
  assert.equal(exitCode, 3);
  assert.ok(phases.includes('restore') && !phases.includes('kernel'), phases.join());
  phases.length = 0;
  await real.host.run({ command: ['true'], timeoutMs: TIMEOUT_MS });
  assert.ok(phases.includes('kernel') && !phases.includes('restore'), phases.join());
});

guest('a command that is run from a saved machine leaves what it looked at to the next ones', async () => {
  const vm = await real.host.create({ append: 'domus.trail=1' });
  await vm.exec('echo held > /tmp/file');
  await vm.save(file('trail'), { isDurable: false });
  await vm.destroy();
  const folder = join(defaultCacheFolder(), 'trails');
  const names = () => readdirSync(folder, { withFileTypes: true }).map(({ name }) => name);
  const before = existsSync(folder) ? names() : [];
  const run = async (command: string) => {
    const { stdout, exitCode } = await real.host.run({ from: file('trail'), command, timeoutMs: TIMEOUT_MS });
    assert.equal(exitCode, 0);
    return text(stdout);
  };
  const draw = 'head -c 16 /dev/urandom | md5sum';
  const drawn = new Set([await run(draw)]);
  const [own, ...others] = names().filter(name => !before.includes(name));
  assert.ok(own !== undefined && others.length === 0);
  const trail = readFileSync(join(folder, own));
  drawn.add(await run(draw));
  drawn.add(await run(draw));
  assert.equal(drawn.size, 3);
  assert.equal(
    await run('cat /tmp/file; uname -s; grep -c . /proc/cpuinfo > /tmp/cpu; rm /tmp/cpu'),
    'held\nLinux\n',
  );
  assert.deepEqual(readFileSync(join(folder, own)), trail);
  // Damaged in its header, and in its tables.
  for (const at of [TrailHeader.offsets.key, TrailHeader.size + 1000]) {
    const bad = Buffer.from(trail);
    bad.fill(0xa5, at, at + 8);
    writeFileSync(join(folder, own), bad);
    assert.equal(await run('cat /tmp/file'), 'held\n');
  }
  // It is cut short: the next run leaves another one.
  truncateSync(join(folder, own), 100);
  assert.equal(await run('cat /tmp/file'), 'held\n');
  assert.ok(readFileSync(join(folder, own)).length > 1 << 20);
  removeTrailOf(file('trail'));
  assert.ok(!names().includes(own));
});

guest('what a command leaves that becomes hot is how code was before', async () => {
  const vm = await real.host.create({ append: 'domus.trail=2' });
  await vm.save(file('hot'), { isDurable: false });
  await vm.destroy();
  // The maker of regions has changed code when this ends, and much more of it has been decoded.
  const command = 'head -c 6000000 /dev/zero | md5sum; ls /bin | wc -l > /tmp/n; (echo a; echo b) | sort -r';
  const said = new Set<string>();
  for (let i = 0; i < 4; i++) {
    const { stdout, exitCode } = await real.host.run({ from: file('hot'), command, timeoutMs: TIMEOUT_MS });
    assert.equal(exitCode, 0);
    said.add(text(stdout));
  }
  assert.deepEqual([...said], ['75c6f06ec40f8063da34fcd7fc2bf17f  -\nb\na\n']);
  removeTrailOf(file('hot'));
});

guest(
  'a guest goes on after it was saved, and so do its copies, each with random numbers of its own',
  async () => {
    const vm = await real.host.create({ vcpus: 2, memory: '256M' });
    await vm.exec('echo before > /tmp/file; (while :; do sleep 1; done) & echo $! > /tmp/pid');
    await vm.save(file('two'));
    await vm.exec('echo after > /tmp/file');
    const draw = 'head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid';
    const seen = new Set([text((await vm.exec(draw)).stdout)]);
    await vm.destroy();
    for (const pcpus of [1, 1, 2]) {
      const copy = await real.host.restore(file('two'), { pcpus });
      const { stdout } = await copy.exec(
        'cat /tmp/file; nproc; kill -0 $(cat /tmp/pid) && echo runs; date +%s',
      );
      const [content, processors, job, seconds] = text(stdout).split('\n');
      assert.deepEqual([content, processors, job], ['before', '2', 'runs']);
      assert.ok(Math.abs(Number(seconds) - Date.now() / 1000) < 60, `the clock shows ${seconds}`);
      seen.add(text((await copy.exec(draw)).stdout));
      await copy.destroy();
    }
    assert.equal(seen.size, 4);
  },
);

guest(
  'commands that run while a guest is saved go on in the guest, and their output nowhere in its copies',
  async () => {
    const vm = await real.host.create();
    const counting = vm.exec(
      'i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; echo $i > /tmp/i; done; cat > /tmp/in',
      {
        stdin: new Uint8Array(),
      },
    );
    while (text((await vm.exec('cat /tmp/i 2>/dev/null || echo 0')).stdout).trim() === '0');
    await vm.save(file('busy'), { isDurable: false });
    const { stdout } = await counting;
    assert.equal(text(stdout).split('\n').length, 301);
    await vm.destroy();
    const copy = await real.host.restore(file('busy'));
    const done = await copy.exec('until [ "$(cat /tmp/i)" = 300 ]; do usleep 10000; done; cat /tmp/i');
    assert.equal(text(done.stdout), '300\n');
    await copy.destroy();
  },
);

/** Blocks at changing places of a disk, and what each must hold, noted in memory when the disk has it. */
const DISK_LOAD = `: >/tmp/log; (i=0; while :; do i=$((i+1)); at=$((i*7%60*4))
  dd if=/dev/urandom of=/tmp/block bs=64k count=4 2>/dev/null
  dd if=/tmp/block of=/dev/xvda bs=64k seek=$at conv=notrunc oflag=direct 2>/dev/null && echo "$at $(md5sum </tmp/block)" >>/tmp/log
done) & echo $! >/tmp/pid`;
/** Stop that, and compare the blocks that were written last: the one that was being written may hold either. */
const DISK_CHECK = `kill -STOP $(cat /tmp/pid); sleep 0.3; n=$(wc -l </tmp/log); next=$(((n+1)*7%60*4))
  for at in $(tail -8 /tmp/log | cut -d' ' -f1 | sort -nu); do [ $at = $next ] && continue
    want=$(grep "^$at " /tmp/log | tail -1 | cut -d' ' -f2)
    have=$(dd if=/dev/xvda bs=64k skip=$at count=4 iflag=direct 2>/dev/null | md5sum | cut -d' ' -f1)
    [ $have = $want ] || echo "block $at of $n"
  done; echo checked $n; kill -CONT $(cat /tmp/pid)`;

guest(
  'a guest that writes to its disk is saved again and again; copies and guest each have their own',
  async () => {
    await createImage(nodeDiskHost(), file('data.vhd'), { format: 'vhd', sizeBytes: 32 << 20 });
    const rounds = process.env.DOMUS_TEST_FULL === '1' ? 100 : 2;
    await using vm = await real.host.create({ disks: [file('data.vhd')], memory: '128M' });
    await vm.exec(DISK_LOAD);
    const written = async (): Promise<number> => Number(text((await vm.exec('wc -l </tmp/log')).stdout));
    for (let round = 0; round < rounds; round++) {
      const before = await written();
      while ((await written()) < before + 3);
      await vm.save(file('disk.sav'), { isDurable: false });
      await using copy = await real.host.restore(file('disk.sav'));
      for (const each of [copy, vm]) {
        const said = text((await each.exec(DISK_CHECK)).stdout);
        assert.match(said, /^checked [0-9]+\n$/, `round ${round}`);
      }
    }
    // What an earlier file of the name had beside it is gone with it.
    assert.equal(readdirSync(folder).filter(name => name.startsWith('disk.sav.disks-')).length, 1);
  },
);

guest('a raw disk cannot be kept, and the guest goes on', async () => {
  writeFileSync(file('raw.img'), Buffer.alloc(1 << 20));
  await using vm = await real.host.create({ disks: [file('raw.img')], memory: '128M' });
  await vm.exec('true');
  await assert.rejects(
    () => vm.save(file('raw.sav')),
    (error: unknown) => error instanceof DomusError && error.code === 'E_SAVE_UNSUPPORTED',
  );
  assert.equal((await vm.exec('dd if=/dev/zero of=/dev/xvda bs=64k count=1 oflag=direct')).exitCode, 0);
});

guest('a network goes on: new connections work at once, and the rules are those of the file', async () => {
  const server = createServer((request, response) => response.end(`asked for ${request.url}`));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const fetched = (path: string) => `wget -q -O - http://10.0.2.2:${port}${path}`;
  try {
    await using vm = await real.host.create({ network: { allow: ['127.0.0.1'] }, memory: '128M' });
    const one = await vm.exec(fetched('/one'));
    assert.equal(text(one.stdout), 'asked for /one', text(one.stderr));
    await vm.save(file('net.sav'), { isDurable: false });
    const open = await real.host.restore(file('net.sav'));
    await using closed = await real.host.restore(file('net.sav'), { networkRules: { allow: [] } });
    assert.equal(text((await open.exec(fetched('/two'))).stdout), 'asked for /two');
    assert.equal(text((await vm.exec(fetched('/three'))).stdout), 'asked for /three');
    assert.notEqual((await closed.exec(fetched('/four'))).exitCode, 0);
    // What is saved again is the same network.
    await open.save(file('again.sav'), { isDurable: false });
    await open.destroy();
    await using again = await real.host.restore(file('again.sav'));
    assert.equal(text((await again.exec(fetched('/five'))).stdout), 'asked for /five');
  } finally {
    server.close();
  }
});

guest('a page that is damaged ends the guest, not the host', async () => {
  const vm = await real.host.create();
  await vm.exec('true');
  await vm.save(file('bad'), { isDurable: false });
  await vm.destroy();
  const bytes = readFileSync(file('bad'));
  // Every page: whichever is looked at first.
  for (let at = bytes.length - 4096; at > bytes.length / 2; at -= 4096) bytes[at]! ^= 0xff;
  writeFileSync(file('bad'), bytes);
  // The hypervisor itself looks at some of them at once.
  const use = async (): Promise<void> => {
    await using copy = await real.host.restore(file('bad'));
    await copy.exec('find / -xdev -type f | xargs cat > /dev/null');
  };
  await assert.rejects(use, (error: Error) =>
    /damaged/.test(`${error.message} ${(error.cause as Error | undefined)?.message}`),
  );
  const { exitCode } = await real.host.run({ command: ['true'], isPrepared: true, timeoutMs: TIMEOUT_MS });
  assert.equal(exitCode, 0);
});

guest('snapshot, run --from, save and restore, as they are typed', async () => {
  const entry = fileURLToPath(new URL('../bin/domus.js', import.meta.url));
  const env = { ...process.env, DOMUS_STATE: mkdtempSync(join(folder, 'state-')) };
  const domus = (...args: string[]) => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [entry, ...args], {
      env,
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
    });
    return { stdout, stderr, status };
  };
  const ok = (...args: string[]): string => {
    const { stdout, stderr, status } = domus(...args);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  try {
    ok('run', '-d', '-q', '--name', 'web', '--', 'sh', '-c', 'echo hello > /tmp/x; sleep 100000');
    ok('snapshot', 'web', 'warm');
    const [kept] = JSON.parse(ok('snapshot', 'list', '-o', 'json')) as {
      name: string;
      memoryBytes: number;
    }[];
    assert.deepEqual([kept?.name, kept?.memoryBytes], ['warm', 512 << 20]);
    assert.equal(ok('run', '-q', '--from', 'warm', '--', 'cat', '/tmp/x'), 'hello\n');
    assert.match(domus('run', '--from', 'warm', '-m', '1G', '--', 'true').stderr, /--memory cannot be used/);
    ok('save', 'web', file('web.sav'));
    assert.match(ok('list'), /^web .* exited /m);
    assert.equal(ok('restore', '-q', '--name', 'again', file('web.sav')), 'again\n');
    assert.equal(ok('exec', 'again', 'cat', '/tmp/x'), 'hello\n');
    ok('snapshot', 'rm', 'warm');
    assert.match(domus('run', '--from', 'warm', '--', 'true').stderr, /there is no snapshot/);
  } finally {
    ok('destroy', '--all');
  }
});
