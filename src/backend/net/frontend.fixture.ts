/** A domain with a network driver, in a test: rings and buffers in machine memory, keys over a real xenstore ring. */
import assert from 'node:assert/strict';
import * as netif from '../../abi/xen/netif.ts';
import { maddr, PAGE_SIZE } from '../../base/brand.ts';
import { createMachineMemory } from '../../machine/memory.ts';
import { type Frame, kept } from '../../net/frame.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { TestGuest } from '../../xenstore/guest-fixture.ts';
import { createXenstored } from '../../xenstore/xenstored.ts';
import { partByPart } from '../grant-parts.fixture.ts';
import type { CopyingHost } from '../host.ts';
import { NetDevice, type NetTransfer } from './device.ts';

export const FRONT = 'device/vif/0';
export const BACK = '/local/domain/0/backend/vif/5/0';
const SLOTS = 256;
const FIRST_BUFFER = 64;

export interface Part {
  readonly bytes: Uint8Array;
  readonly offset?: number;
}

export interface Received {
  readonly bytes: Uint8Array;
  readonly flags: number;
  readonly segmentBytes: number;
  readonly segmentType: number;
  readonly status: number;
}

/** One queue of the driver's. Page numbers are grant references. */
export class TestQueue {
  readonly view: DataView;
  readonly u8: Uint8Array;
  readonly tx: number;
  readonly rx: number;
  readonly #buffers: number;
  #txProd = 0;
  #txCons = 0;
  #rxProd = 0;
  #rxCons = 0;
  readonly statuses: number[] = [];

  constructor(view: DataView, u8: Uint8Array, txPage: number, rxPage: number, buffers: number) {
    this.view = view;
    this.u8 = u8;
    this.tx = txPage * PAGE_SIZE;
    this.rx = rxPage * PAGE_SIZE;
    this.#buffers = buffers;
    for (const ring of [this.tx, this.rx]) {
      u8.fill(0, ring, ring + PAGE_SIZE);
      view.setUint32(ring + 4, 1, true);
      view.setUint32(ring + 12, 1, true);
    }
  }

  txSlot(index: number): number {
    return this.tx + 64 + (index & (SLOTS - 1)) * 12;
  }
  rxSlot(index: number): number {
    return this.rx + 64 + (index & (SLOTS - 1)) * 8;
  }

