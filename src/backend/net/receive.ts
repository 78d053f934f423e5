/**
 * From frames to the domain's receive ring: the domain gives pages, a frame is copied into as many as it needs. A frame
 * that comes when there are too few waits; what waits is bounded, and what comes then is dropped, as a card would do.
 */
import * as netif from '../../abi/xen/netif.ts';
import { type DomainId, gref, PAGE_SIZE } from '../../base/brand.ts';
import type { BlockPool } from '../../net/block-pool.ts';
import { FRAME_BYTES_MAX, type Frame, kept } from '../../net/frame.ts';
import { EtherType, etherType } from '../../net/packet/ethernet.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { GrantParts } from '../grant-parts.ts';
import type { CopyingHost } from '../host.ts';
import type { BackRing } from '../ring.ts';

const FRAMES_MAX = 4096;
const BYTES_MAX = 8 << 20;
const PAGES_MAX = Math.ceil(FRAME_BYTES_MAX / PAGE_SIZE);

const { offsets: RX } = netif.NetifRxRequest;
const { offsets: RESPONSE } = netif.NetifRxResponse;
const { offsets: EXTRA } = netif.NetifExtraInfo;

export interface ReceiveCounters {
  frames: number;
  bytes: number;
  errors: number;
  /** Because too much waited, or by injected faults. */
  dropped: number;
}

export interface ReceiveOptions {
  readonly ring: BackRing;
  readonly host: CopyingHost;
  readonly domid: DomainId;
  readonly counters: ReceiveCounters;
  readonly fault: (sizeBytes: number) => Fault;
  /** For large frames that wait: room for the longest in each. */
  readonly blocks: BlockPool;
}

/** Smaller frames have memory of their own while they wait. */
const BLOCK_FRAME_BYTES_MIN = 8192;

/** A frame that waits, and the block that it is in. */
interface Waiting {
  readonly frame: Frame;
  readonly block: Uint8Array | undefined;
}

export class ReceiveSide {
  readonly #options: ReceiveOptions;
  #queue: Waiting[] = [];
  #head = 0;
  #waitingBytes = 0;
  readonly #parts = new GrantParts(PAGES_MAX);
  readonly #ids = new Uint16Array(PAGES_MAX);

  constructor(options: ReceiveOptions) {
    this.#options = options;
  }

  get nrWaiting(): number {
    return this.#queue.length - this.#head;
  }
  /** Nothing waits, and the domain has given a page anew for each that was filled: it has taken what was in them. */
  get isDrained(): boolean {
    const { ring } = this.#options;
    return this.nrWaiting === 0 && ring.waiting() === ring.nrSlots;
  }
  get isBroken(): boolean {
    return this.#options.ring.isBroken;
  }

  /** Take a frame that the domain can use as it is. */
  add(frame: Frame): void {
    const { length } = frame.bytes;
    if (length > FRAME_BYTES_MAX || this.nrWaiting >= FRAMES_MAX || this.#waitingBytes + length > BYTES_MAX) {
      this.#options.counters.dropped += 1;
      return;
    }
    this.#queue.push({ frame, block: undefined });
    this.#waitingBytes += length;
  }

