/** What processes that were killed while they saved a machine have left beside it (saved-disk.ts says what lies there). */
import { isAlive } from '../platform/node/alive.ts';
import {
  fileExists,
  joinPath,
  listFolder,
  makeFolder,
  removeFile,
  writeWhole,
} from '../platform/node/cache-folder.ts';
import { openAppendFile, processId, readTextNow } from '../platform/node/state-folder.ts';
import { describeSaved } from './saved-disk.ts';

const LEFTOVER = /^(.+)\.(?:tmp-(\d+)-\d+|disks-[0-9a-f]{8})$/;
const MARK = /^saving-(\d+)$/;
const ownMark = (folder: string): string => joinPath(folder, `saving-${processId()}`);

/** A folder for disks of a machine that is about to be saved. */
export async function beginDisksFolder(folder: string): Promise<void> {
  await makeFolder(folder);
  await writeWhole(ownMark(folder), '');
}
/** The machine is saved, and names it. */
export const keepDisksFolder = (folder: string): Promise<void> => removeFile(ownMark(folder));

/** The process that is filling it, or was. */
async function ownerOf(disksFolder: string): Promise<number | undefined> {
  const marks = (await listFolder(disksFolder)).flatMap(name => MARK.exec(name)?.[1] ?? []);
  return marks[0] === undefined ? undefined : Number(marks[0]);
}

async function removeLeftovers(
  folder: string,
  isLeft: (savedName: string, processId: number | undefined) => boolean,
): Promise<void> {
  for (const name of await listFolder(folder)) {
    const [, savedName, writer] = LEFTOVER.exec(name) ?? [];
    if (savedName === undefined) continue;
    const path = joinPath(folder, savedName);
    const isDisks = writer === undefined;
    const owner = isDisks ? await ownerOf(joinPath(folder, name)) : Number(writer);
    if (!isLeft(savedName, owner)) continue;
    if (isDisks && fileExists(path)) {
      const saved = describeSaved(path);
      // Of a machine that this version cannot read they may be its own.
      if (!saved) continue;
      if (saved.facts.disksFolder === name) {
        if (owner !== undefined) await removeFile(joinPath(folder, name, `saving-${owner}`));
        continue;
      }
    }
    await removeFile(joinPath(folder, name));
  }
}

/** Before a machine is saved at `path`. @param ended a process that is known to be dead, though it may not have come to its end */
export async function removeLeftoversOf(path: string, ended?: number): Promise<void> {
  const ownName = path.slice(path.lastIndexOf('/') + 1);
  await removeLeftovers(
    joinPath(path, '..'),
    (name, owner) => name === ownName && (owner === undefined || owner === ended || !isAlive(owner)),
  );
}

/** Of all machines that were saved to a folder to which nobody saves now. */
export const removeAllLeftovers = (folder: string): Promise<void> => removeLeftovers(folder, () => true);

const NOTE = /^saving-(\d+)-\d+$/;
let nrNotes = 0;

/**
 * Note in a folder of one's own that a machine is about to be saved at `path`, wherever that is. Who finds the note takes away what is left of
 * it. @returns what takes the note back
 */
export function noteSave(folder: string, path: string): () => Promise<void> {
  nrNotes += 1;
  const file = joinPath(folder, `saving-${processId()}-${nrNotes}`);
  const note = openAppendFile(file);
  note.append(JSON.stringify(path));
  note.close();
  return () => removeFile(file);
}

/** Of the saves that a process which has been killed has noted. */
export async function removeNotedLeftovers(folder: string): Promise<void> {
  for (const name of await listFolder(folder)) {
    const [, owner] = NOTE.exec(name) ?? [];
    if (owner === undefined) continue;
    const file = joinPath(folder, name);
    const path = pathIn(readTextNow(file));
    if (path !== undefined) await removeLeftoversOf(path, Number(owner));
    await removeFile(file);
  }
}

/** Undefined in a note that was not written to its end: then the machine was not begun either. */
function pathIn(note: string): string | undefined {
  try {
    const path: unknown = JSON.parse(note);
    return typeof path === 'string' && path.startsWith('/') ? path : undefined;
  } catch {
    return undefined;
  }
}
