import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as blkif from '../../abi/xen/blkif.ts';
import { PAGE_SIZE } from '../../base/brand.ts';
import { resizeDisk } from '../../disk/resize.ts';
import { chance } from '../../disk/testing.fixture.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { SIZE, setUpDisk } from './disk.fixture.ts';
import {
  BACK,
  directRequest,
  discardRequest,
  FIRST_PAGE,
  FRONT,
  indirectRequest,
  type Page,
  setUpFrontend,
} from './frontend.fixture.ts';
import type { BlockTransfer } from './server.ts';
import { vdevName, vdevNumber } from './vdev.ts';

const { BLKIF_OP_READ: READ, BLKIF_OP_WRITE: WRITE, BLKIF_OP_FLUSH_DISKCACHE: FLUSH } = blkif;
/** Granted pages that hold data. */
const DATA = FIRST_PAGE + 64;

const pageBytes = (world: { memory: { u8: Uint8Array } }, ref: number): Uint8Array =>
  world.memory.u8.subarray(ref * PAGE_SIZE, (ref + 1) * PAGE_SIZE);

test('the keys say what the device can do', async () => {
  const { disk } = await setUpDisk();
  const { guest, device } = setUpFrontend({ disk });
  for (const [key, value] of Object.entries({
    state: '2',
    frontend: `/local/domain/5/${FRONT}`,
    mode: 'w',
    'feature-flush-cache': '1',
    'feature-max-indirect-segments': '256',
    'feature-persistent': '0',
    'feature-discard': '1',
    'discard-granularity': String(64 * 1024),
    'multi-queue-max-queues': '4',
    'max-ring-page-order': '4',
  })) {
    assert.equal(guest.read(`${BACK}/${key}`), value, key);
  }
  assert.equal(guest.read(`${FRONT}/virtual-device`), '51712');
  assert.equal(guest.read(`${FRONT}/state`), '1');
  assert.equal(guest.write(`${BACK}/sectors`, '1'), 'EACCES');
  assert.equal(device.state, 2);
});

test('a kernel connects, writes, reads, flushes, and closes', async () => {
  const { disk } = await setUpDisk();
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  assert.equal(world.guest.read(`${BACK}/state`), '4');
  assert.equal(world.guest.read(`${BACK}/sectors`), String(SIZE / 512));
  assert.equal(world.guest.read(`${BACK}/info`), '0');
  pageBytes(world, DATA).fill(7);
  pageBytes(world, DATA + 1).fill(8);
  ring.put(directRequest(1, WRITE, 100, [{ ref: DATA }, { ref: DATA + 1, first: 2, last: 3 }]));
  ring.push();
  await world.settle();
  assert.deepEqual(ring.responses(), [{ id: 1, operation: WRITE, status: 0 }]);
  assert.equal(ring.notified, 1);
  ring.put(directRequest(2, READ, 107, [{ ref: DATA + 2, first: 6, last: 7 }]));
  ring.put(directRequest(3, FLUSH, 0, []));
  ring.push();
  await world.settle();
  assert.deepEqual(ring.responses(), [
    { id: 2, operation: READ, status: 0 },
    { id: 3, operation: FLUSH, status: 0 },
  ]);
  const got = pageBytes(world, DATA + 2);
  assert.deepEqual([got[6 * 512 - 1], got[6 * 512], got[7 * 512], got[PAGE_SIZE - 1]], [0, 7, 8, 8]);
  assert.equal(disk.counters.flushes, 1);
  world.device.remove();
  assert.equal(world.guest.read(`${BACK}/state`), '5');
  world.setState(6);
  await world.settle();
  for (const alarm of world.alarms) alarm();
  await world.settle();
  assert.equal(world.removed(), 1);
  assert.ok([...world.mapped.values()].every(count => count === 0));
  assert.equal(world.ports.size, 0);
  assert.equal(world.xs.exists(BACK), false);
});

