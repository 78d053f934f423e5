/**
 * A guest that is not one: a test double for the toolstack and the command line. It has consoles, an agent and ways to
 * fail, and its "commands" are functions of the test. No instruction is executed.
 */
import type { CommandSpec, GuestAgent, RunningCommand, TerminalSize } from './boot.ts';
import type { DomainControl } from './domain-control.ts';
import type {
  AttachedDisk,
  ByteListener,
  ConsoleStream,
  GuestMachine,
  MachineConfig,
  MachineDisk,
  Shutdown,
} from './machine.ts';
import type { Parts } from './parts.ts';

export interface FakeProcess {
  readonly spec: CommandSpec;
  readonly guest: FakeGuest;
  stdout(text: string | Uint8Array): Promise<void>;
  stderr(text: string | Uint8Array): Promise<void>;
  /** Everything up to the end of input. */
  input(): AsyncIterable<Uint8Array>;
  readonly sizes: TerminalSize[];
}

export interface FakeScript {
  /** Runs when the machine starts; the agent is ready when it settles. */
  boot?(guest: FakeGuest): Promise<void> | void;
  command?(process: FakeProcess): Promise<number> | number;
  readonly isReusable?: boolean;
}

export interface FakeGuest {
  readonly config: MachineConfig;
  /** What was typed on hvc0. */
  typed: string;
  readonly killedBy: number[];
  say(text: string): void | Promise<void>;
  stop(shutdown: Shutdown): void;
  fail(error: unknown): void;
  isDestroyed: boolean;
  /** A command was announced. */
  isExpectingWork: boolean;
  isPaused: boolean;
}

export interface FakeParts extends Parts {
  readonly guests: FakeGuest[];
}

const encoder = new TextEncoder();
const bytesOf = (text: string | Uint8Array) => (typeof text === 'string' ? encoder.encode(text) : text);

export function createFakeParts(script: FakeScript): FakeParts {
  const guests: FakeGuest[] = [];
  let current: FakeGuest | undefined;
  const booted = Promise.withResolvers<void>();
  return {
    guests,
    async planBoot(request) {
      request.onPhase({ name: 'kernel', detail: 'looking at the kernel' });
      return {
        kernel: { entry: 0, segments: [] },
        commandLine: request.append ?? '',
        nrConsoles: request.needsAgent ? 4 : 1,
        ...(request.needsAgent && {
          connect: () => createFakeAgent(script, booted.promise, () => current as FakeGuest),
        }),
      };
    },
    async createMachine(config) {
      const { machine, guest } = createFakeMachine(config, () => {
        Promise.resolve(script.boot?.(guest)).then(booted.resolve, booted.reject);
      });
      current = guest;
      guests.push(guest);
      return machine;
    },
  };
}

function createFakeMachine(
  config: MachineConfig,
  onStart: () => void,
): { machine: GuestMachine; guest: FakeGuest } {
  let onShutdown: (shutdown: Shutdown) => void = () => {};
  let onFailure: (error: unknown) => void = () => {};
  let hear: ByteListener = () => {};
  const guest: FakeGuest = {
    config,
    typed: '',
    killedBy: [],
    isDestroyed: false,
    isExpectingWork: false,
    isPaused: config.isPaused ?? false,
    say: text => hear(encoder.encode(text)),
    stop: shutdown => onShutdown(shutdown),
    fail: error => onFailure(error),
  };
  let onWritable: () => void = () => {};
  const console: ConsoleStream = {
    onData: listener => {
      hear = listener;
    },
    // Takes three bytes at a time, as a ring that is nearly full.
    write(chunk) {
      guest.typed += new TextDecoder().decode(chunk.subarray(0, 3));
      setImmediate(() => onWritable());
      return Math.min(3, chunk.length);
    },
    onWritable: listener => {
      onWritable = listener;
    },
    close() {
      guest.typed += '<end>';
    },
  };
  const attached = ({ disk }: MachineDisk): AttachedDisk => ({
    resized() {},
    onDied() {},
    restart: async () => disk,
    detach: async () => {},
    breathe: async () => {},
  });
  const machine: GuestMachine = {
    consoles: Array.from({ length: config.nrConsoles }, () => console),
    disks: (config.disks ?? []).map(disk => attached(disk)),
    hold: () => Promise.reject(new Error('a fake guest has no state')),
    fork: () => Promise.reject(new Error('a fake guest has no state')),
    heldMs: 0,
    touchedBytes: 0,
    sharing: { own: 100, idle: 90, shared: 40, zero: 7, untouched: 900, saved: 27 },
    attachDisk: disk => attached(disk),
    start: onStart,
    expectWork() {
      guest.isExpectingWork = true;
    },
    async pause() {
      guest.isPaused = true;
    },
    resume() {
      guest.isPaused = false;
    },
    onShutdown: listener => {
      onShutdown = listener;
    },
    onFailure: listener => {
      onFailure = listener;
    },
    control: createFakeControl(guest),
    instructions: () => 1234,
    status: () => ({
      instructions: 1234,
      vcpus: [
        {
          id: 0,
          state: 'running',
          registers: [
            ['rip', 0xffffffff81000000n],
            ['rsp', 0xffffc90000000ff8n],
          ],
          backtrace: [{ address: 0xffffffff81000010n, symbol: 'panic', offset: 0x10 }, { address: 0x1000n }],
        },
      ],
    }),
    stateHash: () => 'c0ffee',
    async destroy() {
      guest.isDestroyed = true;
      for (const { disk } of config.disks ?? []) await disk.close();
    },
  };
  return { machine, guest };
}

