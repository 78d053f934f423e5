/**
 * What the kernel says about memory, for the host (../memory-report.ts has the numbers' order): amounts from /proc/meminfo, events from
 * /proc/vmstat, and the time that programs have waited for memory from /proc/pressure/memory, where the kernel measures it.
 */
import { MEMORY, payload, send } from './frames';
import { reserve } from './reserve';
import { openProc } from './spawn';
import { close, EINTR, read } from './system';

const FILE_BYTES: i32 = 16384;
const file: usize = reserve(FILE_BYTES);

const TOTAL: i32 = 0;
const FREE: i32 = 1;
const AVAILABLE: i32 = 2;
const REFAULTS: i32 = 3;
const SWAP_INS: i32 = 4;
const KILLS: i32 = 5;
const WAITED: i32 = 6;
const NUMBERS: i32 = 7;

const NEWLINE: u8 = 10;

/** As much of the file as there is room for. Returns where it ends. */
function readFile(name: string): usize {
  const fd = openProc(name);
  if (fd < 0) return file;
  let size = 0;
  while (size < FILE_BYTES) {
    const count = read(fd, file + size, FILE_BYTES - size);
    if (count === EINTR) continue;
    if (count <= 0) break;
    size += count;
  }
  close(fd);
  return file + size;
}

function begins(at: usize, end: usize, word: string): bool {
  const length = word.length;
  if (<i32>(end - at) < length) return false;
  for (let i = 0; i < length; i++) {
    const wanted = <u8>load<u16>(changetype<usize>(word) + ((<usize>i) << 1));
    if (load<u8>(at + i) !== wanted) return false;
  }
  return true;
}

/** The first number from `at` to the end of the line; the names before it have no digits. */
function numberIn(at: usize, end: usize): u64 {
  let value: u64 = 0;
  let hasBegun = false;
  for (; at < end; at++) {
    const byte = load<u8>(at);
    const isDigit = byte >= 48 && byte < 58;
    if (!isDigit && (hasBegun || byte === NEWLINE)) return value;
    if (!isDigit) continue;
    hasBegun = true;
    value = value * 10 + <u64>(byte - 48);
  }
  return value;
}

/** Several lines may count for one number: refaults of files and of the rest. */
function count(which: i32, at: usize, end: usize): void {
  const slot = payload + ((<usize>which) << 3);
  store<u64>(slot, load<u64>(slot) + numberIn(at, end));
}

/** A line of any of the files. Most are none of those that are looked for, which their first letter tells. */
function take(at: usize, end: usize): void {
  const first = load<u8>(at);
  if (first === 0x4d) {
    if (begins(at, end, 'MemTotal:')) count(TOTAL, at, end);
    else if (begins(at, end, 'MemFree:')) count(FREE, at, end);
    else if (begins(at, end, 'MemAvailable:')) count(AVAILABLE, at, end);
  } else if (first === 0x77) {
    if (begins(at, end, 'workingset_refault')) count(REFAULTS, at, end);
  } else if (first === 0x70) {
    if (begins(at, end, 'pswpin ')) count(SWAP_INS, at, end);
  } else if (first === 0x6f) {
    if (begins(at, end, 'oom_kill ')) count(KILLS, at, end);
  } else if (first === 0x73 && begins(at, end, 'some avg10=')) {
    let total = at;
    while (total < end && load<u8>(total) !== NEWLINE && !begins(total, end, 'total=')) total++;
    count(WAITED, total, end);
  }
}

function takeFile(name: string): void {
  const end = readFile(name);
  let at = file;
  while (at < end) {
    take(at, end);
    while (at < end && load<u8>(at) !== NEWLINE) at++;
    at++;
  }
}

/** Answer the host. */
export function report(): void {
  memory.fill(payload, 0, NUMBERS << 3);
  takeFile('meminfo');
  takeFile('vmstat');
  takeFile('pressure/memory');
  send(MEMORY, 0, 0, NUMBERS << 3);
}
