/** A domain with a 9pfs driver, for tests: real xenstore ring, granted pages, rings as Linux makes them. */
import { flexRingBytes, Xen9pfsDataIntf } from '../../abi/xen/p9.ts';
import { type MachineAddress, maddr, PAGE_SIZE } from '../../base/brand.ts';
import { createMachineMemory, type MachineMemory } from '../../machine/memory.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { TestGuest } from '../../xenstore/guest-fixture.ts';
import { TaskQueue } from '../../xenstore/queue.ts';
import { createXenstored } from '../../xenstore/xenstored.ts';
import type { BackendHost } from '../host.ts';
import { FolderDevice } from './device.ts';
import type { FolderTransfer } from './server.ts';
import type { SharedFolder } from './shared-folder.ts';

export const FRONT = 'device/9pfs/0';
export const BACK = '/local/domain/0/backend/9pfs/5/0';
/** Pages 16 to 271 are granted, with the same numbers. */
const FIRST_PAGE = 16;
const LAST_PAGE = 271;
const MEMORY_BYTES = 320 * PAGE_SIZE;

/** One ring as the domain sees it. */
export class FrontRing {
  readonly memory: MachineMemory;
  readonly page: number;
  readonly pages: readonly number[];
  readonly port: number;
  readonly sizeBytes: number;
  notified = 0;
  raise: () => void = () => {};
  readonly #received: Uint8Array[] = [];

  constructor(memory: MachineMemory, page: number, pages: readonly number[], port: number) {
    this.memory = memory;
    this.page = page;
    this.pages = pages;
    this.port = port;
    this.sizeBytes = flexRingBytes(Math.log2(pages.length));
    memory.u8.fill(0, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    this.counters.ring_order = Math.log2(pages.length);
    for (const [i, ref] of pages.entries()) {
      memory.view.setUint32(page * PAGE_SIZE + Xen9pfsDataIntf.size + 4 * i, ref, true);
    }
  }

  get counters() {
    return Xen9pfsDataIntf.at(this.memory.view, this.page * PAGE_SIZE);
  }

  #at(offset: number): number {
    return (this.pages[Math.floor(offset / PAGE_SIZE)] as number) * PAGE_SIZE + (offset % PAGE_SIZE);
  }

  /** Put bytes into the ring, whatever they are. False if there is no room. */
  put(bytes: Uint8Array): boolean {
    const { counters } = this;
    const prod = counters.out_prod;
    if (this.sizeBytes - ((prod - counters.out_cons) >>> 0) < bytes.length) return false;
    for (let i = 0; i < bytes.length; i++) {
      this.memory.u8[this.#at(this.sizeBytes + ((prod + i) & (this.sizeBytes - 1)))] = bytes[i] as number;
    }
    counters.out_prod = (prod + bytes.length) >>> 0;
    return true;
  }

  /** Take whole messages out of the ring, at most `most` of them, and say so as Linux does. */
  take(most = 1000): Uint8Array[] {
    const found: Uint8Array[] = [];
    const { counters } = this;
    while (found.length < most) {
      const cons = counters.in_cons;
      const waiting = (counters.in_prod - cons) >>> 0;
      if (waiting < 7) break;
      const byte = (i: number) => this.memory.u8[this.#at((cons + i) & (this.sizeBytes - 1))] as number;
      const size = byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24);
      if (size > waiting) throw new Error('part of a message was shown');
      found.push(Uint8Array.from({ length: size }, (_, i) => byte(i)));
      counters.in_cons = (cons + size) >>> 0;
    }
    this.raise();
    return found;
  }

  /** The reply with a tag, as soon as it is there. */
  reply(tag: number): Uint8Array | undefined {
    this.#received.push(...this.take());
    const at = this.#received.findIndex(
      message => ((message[5] as number) | ((message[6] as number) << 8)) === tag,
    );
    return at < 0 ? undefined : this.#received.splice(at, 1)[0];
  }
}

