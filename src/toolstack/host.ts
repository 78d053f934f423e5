/**
 * The library's front door: a host that boots guests and runs commands in them.
 *
 *     await using host = await Host.open();
 *     const { exitCode, stdout } = await host.run({ command: ['uname', '-a'] });
 *
 *     await using vm = await host.create({ memory: '1G' });
 *     await vm.exec('echo hello');
 */
import { DomusError } from '../base/errors.ts';
import { parseReference } from '../image/reference.ts';
import type { StoredImage } from '../image/store.ts';
import { garbageCollector } from '../platform/node/garbage.ts';
import { hostResources } from '../platform/node/host-info.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import { nodeSockets } from '../platform/node/sockets.ts';
import { keepsStoreOrder } from '../platform/node/store-order.ts';
import type { Platform } from '../platform/platform.ts';
import type { Sockets } from '../platform/sockets.ts';
import { abortable, createDeadline } from './abort.ts';
import { type BalanceFacts, type BalanceStatus, MemoryBalancer } from './balance/balancer.ts';
import type { Phase } from './boot.ts';
import { type InputSource, readAll } from './byte-io.ts';
import { type CloneOptions, type Clones, cloneGuest } from './cloned-guest.ts';
import { checkMemory, checkMinMemory } from './config.ts';
import { createConsoleLog } from './console-log.ts';
import { GuestBuilder, type GuestPurpose, type GuestWorld } from './guest-builder.ts';
import type { ExecOptions, ExecResult } from './guest-commands.ts';
import { type ImageRequest, Images } from './images.ts';
import type { Shutdown } from './machine.ts';
import { bytesOf, checkOptions, type MachineOptions, wantedNetwork } from './machine-options.ts';
import { MemoryGuard, type MemoryGuardOptions } from './memory-guard.ts';
import { SwitchRoom } from './network.ts';
import type { Parts } from './parts.ts';
import { PcpuPool } from './pcpu-pool.ts';
import { dropPrepared, makeRoomFor, usePrepared } from './prepared.ts';
import { type RestoreOptions, restoreGuest } from './restored-guest.ts';
import { RunTurns } from './run-turns.ts';
import { Sharer, type SharerStatus, type SharingOptions } from './sharer.ts';
import type { VirtualMachine } from './virtual-machine.ts';

export interface HostOptions {
  /** Other implementations of what lies below; for tests and for embedding. */
  readonly parts?: Parts;
  readonly platform?: Platform;
  /** The outside of the guests' networks; default: the host's own sockets. */
  readonly sockets?: Sockets;
  /** Threads on which guests run, this one among them; default: one for each processor of the host. */
  readonly processors?: number;
  /** How much of its memory the host keeps for itself. */
  readonly memory?: MemoryGuardOptions;
  /** How identical pages of guests are found and shared. */
  readonly sharing?: SharingOptions;
  /** Hears what is being done for every guest of this host. */
  readonly onPhase?: (phase: Phase) => void;
}

export interface RunOptions extends MachineOptions, Omit<ExecOptions, 'signal'> {
  /** Program and arguments, or a line for the shell. */
  readonly command?: readonly string[] | string;
  /** Keep a machine that has booted, and go on from it the next time. Only for guests of the usual kind: see prepared.ts. */
  readonly isPrepared?: boolean;
  /** For everything together, from the look-up of the kernel to the command's end. */
  readonly timeoutMs?: number;
}

export interface RunResult extends ExecResult {
  /** Instructions that the guest has executed. */
  readonly instructions: number;
  /** Wall-clock time from the start of the machine to its end. */
  readonly durationMs: number;
  /** With `deterministic`: hash of memory and registers when the guest had stopped. */
  readonly stateHash?: string;
  /** How the guest ended, when it ended by itself. */
  readonly shutdown?: Shutdown;
}

interface Prepared {
  readonly path: string;
  /** What the run may reach, and how: that is no part of what is kept. */
  readonly networkRules: RestoreOptions['networkRules'];
  /** It was kept by an earlier run. */
  isThere: boolean;
}

/** The largest packages' scripts need no more. */
const FINISHING_MEMORY_BYTES = 768 * 2 ** 20;

const COLLECT_MS = 1000;
/** Threads that look at one another's machines need their stores in order. */
const usableProcessors = (): number => (keepsStoreOrder ? hostResources().nrCpus : 1);

export class Host implements AsyncDisposable {
  readonly #world: GuestWorld;
  readonly #machines = new Set<VirtualMachine>();
  readonly #guard: MemoryGuard;
  readonly #balancer: MemoryBalancer;
  #isToCollect = false;
  #collectGarbage: (() => void) | undefined;
  /** The switches of this host's guests. */
  readonly switches: SwitchRoom;
  /** The images that guests can have for a root. */
  readonly images: Images;

