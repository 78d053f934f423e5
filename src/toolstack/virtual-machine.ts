/**
 * A guest as its owner sees it: booted from a plan, running commands, and stopped at the end whatever happens.
 *
 * Owns one GuestMachine, and another one after each reboot. Every wait inside ends when the guest stops, with a report of what is known
 * about it (guest-end.ts); none can outlive the machine.
 */
import { DomusError } from '../base/errors.ts';
import type { Share } from '../hypervisor/credit.ts';
import type { DomainMemoryMap } from '../hypervisor/memory-map.ts';
import type { SharingFacts } from '../hypervisor/sharing/sharing-facts.ts';
import type { ImageConfig } from '../image/config.ts';
import type { Identity } from '../image/guest-agent/identity.ts';
import type { Platform } from '../platform/platform.ts';
import { abortable, createDeadline } from './abort.ts';
import type { BalancedGuest } from './balance/balancer.ts';
import { agentFacts, type MemoryFacts, pageFacts, xenstoreFacts } from './balance/facts.ts';
import type { BootPlan, GuestAgent, Phase, RunningCommand } from './boot.ts';
import { feed, openOutput } from './byte-io.ts';
import { checkCap, checkWeight, formatSize } from './config.ts';
import type { CrashReport } from './crash-report.ts';
import { nodeDiskHost } from './disk-host.ts';
import type { DiskSpec } from './disk-spec.ts';
import type { DomainControl, DomainStatus, ShutdownRequest } from './domain-control.ts';
import { type CommandOptions, type ExecOptions, type ExecResult, GuestCommands } from './guest-commands.ts';
import { GuestConsole } from './guest-console.ts';
import { closeDisks, GuestDisk, openDisks } from './guest-disk.ts';
import { type End, GuestEnd, isCrash } from './guest-end.ts';
import { endByAgent, onlineByAgent, syncByAgent } from './guest-helper.ts';
import { type ForkedGuest, forkGuest, type StatefulGuest, saveGuest } from './guest-state.ts';
import type { ByteListener, GuestMachine, MachineDisk, MachineStatus, Shutdown } from './machine.ts';
import type { MachineShape } from './machine-facts.ts';
import type { GuardedGuest } from './memory-guard.ts';
import { networkFacts, type VirtualNetwork } from './network.ts';
import type { GuestShare } from './run-turns.ts';

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
  /** Its part of a processor that guests share. */
  readonly turn?: GuestShare | undefined;
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

