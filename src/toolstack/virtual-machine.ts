/**
 * A guest as its owner sees it: booted from a plan, running commands, and stopped at the end whatever happens.
 *
 * Owns one GuestMachine. Every wait inside ends when the guest stops, with a report of what is known about it; none
 * can outlive the machine.
 */
import { DomusError } from '../base/errors.ts';
import type { Share } from '../hypervisor/credit.ts';
import type { DomainMemoryMap } from '../hypervisor/memory-map.ts';
import type { SharingFacts } from '../hypervisor/sharing/sharing-facts.ts';
import type { ImageConfig } from '../image/config.ts';
import { encodeAgentState } from '../image/guest-agent/agent-state.ts';
import { joinPath } from '../platform/node/cache-folder.ts';
import type { Platform } from '../platform/platform.ts';
import { RecordType, type SavedRecord } from '../state/format.ts';
import { abortable } from './abort.ts';
import type { BalancedGuest } from './balance/balancer.ts';
import { agentFacts, type MemoryFacts, pageFacts, xenstoreFacts } from './balance/facts.ts';
import type { BootPlan, CommandSpec, GuestAgent, Phase, RunningCommand, TerminalSize } from './boot.ts';
import { feed, type InputSource, type Output, type OutputTarget, openOutput } from './byte-io.ts';
import { checkCap, checkWeight, formatSize } from './config.ts';
import { type ConsoleLog, createConsoleLog } from './console-log.ts';
import { type CrashReport, GuestFailure, MachineFailure } from './crash-report.ts';
import { nodeDiskHost } from './disk-host.ts';
import type { DiskSpec } from './disk-spec.ts';
import type { DomainControl, DomainStatus, ShutdownRequest } from './domain-control.ts';
import { closeDisks, GuestDisk, openDisks } from './guest-disk.ts';
import { endByAgent, onlineByAgent, syncByAgent } from './guest-helper.ts';
import { resolveUser } from './guest-user.ts';
import type {
  ByteListener,
  ConsoleStream,
  ForkedMachine,
  GuestMachine,
  MachineDisk,
  MachineStatus,
  Shutdown,
} from './machine.ts';
import type { DiskFacts, MachineFacts, MachineShape } from './machine-facts.ts';
import type { GuardedGuest } from './memory-guard.ts';
import { networkFacts, type VirtualNetwork } from './network.ts';
import type { ScheduledTurn } from './run-turns.ts';
import { describeSaved, type ForkedDisk, newDisksFolder, removeDisksFolder } from './saved-disk.ts';
import { beginDisksFolder, keepDisksFolder, removeLeftoversOf } from './saved-leftovers.ts';
import { writeMachine } from './saved-machine.ts';

/** How a command runs, whoever takes its output. */
export interface CommandOptions {
  /** Variables of the command's environment, besides those of the guest's init. */
  readonly env?: Readonly<Record<string, string>>;
  /** Folder to run it in; default `/`. */
  readonly workingFolder?: string;
  /** `USER[:GROUP]` of the guest, by name or number; default root. */
  readonly user?: string;
  /** Run the command on a terminal. */
  readonly terminal?: TerminalSize;
  /** One of the agent's own tools, whatever the guest has installed. */
  readonly isTool?: boolean;
  /** Whether there is input; otherwise the command reads an empty file. */
  readonly hasInput?: boolean;
  readonly signal?: AbortSignal;
}

export interface ExecOptions extends Omit<CommandOptions, 'hasInput'> {
  readonly stdin?: InputSource;
  /** Default 'collect'. */
  readonly stdout?: OutputTarget;
  readonly stderr?: OutputTarget;
  /** Called once with a function to be called at each later change of the terminal's size. */
  readonly onTerminal?: (resize: (size: TerminalSize) => void) => void;
}