/** Random requests against a plain buffer, over all rings at once. */
async function randomRequests(seed: number, isSlow: boolean, rings: number, pages: number): Promise<void> {
  const { disk } = await setUpDisk({ isSlow });
  const world = setUpFrontend({ disk, queueDepth: 20 });
  const fronts = world.connect(rings, pages);
  const rng = chance(seed);
  const { below } = rng;
  const model = new Uint8Array(SIZE);
  for (let round = 0; round < 60; round++) {
    /** What must hold when all are answered. Requests of one round touch different sectors and pages. */
    const checks: (() => void)[] = [];
    const expected = new Map<number, number>();
    let page = DATA;
    for (let slot = 0; slot < 12; slot++) {
      const id = round * 100 + slot;
      const base = slot * (SIZE / 512 / 12 - 1);
      const sector = Math.floor(base) + below(30);
      const ring = fronts[below(fronts.length)];
      if (!ring) continue;
      const operation = below(2) === 0 ? READ : WRITE;
      const isIndirect = below(3) === 0;
      const used: Page[] = [];
      let sectors = 0;
      for (let count = 1 + below(isIndirect ? 14 : 11); count > 0; count--) {
        const first = below(8);
        const last = first + below(8 - first);
        if (sectors + last - first + 1 > 120) break;
        sectors += last - first + 1;
        used.push({ ref: page++, first, last });
        if (page > DATA + 160) page = DATA;
      }
      if (page + 20 > DATA + 160) break;
      if (operation === WRITE) {
        let at = sector * 512;
        for (const { ref, first = 0, last = 7 } of used) {
          const bytes = rng.bytes((last - first + 1) * 512);
          pageBytes(world, ref).set(bytes, first * 512);
          model.set(bytes, at);
          at += bytes.length;
        }
      } else {
        checks.push(() => {
          let at = sector * 512;
          for (const { ref, first = 0, last = 7 } of used) {
            const got = pageBytes(world, ref).subarray(first * 512, (last + 1) * 512);
            assert.deepEqual(
              got,
              model.subarray(at, at + got.length),
              `seed ${seed}, round ${round}, request ${id}`,
            );
            at += got.length;
          }
        });
      }
      ring.put(
        isIndirect
          ? indirectRequest(world.memory, id, operation, sector, used, [DATA + 165 + slot])
          : directRequest(id, operation, sector, used),
      );
      expected.set(id, operation);
    }
    for (const ring of fronts) ring.push();
    await world.settle();
    for (const response of fronts.flatMap(ring => ring.responses())) {
      assert.equal(response.status, 0);
      assert.equal(expected.get(response.id), response.operation);
      expected.delete(response.id);
    }
    assert.equal(expected.size, 0);
    for (const check of checks) check();
  }
  world.device.remove(true);
  const all = new Uint8Array(SIZE);
  await disk.read(0, all);
  assert.deepEqual(all, model);
  await disk.close();
}

test('random requests, direct and indirect, over one and many rings, agree with a plain buffer', async () => {
  await randomRequests(1, false, 1, 1);
  await randomRequests(2, true, 1, 4);
  await randomRequests(3, true, 4, 2);
  await randomRequests(4, false, 3, 1);
});