export interface FrontendOptions {
  readonly folder: SharedFolder;
  readonly fault?: (transfer: FolderTransfer) => Fault;
  readonly maxRingOrder?: number;
}

export function setUpFrontend({ folder, fault = () => 'none', maxRingOrder = 5 }: FrontendOptions) {
  const memory = createMachineMemory(MEMORY_BYTES);
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.write('/local/domain/5/name', 'guest');
  xs.setPermissions('/local/domain/5', ['n0', 'r5']);
  const mapped = new Map<number, number>();
  const ports = new Map<number, () => void>();
  const rings: FrontRing[] = [];
  const host: BackendHost = {
    memory,
    mapGrant(_, ref): MachineAddress | undefined {
      if (ref < FIRST_PAGE || ref > LAST_PAGE) return undefined;
      mapped.set(ref, (mapped.get(ref) ?? 0) + 1);
      return maddr(ref * PAGE_SIZE);
    },
    unmapGrant: (_, ref) => void mapped.set(ref, (mapped.get(ref) ?? 0) - 1),
    bindInterdomain(_, remotePort, onEvent) {
      if (remotePort > 100) return undefined;
      ports.set(remotePort, onEvent);
      return {
        notify: () => {
          const ring = rings.find(each => each.port === remotePort);
          if (ring) ring.notified += 1;
        },
        close: () => void ports.delete(remotePort),
      };
    },
  };
  const tasks = new TaskQueue();
  let removed = 0;
  const device = new FolderDevice({
    xs,
    host,
    folder,
    defer: task => tasks.defer(task),
    domid: 5,
    devid: 0,
    tag: 'domus0',
    faults: { onTransfer: transfer => fault(transfer) },
    maxRingOrder,
    onRemoved: () => {
      removed += 1;
    },
  });
  const guest = new TestGuest(xenstored, 5, memory, PAGE_SIZE);
  const pump = () => {
    xenstored.pump();
    tasks.pump();
    xenstored.pump();
  };
  pump();

  function setState(state: number): void {
    guest.write(`${FRONT}/state`, String(state));
    pump();
  }

  /** Connect with `count` rings of 2^order pages each. */
  function connect(count = 2, order = 2, keys: Record<string, string> = {}): FrontRing[] {
    rings.length = 0;
    let next = FIRST_PAGE;
    const write = (key: string, value: string | number) => guest.write(`${FRONT}/${key}`, String(value));
    write('version', 1);
    write('num-rings', count);
    for (let i = 0; i < count; i++) {
      // Not in a row.
      const pages = Array.from({ length: 2 ** order }, (_, page) => next + 2 ** order - page);
      const ring = new FrontRing(memory, next, pages, 7 + i);
      next += 1 + 2 ** order;
      rings.push(ring);
      write(`ring-ref${i}`, ring.page);
      write(`event-channel-${i}`, ring.port);
      ring.raise = () => {
        ports.get(ring.port)?.();
        pump();
      };
    }
    for (const [key, value] of Object.entries(keys)) write(key, value);
    setState(3);
    if (guest.read(`${BACK}/state`) === '4') setState(4);
    return [...rings];
  }

  /** Send a message by the ring that Linux would choose, and wait for its reply. */
  async function transact(message: Uint8Array): Promise<Uint8Array> {
    const tag = (message[5] as number) | ((message[6] as number) << 8);
    const ring = rings[tag % rings.length];
    if (!ring?.put(message)) throw new Error('no room in the ring');
    ring.raise();
    for (let turns = 0; turns < 10_000; turns++) {
      const reply = ring.reply(tag);
      if (reply) return reply;
      await new Promise(resolve => setImmediate(resolve));
      pump();
    }
    throw new Error('no reply');
  }

  return {
    memory,
    xs,
    device,
    guest,
    connect,
    setState,
    pump,
    transact,
    mapped,
    ports,
    removed: () => removed,
  };
}
