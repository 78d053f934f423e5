/**
 * A capture of what goes over a cable, in the pcap format that tcpdump and tshark read, with nanoseconds. Frames are kept
 * as they pass: a checksum that the receiver is to complete is shown incomplete, and a large segment as one.
 * Source: draft-ietf-opsawg-pcap.
 */
import type { ByteSink, Clock } from '../platform/platform.ts';
import type { Frame } from './frame.ts';

const MAGIC_NANOSECONDS = 0xa1b2_3c4d;
const LINK_TYPE_ETHERNET = 1;
const SNAP_BYTES = 262_144;
/** What may wait for a slow disk; frames beyond that are not recorded. */
const PENDING_BYTES_MAX = 32 << 20;
const FLUSH_BYTES = 65_536;

export function pcapHeader(): Uint8Array {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC_NANOSECONDS, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, SNAP_BYTES, true);
  view.setUint32(20, LINK_TYPE_ETHERNET, true);
  return bytes;
}

export function pcapRecord(frame: Uint8Array, wallNs: bigint): Uint8Array {
  const bytes = new Uint8Array(16 + frame.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Number((wallNs / 1_000_000_000n) & 0xffff_ffffn), true);
  view.setUint32(4, Number(wallNs % 1_000_000_000n), true);
  view.setUint32(8, frame.length, true);
  view.setUint32(12, frame.length, true);
  bytes.set(frame, 16);
  return bytes;
}

export interface Capture {
  record(frame: Frame): void;
  /** Write what waits and close the file. @throws what the sink throws */
  close(): Promise<void>;
  /** Frames that are not in the file because it was written too slowly. */
  readonly nrDropped: number;
}

export function createCapture(sink: ByteSink, clock: Clock): Capture {
  let waiting: Uint8Array[] = [pcapHeader()];
  let waitingBytes = 0;
  /** Handed to the sink and not written yet. */
  let writingBytes = 0;
  let nrDropped = 0;
  let isClosed = false;
  let last: Promise<void> = Promise.resolve();

  function flush(): void {
    const total = waiting.reduce((sum, part) => sum + part.length, 0);
    const chunk = new Uint8Array(total);
    let at = 0;
    for (const part of waiting) {
      chunk.set(part, at);
      at += part.length;
    }
    waiting = [];
    waitingBytes = 0;
    writingBytes += total;
    last = last.then(async () => {
      await sink.write(chunk);
      writingBytes -= total;
    });
    // Reported by `close`.
    last.catch(() => {});
  }

  return {
    record(frame) {
      if (isClosed) return;
      if (waitingBytes + writingBytes > PENDING_BYTES_MAX) {
        nrDropped += 1;
        return;
      }
      const record = pcapRecord(frame.bytes, clock.wallNs());
      waiting.push(record);
      waitingBytes += record.length;
      if (waitingBytes >= FLUSH_BYTES) flush();
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      flush();
      try {
        await last;
      } finally {
        await sink.close();
      }
    },
    get nrDropped() {
      return nrDropped;
    },
  };
}