test('what makes no sense is answered with an error', async () => {
  const { disk } = await setUpDisk();
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  const ask = async (slot: Uint8Array) => {
    ring.put(slot);
    ring.push();
    await world.settle();
    return ring.responses().map(response => response.status);
  };
  const last = SIZE / 512 - 1;
  assert.deepEqual(await ask(directRequest(1, READ, last, [{ ref: DATA, first: 0, last: 0 }])), [0]);
  assert.deepEqual(await ask(directRequest(1, READ, last, [{ ref: DATA, first: 0, last: 1 }])), [-1]);
  for (const sector of [2 ** 32, 2 ** 52, 2 ** 53, 2 ** 63])
    assert.deepEqual(await ask(directRequest(1, READ, sector, [{ ref: DATA }])), [-1]);
  assert.deepEqual(await ask(discardRequest(1, 0, SIZE / 512)), [0]);
  for (const count of [0, SIZE / 512 + 1, 2 ** 32, 2 ** 63])
    assert.deepEqual(await ask(discardRequest(1, 0, count)), [-1]);
  assert.deepEqual(await ask(discardRequest(1, 2 ** 63, 1)), [-1]);
  assert.deepEqual(await ask(directRequest(1, READ, 0, [])), [-1]);
  assert.deepEqual(await ask(directRequest(1, READ, 0, [{ ref: DATA, first: 3, last: 2 }])), [-1]);
  assert.deepEqual(await ask(directRequest(1, READ, 0, [{ ref: DATA, first: 0, last: 8 }])), [-1]);
  assert.deepEqual(await ask(directRequest(1, WRITE, 0, [{ ref: 9999 }])), [-1]);
  assert.deepEqual(await ask(directRequest(1, READ, 0, [{ ref: 9999 }])), [-1]);
  assert.deepEqual(await ask(directRequest(1, 77, 0, [{ ref: DATA }])), [-2]);
  world.readOnlyRefs.add(DATA + 3);
  assert.deepEqual(await ask(directRequest(1, READ, 0, [{ ref: DATA + 3 }])), [-1]);
  const many = directRequest(1, READ, 0, []);
  many[1] = 12;
  assert.deepEqual(await ask(many), [-1]);
  const indirect = (count: number, tables: number[], operation = READ) =>
    indirectRequest(
      world.memory,
      1,
      operation,
      0,
      Array.from({ length: count }, () => ({ ref: DATA })),
      tables,
    );
  assert.deepEqual(await ask(indirect(0, [DATA + 1])), [-1]);
  assert.deepEqual(await ask(indirect(257, [DATA + 1])), [-1]);
  assert.deepEqual(await ask(indirect(20, [9999].slice(1))), [-1]);
  assert.deepEqual(await ask(indirect(2, [DATA + 1], FLUSH)), [-2]);
  assert.deepEqual(await ask(indirect(2, [DATA + 1])), [0]);
});

test('an answer has its request’s id, whole, and nothing else of what was in the slot', async () => {
  const { disk } = await setUpDisk();
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  const id = 2 ** 52 + 2 ** 31 + 5;
  ring.put(directRequest(id, READ, 0, [{ ref: DATA }]));
  ring.put(discardRequest(id + 1, 0, 8));
  ring.push();
  await world.settle();
  const { size, offsets } = blkif.BlkifResponse;
  const answer = world.memory.u8.subarray(ring.at(blkif.BlkifSring.offsets.ring)).slice(0, size);
  assert.deepEqual([...answer.subarray(offsets.status)], [0, 0, 0, 0, 0, 0]);
  // In the order in which they end.
  const answers = ring.responses().sort((a, b) => a.id - b.id);
  assert.deepEqual(answers, [
    { id, operation: READ, status: 0 },
    { id: id + 1, operation: blkif.BLKIF_OP_DISCARD, status: 0 },
  ]);
});

test('a read-only disk is never written', async () => {
  const { disk } = await setUpDisk({ isReadOnly: true });
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  assert.equal(world.guest.read(`${BACK}/mode`), 'r');
  assert.equal(world.guest.read(`${BACK}/info`), '4');
  ring.put(directRequest(1, WRITE, 0, [{ ref: DATA }]));
  ring.put(discardRequest(2, 0, 128));
  ring.put(directRequest(3, READ, 0, [{ ref: DATA }]));
  ring.push();
  await world.settle();
  assert.deepEqual(
    ring.responses().map(response => response.status),
    [-1, -2, 0],
  );
});

test('discards give blocks back', async () => {
  const { disk, host } = await setUpDisk();
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  pageBytes(world, DATA).fill(1);
  for (const [slot, status] of [
    [directRequest(1, WRITE, 128, [{ ref: DATA }]), 0],
    [discardRequest(2, 128, 128), 0],
    [directRequest(3, READ, 128, [{ ref: DATA }]), 0],
    [discardRequest(4, SIZE / 512 - 1, 2), -1],
  ] as const) {
    ring.put(slot);
    ring.push();
    await world.settle();
    assert.equal(ring.responses()[0]?.status, status);
  }
  assert.ok(pageBytes(world, DATA).every(byte => byte === 0));
  await disk.close();
  assert.equal(host.files.bytes('/d/disk.vhd').length < 64 * 1024, true);
});

