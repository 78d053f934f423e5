/** What is left of saves that were cut off, and what is none of it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { writeSaved } from '../state/file.ts';
import { RecordType } from '../state/format.ts';
import { encodeFacts } from './machine-facts.ts';
import { noteSave, removeAllLeftovers, removeLeftoversOf, removeNotedLeftovers } from './saved-leftovers.ts';

const scratch = mkdtempSync(join(tmpdir(), 'domus-leftovers-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const deadProcess = spawnSync('true').pid;

/** Two machines: one that names a folder of disks, one that cannot be read; and what two processes have left of each. */
function folderOf(name: string): string {
  const folder = join(scratch, name);
  mkdirSync(folder);
  const facts = {
    memoryBytes: 64 << 20,
    vcpus: 1,
    nrConsoles: 1,
    disks: [],
    disksFolder: 'a.sav.disks-00000000',
  };
  const none = new Uint8Array(0);
  writeSaved(
    join(folder, 'a.sav'),
    [
      { type: RecordType.machine, payload: encodeFacts(facts) },
      { type: RecordType.pages, payload: none },
    ],
    { count: 0, checks: new Uint32Array(0), get: () => none, isInMemory: () => false },
    false,
  );
  copyFileSync(join(folder, 'a.sav'), join(folder, 'a.sav.other'));
  writeFileSync(join(folder, 'b.sav'), 'of another version');
  for (const saved of ['a.sav', 'b.sav', 'c.sav'])
    for (const [digit, owner] of [deadProcess, process.pid, undefined, deadProcess].entries()) {
      const disks = join(folder, `${saved}.disks-0000000${digit}`);
      mkdirSync(disks);
      if (owner !== undefined) writeFileSync(join(disks, `saving-${owner}`), '');
      writeFileSync(join(folder, `${saved}.tmp-${owner ?? deadProcess}-${digit}`), '');
    }
  return folder;
}
const disks = (saved: string, ...digits: number[]) => digits.map(digit => `${saved}.disks-0000000${digit}`);
const written = (saved: string) => [`${saved}.tmp-${process.pid}-1`];

test('of one machine: what processes have left that run no more', async () => {
  const folder = folderOf('one');
  const before = readdirSync(folder);
  await removeLeftoversOf(join(folder, 'a.sav'));
  const own = [...disks('a.sav', 0, 1), ...written('a.sav')];
  const left = before.filter(name => !/^a\.sav\.(disks|tmp)-/.test(name));
  assert.deepEqual(readdirSync(folder), [...left, ...own].sort());
  // It was written; its process had no time to say so.
  assert.deepEqual(readdirSync(join(folder, 'a.sav.disks-00000000')), []);
});

test('of all machines, where nobody saves', async () => {
  const folder = folderOf('all');
  await removeAllLeftovers(folder);
  const kept = ['a.sav', 'a.sav.other', 'b.sav', ...disks('a.sav', 0), ...disks('b.sav', 0, 1, 2, 3)];
  assert.deepEqual(readdirSync(folder), kept.sort());
});

test('of saves to anywhere: what a process has noted and not taken back', async () => {
  const folder = folderOf('noted');
  const notes = join(scratch, 'notes');
  mkdirSync(notes);
  const before = readdirSync(folder);
  const done = noteSave(notes, join(folder, 'c.sav'));
  noteSave(notes, join(folder, 'a.sav'));
  await done();
  writeFileSync(join(notes, `saving-${deadProcess}-1`), '"/half');
  writeFileSync(join(notes, 'other'), '');
  await removeNotedLeftovers(notes);
  // The note is this process's, so that what is left of it counts as well.
  const left = before.filter(name => !/^a\.sav\.(disks-0000000[123]|tmp-)/.test(name));
  assert.deepEqual(readdirSync(folder), left);
  assert.deepEqual(readdirSync(notes), ['other']);
  await removeNotedLeftovers(join(scratch, 'nowhere'));
});
