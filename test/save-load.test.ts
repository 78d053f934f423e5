/**
 * A Debian that computes, uses memory and writes a database, saved and gone on with from the file a hundred times in a row: every copy is made of
 * the one before. The programs look for errors themselves: stress-ng compares what it computes and what memory and files hold, each row
 * of the database carries a hash. It takes minutes: only in `npm run test:full`.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Host, type VirtualMachine } from '../src/toolstack/index.ts';

const TIMEOUT_MS = 3_600_000;
const ROUNDS = 100;
const IMAGE = 'domus-test-load:latest';
const folder = mkdtempSync(join(tmpdir(), 'domus-save-load-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** One transaction adds a row and changes the sum of all: whatever is read is consistent in itself. */
const DATABASE = `PRAGMA journal_mode=WAL;
CREATE TABLE entry(n INTEGER PRIMARY KEY, body BLOB, hash BLOB);
CREATE TABLE total(n INTEGER, bytes INTEGER);
INSERT INTO total VALUES(0, 0);`;
const ADD = `BEGIN;
INSERT INTO entry(body) SELECT randomblob(1000 + abs(random()) % 3000);
UPDATE entry SET hash = sha3(body) WHERE n = last_insert_rowid();
UPDATE total SET n = n + 1, bytes = bytes + (SELECT length(body) FROM entry WHERE n = last_insert_rowid());
COMMIT;`;
/** What is wrong in it, in words; nothing when all is well. */
const CHECK = `SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok';
SELECT 'row ' || n || ' has another hash' FROM entry WHERE hash IS NOT sha3(body);
SELECT 'the totals differ' FROM total WHERE n <> (SELECT count(*) FROM entry) OR bytes <> (SELECT sum(length(body)) FROM entry);`;

/** Each leaves a file `/load/done-NAME` with its exit code when it ends. */
const START = `mkdir /load && cd /load && sqlite3 base "$DATABASE" >/dev/null
echo "$ADD" >add.sql
cat >write <<'END'
while [ ! -e /load/stop ]; do sqlite3 -cmd '.timeout 60000' /load/base </load/add.sql || { echo $? >/load/done-write; exit; }; done
echo 0 >/load/done-write
END
cat >stress <<'END'
stress-ng --verify --temp-path /load --cpu 1 --vm 1 --vm-bytes 24M --hdd 1 --hdd-bytes 8M --pipe 1 --timeout 0 >/load/stress.log 2>&1 &
echo $! >/load/stress.pid
wait $!
echo $? >/load/done-stress
END
for each in write stress; do setsid sh /load/$each </dev/null >/load/$each.out 2>&1 & done`;
const STOP = `touch /load/stop; kill -INT $(cat /load/stress.pid)
until [ -e /load/done-write ] && [ -e /load/done-stress ]; do sleep 0.2; done
cat /load/done-write /load/done-stress /load/write.out /load/stress.out; cat /load/stress.log`;

async function say(vm: VirtualMachine, command: string, env: Record<string, string> = {}): Promise<string> {
  const { exitCode, stdout, stderr } = await vm.exec(command, { env });
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assert.equal(exitCode, 0, `${command}: ${text(stdout)}${text(stderr)}`);
  return text(stdout) + text(stderr);
}

const query = (sql: string) => `sqlite3 -cmd '.timeout 60000' /load/base "${sql}"`;
const rows = async (vm: VirtualMachine): Promise<number> =>
  Number(await say(vm, query('SELECT n FROM total')));

test(`a Debian under load, saved and restored ${ROUNDS} times`, {
  timeout: TIMEOUT_MS,
  skip: !process.env.DOMUS_TEST_FULL && 'only in npm run test:full',
}, async t => {
  await using host = await Host.open();
  await host.images.obtain({
    reference: 'debian:12',
    include: ['stress-ng', 'sqlite3'],
    name: IMAGE,
    refresh: true,
  });
  const file = join(folder, 'load.sav');
  let vm = await host.create({ image: IMAGE, network: 'none', memory: '384M', vcpus: 2 });
  await say(vm, START, { DATABASE, ADD });
  for (let round = 0; round < ROUNDS; round++) {
    // It is in the middle of its work: some rows since it was restored, and not all that it does has a row.
    const begin = await rows(vm);
    while ((await rows(vm)) < begin + 2);
    const known = await rows(vm);
    await vm.save(file, { isDurable: false });
    await vm.destroy();
    vm = await host.restore(file, { pcpus: 1 + (round & 1) });
    const found = await rows(vm);
    assert.ok(found >= known, `round ${round}: ${found} rows, and ${known} were there`);
    if (round % 10 === 9 || round === ROUNDS - 1) {
      assert.equal(await say(vm, query(CHECK)), '', `round ${round}`);
      assert.equal(await say(vm, 'ls /load | grep done- || true'), '', `round ${round}: it has ended`);
      t.diagnostic(`${round + 1} rounds, ${found} rows`);
    }
  }
  const said = await say(vm, STOP);
  assert.match(said, /^0\n0\n/, said);
  assert.match(said, /successful run completed/, said);
  assert.doesNotMatch(said, /fail|untrustworthy: [1-9]/);
  assert.equal(await say(vm, query(CHECK)), '');
  // Stalls are none of them: what else the host has to do is no error of the guest's.
  const complaint = /EXT4-fs (error|warning)|I\/O error|BUG: (?!soft lockup)|Oops|WARNING|blocked for/;
  const complaints = (await say(vm, 'dmesg')).split('\n').filter(line => complaint.test(line));
  assert.deepEqual(complaints, []);
  await vm.destroy();
});
