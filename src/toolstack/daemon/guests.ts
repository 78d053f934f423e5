/** The guests of a host process: those that run, and the records of those that did. */
import { DomusError } from '../../base/errors.ts';
import { joinPath, listFolder, makeFolder, removeFile } from '../../platform/node/cache-folder.ts';
import type { Platform } from '../../platform/platform.ts';
import type { Phase } from '../boot.ts';
import { MEMORY_DEFAULT_BYTES } from '../config.ts';
import { GuestFailure } from '../crash-report.ts';
import type { DiskSpec } from '../disk-spec.ts';
import type { GuestDisk } from '../guest-disk.ts';
import type { Host } from '../host.ts';
import type { Shutdown } from '../machine.ts';
import { noteSave, removeNotedLeftovers } from '../saved-leftovers.ts';
import type { VirtualMachine } from '../virtual-machine.ts';
import { type BalanceReport, balanceReport } from './balance-report.ts';
import { type CloneRequest, cloneNames, hostnameOf } from './clone-request.ts';
import { EventLog } from './event-log.ts';
import { applyChange, changeText, type GuestAction, type GuestChange, parsePcpus } from './guest-change.ts';
import { actOnDisk, type DiskAction, diskOf } from './guest-disks.ts';
import { GuestLog } from './guest-log.ts';
import { changeNetwork, type NetworkChange, networkChangeText, networkOf } from './guest-network.ts';
import {
  type GuestRecord,
  type GuestView,
  readGuestFile,
  removeUnfinished,
  writeGuestFile,
} from './guest-record.ts';
import { type GuestRequest, machineOptions } from './guest-request.ts';
import { type SharingReport, sharingReport } from './sharing-report.ts';
import { changeSwitch, type SwitchChange, type SwitchView, switchView } from './switches.ts';

export class Guest {
  readonly folder: string;
  record: GuestRecord;
  /** While it runs. */
  vm: VirtualMachine | undefined;
  log: GuestLog | undefined;
  /** Settles when it no longer runs and its record says so. */
  readonly ended = Promise.withResolvers<void>();

  readonly #host: Host;

  constructor(host: Host, folder: string, record: GuestRecord) {
    this.#host = host;
    this.folder = folder;
    this.record = record;
  }

