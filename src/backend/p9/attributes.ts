/**
 * A file as a guest sees it, made of what the host says and of its record.
 *
 * - *Owners*: what belongs to the user who runs Domus belongs to the guest's root, unless the record names an owner. Other users' files
 *   are nobody's. (Run by the host's root, numbers are as they are.)
 * - *Permissions*: those of the host, which gets those that the guest sets, except that the owner may always read and write, or Domus
 *   could not, and that set-user-id, set-group-id and sticky bits never reach the host. Where that differs from what was set, the record
 *   has it. Permissions that somebody changes on the host count from then on.
 * - *Devices, pipes and sockets* that a guest makes are empty files with a record. Those of the host are shown and cannot be opened.
 */
import type { FileFacts, FolderFiles } from '../../platform/folder-files.ts';
import type { Qid } from './codec.ts';
import { Mode, QidType } from './protocol.ts';
import type { FileRecord } from './records.ts';
import type { Attributes } from './reply.ts';

const NOBODY = 65534;
const PERMISSIONS_ON_HOST = 0o777;

type User = Pick<FolderFiles, 'userId' | 'groupId'>;

const shownId = (id: number, own: number, isPrivileged: boolean): number => {
  if (id === own) return 0;
  return isPrivileged ? id : NOBODY;
};

export const ownerOf = (facts: FileFacts, record: FileRecord | undefined, { userId, groupId }: User) => ({
  uid: record?.uid ?? shownId(facts.uid, userId, userId === 0),
  gid: record?.gid ?? shownId(facts.gid, groupId, userId === 0),
});

export const typeOf = (mode: number): number => mode & Mode.typeMask;
export const isRegular = (facts: FileFacts): boolean => typeOf(facts.mode) === Mode.regular;

/** The permissions that the host's file gets when the guest sets `mode`. */
export function hostPermissions(mode: number, isFolder: boolean): number {
  return (mode & PERMISSIONS_ON_HOST) | (isFolder ? 0o700 : 0o600);
}

const SPECIAL: ReadonlySet<number> = new Set([Mode.charDevice, Mode.blockDevice, Mode.fifo, Mode.socket]);
export const isSpecial = (mode: number): boolean => SPECIAL.has(typeOf(mode));

/** Type and permissions as the guest sees them. */
export function modeOf(facts: FileFacts, record: FileRecord | undefined): number {
  const own = facts.mode & (Mode.typeMask | PERMISSIONS_ON_HOST);
  const recorded = record?.mode;
  if (recorded === undefined) return own;
  const standsFor = isSpecial(recorded) && isRegular(facts) && facts.size === 0;
  const type = standsFor ? typeOf(recorded) : typeOf(own);
  if (!standsFor && isSpecial(recorded)) return own;
  const isAsSet = hostPermissions(recorded, type === Mode.directory) === (facts.mode & PERMISSIONS_ON_HOST);
  return type | (isAsSet ? recorded & Mode.permissions : own & Mode.permissions);
}

/** The record's mode for what a guest sets: none if the host's file says it all. */
export function recordedMode(mode: number): number | undefined {
  const isFolder = typeOf(mode) === Mode.directory;
  if (!isSpecial(mode) && hostPermissions(mode, isFolder) === (mode & Mode.permissions)) return undefined;
  return mode;
}

/** Device numbers in 64 bits, as stat(2) and 9P have them. */
export const encodeDevice = (major: number, minor: number): number =>
  ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12)) >>> 0;

/** File systems below a shared folder, in the order in which they were met: inode numbers are unique in one only. */
export class DeviceNumbers {
  readonly #known = new Map<bigint, bigint>();

  pathOf({ dev, ino }: Pick<FileFacts, 'dev' | 'ino'>): bigint {
    let index = this.#known.get(dev);
    if (index === undefined) {
      index = BigInt(this.#known.size);
      this.#known.set(dev, index);
    }
    // Files of a second file system are told apart by the upper bits, which inode numbers hardly have.
    return BigInt.asUintN(64, ino ^ (index << 48n));
  }
}

export function qidOf(facts: FileFacts, devices: DeviceNumbers): Qid {
  const type = typeOf(facts.mode);
  return {
    type:
      type === Mode.directory ? QidType.directory : type === Mode.symlink ? QidType.symlink : QidType.file,
    version: Number(BigInt.asUintN(32, facts.mtimeNs ^ (BigInt(facts.size) << 8n))),
    path: devices.pathOf(facts),
  };
}

export function attributesOf(
  facts: FileFacts,
  record: FileRecord | undefined,
  user: User,
  devices: DeviceNumbers,
): Attributes {
  const { nlink, size, blockBytes, blocks, atimeNs, mtimeNs, ctimeNs, bornNs } = facts;
  const mode = modeOf(facts, record);
  return {
    qid: qidOf(facts, devices),
    mode,
    ...ownerOf(facts, record, user),
    nlink,
    rdev: isSpecial(mode) && isRegular(facts) ? BigInt(record?.rdev ?? 0) : facts.rdev,
    size,
    blockBytes,
    blocks,
    atimeNs,
    mtimeNs,
    ctimeNs,
    bornNs,
  };
}
