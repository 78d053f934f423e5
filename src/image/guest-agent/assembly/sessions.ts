/** The table of sessions: one for each command that runs, with its files and what waits for it. */
import { CREDIT, DATA, END, EXIT, OUTPUT_BYTES, payload, send, sendNumber, WINDOW_BYTES } from './frames';
import { reserve } from './reserve';
import { close, EAGAIN, EINTR, read, write } from './system';

export const SESSIONS: i32 = 64;

/** A row of the table; file descriptors are -1 when closed. */
// @ts-expect-error: an AssemblyScript decorator
@unmanaged
export class Session {
  isOpen: bool;
  hasExited: bool;
  /** Close `input` when what waits has been written. */
  inputEnds: bool;
  isTerminal: bool;
  /** The command does not take its input at the moment. */
  isBlocked: bool;
  pid: i32;
  code: i32;
  /** The command's standard input, output and error; for a terminal the first two are its master. */
  input: i32;
  output: i32;
  error: i32;
  /** How much the host will take. */
  outputCredit: i32;
  errorCredit: i32;
  /** Input that waits: a ring of WINDOW_BYTES at `ring`. */
  waitingAt: i32;
  waiting: i32;
  /** Input taken that the host has not been told of. */
  untold: i32;
  ring: usize;
}

const ROW_BYTES: usize = offsetof<Session>();
const table: usize = memory.data(4096, 8);
const rings: usize = reserve(<usize>SESSIONS * <usize>WINDOW_BYTES);

export function session(id: i32): Session {
  return changetype<Session>(table + <usize>id * ROW_BYTES);
}

let nrRows: i32 = 0;
/** No session with this number or a higher one has ever been open. */
export function limit(): i32 {
  return nrRows;
}

export function open(id: i32): Session {
  nrRows = max(nrRows, id + 1);
  const opened = session(id);
  memory.fill(changetype<usize>(opened), 0, ROW_BYTES);
  opened.isOpen = true;
  opened.input = opened.output = opened.error = -1;
  opened.outputCredit = opened.errorCredit = WINDOW_BYTES;
  opened.ring = rings + <usize>id * <usize>WINDOW_BYTES;
  return opened;
}

/** Input for the command. More than the window is a mistake of the host's, and lost. */
export function receive(at: Session, from: usize, size: i32): void {
  const count = min(size, WINDOW_BYTES - at.waiting);
  const start = (at.waitingAt + at.waiting) & (WINDOW_BYTES - 1);
  const first = min(count, WINDOW_BYTES - start);
  memory.copy(at.ring + start, from, first);
  memory.copy(at.ring, from + first, count - first);
  at.waiting += count;
}

function tell(id: i32, at: Session): void {
  if (at.untold === 0) return;
  sendNumber(CREDIT, 0, id, at.untold);
  at.untold = 0;
}

function closeInput(at: Session): void {
  // A terminal's master carries its output too.
  if (at.input >= 0 && !at.isTerminal) close(at.input);
  at.input = -1;
}

/** Give the command what it takes of the input that waits. */
export function feed(id: i32, at: Session): void {
  at.isBlocked = false;
  while (at.input >= 0 && at.waiting > 0) {
    const count = min(at.waiting, WINDOW_BYTES - at.waitingAt);
    const written = write(at.input, at.ring + at.waitingAt, count);
    if (written === EINTR) continue;
    if (written === EAGAIN) {
      at.isBlocked = true;
      break;
    }
    if (written <= 0) {
      closeInput(at);
      break;
    }
    at.waitingAt = (at.waitingAt + written) & (WINDOW_BYTES - 1);
    at.waiting -= written;
    at.untold += written;
  }
  if (at.input < 0) {
    // Nobody reads it any more.
    at.untold += at.waiting;
    at.waiting = 0;
  }
  if (at.waiting === 0 && at.inputEnds) closeInput(at);
  if (at.waiting === 0 || at.untold >= WINDOW_BYTES / 4) tell(id, at);
}

/** Pass on one piece of output. False when there is none now: the stream has ended, or waits. */
function passOn(id: i32, at: Session, stream: i32): bool {
  const fd = stream === 1 ? at.output : at.error;
  const credit = stream === 1 ? at.outputCredit : at.errorCredit;
  if (fd < 0 || credit <= 0) return false;
  const count = read(fd, payload, min(credit, OUTPUT_BYTES));
  if (count === EINTR) return true;
  if (count === EAGAIN && !at.hasExited) return false;
  if (count <= 0) {
    endOutput(id, at, stream);
    return false;
  }
  if (stream === 1) at.outputCredit -= count;
  else at.errorCredit -= count;
  send(DATA, stream, id, count);
  return true;
}

function endOutput(id: i32, at: Session, stream: i32): void {
  if (stream === 1) {
    if (at.isTerminal) at.input = -1;
    close(at.output);
    at.output = -1;
  } else {
    close(at.error);
    at.error = -1;
  }
  send(END, stream, id, 0);
}

/** One piece of each stream. Of a command that has ended: all that is left, as far as the host takes it. */
export function drain(id: i32, at: Session): void {
  for (let stream = 1; stream <= 2; stream++) {
    while (passOn(id, at, stream) && at.hasExited) {}
  }
  if (!at.hasExited || at.output >= 0 || at.error >= 0) return;
  closeInput(at);
  at.isOpen = false;
  sendNumber(EXIT, 0, id, at.code);
}