export class VirtualMachine implements AsyncDisposable, GuardedGuest, BalancedGuest {
  /** Undefined for a guest without one. */
  readonly network: VirtualNetwork | undefined;
  #machine!: GuestMachine;
  readonly #disks = new Map<string, GuestDisk>();
  readonly #platform: Platform;
  #agent: GuestAgent | undefined;
  #isAgentReady = false;
  readonly #console = new GuestConsole();
  readonly #commands: GuestCommands;
  readonly #end = new GuestEnd(reason => this.#report(reason));
  readonly #options: VirtualMachineOptions;
  readonly #onPhase: (phase: Phase) => void;
  readonly #image: ImageConfig | undefined;
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
    if (options.console) this.#console.listen(options.console);
    this.#onPhase = options.onPhase;
    this.#image = options.image;
    this.#commands = new GuestCommands({
      agent: () => this.#agent,
      machineGone: () => this.#machineGone.promise,
      expectWork: () => this.#machine.expectWork?.(),
      end: this.#end,
      image: options.image,
      neverHoldsBack: options.platform.isDeterministic,
    });
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
    this.#console.connect(machine.consoles[0]);
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
    if (this.#end.hasCome || !after.has(reason)) return false;
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
      if (this.#end.hasCome) {
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
        if (!this.#end.hasCome) this.#onPhase({ name: 'ready' });
      },
      () => {},
    );
  }

  /** Settles when the guest has stopped by itself or has been destroyed; rejects never. */
  get stopped(): Promise<Shutdown | undefined> {
    return this.#end.ended.then(end => (end.kind === 'shutdown' ? end.shutdown : undefined));
  }

  get hasStopped(): boolean {
    return this.#end.hasCome;
  }

  /** The last lines of the console, oldest first. */
  get consoleLines(): readonly string[] {
    return this.#console.lastLines();
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
    if (this.#end.hasCome) {
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
    await this.#end.orFailure(disk.detach());
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
    return this.#end.hasCome ? undefined : this.#machine.sharing;
  }
  /** What can be asked of the running domain. @throws DomusError E_DESTROYED when it runs no more */
  get #control(): DomainControl {
    if (!this.#end.hasCome) return this.#machine.control;
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
  /** Does the host's own thread execute it? */
  get runsHere(): boolean {
    return this.#options.turn?.isHere === true;
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
    await this.#end.orFailure(this.#agent?.ready ?? Promise.resolve());
  }

  /**
   * Write the whole machine to a file, from which `Host.restore` makes others. The guest goes on afterwards and has not noticed.
   * @param isDurable whether the file is on its medium when this settles
   * @throws DomusError E_SAVE_UNSUPPORTED, E_SAVE_FILE, E_DESTROYED
   */
  async save(path: string, { isDurable = true } = {}): Promise<void> {
    await saveGuest(this.#state(), path, isDurable);
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
   * Tell a clone who it is from now on, before anything else runs in it.
   * @returns whether it could be told so. @throws DomusError E_IDENTITY
   */
  async identify(identity: Identity): Promise<boolean> {
    await this.ready();
    const told = this.#agent?.identify?.(identity);
    if (told) await this.#end.orFailure(told);
    return told !== undefined;
  }

  /**
   * The state of now, for clones in this process. The guest goes on and has not noticed; its memory is not copied.
   * @param runsFolder where disks are put that are gone with the clones
   * @throws DomusError E_SAVE_UNSUPPORTED, E_DISK_*, E_DESTROYED
   */
  async fork(runsFolder: string): Promise<ForkedGuest> {
    return forkGuest(this.#state(), runsFolder);
  }

  /** What makes up the state that `save` and `fork` take. */
  #state(): StatefulGuest {
    const network = this.network && networkFacts(this.network);
    return {
      machine: () => this.#machine,
      agent: () => this.#agent,
      disks: this.#disks,
      facts: { ...this.shape, disks: [], network, image: this.#image },
    };
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
    return this.#console.listen(listener);
  }

  /** Type on the guest's console (hvc0). Settles when the guest has taken everything. */
  async writeConsole(chunk: Uint8Array): Promise<void> {
    await this.#end.orFailure(Promise.race([this.#console.write(chunk), this.#machineGone.promise]));
  }

  /**
   * Run a command in the guest and wait for its end. Several may run at the same time.
   * @throws DomusError E_NO_AGENT, E_BUSY, E_ONE_COMMAND; GuestFailure when the guest stops before the command ends
   */
  exec(command: readonly string[] | string, options: ExecOptions = {}): Promise<ExecResult> {
    return this.#commands.exec(command, options);
  }

  /**
   * Run a command for a caller who moves its streams: `attach` gets it before any of its output. Settles with the exit code when
   * all output has been taken; rejects as `exec` does.
   */
  execAttached(
    command: readonly string[] | string,
    options: CommandOptions,
    attach: (running: RunningCommand) => void,
  ): Promise<number> {
    return this.#commands.execAttached(command, options, attach);
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

  /**
   * Have the guest write to its disks what only its memory holds, and wait for that, but no longer than `limitMs`. Does nothing where
   * nobody can be asked to.
   */
  async writeBack(limitMs: number): Promise<void> {
    const agent = this.#agent;
    if (!agent?.isReusable || this.#isPaused || this.#disks.size === 0) return;
    using deadline = createDeadline(this.#platform.timers, limitMs, undefined);
    await abortable(Promise.race([syncByAgent(agent), this.stopped]), deadline.signal).catch(() => {});
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
    const input = feed(
      options.stdin,
      chunk => this.writeConsole(chunk),
      () => this.#console.close(),
    );
    try {
      const end = await abortable(Promise.race([this.#end.ended, input.failed]), options.signal);
      if (end.kind !== 'shutdown' || isCrash(end.shutdown)) throw this.#end.failureOf(end);
      await stdout.drained();
      return { exitCode: 0, stdout: stdout.bytes(), stderr: new Uint8Array(), shutdown: end.shutdown };
    } catch (error) {
      throw this.#end.explain(error, this.#commands.hasBegun);
    } finally {
      input.stop();
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

  #finish(end: End): void {
    if (this.#end.hasCome) return;
    // An exit code that did arrive still counts; everything else in the agent ends.
    this.#agent?.finish?.();
    this.#end.come(end);
  }

  #report(reason: string): CrashReport {
    let status: MachineStatus | undefined;
    try {
      status = this.#machine.status();
    } catch {
      // A machine that failed half-way may be unable to describe itself; the reason must come through anyway.
    }
    return { reason, status, consoleLines: this.consoleLines };
  }
}

/** A guest that ends by itself sooner than this after its start is not started anew. */
const RESTART_AFTER_MS = 10_000;
