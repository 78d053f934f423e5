/** Backends that die by their own fault in the middle of requests, and those that follow them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as blkif from '../../abi/xen/blkif.ts';
import { PAGE_SIZE } from '../../base/brand.ts';
import { InvariantError } from '../../base/errors.ts';
import { SIZE, setUpDisk } from './disk.fixture.ts';
import { directRequest, FIRST_PAGE, setUpFrontend } from './frontend.fixture.ts';
import { DEATHS_MAX, OpenRequests, OpenRing } from './open-requests.ts';

const { BLKIF_OP_READ: READ, BLKIF_OP_WRITE: WRITE, BLKIF_OP_FLUSH_DISKCACHE: FLUSH } = blkif;
const DATA = FIRST_PAGE + 64;
const NR_WRITES = 12;

interface Mortal {
  readonly isSlow: boolean;
  /** Whether the backend dies of a transfer, the first one being 1. */
  isDeadly(transfer: number, kind: string, position: number): boolean;
}

/** A disk full of 1s, and a domain whose backends are followed by others as soon as they die. */
async function setUpMortal({ isSlow, isDeadly }: Mortal) {
  const { disk, host } = await setUpDisk({ isSlow });
  await disk.write(0, new Uint8Array(SIZE).fill(1));
  let nrDeaths = 0;
  let nrTransfers = 0;
  const open = new OpenRequests();
  const world = setUpFrontend({
    disk,
    open,
    onDied: error => {
      assert.ok(error instanceof InvariantError);
      nrDeaths += 1;
      queueMicrotask(() => world.succeed());
    },
  });
  host.files.onTransfer = (kind, _, position) => {
    nrTransfers += 1;
    if (isDeadly(nrTransfers, kind, position)) throw new InvariantError('a defect of the backend');
  };
  const page = (index: number) =>
    world.memory.u8.subarray((DATA + index) * PAGE_SIZE, (DATA + index + 1) * PAGE_SIZE);
  return {
    ...world,
    disk,
    host,
    open,
    page,
    deaths: () => nrDeaths,
    transfers: () => nrTransfers,
  };
}

/** Writes, a flush behind each third, and reads of what was there before; all of it at once. */
async function work(world: Awaited<ReturnType<typeof setUpMortal>>): Promise<void> {
  const [ring] = world.connect();
  assert.ok(ring);
  const expected = new Map<number, number>();
  let id = 0;
  const put = (operation: number, sector: number, pages: readonly { ref: number }[]) => {
    ring.put(directRequest(++id, operation, sector, pages));
    expected.set(id, operation);
  };
  for (let i = 0; i < NR_WRITES; i++) {
    world.page(i).fill(100 + i);
    put(WRITE, 16 * i, [{ ref: DATA + i }]);
    if (i % 3 === 2) put(FLUSH, 0, []);
    put(READ, 16 * i + 8, [{ ref: DATA + NR_WRITES + i }]);
  }
  ring.push();
  for (let turns = 0; turns < 4; turns++) await world.settle();
  const answers = ring.responses();
  assert.deepEqual(
    answers.map(each => each.id).sort((a, b) => a - b),
    [...expected.keys()],
    'each request is answered once',
  );
  for (const answer of answers) {
    assert.deepEqual(answer, { id: answer.id, operation: expected.get(answer.id), status: 0 });
  }
  world.host.files.onTransfer = undefined;
  const bytes = new Uint8Array(16 * 512 * NR_WRITES);
  await world.disk.read(0, bytes);
  for (let i = 0; i < NR_WRITES; i++) {
    assert.ok(bytes.subarray(16 * 512 * i, 16 * 512 * i + PAGE_SIZE).every(byte => byte === 100 + i));
    assert.ok(world.page(NR_WRITES + i).every(byte => byte === 1));
  }
  assert.equal(world.open.size, 0);
}

