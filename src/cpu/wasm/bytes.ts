/** Names that modules are full of, as bytes. */
const encodedNames = new Map<string, Uint8Array>();

/** A growing byte buffer with WebAssembly's variable-length integers (core specification 5.2.2, LEB128). */
export class ByteWriter {
  #bytes: Uint8Array;
  length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  #reserve(count: number): void {
    if (this.length + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + count));
    larger.set(this.#bytes.subarray(0, this.length));
    this.#bytes = larger;
  }

  byte(value: number): void {
    if (this.length === this.#bytes.length) this.#reserve(1);
    this.#bytes[this.length++] = value;
  }

  /** Replace a byte that has been written. */
  patch(at: number, value: number): void {
    this.#bytes[at] = value;
  }

  bytes(values: ArrayLike<number>): void {
    this.#reserve(values.length);
    this.#bytes.set(values, this.length);
    this.length += values.length;
  }

  /** Unsigned integer below 2^53. */
  unsigned(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80);
      rest = rest < 0x8000_0000 ? rest >>> 7 : Math.floor(rest / 0x80);
    }
    this.byte(rest);
  }

  /** Signed integer of magnitude below 2^53, or a bigint of 64 bits. */
  signed(value: number | bigint): void {
    if (typeof value === 'bigint') {
      this.#signedWide(value);
      return;
    }
    let rest = value;
    if (rest === (rest | 0)) {
      for (; rest < -0x40 || rest >= 0x40; rest >>= 7) this.byte((rest & 0x7f) | 0x80);
      this.byte(rest & 0x7f);
      return;
    }
    while (rest < -0x40 || rest >= 0x40) {
      const low = ((rest % 0x80) + 0x80) % 0x80;
      this.byte(low | 0x80);
      rest = (rest - low) / 0x80;
    }
    this.byte(rest & 0x7f);
  }

  #signedWide(value: bigint): void {
    const narrow = Number(value);
    if (Number.isSafeInteger(narrow)) {
      this.signed(narrow);
      return;
    }
    let rest = BigInt.asIntN(64, value);
    while (rest < -0x40n || rest >= 0x40n) {
      this.byte(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.byte(Number(rest & 0x7fn));
  }

  /** A name: its UTF-8 length, then its bytes. */
  name(text: string): void {
    let encoded = encodedNames.get(text);
    if (!encoded) {
      encoded = new TextEncoder().encode(text);
      encodedNames.set(text, encoded);
    }
    this.unsigned(encoded.length);
    this.bytes(encoded);
  }

  /** `content`'s length, then its bytes: the form of sections and function bodies. */
  sized(content: ByteWriter): void {
    this.unsigned(content.length);
    this.bytes(content.view());
  }

  /** What is written so far; valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
  }
}
