/** Segments of a guest, one by one, and what is answered to each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock, Timers } from '../../platform/platform.ts';
import { BlockPool } from '../block-pool.ts';
import { TcpFlag, type TcpSegment } from '../packet/tcp.ts';
import { TcpConnection } from './tcp-connection.ts';

const { ack: ACK, fin: FIN, syn: SYN } = TcpFlag;

/** A guest that has connected, with 1000 as its next number. `answers`: each time there is data a byte is sent back. */
function connected({ answers = false } = {}) {
  const sent: number[] = [];
  const tasks: (() => void)[] = [];
  let hasEnded = false;
  const connection = new TcpConnection({
    user: {
      emit: ({ acknowledgement }) => void sent.push(acknowledgement),
      connected: () => {},
      data: () => {
        if (answers) connection.send(Uint8Array.of(1));
      },
      ended: () => {
        hasEnded = true;
      },
      progressed: () => {},
      closed: () => {},
      receiveRoom: () => 65_536,
    },
    clock: { monotonicNs: () => 0 } as Clock,
    timers: { after: () => () => {} } as unknown as Timers,
    defer: task => void tasks.push(task),
    initialSequence: 1,
    mss: 1460,
    largeSegmentBytes: 1460,
    blocks: new BlockPool(1 << 16),
  });
  const segment = (sequence: number, flags: number, length: number): TcpSegment => ({
    sourcePort: 1,
    destinationPort: 2,
    sequence,
    acknowledgement: 2,
    flags,
    window: 65_535,
    dataStart: 0,
    dataEnd: length,
    mss: undefined,
    windowScale: undefined,
  });
  const receive = (sequence: number, flags: number, length: number): void =>
    connection.receive(segment(sequence, flags, length), new Uint8Array(length));
  connection.accept(segment(999, SYN, 0));
  receive(1000, ACK, 0);
  return {
    receive,
    hasEnded: () => hasEnded,
    /** What the guest was told last to have come, when all is done. */
    acknowledged(): number | undefined {
      for (const task of tasks.splice(0)) task();
      return sent.at(-1);
    },
  };
}

test('an end that came before the data is acknowledged with the data', () => {
  const guest = connected();
  guest.receive(1010, ACK | FIN, 10);
  assert.equal(guest.acknowledged(), 1000);
  guest.receive(1000, ACK, 10);
  assert.equal(guest.acknowledged(), 1021);
  assert.ok(guest.hasEnded());
});

test('an end is acknowledged, too, when an answer has acknowledged its data', () => {
  const guest = connected({ answers: true });
  guest.receive(1000, ACK | FIN, 10);
  assert.equal(guest.acknowledged(), 1011);
  assert.ok(guest.hasEnded());
});
