/**
 * A pCPU that many machines share, as the control domain's thread sees it: a thread that executes the vCPUs of each in turn (exclusive.ts), by the
 * credit scheduler's accounts.
 */
import { DomusError } from '../base/errors.ts';
import type { EngineModules } from '../cpu/engine.ts';
import type { PlaceFilter } from '../cpu/translator/library/place-key.ts';
import type { LinkEnd } from '../cpu/translator/maker-thread.ts';
import { type ClockOrigin, originOf } from '../platform/node/clock.ts';
import {
  createChannel,
  type Port,
  send,
  startThread,
  type Thread,
  type ThreadEvents,
} from '../platform/node/threads.ts';
import type { Platform } from '../platform/platform.ts';
import type { CpuPolicy } from './cpuid-policy.ts';
import type { Share } from './credit.ts';
import { requeueCallbacks } from './domain.ts';
import type { MachineHost } from './machine-host.ts';
import type { ImageMemory } from './memory-image.ts';
import type { PagesMemory } from './page-source.ts';
import { answerCall, freeLocks } from './parallel.ts';
import { freeSeat, PcpuBell } from './pcpu-bell.ts';
import { awaitStopped, type Pcpus } from './pcpus.ts';
import type { StoredPagesMemory } from './sharing/stored-pages.ts';

/** What the thread is started with. */
export interface SharedPcpuStart {
  readonly bell: SharedArrayBuffer;
  readonly control: Port;
  readonly modules: EngineModules;
  readonly origin: ClockOrigin;
}
/** A machine as it is given to the thread. */
export interface SharedPcpuMachine {
  /** No other machine of the thread has it. */
  readonly id: number;
  readonly memory: WebAssembly.Memory;
  readonly policy: CpuPolicy;
  readonly wallStartNs: bigint;
  readonly clockOffsetNs: number;
  /** What paged frames are filled from. */
  readonly pages: PagesMemory | undefined;
  readonly store: StoredPagesMemory | undefined;
  readonly translates: boolean;
  /** Where regions of earlier runs may begin. */
  readonly known: PlaceFilter | undefined;
}
/** What it is told. */
export type SharedPcpuMessage =
  | { readonly kind: 'join'; readonly seat: number; readonly machine: SharedPcpuMachine }
  | { readonly kind: 'leave'; readonly seat: number; readonly id: number }
  /** The machine's memory is frozen for it: to be told while the machine is held. */
  | { readonly kind: 'image'; readonly seat: number; readonly image: ImageMemory }
  | { readonly kind: 'makers'; readonly seat: number; readonly link: LinkEnd }
  | { readonly kind: 'share'; readonly seat: number };
/** What it says. */
export type SharedPcpuReport =
  /** `hot`: regions are wanted, send `makers`. */
  | { readonly kind: 'ready' | 'call' | 'hot' | 'left'; readonly id: number }
  /** The machine is not executed any more. */
  | { readonly kind: 'failed'; readonly id: number; readonly error: SentError };
/** An error as it comes from a thread: its class is lost on the way. */
type SentError = Pick<DomusError, 'code' | 'message' | 'remedy'> | { readonly unexpected: unknown };

export const sentError = (error: unknown): SentError => {
  if (!(error instanceof DomusError)) return { unexpected: error };
  const { code, message, remedy } = error;
  return { code, message, remedy };
};
const receivedError = (sent: SentError): unknown =>
  'code' in sent ? new DomusError(sent.code, sent.message, sent.remedy) : sent.unexpected;

export interface SharedPcpuOptions {
  readonly host: MachineHost;
  readonly policy: CpuPolicy;
  readonly pages: PagesMemory | undefined;
  readonly translates: boolean;
  readonly known: PlaceFilter | undefined;
  /** The way to the maker of regions, when there is something for him. */
  readonly makerLink: () => LinkEnd | undefined;
  /** The machine has something for this thread: call `answer`, soon. */
  readonly called: () => void;
  readonly failed: (error: unknown) => void;
}

/** A place for one machine. */
export interface PcpuSeat {
  /** Weight and cap among those that share the pCPU. */
  share: Share;
  /** Processor time that its machine has used. */
  readonly usedNs: number;
  readonly isHere: false;
  /** Tells the thread that there is something to execute. */
  ring(): void;
  /** Execute the machine from now on. */
  run(options: SharedPcpuOptions): Pcpus;
  /** Nothing is executed there any more. */
  leave(): void;
}

/** So long a thread without machines stays: who clones a guest once often does it again, and its code is compiled by then. */
const REST_MS = 30_000;

/** Guests that do little shall take little: V8's own limit is six times as much, and it gives nothing back for long. */
const YOUNG_MIB = 8;

/** The machine of a seat. */
interface Occupant {
  readonly id: number;
  heard(report: SharedPcpuReport): void;
  failed(error: unknown): void;
}

