/**
 * Files between the host and a running guest, as `docker cp` has it: a folder that is there takes what is copied under its name,
 * otherwise the last word of the target is the new name. Between the two goes a tar archive, which the guest's agent packs and unpacks
 * with a busybox of its own.
 */
import { DomusError } from '../../base/errors.ts';
import { basename, dirname, fullPath, lookAt } from '../../platform/node/transfer-files.ts';
import type { RunningCommand } from '../boot.ts';
import { concatenate } from '../byte-io.ts';
import type { RemoteCommand } from '../daemon/client.ts';
import { packTar } from './pack.ts';
import { unpackTar } from './unpack.ts';

export interface CopyGuest {
  exec(command: RemoteCommand): Promise<RunningCommand>;
  /** Hears of what cannot be copied. */
  onSkip(path: string): void;
}

const COMPLAINT_BYTES_MAX = 4096;
const SIGKILL = 9;

const noTarget = (path: string, why: string) =>
  new DomusError(
    'E_COPY_TARGET',
    `cannot copy to ${path}: ${why}`,
    'name a folder that is there, or a new name in one',
  );

/** What the host's files are refused with, in words. */
async function withReasons(task: Promise<void>): Promise<void> {
  try {
    await task;
  } catch (error) {
    const { code, path } = error as { code?: string; path?: string };
    if (error instanceof DomusError || code === undefined || path === undefined) throw error;
    const why = (error as Error).message.replace(/^E[A-Z]+: /, '').replace(/, \w+ .*$/, '');
    throw new DomusError('E_COPY_FILE', `cannot copy ${path}: ${why}`, 'check its name and rights', {
      cause: error,
    });
  }
}

/** A command of the agent's tools, and what it complains of. */
async function startTool(guest: CopyGuest, command: readonly string[], hasInput: boolean) {
  const running = await guest.exec({ command, isTool: true, hasInput });
  const complaints: Uint8Array[] = [];
  let size = 0;
  running.onStderr(chunk => {
    size += chunk.length;
    if (size <= COMPLAINT_BYTES_MAX) complaints.push(chunk);
  });
  const finish = async () => {
    const code = await running.exit;
    if (code === 0) return;
    const said = new TextDecoder().decode(concatenate(complaints)).trim().split('\n')[0];
    throw new DomusError(
      'E_COPY_GUEST',
      `the guest could not do it: ${said || `${command[0]} ended with ${code}`}`,
    );
  };
  return { running, finish };
}

/** Standard output as it comes; the guest waits for the reader. */
async function* outputOf(running: RunningCommand): AsyncGenerator<Uint8Array> {
  const waiting: { chunk: Uint8Array; taken: () => void }[] = [];
  let wake = () => {};
  let hasEnded = false;
  running.onStdout(
    chunk =>
      new Promise<void>(taken => {
        waiting.push({ chunk, taken });
        wake();
      }),
  );
  const end = () => {
    hasEnded = true;
    wake();
  };
  // `exit` waits for the listeners, so it cannot come too early.
  running.exit.then(end, end);
  for (;;) {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      yield next.chunk;
      next.taken();
    }
    if (hasEnded) return;
    await new Promise<void>(resolve => {
      wake = resolve;
    });
  }
}

async function isGuestFolder(guest: CopyGuest, path: string): Promise<boolean> {
  const running = await guest.exec({ command: ['test', '-d', path], isTool: true });
  return (await running.exit) === 0;
}

/** Last word and what is before it, of a path in the guest. `DIR/.` is the contents of DIR. */
function splitGuestPath(path: string): { folder: string; name: string } {
  const absolute = path.startsWith('/') ? path : `/${path}`;
  const isContents = /\/\.?$/.test(absolute) && absolute.endsWith('/.');
  const trimmed = absolute.replace(/\/+\.?$/, '');
  if (isContents || trimmed === '') return { folder: trimmed || '/', name: '' };
  return { folder: dirname(trimmed), name: basename(trimmed) };
}

/** A tar archive of the guest's file or folder. */
async function* packInGuest(guest: CopyGuest, path: string): AsyncGenerator<Uint8Array> {
  const { folder, name } = splitGuestPath(path);
  const { running, finish } = await startTool(
    guest,
    ['tar', '-c', '-f', '-', '-C', folder, `./${name}`],
    false,
  );
  try {
    yield* outputOf(running);
  } finally {
    if (!running.hasExited) running.kill(SIGKILL);
  }
  await finish();
}

/** @throws DomusError E_COPY_TARGET, E_COPY_GUEST, E_COPY_UNSAFE */
export async function copyFromGuest(guest: CopyGuest, guestPath: string, hostPath: string): Promise<void> {
  const { name } = splitGuestPath(guestPath);
  const target = await lookAt(hostPath, true);
  const into = target?.type === 'directory' ? hostPath : dirname(fullPath(hostPath));
  if (!target && hostPath.endsWith('/')) throw noTarget(hostPath, 'there is no such folder');
  if ((await lookAt(into, true))?.type !== 'directory')
    throw noTarget(hostPath, `there is no folder ${into}`);
  if (target && target.type !== 'directory' && name === '') throw noTarget(hostPath, 'it is no folder');
  const newName = target?.type === 'directory' ? name : basename(fullPath(hostPath));
  const options = {
    folder: fullPath(into),
    rootName: name,
    newName,
    onSkip: (path: string) => guest.onSkip(path),
  };
  await withReasons(unpackTar(packInGuest(guest, guestPath), options));
}

/** The guest's file or folder as a tar archive. */
export async function archiveFromGuest(
  guest: CopyGuest,
  guestPath: string,
  write: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  for await (const chunk of packInGuest(guest, guestPath)) await write(chunk);
}

async function unpackInGuest(
  guest: CopyGuest,
  folder: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  const { running, finish } = await startTool(guest, ['tar', '-x', '-p', '-f', '-', '-C', folder], true);
  try {
    for await (const chunk of chunks) {
      if (running.hasExited) break;
      await running.writeStdin(chunk);
    }
  } catch (error) {
    running.kill(SIGKILL);
    throw error;
  }
  running.closeStdin();
  await finish();
}

/** Unpack a tar archive in a folder of the guest. */
export async function archiveToGuest(
  guest: CopyGuest,
  chunks: AsyncIterable<Uint8Array>,
  guestPath: string,
): Promise<void> {
  if (!(await isGuestFolder(guest, guestPath))) throw noTarget(guestPath, 'the guest has no such folder');
  await unpackInGuest(guest, guestPath, chunks);
}

/** @throws DomusError E_COPY_FILE, E_COPY_TARGET, E_COPY_GUEST */
export async function copyToGuest(guest: CopyGuest, hostPath: string, guestPath: string): Promise<void> {
  const isContents = /(^|\/)\.\/?$/.test(hostPath);
  const source = await lookAt(hostPath, isContents);
  if (!source) throw new DomusError('E_COPY_FILE', `there is no ${hostPath}`, 'check its name');
  const pack = (rootName: string) =>
    packTar(hostPath.replace(/\/+$/, ''), { rootName, onSkip: path => guest.onSkip(path) });
  if (await isGuestFolder(guest, guestPath)) {
    await withReasons(unpackInGuest(guest, guestPath, pack(isContents ? '' : basename(fullPath(hostPath)))));
    return;
  }
  if (guestPath.endsWith('/')) throw noTarget(guestPath, 'the guest has no such folder');
  const { folder, name } = splitGuestPath(guestPath);
  if (!(await isGuestFolder(guest, folder))) throw noTarget(guestPath, `the guest has no folder ${folder}`);
  await withReasons(unpackInGuest(guest, folder, pack(name)));
}
