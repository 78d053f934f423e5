/**
 * Frames of the agent's channel: how many streams of many commands share two streams of bytes.
 *
 *     type u8 · stream u8 · session u16 · length u32 · payload        (little-endian)
 *
 *     START   host     payload: encodeStart in start.ts
 *     DATA    both     stream 0: input, 1: output, 2: error output
 *     END     both     of a stream
 *     CREDIT  both     u32: so many bytes of the stream were taken; of each, WINDOW_BYTES may be on their way
 *     SIGNAL  host     u32: a Linux signal number
 *     RESIZE  host     u16 rows, u16 columns
 *     STOP    host     the guest is to power itself off
 *     RESUME  host     the guest is a restored one: u64 seconds, u64 nanoseconds since 1970, then RESUME_SEED_BYTES of randomness
 *     MEMORY  both     host: nothing, a question; agent: the answer, memory-report.ts
 *     IDENTITY both    host: the guest is a copy, which is somebody else: identity.ts; agent: u32, 0 or an errno. From version 3 on
 *     READY   agent    u32: version of the protocol; the guest's root is in its place
 *     EXIT    agent    u32: exit code; the last frame of a session
 *     FAILED  init     text: why the guest cannot run commands
 *
 * The guest's end is assembly/frames.ts.
 */
import { DomusError } from '../../base/errors.ts';

export const Frame = {
  start: 1,
  data: 2,
  end: 3,
  credit: 4,
  signal: 5,
  resize: 6,
  stop: 7,
  ready: 8,
  exit: 9,
  failed: 10,
  resume: 11,
  memory: 12,
  identity: 13,
} as const;
export const STDIN = 0;
export const STDOUT = 1;
export const STDERR = 2;
/** Version of the protocol. A guest boots with an agent of this one; one that was saved may have an earlier one, down to the oldest. */
export const VERSION = 3;
export const OLDEST_VERSION = 2;
/** The first version whose agent knows IDENTITY. */
export const VERSION_WITH_IDENTITY = 3;

export const HEADER_BYTES = 8;
/** Of a stream, not yet taken by the other side. */
export const WINDOW_BYTES = 65536;
/** Longest payload of DATA. */
export const DATA_BYTES = 16384;
/** Longest payload of START. */
export const START_BYTES = 262144;
/** Of what the guest's generator of random numbers is seeded with after a restore. */
export const RESUME_SEED_BYTES = 64;
/** Sessions at the same time. */
export const SESSIONS = 64;

export interface FrameHead {
  readonly type: number;
  readonly stream: number;
  readonly session: number;
}

export function encodeFrame({ type, stream, session }: FrameHead, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint8(0, type);
  view.setUint8(1, stream);
  view.setUint16(2, session, true);
  view.setUint32(4, payload.length, true);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Numbers of a payload, `bytes` each. */
export function numbers(bytes: 2 | 4, ...values: readonly number[]): Uint8Array {
  const payload = new Uint8Array(bytes * values.length);
  const view = new DataView(payload.buffer);
  for (const [i, value] of values.entries()) {
    if (bytes === 2) view.setUint16(2 * i, value, true);
    else view.setUint32(4 * i, value, true);
  }
  return payload;
}

/** The number that is a payload; undefined if it is none. */
export const numberOf = (payload: Uint8Array): number | undefined =>
  payload.length === 4 ? new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0, true) : undefined;

/** Takes pieces as they come. @throws DomusError E_CHANNEL for a frame that is too long */
export interface FrameParser {
  (bytes: Uint8Array): void;
  /** What has come of a frame that is not complete: another parser can go on with it. */
  partial(): Uint8Array;
}

/** Puts frames of at most `limitBytes` together out of pieces. The payload is the receiver's own. */
export function frameParser(
  limitBytes: number,
  receive: (head: FrameHead, payload: Uint8Array) => void,
): FrameParser {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  let have = 0;
  let payload: Uint8Array | undefined;
  const parse = (bytes: Uint8Array): void => {
    let at = 0;
    while (at < bytes.length) {
      if (have < HEADER_BYTES) {
        header[have++] = bytes[at++]!;
        if (have < HEADER_BYTES) continue;
        const length = view.getUint32(4, true);
        if (length > limitBytes) {
          throw new DomusError('E_CHANNEL', `a frame of ${length} bytes came, ${limitBytes} are allowed`);
        }
        payload = new Uint8Array(length);
      }
      const target = payload!;
      const done = have - HEADER_BYTES;
      const piece = bytes.subarray(at, at + target.length - done);
      target.set(piece, done);
      at += piece.length;
      have += piece.length;
      if (have < HEADER_BYTES + target.length) continue;
      have = 0;
      payload = undefined;
      receive({ type: view.getUint8(0), stream: view.getUint8(1), session: view.getUint16(2, true) }, target);
    }
  };
  return Object.assign(parse, {
    partial() {
      const whole = new Uint8Array(have);
      whole.set(header.subarray(0, Math.min(have, HEADER_BYTES)));
      if (payload) whole.set(payload.subarray(0, have - HEADER_BYTES), HEADER_BYTES);
      return whole;
    },
  });
}
