/**
 * Numbers and strings in 9P messages: little-endian, strings with a 16-bit length and no end. Strings are bytes, kept as text in
 * which each character is one byte. Source: the manual of 9P2000, intro(5).
 */

/** A message that is no message: too short for what it says it has, or longer. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

/** What one file is known by: its kind, a version that changes with its contents, and its number. */
export interface Qid {
  readonly type: number;
  readonly version: number;
  readonly path: bigint;
}
export const QID_BYTES = 13;

const decoder = new TextDecoder('latin1');

/** Bytes as text, each a character. (The label `latin1` means windows-1252, which maps 0x80 to 0x9f elsewhere.) */
export function textOf(bytes: Uint8Array): string {
  for (const byte of bytes) if (byte > 0x7f) return String.fromCharCode(...bytes);
  return decoder.decode(bytes);
}

/** The bytes of such a text. */
export function bytesOfText(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export class MessageReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
  }

  /** Where the next `length` bytes are. */
  #take(length: number): number {
    const at = this.#at;
    if (length > this.#bytes.length - at) throw new MalformedMessage('the message is too short');
    this.#at = at + length;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }
  string(): string {
    return textOf(this.bytes(this.u16()));
  }
  /** Not a copy. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }
  /** Nothing may follow. */
  end(): void {
    if (this.#at !== this.#bytes.length) throw new MalformedMessage('the message is too long');
  }
}

export class MessageWriter {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  /** How much has been written. */
  length = 0;

  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.bytes.buffer);
  }

  #move(length: number): number {
    const at = this.length;
    this.length = at + length;
    return at;
  }

  u8(value: number): this {
    this.#view.setUint8(this.#move(1), value);
    return this;
  }
  u16(value: number): this {
    this.#view.setUint16(this.#move(2), value, true);
    return this;
  }
  u32(value: number): this {
    this.#view.setUint32(this.#move(4), value, true);
    return this;
  }
  u64(value: bigint | number): this {
    this.#view.setBigUint64(this.#move(8), BigInt.asUintN(64, BigInt(value)), true);
    return this;
  }
  string(text: string): this {
    this.u16(text.length);
    const at = this.#move(text.length);
    for (let i = 0; i < text.length; i++) this.bytes[at + i] = text.charCodeAt(i);
    return this;
  }
  qid({ type, version, path }: Qid): this {
    return this.u8(type).u32(version).u64(path);
  }
  /** Room for bytes that somebody else fills in; `trim` gives back what was not needed. */
  room(length: number): Uint8Array {
    const at = this.#move(length);
    return this.bytes.subarray(at, at + length);
  }
  trim(length: number): void {
    this.length -= length;
  }
  /** Write over what was written. */
  patch32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }
}
