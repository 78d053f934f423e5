/** Starts a command: pipes or a terminal, a process with the wanted user, folder and environment, and the program. */
import { DATA, EXIT, payload, send, sendNumber } from './frames';
import { reserve } from './reserve';
import * as sessions from './sessions';
import {
  AT_FDCWD,
  address,
  becomeUser,
  blockSignals,
  chdir,
  chroot,
  close,
  disposition,
  duplicate,
  ENOENT,
  ENOTDIR,
  execve,
  execveFile,
  exit,
  fchdir,
  fork,
  getpid,
  ioctl,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOCTTY,
  O_RDONLY,
  O_RDWR,
  openat,
  pipe,
  setNonBlocking,
  setsid,
  write,
} from './system';
import { append, contains, lengthOf, text } from './text';

/** Longest START payload. */
export const START_BYTES: i32 = 262144;
const POINTERS: i32 = 16384;
const NOT_FOUND: i32 = 127;
const CANNOT_EXECUTE: i32 = 126;
const SIGPIPE: i32 = 13;

// Flags of START.
const TERMINAL: u32 = 1;
const INPUT: u32 = 2;
const TOOL: u32 = 4;
const USER: u32 = 8;

/** The program that TOOL means, open since the start. */
export const TOOL_FILE: i32 = 3;

const TIOCSCTTY: i64 = 0x540e;
const TIOCSWINSZ: i64 = 0x5414;
const TIOCSPTLCK: i64 = 0x40045431;
const TIOCGPTPEER: i64 = 0x5441;

const pointers: usize = reserve(<usize>POINTERS * 8);
const path: usize = reserve(8192);
const ends: usize = memory.data(8, 8);
const number: usize = memory.data(8, 8);
let procFolder: i32 = -1;

export function prepare(): void {
  procFolder = openat(AT_FDCWD, text('/proc'), O_DIRECTORY | O_CLOEXEC);
}

/** A file of /proc to be read, wherever that is mounted by now; below zero where there is none. */
export function openProc(name: string): i32 {
  return openat(procFolder, text(name), O_RDONLY | O_CLOEXEC);
}

/** Offsets in a START payload; strings follow the groups: folder, arguments, variables, each with a NUL. */
// @ts-expect-error: an AssemblyScript decorator
@unmanaged
class Start {
  flags: u32;
  rows: u16;
  columns: u16;
  uid: u32;
  gid: u32;
  nrGroups: u16;
  nrArguments: u16;
  nrVariables: u16;
  reserved: u16;
}

/** A terminal's size, in a buffer of the caller's. */
export function setSize(fd: i32, rows: u16, columns: u16): void {
  store<u64>(number, 0);
  store<u16>(number, rows);
  store<u16>(number, columns, 2);
  ioctl(fd, TIOCSWINSZ, address(number));
}

function skip(string: usize): usize {
  return string + lengthOf(string) + 1;
}

/** A pipe; the end for this process does not wait. The pair is in `ends`. */
function pipeFor(isInput: bool): bool {
  if (pipe(ends) < 0) return false;
  setNonBlocking(load<i32>(isInput ? ends + 4 : ends));
  return true;
}

/** Files of the command, as descriptors of this process until the fork. */
let childInput: i32 = -1;
let childOutput: i32 = -1;
let childError: i32 = -1;

function openTerminal(at: sessions.Session, start: Start): bool {
  const master = openat(AT_FDCWD, text('/dev/ptmx'), O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) return false;
  store<i32>(number, 0);
  ioctl(master, TIOCSPTLCK, address(number));
  const slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) {
    close(master);
    return false;
  }
  setSize(master, start.rows, start.columns);
  setNonBlocking(master);
  at.isTerminal = true;
  at.input = at.output = master;
  childInput = childOutput = childError = slave;
  return true;
}

function openPipes(at: sessions.Session, hasInput: bool): bool {
  if (hasInput) {
    if (!pipeFor(true)) return false;
    childInput = load<i32>(ends);
    at.input = load<i32>(ends, 4);
  } else {
    childInput = openat(AT_FDCWD, text('/dev/null'), O_RDWR | O_CLOEXEC);
  }
  if (!pipeFor(false)) return false;
  at.output = load<i32>(ends);
  childOutput = load<i32>(ends, 4);
  if (!pipeFor(false)) return false;
  at.error = load<i32>(ends);
  childError = load<i32>(ends, 4);
  return true;
}

function closeChildFiles(): void {
  if (childInput >= 0) close(childInput);
  if (childOutput >= 0 && childOutput !== childInput) close(childOutput);
  if (childError >= 0 && childError !== childInput) close(childError);
}