export interface ExecResult {
  /** The command's own; 126: cannot be executed, 127: not found, 128+n: killed by signal n. */
  readonly exitCode: number;
  /** Empty unless collected. */
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

type End =
  | { readonly kind: 'shutdown'; readonly shutdown: Shutdown }
  | { readonly kind: 'failure'; readonly error: unknown }
  | { readonly kind: 'destroyed' };

/** A machine that has been built and not started, and its disks. A guest that reboots goes through several. */
export interface Incarnation {
  readonly machine: GuestMachine;
  readonly disks: readonly MachineDisk[];
}

/** What a guest keeps when it is started anew. */
export interface RestartState {
  readonly name?: string;
  readonly uuid: string;
  readonly memoryTargetBytes: number;
  readonly vcpusOnline: number;
}

export interface Restart {
  /** Ends of the guest after which it is started anew. */
  readonly after: ReadonlySet<Shutdown['reason']>;
  /** The next machine, when the one before has been destroyed, which was so in the end. */
  next(state: RestartState): Promise<Incarnation>;
}

export interface VirtualMachineOptions {
  readonly connect?: BootPlan['connect'] | undefined;
  readonly platform: Platform;
  onPhase(phase: Phase): void;
  /** Receives what the guest writes to its console (hvc0). */
  readonly console?: ByteListener | undefined;
  readonly network?: VirtualNetwork | undefined;
  /** It can write to a folder of the host. */
  readonly writesToFolders?: boolean;
  /** Its part of the thread that guests share. */
  readonly turn?: ScheduledTurn | undefined;
  readonly shape: MachineShape;
  /** How the guest is started anew; without it every end is its end. */
  readonly restart?: Restart;
  /** Everything has been given back: whoever keeps the guest should forget it, and its memory with it. */
  readonly onDestroyed?: () => void;
  /** How commands are run in the image that is the guest's root. */
  readonly image?: ImageConfig | undefined;
  /** Takes away what only this guest needed, when nothing uses it any more. */
  readonly cleanUp?: (() => Promise<void>) | undefined;
}

export interface ForkedGuest {
  /** The caller closes its image. */
  readonly domain: ForkedMachine;
  readonly agent: readonly SavedRecord[];
  /** But for the disks. */
  readonly facts: MachineFacts;
  readonly disks: readonly ForkedDisk[];
  readonly heldMs: number;
}

export class VirtualMachine implements AsyncDisposable, GuardedGuest, BalancedGuest {
  /** Undefined for a guest without one. */
  readonly network: VirtualNetwork | undefined;
  #machine!: GuestMachine;
  readonly #disks = new Map<string, GuestDisk>();
  readonly #platform: Platform;
  #agent: GuestAgent | undefined;
  #isAgentReady = false;
  readonly #log: ConsoleLog = createConsoleLog();
  readonly #consoleListeners = new Set<ByteListener>();
  readonly #ended = Promise.withResolvers<End>();
  readonly #options: VirtualMachineOptions;
  readonly #onPhase: (phase: Phase) => void;
  readonly #image: ImageConfig | undefined;
  #end: End | undefined;
  #nrCommands = 0;
  /** By its owner. */
  #isPaused = false;
  /** For want of memory. */
  #isHeld = false;
  #startedNs = 0;
  /** Changes that were asked for, and last beyond a reboot. */
  #name: string | undefined;
  #vcpusOnline: number | undefined;
  /** Of machines before this one. */
  #earlierInstructions = 0;
  /** Settles when the machine is gone that is there now. */
  #machineGone = Promise.withResolvers<void>();
  /** A reboot that is going on. */
  #restarting: Promise<void> | undefined;

  /** Use Host.create or Host.run. */
  constructor(first: Incarnation, options: VirtualMachineOptions) {
    this.#options = options;
    this.network = options.network;
    this.#platform = options.platform;
    if (options.console) this.#consoleListeners.add(options.console);
    this.#onPhase = options.onPhase;
    this.#image = options.image;
    this.#adopt(first);
  }

