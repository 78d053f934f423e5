/**
 * Locks of ranges of files (fcntl(2)), between the guests that share a folder. Inside a guest its kernel arbitrates; what comes here it
 * has granted already. The host's own programs do not see them: Node cannot lock files.
 */
import { LockType } from './protocol.ts';
import type { LockRange } from './request.ts';

/** Locks of one client; if it wants more it gets an error. */
const LOCKS_MAX = 4096;
export const CLIENT_ID_MAX = 256;

/** Who holds a lock: a client (session) and a process of it. */
export interface LockOwner {
  readonly client: object;
  readonly processId: number;
}

export interface Lock extends LockOwner {
  readonly type: number;
  readonly start: bigint;
  /** The first byte behind it. */
  readonly end: bigint;
  readonly clientId: string;
}

const TO_THE_END = 1n << 64n;

const isOf = (lock: Lock, owner: LockOwner): boolean =>
  lock.client === owner.client && lock.processId === owner.processId;

export const rangeEnd = (start: bigint, length: bigint): bigint =>
  length === 0n ? TO_THE_END : start + length;
/** As it stands in a message. */
export const rangeLength = ({ start, end }: Lock): bigint => (end >= TO_THE_END ? 0n : end - start);

export class LockTable {
  readonly #files = new Map<string, Lock[]>();
  readonly #counts = new WeakMap<object, number>();

  /** A lock of somebody else that stands in the way. */
  conflict(file: string, wanted: LockRange, owner: LockOwner): Lock | undefined {
    const end = rangeEnd(wanted.start, wanted.length);
    return this.#files
      .get(file)
      ?.find(
        lock =>
          !isOf(lock, owner) &&
          lock.start < end &&
          wanted.start < lock.end &&
          (lock.type === LockType.write || wanted.type === LockType.write),
      );
  }

  /** Set or, with type `unlock`, clear. Nothing may stand in the way. False if there is no room for more. */
  set(file: string, wanted: LockRange, owner: LockOwner): boolean {
    const { start, type, clientId } = wanted;
    const end = rangeEnd(start, wanted.length);
    const before = this.#files.get(file) ?? [];
    const kept: Lock[] = [];
    for (const lock of before) {
      if (!isOf(lock, owner) || lock.end <= start || lock.start >= end) {
        kept.push(lock);
        continue;
      }
      if (lock.start < start) kept.push({ ...lock, end: start });
      if (lock.end > end) kept.push({ ...lock, start: end });
    }
    if (type !== LockType.unlock) kept.push({ ...owner, type, start, end, clientId });
    const count = (this.#counts.get(owner.client) ?? 0) + kept.length - before.length;
    if (count > LOCKS_MAX) return false;
    this.#keep(file, owner.client, kept);
    return true;
  }

  /** The client has closed what its process had locked the file through. */
  clear(file: string, owner: LockOwner): void {
    this.#keep(file, owner.client, this.#files.get(file)?.filter(lock => !isOf(lock, owner)) ?? []);
  }

  /** The new locks of a file, of which only those of one client have changed. */
  #keep(file: string, client: object, locks: Lock[]): void {
    const change = locks.length - (this.#files.get(file)?.length ?? 0);
    this.#counts.set(client, (this.#counts.get(client) ?? 0) + change);
    if (locks.length > 0) this.#files.set(file, locks);
    else this.#files.delete(file);
  }

  /** The client is gone. */
  clearClient(client: object): void {
    for (const [file, locks] of this.#files) {
      this.#keep(
        file,
        client,
        locks.filter(lock => lock.client !== client),
      );
    }
  }
}
