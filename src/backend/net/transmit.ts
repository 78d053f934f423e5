/**
 * From the domain's transmit ring to frames: a packet is a request, perhaps extra information, perhaps more requests with
 * further parts. The first request has the size of the whole packet, the others that of their part.
 *
 * Every slot is read once into numbers and checked. A packet that cannot be is answered with an error and dropped; a
 * ring on which nothing can be relied on any more is broken, and the device with it.
 */
import * as netif from '../../abi/xen/netif.ts';
import { type DomainId, gref, PAGE_SIZE } from '../../base/brand.ts';
import { type Frame, packetOf } from '../../net/frame.ts';
import { ETHERNET_BYTES } from '../../net/packet/ethernet.ts';
import { Protocol } from '../../net/packet/ip.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { GrantParts } from '../grant-parts.ts';
import type { CopyingHost } from '../host.ts';
import type { BackRing } from '../ring.ts';

/** More slots than this for one packet, and the domain is not in its senses. */
const SLOTS_FATAL = 64;
/** Smaller pieces would only be made to keep others busy. */
const SEGMENT_BYTES_MIN = 64;

const { offsets: TX } = netif.NetifTxRequest;
const { offsets: RESPONSE } = netif.NetifTxResponse;
const { offsets: EXTRA } = netif.NetifExtraInfo;

export interface TransmitCounters {
  frames: number;
  bytes: number;
  errors: number;
  /** By injected faults. */
  dropped: number;
}

export interface TransmitOptions {
  readonly ring: BackRing;
  readonly host: CopyingHost;
  readonly domid: DomainId;
  readonly counters: TransmitCounters;
  /** Asked before each packet. */
  readonly fault: (sizeBytes: number) => Fault;
  readonly send: (frame: Frame) => void;
  /** For large segments, one after the other: room for the longest frame. */
  readonly lent: Uint8Array;
}

/** A packet as its slots say. */
interface Packet {
  /** Slots in the ring, with those of extra information. */
  slots: number;
  nrExtras: number;
  readonly refs: number[];
  readonly offsets: number[];
  readonly sizes: number[];
  readonly ids: number[];
  flags: number;
  segmentBytes: number;
  totalBytes: number;
  isBad: boolean;
}

/** Read the next packet's slots. Undefined if the ring breaks off or never comes to an end. */
function readPacket({ ring }: TransmitOptions, waiting: number): Packet | undefined {
  const { view } = ring;
  const packet: Packet = {
    slots: 0,
    nrExtras: 0,
    refs: [],
    offsets: [],
    sizes: [],
    ids: [],
    flags: 0,
    segmentBytes: 0,
    totalBytes: 0,
    isBad: false,
  };
  let hasMore = true;
  while (hasMore) {
    if (packet.slots >= waiting || packet.slots >= SLOTS_FATAL) return undefined;
    const at = ring.requestAt(packet.slots);
    packet.slots += 1;
    const flags = view.getUint16(at + TX.flags, true);
    packet.refs.push(view.getUint32(at + TX.gref, true));
    packet.offsets.push(view.getUint16(at + TX.offset, true));
    packet.sizes.push(view.getUint16(at + TX.size, true));
    packet.ids.push(view.getUint16(at + TX.id, true));
    hasMore = (flags & netif.NETTXF_more_data) !== 0;
    if (packet.refs.length > 1) continue;
    packet.flags = flags;
    let hasExtra = (flags & netif.NETTXF_extra_info) !== 0;
    while (hasExtra) {
      if (packet.slots >= waiting || packet.slots >= SLOTS_FATAL) return undefined;
      const extra = ring.requestAt(packet.slots);
      packet.slots += 1;
      packet.nrExtras += 1;
      hasExtra = (view.getUint8(extra + EXTRA.flags) & netif.XEN_NETIF_EXTRA_FLAG_MORE) !== 0;
      if (view.getUint8(extra + EXTRA.type) !== netif.XEN_NETIF_EXTRA_TYPE_GSO) {
        packet.isBad = true;
        continue;
      }
      const type = view.getUint8(extra + EXTRA['u.gso.type']);
      packet.segmentBytes = view.getUint16(extra + EXTRA['u.gso.size'], true);
      const isKnown = type === netif.XEN_NETIF_GSO_TYPE_TCPV4 || type === netif.XEN_NETIF_GSO_TYPE_TCPV6;
      if (!isKnown || packet.segmentBytes < SEGMENT_BYTES_MIN) packet.isBad = true;
    }
  }
  checkParts(packet);
  return packet;
}

