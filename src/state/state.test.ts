/** Saved machines: what goes on after a restore, files from earlier versions, and files that are not what they should be. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DomusError } from '../base/errors.ts';
import { crc32 } from '../platform/node/checksum.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import { decodeRecords, encodeRecords, pagesAt, RecordType, SavedHeader } from './format.ts';
import { createSmallMachine, restoreSmallMachine, writeSmallMachine } from './small-machine.fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-state-'));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string) => join(folder, name);
const isCode = (code: string) => (error: unknown) => error instanceof DomusError && error.code === code;

function savedBytes(): Buffer {
  const machine = createSmallMachine();
  machine.run(3);
  writeSmallMachine(machine, file('whole'));
  return readFileSync(file('whole'));
}
/** Header, records and pages of a file. */
function taken(bytes: Buffer) {
  const { recordBytes, nrRecords, nrPages } = SavedHeader.at(new DataView(bytes.buffer, bytes.byteOffset), 0);
  const records = decodeRecords(bytes.subarray(SavedHeader.size, SavedHeader.size + recordBytes), nrRecords);
  return { records, nrPages, pages: bytes.subarray(pagesAt(recordBytes)), recordBytes };
}

test('a restored machine goes on to the last register, and saving leaves no trace', () => {
  const straight = createSmallMachine();
  straight.run(10);
  const saved = createSmallMachine();
  saved.run(4);
  writeSmallMachine(saved, file('half'));
  saved.run(6);
  assert.deepEqual(saved.state(), straight.state());
  const restored = restoreSmallMachine(file('half'));
  restored.run(6);
  assert.deepEqual(restored.state(), straight.state());
  assert.ok(straight.state().counter > 100);
});

test('what a restored machine has not looked at is saved all the same', () => {
  const first = createSmallMachine();
  first.run(2);
  writeSmallMachine(first, file('first'));
  const second = restoreSmallMachine(file('first'));
  writeSmallMachine(second, file('second'));
  const [a, b] = [readFileSync(file('first')), readFileSync(file('second'))];
  assert.deepEqual(taken(a).pages, taken(b).pages);
  assert.deepEqual(taken(a).records.get(RecordType.map), taken(b).records.get(RecordType.map));
  assert.deepEqual(taken(a).records.get(RecordType.vcpu), taken(b).records.get(RecordType.vcpu));
  const third = restoreSmallMachine(file('second'));
  third.run(5);
  first.run(5);
  assert.deepEqual(third.state(), first.state());
});

test('a domain that has more memory than it is to have, as it has not given it back yet, is saved, restored and cloned', () => {
  const machine = createSmallMachine();
  machine.run(2);
  const { state } = machine.domain;
  state.maxPages = state.totPages - 8;
  const { clone } = machine.fork();
  writeSmallMachine(machine, file('larger'));
  const restored = restoreSmallMachine(file('larger'));
  machine.run(3);
  for (const copy of [clone, restored]) {
    copy.run(3);
    assert.deepEqual(copy.state(), machine.state());
    assert.deepEqual(
      [copy.domain.state.maxPages, copy.domain.state.totPages],
      [state.maxPages, state.totPages],
    );
  }
});

test('files of every version load', () => {
  copyFileSync(new URL('fixtures/v1.sav', import.meta.url), file('v1'));
  const machine = restoreSmallMachine(file('v1'));
  assert.deepEqual(machine.state(), { eax: 1500n, ebx: 4500n, counter: 1500, retired: 6000n });
  machine.run(1);
  assert.deepEqual(machine.state(), { eax: 1750n, ebx: 5250n, counter: 1750, retired: 7000n });
});

test('a file that ends too early is refused wherever it ends', () => {
  const bytes = savedBytes();
  const ends = [0, 7, 8, 40, 63, 64, 100, taken(bytes).recordBytes, bytes.length - 4096, bytes.length - 1];
  for (const end of ends) {
    writeFileSync(file('cut'), bytes.subarray(0, end));
    assert.throws(
      () => restoreSmallMachine(file('cut')),
      isCode(end < SavedHeader.size ? 'E_SAVE_FOREIGN' : 'E_SAVE_TRUNCATED'),
      `cut at ${end}`,
    );
  }
  writeFileSync(file('cut'), Buffer.concat([bytes, Buffer.alloc(1)]));
  assert.throws(() => restoreSmallMachine(file('cut')), isCode('E_SAVE_DAMAGED'));
});

