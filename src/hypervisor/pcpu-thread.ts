/** A pCPU: the thread that runs whatever vCPU the scheduler gives it, until it is told to stop. Started by pcpus.ts. */
import { makerLink } from '../cpu/translator/maker-thread.ts';
import { createClockAt } from '../platform/node/clock.ts';
import { nodeEntropy } from '../platform/node/entropy.ts';
import { post, threadData } from '../platform/node/threads.ts';
import type { Platform } from '../platform/platform.ts';
import { createMachineHost } from './machine-host.ts';
import { awaitWork, isStopRequested } from './parallel.ts';
import type { PcpuMessage, PcpuStart } from './pcpus.ts';
import { runOne } from './scheduler.ts';
import { StoredPages } from './sharing/stored-pages.ts';

const start = threadData() as PcpuStart;
const send = (message: PcpuMessage): void => post(message);
const nothing = async (): Promise<void> => {};
const platform: Platform = {
  clock: createClockAt(start.origin),
  entropy: nodeEntropy,
  // It waits for work in machine memory; the host's event loop has no part in this thread.
  pacer: { breathe: nothing, idle: nothing, wake: () => {}, retired: () => {} },
  timers: { after: () => () => {}, every: () => () => {} },
  isDeterministic: false,
};
const { hypervisor, engine } = createMachineHost({
  modules: start.modules,
  translates: start.maker !== undefined,
  makerLink: start.maker && makerLink(start.maker),
  platform,
  guestBytes: 0,
  vcpus: 0,
  policy: start.policy,
  pages: start.pages,
  store: start.store && new StoredPages(start.store),
  notices: { shutdown: () => hypervisor.parallel?.callControl() },
  earlyConsole: (domain, character) => send({ kind: 'early', domain: domain.id, character }),
  parallel: {
    pcpu: start.pcpu,
    call: () => send({ kind: 'call' }),
    adopt: {
      memory: start.memory,
      wallStartNs: start.wallStartNs,
      clockOffsetNs: start.clockOffsetNs,
    },
  },
});

const { parallel, memory } = hypervisor;
if (parallel) {
  send({ kind: 'ready' });
  parallel.lock.acquire();
  try {
    while (!isStopRequested(memory)) {
      engine.translator?.receive();
      const outcome = runOne(hypervisor);
      if (outcome.kind === 'idle') awaitWork(memory, parallel, outcome.waitNs);
    }
  } finally {
    while (parallel.lock.isHeld) parallel.lock.release();
  }
}
