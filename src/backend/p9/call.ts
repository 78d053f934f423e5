/** What serving one request needs, and helpers that all requests share. */
import type { Anchor, FileFacts } from '../../platform/folder-files.ts';
import { qidOf } from './attributes.ts';
import type { Qid } from './codec.ts';
import type { Fid, FidTable } from './fids.ts';
import { Errno } from './protocol.ts';
import type { FileRecord } from './records.ts';
import { type Request, RequestError } from './request.ts';
import type { SharedFolder } from './shared-folder.ts';
import type { Steps } from './steps.ts';
import type { Entry, Holds } from './tree.ts';

export interface Call {
  readonly folder: SharedFolder;
  readonly fids: FidTable;
  readonly holds: Holds;
  readonly tag: number;
  /** The longest message that the client takes. */
  readonly messageBytes: number;
  /** The client, as an owner of locks. */
  readonly client: object;
}

export type RequestOf<Kind extends Request['kind']> = Extract<Request, { kind: Kind }>;
export type Handler<Kind extends Request['kind']> = (
  call: Call,
  request: RequestOf<Kind>,
) => Steps<Uint8Array>;

/** The fid's file, held until the request is answered. */
export function fileOf(call: Call, number: number): Fid {
  const fid = call.fids.get(number);
  call.holds.add(fid.entry);
  return fid;
}

/** The same for a folder. */
export function folderOf(call: Call, number: number): Fid {
  const fid = fileOf(call, number);
  if (!fid.entry.isFolder) throw new RequestError(Errno.ENOTDIR);
  return fid;
}

/** A folder in which an entry of this name may be made or taken away. */
export function changeableFolder(call: Call, number: number, name: string): Fid {
  const fid = folderOf(call, number);
  call.folder.checkWritable();
  if (call.folder.tree.isHidden(fid.entry, name)) throw new RequestError(Errno.EPERM);
  return fid;
}

export const anchorOf = (call: Call, entry: Entry): Steps<Anchor> =>
  call.folder.tree.anchorOf(entry, call.holds);
export const factsOf = (call: Call, entry: Entry): Steps<FileFacts> =>
  call.folder.tree.factsOf(entry, call.holds);

export function* factsAndRecord(
  call: Call,
  entry: Entry,
): Steps<{ facts: FileFacts; record: FileRecord | undefined }> {
  const facts = yield* factsOf(call, entry);
  return { facts, record: yield* call.folder.records.find(facts) };
}

export const qid = (call: Call, facts: FileFacts): Qid => qidOf(facts, call.folder.devices);

/** A position or size in a file. */
export function position(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RequestError(Errno.EFBIG);
  return Number(value);
}
