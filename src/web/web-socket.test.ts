/** WebSocket frames: what comes out is what was sent, however it is cut; whoever breaks the rules is sent away; and random bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../image/fuzz.fixture.ts';
import type { ByteStream } from '../platform/node/local-http.ts';
import { joinStreams, webSocketFrame, webSocketParser, webSocketStream } from './web-socket.ts';

/** A frame as a client writes it. */
function clientFrame(
  opcode: number,
  payload: Uint8Array,
  mask: readonly number[],
  isFinal = true,
): Uint8Array {
  const frame = webSocketFrame(opcode, payload);
  const at = frame.length - payload.length;
  const whole = new Uint8Array(frame.length + 4);
  whole.set(frame.subarray(0, at));
  whole[0] = (whole[0]! & 0x0f) | (isFinal ? 0x80 : 0);
  whole[1]! |= 0x80;
  whole.set(mask, at);
  for (const [i, byte] of payload.entries()) whole[at + 4 + i] = byte ^ mask[i & 3]!;
  return whole;
}

const joined = (parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

interface Heard {
  readonly data: Uint8Array[];
  readonly pings: Uint8Array[];
  nrCloses: number;
}
function listener() {
  const heard: Heard = { data: [], pings: [], nrCloses: 0 };
  const parse = webSocketParser({
    data: bytes => void heard.data.push(bytes),
    ping: payload => void heard.pings.push(payload),
    close: () => {
      heard.nrCloses += 1;
    },
  });
  return { heard, parse };
}

/** A connection in memory that takes at most `room` bytes until it is emptied. */
function connection(room = Number.POSITIVE_INFINITY) {
  let onData: (bytes: Uint8Array) => void | Promise<void> = () => {};
  const closers: (() => void)[] = [];
  const wakers: (() => void)[] = [];
  const written: Uint8Array[] = [];
  let waiting = 0;
  const end = {
    isClosed: false,
    written,
    send: (bytes: Uint8Array) => onData(bytes),
    empty() {
      waiting = 0;
      for (const wake of wakers) wake();
    },
    hangUp() {
      if (end.isClosed) return;
      end.isClosed = true;
      for (const closer of closers) closer();
    },
    stream: {
      onData(next) {
        onData = next;
      },
      write(bytes) {
        if (waiting >= room) return 0;
        waiting += bytes.length;
        written.push(bytes);
        return bytes.length;
      },
      onWritable: wake => void wakers.push(wake),
      onClose: closer => void closers.push(closer),
      close: () => end.hangUp(),
    } satisfies ByteStream,
  };
  return end;
}

test('messages of every length, in pieces, with control frames between, give the bytes that were sent', () => {
  const below = seeded(1);
  for (let round = 0; round < 60; round++) {
    const sent: Uint8Array[] = [];
    const pings: Uint8Array[] = [];
    const frames: Uint8Array[] = [];
    const mask = () => [below(256), below(256), below(256), below(256)];
    for (let message = 0; message < 4; message++) {
      const nrPieces = 1 + below(3);
      for (let piece = 0; piece < nrPieces; piece++) {
        const size = [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 70_000][below(9)]!;
        const payload = Uint8Array.from({ length: size }, () => below(256));
        sent.push(payload);
        frames.push(clientFrame(piece === 0 ? 2 : 0, payload, mask(), piece === nrPieces - 1));
        if (below(3) === 0) {
          const ping = Uint8Array.from({ length: below(126) }, () => below(256));
          pings.push(ping);
          frames.push(clientFrame(9, ping, mask()));
        }
      }
    }
    const bytes = joined([...frames, clientFrame(8, new Uint8Array([3, 232]), mask())]);
    const { heard, parse } = listener();
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + below(round % 2 === 0 ? 20 : 40_000);
      parse(bytes.subarray(at, at + size));
      at += size;
    }
    assert.deepEqual(joined(heard.data), joined(sent));
    assert.deepEqual(heard.pings, pings);
    assert.equal(heard.nrCloses, 1);
  }
});