/** Does at once what a guest does when it likes. */
function createFakeControl(guest: FakeGuest): DomainControl {
  const { config } = guest;
  let memoryTargetBytes = config.memoryTargetBytes ?? config.memoryBytes;
  let memoryMaxBytes = config.memoryBytes;
  let online = config.vcpusOnline ?? config.vcpus;
  const affinities = new Map<number, readonly number[]>();
  return {
    status: () => ({
      uuid: config.uuid ?? '00000000-0000-4000-8000-000000000001',
      state: guest.isPaused ? '--p---' : '-b----',
      cpuTimeNs: 1.5e9,
      memoryBytes: memoryTargetBytes,
      residentBytes: memoryTargetBytes / 2,
      memoryTargetBytes,
      memoryMaxBytes,
      pcpus: config.pcpus,
      traffic: { diskReadBytes: 0, diskWrittenBytes: 0, netReceivedBytes: 0, netSentBytes: 0 },
      vcpus: Array.from({ length: config.vcpus }, (_, id) => {
        const affinity = affinities.get(id);
        const facts = { id, isOnline: id < online, state: 'b', cpuTimeNs: 1.5e9, pcpu: undefined };
        return { ...facts, ...(affinity && { affinity }) };
      }),
    }),
    balloon: () => ({
      actualBytes: memoryTargetBytes,
      targetBytes: memoryTargetBytes,
      maxBytes: memoryMaxBytes,
    }),
    node: () => undefined,
    memoryMap(nrCells) {
      const pages = memoryTargetBytes / 4096;
      const pagesPerCell = Math.ceil(pages / nrCells);
      const kinds = ['private', 'untouched'] as const;
      // The lower half is in use.
      const cells = Array.from({ length: Math.ceil(pages / pagesPerCell) }, (_, i) => {
        const size = Math.min(pagesPerCell, pages - i * pagesPerCell);
        return i * pagesPerCell < pages / 2 ? [size, 0] : [0, size];
      });
      const totals = [0, 1].map(kind => cells.reduce((sum, cell) => sum + (cell[kind] ?? 0), 0));
      return { pageBytes: 4096, pages, pagesPerCell, kinds, totals, cells };
    },
    requestShutdown: request => guest.stop({ reason: request === 'halt' ? 'poweroff' : request }),
    sysrq: key => void guest.say(`sysrq: ${key}\n`),
    setName: name => void guest.say(`name: ${name}\n`),
    setMemoryTarget(bytes) {
      memoryTargetBytes = bytes;
    },
    setMemoryMax(bytes) {
      memoryMaxBytes = bytes;
    },
    setVcpusOnline(count) {
      online = count;
    },
    setAffinity(vcpu, pcpus) {
      if (pcpus) affinities.set(vcpu, pcpus);
      else affinities.delete(vcpu);
    },
  };
}

function createFakeAgent(script: FakeScript, ready: Promise<void>, guest: () => FakeGuest): GuestAgent {
  return {
    ready,
    isReusable: script.isReusable ?? true,
    run: spec => startFakeCommand(script, spec, guest()),
  };
}

function startFakeCommand(script: FakeScript, spec: CommandSpec, guest: FakeGuest): RunningCommand {
  const listeners: Record<'stdout' | 'stderr', ByteListener> = { stdout: () => {}, stderr: () => {} };
  const queue: (Uint8Array | undefined)[] = spec.hasInput ? [] : [undefined];
  const sizes: TerminalSize[] = [];
  let wakeReader = () => {};
  let hasExited = false;
  const push = (chunk: Uint8Array | undefined) => {
    queue.push(chunk);
    wakeReader();
  };
  async function* input(): AsyncGenerator<Uint8Array> {
    while (true) {
      while (queue.length === 0) {
        await new Promise<void>(resolve => {
          wakeReader = resolve;
        });
      }
      const chunk = queue.shift();
      if (chunk === undefined) return;
      yield chunk;
    }
  }
  const process: FakeProcess = {
    spec,
    guest,
    sizes,
    stdout: async text => listeners.stdout(bytesOf(text)),
    stderr: async text => listeners.stderr(bytesOf(text)),
    input,
  };
  // The command starts after its listeners are in place, as in a real guest.
  const exit = Promise.resolve()
    .then(() => script.command?.(process) ?? 0)
    .then(code => {
      hasExited = true;
      if (guest.config.platform.isDeterministic) setImmediate(() => guest.stop({ reason: 'poweroff' }));
      return code;
    });
  exit.catch(() => {});
  return {
    onStdout: listener => {
      listeners.stdout = listener;
    },
    onStderr: listener => {
      listeners.stderr = listener;
    },
    writeStdin: async chunk => push(chunk),
    closeStdin: () => push(undefined),
    resize: size => sizes.push(size),
    kill: signal => guest.killedBy.push(signal),
    get hasExited() {
      return hasExited;
    },
    exit,
  };
}
