/**
 * Serves the queues of one block device: takes requests, moves their bytes between the domain's pages and the disk, answers.
 *
 * What the disk can do at once is answered in the same turn; what takes longer is answered from a deferred task, in the order
 * in which it ends. Nothing of a request's pages is held while the disk works: a domain that takes them away meanwhile gets
 * an error. At most so many requests and bytes are on their way; the rest waits in the rings, and the domain with it.
 */
import { BLKIF_RSP_ERROR, BLKIF_RSP_OKAY } from '../../abi/xen/blkif.ts';
import type { DomainId } from '../../base/brand.ts';
import { InvariantError } from '../../base/errors.ts';
import type { Disk } from '../../disk/disk.ts';
import type { Clock, Timers } from '../../platform/platform.ts';
import type { Defer, Faults } from '../../xenstore/faults.ts';
import { GrantParts } from '../grant-parts.ts';
import type { CopyingHost } from '../host.ts';
import { createLimiter, type Limiter, type RateLimits } from './limits.ts';
import type { TakenRequest } from './open-requests.ts';
import {
  type BlockRequest,
  INDIRECT_SEGMENTS_MAX,
  parseRequest,
  type ReadGrant,
  SEGMENT_BYTES,
} from './request.ts';
import type { BlockRing } from './ring.ts';

export type BlockTransfer = 'block-read' | 'block-write' | 'block-flush' | 'block-discard' | 'block-connect';

const QUEUE_DEPTH_DEFAULT = 128;
/** Bytes on their way. */
const BYTES_MAX = 32 << 20;
/** Buffers kept. */
const SPARES_MAX = 4;
/** Lists of parts kept, of 4 KiB each. */
const SPARE_PARTS_MAX = 32;
/** Requests taken from one queue before others have their turn. */
const BATCH_MAX = 256;

export interface BlockServerOptions {
  readonly disk: Disk;
  readonly host: Pick<CopyingHost, 'copyFromGrant' | 'copyFromParts' | 'copyToParts' | 'lendParts'>;
  readonly defer: Defer;
  readonly domid: number;
  readonly faults?: Faults<BlockTransfer> | undefined;
  /** Requests on their way. Default 128. */
  readonly queueDepth?: number | undefined;
  /** One request after the other, answered in their order: the same in every run. */
  readonly isSerial?: boolean | undefined;
  readonly limits?: RateLimits | undefined;
  readonly clock: Pick<Clock, 'monotonicNs'>;
  readonly timers: Pick<Timers, 'after'>;
}

export interface BlockCounters {
  requests: number;
  refused: number;
  errors: number;
  notifications: number;
  /** Most requests that were on their way at once. */
  deepest: number;
}

/** One ring and the domain's event channel for it. */
export interface BlockQueue {
  readonly ring: BlockRing;
  notify(): void;
  isClosed: boolean;
}

const FAULT_NAMES = {
  read: 'block-read',
  write: 'block-write',
  barrier: 'block-write',
  flush: 'block-flush',
  discard: 'block-discard',
} as const;

export class BlockServer {
  readonly counters: BlockCounters = { requests: 0, refused: 0, errors: 0, notifications: 0, deepest: 0 };
  /** Settles when the transfer that was begun last has ended; undefined while nothing waits for the disk. */
  pending: Promise<unknown> | undefined;
  readonly #options: BlockServerOptions;
  readonly #queues = new Set<BlockQueue>();
  readonly #limiter: Limiter | undefined;
  readonly #depth: number;
  /** From transfers that are over, for the next ones. */
  readonly #spares: ArrayBuffer[] = [];
  readonly #spareParts: GrantParts[] = [];
  /** Where the segments of an indirect request are copied to, once. */
  readonly #segments = new Uint8Array(INDIRECT_SEGMENTS_MAX * SEGMENT_BYTES);
  readonly #segmentsView = new DataView(this.#segments.buffer);
  readonly #readSegments: ReadGrant = (ref, length) => {
    const { host, domid } = this.#options;
    const isGranted = host.copyFromGrant(domid as DomainId, ref, 0, this.#segments.subarray(0, length));
    return isGranted ? this.#segmentsView : undefined;
  };
  /** What it is at; afterwards too when that has thrown an error. */
  #working: TakenRequest | undefined;
  #running = 0;
  #isHeld = false;
  readonly #awaitIdle: (() => void)[] = [];
  #runningBytes = 0;
  /** A barrier: it waits for what was begun before it, and nothing is begun before it has ended. */
  #barrier: { readonly request: BlockRequest; readonly begin: () => void; hasBegun: boolean } | undefined;
  #cancelTimer: (() => void) | undefined;

  constructor(options: BlockServerOptions) {
    this.#options = options;
    this.#limiter = createLimiter(options.limits ?? {});
    this.#depth = options.isSerial ? 1 : (options.queueDepth ?? QUEUE_DEPTH_DEFAULT);
  }

