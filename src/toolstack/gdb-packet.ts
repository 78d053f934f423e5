/**
 * Packets of gdb's remote serial protocol: `$data#checksum`, acknowledged with `+` until both sides agree not to.
 *
 * Source: the gdb manual, appendix "Remote Protocol", Overview. Data is bytes, one character each (latin1).
 */

/** What the other side sent. */
export type PacketEvent =
  | { readonly kind: 'packet'; readonly data: string }
  /** A packet whose checksum is wrong: ask for it again. */
  | { readonly kind: 'damaged' }
  /** Ctrl-C: byte 3 outside a packet. */
  | { readonly kind: 'interrupt' }
  /** Our last packet did not arrive well. */
  | { readonly kind: 'resend' };

/** Longest packet taken; a longer one is damaged. */
export const PACKET_LIMIT_BYTES = 0x4000;

const DOLLAR = 0x24;
const HASH = 0x23;
const ESCAPE = 0x7d;

export const hexByte = (value: number): string => value.toString(16).padStart(2, '0');

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += hexByte(byte);
  return text;
}

/** Bytes of pairs of digits; undefined when it is anything else. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

export const textToHex = (text: string): string => toHex(new TextEncoder().encode(text));

/** Undo the escapes of binary data. */
export function unescapeBinary(data: string): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < data.length; i++) {
    const byte = data.charCodeAt(i);
    bytes.push(byte === ESCAPE && i + 1 < data.length ? data.charCodeAt(++i) ^ 0x20 : byte);
  }
  return Uint8Array.from(bytes);
}

const checksum = (bytes: Uint8Array): number => bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0);

/** A whole packet; `$`, `#`, `}` and `*` in the data are escaped. */
export function framePacket(data: string): Uint8Array {
  const escaped = data.replace(/[$#}*]/g, c => `}${String.fromCharCode(c.charCodeAt(0) ^ 0x20)}`);
  const body = Uint8Array.from(escaped, c => c.charCodeAt(0) & 0xff);
  const frame = new Uint8Array(body.length + 4);
  frame[0] = DOLLAR;
  frame.set(body, 1);
  frame.set(new TextEncoder().encode(`#${hexByte(checksum(body))}`), body.length + 1);
  return frame;
}

/** Takes a stream apart. Feed it chunks as they come. */
export function createPacketReader(onEvent: (event: PacketEvent) => void): (chunk: Uint8Array) => void {
  let body: number[] | undefined;
  let digits = '';
  let inChecksum = false;
  const finish = () => {
    const bytes = Uint8Array.from(body ?? []);
    body = undefined;
    inChecksum = false;
    const good = Number.parseInt(digits, 16) === checksum(bytes) && bytes.length <= PACKET_LIMIT_BYTES;
    digits = '';
    if (!good) onEvent({ kind: 'damaged' });
    else
      onEvent({ kind: 'packet', data: bytes.reduce((text, byte) => text + String.fromCharCode(byte), '') });
  };
  return chunk => {
    for (const byte of chunk) {
      if (inChecksum) {
        digits += String.fromCharCode(byte);
        if (digits.length === 2) finish();
      } else if (byte === DOLLAR) body = [];
      else if (body !== undefined) {
        if (byte === HASH) inChecksum = true;
        else if (body.length <= PACKET_LIMIT_BYTES) body.push(byte);
      } else if (byte === 3) onEvent({ kind: 'interrupt' });
      else if (byte === 0x2d) onEvent({ kind: 'resend' });
    }
  };
}
