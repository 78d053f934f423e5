/**
 * Serves the rings of one shared folder: takes messages, has them served, gives the replies.
 *
 * What the host can do at once is answered in the same turn; what takes longer is answered from a deferred task. At most so many
 * requests and bytes are on their way; the rest waits in the rings, and the domain with it.
 */
import type { Defer, Faults } from '../../xenstore/faults.ts';
import { Errno, HEADER_BYTES } from './protocol.ts';
import { errorReply } from './reply.ts';
import type { ByteRing } from './ring.ts';
import { Session } from './session.ts';
import type { SharedFolder } from './shared-folder.ts';

export type FolderTransfer = '9pfs-request' | '9pfs-connect';

const REQUESTS_MAX = 64;
/** Of messages whose replies have not been given. */
const BYTES_MAX = 8 << 20;
/** Requests taken from one ring before others have their turn. */
const BATCH_MAX = 128;
/** Whatever the rings could carry. */
const MESSAGE_BYTES_MAX = 1 << 19;

export interface FolderServerOptions {
  readonly folder: SharedFolder;
  readonly defer: Defer;
  readonly domid: number;
  readonly faults?: Faults<FolderTransfer> | undefined;
}

export interface FolderCounters {
  requests: number;
  notifications: number;
  /** Most requests that were on their way at once. */
  deepest: number;
}

/** One ring and the domain's event channel for it. */
export interface FolderRing {
  readonly ring: ByteRing;
  notify(): void;
}

interface Waiting {
  readonly marks: readonly { readonly ring: ByteRing; readonly mark: number }[];
  done(): void;
}

export class FolderServer {
  readonly counters: FolderCounters;
  readonly #options: FolderServerOptions;
  readonly #rings: readonly FolderRing[];
  readonly #session: Session;
  /** Replies that found no room, by ring. */
  readonly #backlog = new Map<FolderRing, Uint8Array[]>();
  #waiting: Waiting[] = [];
  #running = 0;
  #runningBytes = 0;
  #isClosed = false;

  /** Some of the rings may be broken by now; then nothing comes of them. */
  constructor(options: FolderServerOptions, rings: readonly FolderRing[], counters: FolderCounters) {
    this.#options = options;
    this.#rings = rings;
    this.counters = counters;
    const mostBytes = Math.min(MESSAGE_BYTES_MAX, ...rings.map(({ ring }) => ring.sizeBytes));
    this.#session = new Session({
      folder: options.folder,
      mostBytes,
      defer: options.defer,
      allTaken: () => this.#allTaken(),
    });
  }

  get nrFids(): number {
    return this.#session.nrFids;
  }

  /** The domain raised a ring's event channel. False if the domain has broken the ring. */
  serve(each: FolderRing): boolean {
    const { ring } = each;
    this.#giveBacklog(each);
    this.#checkWaiting();
    let isDirty = false;
    for (let left = BATCH_MAX; !this.#isClosed && this.#mayBegin(each); left--) {
      if (left === 0) {
        this.#options.defer(() => this.serve(each));
        break;
      }
      const message = this.#take(ring);
      if (!message) break;
      isDirty = true;
      this.#begin(each, message);
    }
    // It may wait for room, or for replies.
    if (isDirty && !this.#isClosed) this.#notify(each);
    return !ring.isBroken;
  }

  #mayBegin(each: FolderRing): boolean {
    return this.#running < REQUESTS_MAX && this.#runningBytes < BYTES_MAX && !this.#backlog.has(each);
  }

  /** A copy of the next message, if it is there as a whole. */
  #take(ring: ByteRing): Uint8Array | undefined {
    const waiting = ring.waiting();
    if (waiting < HEADER_BYTES) return undefined;
    const size = new DataView(new ArrayBuffer(4));
    ring.peek(new Uint8Array(size.buffer));
    const length = size.getUint32(0, true);
    if (length < HEADER_BYTES || length > ring.sizeBytes) {
      // Where the next one would begin is not known.
      ring.isBroken = true;
      return undefined;
    }
    if (waiting < length) return undefined;
    const message = new Uint8Array(length);
    ring.peek(message);
    ring.take(length);
    return message;
  }

  #begin(each: FolderRing, message: Uint8Array): void {
    const { faults, domid, defer } = this.#options;
    this.counters.requests += 1;
    const fault = faults?.onTransfer('9pfs-request', domid, message.length) ?? 'none';
    if (fault === 'lose') return;
    if (fault === 'fail') {
      this.#give(each, errorReply(new DataView(message.buffer).getUint16(5, true), Errno.EIO));
      return;
    }
    this.#running += 1;
    this.#runningBytes += message.length;
    this.counters.deepest = Math.max(this.counters.deepest, this.#running);
    const begin = () => {
      const later = this.#session.handle(message, reply => this.#give(each, reply));
      if (!later) {
        this.#ended(message);
        return;
      }
      later.then(
        () => this.#endedLater(each, message),
        error =>
          defer(() => {
            throw error;
          }),
      );
    };
    if (fault === 'delay') {
      defer(() => {
        if (this.#isClosed) return;
        begin();
        this.#notify(each);
      });
    } else {
      begin();
    }
  }

  #ended(message: Uint8Array): void {
    this.#running -= 1;
    this.#runningBytes -= message.length;
  }

  /** There is room again: whoever waited goes on. */
  #endedLater(each: FolderRing, message: Uint8Array): void {
    this.#ended(message);
    if (this.#isClosed) return;
    this.#notify(each);
    for (const other of this.#rings) this.serve(other);
  }

  #give(each: FolderRing, reply: Uint8Array): void {
    if (this.#isClosed) return;
    const backlog = this.#backlog.get(each);
    if (backlog) backlog.push(reply);
    else if (!each.ring.give(reply)) this.#backlog.set(each, [reply]);
  }

  #giveBacklog(each: FolderRing): void {
    const backlog = this.#backlog.get(each);
    if (!backlog) return;
    let given = 0;
    while (given < backlog.length && each.ring.give(backlog[given] as Uint8Array)) given += 1;
    if (given === 0) return;
    backlog.splice(0, given);
    if (backlog.length === 0) this.#backlog.delete(each);
    this.#notify(each);
  }

  #notify(each: FolderRing): void {
    this.counters.notifications += 1;
    each.notify();
  }

  /** Settles when the domain has read all that it has been given. It says so by events. */
  #allTaken(): Promise<void> | undefined {
    const marks = this.#rings.map(({ ring }) => ({ ring, mark: ring.mark }));
    if (marks.every(({ ring, mark }) => ring.hasRead(mark))) return undefined;
    return new Promise(resolve => {
      this.#waiting.push({ marks, done: resolve });
    });
  }

  #checkWaiting(): void {
    if (this.#waiting.length === 0) return;
    const isDone = ({ marks }: Waiting) => marks.every(({ ring, mark }) => ring.hasRead(mark));
    for (const waiting of this.#waiting) if (isDone(waiting)) waiting.done();
    this.#waiting = this.#waiting.filter(waiting => !isDone(waiting));
  }

  /** The rings are going away: what is on its way is not answered. Settles when nothing is. */
  close(): Promise<void> {
    this.#isClosed = true;
    for (const { done } of this.#waiting.splice(0)) done();
    return this.#session.close();
  }
}
