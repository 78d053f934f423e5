import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StreamEvents, StreamSocket } from '../sockets.ts';
import { nodeSockets } from './sockets.ts';

/** What a stream has told, and what it has brought. */
function listener() {
  const ended = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<string | undefined>();
  const parts: Uint8Array[] = [];
  const arrivals: (() => void)[] = [];
  const events: StreamEvents = {
    data(chunk) {
      parts.push(chunk.slice());
      for (const arrive of arrivals.splice(0)) arrive();
    },
    ended: () => ended.resolve(),
    written() {},
    closed: reason => closed.resolve(reason),
  };
  return {
    events,
    ended: ended.promise,
    closed: closed.promise,
    text: () => Buffer.concat(parts).toString('latin1'),
    sizeBytes: () => parts.reduce((sum, part) => sum + part.length, 0),
    nextData: () => new Promise<void>(resolve => arrivals.push(resolve)),
  };
}

/** Two connections to one server: near ends and far ends. */
async function twoConnections() {
  const far: { socket: StreamSocket; heard: ReturnType<typeof listener> }[] = [];
  const accepted = [0, 1].map(() => Promise.withResolvers<void>());
  const opened = await nodeSockets.listen({ address: '127.0.0.1', port: 0 }, socket => {
    const heard = listener();
    far.push({ socket, heard });
    socket.resume();
    accepted[far.length - 1]!.resolve();
    return heard.events;
  });
  assert.ok('listener' in opened);
  const near = [];
  for (const { promise } of accepted) {
    const heard = listener();
    const { port } = opened.listener;
    near.push({ heard, socket: nodeSockets.connect({ address: '127.0.0.1', port }, heard.events) });
    await promise;
  }
  return { near, far, close: () => opened.listener.close() };
}

test('connections that read at the same time get their own bytes, and ends and half-closes come through', async () => {
  const { near, far, close } = await twoConnections();
  const size = 3_000_000;
  for (const [i, { socket }] of far.entries()) {
    socket.write(Buffer.alloc(size, `${i}`));
    socket.end();
  }
  await Promise.all(near.map(({ heard }) => heard.ended));
  for (const [i, { heard }] of near.entries()) assert.equal(heard.text(), `${i}`.repeat(size));
  for (const { socket } of near) {
    socket.write(Buffer.from('after the end'));
    socket.end();
  }
  await Promise.all([...near, ...far].map(({ heard }) => heard.closed));
  for (const { heard } of far) assert.equal(heard.text(), 'after the end');
  close();
});

test('a connection that is paused brings nothing until it goes on, one that is destroyed says nothing more', async () => {
  const { near, far, close } = await twoConnections();
  const [first, second] = near;
  const size = 8 << 20;
  const arrival = first!.heard.nextData();
  far[0]!.socket.write(Buffer.alloc(size));
  await arrival;
  first!.socket.pause();
  const before = first!.heard.sizeBytes();
  const other = second!.heard.nextData();
  far[1]!.socket.write(Buffer.from('x'));
  await other;
  assert.equal(first!.heard.sizeBytes(), before);
  assert.ok(before < size, 'it stopped in the middle');
  first!.socket.resume();
  while (first!.heard.sizeBytes() < size) await first!.heard.nextData();
  assert.equal(first!.heard.sizeBytes(), size);
  second!.socket.destroy();
  assert.equal(await far[1]!.heard.closed, 'ECONNRESET');
  far[0]!.socket.end();
  first!.socket.end();
  await first!.heard.closed;
  close();
});

test('whoever has written gets his bytes back when the system has them, also when nobody reads', async () => {
  const { near, far, close } = await twoConnections();
  const { socket } = near[0]!;
  far[0]!.socket.pause();
  const returned: number[] = [];
  const blocks = Array.from({ length: 64 }, (_, i) => Buffer.alloc(1 << 18, i));
  for (const [i, block] of blocks.entries()) {
    socket.write(block, () => {
      returned.push(i);
      block.fill(255);
    });
  }
  assert.ok(returned.length < blocks.length, 'the system does not take 16 MiB for nobody');
  assert.ok(socket.bufferedBytes > 0);
  far[0]!.socket.resume();
  socket.end();
  await far[0]!.heard.ended;
  assert.deepEqual(
    returned,
    blocks.map((_, i) => i),
  );
  const heard = Buffer.from(far[0]!.heard.text(), 'latin1');
  assert.equal(far[0]!.heard.sizeBytes(), 64 << 18);
  assert.ok(!heard.includes(255), 'none was used again too early');
  for (const { socket: each } of [...near, ...far]) each.destroy();
  close();
});
