/** A domain with a block driver, for tests: real xenstore ring, granted pages, one or more rings of one or more pages. */
import * as blkif from '../../abi/xen/blkif.ts';
import { type MachineAddress, maddr, PAGE_SIZE } from '../../base/brand.ts';
import type { Disk } from '../../disk/disk.ts';
import { createMachineMemory, type MachineMemory } from '../../machine/memory.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { TestGuest } from '../../xenstore/guest-fixture.ts';
import { TaskQueue } from '../../xenstore/queue.ts';
import { createXenstored } from '../../xenstore/xenstored.ts';
import { partByPart } from '../grant-parts.fixture.ts';
import type { CopyingHost } from '../host.ts';
import { type BlockDeviceOptions, createBlockDevice } from './device.ts';
import type { RateLimits } from './limits.ts';
import type { OpenRequests } from './open-requests.ts';
import { SLOT_BYTES, slotsOf } from './ring.ts';
import type { BlockTransfer } from './server.ts';

export const DEVID = 51712;
export const FRONT = `device/vbd/${DEVID}`;
export const BACK = `/local/domain/0/backend/vbd/5/${DEVID}`;
const SLOTS_AT = blkif.BlkifSring.offsets.ring;
/** Pages 16 to 271 are granted, with the same numbers; the rings come first. */
export const FIRST_PAGE = 16;
const LAST_PAGE = 271;
const MEMORY_BYTES = 320 * PAGE_SIZE;

export interface Response {
  readonly id: number;
  readonly operation: number;
  readonly status: number;
}

export interface Page {
  readonly ref: number;
  readonly first?: number;
  readonly last?: number;
}

/** One ring as the domain sees it. */
export class FrontRing {
  readonly refs: readonly number[];
  readonly port: number;
  readonly nrSlots: number;
  readonly memory: MachineMemory;
  produced = 0;
  consumed = 0;
  notified = 0;
  raise: () => void = () => {};

  constructor(memory: MachineMemory, refs: readonly number[], port: number) {
    this.memory = memory;
    this.refs = refs;
    this.port = port;
    this.nrSlots = slotsOf(refs.length);
    for (const ref of refs) memory.u8.fill(0, ref * PAGE_SIZE, (ref + 1) * PAGE_SIZE);
    this.word('rsp_event', 1);
    this.word('req_event', 1);
  }

  word(name: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event', value?: number): number {
    const at = (this.refs[0] as number) * PAGE_SIZE + blkif.BlkifSring.offsets[name];
    if (value !== undefined) this.memory.view.setUint32(at, value, true);
    return this.memory.view.getUint32(at, true);
  }

  /** Machine address of a byte of the ring. */
  at(offset: number): number {
    return (this.refs[Math.floor(offset / PAGE_SIZE)] as number) * PAGE_SIZE + (offset % PAGE_SIZE);
  }

  /** Put a request into the ring; `push` shows it. */
  put(slot: Uint8Array): void {
    const start = SLOTS_AT + (this.produced & (this.nrSlots - 1)) * SLOT_BYTES;
    for (let i = 0; i < slot.length; i++) this.memory.u8[this.at(start + i)] = slot[i] as number;
    this.produced = (this.produced + 1) >>> 0;
  }

  push(): void {
    this.word('req_prod', this.produced);
    this.raise();
  }

  responses(): Response[] {
    const found: Response[] = [];
    const until = this.word('rsp_prod');
    // A test may have written nonsense.
    while (this.consumed !== until && found.length < 1000) {
      const bytes = new Uint8Array(blkif.BlkifResponse.size);
      const start = SLOTS_AT + (this.consumed & (this.nrSlots - 1)) * SLOT_BYTES;
      for (let i = 0; i < bytes.length; i++) bytes[i] = this.memory.u8[this.at(start + i)] as number;
      const { id, operation, status } = blkif.BlkifResponse.at(new DataView(bytes.buffer), 0);
      found.push({ id: Number(id), operation, status });
      this.consumed = (this.consumed + 1) >>> 0;
    }
    this.word('rsp_event', (this.consumed + 1) >>> 0);
    return found;
  }
}

function blankSlot() {
  const bytes = new Uint8Array(SLOT_BYTES);
  return { bytes, view: new DataView(bytes.buffer) };
}

function setSegments(view: DataView, at: number, pages: readonly Page[]): void {
  for (const [i, { ref, first = 0, last = 7 }] of pages.entries()) {
    view.setUint32(at + 8 * i, ref, true);
    view.setUint8(at + 8 * i + 4, first);
    view.setUint8(at + 8 * i + 5, last);
  }
}

export function directRequest(
  id: number,
  operation: number,
  sector: number,
  pages: readonly Page[],
): Uint8Array {
  const { bytes, view } = blankSlot();
  const request = blkif.BlkifRequest.at(view, 0);
  request.operation = operation;
  request.nr_segments = pages.length;
  request.id = BigInt(id);
  request.sector_number = BigInt(sector);
  setSegments(view, blkif.BlkifRequest.offsets.seg, pages);
  return bytes;
}

export function discardRequest(id: number, sector: number, nrSectors: number): Uint8Array {
  const { bytes, view } = blankSlot();
  const request = blkif.BlkifRequestDiscard.at(view, 0);
  request.operation = blkif.BLKIF_OP_DISCARD;
  request.id = BigInt(id);
  request.sector_number = BigInt(sector);
  request.nr_sectors = BigInt(nrSectors);
  return bytes;
}