  private constructor(parts: Parts, options: HostOptions) {
    const platform = options.platform ?? createNodePlatform();
    this.#guard = new MemoryGuard(platform.timers, options.memory);
    this.#balancer = new MemoryBalancer(platform, this.#guard);
    this.switches = new SwitchRoom(platform.clock);
    this.images = new Images((rootPath, script, request) => this.#finishRoot(rootPath, script, request));
    const turns = new RunTurns(platform);
    this.#world = {
      parts,
      platform,
      sockets: options.sockets ?? nodeSockets,
      switches: this.switches,
      images: this.images,
      turns,
      pcpus: new PcpuPool(platform, turns, options.processors ?? usableProcessors()),
      sharer: new Sharer(platform, options.sharing),
      onPhase: options.onPhase ?? (() => {}),
    };
  }

  static async open(options: HostOptions = {}): Promise<Host> {
    if (options.parts) return new Host(options.parts, options);
    // With them comes the engine, which most commands do without.
    const { defaultParts } = await import('./parts.ts');
    return new Host(await defaultParts(), options);
  }

  /**
   * Boot a throwaway guest, run the command in it, destroy it. Without a command the guest must bring its own
   * initrd, and the run lasts until it stops.
   */
  run(options: RunOptions): Promise<RunResult> {
    return this.#run(options);
  }