test('a barrier waits for what came before, and holds back what comes after', async () => {
  const { disk } = await setUpDisk({ isSlow: true });
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  for (let i = 0; i < 10; i++) ring.put(directRequest(i, WRITE, i * 8, [{ ref: DATA + i }]));
  ring.put(directRequest(10, blkif.BLKIF_OP_WRITE_BARRIER, 200, [{ ref: DATA + 10 }]));
  for (let i = 11; i < 20; i++) ring.put(directRequest(i, WRITE, i * 8, [{ ref: DATA + i }]));
  ring.push();
  await world.settle();
  const order = ring.responses().map(response => response.id);
  assert.equal(order.length, 20);
  assert.equal(order.indexOf(10), 10);
  assert.ok(order.slice(0, 10).every(id => id < 10));
});

test('with one request at a time answers come in the order of the requests', async () => {
  const { disk } = await setUpDisk({ isSlow: true });
  const world = setUpFrontend({ disk, isSerial: true });
  const [ring] = world.connect();
  assert.ok(ring);
  for (let i = 0; i < 25; i++) {
    ring.put(
      directRequest(i, [READ, WRITE, FLUSH][i % 3] as number, i * 8, i % 3 === 2 ? [] : [{ ref: DATA + i }]),
    );
  }
  ring.push();
  await world.settle();
  assert.deepEqual(
    ring.responses().map(response => response.id),
    Array.from({ length: 25 }, (_, i) => i),
  );
  assert.equal(world.device.counters.deepest, 1);
});

test("the disk's errors are the domain's; injected ones too; what is lost is not answered", async () => {
  const { disk, host } = await setUpDisk();
  const faults: Fault[] = [];
  const asked: BlockTransfer[] = [];
  const world = setUpFrontend({
    disk,
    fault: transfer => {
      asked.push(transfer);
      return faults.shift() ?? 'none';
    },
  });
  const [ring] = world.connect();
  assert.ok(ring);
  const ask = async (operation: number) => {
    ring.put(directRequest(1, operation, 0, operation === FLUSH ? [] : [{ ref: DATA }]));
    ring.push();
    await world.settle();
    return ring.responses().map(response => response.status);
  };
  pageBytes(world, DATA).fill(3);
  host.files.onTransfer = () => {
    throw new Error('EIO');
  };
  assert.deepEqual([await ask(WRITE), await ask(FLUSH)], [[-1], [-1]]);
  host.files.onTransfer = undefined;
  assert.deepEqual([await ask(WRITE), await ask(FLUSH), await ask(READ)], [[0], [0], [0]]);
  faults.push('fail');
  assert.deepEqual(await ask(READ), [-1]);
  faults.push('delay', 'delay', 'none');
  assert.deepEqual(await ask(READ), [0]);
  faults.push('lose');
  assert.deepEqual(await ask(WRITE), []);
  assert.deepEqual(await ask(WRITE), [0]);
  assert.ok(asked.includes('block-connect') && asked.includes('block-flush'));
});

test('rate limits hold requests back until their time', async () => {
  const { disk } = await setUpDisk();
  const world = setUpFrontend({ disk, limits: { requestsPerSecond: 100 } });
  const [ring] = world.connect();
  assert.ok(ring);
  for (let i = 0; i < 30; i++) ring.put(directRequest(i, READ, 0, [{ ref: DATA }]));
  ring.push();
  await world.settle();
  assert.equal(ring.responses().length, 10);
  let answered = 10;
  for (let ms = 10; ms <= 200; ms += 10) {
    world.time.nowNs = ms * 1e6;
    for (const alarm of world.alarms.splice(0)) alarm();
    await world.settle();
    answered += ring.responses().length;
    assert.ok(Math.abs(answered - 10 - ms / 10) <= 1, `${answered} after ${ms} ms`);
  }
  assert.equal(answered, 30);
});

