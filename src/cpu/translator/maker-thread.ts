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
import type { Delivery } from './maker.ts';
import type { MakerLink } from './translator.ts';

/** What the thread is started with. */
export interface MakerStart {
  /** One word, which goes up with every request or message. */
  readonly doorbell: Int32Array<SharedArrayBuffer>;
  readonly control: Port;
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
}

export function makerLink({ installer, port, doorbell }: LinkEnd): MakerLink {
  return {
    installer,
    wake() {
      Atomics.add(doorbell, 0, 1);
      Atomics.notify(doorbell, 0);
    },
    receive: () => receive(port) as Delivery | undefined,
  };
}

/** A machine's share of the thread. */
export interface Making {
  /** One for each thread that runs guest code. */
  readonly links: readonly LinkEnd[];
  /** The machine's memory is ready for it. */
  begin(memory: MachineMemory): void;
  /** No thread runs the machine's code any more. */
  end(): Promise<void>;
}

interface Running {
  readonly thread: Thread;
  readonly doorbell: Int32Array<SharedArrayBuffer>;
  readonly control: Port;
  readonly failed: Map<number, (error: unknown) => void>;
}
let running: Running | undefined;
let nextId = 1;

function start(): Running {
  const doorbell = new Int32Array(new SharedArrayBuffer(4));
  const [control, far] = createChannel();
  const failed = new Map<number, (error: unknown) => void>();
  const begin: MakerStart = { doorbell, control: far };
  const thread = startThread(
    new URL('./thread.ts', import.meta.url),
    begin,
    {
      message: () => {},
      failed: error => {
        for (const tell of failed.values()) tell(error);
      },
    },
    { given: [far], isDaemon: true },
  );
  return { thread, doorbell, control, failed };
}

/**
 * @param nrInstallers threads that run the machine's code
 * @param failed called when the thread fails; the machine goes on without new regions
 */
export function startMaking(
  runtime: WebAssembly.Module,
  nrInstallers: number,
  failed: (error: unknown) => void,
): Making {
  running ??= start();
  const { doorbell, control } = running;
  const own = running;
  const id = nextId++;
  own.failed.set(id, failed);
  const tell = (message: MakerMessage, given: readonly Port[] = []) => {
    send(control, message, given);
    Atomics.add(doorbell, 0, 1);
    Atomics.notify(doorbell, 0);
  };
  const channels = Array.from({ length: nrInstallers }, () => createChannel());
  return {
    links: channels.map(([port], installer) => ({ installer, port, doorbell })),
    begin(memory) {
      const installers = channels.map(([, far]) => far);
      tell({ kind: 'machine', id, memory: memory.wasm, runtime, installers }, installers);
    },
    async end() {
      own.failed.delete(id);
      if (own.failed.size > 0) {
        tell({ kind: 'gone', id });
        return;
      }
      // The last one: what the thread remembers of machines goes with it.
      running = undefined;
      await own.thread.terminate();
    },
  };
}
