/** Requests about locks. A lock that cannot be had is asked for again by the guest: nothing waits here. */
import { type Call, fileOf, type Handler } from './call.ts';
import { CLIENT_ID_MAX, type Lock, rangeLength } from './locks.ts';
import { Errno, LockStatus, LockType, T } from './protocol.ts';
import { getlockReply, statusReply } from './reply.ts';
import { type LockRange, RequestError } from './request.ts';
import type { Entry } from './tree.ts';

const fileKey = ({ dev, ino }: Entry): string => `${dev}:${ino}`;
const ownerOf = (call: Call, { processId }: LockRange) => ({ client: call.client, processId });

function check({ type, clientId }: LockRange): void {
  if (type > LockType.unlock || clientId.length > CLIENT_ID_MAX) throw new RequestError(Errno.EINVAL);
}

// biome-ignore lint/correctness/useYield: a handler that never has to wait
export const lock: Handler<'lock'> = function* (call, request) {
  const fid = fileOf(call, request.fid);
  if (fid.opened?.kind !== 'file') throw new RequestError(Errno.EBADF);
  check(request);
  const file = fileKey(fid.entry);
  const owner = ownerOf(call, request);
  const { locks } = call.folder;
  const isFree = request.type === LockType.unlock || !locks.conflict(file, request, owner);
  if (!isFree) return statusReply(T.lock, call.tag, LockStatus.blocked);
  const isSet = locks.set(file, request, owner);
  if (isSet && request.type !== LockType.unlock) {
    fid.lockers ??= new Set();
    fid.lockers.add(request.processId);
  }
  return statusReply(T.lock, call.tag, isSet ? LockStatus.success : LockStatus.error);
};

// biome-ignore lint/correctness/useYield: a handler that never has to wait
export const getlock: Handler<'getlock'> = function* (call, request) {
  const { entry } = fileOf(call, request.fid);
  check(request);
  const found = call.folder.locks.conflict(fileKey(entry), request, ownerOf(call, request));
  return getlockReply(call.tag, found ? rangeOf(found) : { ...request, type: LockType.unlock });
};

const rangeOf = (found: Lock): LockRange => ({
  type: found.type,
  start: found.start,
  length: rangeLength(found),
  processId: found.processId,
  clientId: found.clientId,
});