  /** The request that the server died of, when its work has thrown an error. */
  get culprit(): TakenRequest | undefined {
    return this.#working;
  }

  get running(): number {
    return this.#running;
  }

  add(queue: BlockQueue): void {
    this.#queues.add(queue);
  }

  /** The ring is going away: what is on its way for it is not answered. */
  remove(queue: BlockQueue): void {
    queue.isClosed = true;
    this.#queues.delete(queue);
  }

  /** Settles when nothing waits in the rings and nothing is on its way; undefined if that is so now. */
  lastAnswers(): Promise<void> | undefined {
    this.#serveAll();
    if (this.#isIdle) return undefined;
    return new Promise(resolve => this.#awaitIdle.push(resolve));
  }
  get #isIdle(): boolean {
    return this.#running === 0 && [...this.#queues].every(({ ring }) => ring.waiting() === 0);
  }
  #tellIdle(): void {
    if (this.#awaitIdle.length === 0 || !this.#isIdle) return;
    for (const resolve of this.#awaitIdle.splice(0)) resolve();
  }

  /** Raise the domain's event channels, with or without answers. */
  wakeDomain(): void {
    for (const queue of this.#queues) queue.notify();
  }

  /** Begin nothing any more. */
  hold(): void {
    this.#isHeld = true;
  }

  close(): void {
    for (const queue of this.#queues) this.remove(queue);
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  /** The domain raised a queue's event channel. */
  serve(queue: BlockQueue): void {
    for (let left = BATCH_MAX; !queue.isClosed && this.#mayBegin(); left--) {
      if (left === 0) {
        this.#options.defer(() => this.serve(queue));
        break;
      }
      if (queue.ring.waiting() === 0 && queue.ring.awaitRequest()) break;
      if (queue.ring.waiting() === 0) break;
      this.#takeOne(queue);
      this.#working = undefined;
    }
    this.#publish(queue);
    this.#tellIdle();
  }

  /** There is room again: whoever waited goes on. */
  #serveAll(): void {
    for (const queue of this.#queues) {
      if (!this.#mayBegin()) return;
      this.serve(queue);
    }
  }

  #mayBegin(): boolean {
    if (this.#isHeld || this.#barrier || this.#running >= this.#depth || this.#runningBytes >= BYTES_MAX)
      return false;
    if (!this.#limiter) return true;
    const waitNs = this.#limiter.waitNs(this.#options.clock.monotonicNs());
    if (waitNs === 0) return true;
    this.#cancelTimer ??= this.#options.timers.after(Math.max(1, Math.ceil(waitNs / 1e6)), () => {
      this.#cancelTimer = undefined;
      this.#options.defer(() => this.#serveAll());
    });
    return false;
  }

  #takeOne(queue: BlockQueue): void {
    const { disk, clock } = this.#options;
    const { ring } = queue;
    const taken = ring.take();
    this.#working = taken;
    this.counters.requests += 1;
    const parts = this.#spareParts.pop() ?? new GrantParts(INDIRECT_SEGMENTS_MAX);
    const request = parseRequest(taken, disk, this.#readSegments, parts);
    const refused = 'status' in request ? request.status : ring.isDeadly(taken) ? BLKIF_RSP_ERROR : undefined;
    if ('status' in request || refused !== undefined) {
      this.counters.refused += 1;
      ring.respond(taken, request.operation, refused ?? BLKIF_RSP_ERROR);
      this.#keepParts(parts);
      return;
    }
    this.#limiter?.take(request.sizeBytes, clock.monotonicNs());
    this.#running += 1;
    this.#runningBytes += request.sizeBytes;
    this.counters.deepest = Math.max(this.counters.deepest, this.#running);
    if (request.kind === 'barrier') {
      const hasBegun = this.#running === 1;
      this.#barrier = { request, begin: () => this.#begin(queue, request), hasBegun };
      if (!hasBegun) return;
    }
    this.#begin(queue, request);
  }

  #begin(queue: BlockQueue, request: BlockRequest): void {
    const { faults, domid, defer } = this.#options;
    const fault = faults?.onTransfer(FAULT_NAMES[request.kind], domid, request.sizeBytes) ?? 'none';
    if (fault === 'delay') {
      defer(() => {
        this.#working = request.taken;
        this.#begin(queue, request);
        this.#working = undefined;
        this.#publish(queue);
        this.#serveAll();
      });
      return;
    }
    if (fault === 'lose') {
      this.#ended(request);
      return;
    }
    if (fault === 'fail') {
      this.#answer(queue, request, BLKIF_RSP_ERROR);
      return;
    }
    let status: number | Promise<number>;
    try {
      status = this.#perform(queue, request);
    } catch (error) {
      status = this.#failed(error);
    }
    if (typeof status === 'number') {
      this.#answer(queue, request, status);
      return;
    }
    const transfer = status.then(
      known => () => known,
      error => () => this.#failed(error),
    );
    const settled = transfer.then(outcome => {
      if (this.pending === settled) this.pending = undefined;
      defer(() => {
        this.#working = request.taken;
        this.#answer(queue, request, outcome());
        this.#working = undefined;
        this.#publish(queue);
        this.#serveAll();
      });
    });
    this.pending = settled;
  }

  /** The disk's errors are the domain's; broken invariants are ours. */
  #failed(error: unknown): number {
    if (error instanceof InvariantError) throw error;
    return BLKIF_RSP_ERROR;
  }

  #answer(queue: BlockQueue, request: BlockRequest, status: number): void {
    if (status !== BLKIF_RSP_OKAY) this.counters.errors += 1;
    if (!queue.isClosed) queue.ring.respond(request.taken, request.operation, status);
    this.#ended(request);
  }

  #ended(request: BlockRequest): void {
    this.#running -= 1;
    this.#runningBytes -= request.sizeBytes;
    this.#keepParts(request.parts);
    const barrier = this.#barrier;
    if (!barrier) return;
    if (barrier.request === request) {
      this.#barrier = undefined;
      return;
    }
    if (barrier.hasBegun || this.#running > 1) return;
    // What is left is the barrier itself. It begins in a task of its own: we may be inside the loop of a queue.
    barrier.hasBegun = true;
    this.#options.defer(() => {
      this.#working = barrier.request.taken;
      barrier.begin();
      this.#working = undefined;
      for (const queue of this.#queues) this.#publish(queue);
      this.#serveAll();
    });
  }

  #publish(queue: BlockQueue): void {
    if (queue.isClosed || !queue.ring.publish()) return;
    this.counters.notifications += 1;
    queue.notify();
  }