/** START for session `id`. */
export function spawn(id: i32, request: usize): void {
  const start = changetype<Start>(request);
  const at = sessions.open(id);
  childInput = childOutput = childError = -1;
  const isTerminal = (start.flags & TERMINAL) !== 0;
  const hasFiles = isTerminal ? openTerminal(at, start) : openPipes(at, (start.flags & INPUT) !== 0);
  const pid = hasFiles ? fork() : -1;
  if (pid === 0) becomeCommand(start, isTerminal);
  closeChildFiles();
  if (pid > 0) {
    at.pid = pid;
    return;
  }
  // Out of processes, files or memory.
  if (at.input >= 0 && !at.isTerminal) close(at.input);
  if (at.output >= 0) close(at.output);
  if (at.error >= 0) close(at.error);
  at.isOpen = false;
  const length = lengthOf(text('domus: the guest cannot start another command\n'));
  memory.copy(payload, text('domus: the guest cannot start another command\n'), length);
  send(DATA, 2, id, length);
  sendNumber(EXIT, 0, id, CANNOT_EXECUTE);
}

/** The last words of a process that could not become its command. */
function giveUp(what: usize, why: string, code: i32): void {
  let end = append(path, text('domus: '));
  if (lengthOf(what) < 4096) end = append(end, what);
  end = append(end, text(why));
  write(2, path, <i32>(end - path));
  exit(code);
}

/** In the new process: never returns. */
function becomeCommand(start: Start, isTerminal: bool): void {
  setsid();
  blockSignals(0);
  disposition(SIGPIPE, 0);
  duplicate(childInput, 0);
  duplicate(childOutput, 1);
  duplicate(childError, 2);
  if (isTerminal) ioctl(0, TIOCSCTTY, 0);
  // The root of process 1 may be another one than it was when this agent began.
  if (getpid() !== 1) {
    const root = openat(procFolder, text('1/root'), O_DIRECTORY | O_CLOEXEC);
    if (root >= 0 && fchdir(root) === 0) chroot(text('.'));
  }
  const groups = changetype<usize>(start) + offsetof<Start>();
  const folder = groups + <usize>start.nrGroups * 4;
  let string = skip(folder);
  const argv = pointers;
  let at = pointers;
  const nrStrings = <i32>start.nrArguments + <i32>start.nrVariables;
  if (nrStrings + 2 > POINTERS) giveUp(skip(folder), ': too many arguments\n', CANNOT_EXECUTE);
  for (let i = 0; i < <i32>start.nrArguments; i++, at += 8, string = skip(string)) {
    store<i64>(at, address(string));
  }
  store<i64>(at, 0);
  const program = skip(folder);
  const envp = at + 8;
  at = envp;
  let searched: usize = 0;
  for (let i = 0; i < <i32>start.nrVariables; i++, at += 8, string = skip(string)) {
    store<i64>(at, address(string));
    // `PATH=` as four bytes and a fifth.
    if (load<u32>(string) === 0x48544150 && load<u8>(string, 4) === 0x3d) searched = string + 5;
  }
  store<i64>(at, 0);
  if ((start.flags & USER) !== 0 && becomeUser(start.uid, start.gid, start.nrGroups, groups) < 0) {
    giveUp(program, ': cannot become the user\n', CANNOT_EXECUTE);
  }
  const moved = chdir(folder);
  if (moved < 0) {
    giveUp(
      folder,
      moved === ENOENT ? ': no such folder\n' : ': cannot be the working folder\n',
      CANNOT_EXECUTE,
    );
  }
  if ((start.flags & TOOL) !== 0) {
    execveFile(TOOL_FILE, argv, envp);
    giveUp(program, ': the tools of the agent are missing\n', CANNOT_EXECUTE);
  }
  execute(program, argv, envp, searched);
}

/** Find the program as execvp(3) does, and become it. */
function execute(program: usize, argv: usize, envp: usize, searched: usize): void {
  let error = ENOENT;
  if (contains(program, 0x2f)) error = execve(program, argv, envp);
  else if (searched !== 0 && load<u8>(program) !== 0) {
    let from = searched;
    while (true) {
      let to = path;
      while (load<u8>(from) !== 0 && load<u8>(from) !== 0x3a) {
        if (to < path + 4000) store<u8>(to++, load<u8>(from));
        from++;
      }
      if (to === path) store<u8>(to++, 0x2e);
      store<u8>(to++, 0x2f);
      if (lengthOf(program) < 4000) to = append(to, program);
      store<u8>(to, 0);
      const failed = execve(path, argv, envp);
      if (failed !== ENOENT && failed !== ENOTDIR) error = failed;
      if (load<u8>(from) === 0) break;
      from++;
    }
  }
  if (error === ENOENT || error === ENOTDIR) giveUp(program, ': not found\n', NOT_FOUND);
  giveUp(program, ': cannot be executed\n', CANNOT_EXECUTE);
}
