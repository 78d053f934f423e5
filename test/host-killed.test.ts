/**
 * The host process is killed at random moments (of a fixed seed) while guests write and others of its duties are under way: what was
 * saved is there and can be gone on with, what ran is reported, disks are sound, and nothing is half there.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DomusError } from '../src/base/errors.ts';
import { Daemon } from '../src/toolstack/daemon/client.ts';
import { recordBytes } from '../src/toolstack/daemon/guest-log.ts';
import { findSnapshot, listSnapshots, newSnapshotPath, removeSnapshot } from '../src/toolstack/snapshots.ts';
import { examine } from './examine.fixture.ts';
import { formattedDisk } from './formatted-disk.fixture.ts';
import { type Duty, ends, type Fates, NONE, others } from './host-duties.fixture.ts';
import { random } from './oracle/random.ts';
import { realHost } from './real-host.fixture.ts';

const entry = fileURLToPath(new URL('../bin/domus.js', import.meta.url));
const ROUNDS = process.env.DOMUS_TEST_FULL === '1' ? 100 : 2;
/** Rounds that use the same disk, so that each finds what the ones before left. */
const ROUNDS_A_DISK = 5;
const DUTIES = 4;
const MOMENT_MS_MAX = 1500;
const SEED = 4;
const TIMEOUT_MS = 300_000;

const scratch = mkdtempSync(join(tmpdir(), 'domus-killed-'));
const stateFolder = join(scratch, 'state');
const disksFolder = join(scratch, 'disks');
const real = realHost({}, TIMEOUT_MS);
after(() => rmSync(scratch, { recursive: true, force: true }));

/** Files with their own number in them; its output is the numbers of those that are durable. */
const writer = (first: number) =>
  `mkdir -p /mnt && mount -t ext4 /dev/xvda /mnt && i=${first}; while :; do i=$((i+1)); echo content $i >/mnt/$i; ` +
  'dd if=/dev/urandom of=/mnt/big$((i%7)) bs=16k count=20 2>/dev/null; sync; echo $i >/tmp/told; echo $i; done';
const WORKER = 'i=0; while :; do i=$((i+1)); echo $i >/tmp/told; md5sum /bin/busybox >/tmp/sum; done';

/** A host process that a command has started. */
async function hostProcess(): Promise<Daemon> {
  execFileSync(process.execPath, [entry, 'info'], { env: { ...process.env, DOMUS_STATE: stateFolder } });
  return Daemon.connect({ stateFolder, entry });
}

async function processOf(daemon: Daemon): Promise<number> {
  const { body } = await daemon.forward('GET', '/v1/version');
  let text = '';
  for await (const chunk of body) text += new TextDecoder().decode(chunk);
  return (JSON.parse(text) as { processId: number }).processId;
}

/** Names of a folder that are none of these. */
const unknown = (folder: string, known: RegExp): string[] =>
  readdirSync(folder).filter(name => !known.test(name));

/** In the state folder lies what belongs to guests and snapshots, and nothing else. */
async function noLitter(daemon: Daemon): Promise<void> {
  const guests = (await daemon.list()).map(({ id }) => String(id));
  assert.deepEqual(readdirSync(join(stateFolder, 'guests')).sort(), guests.sort());
  for (const id of guests)
    assert.deepEqual(unknown(join(stateFolder, 'guests', id), /^(guest\.json|log|log\.old)$/), []);
  const saved = (await listSnapshots(stateFolder)).map(({ name }) => `${name}.sav`);
  const files = readdirSync(join(stateFolder, 'snapshots'));
  const folders = files.filter(name => /\.disks-[0-9a-f-]+$/.test(name));
  assert.deepEqual(
    files.filter(name => !folders.includes(name)),
    saved,
  );
  // One for each that has disks.
  const owners = folders.map(name => name.replace(/\.disks-.*/, ''));
  assert.ok(new Set(owners).size === owners.length && owners.every(name => saved.includes(name)), `${files}`);
  assert.deepEqual(unknown(stateFolder, /^(daemon\.(sock|token|log)|guests|snapshots)$/), []);
}

/** Beside a disk that is in use again: its bases, and locks of the process that uses it. */
function noDiskLitter(owner: number): void {
  const known = `^data-\\d+(-[0-9a-f]{8}\\.base)?\\.vhd(\\.flat\\.raw|\\.lock|\\.lock-${owner}-\\d+)?$`;
  assert.deepEqual(unknown(disksFolder, new RegExp(known)), []);
}

/** What is kept goes on from where it was, which may be before its first number, or just when it writes one. */
async function goesOn(from: string): Promise<void> {
  const command =
    'until n=$(cat /tmp/told 2>/dev/null) && [ -n "$n" ]; do usleep 10000; done; ' +
    '[ "$n" -ge 1 ] && { [ ! -e /mnt ] || [ "$(cat /mnt/$n)" = "content $n" ]; } || { echo "$n"; mount; ls /mnt; exit 1; }';
  const { exitCode, stdout, stderr } = await real.host.run({ from, command, timeoutMs: TIMEOUT_MS });
  assert.equal(exitCode, 0, `${from}: ${Buffer.concat([stdout, stderr])}`);
}