test('an altered bit is found: in header and records at once, in a page when it is read', () => {
  const bytes = savedBytes();
  const { recordBytes } = taken(bytes);
  const entropy = createSeededEntropy(5);
  const chosen = new Uint8Array(4);
  for (let i = 0; i < 120; i++) {
    entropy.fill(chosen);
    const bit = new DataView(chosen.buffer).getUint32(0, true) % ((SavedHeader.size + recordBytes) * 8);
    // Bytes that fill up mean nothing.
    if (bit >> 3 >= SavedHeader.offsets.pad && bit >> 3 < SavedHeader.size) continue;
    const altered = Buffer.from(bytes);
    altered[bit >> 3]! ^= 1 << (bit & 7);
    writeFileSync(file('altered'), altered);
    let refused: unknown;
    try {
      restoreSmallMachine(file('altered'));
    } catch (error) {
      refused = error;
    }
    if (refused === undefined) assert.ok(isPadding(bytes, bit >> 3), `bit ${bit} was not noticed`);
    else assert.ok(refused instanceof DomusError && /^E_SAVE_/.test(refused.code), String(refused));
  }
  const altered = Buffer.from(bytes);
  altered[altered.length - 1]! ^= 1;
  writeFileSync(file('altered'), altered);
  const machine = restoreSmallMachine(file('altered'));
  assert.throws(
    () => machine.domain.hypervisor.pages?.read(taken(bytes).nrPages, new Uint8Array(4096)),
    isCode('E_SAVE_DAMAGED'),
  );
});

/** Between a payload and the next record, or at the end of a record's header. */
function isPadding(bytes: Buffer, at: number): boolean {
  const changed = Buffer.from(bytes);
  changed[at]! ^= 0xff;
  try {
    taken(changed);
    return true;
  } catch {
    return false;
  }
}

test('files of others and of later versions are refused with the reason', () => {
  writeFileSync(
    file('foreign'),
    'LibxlFmt and so on, longer than a header of ours would be, to be sure of it',
  );
  assert.throws(() => restoreSmallMachine(file('foreign')), isCode('E_SAVE_FOREIGN'));
  const bytes = savedBytes();
  bytes.writeUInt32LE(99, SavedHeader.offsets.version);
  writeFileSync(file('later'), bytes);
  assert.throws(() => restoreSmallMachine(file('later')), isCode('E_SAVE_VERSION'));
  const { records, nrPages, pages } = taken(savedBytes());
  const all = [...records].flatMap(([type, payloads]) => payloads.map(payload => ({ type, payload })));
  const unknown = [...all, { type: 77, payload: new Uint8Array(3) }];
  writeFileSync(file('later'), Buffer.concat([encodeRecords(unknown, nrPages), pages]));
  assert.throws(() => restoreSmallMachine(file('later')), isCode('E_SAVE_VERSION'));
  assert.throws(() => restoreSmallMachine(file('nowhere')), isCode('E_SAVE_FILE'));
});

test('records that were forged, with good checksums, harm nothing', () => {
  const { records, nrPages, pages } = taken(savedBytes());
  const all = [...records].flatMap(([type, payloads]) => payloads.map(payload => ({ type, payload })));
  const entropy = createSeededEntropy(11);
  const next = (below: number): number => {
    const four = new Uint8Array(4);
    entropy.fill(four);
    return new DataView(four.buffer).getUint32(0, true) % below;
  };
  const outcomes = { refused: 0, ran: 0 };
  for (let round = 0; round < 100; round++) {
    const victim = next(all.length);
    const forged = all.map(({ type, payload }, i) => {
      if (i !== victim) return { type, payload };
      const copy = Uint8Array.from(payload);
      for (let n = 1 + next(6); n > 0 && copy.length > 0; n--) {
        copy[next(copy.length)] = [0, 0xff, 0x80, next(256)][next(4)] as number;
      }
      return { type, payload: next(8) === 0 ? copy.subarray(0, next(copy.length + 1)) : copy };
    });
    writeFileSync(file('forged'), Buffer.concat([encodeRecords(forged, nrPages), pages]));
    try {
      restoreSmallMachine(file('forged')).run(3);
      outcomes.ran += 1;
    } catch (error) {
      assert.ok(error instanceof DomusError, `round ${round}: ${(error as Error).stack}`);
      outcomes.refused += 1;
    }
  }
  assert.ok(outcomes.refused > 10 && outcomes.ran > 10, JSON.stringify(outcomes));
});

test('checksums are those of other tools', () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926);
});
