/**
 * A plain binary record: little-endian numbers, and bytes with their length before them. Reading checks every bound.
 */
import { DomusError } from '../base/errors.ts';
import { bytesToString, stringToBytes } from './wire.ts';

export class RecordWriter {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #used = 0;

  #room(sizeBytes: number): number {
    const at = this.#used;
    this.#used += sizeBytes;
    if (this.#used > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#used, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#view.setUint32(at, value, true);
  }

  /** A whole number below 2^53. */
  u64(value: number): void {
    const at = this.#room(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  bytes(value: Uint8Array): void {
    this.u32(value.length);
    const at = this.#room(value.length);
    this.#bytes.set(value, at);
  }

  string(value: string): void {
    this.bytes(stringToBytes(value));
  }

  list<T>(items: Iterable<T>, write: (item: T) => void): void {
    const all = [...items];
    this.u32(all.length);
    for (const item of all) write(item);
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#used);
  }
}

/** @throws DomusError E_XENSTORE_STATE from every method, when the record is cut short or impossible */
export class RecordReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(what: string): never {
    throw new DomusError(
      'E_XENSTORE_STATE',
      `the saved xenstore is damaged: ${what} at byte ${this.#at}`,
      'restore from another snapshot',
    );
  }

  #take(sizeBytes: number): number {
    const at = this.#at;
    if (sizeBytes > this.#bytes.length - at) this.fail('it ends too early');
    this.#at += sizeBytes;
    return at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): number {
    const value = Number(this.#view.getBigUint64(this.#take(8), true));
    if (!Number.isSafeInteger(value)) this.fail('a number too large');
    return value;
  }

  /** A number up to `max`. */
  upTo(max: number): number {
    const value = this.u32();
    if (value > max) this.fail(`${value} where at most ${max} is possible`);
    return value;
  }

  bytes(): Uint8Array {
    const length = this.u32();
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  string(): string {
    return bytesToString(this.bytes());
  }

  list<T>(read: () => T): T[] {
    const items: T[] = [];
    for (let left = this.u32(); left > 0; left--) items.push(read());
    return items;
  }

  end(): void {
    if (this.#at !== this.#bytes.length) this.fail('it goes on behind its end');
  }
}
