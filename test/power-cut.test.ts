/**
 * The power goes at the writes of a real guest: what Linux's ext4 asks of its disk is recorded, and done again on an image in memory that
 * loses its power at each of the writes, the worst that a medium may do with what was not flushed. `e2fsck` has to replay the journal and find
 * nothing more, and what the guest was told is durable has to be there.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DomusError } from '../src/base/errors.ts';
import { Disk } from '../src/disk/disk.ts';
import { openDisk } from '../src/disk/open.ts';
import { chance, simulatedHost, writeAsBackend } from '../src/disk/testing.fixture.ts';
import { PowerCut } from '../src/platform/sim/block-files.ts';
import { Host } from '../src/toolstack/index.ts';
import { formattedDisk } from './formatted-disk.fixture.ts';

const TIMEOUT_MS = 600_000;
const MIB = 2 ** 20;
/** Cuts in the quick run; the full one cuts at every write. */
const NR_CUTS = 30;
const IMAGE = '/d/disk.vhd';
const folder = mkdtempSync(join(tmpdir(), 'domus-power-cut-'));
after(() => rmSync(folder, { recursive: true, force: true }));

type Operation =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'discard'; readonly offset: number; readonly sizeBytes: number }
  | { readonly kind: 'flush' }
  /** The guest says that so many of its files are durable. */
  | { readonly kind: 'told'; readonly count: number };

/** Files that stay, beside others that grow, move and go. */
const SCRIPT = `mkdir /mnt && mount -t ext4 /dev/xvda /mnt && sync && echo 0 && i=0
while [ $i -lt 12 ]; do
  i=$((i + 1))
  dd if=/dev/urandom of=/mnt/big$((i % 3)) bs=16k count=$((i % 5 + 1)) 2>/dev/null
  mkdir /mnt/d$i && echo $i >/mnt/d$i/new && mv /mnt/d$i /mnt/e$i
  [ $i -lt 4 ] || rm -r /mnt/e$((i - 3))
  echo content $i | dd of=/mnt/$i conv=fsync 2>/dev/null || exit 1
  echo $i
done`;

/** What the guest asks of its disk, in order. */
async function record(t: test.TestContext, image: string): Promise<Operation[]> {
  const operations: Operation[] = [];
  const { write, writeNow, discard, flush } = Disk.prototype;
  await using host = await Host.open();
  t.mock.method(Disk.prototype, 'write', function (this: Disk, offset: number, from: Uint8Array) {
    operations.push({ kind: 'write', offset, bytes: from.slice() });
    return write.call(this, offset, from);
  });
  t.mock.method(
    Disk.prototype,
    'writeNow',
    function (this: Disk, ...args: Parameters<Disk['writeNow']>): boolean {
      const [offset, pieces] = args;
      const bytes = new Uint8Array(Buffer.concat(pieces as Uint8Array[]));
      const isDone = writeNow.apply(this, args);
      if (isDone) operations.push({ kind: 'write', offset, bytes });
      return isDone;
    },
  );
  t.mock.method(Disk.prototype, 'discard', function (this: Disk, offset: number, sizeBytes: number) {
    operations.push({ kind: 'discard', offset, sizeBytes });
    return discard.call(this, offset, sizeBytes);
  });
  t.mock.method(Disk.prototype, 'flush', function (this: Disk) {
    operations.push({ kind: 'flush' });
    return flush.call(this);
  });
  const { exitCode } = await host.run({
    command: SCRIPT,
    disks: [image],
    timeoutMs: TIMEOUT_MS,
    stdout: chunk => {
      const count = Number(new TextDecoder().decode(chunk).trim().split('\n').at(-1));
      operations.push({ kind: 'told', count });
    },
  });
  t.mock.restoreAll();
  assert.equal(exitCode, 0);
  return operations;
}

/** Do it all again; the power goes at a write of the host's, or never. */
async function replay(image: Uint8Array, operations: readonly Operation[], failAt: number | undefined) {
  const host = simulatedHost();
  const { files } = host;
  files.put(IMAGE, image);
  files.failAt = failAt;
  let nrDurable: number | undefined;
  /** Host writes from the moment on when the file system was mounted. */
  let firstWrite = 0;
  try {
    const disk = await openDisk(host, IMAGE);
    for (const operation of operations) {
      if (operation.kind === 'write') await writeAsBackend(disk, operation.offset, operation.bytes);
      else if (operation.kind === 'discard') await disk.discard(operation.offset, operation.sizeBytes);
      else if (operation.kind === 'flush') await disk.flush();
      else {
        if (nrDurable === undefined) firstWrite = files.nrWrites + 1;
        nrDurable = operation.count;
      }
    }
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
  }
  return { files, nrDurable: nrDurable ?? 0, firstWrite };
}

function checkFileSystem(flat: string, nrDurable: number, what: string): void {
  try {
    // 1: it has replayed the journal.
    execFileSync('e2fsck', ['-p', flat], { stdio: 'pipe' });
  } catch (error) {
    const { status, stdout } = error as { status?: number; stdout?: Buffer };
    assert.equal(status, 1, `${what}: ${stdout}`);
  }
  try {
    execFileSync('e2fsck', ['-fn', flat], { stdio: 'pipe' });
  } catch (error) {
    assert.fail(`${what}: ${(error as { stdout?: Buffer }).stdout}`);
  }
  for (let i = 1; i <= nrDurable; i++) {
    const found = execFileSync('debugfs', ['-R', `cat /${i}`, flat], { encoding: 'utf8', stdio: 'pipe' });
    assert.equal(found, `content ${i}\n`, what);
  }
}

test('the power goes at writes of a guest’s ext4: the journal sets it right, and what was told is there', {
  timeout: TIMEOUT_MS,
}, async t => {
  let image: Uint8Array;
  let operations: Operation[];
  try {
    // The superblock is two sectors. With a checksum over both ext4 loses it when a medium writes one of them and not the other, which
    // media, and Domus, may do.
    const path = await formattedDisk(join(folder, 'disk.vhd'), 8 * MIB, ['^metadata_csum']);
    image = readFileSync(path);
    operations = await record(t, path);
  } catch (error) {
    const isMissing =
      error instanceof DomusError
        ? /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code)
        : 'spawnargs' in (error as object);
    if (!isMissing) throw error;
    return t.skip(`no Debian kernel or no e2fsprogs: ${(error as Error).message}`);
  }
  assert.ok(operations.filter(({ kind }) => kind === 'flush').length > 12);
  const whole = await replay(image, operations, undefined);
  assert.equal(whole.nrDurable, 12);
  const { firstWrite } = whole;
  const nrWrites = whole.files.nrWrites;
  const step = process.env.DOMUS_TEST_FULL ? 1 : Math.max(1, Math.floor((nrWrites - firstWrite) / NR_CUTS));
  const flat = join(folder, 'flat.raw');
  let nrCuts = 0;
  for (let failAt = firstWrite; failAt <= nrWrites; failAt += step) {
    const { files, nrDurable } = await replay(image, operations, failAt);
    const disk = await openDisk(simulatedHost(2, files.cut(chance(failAt).below)), IMAGE);
    const bytes = new Uint8Array(disk.sizeBytes);
    await disk.read(0, bytes);
    await disk.close();
    writeFileSync(flat, bytes);
    checkFileSystem(flat, nrDurable, `cut at write ${failAt} of ${nrWrites}`);
    nrCuts += 1;
  }
  assert.ok(nrCuts >= NR_CUTS, `${nrCuts} cuts`);
  t.diagnostic(`${nrCuts} cuts, ${nrWrites - firstWrite} writes`);
});
