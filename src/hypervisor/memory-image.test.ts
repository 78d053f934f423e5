/** Images of a machine's memory: what they show never changes, whoever reads them where, and what was copied for them is used again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { frameAddress, mfn, PAGE_SIZE } from '../base/brand.ts';
import { MACHINE_HEADER, MachineHeader } from '../machine/header.ts';
import { createLock } from '../machine/lock.ts';
import { createMachineMemory, type MachineMemory } from '../machine/memory.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import { openImage } from './image-pages.ts';
import { type MemoryImage, MemoryImages } from './memory-image.ts';
import { STORED_PAGES } from './p2m.ts';
import { PageStore } from './sharing/page-store.ts';

const WORDS = PAGE_SIZE / 4;
const FIRST = 32;
const LOCK = MACHINE_HEADER + MachineHeader.offsets.hypervisorLock;

/** Fill a frame with a number. */
function write({ u32 }: MachineMemory, frame: number, value: number): void {
  const at = frameAddress(mfn(frame)) / 4;
  u32.fill(value, at, at + WORDS);
}
const page = new Uint8Array(PAGE_SIZE);
const words = new Uint32Array(page.buffer);
/** The number that a page of an image is filled with. */
function read(image: { read(page: number, into: Uint8Array): void }, number: number): number {
  image.read(number, page);
  assert.ok(
    words.every(word => word === words[0]),
    'a page is of one moment',
  );
  return words[0] as number;
}
/** Frames from `FIRST` on, filled with their numbers. */
function machineOf(count: number): MachineMemory {
  const memory = createMachineMemory((FIRST + count) * PAGE_SIZE);
  for (let frame = FIRST; frame < FIRST + count; frame++) write(memory, frame, frame);
  return memory;
}
/** An image with pages from 1 on for those frames. */
function imageOf(images: MemoryImages, count: number): MemoryImage {
  const image = images.add();
  for (let i = 0; i < count; i++) assert.equal(image.add(FIRST + i), i + 1);
  return image;
}

test('a page is read where it is until it is kept, and is copied once for all images', () => {
  const memory = machineOf(4);
  const images = new MemoryImages(memory);
  const [first, second] = [imageOf(images, 4), imageOf(images, 2)];
  const [reader, other] = [openImage(first.memory), openImage(second.memory)];
  assert.equal(reader.originOf?.(2)?.frame, FIRST + 1);
  images.keep(FIRST + 1);
  write(memory, FIRST + 1, 7);
  assert.equal(reader.originOf?.(2), undefined);
  assert.equal(reader.originOf?.(3)?.frame, FIRST + 2);
  for (const image of [reader, other]) assert.equal(read(image, 2), FIRST + 1);
  assert.deepEqual([first.copiedBytes, second.copiedBytes], [PAGE_SIZE, PAGE_SIZE]);
  assert.equal(images.heldBytes, PAGE_SIZE);
  images.keep(FIRST + 1);
  assert.equal(images.heldBytes, PAGE_SIZE);
  const third = openImage(imageOf(images, 2).memory);
  assert.deepEqual([read(third, 2), read(reader, 2)], [7, FIRST + 1]);
  first.copyAll();
  for (let frame = FIRST; frame < FIRST + 4; frame++) write(memory, frame, 0);
  assert.deepEqual(
    [1, 2, 3, 4].map(number => read(reader, number)),
    [0, 1, 2, 3].map(i => FIRST + i),
  );
  assert.throws(() => read(other, 3), /a page of an image/);
});

test('a page that changes while it is copied from where it is comes from its copy', () => {
  const memory = machineOf(1);
  const images = new MemoryImages(memory);
  const reader = openImage(imageOf(images, 1).memory);
  const into = new Uint8Array(PAGE_SIZE);
  let nrSets = 0;
  into.set = source => {
    nrSets += 1;
    images.keep(FIRST);
    write(memory, FIRST, 0);
    Uint8Array.prototype.set.call(into, source);
  };
  reader.read(1, into);
  assert.deepEqual([into[0], nrSets], [FIRST, 2]);
});

test('room for copies is used again when the last image that has them is closed', () => {
  const COUNT = 50;
  const memory = machineOf(COUNT);
  const images = new MemoryImages(memory);
  const keepAll = (value: number) => {
    for (let frame = FIRST; frame < FIRST + COUNT; frame++) {
      images.keep(frame);
      write(memory, frame, value);
    }
  };
  const lasting = imageOf(images, COUNT);
  keepAll(1);
  assert.equal(images.heldBytes, COUNT * PAGE_SIZE);
  for (let round = 0; round < 5; round++) {
    const [one, two] = [imageOf(images, COUNT), imageOf(images, COUNT)];
    two.retain();
    keepAll(round);
    assert.equal(images.heldBytes, 2 * COUNT * PAGE_SIZE);
    one.close();
    assert.equal(one.copiedBytes, 0);
    two.close();
    assert.equal(read(openImage(two.memory), COUNT), round === 0 ? 1 : round - 1);
    two.close();
    assert.throws(() => read(openImage(two.memory), 1), /that is open/);
  }
  assert.equal(read(openImage(lasting.memory), COUNT), FIRST + COUNT - 1);
  assert.ok(!images.isEmpty);
  lasting.close();
  assert.ok(images.isEmpty);
});