/** The numbers that the writer was told to be durable. */
async function numbersOf(daemon: Daemon): Promise<number[]> {
  let text = '';
  for await (const record of daemon.logs('writer', { streams: ['stdout'] }))
    text += new TextDecoder().decode(recordBytes(record));
  return text.split('\n').slice(0, -1).map(Number);
}

async function diskHolds(disk: string, numbers: number): Promise<void> {
  const flat = await examine(disk, true);
  for (let i = 1; i <= numbers; i++) {
    const content = execFileSync('debugfs', ['-R', `cat /${i}`, flat], { encoding: 'utf8', stdio: 'pipe' });
    assert.equal(content, `content ${i}\n`);
  }
}

/** Ask for all of it, and kill the process; what each was answered. */
async function killAmong(
  daemon: Daemon,
  duties: readonly Duty[],
  below: (limit: number) => number,
): Promise<(DomusError | undefined)[]> {
  const processNumber = await processOf(daemon);
  const moment = below(MOMENT_MS_MAX);
  const answers = duties.map(async ({ ask }) => {
    await sleep(below(moment));
    try {
      await ask(daemon);
      return undefined;
    } catch (error) {
      assert.ok(error instanceof DomusError, `${error}`);
      return error;
    }
  });
  await sleep(moment);
  process.kill(processNumber, 'SIGKILL');
  return Promise.all(answers);
}

real.guest(`the host process is killed at ${ROUNDS} moments`, async t => {
  try {
    execFileSync('mke2fs', ['-V'], { stdio: 'ignore' });
  } catch {
    t.skip('there is no e2fsprogs');
    return;
  }
  const chance = random(SEED);
  let daemon = await hostProcess();
  // Also when the test fails: guests keep it alive.
  t.after(async () => {
    const last = await processOf(daemon).catch(() => undefined);
    if (last !== undefined) process.kill(last, 'SIGTERM');
  });
  await daemon.create({ name: 'first', command: ['sh', '-c', WORKER] });
  const warm = await newSnapshotPath('warm', stateFolder);
  await daemon.save('first', warm, true);
  await daemon.destroy('first');
  let disk = '';
  let told = 0;
  for (let round = 0; round < ROUNDS; round++) {
    if (round % ROUNDS_A_DISK === 0) {
      rmSync(disksFolder, { recursive: true, force: true });
      mkdirSync(disksFolder);
      disk = await formattedDisk(join(disksFolder, `data-${round}.vhd`), 32 << 20);
      told = 0;
    }
    await daemon.create({ name: 'worker', from: warm });
    const command = ['sh', '-c', writer(told)];
    await daemon.create({ name: 'writer', memory: 128 << 20, disks: [{ path: disk }], command });
    noDiskLitter(await processOf(daemon));
    const saved = join(scratch, `worker-${round}.sav`);
    const duties = [chance.pick(ends(saved))];
    const left = [...others(stateFolder, warm)];
    while (duties.length < DUTIES) duties.push(...left.splice(chance.below(left.length), 1));
    const answers = await killAmong(daemon, duties, chance.below);
    const story = `round ${round}: ${duties.map(({ what }, i) => `${what}: ${answers[i]?.code ?? 'done'}`).join(', ')}`;
    try {
      daemon = await hostProcess();
      const fates: Fates = new Map(['worker', 'writer'].map(name => [name, new Set(['lost'])]));
      for (const [i, { settle }] of duties.entries()) settle(answers[i] === undefined, fates);
      const found = new Map((await daemon.list()).map(({ name, state }) => [name, state]));
      for (const [name, fate] of fates) assert.ok(fate.has(found.get(name) ?? NONE), name);
      for (const name of found.keys()) assert.ok(fates.has(name), name);
      await noLitter(daemon);
      const numbers = await numbersOf(daemon);
      assert.deepEqual(
        numbers,
        numbers.map((_, i) => told + i + 1),
      );
      told += numbers.length;
      await diskHolds(disk, told);
      for (const [i, { saves }] of duties.entries()) {
        if (saves === undefined) continue;
        const path = saves === saved ? saved : await findSnapshot(saves, stateFolder).catch(() => '');
        assert.ok(existsSync(path) || answers[i], saves);
        if (!existsSync(path)) continue;
        await goesOn(path);
        if (saves !== saved) await removeSnapshot(saves, stateFolder);
      }
      assert.deepEqual(
        readdirSync(scratch).filter(name => /\.tmp-/.test(name)),
        [],
      );
      for (const { id } of await daemon.list()) await daemon.destroy(String(id));
    } catch (error) {
      throw new Error(story, { cause: error });
    }
    t.diagnostic(story);
  }
});
