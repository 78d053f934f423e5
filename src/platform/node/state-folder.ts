/**
 * The folder that holds what outlives a process: names and states of guests, their logs, and the socket of the host process. It is
 * the user's alone.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { lstat, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** DOMUS_STATE, or `domus` in XDG_STATE_HOME or ~/.local/state. */
export function defaultStateFolder(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  if (environment.DOMUS_STATE) return resolve(environment.DOMUS_STATE);
  // The XDG rules: a relative path there is to be ignored.
  const xdg = environment.XDG_STATE_HOME;
  return join(xdg?.startsWith('/') ? xdg : join(homedir(), '.local', 'state'), 'domus');
}

/** Make the folder if there is none. Returns what is wrong with one that others could get into. */
export async function makePrivateFolder(path: string): Promise<string | undefined> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const facts = await lstat(path);
  if (!facts.isDirectory()) return 'it is no folder';
  const uid = process.getuid?.();
  if (uid !== undefined && facts.uid !== uid) return 'it belongs to another user';
  return (facts.mode & 0o077) === 0 ? undefined : 'others may enter it';
}

/** Whether a socket is there, and the user's own. */
export async function isOwnSocket(path: string): Promise<boolean> {
  try {
    const facts = await lstat(path);
    return facts.isSocket() && (process.getuid === undefined || facts.uid === process.getuid());
  } catch {
    return false;
  }
}

export interface AppendFile {
  /** In the file when it returns, so that the end of this process loses nothing. */
  append(text: string): void;
  close(): void;
}

export function openAppendFile(path: string): AppendFile {
  const fd = openSync(path, 'a', 0o600);
  return { append: text => void writeSync(fd, text), close: () => closeSync(fd) };
}

/** Its text; empty if there is no such file. */
export function readTextNow(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return '';
    throw error;
  }
}

export const renameNow = (from: string, to: string): void => renameSync(from, to);

/** Start a program of ours that outlives this process; what it says goes to a file. Reports when it ends early. */
export function startDetached(
  entry: string,
  args: readonly string[],
  logPath: string,
  onExit: () => void,
): void {
  const log = openSync(logPath, 'a', 0o600);
  const child = spawn(process.execPath, [...process.execArgv, entry, ...args], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  child.on('error', onExit);
  child.on('exit', onExit);
  child.unref();
}

export const processId = (): number => process.pid;
/** The script that this process runs. */
export const ownEntry = (): string => process.argv[1] ?? '';
