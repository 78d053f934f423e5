/**
 * Linux system calls as the agent uses them. Results are the kernel's: negative errno values for failures.
 * Source: Linux, arch/x86/entry/syscalls/syscall_64.tbl.
 */

import { syscall } from './linux';

/** Where linear memory lies in the process (scripts/build/guest-agent.ts). */
const MEMORY_ADDRESS: i64 = 0x1000_0000;

/** A pointer as the kernel and other programs see it. */
export function address(pointer: usize): i64 {
  return pointer === 0 ? 0 : MEMORY_ADDRESS + <i64>pointer;
}

export const EINTR: i32 = -4;
export const EAGAIN: i32 = -11;
export const ENOENT: i32 = -2;
export const ENOTDIR: i32 = -20;

function call(number: i64, a: i64 = 0, b: i64 = 0, c: i64 = 0, d: i64 = 0): i32 {
  return <i32>syscall(number, a, b, c, d, 0, 0);
}

export function read(fd: i32, to: usize, size: i32): i32 {
  return call(0, fd, address(to), size);
}
export function write(fd: i32, from: usize, size: i32): i32 {
  return call(1, fd, address(from), size);
}
export function close(fd: i32): void {
  call(3, fd);
}
/** Device and number of an open file, and more: a struct stat. */
export function fileStatus(fd: i32, to: usize): i32 {
  return call(5, fd, address(to));
}
export function poll(entries: usize, count: i32, timeoutMs: i32 = -1): i32 {
  return call(7, address(entries), count, timeoutMs);
}
export function ioctl(fd: i32, request: i64, argument: i64): i32 {
  return call(16, fd, request, argument);
}
export function duplicate(fd: i32, to: i32): i32 {
  return call(33, fd, to);
}
export function socket(family: i32, type: i32): i32 {
  return call(41, family, type);
}
export function getpid(): i32 {
  return call(39);
}
export function fork(): i32 {
  return call(57);
}
export function execve(path: usize, argv: usize, envp: usize): i32 {
  return call(59, address(path), address(argv), address(envp));
}
/** Execute what is open as `fd`. */
export function execveFile(fd: i32, argv: usize, envp: usize): i32 {
  return <i32>syscall(322, fd, address(EMPTY), address(argv), address(envp), AT_EMPTY_PATH, 0);
}
const AT_EMPTY_PATH: i64 = 0x1000;
const EMPTY: usize = memory.data(8);

export function exit(code: i32): void {
  call(231, code);
}
/** Any child that has ended; 0: none. */
export function waitAny(status: usize): i32 {
  return call(61, -1, address(status), WNOHANG);
}
const WNOHANG: i64 = 1;
export function kill(pid: i32, signal: i32): i32 {
  return call(62, pid, signal);
}
export function fchdir(fd: i32): i32 {
  return call(81, fd);
}
export function chdir(path: usize): i32 {
  return call(80, address(path));
}
export function chroot(path: usize): i32 {
  return call(161, address(path));
}
export function setHostname(name: usize, length: i32): i32 {
  return call(170, address(name), length);
}
export function openat(folder: i32, path: usize, flags: i32): i32 {
  return call(257, folder, address(path), flags);
}
export function setsid(): i32 {
  return call(112);
}
/** Group, list of groups and user, in the order in which the right to change them is lost. */
export function becomeUser(uid: u32, gid: u32, nrGroups: i32, groups: usize): i32 {
  let result = call(116, nrGroups, address(groups));
  if (result === 0) result = call(106, gid);
  if (result === 0) result = call(105, uid);
  return result;
}
export function pipe(ends: usize): i32 {
  return call(293, address(ends), O_CLOEXEC);
}
/** Do not wait in reads and writes. */
export function setNonBlocking(fd: i32): void {
  call(72, fd, F_SETFL, O_NONBLOCK | call(72, fd, F_GETFL));
}
export function closeOnExecute(fd: i32): void {
  call(72, fd, F_SETFD, 1);
}
const F_SETFD: i64 = 2;
const F_GETFL: i64 = 3;
const F_SETFL: i64 = 4;
const O_NONBLOCK: i64 = 0x800;

export const O_RDONLY: i32 = 0;
export const O_RDWR: i32 = 2;
export const O_NOCTTY: i32 = 0x100;
export const O_DIRECTORY: i32 = 0x10000;
export const O_CLOEXEC: i32 = 0x80000;
export const AT_FDCWD: i32 = -100;

const SIGNAL_SET_BYTES: i64 = 8;
/** A signal's disposition: 0 is the default, 1 ignores it. */
export function disposition(signal: i32, handler: i64): void {
  memory.fill(scratch, 0, 32);
  store<i64>(scratch, handler);
  call(13, signal, address(scratch), 0, SIGNAL_SET_BYTES);
}
/** Block these signals and no others. */
export function blockSignals(set: u64): void {
  store<u64>(scratch, set);
  call(14, SIG_SETMASK, address(scratch), 0, SIGNAL_SET_BYTES);
}
const SIG_SETMASK: i64 = 2;
/** A file to read from when one of these signals has come. */
export function signalFile(set: u64): i32 {
  store<u64>(scratch, set);
  return call(289, -1, address(scratch), SIGNAL_SET_BYTES, O_CLOEXEC | O_NONBLOCK);
}
const scratch: usize = memory.data(32, 8);

/** Write out what is in memory and switch the machine off. */
export function powerOff(): void {
  call(162);
  call(169, 0xfee1dead, 672274793, 0x4321fedc);
}

/** Set the clock to seconds and nanoseconds since 1970, u64 each. */
export function setClock(time: usize): void {
  call(227, CLOCK_REALTIME, address(time));
}
const CLOCK_REALTIME: i64 = 0;