  #perform(queue: BlockQueue, request: BlockRequest): number | Promise<number> {
    const { disk, host, domid } = this.#options;
    const { kind, offset, sizeBytes } = request;
    switch (kind) {
      case 'read': {
        const isNow = host.lendParts(domid as DomainId, request.parts, true, pieces =>
          disk.readNow(offset, pieces, sizeBytes),
        );
        if (isNow !== false) return isNow ? BLKIF_RSP_OKAY : BLKIF_RSP_ERROR;
        const bytes = this.#buffer(sizeBytes);
        const read = disk.read(offset, bytes);
        const finish = () => {
          const isDone = !queue.isClosed && this.#scatter(request, bytes);
          this.#giveBack(bytes);
          return isDone ? BLKIF_RSP_OKAY : BLKIF_RSP_ERROR;
        };
        return read instanceof Promise ? read.then(finish) : finish();
      }
      case 'write': {
        const isNow = host.lendParts(domid as DomainId, request.parts, false, pieces =>
          disk.writeNow(offset, pieces, sizeBytes),
        );
        if (isNow !== false) return isNow ? BLKIF_RSP_OKAY : BLKIF_RSP_ERROR;
        const bytes = this.#gather(request);
        if (!bytes) return BLKIF_RSP_ERROR;
        const written = disk.write(offset, bytes);
        const finish = () => {
          this.#giveBack(bytes);
          return BLKIF_RSP_OKAY;
        };
        return written instanceof Promise ? written.then(finish) : finish();
      }
      case 'discard': {
        const done = disk.discard(offset, sizeBytes);
        return done instanceof Promise ? done.then(() => BLKIF_RSP_OKAY) : BLKIF_RSP_OKAY;
      }
      default:
        return this.#writeAndFlush(request);
    }
  }

  async #writeAndFlush(request: BlockRequest): Promise<number> {
    const { disk } = this.#options;
    if (request.sizeBytes > 0) {
      const bytes = this.#gather(request);
      if (!bytes) return BLKIF_RSP_ERROR;
      await disk.write(request.offset, bytes);
    }
    await disk.flush();
    return BLKIF_RSP_OKAY;
  }

  #keepParts(parts: GrantParts): void {
    parts.clear();
    if (this.#spareParts.length < SPARE_PARTS_MAX) this.#spareParts.push(parts);
  }

  /** Room for a transfer; what is in it comes from an earlier one of the same domain. */
  #buffer(sizeBytes: number): Uint8Array {
    const spare = this.#spares.pop();
    if (spare && spare.byteLength >= sizeBytes) return new Uint8Array(spare, 0, sizeBytes);
    return new Uint8Array(sizeBytes);
  }
  #giveBack(bytes: Uint8Array): void {
    if (this.#spares.length < SPARES_MAX) this.#spares.push(bytes.buffer as ArrayBuffer);
  }

  /** Copy out of the domain's pages, once. */
  #gather({ parts, sizeBytes }: BlockRequest): Uint8Array | undefined {
    const { host, domid } = this.#options;
    const bytes = this.#buffer(sizeBytes);
    return host.copyFromParts(domid as DomainId, parts, bytes) ? bytes : undefined;
  }

  #scatter({ parts }: BlockRequest, bytes: Uint8Array): boolean {
    const { host, domid } = this.#options;
    return host.copyToParts(domid as DomainId, parts, bytes);
  }
}
