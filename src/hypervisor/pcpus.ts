/**
 * The pCPUs of a machine, as the control domain's thread sees them: started, called by, stopped.
 *
 * This thread runs no vCPU then. It serves the backends when a pCPU calls it, with the hypervisor's lock held, and looks at what
 * the guest has done.
 */
import type { EngineModules } from '../cpu/engine.ts';
import type { LinkEnd } from '../cpu/translator/maker-thread.ts';
import { type ClockOrigin, originOf } from '../platform/node/clock.ts';
import { startThread, type Thread, type ThreadEvents } from '../platform/node/threads.ts';
import type { Clock } from '../platform/platform.ts';
import type { CpuPolicy } from './cpuid-policy.ts';
import { requeueCallbacks } from './domain.ts';
import type { Domain } from './hypervisor.ts';
import type { MachineHost } from './machine-host.ts';
import type { ImageMemory } from './memory-image.ts';
import type { PageFile } from './page-file.ts';
import { answerCall, freeLocks, requestStop } from './parallel.ts';
import type { StoredPagesMemory } from './sharing/stored-pages.ts';
import { VcpuState } from './state.ts';

/** What a pCPU's thread is started with. */
export interface PcpuStart {
  readonly pcpu: number;
  readonly memory: WebAssembly.Memory;
  readonly modules: EngineModules;
  readonly policy: CpuPolicy;
  readonly origin: ClockOrigin;
  readonly wallStartNs: bigint;
  readonly clockOffsetNs: number;
  /** What paged frames are filled from. */
  readonly pages: PageFile | undefined;
  readonly store: StoredPagesMemory | undefined;
  /** Who makes regions of hot code; without it the thread interprets. */
  readonly maker: LinkEnd | undefined;
}
/** What it says. */
export type PcpuMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'call' }
  | { readonly kind: 'early'; readonly domain: number; readonly character: number };

export interface PcpusOptions {
  readonly host: MachineHost;
  readonly count: number;
  readonly modules: EngineModules;
  readonly policy: CpuPolicy;
  readonly clock: Clock;
  readonly pages?: PageFile | undefined;
  /** One for each pCPU, or none at all. */
  readonly makers: readonly LinkEnd[];
  /** A pCPU has something for this thread: call `answer`, soon. */
  readonly called: () => void;
  readonly failed: (error: unknown) => void;
  readonly earlyConsole?: ((domain: Domain, character: number) => void) | undefined;
}

export interface Pcpus {
  /** Settles when all are there. No vCPU may run before: each thread writes the engine's constants again when it begins. */
  readonly ready: Promise<void>;
  /** Take note of what the pCPUs called for: events of the control domain wait for `deliverEvents` then. */
  answer(): void;
  /** Wait until no vCPU of the domain is on a pCPU. It must have been paused or shut down. */
  awaitStopped(domain: Domain): void;
  /** The domain's memory was frozen for an image. To be called before the domain goes on. */
  froze?(image: ImageMemory): void;
  /** End all threads; no vCPU may be on a pCPU, unless one of them failed. */
  stop(): Promise<void>;
}

export function startPcpus(options: PcpusOptions): Pcpus {
  const { host, called, failed } = options;
  const { hypervisor } = host;
  const { memory } = hypervisor;
  const origin = originOf(options.clock);
  requestStop(memory, false);
  let hasFailed = false;
  let missing = options.count;
  let allThere = () => {};
  const ready = new Promise<void>(resolve => {
    allThere = resolve;
  });

  function received(message: PcpuMessage): void {
    if (message.kind === 'call') {
      called();
      return;
    }
    if (message.kind === 'ready') {
      missing -= 1;
      if (missing === 0) allThere();
      return;
    }
    const domain = hypervisor.domains.get(message.domain);
    if (domain) options.earlyConsole?.(domain, message.character);
  }
  const threads: Thread[] = Array.from({ length: options.count }, (_, i) => {
    const start: PcpuStart = {
      pcpu: i + 1,
      memory: memory.wasm,
      modules: options.modules,
      policy: options.policy,
      origin,
      wallStartNs: host.wallStartNs,
      clockOffsetNs: host.clockOffsetNs,
      pages: options.pages,
      store: hypervisor.store?.memory,
      maker: options.makers[i],
    };
    const events: ThreadEvents = {
      message: message => received(message as PcpuMessage),
      failed: error => {
        hasFailed = true;
        failed(error);
        // Whoever waits for it shall see the failure.
        allThere();
      },
    };
    const given = start.maker ? [start.maker.port] : [];
    return startThread(new URL('./pcpu-thread.ts', import.meta.url), start, events, { given });
  });

  return {
    ready,
    answer() {
      answerCall(memory);
      requeueCallbacks(hypervisor);
    },
    awaitStopped,
    async stop() {
      const lock = hypervisor.parallel?.lock;
      // None of them holds a lock when it ends, for this thread may need it later.
      if (!hasFailed) lock?.acquire();
      requestStop(memory, true);
      await Promise.all(threads.map(thread => thread.terminate()));
      if (hasFailed) freeLocks(memory);
      else lock?.release();
    },
  };
}

/** Wait until no vCPU of the domain is on a pCPU. It must have been paused or shut down. */
export function awaitStopped({ hypervisor, vcpus }: Domain): void {
  const { i32 } = hypervisor.memory;
  for (const vcpu of vcpus) {
    const word = (vcpu.state.address + VcpuState.offsets.runningOn) >>> 2;
    // It was kicked. Nobody tells when it is off, which is rare enough to look now and then.
    for (let on = Atomics.load(i32, word); on !== 0; on = Atomics.load(i32, word)) {
      Atomics.wait(i32, word, on, 0.05);
    }
  }
}
