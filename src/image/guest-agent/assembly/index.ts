/**
 * The agent: runs commands in a guest for the host, over one channel (../agent-channel.ts is the other end).
 *
 * It is a program without a library, for any root file system or none. Descriptors 0 and 1 are the channel, 3 is a busybox for
 * the host's own needs. It may be the guest's first process; then it waits for the orphans too.
 */
import * as frames from './frames';
import { awaitInit } from './hand-over';
import { identify } from './identity';
import { report } from './memory';
import { reserve } from './reserve';
import { prepareResume, resume } from './resume';
import { drain, feed, limit, receive, SESSIONS, session } from './sessions';
import { prepare, START_BYTES, setSize, spawn } from './spawn';
import {
  address,
  blockSignals,
  closeOnExecute,
  disposition,
  EAGAIN,
  EINTR,
  getpid,
  ioctl,
  kill,
  poll,
  powerOff,
  read,
  signalFile,
  waitAny,
} from './system';

const VERSION: u32 = 3;
const CHANNEL: i32 = 0;
const SIGPIPE: i32 = 13;
const SIGKILL: i32 = 9;
const SIGCHLD: u64 = 1 << 16;
const POLLIN: i16 = 1;
const POLLOUT: i16 = 4;

const INPUT_BYTES: i32 = 16384;
const input: usize = reserve(INPUT_BYTES);
const header: usize = memory.data(8, 8);
const start: usize = reserve(START_BYTES);
const small: usize = memory.data(8, 8);
const entries: usize = memory.data(2048, 8);
const status: usize = memory.data(256, 8);

let hasEnded: bool = false;
/** Bytes of header and payload that have come of the current frame. */
let received: i32 = 0;

/** What the host sends for a stream or a command. */
function act(type: u8, stream: i32, id: i32): void {
  if (type === frames.STOP) {
    hasEnded = true;
    return;
  }
  if (type === frames.RESUME) {
    resume(start);
    return;
  }
  if (type === frames.IDENTITY) {
    frames.sendNumber(frames.IDENTITY, 0, 0, -identify(start));
    return;
  }
  if (type === frames.MEMORY) {
    report();
    return;
  }
  if (id >= SESSIONS) return;
  const at = session(id);
  if (type === frames.START) {
    if (!at.isOpen) spawn(id, start);
    return;
  }
  if (!at.isOpen) return;
  if (type === frames.END) {
    at.inputEnds = true;
    feed(id, at);
  } else if (type === frames.CREDIT) {
    if (stream === 1) at.outputCredit += load<i32>(small);
    else at.errorCredit += load<i32>(small);
  } else if (type === frames.SIGNAL) {
    const signal = load<i32>(small);
    // A command that is to die takes along what it has started.
    if (!at.hasExited) kill(signal === SIGKILL ? -at.pid : at.pid, signal);
  } else if (type === frames.RESIZE && at.isTerminal && at.output >= 0) {
    setSize(at.output, load<u16>(small), load<u16>(small, 2));
  }
}

/** Take the frames apart in what has been read. */
function parse(size: i32): void {
  let at = 0;
  while (at < size) {
    if (received < frames.HEADER_BYTES) {
      store<u8>(header + received, load<u8>(input + at));
      received++;
      at++;
      if (received < frames.HEADER_BYTES) continue;
    }
    const type = load<u8>(header);
    const stream = <i32>load<u8>(header, 1);
    const id = <i32>load<u16>(header, 2);
    const length = <i32>load<u32>(header, 4);
    const have = received - frames.HEADER_BYTES;
    const count = min(length - have, size - at);
    if (type === frames.DATA) {
      if (id < SESSIONS && session(id).isOpen) {
        receive(session(id), input + at, count);
        // Whole frames at once: each write may wake the command.
        if (have + count === length) feed(id, session(id));
      }
    } else if (type === frames.START || type === frames.RESUME || type === frames.IDENTITY) {
      if (length <= START_BYTES) memory.copy(start + have, input + at, count);
    } else if (length <= 8) {
      memory.copy(small + have, input + at, count);
    }
    received += count;
    at += count;
    if (received - frames.HEADER_BYTES < length) continue;
    received = 0;
    if (type !== frames.DATA) act(type, stream, id);
  }
}

function readChannel(): void {
  const size = read(CHANNEL, input, INPUT_BYTES);
  if (size === EINTR || size === EAGAIN) return;
  if (size <= 0) hasEnded = true;
  else parse(size);
}

/** Exit codes as a shell counts them. */
function codeOf(waitStatus: i32): i32 {
  const signal = waitStatus & 127;
  return signal !== 0 ? 128 + signal : (waitStatus >> 8) & 255;
}

function reap(): void {
  while (true) {
    const pid = waitAny(status);
    if (pid <= 0) return;
    for (let id = 0; id < limit(); id++) {
      const at = session(id);
      if (!at.isOpen || at.hasExited || at.pid !== pid) continue;
      at.hasExited = true;
      at.code = codeOf(load<i32>(status));
    }
  }
}

let nrEntries: i32 = 0;
function watch(fd: i32, events: i16): void {
  const entry = entries + <usize>nrEntries * 8;
  nrEntries++;
  store<i32>(entry, fd);
  store<i16>(entry, events, 4);
  store<i16>(entry, 0, 6);
}

function watchSession(id: i32): void {
  const at = session(id);
  if (!at.isOpen) return;
  if (at.output >= 0 && at.outputCredit > 0 && !at.hasExited) watch(at.output, POLLIN);
  if (at.error >= 0 && at.errorCredit > 0 && !at.hasExited) watch(at.error, POLLIN);
  if (at.isBlocked) watch(at.input, POLLOUT);
}

/** Bytes as they are, in both directions: the channel may be a terminal. Source: Linux, asm-generic/termbits.h. */
function makeRaw(): void {
  const TCGETS: i64 = 0x5401;
  const TCSETS: i64 = 0x5402;
  const CS8_CREAD: u32 = 0x30 | 0x80;
  const SPEED: u32 = 0x100f;
  const VMIN: usize = 6;
  if (ioctl(CHANNEL, TCGETS, address(status)) < 0) return;
  store<u32>(status, 0);
  store<u32>(status, 0, 4);
  store<u32>(status, (load<u32>(status, 8) & SPEED) | CS8_CREAD, 8);
  store<u32>(status, 0, 12);
  memory.fill(status + 17, 0, 19);
  store<u8>(status + 17 + VMIN, 1);
  ioctl(CHANNEL, TCSETS, address(status));
}

export function main(): i32 {
  prepare();
  prepareResume();
  makeRaw();
  closeOnExecute(0);
  closeOnExecute(1);
  closeOnExecute(3);
  disposition(SIGPIPE, 1);
  blockSignals(SIGCHLD);
  const children = signalFile(SIGCHLD);
  awaitInit();
  frames.sendNumber(frames.READY, 0, 0, VERSION);
  while (!hasEnded) {
    nrEntries = 0;
    watch(CHANNEL, POLLIN);
    watch(children, POLLIN);
    for (let id = 0; id < limit(); id++) watchSession(id);
    if (poll(entries, nrEntries) < 0) continue;
    if (load<i16>(entries, 14) !== 0) {
      read(children, status, 256);
      reap();
    }
    if (load<i16>(entries, 6) !== 0) readChannel();
    for (let id = 0; id < limit(); id++) {
      const at = session(id);
      if (!at.isOpen) continue;
      if (at.isBlocked) feed(id, at);
      drain(id, at);
    }
  }
  if (getpid() === 1) powerOff();
  return 0;
}
