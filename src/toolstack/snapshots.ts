/** Snapshots by name: saved machines in the state folder. */
import { DomusError } from '../base/errors.ts';
import { fileExists, joinPath, listFolder, makeFolder, removeFile } from '../platform/node/cache-folder.ts';
import { defaultStateFolder } from '../platform/node/state-folder.ts';
import { checkName } from './daemon/guest-request.ts';
import { openStateFolder } from './daemon/paths.ts';
import { describeSaved, removeDisksFolder } from './saved-disk.ts';
import { removeTrailOf } from './trails.ts';

export interface Snapshot {
  readonly name: string;
  readonly path: string;
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** Of the file. */
  readonly sizeBytes: number;
}

const ENDING = '.sav';

async function folderOf(stateFolder: string | undefined): Promise<string> {
  const { snapshots } = await openStateFolder(stateFolder ?? defaultStateFolder());
  await makeFolder(snapshots);
  return snapshots;
}

/** Where a new snapshot goes. @throws DomusError E_GUEST_NAME, E_SNAPSHOT_EXISTS */
export async function newSnapshotPath(name: string, stateFolder?: string): Promise<string> {
  const path = joinPath(await folderOf(stateFolder), `${checkName(name)}${ENDING}`);
  if (!fileExists(path)) return path;
  throw new DomusError(
    'E_SNAPSHOT_EXISTS',
    `there is a snapshot ${name} already`,
    `choose another name, or "domus snapshot rm ${name}" first`,
  );
}

/** A snapshot's file, or the file that is named. @throws DomusError E_SNAPSHOT_UNKNOWN */
export async function findSnapshot(name: string, stateFolder?: string): Promise<string> {
  if (name.includes('/') || fileExists(name)) return name;
  const path = joinPath(await folderOf(stateFolder), `${name}${ENDING}`);
  if (fileExists(path)) return path;
  throw new DomusError(
    'E_SNAPSHOT_UNKNOWN',
    `there is no snapshot and no file ${name}`,
    '"domus snapshot list" shows the snapshots',
  );
}

/** All that can be read. */
export async function listSnapshots(stateFolder?: string): Promise<Snapshot[]> {
  const folder = await folderOf(stateFolder);
  const found: Snapshot[] = [];
  for (const file of (await listFolder(folder)).filter(each => each.endsWith(ENDING))) {
    const path = joinPath(folder, file);
    const saved = describeSaved(path);
    if (!saved) continue;
    const { memoryBytes, vcpus } = saved.facts;
    found.push({ name: file.slice(0, -ENDING.length), path, memoryBytes, vcpus, sizeBytes: saved.sizeBytes });
  }
  return found;
}

/** @throws DomusError E_SNAPSHOT_UNKNOWN */
export async function removeSnapshot(name: string, stateFolder?: string): Promise<void> {
  const path = joinPath(await folderOf(stateFolder), `${checkName(name)}${ENDING}`);
  if (!fileExists(path)) await findSnapshot(`${name}`, stateFolder);
  const disks = describeSaved(path)?.facts.disksFolder;
  removeTrailOf(path);
  await removeFile(path);
  await removeDisksFolder(disks, path);
}