  async #run(options: RunOptions, rootPath?: string): Promise<RunResult> {
    const { boot = false } = options;
    const hasCommand = !boot && (options.command !== undefined || options.image !== undefined);
    if (boot && options.command !== undefined) {
      throw new DomusError(
        'E_USAGE',
        'a guest that boots its own init runs no command instead of it',
        'leave out the command, or run it in a guest that stays: run -d, exec',
      );
    }
    if (!hasCommand && !boot && options.initrd === undefined) {
      throw new DomusError(
        'E_NO_COMMAND',
        'there is nothing to run',
        'give a command, or an initrd of your own',
      );
    }
    using deadline = createDeadline(this.#world.platform.timers, options.timeoutMs, options.signal);
    const { signal } = deadline;
    const stdin = await this.#repeatableInput(options);
    const startedNs = this.#world.platform.clock.monotonicNs();
    const purpose = { needsAgent: hasCommand || boot, isThrowaway: hasCommand, rootPath };
    const prepared =
      hasCommand && options.isPrepared ? await this.#preparedFor({ ...options, signal }) : undefined;
    const vm = await this.#buildPrepared({ ...options, signal }, purpose, prepared);
    try {
      const exec = { ...options, stdin, signal };
      const isToKeep = prepared !== undefined && !prepared.isThere;
      if (isToKeep) await this.#keep(vm, prepared.path, { ...options, signal });
      // Listeners first: not a byte of the guest's may be lost.
      const end = hasCommand ? vm.exec(vm.commandOf(options.command), exec) : vm.attach(exec);
      if (!isToKeep) vm.start();
      const ended = await end;
      if (hasCommand) {
        await vm.settle(signal);
        vm.leaveTrail();
      }
      // The moment when the host learns of the command's end depends on the host; the guest's power-off does not.
      if (options.deterministic) await abortable(vm.stopped, signal);
      const shutdown = 'shutdown' in ended ? (ended.shutdown as Shutdown) : undefined;
      return {
        exitCode: ended.exitCode,
        stdout: ended.stdout,
        stderr: ended.stderr,
        instructions: vm.instructions(),
        durationMs: (this.#world.platform.clock.monotonicNs() - startedNs) / 1e6,
        ...(options.deterministic && { stateHash: vm.stateHash() }),
        ...(shutdown && { shutdown }),
      };
    } finally {
      await this.#destroy(vm);
    }
  }

  /** The machine that is prepared for such a run, or is to be. */
  async #preparedFor(options: RunOptions): Promise<Prepared | undefined> {
    // Who hears the console wants to see a boot.
    const { initrd, deterministic, trace, gdbPort, from, console } = options;
    const others = [initrd, deterministic, trace, gdbPort, from, console];
    const devices = [...(options.disks ?? []), ...(options.folders ?? [])];
    const { memoryBytes, vcpus, engine } = checkOptions(options);
    if (others.some(other => other !== undefined) || devices.length > 0 || engine === 'lockstep')
      return undefined;
    const network = wantedNetwork(options);
    const { mode: _, mac, mtu, ...networkRules } = network?.options ?? {};
    if (network && (network.mode.kind !== 'nat' || mac !== undefined || mtu !== undefined)) return undefined;
    const image = options.image === undefined ? undefined : await this.#namedImage(options, options.image);
    if (options.image !== undefined && !image) return undefined;
    const { kernel, append } = options;
    const path = await this.#world.parts.preparedPath?.({
      ...{ kernel, append, memoryBytes, vcpus },
      hasNetwork: network !== undefined,
      root: image && { hash: image.root, config: image.config },
    });
    return path === undefined ? undefined : { path, networkRules, isThere: await usePrepared(path) };
  }

  /** An image that has the same root until it is fetched anew; it is made now if it is not there. */
  async #namedImage(
    { signal, onPhase }: MachineOptions,
    reference: string,
  ): Promise<StoredImage | undefined> {
    const { kind } = parseReference(reference);
    if (kind !== 'stored' && kind !== 'debian' && kind !== 'registry') return undefined;
    const report = (detail: string) => this.#report({ name: 'image', detail }, { onPhase });
    report(`looking for ${reference}`);
    const progress = (phase: string, detail: string) => report(`${phase} ${detail}`);
    return abortable(this.images.obtain({ reference, progress, ...(signal && { signal }) }), signal);
  }

  async #buildPrepared(
    options: MachineOptions,
    purpose: Pick<GuestPurpose, 'needsAgent' | 'isThrowaway' | 'rootPath'>,
    prepared: Prepared | undefined,
  ): Promise<VirtualMachine> {
    if (!prepared?.isThere) return this.#build(options, purpose);
    try {
      const { networkRules } = prepared;
      return await this.#restore(prepared.path, { ...options, networkRules }, purpose.isThrowaway);
    } catch (error) {
      if (!(error instanceof DomusError) || !/^E_(SAVE|DISK)_/.test(error.code)) throw error;
      // It is made anew from what it was made of.
      this.#report({ name: 'restore', detail: `boots instead: ${error.message}` }, options);
      await dropPrepared(prepared.path);
      prepared.isThere = false;
      return this.#build(options, purpose);
    }
  }

  /** Save a machine that has booted, for the next time. A cache that cannot be written costs time and nothing else. */
  async #keep(vm: VirtualMachine, path: string, options: MachineOptions): Promise<void> {
    vm.start();
    await abortable(vm.ready(), options.signal);
    this.#report({ name: 'prepare', detail: 'keeping the machine as it is now for later runs' }, options);
    try {
      await makeRoomFor(path);
      await vm.save(path, { isDurable: false });
    } catch (error) {
      this.#report({ name: 'prepare', detail: `not kept: ${(error as Error).message}` }, options);
    }
  }

  #report(phase: Phase, options: Pick<MachineOptions, 'onPhase'>): void {
    this.#world.onPhase(phase);
    options.onPhase?.(phase);
  }

  /** A guest out of a saved machine, which stays until it is destroyed. @throws DomusError E_SAVE_* */
  async restore(path: string, options: RestoreOptions = {}): Promise<VirtualMachine> {
    const vm = await this.#restore(path, options, false);
    vm.start();
    return vm;
  }

  /**
   * Copies of a guest as it is now, each running; they stay until they are destroyed. All or none.
   * @throws DomusError E_SAVE_UNSUPPORTED, E_CLONE_COUNT, E_HOSTNAME, E_DISK_*
   */
  async clone(parent: VirtualMachine, options: CloneOptions = {}): Promise<Clones> {
    this.#guard.admit();
    const found = await cloneGuest(this.#world, parent, options, vm => this.#forget(vm));
    for (const vm of found.clones) this.#remember(vm);
    return found;
  }

  async #restore(path: string, options: RestoreOptions, isThrowaway: boolean): Promise<VirtualMachine> {
    this.#guard.admit();
    const vm = await restoreGuest(this.#world, path, options, {
      isThrowaway,
      onDestroyed: vm => this.#forget(vm),
    });
    this.#remember(vm);
    return vm;
  }

  /** What the scan for identical pages does; `VirtualMachine.sharing` says what a guest has of it. */
  get sharing(): SharerStatus {
    return this.#world.sharer.status;
  }
  /** Let the scan use so much of a processor, in percent; 0 ends it. @throws DomusError E_SHARING */
  setSharingCpu(percent: number): void {
    this.#world.sharer.setCpuPercent(percent);
  }

  /** How much memory is moved between guests by need; `memoryBalance` says what a guest has to do with it. */
  get balance(): BalanceStatus {
    return this.#balancer.status;
  }
  /** The range of a guest whose memory goes by need; undefined where it stays as it is. */
  memoryBalance(vm: VirtualMachine): BalanceFacts | undefined {
    return this.#balancer.factsOf(vm);
  }
  /**
   * Let a guest have memory by need, from `minBytes` to what `vm.setMemoryMax` allows, and usually what it is asked to have now. Undefined:
   * no more; it is asked for what it usually had. @throws DomusError E_MEMORY_SIZE, E_MEMORY_RANGE, E_MEMORY_BUDGET
   */
  balanceMemory(vm: VirtualMachine, minBytes: number | undefined): void {
    const before = this.#balancer.factsOf(vm);
    const usualBytes = before?.usualBytes ?? vm.balloon.targetBytes;
    if (minBytes !== undefined) this.#balancer.join(vm, { minBytes: checkMemory(minBytes), usualBytes });
    else if (before) {
      this.#balancer.leave(vm);
      vm.setMemoryTarget(usualBytes);
    }
  }
  /** What guests whose memory goes by need have together; undefined: what they usually have. @throws DomusError E_MEMORY_BUDGET */
  setMemoryBudget(bytes: number | undefined): void {
    this.#balancer.setBudget(bytes);
  }
  /**
   * Ask a guest to have so much memory: now, and usually, where it goes by need.
   * @throws DomusError E_MEMORY_SIZE, E_MEMORY_RANGE
   */
  setMemoryTarget(vm: VirtualMachine, bytes: number): void {
    const before = this.#balancer.factsOf(vm);
    if (before) checkMinMemory(before.minBytes, bytes);
    vm.setMemoryTarget(bytes);
    if (before) this.#balancer.join(vm, { minBytes: before.minBytes, usualBytes: checkMemory(bytes) });
  }

  /** Boot a guest that stays until it is destroyed. */
  async create(options: MachineOptions = {}): Promise<VirtualMachine> {
    const needsAgent = !options.isOwn && (options.initrd === undefined || options.boot === true);
    const vm = await this.#build(options, { needsAgent, isThrowaway: false });
    try {
      if (options.minMemory !== undefined) this.balanceMemory(vm, bytesOf(options.minMemory));
    } catch (error) {
      await this.#destroy(vm);
      throw error;
    }
    vm.start();
    return vm;
  }

  /** Destroy every guest that is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#machines].map(vm => this.#destroy(vm)));
    this.#world.pcpus.close();
  }

  async #destroy(vm: VirtualMachine): Promise<void> {
    this.#forget(vm);
    await vm.destroy();
  }

  /** Input that arrives when it likes would make two runs differ: a deterministic run reads it before it starts. */
  async #repeatableInput(options: RunOptions): Promise<InputSource | undefined> {
    if (options.stdin === undefined || !options.deterministic || options.terminal) return options.stdin;
    return readAll(options.stdin);
  }

  /** A new root runs its own scripts, with all of the machine's power and without a network. */
  async #finishRoot(rootPath: string, script: string, { signal, progress }: ImageRequest): Promise<void> {
    const log = createConsoleLog();
    const listen = (chunk: Uint8Array): void => {
      log.add(chunk);
      const last = log.lastLines().at(-1);
      if (last !== undefined) progress?.('configure', last);
    };
    const options: RunOptions = {
      command: ['/bin/sh', '-c', script],
      memory: FINISHING_MEMORY_BYTES,
      stdout: listen,
      stderr: listen,
      ...(signal && { signal }),
    };
    const { exitCode } = await this.#run(options, rootPath);
    if (exitCode === 0) return;
    throw new DomusError(
      'E_IMAGE_CONFIGURE',
      `the new system could not configure itself (exit code ${exitCode}): ${log.lastLines().slice(-10).join(' / ')}`,
      'try again; if it stays so, the packages of the suite may be at fault',
    );
  }

  async #build(
    options: MachineOptions,
    purpose: Pick<GuestPurpose, 'needsAgent' | 'isThrowaway' | 'rootPath'>,
  ): Promise<VirtualMachine> {
    if (options.from !== undefined) return this.#restore(options.from, options, purpose.isThrowaway);
    this.#guard.admit();
    const vm = await new GuestBuilder(this.#world, options, {
      ...purpose,
      onDestroyed: vm => this.#forget(vm),
    }).build();
    this.#remember(vm);
    return vm;
  }

  /** The memory of guests that are gone, once for all that go within a second: V8 collects nothing while nothing happens. */
  #collectLater(): void {
    const { timers, isDeterministic } = this.#world.platform;
    if (this.#isToCollect || isDeterministic) return;
    this.#isToCollect = true;
    timers.after(COLLECT_MS, () => {
      this.#isToCollect = false;
      this.#collectGarbage ??= garbageCollector();
      this.#collectGarbage();
    });
  }

  #remember(vm: VirtualMachine): void {
    this.#machines.add(vm);
    this.#guard.join(vm);
  }
  #forget(vm: VirtualMachine): void {
    if (this.#machines.delete(vm)) this.#collectLater();
    this.#balancer.leave(vm);
    this.#guard.leave(vm);
  }
}
