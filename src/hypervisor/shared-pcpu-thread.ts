/** A pCPU that many machines share, in turns, until it is told to stop. Started by shared-pcpu.ts. */
import { type LinkEnd, makerLink } from '../cpu/translator/maker-thread.ts';
import type { MakerLink } from '../cpu/translator/translator.ts';
import { createClockAt, threadTimeNs } from '../platform/node/clock.ts';
import { nodeEntropy } from '../platform/node/entropy.ts';
import { garbageCollector } from '../platform/node/garbage.ts';
import { post, receive, threadData } from '../platform/node/threads.ts';
import type { Platform } from '../platform/platform.ts';
import { createMachineHost } from './machine-host.ts';
import { PcpuBell } from './pcpu-bell.ts';
import { PcpuTurns, type Turns } from './pcpu-turns.ts';
import { runOne, SLICE_FUEL, TURN_FUEL } from './scheduler.ts';
import {
  type SharedPcpuMachine,
  type SharedPcpuMessage,
  type SharedPcpuReport,
  type SharedPcpuStart,
  sentError,
} from './shared-pcpu.ts';
import { StoredPages } from './sharing/stored-pages.ts';

const start = threadData() as SharedPcpuStart;
const report = (message: SharedPcpuReport): void => post(message);
const nothing = async (): Promise<void> => {};
const clock = createClockAt(start.origin);
const workedNs = threadTimeNs ?? clock.monotonicNs;
const platform: Platform = {
  clock,
  entropy: nodeEntropy,
  // It waits for its bell; the host's event loop has no part in this thread.
  pacer: { breathe: nothing, idle: nothing, wake: () => {}, retired: () => {} },
  timers: { after: () => () => {}, every: () => () => {} },
  isDeterministic: false,
};
const bell = new PcpuBell(start.bell);
/** setTimeout's limit is that of other waits too. */
const SLEEP_MAX_MS = 0x7fff_ffff;

interface Machine {
  readonly id: number;
  readonly seat: number;
  readonly turns: Turns;
  readonly host: ReturnType<typeof createMachineHost>;
  /** From when regions were wanted on. */
  maker: MakerLink | undefined;
}

const queue = new PcpuTurns<Machine>(clock.monotonicNs());
const seats = new Map<number, Machine>();
let nrMessages = 0;

const collectGarbage = garbageCollector();
/** It takes some 20 ms, so not for each of many machines that leave. */
const COLLECT_NS = 1e9;
let collectedNs = 0;
let hasGarbage = false;

function join(seat: number, given: SharedPcpuMachine): void {
  const { id } = given;
  let hasAsked = false;
  const lazyLink: MakerLink = {
    installer: 0,
    isLazy: true,
    known: given.known,
    wake(areHot) {
      if (machine.maker) machine.maker.wake(areHot);
      else if (areHot && !hasAsked) {
        hasAsked = true;
        report({ kind: 'hot', id });
      }
    },
    receive: () => machine.maker?.receive(),
  };
  const host = createMachineHost({
    modules: start.modules,
    translates: given.translates,
    ...(given.translates && { makerLink: lazyLink }),
    platform,
    guestBytes: 0,
    vcpus: 0,
    policy: given.policy,
    pages: given.pages,
    store: given.store && new StoredPages(given.store),
    notices: { shutdown: () => host.hypervisor.parallel?.callControl() },
    parallel: {
      pcpu: 1,
      call: () => report({ kind: 'call', id }),
      ring: () => bell.ring(seat),
      adopt: {
        memory: given.memory,
        wallStartNs: given.wallStartNs,
        clockOffsetNs: given.clockOffsetNs,
      },
    },
  });
  const turns = PcpuTurns.turnsOf(bell.shareOf(seat));
  const machine: Machine = { id, seat, host, turns, maker: undefined };
  seats.set(seat, machine);
  queue.join(machine);
  report({ kind: 'ready', id });
}

function leave(machine: Machine): void {
  seats.delete(machine.seat);
  queue.leave(machine);
  hasGarbage = true;
}
function fail(id: number, machine: Machine | undefined, error: unknown): void {
  if (machine) leave(machine);
  report({ kind: 'failed', id, error: sentError(error) });
}

function hear(message: SharedPcpuMessage): void {
  const { kind, seat } = message;
  const machine = seats.get(seat);
  try {
    if (kind === 'join') join(seat, message.machine);
    else if (kind === 'leave') {
      if (machine) leave(machine);
      report({ kind: 'left', id: message.id });
    } else if (!machine) return;
    else if (kind === 'image') machine.host.hypervisor.images.adopt(message.image);
    else if (kind === 'makers') setMaker(machine, message.link);
    else machine.turns.account.share = bell.shareOf(seat);
  } catch (error) {
    if (kind === 'join') fail(message.machine.id, seats.get(seat), error);
    else if (machine) fail(machine.id, machine, error);
  }
}
function setMaker(machine: Machine, link: LinkEnd): void {
  machine.maker = makerLink(link);
  machine.maker.wake(true);
}

function hearAll(): void {
  // Read first: what is sent later rings again.
  nrMessages = bell.messages;
  for (let message = receive(start.control); message !== undefined; message = receive(start.control))
    hear(message as SharedPcpuMessage);
}

/** @returns when it is due again; 0: it has not done all that it could */
function run({ host: { hypervisor } }: Machine, endNs: number, rings: number): number {
  const { parallel } = hypervisor;
  parallel?.lock.acquire();
  try {
    // What was told with the machine held, before it may go on.
    if (bell.messages !== nrMessages) return 0;
    for (let fuel = TURN_FUEL; fuel > 0; ) {
      const outcome = runOne(hypervisor);
      if (outcome.kind === 'idle') return clock.monotonicNs() + outcome.waitNs;
      fuel -= outcome.kind === 'ran' ? outcome.used : SLICE_FUEL;
      if (clock.monotonicNs() >= endNs || bell.rings !== rings) break;
    }
    return 0;
  } finally {
    while (parallel?.lock.isHeld) parallel.lock.release();
  }
}

/** Machines that have left take their memory with them when V8 notices. @returns how long to sleep until it is to be told so */
function collect(nowNs: number): number {
  if (!hasGarbage) return Number.POSITIVE_INFINITY;
  const waitNs = collectedNs + COLLECT_NS - nowNs;
  if (waitNs > 0) return waitNs;
  hasGarbage = false;
  collectedNs = nowNs;
  collectGarbage();
  return Number.POSITIVE_INFINITY;
}

for (;;) {
  const { rings } = bell;
  if (bell.messages !== nrMessages) hearAll();
  for (const machine of queue.machines) if (bell.takeWoken(machine.seat)) queue.wake(machine);
  const nowNs = clock.monotonicNs();
  const machine = queue.next(nowNs);
  if (!machine) {
    const waitNs = Math.max(0, Math.min(queue.dueNs - nowNs, collect(nowNs)));
    bell.await(rings, Math.min(waitNs / 1e6, SLEEP_MAX_MS));
    continue;
  }
  const before = workedNs();
  let dueNs = 0;
  try {
    dueNs = run(machine, nowNs + queue.turnNs, rings);
  } catch (error) {
    fail(machine.id, machine, error);
    continue;
  }
  queue.ended(machine, workedNs() - before, dueNs);
  bell.setUsedNs(machine.seat, machine.turns.account.usedNs);
}