test('a disk that grows is seen by the domain', async () => {
  const { disk } = await setUpDisk();
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  world.guest.watch(`${BACK}/state`, 'state');
  world.guest.takeEvents();
  await resizeDisk(disk, 2 * SIZE);
  world.device.resized();
  world.pump();
  assert.deepEqual(world.guest.takeEvents(), [`${BACK}/state state`]);
  assert.equal(world.guest.read(`${BACK}/sectors`), String((2 * SIZE) / 512));
  ring.put(directRequest(1, WRITE, (2 * SIZE) / 512 - 8, [{ ref: DATA }]));
  ring.push();
  await world.settle();
  assert.deepEqual(ring.responses(), [{ id: 1, operation: WRITE, status: 0 }]);
});

test('nonsense in the keys closes the device and says why', async () => {
  for (const [keys, reason] of [
    [{ 'ring-ref': 'x' }, /numbers/],
    [{ 'ring-ref': '9999' }, /grant 9999/],
    [{ 'event-channel': '4000' }, /event channel 4000/],
    [{ 'multi-queue-num-queues': '0' }, /queues/],
    [{ 'multi-queue-num-queues': '99' }, /queues/],
    [{ 'ring-page-order': '5' }, /order/],
    [{ 'ring-page-order': '-1' }, /order/],
    [{ protocol: 'x86_32-abi' }, /x86_32-abi/],
  ] as const) {
    const { disk } = await setUpDisk();
    const world = setUpFrontend({ disk });
    world.connect(1, 1, keys as unknown as Record<string, string>);
    assert.equal(world.device.state, 5, JSON.stringify(keys));
    assert.match(world.xs.read('/local/domain/0/error/backend/vbd/5/51712/error') ?? '', reason);
    assert.ok([...world.mapped.values()].every(count => count === 0));
  }
});

test('a kernel that closes has its answers first, and may come back', async () => {
  const { disk } = await setUpDisk({ isSlow: true });
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  for (let i = 0; i < 8; i++) ring.put(directRequest(i, READ, 0, [{ ref: DATA }]));
  ring.push();
  // More that the backend was not told of.
  for (let i = 8; i < 16; i++) ring.put(directRequest(i, READ, 0, [{ ref: DATA }]));
  ring.word('req_prod', ring.produced);
  world.setState(5);
  assert.equal(world.device.state, 4);
  await world.settle();
  assert.equal(world.device.state, 5);
  assert.equal(ring.responses().filter(({ status }) => status === 0).length, 16);
  world.setState(6);
  assert.equal(world.device.state, 6);
  world.setState(1);
  world.connect();
  assert.equal(world.device.state, 4);
});

test('what a driver held back when it closed is answered before the device is gone', async () => {
  const { disk } = await setUpDisk({ isSlow: true });
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  const quiet = async () => {
    for (const alarm of world.alarms.splice(0)) alarm();
    await world.settle();
  };
  world.device.remove();
  world.setState(6);
  await world.settle();
  // As Linux's driver: it had stopped its queues, and starts them at an interrupt.
  assert.equal(ring.notified, 1);
  ring.put(directRequest(1, READ, 0, [{ ref: DATA }]));
  ring.push();
  await quiet();
  assert.deepEqual(ring.responses(), [{ id: 1, operation: READ, status: 0 }]);
  assert.equal(world.removed(), 0);
  await quiet();
  assert.equal(world.removed(), 1);
  assert.ok([...world.mapped.values()].every(count => count === 0));
});

test('a driver that never ends making requests does not keep its device', async () => {
  const { disk } = await setUpDisk({});
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  world.device.remove();
  world.setState(6);
  for (let turns = 0; world.removed() === 0; turns++) {
    assert.ok(turns < 1000);
    ring.put(directRequest(turns, READ, 0, [{ ref: DATA }]));
    ring.push();
    ring.responses();
    for (const alarm of world.alarms.splice(0)) alarm();
    await world.settle();
  }
});

