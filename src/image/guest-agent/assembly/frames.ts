/**
 * Frames of the channel (agent-channel.ts is the other end and describes them): type, stream, session, length, then
 * the payload.
 */
import { reserve } from './reserve';
import { EAGAIN, EINTR, exit, write } from './system';

export const HEADER_BYTES: i32 = 8;
/** Longest payload of output. */
export const OUTPUT_BYTES: i32 = 16384;
/** What either side may have sent of a stream before the other one says that it was taken. */
export const WINDOW_BYTES: i32 = 65536;

export const START: u8 = 1;
export const DATA: u8 = 2;
export const END: u8 = 3;
export const CREDIT: u8 = 4;
export const SIGNAL: u8 = 5;
export const RESIZE: u8 = 6;
export const STOP: u8 = 7;
export const READY: u8 = 8;
export const EXIT: u8 = 9;
export const RESUME: u8 = 11;
export const MEMORY: u8 = 12;
export const IDENTITY: u8 = 13;

const CHANNEL_OUT: i32 = 1;

/** Room for a frame; payloads are put behind the header. */
const frame: usize = reserve(HEADER_BYTES + OUTPUT_BYTES);
export const payload: usize = frame + 8;

/** Send a frame whose payload is in place. The channel waits; that is the only place where the agent does. */
export function send(type: u8, stream: i32, session: i32, length: i32): void {
  store<u8>(frame, type);
  store<u8>(frame + 1, <u8>stream);
  store<u16>(frame + 2, <u16>session);
  store<u32>(frame + 4, length);
  let at: i32 = 0;
  const size = HEADER_BYTES + length;
  while (at < size) {
    const written = write(CHANNEL_OUT, frame + at, size - at);
    if (written > 0) at += written;
    else if (written !== EINTR && written !== EAGAIN) exit(1);
  }
}

/** A frame with one number. */
export function sendNumber(type: u8, stream: i32, session: i32, value: u32): void {
  store<u32>(payload, value);
  send(type, stream, session, 4);
}