/** `tables` are the pages that take the segments. */
export function indirectRequest(
  memory: MachineMemory,
  id: number,
  operation: number,
  sector: number,
  pages: readonly Page[],
  tables: readonly number[],
): Uint8Array {
  const { bytes, view } = blankSlot();
  const request = blkif.BlkifRequestIndirect.at(view, 0);
  request.operation = blkif.BLKIF_OP_INDIRECT;
  request.indirect_op = operation;
  request.nr_segments = pages.length;
  request.id = BigInt(id);
  request.sector_number = BigInt(sector);
  for (const [i, ref] of tables.entries()) {
    request.indirect_grefs.set(i, ref);
    setSegments(memory.view, ref * PAGE_SIZE, pages.slice(i * 512, (i + 1) * 512));
  }
  return bytes;
}

export interface FrontendOptions {
  readonly disk: Disk;
  readonly fault?: (transfer: BlockTransfer) => Fault;
  readonly maxQueues?: number;
  readonly limits?: RateLimits;
  readonly queueDepth?: number;
  readonly isSerial?: boolean;
  readonly open?: OpenRequests;
  readonly onDied?: (error: unknown) => void;
}

export function setUpFrontend({ disk, fault = () => 'none', ...rest }: FrontendOptions) {
  const memory = createMachineMemory(MEMORY_BYTES);
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.write('/local/domain/5/name', 'guest');
  xs.setPermissions('/local/domain/5', ['n0', 'r5']);
  const revoked = new Set<number>();
  const readOnlyRefs = new Set<number>();
  const mapped = new Map<number, number>();
  const ports = new Map<number, { onEvent: () => void; ring?: FrontRing }>();
  const rings: FrontRing[] = [];
  const addressOf = (ref: number): MachineAddress | undefined =>
    ref < FIRST_PAGE || ref > LAST_PAGE || revoked.has(ref) ? undefined : maddr(ref * PAGE_SIZE);
  const host: CopyingHost = {
    memory,
    mapGrant(_, ref) {
      const address = addressOf(ref);
      if (address !== undefined) mapped.set(ref, (mapped.get(ref) ?? 0) + 1);
      return address;
    },
    unmapGrant: (_, ref) => void mapped.set(ref, (mapped.get(ref) ?? 0) - 1),
    bindInterdomain(_, remotePort, onEvent) {
      if (remotePort > 100) return undefined;
      ports.set(remotePort, { onEvent });
      return {
        notify: () => {
          const ring = rings.find(each => each.port === remotePort);
          if (ring) ring.notified += 1;
        },
        close: () => void ports.delete(remotePort),
      };
    },
    copyFromGrant(_, ref, offset, target) {
      const address = addressOf(ref);
      if (address === undefined) return false;
      target.set(memory.u8.subarray(address + offset, address + offset + target.length));
      return true;
    },
    copyToGrant(_, ref, offset, source) {
      const address = addressOf(ref);
      if (address === undefined || readOnlyRefs.has(ref)) return false;
      memory.u8.set(source, address + offset);
      return true;
    },
    ...partByPart(() => host),
  };
  const tasks = new TaskQueue();
  const time = { nowNs: 0 };
  const alarms: (() => void)[] = [];
  let removed = 0;
  const options: BlockDeviceOptions = {
    xs,
    host,
    disk,
    defer: task => tasks.defer(task),
    domid: 5,
    devid: DEVID,
    faults: { onTransfer: transfer => fault(transfer) },
    clock: { monotonicNs: () => time.nowNs },
    timers: {
      after: (_, callback) => {
        alarms.push(callback);
        return () => {};
      },
    },
    onRemoved: () => {
      removed += 1;
    },
    ...rest,
  };
  const device = createBlockDevice(options);
  /** A backend that goes on with what `device` has abandoned. */
  const succeed = () => createBlockDevice({ ...options, isRestored: true });
  const guest = new TestGuest(xenstored, 5, memory, PAGE_SIZE);
  const pump = () => {
    xenstored.pump();
    tasks.pump();
    xenstored.pump();
  };
  pump();

  /** Connect with `count` rings of `pages` pages each. */
  function connect(count = 1, pages = 1, keys: Record<string, string> = {}): FrontRing[] {
    rings.length = 0;
    let next = FIRST_PAGE;
    const write = (key: string, value: string | number) => guest.write(`${FRONT}/${key}`, String(value));
    if (count > 1) write('multi-queue-num-queues', count);
    if (pages > 1) write('ring-page-order', Math.log2(pages));
    for (let i = 0; i < count; i++) {
      const prefix = count > 1 ? `queue-${i}/` : '';
      // Not in a row.
      const refs = Array.from({ length: pages }, (_, page) => next + pages - 1 - page);
      next += pages;
      const ring = new FrontRing(memory, refs, 7 + i);
      rings.push(ring);
      for (const [page, ref] of refs.entries()) write(`${prefix}ring-ref${pages > 1 ? page : ''}`, ref);
      write(`${prefix}event-channel`, ring.port);
      ring.raise = () => {
        ports.get(ring.port)?.onEvent();
      };
    }
    write('protocol', 'x86_64-abi');
    for (const [key, value] of Object.entries(keys)) write(key, value);
    setState(3);
    if (guest.read(`${BACK}/state`) === '4') setState(4);
    return [...rings];
  }

  function setState(state: number): void {
    guest.write(`${FRONT}/state`, String(state));
    pump();
  }

  /** Until nothing waits for the disk any more. */
  async function settle(): Promise<void> {
    for (let turns = 0; turns < 1000; turns++) {
      pump();
      await Promise.resolve();
      if (device.pending) await device.pending;
    }
    pump();
  }

  return {
    memory,
    xenstored,
    xs,
    device,
    succeed,
    guest,
    host,
    connect,
    setState,
    settle,
    pump,
    mapped,
    revoked,
    readOnlyRefs,
    ports,
    time,
    alarms,
    removed: () => removed,
  };
}
