/** Segments that came before those in front of them. Overlaps are resolved in favour of what was there first. */
import { sequenceDistance } from '../packet/tcp.ts';

const SEGMENTS_MAX = 512;

export class ReceiveQueue {
  /** In order of sequence numbers, without overlaps. */
  readonly #segments: { sequence: number; bytes: Uint8Array }[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }
  get isEmpty(): boolean {
    return this.#segments.length === 0;
  }

  add(sequence: number, bytes: Uint8Array): void {
    let start = sequence;
    let rest = bytes;
    let index = 0;
    while (rest.length > 0) {
      const next = this.#segments[index];
      if (next && sequenceDistance(next.sequence + next.bytes.length, start) <= 0) {
        index += 1;
        continue;
      }
      // What lies before the next segment is new.
      const room = next ? sequenceDistance(next.sequence, start) : rest.length;
      if (room > 0) {
        if (this.#segments.length >= SEGMENTS_MAX) return;
        const part = rest.subarray(0, room);
        this.#segments.splice(index, 0, { sequence: start >>> 0, bytes: part });
        this.#bytes += part.length;
        index += 1;
        start += part.length;
        rest = rest.subarray(part.length);
      } else if (next) {
        const covered = Math.min(rest.length, sequenceDistance(next.sequence + next.bytes.length, start));
        start += covered;
        rest = rest.subarray(covered);
      }
    }
  }

  /** The bytes that begin exactly at `sequence`, if they are there. */
  take(sequence: number): Uint8Array | undefined {
    for (;;) {
      const first = this.#segments[0];
      if (!first) return undefined;
      const behind = sequenceDistance(sequence, first.sequence);
      if (behind < 0) return undefined;
      this.#segments.shift();
      this.#bytes -= first.bytes.length;
      if (behind < first.bytes.length) return first.bytes.subarray(behind);
    }
  }

  clear(): void {
    this.#segments.length = 0;
    this.#bytes = 0;
  }
}
