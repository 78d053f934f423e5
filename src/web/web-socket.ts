/**
 * The server's end of a WebSocket (RFC 6455) as a stream of bytes: what comes in binary messages is passed on as it comes, in pieces, and
 * what is written goes out as binary messages. Where a message ends means nothing, so nothing is ever collected, and a client can
 * make the server keep no more than one header and one control frame.
 */
import type { ByteStream } from '../platform/node/local-http.ts';

const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const FIN = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;
/** Of a control frame's payload. */
const CONTROL_BYTES_MAX = 125;
/** 2 bytes, 8 of a long length, 4 of the mask. */
const HEADER_BYTES_MAX = 14;

/** Why a connection is closed (section 7.4.1). */
export const CloseCode = { normal: 1000, protocolError: 1002, unsupported: 1003 } as const;

class Violation extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

interface Head {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly length: number;
  readonly mask: Uint8Array;
}

/** Length of the header that begins with these bytes, as far as they tell. */
function headerLength(header: Uint8Array, have: number): number {
  if (have < 2) return 2;
  const short = header[1]! & 0x7f;
  return (short === 126 ? 4 : short === 127 ? 10 : 2) + 4;
}

/** What the first two bytes of a header tell. @throws Violation */
function checkStart(first: number, second: number): void {
  if ((first & RESERVED) !== 0) throw new Violation(CloseCode.protocolError, 'a reserved bit is set');
  if ((second & MASKED) === 0) throw new Violation(CloseCode.protocolError, 'a frame is not masked');
  const isControl = (first & 0x0f) >= Opcode.close;
  if (isControl && ((first & FIN) === 0 || (second & 0x7f) > CONTROL_BYTES_MAX)) {
    throw new Violation(CloseCode.protocolError, 'a control frame is too long, or in pieces');
  }
}

/** @throws Violation */
function parseHead(header: Uint8Array): Head {
  const view = new DataView(header.buffer);
  const short = header[1]! & 0x7f;
  const at = short === 126 ? 4 : short === 127 ? 10 : 2;
  const length = short === 126 ? view.getUint16(2) : short === 127 ? Number(view.getBigUint64(2)) : short;
  const least = short === 126 ? 126 : short === 127 ? 0x10000 : 0;
  if (length < least || length > Number.MAX_SAFE_INTEGER) {
    throw new Violation(CloseCode.protocolError, 'a length is not written in its shortest form');
  }
  return {
    opcode: header[0]! & 0x0f,
    isFinal: (header[0]! & FIN) !== 0,
    length,
    mask: header.slice(at, at + 4),
  };
}

export interface WebSocketEvents {
  data(bytes: Uint8Array): void;
  ping(payload: Uint8Array): void;
  close(): void;
}

/** Takes a client's bytes as they come. @throws Violation */
export function webSocketParser(events: WebSocketEvents): (bytes: Uint8Array) => void {
  const header = new Uint8Array(HEADER_BYTES_MAX);
  const control = new Uint8Array(CONTROL_BYTES_MAX);
  let have = 0;
  let head: Head | undefined;
  let done = 0;
  let isInMessage = false;

  const begin = (next: Head): void => {
    const { opcode } = next;
    if (opcode === Opcode.text) throw new Violation(CloseCode.unsupported, 'text is not spoken here');
    const isData = opcode === Opcode.binary || opcode === Opcode.continuation;
    if (isData && (opcode === Opcode.continuation) !== isInMessage) {
      throw new Violation(
        CloseCode.protocolError,
        'a message begins inside another, or goes on outside of one',
      );
    }
    if (!isData && (opcode < Opcode.close || opcode > Opcode.pong)) {
      throw new Violation(CloseCode.protocolError, `there is no opcode ${opcode}`);
    }
    if (isData) isInMessage = !next.isFinal;
    head = next;
    done = 0;
  };
  const end = ({ opcode, length }: Head): void => {
    head = undefined;
    have = 0;
    if (opcode === Opcode.ping) events.ping(control.slice(0, length));
    if (opcode === Opcode.close) events.close();
  };

  return bytes => {
    let at = 0;
    while (at < bytes.length || head?.length === 0) {
      if (!head) {
        header[have++] = bytes[at++]!;
        if (have === 2) checkStart(header[0]!, header[1]!);
        if (have >= 2 && have === headerLength(header, have)) begin(parseHead(header));
        continue;
      }
      const { opcode, length, mask } = head;
      const piece = bytes.slice(at, at + Math.min(bytes.length - at, length - done));
      for (let i = 0; i < piece.length; i++) piece[i]! ^= mask[(done + i) & 3]!;
      if (opcode >= Opcode.close) control.set(piece, done);
      else if (piece.length > 0) events.data(piece);
      at += piece.length;
      done += piece.length;
      if (done === length) end(head);
    }
  };
}