function checkParts(packet: Packet): void {
  const { sizes, offsets } = packet;
  packet.totalBytes = sizes[0]!;
  let others = 0;
  for (let i = 1; i < sizes.length; i++) others += sizes[i]!;
  // From here on the size of the first part, no longer that of the packet.
  sizes[0] = packet.totalBytes - others;
  if (packet.totalBytes < ETHERNET_BYTES || sizes[0] <= 0) packet.isBad = true;
  if (sizes.length > netif.XEN_NETIF_NR_SLOTS_MIN) packet.isBad = true;
  if (sizes.some((size, i) => offsets[i]! + size > PAGE_SIZE)) packet.isBad = true;
}

function partsOf({ refs, offsets, sizes }: Packet): GrantParts {
  const parts = new GrantParts(refs.length);
  for (let i = 0; i < refs.length; i++) parts.add(gref(refs[i]!), offsets[i]!, sizes[i]!);
  return parts;
}

function respond(ring: BackRing, packet: Packet, status: number): void {
  const { view } = ring;
  for (let i = 0; i < packet.ids.length; i++) {
    const at = ring.nextResponse();
    view.setUint16(at + RESPONSE.id, packet.ids[i]!, true);
    view.setInt16(at + RESPONSE.status, status, true);
    for (let extra = 0; i === 0 && extra < packet.nrExtras; extra++) {
      view.setInt16(ring.nextResponse() + RESPONSE.status, netif.NETIF_RSP_NULL, true);
    }
  }
}

/** Take all packets from the ring. 'delayed': an injected fault leaves the rest for later; 'broken': no more, ever. */
export function serveTransmit(options: TransmitOptions): 'done' | 'delayed' | 'broken' {
  const { ring, host, domid, counters } = options;
  // A domain that keeps adding is served a few rounds, and then again after others.
  for (let budget = 4 * ring.nrSlots; budget > 0; ) {
    const waiting = ring.waiting();
    if (waiting === 0) {
      if (ring.isBroken) return 'broken';
      if (ring.awaitRequests(1)) return 'done';
      continue;
    }
    const packet = readPacket(options, waiting);
    if (!packet) return 'broken';
    const fault = options.fault(packet.totalBytes);
    if (fault === 'delay') return 'delayed';
    budget -= packet.slots;
    ring.consume(packet.slots);
    if (fault === 'lose') {
      counters.dropped += 1;
      respond(ring, packet, netif.NETIF_RSP_OKAY);
      continue;
    }
    let isGood = !packet.isBad && fault !== 'fail';
    const size = isGood ? packet.totalBytes : 0;
    const isLent = packet.segmentBytes > 0;
    const bytes = isLent ? options.lent.subarray(0, size) : new Uint8Array(size);
    isGood &&= host.copyFromParts(domid, partsOf(packet), bytes);
    // Whoever gets it relies on what it claims to be.
    if (packet.segmentBytes > 0 && packetOf(bytes)?.protocol !== Protocol.tcp) isGood = false;
    respond(ring, packet, isGood ? netif.NETIF_RSP_OKAY : netif.NETIF_RSP_ERROR);
    if (!isGood) {
      counters.errors += 1;
      continue;
    }
    counters.frames += 1;
    counters.bytes += bytes.length;
    const lacksChecksum = (packet.flags & netif.NETTXF_csum_blank) !== 0 || packet.segmentBytes > 0;
    options.send({ bytes, lacksChecksum, segmentBytes: packet.segmentBytes, isLent });
  }
  return 'delayed';
}
