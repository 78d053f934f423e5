/** A pCPU that many machines share, in turns, until it is told to stop. Started by shared-pcpu.ts. */
import { type LinkEnd, makerLink } from '../cpu/translator/maker-thread.ts';
import type { MakerLink } from '../cpu/translator/translator.ts';
import { threadTimeNs } from '../platform/node/clock.ts';
import { nodeEntropy } from '../platform/node/entropy.ts';
import { createClockAt, post, receive, threadData } from '../platform/node/threads.ts';
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
  readonly seat: number;
  readonly turns: Turns;
  readonly host: ReturnType<typeof createMachineHost>;
  /** From when regions were wanted on. */
  maker: MakerLink | undefined;
}

const turns = new PcpuTurns<Machine>(clock.monotonicNs());
const seats = new Map<number, Machine>();
let nrMessages = 0;

function join(seat: number, given: SharedPcpuMachine): void {
  let hasAsked = false;
  const lazyLink: MakerLink = {
    installer: 0,
    isLazy: true,
    known: given.known,
    wake(areHot) {
      if (machine.maker) machine.maker.wake(areHot);
      else if (areHot && !hasAsked) {
        hasAsked = true;
        report({ kind: 'hot', seat });
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
      call: () => report({ kind: 'call', seat }),
      ring: () => bell.ring(seat),
      adopt: {
        memory: given.memory,
        wallStartNs: given.wallStartNs,
        clockOffsetNs: given.clockOffsetNs,
      },
    },
  });
  const machine: Machine = { seat, host, turns: PcpuTurns.turnsOf(bell.shareOf(seat)), maker: undefined };
  seats.set(seat, machine);
  turns.join(machine);
  report({ kind: 'ready', seat });
}

function leave(machine: Machine): void {
  seats.delete(machine.seat);
  turns.leave(machine);
}

function hear(message: SharedPcpuMessage): void {
  const { seat } = message;
  try {
    if (message.kind === 'join') {
      join(seat, message.machine);
      return;
    }
    const machine = seats.get(seat);
    if (message.kind === 'leave') {
      if (machine) leave(machine);
      report({ kind: 'left', seat });
    } else if (!machine) return;
    else if (message.kind === 'image') machine.host.hypervisor.images.adopt(message.image);
    else if (message.kind === 'makers') setMaker(machine, message.link);
    else machine.turns.account.share = bell.shareOf(seat);
  } catch (error) {
    report({ kind: 'failed', seat, error: sentError(error) });
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

for (;;) {
  const { rings } = bell;
  if (bell.messages !== nrMessages) hearAll();
  for (const machine of turns.machines) if (bell.takeWoken(machine.seat)) turns.wake(machine);
  const nowNs = clock.monotonicNs();
  const machine = turns.next(nowNs);
  if (!machine) {
    bell.await(rings, Math.min(Math.max(0, turns.dueNs - nowNs) / 1e6, SLEEP_MAX_MS));
    continue;
  }
  const before = workedNs();
  let dueNs = 0;
  try {
    dueNs = run(machine, nowNs + turns.turnNs, rings);
  } catch (error) {
    leave(machine);
    report({ kind: 'failed', seat: machine.seat, error: sentError(error) });
    continue;
  }
  turns.ended(machine, workedNs() - before, dueNs);
  bell.setUsedNs(machine.seat, machine.turns.account.usedNs);
}
