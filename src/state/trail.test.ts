/** Trails: machines that follow one do what those do that do not, and damaged ones are of no consequence. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DomusError } from '../base/errors.ts';
import { writePhysical } from '../hypervisor/guest-physical.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { createMemoryFor } from '../hypervisor/machine-host.ts';
import { addressOfGfn } from '../hypervisor/p2m.ts';
import {
  type ArrivedTrail,
  fetchTrail,
  followTrail,
  LOOKS_MAX,
  TrailRecorder,
  type TrailRoom,
  takeTrail,
} from '../hypervisor/trail.ts';
import { machineHeader } from '../machine/header.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import { SavedHeader } from './format.ts';
import {
  createSmallMachine,
  restoreSmallMachine,
  SMALL_SIZE,
  writeSmallMachine,
} from './small-machine.fixture.ts';
import { openTrail, TrailHeader, TrailKey, writeTrail } from './trail-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-trail-'));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string) => join(folder, name);
const KEY = new Uint8Array(TrailKey.size).fill(7);

/** A saved machine, and how one that goes on from there without a trail ends. */
function save() {
  const machine = createSmallMachine();
  machine.run(3);
  writeSmallMachine(machine, file('saved'));
  const plain = restoreSmallMachine(file('saved'));
  plain.run(8);
  return plain.state();
}

function makeRoom(): TrailRoom {
  const room = createMemoryFor(SMALL_SIZE, LOOKS_MAX);
  assert.ok(room);
  return room;
}

/** The trail that a machine leaves in so many slices. */
function leave(slices: number, meanwhile: (domain: Domain) => void = () => {}) {
  const record = (domain: Domain) => {
    domain.hypervisor.trail = new TrailRecorder();
  };
  const machine = restoreSmallMachine(file('saved'), record, makeRoom().memory);
  machine.run(slices);
  meanwhile(machine.domain);
  const { trail, pages } = machine.domain.hypervisor;
  assert.ok(trail && pages);
  const taken = takeTrail(machine.domain, trail.looks, pages);
  assert.ok(writeTrail(file('trail'), KEY, taken, (page, into) => pages.read(page, into)));
  return taken;
}

/** How a machine ends that follows what is in the file, and how much of the code cache it had used when it began, and in the end. */
async function follow(change: (arrived: ArrivedTrail, room: TrailRoom) => ArrivedTrail = arrived => arrived) {
  const used: number[] = [];
  let nrRead = 0;
  const code = ({ hypervisor }: Domain) => {
    const { codeNext, codeBase } = machineHeader(hypervisor.memory);
    used.push(codeNext - codeBase);
  };
  const trail = openTrail(file('trail'), KEY);
  const room = makeRoom();
  const arrived = trail && (await fetchTrail(trail, room));
  trail?.close();
  const begin = (domain: Domain) => {
    if (arrived) followTrail(domain, change(arrived, room));
    code(domain);
    const { pages } = domain.hypervisor;
    assert.ok(pages);
    const read = pages.read.bind(pages);
    pages.read = (page, into) => {
      nrRead += 1;
      read(page, into);
    };
  };
  const machine = restoreSmallMachine(file('saved'), begin, room.memory);
  machine.run(8);
  code(machine.domain);
  return { state: machine.state(), used, nrRead };
}

test('a machine that follows a trail reads and decodes nothing, and does the same', async () => {
  const plain = save();
  const { read, executed, code } = leave(8);
  // The program is only executed; its counter is written to.
  assert.deepEqual(
    executed.map(({ gfn }) => gfn),
    [1],
  );
  assert.ok(read.some(({ gfn }) => gfn === 2));
  assert.equal(code?.frames.length, 2);
  const { state, used, nrRead } = await follow();
  assert.deepEqual(state, plain);
  assert.equal(nrRead, 0);
  assert.ok((used[0] ?? 0) > 0);
  assert.equal(used[1], used[0]);
});

test('what of a trail has not arrived is read and decoded as without it', async () => {
  const plain = save();
  leave(8);
  const noCode = await follow((arrived, { memory }) => {
    memory.u8.fill(0xcc, machineHeader(memory).codeBase, machineHeader(memory).codeBase + 4096);
    return { ...arrived, hasCode: false };
  });
  assert.deepEqual(noCode.state, plain);
  assert.equal(noCode.used[0], 0);
  const noPages = await follow((arrived, { memory, first }) => {
    memory.u8.fill(0xcc, first * 4096, (first + arrived.trail.nrRead) * 4096);
    return { ...arrived, hasPages: false };
  });
  assert.deepEqual(noPages.state, plain);
});