  /** What is shown of it: the record, and what the domain is at this moment. */
  get view(): GuestView {
    return { ...this.record, ...(this.vm && this.isAlive && liveView(this.#host, this.vm)) };
  }

  get isAlive(): boolean {
    return this.record.state === 'starting' || this.record.state === 'running';
  }

  /** @throws DomusError E_GUEST_ENDED */
  running(): VirtualMachine {
    if (this.vm && this.isAlive) return this.vm;
    const { name, state, reason } = this.record;
    throw new DomusError(
      'E_GUEST_ENDED',
      `the guest ${name} is not running: ${reason ?? state}`,
      `"domus logs ${name}" shows what it said, "domus destroy ${name}" forgets it`,
    );
  }
}

export interface GuestsOptions {
  readonly host: Host;
  readonly platform: Platform;
  /** Folder of the guests' folders. */
  readonly folder: string;
  /** Names this host process. */
  readonly daemon: string;
}

export class Guests {
  readonly #options: GuestsOptions;
  readonly #guests = new Map<number, Guest>();
  #nextId = 1;
  readonly events: EventLog;

  private constructor(options: GuestsOptions) {
    this.#options = options;
    this.events = new EventLog(() => this.#now());
  }

  /** Reads what earlier host processes left, and sets right what they could not finish. */
  static async open(options: GuestsOptions): Promise<Guests> {
    const guests = new Guests(options);
    for (const name of await listFolder(options.folder)) {
      const folder = joinPath(options.folder, name);
      await removeNotedLeftovers(folder);
      const file = await readGuestFile(folder);
      // Half made, or half removed.
      if (!file || file.guest.state === 'starting' || String(file.guest.id) !== name) {
        if (/^\d+$/.test(name)) await removeFile(folder);
        continue;
      }
      await removeUnfinished(folder);
      const guest = new Guest(options.host, folder, file.guest);
      guest.ended.resolve();
      guests.#guests.set(file.guest.id, guest);
      guests.#nextId = Math.max(guests.#nextId, file.guest.id + 1);
      if (file.guest.state === 'running') {
        await guests.#update(guest, {
          state: 'lost',
          reason: 'its host process was ended while it was running',
        });
      }
    }
    return guests;
  }

  list(): readonly Guest[] {
    return [...this.#guests.values()].sort((a, b) => a.record.id - b.record.id);
  }

  get nrAlive(): number {
    return this.list().filter(guest => guest.isAlive).length;
  }

  /** What page sharing does for them. */
  get sharing(): SharingReport {
    return sharingReport(this.#options.host, this.list());
  }
  /** @throws DomusError E_SHARING */
  setSharingCpu(percent: number): void {
    this.#options.host.setSharingCpu(percent);
  }

  /** How much memory moves between them by need. */
  get balance(): BalanceReport {
    return balanceReport(this.#options.host, this.list());
  }
  /** @throws DomusError E_MEMORY_BUDGET */
  setMemoryBudget(bytes: number | undefined): void {
    this.#options.host.setMemoryBudget(bytes);
  }

  /** By name or number. @throws DomusError E_GUEST_NOT_FOUND */
  find(name: string): Guest {
    const found = this.list().find(({ record }) => record.name === name || String(record.id) === name);
    if (found) return found;
    throw new DomusError('E_GUEST_NOT_FOUND', `there is no guest "${name}"`, '"domus list" shows the guests');
  }

  #now(): string {
    return new Date(Number(this.#options.platform.clock.wallNs() / 1_000_000n)).toISOString();
  }

  async #update(guest: Guest, change: Partial<GuestRecord>): Promise<void> {
    guest.record = { ...guest.record, ...change };
    await writeGuestFile(guest.folder, this.#options.daemon, guest.record);
  }

  async #admit(request: GuestRequest): Promise<Guest> {
    await this.#replaceEnded(request);
    const id = this.#nextId;
    const name = request.name ?? `guest-${id}`;
    this.#mustBeFree(name);
    this.#nextId += 1;
    const guest = new Guest(this.#options.host, joinPath(this.#options.folder, String(id)), {
      id,
      name,
      state: 'starting',
      ...(request.labels && { labels: request.labels }),
      ...(request.image !== undefined && { image: request.image }),
      ...(request.command && { command: request.command }),
      memoryBytes: request.memory ?? MEMORY_DEFAULT_BYTES,
      vcpus: request.vcpus ?? 1,
      createdAt: this.#now(),
    });
    this.#guests.set(id, guest);
    return guest;
  }

  /** @throws DomusError E_GUEST_EXISTS */
  #mustBeFree(name: string): void {
    const same = this.list().find(({ record }) => record.name === name);
    if (!same) return;
    throw new DomusError(
      'E_GUEST_EXISTS',
      `there is a guest named ${name} already (${same.record.state})`,
      same.isAlive ? 'choose another name' : `choose another name, or "domus destroy ${name}" first`,
    );
  }

  async #replaceEnded({ name, replacesEnded }: GuestRequest): Promise<void> {
    const same = replacesEnded ? this.list().find(({ record }) => record.name === name) : undefined;
    if (same && !same.isAlive) await this.#forget(same);
  }

  /** Build and boot a guest. Settles when its command has begun; when that fails nothing is left of it. */
  async create(request: GuestRequest, onPhase: (phase: Phase) => void, signal: AbortSignal): Promise<Guest> {
    const guest = await this.#admit(request);
    try {
      const log = await this.#openFolder(guest);
      this.events.add('created', guest.record);
      guest.vm = await this.#options.host.create({
        ...machineOptions(request),
        name: guest.record.name,
        onPhase: phase => {
          this.#heard(guest, phase);
          onPhase(phase);
        },
        signal,
        console: chunk => log.write('console', chunk),
      });
      const { memoryBytes, vcpus } = guest.vm.shape;
      const { uuid } = guest.vm.domain;
      // Written with the next change.
      guest.record = { ...guest.record, memoryBytes, vcpus, uuid };
      pinAtFirst(guest.vm, request.cpus);
      await this.#begin(guest, guest.vm, request, signal);
      return guest;
    } catch (error) {
      await this.#forget(guest);
      throw error;
    }
  }