/** A frame from the server: whole, not masked. */
export function webSocketFrame(opcode: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const at = length > 0xffff ? 10 : length > CONTROL_BYTES_MAX ? 4 : 2;
  const frame = new Uint8Array(at + length);
  const view = new DataView(frame.buffer);
  frame[0] = FIN | opcode;
  frame[1] = at === 10 ? 127 : at === 4 ? 126 : length;
  if (at === 4) view.setUint16(2, length);
  if (at === 10) view.setBigUint64(2, BigInt(length));
  frame.set(payload, at);
  return frame;
}

function closeFrame(code: number): Uint8Array {
  const payload = new Uint8Array(2);
  new DataView(payload.buffer).setUint16(0, code);
  return webSocketFrame(Opcode.close, payload);
}

/** The bytes inside of a connection that speaks WebSocket. */
export function webSocketStream(connection: ByteStream): ByteStream {
  let hasClosed = false;
  const close = (code: number): void => {
    if (hasClosed) return;
    hasClosed = true;
    connection.write(closeFrame(code));
    connection.close();
  };
  return {
    onData(listener) {
      let waits: Promise<void>[] = [];
      const parse = webSocketParser({
        data(bytes) {
          const taken = listener(bytes);
          if (taken) waits.push(taken);
        },
        ping: payload => void connection.write(webSocketFrame(Opcode.pong, payload)),
        close: () => close(CloseCode.normal),
      });
      connection.onData(bytes => {
        if (hasClosed) return;
        try {
          parse(bytes);
        } catch (error) {
          close(error instanceof Violation ? error.code : CloseCode.protocolError);
        }
        const taken = waits;
        waits = [];
        return taken.length > 0 ? Promise.all(taken).then(() => {}) : undefined;
      });
    },
    write(bytes) {
      if (hasClosed) return bytes.length;
      return connection.write(webSocketFrame(Opcode.binary, bytes)) > 0 ? bytes.length : 0;
    },
    onWritable: connection.onWritable,
    onClose: connection.onClose,
    close: () => close(CloseCode.normal),
  };
}

/** Hand on what comes from either to the other. One that is slow holds the other back; the end of one is the end of both. */
export function joinStreams(a: ByteStream, b: ByteStream): void {
  passOn(a, b);
  passOn(b, a);
}

function passOn(from: ByteStream, to: ByteStream): void {
  let wake = () => {};
  let isGone = false;
  /** What waits for the other side, in order. */
  let last: Promise<void> | undefined;
  to.onWritable(() => wake());
  to.onClose(() => {
    isGone = true;
    wake();
  });
  const put = async (bytes: Uint8Array): Promise<void> => {
    while (!isGone && to.write(bytes) === 0) {
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
  };
  from.onData(bytes => {
    if (!last && to.write(bytes) > 0) return;
    const mine = (last ?? Promise.resolve()).then(() => put(bytes));
    last = mine;
    void mine.then(() => {
      if (last === mine) last = undefined;
    });
    return mine;
  });
  from.onClose(() => void (last ?? Promise.resolve()).then(() => to.close()));
}