test('what an image had is given back with the lock of its machine held', () => {
  const memory = machineOf(1);
  const copied: number[] = [];
  const images = new MemoryImages(memory, undefined, task => {
    copied.push(image.copiedBytes);
    task();
    copied.push(image.copiedBytes);
  });
  const image = imageOf(images, 1);
  images.keep(FIRST);
  image.close();
  assert.deepEqual(copied, [PAGE_SIZE, 0]);
});

test('more changes than there is room for are an error that can be understood', () => {
  const memory = machineOf(32);
  const images = new MemoryImages(memory);
  const frames = Array.from({ length: 63 }, (_, i) => i + 1);
  const nrMoments = () => {
    for (let moment = 0; ; moment++) {
      images.add();
      for (const frame of frames) images.keep(frame);
      if (moment === 100) return;
    }
  };
  assert.throws(nrMoments, { code: 'E_HOST_MEMORY' });
  assert.ok(images.heldBytes >= 8 * 63 * PAGE_SIZE);
});

test('images of images, with pages of the store, are read on another thread, and what is below stays open', async () => {
  const store = new PageStore(8);
  const contents = new Uint32Array(WORDS).fill(77);
  const stored = store.add(1, contents, 0);
  const parent = machineOf(4);
  const parents = new MemoryImages(parent, store);
  const below = imageOf(parents, 4);
  const clone = machineOf(4);
  const clones = new MemoryImages(clone, store);
  const image = clones.add({ pages: openImage(below.memory), owner: below });
  below.close();
  write(clone, FIRST, 5);
  for (const place of [FIRST, -2, -3, -(STORED_PAGES + stored)]) image.add(place);
  assert.equal(store.usesOf(stored), 1);
  parents.keep(FIRST + 1);
  write(parent, FIRST + 1, 0);
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    import('${new URL('./image-pages.ts', import.meta.url).href}').then(({ openImage }) => {
      const image = openImage(workerData);
      const into = new Uint8Array(4096);
      const read = page => { image.read(page, into); return new Uint32Array(into.buffer)[1023]; };
      const pages = [1, 2, 3, 4];
      const frames = pages.map(page => image.originOf(page)?.frame);
      parentPort.postMessage({ read: pages.map(read), near: pages.map(page => image.isNear(page)), frames });
    });`;
  const worker = new Worker(source, { eval: true, workerData: image.memory });
  const seen = await new Promise(resolve => worker.once('message', resolve));
  assert.deepEqual(seen, {
    read: [5, FIRST + 1, FIRST + 2, 77],
    near: [true, true, true, false],
    frames: [FIRST, undefined, FIRST + 2, undefined],
  });
  assert.ok(!parents.isEmpty);
  image.close();
  assert.ok(parents.isEmpty && clones.isEmpty);
  assert.equal(store.usesOf(stored), 0);
});

test('a thread that reads an image sees what was there, while another one changes the pages under its eyes', async () => {
  const COUNT = 3000;
  const memory = machineOf(COUNT);
  const images = new MemoryImages(memory);
  const image = imageOf(images, COUNT);
  /** The page that is being read, -1 at the end; how often it was not what it was to be; and how often it changed meanwhile. */
  const progress = new Int32Array(new SharedArrayBuffer(12));
  const source = `
    const { parentPort, workerData: { memory, progress } } = require('node:worker_threads');
    Promise.all([
      import('${new URL('./image-pages.ts', import.meta.url).href}'),
      import('${new URL('../cpu/decode/decoded-before.ts', import.meta.url).href}'),
    ]).then(([{ openImage }, { isAsItWas }]) => {
      const image = openImage(memory);
      const into = new Uint8Array(4096);
      const words = new Uint32Array(into.buffer);
      const isAll = (words, from, value) => {
        for (let i = from; i < from + 1024; i++) if (words[i] !== value) return false;
        return true;
      };
      parentPort.postMessage('ready');
      while (Atomics.load(progress, 0) === 0) {}
      try {
        for (let page = 1; page <= ${COUNT}; page++) {
          Atomics.store(progress, 0, page);
          const value = ${FIRST} + page - 1;
          const origin = image.originOf(page);
          for (let looks = 0; looks < 20; looks++) {
            image.read(page, into);
            if (!isAll(words, 0, value)) progress[1]++;
            if (!origin) break;
            const same = isAll(origin.memory.u32, origin.frame * 1024, value);
            if (!isAsItWas(origin)) {
              progress[2]++;
              break;
            }
            if (!same) progress[1]++;
          }
        }
      } finally {
        Atomics.store(progress, 0, -1);
      }
    });`;
  const worker = new Worker(source, { eval: true, workerData: { memory: image.memory, progress } });
  await new Promise(resolve => worker.once('message', resolve));
  Atomics.store(progress, 0, 1);
  const chance = createSeededEntropy(7);
  const ahead = new Uint8Array(1 << 12);
  chance.fill(ahead);
  let nrChanges = 0;
  for (let page = 1; page !== -1; page = Atomics.load(progress, 0)) {
    const next = Math.min(page + ((ahead[nrChanges % ahead.length] as number) % 4), COUNT);
    images.keep(FIRST + next - 1);
    write(memory, FIRST + next - 1, nrChanges);
    nrChanges += 1;
  }
  await new Promise(resolve => worker.once('exit', resolve));
  assert.equal(progress[1], 0);
  assert.ok(nrChanges > 100, `${nrChanges}`);
});

test('a thread that runs the machine copies for the images that another one adds and closes', async () => {
  const [COUNT, ROUNDS, IMAGES] = [40, 150, 4];
  const memory = machineOf(COUNT);
  const lock = createLock(memory.i32, LOCK);
  const images = new MemoryImages(memory, undefined, task => lock.during(task));
  const source = `
    const { parentPort, receiveMessageOnPort, workerData: wasm } = require('node:worker_threads');
    const from = url => import(new URL(url, '${import.meta.url}').href);
    const files = ['./memory-image.ts', '../machine/memory.ts', '../machine/lock.ts', '../platform/sim/entropy.ts'];
    Promise.all(files.map(from)).then(([{ MemoryImages }, { viewMachineMemory }, { createLock }, { createSeededEntropy }]) => {
      const memory = viewMachineMemory(wasm);
      const images = new MemoryImages(memory);
      const lock = createLock(memory.i32, ${LOCK});
      const chance = createSeededEntropy(5);
      const four = new Uint32Array(1);
      parentPort.postMessage('ready');
      for (let isOver = false; !isOver; ) {
        lock.during(() => {
          for (let got = receiveMessageOnPort(parentPort); got; got = receiveMessageOnPort(parentPort)) {
            if (got.message === 'end') isOver = true;
            else images.adopt(got.message);
          }
          chance.fill(new Uint8Array(four.buffer));
          const frame = ${FIRST} + four[0] % ${COUNT};
          images.keep(frame);
          memory.u32.fill(four[0], frame * 1024, (frame + 1) * 1024);
        });
      }
    });`;
  const worker = new Worker(source, { eval: true, workerData: memory.wasm });
  await new Promise(resolve => worker.once('message', resolve));
  const chance = createSeededEntropy(9);
  const byte = new Uint8Array(1);
  const open: { readonly image: MemoryImage; readonly was: readonly number[] }[] = [];
  const check = ({ image, was }: (typeof open)[number]) => {
    const reader = openImage(image.memory);
    for (const [i, value] of was.entries()) assert.equal(read(reader, i + 1), value);
  };
  for (let round = 0; round < ROUNDS; round++) {
    chance.fill(byte);
    if (open.length === IMAGES) {
      const [closed] = open.splice((byte[0] as number) % IMAGES, 1);
      check(closed as (typeof open)[number]);
      closed?.image.close();
    }
    lock.during(() => {
      const image = imageOf(images, COUNT);
      const was = Array.from({ length: COUNT }, (_, i) => memory.u32[(FIRST + i) * WORDS] as number);
      open.push({ image, was });
      worker.postMessage(image.memory);
    });
    for (const one of open) check(one);
  }
  worker.postMessage('end');
  await new Promise(resolve => worker.once('exit', resolve));
  assert.ok(open.some(({ image }) => image.copiedBytes > 0));
  for (const one of open) check(one);
  for (const { image } of open) image.close();
  assert.ok(images.isEmpty);
  // A page is copied once for each moment that it has, of which there are as many as images that are open.
  const { heldBytes } = images;
  assert.ok(heldBytes <= IMAGES * COUNT * PAGE_SIZE, `${heldBytes / PAGE_SIZE} pages`);
  // All of that is free.
  const nrFree = heldBytes / PAGE_SIZE;
  images.add();
  for (let frame = 1; frame < Math.min(nrFree + 1, memory.sizeBytes / PAGE_SIZE); frame++) images.keep(frame);
  assert.equal(images.heldBytes, heldBytes);
});