test('code that is not what the saved machine has is not kept', async () => {
  const plain = save();
  // add ebx, 3 becomes add ebx, 5.
  const taken = leave(8, domain => writePhysical(domain, 0x1003, Uint8Array.of(5)));
  assert.deepEqual(taken.executed, []);
  assert.equal(taken.code?.frames.length, 0);
  const { state, nrRead } = await follow();
  assert.deepEqual(state, plain);
  assert.equal(nrRead, 0);
});

test('a guest that changes its code behind a trail executes what it has written', async () => {
  save();
  leave(8);
  const change = (domain: Domain) => writePhysical(domain, 0x1003, Uint8Array.of(5));
  const plain = restoreSmallMachine(file('saved'), change);
  plain.run(8);
  const trail = openTrail(file('trail'), KEY);
  assert.ok(trail);
  const room = makeRoom();
  const arrived = await fetchTrail(trail, room);
  trail.close();
  const begin = (domain: Domain) => {
    followTrail(domain, arrived);
    change(domain);
  };
  const machine = restoreSmallMachine(file('saved'), begin, room.memory);
  machine.run(8);
  assert.deepEqual(machine.state(), plain.state());
});

test('a trail is of its saved machine, and of the user alone', () => {
  save();
  leave(4);
  assert.equal(openTrail(file('trail'), new Uint8Array(TrailKey.size)), undefined);
  assert.equal(openTrail(file('none'), KEY), undefined);
  chmodSync(file('trail'), 0o666);
  assert.equal(openTrail(file('trail'), KEY), undefined);
});

test('a machine that has begun, or has another memory, follows nothing', async () => {
  const plain = save();
  leave(8);
  const trail = openTrail(file('trail'), KEY);
  assert.ok(trail);
  const room = makeRoom();
  const arrived = await fetchTrail(trail, room);
  trail.close();
  const begin = (domain: Domain) => {
    addressOfGfn(domain, 2);
    const { codeBase, codeNext } = machineHeader(room.memory);
    followTrail(domain, arrived);
    assert.equal(machineHeader(room.memory).codeNext, codeNext);
    const isZero = room.memory.u8
      .subarray(codeBase, codeBase + trail.code.sizeBytes)
      .every(byte => byte === 0);
    assert.ok(isZero, 'the code cache is as the system gave it');
  };
  const machine = restoreSmallMachine(file('saved'), begin, room.memory);
  machine.run(8);
  assert.deepEqual(machine.state(), plain);
});

test('a trail whose beginning is damaged, or that is cut off, is not followed', () => {
  save();
  const { read, executed, code } = leave(8);
  const good = readFileSync(file('trail'));
  const tablesEnd = good.length - read.length * 4096 - (code?.bytes.length ?? 0);
  assert.equal(
    tablesEnd,
    TrailHeader.size + 8 * (read.length + executed.length) + 4 * (code?.frames.length ?? 0),
  );
  const chance = createSeededEntropy(12);
  const draw = new Uint8Array(4);
  const positions = Array.from({ length: 60 }, () => {
    chance.fill(draw);
    return new DataView(draw.buffer).getUint32(0, true) % tablesEnd;
  });
  for (const position of [0, 4, 9, TrailHeader.size - 1, TrailHeader.size, tablesEnd - 1, ...positions]) {
    const bad = Buffer.from(good);
    bad[position] = (bad[position] ?? 0) ^ 0x10;
    writeFileSync(file('trail'), bad, { mode: 0o600 });
    assert.equal(openTrail(file('trail'), KEY), undefined, `a bit at ${position}`);
  }
  for (const end of [0, 5, TrailHeader.size, good.length - 1]) {
    writeFileSync(file('trail'), good.subarray(0, end), { mode: 0o600 });
    assert.equal(openTrail(file('trail'), KEY), undefined, `cut at ${end}`);
  }
});

test('a page of the saved machine that is damaged is refused, where the trail has not its contents', async () => {
  save();
  leave(8);
  const trail = openTrail(file('trail'), KEY);
  assert.ok(trail);
  const saved = readFileSync(file('saved'));
  const { nrPages } = SavedHeader.at(new DataView(saved.buffer, saved.byteOffset), 0);
  saved.fill(0xee, saved.length - nrPages * 4096);
  writeFileSync(file('saved'), saved);
  const room = makeRoom();
  const arrived = { ...(await fetchTrail(trail, room)), hasPages: false };
  trail.close();
  assert.throws(
    () => restoreSmallMachine(file('saved'), domain => followTrail(domain, arrived), room.memory),
    (error: unknown) => error instanceof DomusError && error.code === 'E_SAVE_DAMAGED',
  );
});