  #adopt({ machine, disks }: Incarnation): void {
    this.#machine = machine;
    this.#machineGone = Promise.withResolvers();
    this.#disks.clear();
    for (const [i, disk] of disks.entries()) {
      const attached = machine.disks[i];
      if (attached) this.#disks.set(disk.name, new GuestDisk(nodeDiskHost(), disk, attached));
    }
    machine.consoles[0]?.onData(chunk => this.#onConsole(chunk));
    machine.onShutdown(shutdown => {
      const { restart } = this.#options;
      if (restart && this.#startsAnew(restart, shutdown.reason)) this.#restarting = this.#restart(restart);
      else this.#finish({ kind: 'shutdown', shutdown });
    });
    machine.onFailure(error => this.#finish({ kind: 'failure', error }));
    this.#agent = this.#options.connect?.(machine.consoles);
    this.#isAgentReady = false;
  }

  #startsAnew({ after }: Restart, reason: Shutdown['reason']): boolean {
    if (this.#end || !after.has(reason)) return false;
    // A guest that ends as soon as it begins would do nothing else for ever; reboots are its own wish.
    const ranMs = (this.#platform.clock.monotonicNs() - this.#startedNs) / 1e6;
    return reason === 'reboot' || ranMs >= RESTART_AFTER_MS;
  }

  /** The guest reboots: another machine with the same devices takes the place of this one. */
  async #restart({ next }: Restart): Promise<void> {
    try {
      this.#onPhase({ name: 'reboot', detail: 'the guest is started anew' });
      const { uuid, memoryTargetBytes, vcpus } = this.#machine.control.status();
      const state: RestartState = {
        ...(this.#name !== undefined && { name: this.#name }),
        uuid,
        memoryTargetBytes,
        vcpusOnline: this.#vcpusOnline ?? vcpus.length,
      };
      this.#machineGone.resolve();
      this.#agent?.finish?.();
      this.#earlierInstructions += this.#machine.instructions();
      await this.#machine.destroy();
      const incarnation = await next(state);
      if (this.#end) {
        await incarnation.machine.destroy();
        return;
      }
      this.#adopt(incarnation);
      this.start();
      if (this.#isHeld) await this.#machine.pause();
    } catch (error) {
      this.#finish({ kind: 'failure', error });
    }
  }

  /** Begin to execute. The host does this once, after everything that listens is in place. */
  start(): void {
    this.#startedNs = this.#platform.clock.monotonicNs();
    this.#onPhase({ name: 'boot', detail: 'starting the guest' });
    this.#machine.start();
    this.#agent?.ready.then(
      () => {
        this.#isAgentReady = true;
        if (!this.#end) this.#onPhase({ name: 'ready' });
      },
      () => {},
    );
  }

  /** Settles when the guest has stopped by itself or has been destroyed; rejects never. */
  get stopped(): Promise<Shutdown | undefined> {
    return this.#ended.promise.then(end => (end.kind === 'shutdown' ? end.shutdown : undefined));
  }

  get hasStopped(): boolean {
    return this.#end !== undefined;
  }

  /** The last lines of the console, oldest first. */
  get consoleLines(): readonly string[] {
    return this.#log.lastLines();
  }

  /** Instructions retired by all vCPUs so far. */
  instructions(): number {
    return this.#earlierInstructions + this.#machine.instructions();
  }
  status(): MachineStatus {
    return this.#machine.status();
  }

  /** By the names that the guest has for them. */
  get disks(): ReadonlyMap<string, GuestDisk> {
    return this.#disks;
  }

  /** Plug another disk in while the guest runs. */
  async attachDisk(spec: DiskSpec | string): Promise<GuestDisk> {
    const host = nodeDiskHost();
    const [disk] = await openDisks(host, [spec], new Set(this.#disks.keys()));
    if (!disk) throw new DomusError('E_USAGE', 'there is no disk to attach', 'name an image file');
    if (this.#end) {
      await closeDisks([disk]);
      throw new DomusError('E_DESTROYED', 'the guest has stopped', 'start another one');
    }
    const guestDisk = new GuestDisk(host, disk, this.#machine.attachDisk(disk));
    this.#disks.set(disk.name, guestDisk);
    return guestDisk;
  }

  /** Ask the guest to give a disk back. Settles when it has, and the image is closed. */
  async detachDisk(name: string): Promise<void> {
    const disk = this.#disks.get(name);
    if (!disk)
      throw new DomusError(
        'E_USAGE',
        `the guest has no disk ${name}`,
        `it has ${[...this.#disks.keys()].join(', ') || 'none'}`,
      );
    await this.#untilStopped(disk.detach());
    this.#disks.delete(name);
  }

  /** Hold all its vCPUs where they are. What comes for the guest waits. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    await this.#restarting;
    await this.#machine.pause();
  }
  /** Let a paused guest go on, or run it for the first time. One that is held for want of memory goes on when there is some. */
  resume(): void {
    this.#isPaused = false;
    if (!this.#isHeld) this.#machine.resume();
  }

  /** For the guard of the host's memory: see memory-guard.ts. */
  get touchedBytes(): number {
    return this.#machine.touchedBytes;
  }
  holdForMemory(reason: string): void {
    this.#isHeld = true;
    this.#onPhase({ name: 'held', detail: `${reason}: the guest is held until there is more` });
    this.#machine.pause().catch(() => {});
  }
  letGo(): void {
    this.#isHeld = false;
    this.#onPhase({ name: 'resumed', detail: 'the host has memory again' });
    if (!this.#isPaused) this.#machine.resume();
  }

  /** For who moves memory between guests: see balance/balancer.ts. */
  get balloon(): BalancedGuest['balloon'] {
    return { ...this.#machine.control.balloon(), isPaused: this.#isPaused || this.#isHeld };
  }
  async memoryFacts(): Promise<MemoryFacts | undefined> {
    const agent = this.#agent;
    // It answers when it is ready, which may never be.
    const report = this.#isAgentReady ? await agent?.memory?.() : undefined;
    const told = report && agentFacts(report);
    return (
      told ?? xenstoreFacts(path => this.#control.node(path)) ?? (agent ? undefined : pageFacts(this.sharing))
    );
  }
  balance(targetBytes: number, why: string): void {
    this.#control.setMemoryTarget(targetBytes);
    if (why !== '') this.#onPhase({ name: 'ballooned', detail: `${formatSize(targetBytes)}: ${why}` });
  }

  /** What the domain is at this moment, as the hypervisor sees it. */
  get domain(): DomainStatus {
    const status = this.#machine.control.status();
    // The hypervisor's is elapsed time, in which the host may have done something else.
    return { ...status, cpuTimeNs: this.threadTimeNs ?? status.cpuTimeNs };
  }
  /** What its memory is made of, in at most `nrCells` cells. @throws DomusError E_DESTROYED */
  memoryMap(nrCells: number): DomainMemoryMap {
    return this.#control.memoryMap(nrCells);
  }
  /** Pages of its memory and what sharing saves of them; undefined where it takes no part. */
  get sharing(): SharingFacts | undefined {
    return this.#end ? undefined : this.#machine.sharing;
  }
  /** What can be asked of the running domain. @throws DomusError E_DESTROYED when it runs no more */
  get #control(): DomainControl {
    if (!this.#end) return this.#machine.control;
    throw new DomusError('E_DESTROYED', 'the guest has stopped', 'start another one');
  }
  /** Ask the guest to power itself off, or to reboot. It does so when it likes; see `stopped`. @throws DomusError E_NOT_READY */
  requestShutdown(request: ShutdownRequest = 'poweroff'): void {
    this.#control.requestShutdown(request);
    const agent = this.#agent;
    const wish = request === 'halt' ? 'poweroff' : request;
    this.#help(agent && (() => endByAgent(agent, wish)));
  }
  /** What the agent does besides, if it is there already: nobody waits for it. */
  #help(task: (() => Promise<void>) | undefined): void {
    if (!task || !this.#agent?.isReusable) return;
    void this.#agent.ready.then(task).catch(() => {});
  }
  /** A key of Linux' magic SysRq. */
  sysrq(key: string): void {
    this.#control.sysrq(key);
  }
  /** As it sees itself in xenstore. */
  setName(name: string): void {
    this.#control.setName(name);
    this.#name = name;
  }
  /** Ask the guest to have so much memory (`domain` tells what it has). @throws DomusError E_MEMORY_SIZE */
  setMemoryTarget(bytes: number): void {
    this.#control.setMemoryTarget(bytes);
  }
  /** The most that `setMemoryTarget` may ask for. @throws DomusError E_MEMORY_SIZE */
  setMemoryMax(bytes: number): void {
    this.#control.setMemoryMax(bytes);
  }
  /** Ask the guest to use the first `count` of its vCPUs. @throws DomusError E_VCPU_COUNT */
  setVcpusOnline(count: number): void {
    this.#control.setVcpusOnline(count);
    this.#vcpusOnline = count;
    const agent = this.#agent;
    const isWanted = () => this.#vcpusOnline === count;
    this.#help(agent && (() => onlineByAgent(agent, count, this.#platform.timers, isWanted)));
  }
  /** Weight and cap of the credit scheduler; undefined for a guest that runs on threads of its own. */
  get share(): Share | undefined {
    return this.#options.turn?.share;
  }
  /** Processor time that the thread has worked for it, its devices included; undefined as above. */
  get threadTimeNs(): number | undefined {
    return this.#options.turn?.usedNs;
  }
  /** @throws DomusError E_SCHED_CREDIT */
  setShare({ weight, cap }: Partial<Share>): void {
    const { turn } = this.#options;
    if (!turn) {
      throw new DomusError(
        'E_SCHED_CREDIT',
        'the guest runs on threads of its own, which the host system schedules',
        'start it without --pcpus',
      );
    }
    const share = { weight: weight ?? turn.share.weight, cap: cap ?? turn.share.cap };
    turn.share = { weight: checkWeight(share.weight), cap: checkCap(share.cap, this.shape.vcpus) };
  }
  /** Let a vCPU run on these pCPUs only; undefined for all. @throws DomusError E_PCPU_COUNT, E_VCPU_COUNT */
  setAffinity(vcpu: number, pcpus: readonly number[] | undefined): void {
    this.#control.setAffinity(vcpu, pcpus);
  }

  /** Its size. */
  get shape(): MachineShape {
    return this.#options.shape;
  }

  /** The agent takes commands; rejects when the guest stops before. */
  async ready(): Promise<void> {
    await this.#untilStopped(this.#agent?.ready ?? Promise.resolve());
  }

  /**
   * Write the whole machine to a file, from which `Host.restore` makes others. The guest goes on afterwards and has not noticed.
   * @param isDurable whether the file is on its medium when this settles
   * @throws DomusError E_SAVE_UNSUPPORTED, E_SAVE_FILE, E_DESTROYED
   */
  async save(path: string, { isDurable = true } = {}): Promise<void> {
    const network = this.network && networkFacts(this.network);
    await removeLeftoversOf(path);
    const before = describeSaved(path)?.facts.disksFolder;
    const disksFolder = this.#disks.size > 0 ? newDisksFolder(path) : undefined;
    const folder = joinPath(path, '..', disksFolder ?? '');
    const disks: DiskFacts[] = [];
    try {
      if (disksFolder !== undefined) await beginDisksFolder(folder);
      await this.#machine.hold(
        state => {
          const facts = { ...this.shape, disks, disksFolder, network, image: this.#image };
          writeMachine(path, facts, state, this.#agent?.state?.(), isDurable);
        },
        async () => {
          for (const disk of this.#disks.values()) disks.push(await disk.keep(folder, isDurable));
        },
      );
    } catch (error) {
      await removeDisksFolder(disksFolder, path);
      throw error;
    }
    if (disksFolder !== undefined) await keepDisksFolder(folder);
    await removeDisksFolder(before, path);
  }

  /** It has done what it was to do, and was not given anything else: see `GuestMachine.leaveTrail`. */
  leaveTrail(): void {
    this.#machine.leaveTrail?.();
  }

  /** Whether there is an agent that can be given commands now. */
  get takesCommands(): boolean {
    return this.#agent !== undefined;
  }

  /**
   * The state of now, for clones in this process. The guest goes on and has not noticed; its memory is not copied.
   * @param runsFolder where disks are put that are gone with the clones
   * @throws DomusError E_SAVE_UNSUPPORTED, E_DISK_*, E_DESTROYED
   */
  async fork(runsFolder: string): Promise<ForkedGuest> {
    const network = this.network && networkFacts(this.network);
    const disks: ForkedDisk[] = [];
    const machine = this.#machine;
    try {
      const { state: domain, seen: agent } = await machine.fork(
        () => {
          const state = this.#agent?.state?.();
          return state ? [{ type: RecordType.agent, payload: encodeAgentState(state) }] : [];
        },
        async () => {
          for (const disk of this.#disks.values()) disks.push(await disk.fork(runsFolder));
        },
      );
      const facts = { ...this.shape, disks: [], network, image: this.#image };
      return { domain, agent, facts, disks, heldMs: machine.heldMs };
    } catch (error) {
      for (const { remove } of disks) await remove?.();
      throw error;
    }
  }

  /** Hash of memory and registers; equal for equal deterministic runs. */
  stateHash(): string {
    return this.#machine.stateHash();
  }

  /** What runs when the image is run with these words: they go to its entry point, and without any it runs what it says. */
  commandOf(command: readonly string[] | undefined): readonly string[];
  commandOf(command: readonly string[] | string | undefined): readonly string[] | string;
  commandOf(command: readonly string[] | string | undefined): readonly string[] | string {
    const { entrypoint = [], command: usual = [] } = this.#image ?? {};
    if (typeof command === 'string') return command;
    return [...entrypoint, ...(command ?? usual)];
  }

  /** The guest's console (hvc0) as a stream. Several listeners may hear it. */
  onConsole(listener: ByteListener): () => void {
    this.#consoleListeners.add(listener);
    return () => this.#consoleListeners.delete(listener);
  }

  /** Type on the guest's console (hvc0). Settles when the guest has taken everything. */
  async writeConsole(chunk: Uint8Array): Promise<void> {
    const stream = this.#machine.consoles[0];
    if (stream) await this.#untilStopped(Promise.race([writeAll(stream, chunk), this.#machineGone.promise]));
  }

  /**
   * Run a command in the guest and wait for its end. Several may run at the same time.
   * @throws DomusError E_NO_AGENT, E_BUSY, E_ONE_COMMAND; GuestFailure when the guest stops before the command ends
   */
  async exec(command: readonly string[] | string, options: ExecOptions = {}): Promise<ExecResult> {
    const stdout = openOutput(options.stdout ?? 'collect', this.#platform.isDeterministic);
    const stderr = openOutput(options.stderr ?? 'collect', this.#platform.isDeterministic);
    try {
      const { agent, spec } = await this.#prepare(command, options);
      const running = agent.run(spec);
      const exitCode = await this.#follow(running, stdout, stderr, options);
      await Promise.all([stdout.drained(), stderr.drained()]);
      return { exitCode, stdout: stdout.bytes(), stderr: stderr.bytes() };
    } catch (error) {
      throw this.#explain(error);
    } finally {
      stdout.release();
      stderr.release();
    }
  }

  /**
   * Run a command for a caller who moves its streams: `attach` gets it before any of its output. Settles with the exit code when
   * all output has been taken; rejects as `exec` does.
   */
  async execAttached(
    command: readonly string[] | string,
    options: CommandOptions,
    attach: (running: RunningCommand) => void,
  ): Promise<number> {
    try {
      const { agent, spec } = await this.#prepare(command, options);
      const running = agent.run(spec);
      attach(running);
      return await abortable(this.#exitOf(running), options.signal);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /**
   * What the guest has written reaches its disks and shared folders: for guests that end with their command, whose memory may be all that
   * holds it. Does nothing where none of them outlives the guest. What the guest cannot write is its own affair, as at a power-off.
   */
  async settle(signal?: AbortSignal): Promise<void> {
    const agent = this.#agent;
    const isKept = this.#options.writesToFolders || [...this.#disks.values()].some(disk => disk.isKept);
    if (!agent || !isKept) return;
    // With its one command done, a guest synchronizes and powers itself off.
    const settled = agent.isReusable ? syncByAgent(agent).catch(() => {}) : this.stopped;
    await abortable(Promise.race([settled, this.stopped]), signal);
  }

  /** Waits for the agent and looks up what the command needs. */
  async #prepare(command: readonly string[] | string, options: CommandOptions) {
    const agent = this.#claimAgent();
    const spec = commandSpec(command, options, this.#image);
    await abortable(this.#untilStopped(agent.ready), options.signal);
    if (options.user === undefined) {
      this.#nrCommands += 1;
      return { agent, spec };
    }
    const user = await this.#untilStopped(resolveUser(agent, options.user));
    this.#nrCommands += 1;
    return { agent, spec: { ...spec, user } };
  }

  /**
   * For a guest of the user's own: connect its console and wait until it stops.
   * @throws GuestFailure when it crashes
   */
  async attach(
    options: Pick<ExecOptions, 'stdin' | 'stdout' | 'signal'> = {},
  ): Promise<ExecResult & { shutdown: Shutdown }> {
    const stdout = openOutput(options.stdout ?? 'collect', this.#platform.isDeterministic);
    const remove = this.onConsole(stdout.listener);
    const inputFailure = Promise.withResolvers<never>();
    inputFailure.promise.catch(() => {});
    const stopFeeding =
      options.stdin === undefined
        ? () => {}
        : feed(
            options.stdin,
            chunk => this.writeConsole(chunk),
            () => this.#machine.consoles[0]?.close(),
            inputFailure.reject,
          );
    try {
      const end = await abortable(Promise.race([this.#ended.promise, inputFailure.promise]), options.signal);
      if (end.kind !== 'shutdown' || isCrash(end.shutdown)) throw this.#failureOf(end);
      await stdout.drained();
      return { exitCode: 0, stdout: stdout.bytes(), stderr: new Uint8Array(), shutdown: end.shutdown };
    } catch (error) {
      throw this.#explain(error);
    } finally {
      stopFeeding();
      remove();
      stdout.release();
    }
  }

  /** Stop at once, as if the power were cut, and give everything back. */
  async destroy(): Promise<void> {
    this.#finish({ kind: 'destroyed' });
    try {
      await this.#restarting;
      await this.#machine.destroy();
    } finally {
      this.#options.turn?.leave();
      this.#options.onDestroyed?.();
      await this.network?.close();
      await this.#options.cleanUp?.();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }

  #claimAgent(): GuestAgent {
    if (!this.#agent) {
      throw new DomusError(
        'E_NO_AGENT',
        'this guest was booted from an initrd of its own and takes no commands',
        'use its console, or boot without an initrd',
      );
    }
    if (this.#nrCommands > 0 && !this.#agent.isReusable) {
      throw new DomusError('E_ONE_COMMAND', 'this guest runs a single command', 'create another guest');
    }
    return this.#agent;
  }

  /** The command's exit code, or what the guest's own end is reported with. */
  #exitOf(running: RunningCommand): Promise<number> {
    const stopped = this.#ended.promise.then(end => {
      // The command may have ended, and the guest powered off, while output is still being taken.
      if (running.hasExited) return running.exit;
      throw this.#failureOf(end);
    });
    const gone = this.#machineGone.promise.then(() => {
      if (running.hasExited) return running.exit;
      throw rebooted();
    });
    return Promise.race([running.exit, stopped, gone]);
  }

  async #follow(
    running: RunningCommand,
    stdout: Output,
    stderr: Output,
    options: ExecOptions,
  ): Promise<number> {
    running.onStdout(stdout.listener);
    running.onStderr(stderr.listener);
    options.onTerminal?.(size => running.resize(size));
    const inputFailure = Promise.withResolvers<never>();
    inputFailure.promise.catch(() => {});
    const stopFeeding =
      options.stdin === undefined
        ? () => {}
        : feed(
            options.stdin,
            chunk => running.writeStdin(chunk),
            () => running.closeStdin(),
            inputFailure.reject,
          );
    try {
      return await abortable(Promise.race([this.#exitOf(running), inputFailure.promise]), options.signal);
    } catch (error) {
      if (!running.hasExited && !this.#end) running.kill(SIGKILL);
      throw error;
    } finally {
      stopFeeding();
    }
  }

  #onConsole(chunk: Uint8Array): void | Promise<void> {
    this.#log.add(chunk);
    const waits: Promise<void>[] = [];
    for (const listener of this.#consoleListeners) {
      const wait = listener(chunk);
      if (wait) waits.push(wait);
    }
    if (waits.length > 0) return Promise.all(waits).then(() => {});
  }

  #finish(end: End): void {
    if (this.#end) return;
    this.#end = end;
    // An exit code that did arrive still counts; everything else in the agent ends.
    this.#agent?.finish?.();
    this.#ended.resolve(end);
  }

  #untilStopped<T>(promise: Promise<T>): Promise<T> {
    const stopped = this.#ended.promise.then((end): never => {
      throw this.#failureOf(end);
    });
    return Promise.race([promise, stopped]);
  }

  #report(reason: string): CrashReport {
    let status: MachineStatus | undefined;
    try {
      status = this.#machine.status();
    } catch {
      // A machine that failed half-way may be unable to describe itself; the reason must come through anyway.
    }
    return { reason, status, consoleLines: this.#log.lastLines() };
  }

  #failureOf(end: End): Error {
    if (end.kind === 'destroyed') {
      return new DomusError('E_DESTROYED', 'the guest has been destroyed', 'create another one');
    }
    if (end.kind === 'failure') {
      const { error } = end;
      const reason = error instanceof Error ? error.message : String(error);
      const failure = error instanceof MachineFailure ? error : undefined;
      return new GuestFailure(
        failure?.code ?? 'E_MACHINE_FAILED',
        `the machine could not go on: ${reason}`,
        error instanceof DomusError ? error.remedy : 'this is a defect of Domus: please report it',
        { ...this.#report(reason), ...(failure && { details: failure.details }) },
        error,
      );
    }
    const { reason, detail } = end.shutdown;
    const why = detail ? `${reason}: ${detail}` : reason;
    if (isCrash(end.shutdown)) {
      return new GuestFailure('E_GUEST_CRASHED', `the guest crashed (${why})`, '', this.#report(why));
    }
    return new GuestFailure(
      'E_GUEST_STOPPED',
      `the guest stopped (${why}) before the command had ended`,
      'see its console with --console FILE',
      this.#report(why),
    );
  }

  /** A time-out alone helps nobody: say where the guest was and what it said last. */
  #explain(error: unknown): unknown {
    // The channel only knows that it is closed; why the guest stopped is known here.
    const isClosed = error instanceof DomusError && error.code === 'E_RUN_NO_EXIT';
    if (isClosed) return this.#end ? this.#failureOf(this.#end) : rebooted();
    if (!(error instanceof DomusError) || error.code !== 'E_TIMEOUT' || error instanceof GuestFailure)
      return error;
    const during = this.#nrCommands > 0 ? 'while the command was running' : 'while the guest was booting';
    const message = `${error.message} ${during}`;
    return new GuestFailure(error.code, message, error.remedy, this.#report(message), error);
  }
}

const SIGKILL = 9;
/** A guest that ends by itself sooner than this after its start is not started anew. */
const RESTART_AFTER_MS = 10_000;

const rebooted = () =>
  new DomusError(
    'E_GUEST_STOPPED',
    'the guest rebooted before the command had ended',
    'run it again when the guest is up',
  );

const isCrash = (shutdown: Shutdown) => shutdown.reason === 'crash' || shutdown.reason === 'watchdog';

function commandSpec(
  command: readonly string[] | string,
  options: CommandOptions & Pick<ExecOptions, 'stdin'>,
  image: ImageConfig | undefined,
): CommandSpec {
  const argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
  if (argv.length === 0 || argv[0] === '') {
    throw new DomusError('E_NO_COMMAND', 'the command is empty', 'name a program, for example uname');
  }
  for (const text of [...argv, ...Object.entries(options.env ?? {}).flat()]) {
    if (text.includes('\0')) {
      throw new DomusError('E_NO_COMMAND', 'a command or variable contains a NUL character', 'remove it');
    }
  }
  // A tool of ours is no command of the image.
  const own = options.isTool ? undefined : image;
  return {
    argv,
    env: { ...own?.env, ...options.env },
    hasInput: options.hasInput ?? options.stdin !== undefined,
    ...((options.workingFolder ?? own) && {
      workingFolder: options.workingFolder ?? own?.workingFolder ?? '/',
    }),
    ...(own?.user && { user: own.user }),
    ...(options.isTool && { isTool: true }),
    ...(options.terminal && { terminal: options.terminal }),
  };
}

async function writeAll(stream: ConsoleStream, chunk: Uint8Array): Promise<void> {
  let rest = chunk;
  while (rest.length > 0) {
    const taken = stream.write(rest);
    rest = rest.subarray(taken);
    if (rest.length > 0) await new Promise<void>(resolve => stream.onWritable(resolve));
  }
}