  /** What happens to a guest without anybody having asked for it. */
  #heard({ record }: Guest, { name, detail }: Phase): void {
    if (name === 'reboot') this.events.add('rebooted', record);
    if (name === 'ballooned') this.events.add('ballooned', record, detail);
    if (name === 'held') this.events.add('paused', record, detail);
    if (name === 'resumed') this.events.add('unpaused', record, detail);
  }

  async #openFolder(guest: Guest): Promise<GuestLog> {
    await makeFolder(guest.folder);
    await this.#update(guest, {});
    const { timers } = this.#options.platform;
    guest.log = new GuestLog({ folder: guest.folder, timers, now: () => this.#now() });
    return guest.log;
  }

  /**
   * Copies of a running guest as it is now: all of them run when this settles, or none is left.
   * @throws DomusError E_GUEST_ENDED, E_GUEST_EXISTS, E_SAVE_UNSUPPORTED, E_CLONE_COUNT, E_HOSTNAME
   */
  async clone(parent: Guest, request: CloneRequest): Promise<{ guests: readonly Guest[]; heldMs: number }> {
    const vm = parent.running();
    const { name: parentName, image, memoryBytes, vcpus } = parent.record;
    const names = cloneNames(request, parentName, new Set(this.list().map(({ record }) => record.name)));
    const guests: Guest[] = [];
    try {
      for (const name of names)
        guests.push(
          await this.#admit({ name, memory: memoryBytes, vcpus, ...(image !== undefined && { image }) }),
        );
      const logs = await Promise.all(guests.map(guest => this.#openFolder(guest)));
      for (const { record } of guests) this.events.add('created', record, `clone of ${parentName}`);
      const { clones, heldMs } = await this.#options.host.clone(vm, {
        count: names.length,
        hostname: i => hostnameOf(request, i),
        restore: i => ({
          console: chunk => logs[i]?.write('console', chunk),
          onPhase: phase => guests[i] && this.#heard(guests[i], phase),
        }),
      });
      for (const [i, guest] of guests.entries()) guest.vm = clones[i];
      const change = { state: 'running', startedAt: this.#now(), parent: parentName } as const;
      for (const guest of guests) {
        await this.#update(guest, change);
        this.events.add('started', guest.record);
        this.#watch(guest, (guest.vm as VirtualMachine).stopped.then(endOf));
      }
      return { guests, heldMs };
    } catch (error) {
      for (const guest of guests) await this.#forget(guest);
      throw error;
    }
  }

  async #begin(guest: Guest, vm: VirtualMachine, request: GuestRequest, signal: AbortSignal): Promise<void> {
    const { env = {}, isRemovedAtEnd, boot, image } = request;
    const isOwn = request.isOwn || (request.command === undefined && (image === undefined || boot === true));
    const command = isOwn ? undefined : vm.commandOf(request.command);
    let end: Promise<Partial<GuestRecord>>;
    if (command) {
      const begun = Promise.withResolvers<void>();
      const exit = vm.execAttached(command, { env, signal: undefined }, running => {
        running.onStdout(chunk => guest.log?.write('stdout', chunk));
        running.onStderr(chunk => guest.log?.write('stderr', chunk));
        begun.resolve();
      });
      signal.addEventListener('abort', () => void vm.destroy(), { once: true });
      await Promise.race([begun.promise, exit]);
      end = exit.then(async exitCode => {
        await vm.settle();
        return { exitCode };
      });
    } else {
      end = vm.stopped.then(endOf);
    }
    if (signal.aborted) throw new DomusError('E_INTERRUPTED', 'nobody waits for the guest any more');
    await this.#update(guest, { state: 'running', startedAt: this.#now(), ...(command && { command }) });
    this.events.add('started', guest.record, request.isPaused ? 'paused' : undefined);
    this.#watch(guest, end, isRemovedAtEnd);
  }

  #watch(guest: Guest, end: Promise<Partial<GuestRecord>>, isRemovedAtEnd = false): void {
    end
      .then(
        change => this.#finish(guest, { state: 'exited', ...change }),
        error => this.#finish(guest, failedWith(error)),
      )
      .then(() => (isRemovedAtEnd ? this.#forget(guest) : undefined))
      .catch(() => {});
  }

  async #finish(guest: Guest, change: Partial<GuestRecord>): Promise<void> {
    if (!guest.isAlive) return;
    guest.record = { ...guest.record, ...change, endedAt: this.#now() };
    const { state, reason, exitCode } = guest.record;
    const code = exitCode === undefined ? undefined : `exit code ${exitCode}`;
    this.events.add(state === 'crashed' ? 'crashed' : 'exited', guest.record, reason ?? code);
    await guest.vm?.destroy();
    guest.vm = undefined;
    guest.log?.close();
    guest.log = undefined;
    if (this.#guests.has(guest.record.id)) await this.#update(guest, {});
    guest.ended.resolve();
  }

  async #forget(guest: Guest): Promise<void> {
    this.#guests.delete(guest.record.id);
    await this.#finish(guest, { state: 'exited', reason: 'destroyed' });
    this.events.add('destroyed', guest.record);
    await removeFile(guest.folder);
  }

  /** The host process ends: so do the guests, and their records say so. */
  async close(): Promise<void> {
    for (const guest of this.list().filter(({ isAlive }) => isAlive)) {
      await this.#finish(guest, { state: 'exited', reason: 'its host process was told to end' });
    }
  }

  /** Write a running guest to a file; with `ends` it does not go on. @throws DomusError E_GUEST_ENDED, E_SAVE_* */
  async save(guest: Guest, path: string, ends: boolean): Promise<void> {
    const vm = guest.running();
    const forget = noteSave(guest.folder, path);
    try {
      await vm.save(path);
    } finally {
      await forget();
    }
    this.events.add('saved', guest.record, path);
    if (ends) await this.#finish(guest, { state: 'exited', reason: `saved to ${path}` });
  }

  /** Change a running guest; one that has ended can get another name. @throws DomusError E_GUEST_ENDED, E_GUEST_EXISTS */
  async change(guest: Guest, change: GuestChange): Promise<void> {
    const { name } = change;
    if (name !== undefined && name !== guest.record.name) this.#mustBeFree(name);
    const isNameOnly = Object.keys(change).every(key => key === 'name');
    if (guest.vm || !isNameOnly) applyChange(this.#options.host, guest.running(), change);
    this.events.add('changed', guest.record, changeText(change));
    if (name !== undefined) await this.#update(guest, { name });
  }

  /** Plug a disk in. @throws DomusError E_GUEST_ENDED, E_USAGE, E_DISK_* */
  async attachDisk(guest: Guest, spec: DiskSpec): Promise<GuestDisk> {
    const disk = await guest.running().attachDisk(spec);
    this.events.add('changed', guest.record, `disk ${disk.name}: ${spec.path}`);
    return disk;
  }
  /** Settles when the guest has given it back. @throws DomusError E_GUEST_ENDED, E_DISK_UNKNOWN */
  async detachDisk(guest: Guest, device: string): Promise<void> {
    const vm = guest.running();
    diskOf(vm, device);
    await vm.detachDisk(device);
    this.events.add('changed', guest.record, `disk ${device}: taken away`);
  }
  /** @throws DomusError E_GUEST_ENDED, E_DISK_* */
  async actOnDisk(guest: Guest, device: string, request: DiskAction): Promise<GuestDisk> {
    const disk = diskOf(guest.running(), device);
    await actOnDisk(disk, request);
    const operand = request.action === 'resize' ? request.size : request.path;
    this.events.add('changed', guest.record, `disk ${device}: ${request.action} ${operand}`);
    return disk;
  }

  /** Faults, rules and capture. @throws DomusError E_GUEST_ENDED, E_NET_MODE, E_FILE_WRITE */
  async changeNetwork(guest: Guest, change: NetworkChange): Promise<void> {
    await changeNetwork(networkOf(guest.running(), guest.record.name), change);
    this.events.add('changed', guest.record, `network: ${networkChangeText(change)}`);
  }

  get switches(): readonly SwitchView[] {
    return this.#options.host.switches.all.map(lan => switchView(lan, this.list()));
  }
  /** Part a switch, or heal it. @throws DomusError E_GUEST_NOT_FOUND, E_NET_SWITCH */
  changeSwitch(name: string, change: SwitchChange): SwitchView {
    const lan = this.#options.host.switches.known(name);
    changeSwitch(lan, change, each => this.find(each));
    return switchView(lan, this.list());
  }

  /** @throws DomusError E_GUEST_ENDED, E_NOT_READY */
  async act(guest: Guest, request: GuestAction): Promise<void> {
    const vm = guest.running();
    const { action } = request;
    if (action === 'pause') await vm.pause();
    else if (action === 'unpause') vm.resume();
    else if (action === 'sysrq') vm.sysrq(request.key);
    else vm.requestShutdown(action);
    if (action === 'pause') this.events.add('paused', guest.record);
    else if (action === 'unpause') this.events.add('unpaused', guest.record);
    else this.events.add('requested', guest.record, action === 'sysrq' ? `sysrq ${request.key}` : action);
  }

  /** End a guest if it runs, as if its power were cut, and forget it. */
  async destroy(guest: Guest): Promise<void> {
    await this.#forget(guest);
  }
}

function liveView(host: Host, vm: VirtualMachine) {
  const balance = host.memoryBalance(vm);
  return { domain: vm.domain, ...(vm.share && { share: vm.share }), ...(balance && { balance }) };
}

/** A list has a set for each vCPU, and the last one for all that follow, as in xl. */
function pinAtFirst(vm: VirtualMachine, cpus: GuestRequest['cpus']): void {
  if (cpus === undefined) return;
  const sets = typeof cpus === 'string' ? [cpus] : cpus;
  const { pcpus, vcpus } = vm.domain;
  for (const { id } of vcpus) vm.setAffinity(id, parsePcpus(sets[id] ?? sets.at(-1) ?? 'all', pcpus));
}

/** Of a guest that ended by itself. */
function endOf(shutdown: Shutdown | undefined): Partial<GuestRecord> {
  if (!shutdown) return { reason: 'destroyed' };
  const { reason, detail } = shutdown;
  const isCrash = reason === 'crash' || reason === 'watchdog';
  return { ...(isCrash && { state: 'crashed' }), reason: detail ? `${reason}: ${detail}` : reason };
}

function failedWith(error: unknown): Partial<GuestRecord> {
  const isCrash = error instanceof GuestFailure && error.code !== 'E_GUEST_STOPPED';
  const reason = error instanceof Error ? error.message : String(error);
  return { state: isCrash ? 'crashed' : 'exited', reason };
}