export class SharedPcpu {
  readonly #modules: () => EngineModules;
  readonly #platform: Pick<Platform, 'clock' | 'timers'>;
  readonly #bell = new PcpuBell();
  /** By seat; undefined: nobody sits there yet, or any more. */
  readonly #occupants = new Map<number, Occupant | undefined>();
  #nextId = 1;
  #cancelEnd: (() => void) | undefined;
  #running: { readonly thread: Thread; readonly control: Port } | undefined;

  /** @param modules those of the engine, when there is something to execute */
  constructor(modules: () => EngineModules, platform: Pick<Platform, 'clock' | 'timers'>) {
    this.#modules = modules;
    this.#platform = platform;
  }

  /** Seats that are taken. */
  get count(): number {
    return this.#occupants.size;
  }

  /** @throws DomusError E_DOMAINS */
  take(first: Share): PcpuSeat {
    const seat = freeSeat(this.#occupants);
    const bell = this.#bell;
    const tell = () => this.#occupants.get(seat) && this.#tell({ kind: 'share', seat });
    this.#occupants.set(seat, undefined);
    this.#cancelEnd?.();
    bell.take(seat, first);
    return {
      get share() {
        return bell.shareOf(seat);
      },
      set share(share) {
        bell.setShare(seat, share);
        tell();
      },
      get usedNs() {
        return bell.usedNs(seat);
      },
      isHere: false,
      ring: () => bell.ring(seat),
      run: options => this.#run(seat, options),
      leave: () => {
        this.#occupants.delete(seat);
        if (this.#occupants.size === 0) this.#rest();
      },
    };
  }

  #run(seat: number, { host, called, failed, makerLink, ...given }: SharedPcpuOptions): Pcpus {
    const { hypervisor, wallStartNs, clockOffsetNs } = host;
    const { memory, store } = hypervisor;
    const id = this.#nextId++;
    const ready = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    let hasFailed = false;
    const occupant: Occupant = {
      id,
      heard: report => {
        if (report.kind === 'ready') ready.resolve();
        else if (report.kind === 'call') called();
        else if (report.kind === 'left') left.resolve();
        else if (report.kind === 'failed') occupant.failed(receivedError(report.error));
        else if (report.kind === 'hot') this.#sendLink(seat, makerLink());
      },
      failed: error => {
        hasFailed = true;
        // Whatever it was doing: this thread is the only one that looks at the machine from now on.
        freeLocks(memory);
        failed(error);
        // Whoever waits for it shall see the failure.
        ready.resolve();
        left.resolve();
      },
    };
    this.#occupants.set(seat, occupant);
    this.begin();
    const machine: SharedPcpuMachine = {
      ...{ id, memory: memory.wasm, store: store?.memory, wallStartNs, clockOffsetNs },
      ...given,
    };
    this.#tell({ kind: 'join', seat, machine });
    return {
      ready: ready.promise,
      answer() {
        answerCall(memory);
        requeueCallbacks(hypervisor);
      },
      awaitStopped,
      froze: image => this.#tell({ kind: 'image', seat, image }),
      stop: async () => {
        if (!hasFailed) this.#tell({ kind: 'leave', seat, id });
        await left.promise;
        this.#occupants.set(seat, undefined);
      },
    };
  }

  #sendLink(seat: number, link: LinkEnd | undefined): void {
    if (link) this.#tell({ kind: 'makers', seat, link }, [link.port]);
  }

  #tell(message: SharedPcpuMessage, given: readonly Port[] = []): void {
    if (!this.#running) return;
    send(this.#running.control, message, given);
    this.#bell.ringForMessage();
  }

  /** Have the thread there, which takes a tenth of a second to begin. It ends when nobody has had a seat for some time. */
  begin(): void {
    if (this.#occupants.size === 0) this.#rest();
    if (this.#running) return;
    const [control, far] = createChannel();
    const start: SharedPcpuStart = {
      ...{
        bell: this.#bell.memory,
        control: far,
        modules: this.#modules(),
        origin: originOf(this.#platform.clock),
      },
    };
    const events: ThreadEvents = {
      message: message => {
        const report = message as SharedPcpuReport;
        for (const occupant of this.#occupants.values())
          if (occupant?.id === report.id) occupant.heard(report);
      },
      failed: error => {
        this.#running = undefined;
        for (const occupant of this.#occupants.values()) occupant?.failed(error);
      },
    };
    const thread = startThread(new URL('./shared-pcpu-thread.ts', import.meta.url), start, events, {
      given: [far],
      // Guests that it executes have this thread's timers.
      isDaemon: true,
      youngMiB: YOUNG_MIB,
    });
    this.#running = { thread, control };
  }

  #rest(): void {
    this.#cancelEnd?.();
    this.#cancelEnd = this.#platform.timers.after(REST_MS, () => this.end());
  }
  /** End the thread. Nothing may be executed there. */
  end(): void {
    this.#cancelEnd?.();
    const running = this.#running;
    this.#running = undefined;
    running?.control.close();
    void running?.thread.terminate();
  }
}