test('whoever breaks the rules is told which, and sent away', async () => {
  const mask = [1, 2, 3, 4];
  const some = new Uint8Array([7]);
  const long = clientFrame(2, new Uint8Array(200), mask);
  const cases: readonly (readonly [string, Uint8Array, number])[] = [
    ['not masked', webSocketFrame(2, some), 1002],
    ['text', clientFrame(1, some, mask), 1003],
    ['a reserved bit', clientFrame(2, some, mask).map((byte, i) => (i === 0 ? byte | 0x40 : byte)), 1002],
    ['an opcode that is none', clientFrame(11, some, mask), 1002],
    ['a data opcode that is none', clientFrame(3, some, mask), 1002],
    ['a continuation of nothing', clientFrame(0, some, mask), 1002],
    [
      'a message within a message',
      joined([clientFrame(2, some, mask, false), clientFrame(2, some, mask)]),
      1002,
    ],
    ['a control frame in pieces', clientFrame(9, some, mask, false), 1002],
    ['a long control frame', clientFrame(9, new Uint8Array(126), mask), 1002],
    ['a length that could be shorter', long.map((byte, i) => (i === 2 ? 0 : i === 3 ? 5 : byte)), 1002],
    [
      'a length past all numbers',
      new Uint8Array([0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, ...mask]),
      1002,
    ],
  ];
  for (const [what, bytes, code] of cases) {
    const end = connection();
    webSocketStream(end.stream).onData(() => {});
    await end.send(bytes);
    assert.ok(end.isClosed, what);
    assert.deepEqual(end.written.at(-1), new Uint8Array([0x88, 2, code >> 8, code & 255]), what);
  }
});

test('random bytes, and good frames with a byte changed: never anything but bytes, pongs and an end', async () => {
  for (let seed = 1; seed <= 400; seed++) {
    const below = seeded(seed);
    const good = joined([
      clientFrame(
        2,
        Uint8Array.from({ length: below(300) }, () => below(256)),
        [1, 2, 3, 4],
      ),
      clientFrame(9, new Uint8Array(below(126)), [5, 6, 7, 8]),
      clientFrame(2, new Uint8Array(70_000), [9, 9, 9, 9], false),
      clientFrame(0, new Uint8Array(3), [0, 0, 0, 0]),
    ]);
    const bytes = seed % 2 === 0 ? good : Uint8Array.from({ length: 500 }, () => below(256));
    if (seed % 2 === 0) bytes[below(bytes.length)] = below(256);
    const end = connection();
    let nrBytes = 0;
    webSocketStream(end.stream).onData(piece => {
      nrBytes += piece.length;
    });
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + below(9000);
      await end.send(bytes.slice(at, at + size));
      at += size;
    }
    assert.ok(nrBytes <= bytes.length);
    for (const frame of end.written) assert.ok([0x8a, 0x88].includes(frame[0]!));
    assert.ok(end.written.filter(frame => frame[0] === 0x88).length <= 1);
  }
});

test('a side that is slow holds the other back, and loses nothing when that one ends', async () => {
  const slow = connection(10);
  const fast = connection();
  joinStreams(slow.stream, fast.stream);
  const pieces = Array.from({ length: 6 }, (_, i) => new Uint8Array(8).fill(i));
  const waits = pieces.map(piece => fast.send(piece));
  assert.equal(waits[0], undefined, 'what is taken at once needs no waiting');
  assert.ok(waits[5] instanceof Promise, 'what is not holds its sender');
  assert.equal(slow.written.length, 2);
  fast.hangUp();
  await new Promise(setImmediate);
  assert.ok(!slow.isClosed, 'there is something for it yet');
  while (!slow.isClosed) {
    slow.empty();
    await new Promise(setImmediate);
  }
  assert.deepEqual(slow.written, pieces);
});

test('the end of a side that takes nothing frees the other one', async () => {
  const slow = connection(0);
  const fast = connection();
  joinStreams(slow.stream, fast.stream);
  const held = fast.send(new Uint8Array(5));
  slow.hangUp();
  await held;
  await new Promise(setImmediate);
  assert.ok(fast.isClosed);
});