  /** Put a packet into the ring and, unless told otherwise, show it. */
  transmit(parts: readonly Part[], flags = 0, segmentBytes = 0, segmentType = 1): void {
    const total = parts.reduce((sum, part) => sum + part.bytes.length, 0);
    for (const [i, { bytes, offset = 0 }] of parts.entries()) {
      const page = this.#buffers + (this.#txProd & 31);
      this.u8.set(bytes, page * PAGE_SIZE + offset);
      let own = i === 0 ? flags : 0;
      if (i < parts.length - 1) own |= netif.NETTXF_more_data;
      if (i === 0 && segmentBytes > 0) own |= netif.NETTXF_extra_info;
      const at = this.txSlot(this.#txProd++);
      this.view.setUint32(at, page, true);
      this.view.setUint16(at + 4, offset, true);
      this.view.setUint16(at + 6, own, true);
      this.view.setUint16(at + 8, 1000 + i, true);
      this.view.setUint16(at + 10, i === 0 ? total : bytes.length, true);
      if (i === 0 && segmentBytes > 0) {
        const extra = this.txSlot(this.#txProd++);
        this.u8.set([1, 0], extra);
        this.view.setUint16(extra + 2, segmentBytes, true);
        this.u8.set([segmentType, 0, 0, 0], extra + 4);
      }
    }
    this.showTx();
  }

  showTx(): void {
    this.view.setUint32(this.tx, this.#txProd, true);
  }

  /** Statuses of what was sent, since the last time. */
  takeStatuses(): number[] {
    const produced = this.view.getUint32(this.tx + 8, true);
    const taken: number[] = [];
    for (; this.#txCons !== produced; this.#txCons = (this.#txCons + 1) >>> 0) {
      taken.push(this.view.getInt16(this.txSlot(this.#txCons) + 2, true));
    }
    this.view.setUint32(this.tx + 12, produced + 1, true);
    return taken;
  }

  /** Give pages to receive into. */
  giveBuffers(count: number): void {
    for (let i = 0; i < count; i++) {
      const at = this.rxSlot(this.#rxProd);
      this.view.setUint16(at, this.#rxProd & (SLOTS - 1), true);
      this.view.setUint32(at + 4, this.#buffers + 32 + (this.#rxProd & (SLOTS - 1)), true);
      this.#rxProd += 1;
    }
    this.view.setUint32(this.rx, this.#rxProd, true);
  }

  get rxEvent(): number {
    return this.view.getUint32(this.rx + 4, true);
  }

  /** Frames that have arrived. */
  takeFrames(): Received[] {
    const produced = this.view.getUint32(this.rx + 8, true);
    const frames: Received[] = [];
    while (this.#rxCons !== produced) {
      const chunks: Uint8Array[] = [];
      let flags = 0;
      let first = 0;
      let segmentBytes = 0;
      let segmentType = 0;
      let status = 0;
      do {
        assert.notEqual(this.#rxCons, produced, 'a frame that is cut short');
        const slot = this.#rxCons++;
        const at = this.rxSlot(slot);
        flags = this.view.getUint16(at + 4, true);
        status = this.view.getInt16(at + 6, true);
        assert.equal(
          this.view.getUint16(at, true),
          slot & (SLOTS - 1),
          'responses stay in the slots of their requests',
        );
        if (chunks.length === 0) first = flags;
        const page = this.#buffers + 32 + (slot & (SLOTS - 1));
        const start = page * PAGE_SIZE + this.view.getUint16(at + 2, true);
        chunks.push(this.u8.slice(start, start + Math.max(0, status)));
        if ((flags & netif.NETRXF_extra_info) !== 0) {
          const extra = this.rxSlot(this.#rxCons++);
          assert.equal(this.u8[extra], 1);
          segmentBytes = this.view.getUint16(extra + 2, true);
          segmentType = this.u8[extra + 4]!;
        }
      } while ((flags & netif.NETRXF_more_data) !== 0);
      frames.push({ bytes: Buffer.concat(chunks), flags: first, segmentBytes, segmentType, status });
    }
    this.view.setUint32(this.rx + 12, produced + 1, true);
    return frames;
  }
}

export function setUp(
  options: {
    readonly fault?: (transfer: NetTransfer) => Fault;
    readonly nrQueues?: number;
    readonly features?: Readonly<Record<string, string>>;
  } = {},
) {
  const { fault = () => 'none', nrQueues = 1, features = {} } = options;
  const memory = createMachineMemory(16 << 20);
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.write('/local/domain/5/name', 'guest');
  xs.setPermissions('/local/domain/5', ['n0', 'r5']);
  const nrPages = memory.sizeBytes / PAGE_SIZE;
  const ports = new Map<number, () => void>();
  const log: string[] = [];
  const isGranted = (ref: number) => ref >= 2 && ref < nrPages;
  const host: CopyingHost = {
    memory,
    mapGrant: (_, ref) => (isGranted(ref) ? maddr(ref * PAGE_SIZE) : undefined),
    unmapGrant: (_, ref) => void log.push(`unmap ${ref}`),
    bindInterdomain(_, remotePort, onEvent) {
      if (remotePort > 100) return undefined;
      ports.set(remotePort, onEvent);
      return {
        notify: () => void log.push(`notify ${remotePort}`),
        close: () => void ports.delete(remotePort),
      };
    },
    copyFromGrant(_, ref, offset, target) {
      if (!isGranted(ref) || offset + target.length > PAGE_SIZE) return false;
      const start = ref * PAGE_SIZE + offset;
      target.set(memory.u8.subarray(start, start + target.length));
      return true;
    },
    copyToGrant(_, ref, offset, source) {
      if (!isGranted(ref) || offset + source.length > PAGE_SIZE) return false;
      memory.u8.set(source, ref * PAGE_SIZE + offset);
      return true;
    },
    ...partByPart(() => host),
  };
  const sent: Frame[] = [];
  const deferred: (() => void)[] = [];
  const device = new NetDevice({
    xs,
    host,
    defer: task => void deferred.push(task),
    domid: 5,
    devid: 0,
    mac: Uint8Array.of(0, 0x16, 0x3e, 1, 2, 3),
    mtu: 1500,
    maxQueues: 4,
    cable: { receive: frame => void sent.push(kept(frame)) },
    faults: { onTransfer: fault },
  });
  const guest = new TestGuest(xenstored, 5, memory, PAGE_SIZE);
  xenstored.pump();
  const queues = Array.from(
    { length: nrQueues },
    (_, i) => new TestQueue(memory.view, memory.u8, 10 + 2 * i, 11 + 2 * i, FIRST_BUFFER + i * 320),
  );
  const setState = (state: number) => {
    guest.write(`${FRONT}/state`, String(state));
    xenstored.pump();
  };
  const connect = () => {
    const write = (key: string, value: string | number) => {
      const result = guest.write(`${FRONT}/${key}`, String(value));
      assert.equal(result, 'OK\0', key);
    };
    if (nrQueues > 1) write('multi-queue-num-queues', nrQueues);
    for (let i = 0; i < nrQueues; i++) {
      const prefix = nrQueues > 1 ? `queue-${i}/` : '';
      write(`${prefix}tx-ring-ref`, 10 + 2 * i);
      write(`${prefix}rx-ring-ref`, 11 + 2 * i);
      write(`${prefix}event-channel-tx`, 20 + 2 * i);
      write(`${prefix}event-channel-rx`, 21 + 2 * i);
    }
    const defaults = {
      'request-rx-copy': '1',
      'feature-rx-notify': '1',
      'feature-sg': '1',
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
    };
    for (const [key, value] of Object.entries({ ...defaults, ...features })) write(key, value);
    setState(4);
  };
  const runDeferred = () => {
    for (const task of deferred.splice(0)) task();
  };
  return {
    memory,
    xenstored,
    xs,
    device,
    guest,
    host,
    log,
    ports,
    sent,
    queues,
    connect,
    setState,
    runDeferred,
    deferred,
  };
}
