/**
 * The maker of regions on a thread of its own, as the other threads see it: there is one for all machines of the
 * process, from the first one's beginning to the last one's end.
 */
import type { MachineMemory } from '../../machine/memory.ts';
import {
  createChannel,
  type Port,
  receive,
  send,
  startThread,
  type Thread,
} from '../../platform/node/threads.ts';
import { createPlaceFilter, type PlaceFilter } from './library/place-key.ts';
import type { Delivery } from './maker.ts';
import type { MakerLink } from './translator.ts';

/** What the thread is started with. */
export interface MakerStart {
  /** One word, which goes up with every request or message. */
  readonly doorbell: Int32Array<SharedArrayBuffer>;
  readonly control: Port;
  /** Where regions of earlier runs are, and which places they have; undefined: nothing is kept. */
  readonly libraryFolder: string | undefined;
  readonly known: PlaceFilter | undefined;
}
/** What it says. */
export interface MakerReport {
  /** What was to be kept of the machine is written. */
  readonly kind: 'parted';
  readonly id: number;
}
/** What it is told. */
export type MakerMessage =
  | {
      readonly kind: 'machine';
      readonly id: number;
      readonly memory: WebAssembly.Memory;
      /** The runtime module. */
      readonly runtime: WebAssembly.Module;
      /** Where deliveries go. */
      readonly installers: readonly Port[];
    }
  | { readonly kind: 'gone'; readonly id: number };

/** A `MakerLink` as it is given to the thread that uses it. */
export interface LinkEnd {
  readonly installer: number;
  readonly port: Port;
  readonly doorbell: Int32Array<SharedArrayBuffer>;
  readonly known: PlaceFilter | undefined;
}

export const makerLink = ({ installer, port, doorbell, known }: LinkEnd): MakerLink => ({
  installer,
  isLazy: false,
  known,
  wake: () => ring(doorbell),
  receive: () => receive(port) as Delivery | undefined,
});

function ring(doorbell: Int32Array<SharedArrayBuffer>): void {
  Atomics.add(doorbell, 0, 1);
  Atomics.notify(doorbell, 0);
}

/** A machine's share of the thread. */
export interface Making {
  /** One for each thread that runs guest code. */
  readonly links: readonly LinkEnd[];
  /**
   * In place of the only one, where the maker is to hear of the machine only when a place in it is hot: a guest that goes on from a saved
   * state for one short command has none, and the maker's thread costs more than the whole command.
   */
  readonly lazyLink: MakerLink;
  /** Called when the thread fails. */
  onFailure(listener: (error: unknown) => void): void;
  /** The machine's memory is ready for it. */
  begin(memory: MachineMemory): void;
  /** No thread runs the machine's code any more. */
  end(): Promise<void>;
}

interface Running {
  /** Undefined until somebody has something to do for it. */
  thread: Thread | undefined;
  start(): void;
  readonly doorbell: Int32Array<SharedArrayBuffer>;
  /** Undefined until then, too. */
  control: Port | undefined;
  readonly known: PlaceFilter | undefined;
  hasFailed: boolean;
  /** Machines that have not ended, and what they do when the thread fails. */
  readonly machines: Map<number, (error: unknown) => void>;
  /** Machines whose end the thread has not confirmed. */
  readonly parting: Map<number, () => void>;
}
let running: Running | undefined;
let nextId = 1;

function start(libraryFolder: string | undefined): Running {
  const doorbell = new Int32Array(new SharedArrayBuffer(4));
  const known = libraryFolder === undefined ? undefined : createPlaceFilter();
  const own: Running = {
    ...{ thread: undefined, control: undefined, start: startOnce, hasFailed: false, doorbell, known },
    machines: new Map(),
    parting: new Map(),
  };
  function startOnce(): void {
    if (own.thread) return;
    const [control, far] = createChannel();
    own.control = control;
    const begin: MakerStart = { doorbell, control: far, libraryFolder, known };
    own.thread = startThread(
      new URL('./thread.ts', import.meta.url),
      begin,
      {
        message: message => own.parting.get((message as MakerReport).id)?.(),
        failed: error => {
          own.hasFailed = true;
          for (const tell of own.machines.values()) tell(error);
          for (const resolve of own.parting.values()) resolve();
        },
      },
      { given: [far], isDaemon: true },
    );
  }
  return own;
}

export interface MakingOptions {
  readonly runtime: WebAssembly.Module;
  /** Threads that run the machine's code. */
  readonly nrInstallers: number;
  /** Folder for regions that are kept for later runs. The first machine's counts for all. */
  readonly libraryFolder?: string | undefined;
}

export function startMaking({ runtime, nrInstallers, libraryFolder }: MakingOptions): Making {
  running ??= start(libraryFolder);
  const own = running;
  const { doorbell, known, machines, parting } = own;
  const id = nextId++;
  machines.set(id, () => {});
  const tell = (message: MakerMessage, given: readonly Port[] = []) => {
    if (own.control) send(own.control, message, given);
    ring(doorbell);
  };
  let memory: WebAssembly.Memory | undefined;
  let channels: [Port, Port][] | undefined;
  let isKnown = false;
  /** The maker hears of the machine as soon as that has a memory, and somebody wants regions for it. */
  const introduce = (): void => {
    if (isKnown || !memory || !channels) return;
    isKnown = true;
    const installers = channels.map(([, far]) => far);
    tell({ kind: 'machine', id, memory, runtime, installers }, installers);
  };
  const connect = (): readonly (readonly [Port, Port])[] => {
    channels ??= Array.from({ length: nrInstallers }, () => createChannel());
    own.start();
    introduce();
    return channels;
  };
  return {
    get links() {
      return connect().map(([port], installer) => ({ installer, port, doorbell, known }));
    },
    lazyLink: {
      installer: 0,
      isLazy: true,
      known,
      wake(areHot) {
        if (areHot) connect();
        if (isKnown) ring(doorbell);
      },
      receive: () => channels?.[0] && (receive(channels[0][0]) as Delivery | undefined),
    },
    begin({ wasm }) {
      memory = wasm;
      introduce();
    },
    onFailure: listener => void machines.set(id, listener),
    async end() {
      machines.delete(id);
      // What the thread remembers of machines goes with the last one.
      if (machines.size === 0 && running === own) running = undefined;
      const { thread } = own;
      if (!thread) return;
      if (isKnown && !own.hasFailed) {
        await new Promise<void>(resolve => {
          parting.set(id, resolve);
          thread.keepAlive(true);
          tell({ kind: 'gone', id });
        });
        parting.delete(id);
        if (parting.size === 0) thread.keepAlive(false);
      }
      // Others may wait for its word yet: the last of them ends it.
      if (machines.size === 0 && parting.size === 0) await thread.terminate();
    },
  };
}
