/** Writes 9P2000.L replies, whole messages with their headers. Source: Linux net/9p/client.c for the formats. */
import type { SpaceFacts } from '../../platform/folder-files.ts';
import { MessageWriter, QID_BYTES, type Qid } from './codec.ts';
import { GETATTR_BASIC, GETATTR_BTIME, HEADER_BYTES, NAME_MAX, RLERROR, T, V9FS_MAGIC } from './protocol.ts';
import type { LockRange } from './request.ts';

/** Open a message whose body has at most so many bytes; `finish` writes its length. */
export function startReply(type: number, tag: number, bodyBytes: number): MessageWriter {
  return new MessageWriter(HEADER_BYTES + bodyBytes).u32(0).u8(type).u16(tag);
}

export function finish(writer: MessageWriter): Uint8Array {
  writer.patch32(0, writer.length);
  return writer.bytes.subarray(0, writer.length);
}

export const errorReply = (tag: number, errno: number): Uint8Array =>
  finish(startReply(RLERROR, tag, 4).u32(errno));

/** A reply that says only that it is done. */
export const emptyReply = (request: number, tag: number): Uint8Array =>
  finish(startReply(request + 1, tag, 0));

export const versionReply = (tag: number, messageBytes: number, version: string): Uint8Array =>
  finish(
    startReply(T.version + 1, tag, 6 + version.length)
      .u32(messageBytes)
      .string(version),
  );

/** Replies that are one qid. */
export const qidReply = (request: number, tag: number, qid: Qid): Uint8Array =>
  finish(startReply(request + 1, tag, QID_BYTES).qid(qid));

/** Of lopen and lcreate. The client may transfer as much at once as a message holds. */
export const openReply = (request: number, tag: number, qid: Qid): Uint8Array =>
  finish(
    startReply(request + 1, tag, QID_BYTES + 4)
      .qid(qid)
      .u32(0),
  );

export function walkReply(tag: number, qids: readonly Qid[]): Uint8Array {
  const writer = startReply(T.walk + 1, tag, 2 + qids.length * QID_BYTES).u16(qids.length);
  for (const qid of qids) writer.qid(qid);
  return finish(writer);
}

export const textReply = (request: number, tag: number, text: string): Uint8Array =>
  finish(startReply(request + 1, tag, 2 + text.length).string(text));

export const countReply = (request: number, tag: number, count: number): Uint8Array =>
  finish(startReply(request + 1, tag, 4).u32(count));

export const sizeReply = (request: number, tag: number, size: number): Uint8Array =>
  finish(startReply(request + 1, tag, 8).u64(size));

export const statusReply = (request: number, tag: number, status: number): Uint8Array =>
  finish(startReply(request + 1, tag, 1).u8(status));

/** A file as the guest sees it. */
export interface Attributes {
  readonly qid: Qid;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  /** As Linux's new_encode_dev counts. */
  readonly rdev: bigint;
  readonly size: number;
  readonly blockBytes: number;
  readonly blocks: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly bornNs: bigint;
}

const NS = 1_000_000_000n;

function time(writer: MessageWriter, ns: bigint): void {
  const rest = ((ns % NS) + NS) % NS;
  writer.u64((ns - rest) / NS).u64(rest);
}

export function getattrReply(tag: number, attributes: Attributes): Uint8Array {
  const { qid, mode, uid, gid, nlink, rdev, size, blockBytes, blocks } = attributes;
  const writer = startReply(T.getattr + 1, tag, 153)
    .u64(attributes.bornNs > 0n ? GETATTR_BASIC | GETATTR_BTIME : GETATTR_BASIC)
    .qid(qid)
    .u32(mode)
    .u32(uid)
    .u32(gid)
    .u64(nlink)
    .u64(rdev)
    .u64(size)
    .u64(blockBytes)
    .u64(blocks);
  time(writer, attributes.atimeNs);
  time(writer, attributes.mtimeNs);
  time(writer, attributes.ctimeNs);
  time(writer, attributes.bornNs);
  // Generation and data version: not known.
  return finish(writer.u64(0).u64(0));
}

export function statfsReply(tag: number, space: SpaceFacts): Uint8Array {
  const { blockBytes, blocks, free, available, files, filesFree } = space;
  return finish(
    startReply(T.statfs + 1, tag, 60)
      .u32(V9FS_MAGIC)
      .u32(blockBytes)
      .u64(blocks)
      .u64(free)
      .u64(available)
      .u64(files)
      .u64(filesFree)
      .u64(0)
      .u32(NAME_MAX),
  );
}

export const getlockReply = (
  tag: number,
  { type, start, length, processId, clientId }: LockRange,
): Uint8Array =>
  finish(
    startReply(T.getlock + 1, tag, 23 + clientId.length)
      .u8(type)
      .u64(start)
      .u64(length)
      .u32(processId)
      .string(clientId),
  );