for (const isSlow of [false, true]) {
  test(`a backend that dies at any transfer is followed by one that does the rest, ${isSlow ? 'slow' : 'fast'} disk`, async () => {
    const undisturbed = await setUpMortal({ isSlow, isDeadly: () => false });
    await work(undisturbed);
    const last = undisturbed.transfers();
    for (let at = 1; at <= last; at++) {
      const world = await setUpMortal({ isSlow, isDeadly: transfer => transfer === at });
      await work(world);
      assert.equal(world.deaths(), 1, `death at transfer ${at}`);
      assert.ok(world.transfers() >= last, 'what was not answered is done again');
    }
  });
}

test("backends that die of their successors' first transfers", async () => {
  const world = await setUpMortal({ isSlow: false, isDeadly: transfer => transfer === 5 || transfer === 7 });
  await work(world);
  assert.equal(world.deaths(), 2);
});

test('a request that every backend dies of is answered with an error, and the others are done', async () => {
  let deadlyAt = -1;
  const world = await setUpMortal({
    isSlow: false,
    isDeadly: (_, kind, position) => kind === 'write' && position === deadlyAt,
  });
  const [ring] = world.connect();
  assert.ok(ring);
  // Where the image has this sector: found by looking.
  const { onTransfer } = world.host.files;
  world.host.files.onTransfer = (kind, _, position) => {
    if (kind === 'write') deadlyAt = position;
  };
  await world.disk.write(800 * 512, new Uint8Array(512).fill(1));
  world.host.files.onTransfer = onTransfer;
  for (let i = 0; i < 5; i++) {
    world.page(i).fill(50 + i);
    ring.put(directRequest(i, WRITE, i === 2 ? 800 : 8 * i, [{ ref: DATA + i }]));
  }
  ring.push();
  for (let turns = 0; turns < 4; turns++) await world.settle();
  const answers = ring.responses().sort((a, b) => a.id - b.id);
  assert.deepEqual(
    answers.map(({ id, status }) => [id, status]),
    [0, 1, 2, 3, 4].map(id => [id, id === 2 ? blkif.BLKIF_RSP_ERROR : 0]),
  );
  assert.equal(world.deaths(), DEATHS_MAX);
});

test("what was open is nobody's any more when the domain begins anew", async () => {
  const { disk, host } = await setUpDisk();
  await disk.write(0, new Uint8Array(SIZE).fill(1));
  const open = new OpenRequests();
  const world = setUpFrontend({ disk, open, onDied: () => {} });
  const [ring] = world.connect();
  assert.ok(ring);
  host.files.onTransfer = () => {
    throw new InvariantError('a defect of the backend');
  };
  ring.put(directRequest(1, READ, 0, [{ ref: DATA }]));
  ring.push();
  host.files.onTransfer = undefined;
  assert.equal(open.size, 1);
  assert.equal(world.device.running, 1);
  assert.ok([...world.mapped.values()].every(count => count === 0));
  world.setState(1);
  world.succeed();
  await world.settle();
  assert.equal(open.size, 0);
  const [again] = world.connect();
  assert.ok(again);
  again.put(directRequest(7, READ, 0, [{ ref: DATA }]));
  again.push();
  await world.settle();
  assert.deepEqual(again.responses(), [{ id: 7, operation: READ, status: 0 }]);
});

test('without anybody to follow it, its error comes out', async () => {
  const { disk, host } = await setUpDisk();
  await disk.write(0, new Uint8Array(SIZE).fill(1));
  const world = setUpFrontend({ disk });
  const [ring] = world.connect();
  host.files.onTransfer = () => {
    throw new InvariantError('a defect of the backend');
  };
  ring?.put(directRequest(1, READ, 0, [{ ref: DATA }]));
  assert.throws(() => ring?.push(), InvariantError);
});

test('a copy serves another request when its own has been answered, and not before', () => {
  const ring = new OpenRing();
  const [first, second] = [ring.take(), ring.take()];
  assert.notEqual(first, second);
  for (let i = 0; i < DEATHS_MAX; i++) ring.died(first);
  assert.ok(ring.isDeadly(first));
  ring.answered(first);
  const third = ring.take();
  assert.equal(third, first);
  assert.ok(!ring.isDeadly(third), 'backends have died of another request');
  assert.deepEqual(ring.all(), [second, third]);
});