  /** Those that were just added and still wait are from now on this side's own. */
  keep(): void {
    for (let i = this.#queue.length - 1; i >= this.#head && this.#queue[i]!.frame.isLent; i--) {
      this.#queue[i] = this.#kept(this.#queue[i]!.frame);
    }
  }
  #kept(frame: Frame): Waiting {
    const { length } = frame.bytes;
    if (length < BLOCK_FRAME_BYTES_MIN) return { frame: kept(frame), block: undefined };
    const block = this.#options.blocks.take();
    block.set(frame.bytes);
    return { frame: { ...frame, bytes: block.subarray(0, length), isLent: false }, block };
  }

  /** Fill the pages that the domain has given. True if an injected fault leaves the rest for later. */
  serve(): boolean {
    const { ring, counters, fault } = this.#options;
    while (this.nrWaiting > 0) {
      const { frame, block } = this.#queue[this.#head]!;
      const slots = Math.ceil(frame.bytes.length / PAGE_SIZE) + (frame.segmentBytes > 0 ? 1 : 0);
      if (ring.waiting() < slots) {
        if (ring.isBroken || ring.awaitRequests(slots)) return false;
        continue;
      }
      const injected = fault(frame.bytes.length);
      if (injected === 'delay') return true;
      this.#head += 1;
      this.#waitingBytes -= frame.bytes.length;
      if (this.#head === this.#queue.length || this.#head === 1024) {
        this.#queue = this.#queue.slice(this.#head);
        this.#head = 0;
      }
      if (injected === 'lose') counters.dropped += 1;
      else this.#put(frame, injected === 'fail');
      if (block) this.#options.blocks.give(block);
    }
    return false;
  }

  #put(frame: Frame, fails: boolean): void {
    const { host, domid, counters } = this.#options;
    const { bytes } = frame;
    const isLarge = frame.segmentBytes > 0;
    const parts = this.#parts;
    const ids = this.#ids;
    parts.clear();
    for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
      ids[parts.count] = this.#takePage(Math.min(PAGE_SIZE, bytes.length - at));
      // The second slot is for extra information; its page stays unused.
      if (at === 0 && isLarge) this.#options.ring.consume(1);
    }
    const isGood = !fails && host.copyToParts(domid, parts, bytes);
    for (let i = 0; i < parts.count; i++) {
      let flags = i < parts.count - 1 ? netif.NETRXF_more_data : 0;
      if (i === 0) {
        // What came over our cables is as it was sent: the domain need not look at its checksum.
        flags |= netif.NETRXF_data_validated;
        if (frame.lacksChecksum) flags |= netif.NETRXF_csum_blank;
        if (isLarge) flags |= netif.NETRXF_extra_info;
      }
      this.#respond(ids[i]!, flags, isGood ? parts.length(i) : netif.NETIF_RSP_ERROR);
      if (i === 0 && isLarge) this.#putExtra(frame);
    }
    if (isGood) {
      counters.frames += 1;
      counters.bytes += bytes.length;
    } else {
      counters.errors += 1;
    }
  }

  /** The next page that the domain has given is for `length` bytes. Returns its number. */
  #takePage(length: number): number {
    const { ring } = this.#options;
    const request = ring.requestAt(0);
    this.#parts.add(gref(ring.view.getUint32(request + RX.gref, true)), 0, length);
    const id = ring.view.getUint16(request + RX.id, true);
    ring.consume(1);
    return id;
  }

  #respond(id: number, flags: number, status: number): void {
    const { ring } = this.#options;
    const { view } = ring;
    const response = ring.nextResponse();
    view.setUint16(response + RESPONSE.id, id, true);
    view.setUint16(response + RESPONSE.offset, 0, true);
    view.setUint16(response + RESPONSE.flags, flags, true);
    view.setInt16(response + RESPONSE.status, status, true);
  }

  #putExtra(frame: Frame): void {
    const { ring } = this.#options;
    const { view } = ring;
    const at = ring.nextResponse();
    const isV6 = etherType(frame.bytes) === EtherType.ipv6;
    view.setUint8(at + EXTRA.type, netif.XEN_NETIF_EXTRA_TYPE_GSO);
    view.setUint8(at + EXTRA.flags, 0);
    view.setUint16(at + EXTRA['u.gso.size'], frame.segmentBytes, true);
    view.setUint8(
      at + EXTRA['u.gso.type'],
      isV6 ? netif.XEN_NETIF_GSO_TYPE_TCPV6 : netif.XEN_NETIF_GSO_TYPE_TCPV4,
    );
    view.setUint8(at + EXTRA['u.gso.pad'], 0);
    view.setUint16(at + EXTRA['u.gso.features'], 0, true);
  }
}