test('another backend goes on with the rings where one was abandoned, and nothing is lost or done twice', async () => {
  const { disk } = await setUpDisk({ isSlow: true });
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  for (let i = 0; i < 8; i++) ring.put(directRequest(i, READ, 0, [{ ref: DATA }]));
  ring.push();
  world.device.hold();
  for (let i = 8; i < 12; i++) ring.put(directRequest(i, READ, 0, [{ ref: DATA }]));
  ring.push();
  await world.settle();
  assert.equal(ring.responses().length, 8, 'those that were on their way');
  world.device.abandon();
  assert.ok([...world.mapped.values()].every(count => count === 0));
  const next = world.succeed();
  await world.settle();
  assert.equal(next.state, 4);
  assert.deepEqual(
    ring.responses().map(({ id }) => id),
    [8, 9, 10, 11],
  );
});

test('a kernel that begins anew without having closed: what was on its way is dropped', async () => {
  const { disk } = await setUpDisk({ isSlow: true });
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  assert.ok(ring);
  for (let i = 0; i < 8; i++) ring.put(directRequest(i, READ, 0, [{ ref: DATA }]));
  ring.push();
  const before = world.memory.u8.slice();
  world.setState(1);
  await world.settle();
  assert.deepEqual(world.memory.u8.subarray(FIRST_PAGE * PAGE_SIZE), before.subarray(FIRST_PAGE * PAGE_SIZE));
  world.setState(1);
  assert.equal(world.device.state, 2);
  const [again] = world.connect(1, 2);
  assert.ok(again);
  again.put(directRequest(50, READ, 0, [{ ref: DATA }]));
  again.push();
  await world.settle();
  assert.deepEqual(again.responses(), [{ id: 50, operation: READ, status: 0 }]);
});

test('random rings and requests do no harm outside the pages that are granted', async () => {
  let answered = 0;
  let broken = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const { disk } = await setUpDisk({ isSlow: seed % 2 === 0 });
    const world = setUpFrontend({ disk });
    const [ring] = world.connect(1, 1 + (seed & 1));
    assert.ok(ring);
    const { below, bytes } = chance(seed);
    const outside = () => [
      world.memory.u8.slice(2 * PAGE_SIZE, FIRST_PAGE * PAGE_SIZE),
      world.memory.u8.slice(272 * PAGE_SIZE),
    ];
    const before = outside();
    for (let round = 0; round < 60; round++) {
      const slot = bytes(112);
      slot[0] = below(8);
      if (below(3) > 0) {
        slot[1] = below(14);
        slot.fill(0, 16, 24);
        slot[16] = below(256);
        for (let segment = 0; segment < 11; segment++) {
          const view = new DataView(slot.buffer, 24 + segment * 8);
          view.setUint32(0, below(10) === 0 ? below(2 ** 31) : DATA + below(100), true);
          view.setUint8(4, below(9));
          view.setUint8(5, below(9));
        }
      }
      ring.put(slot);
      if (below(100) === 0) ring.word('req_prod', below(2 ** 32));
      else ring.word('req_prod', ring.produced);
      if (below(10) === 0) ring.word('rsp_event', below(2 ** 32));
      if (below(20) === 0) ring.word('rsp_prod', below(2 ** 32));
      ring.raise();
      if (below(4) === 0) await world.settle();
      if (ring.produced - ring.consumed > 20) answered += ring.responses().slice(0, 64).length;
    }
    await world.settle();
    assert.ok(world.device.counters.deepest <= 128);
    if (world.device.state === 5) broken += 1;
    assert.deepEqual(outside(), before);
    world.device.remove(true);
    await disk.close();
  }
  assert.ok(answered > 100 && broken > 5, `${answered} answered, ${broken} rings broken`);
});

test('names of devices and their numbers', () => {
  for (const [name, number] of [
    ['xvda', 51712],
    ['xvdb', 51728],
    ['xvda1', 51713],
    ['xvdp', 51952],
    ['xvdq', (1 << 28) | (16 << 8)],
    ['xvdaa', (1 << 28) | (26 << 8)],
    ['xvda16', (1 << 28) | 16],
    ['sda', undefined],
    ['xvd', undefined],
  ] as const) {
    assert.equal(vdevNumber(name), number, name);
  }
  for (let i = 0; i < 800; i++) assert.notEqual(vdevNumber(vdevName(i)), undefined);
  assert.equal(vdevName(26), 'xvdaa');
});
