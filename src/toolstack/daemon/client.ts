/**
 * The other end of the host process: what commands and programs call. Starts a host process when there is none.
 *
 *     const daemon = await Daemon.connect();
 *     const guest = await daemon.create({ name: 'web', command: ['sleep', '1000'] });
 *     const running = await daemon.exec('web', { command: ['uname', '-a'] });
 */
import { DomusError } from '../../base/errors.ts';
import { openAgentChannel } from '../../image/guest-agent/agent-channel.ts';
import { listFolder, readIfPresent, removeFile, withLock } from '../../platform/node/cache-folder.ts';
import { sleep } from '../../platform/node/clock.ts';
import {
  type ByteStream,
  callLocal,
  type LocalAnswer,
  upgradeLocal,
} from '../../platform/node/local-http.ts';
import { defaultStateFolder, isOwnSocket, startDetached } from '../../platform/node/state-folder.ts';
import type { Phase, RunningCommand } from '../boot.ts';
import { concatenate } from '../byte-io.ts';
import type { DiskSpec } from '../disk-spec.ts';
import type { CommandOptions } from '../guest-commands.ts';
import { FRAMES_PROTOCOL } from './api.ts';
import type { BalanceReport } from './balance-report.ts';
import type { CloneRequest } from './clone-request.ts';
import { parseErrorBody } from './errors.ts';
import type { GuestEvent } from './event-log.ts';
import type { GuestAction, GuestChange } from './guest-change.ts';
import type { DiskAction, DiskView } from './guest-disks.ts';
import type { LogRecord, LogStream } from './guest-log.ts';
import type { NetworkChange, NetworkView } from './guest-network.ts';
import type { GuestView } from './guest-record.ts';
import type { GuestRequest } from './guest-request.ts';
import type { HostInfo } from './host-info.ts';
import { openStateFolder, type StatePaths } from './paths.ts';
import type { SharingReport } from './sharing-report.ts';
import type { SwitchChange, SwitchView } from './switches.ts';

export interface DaemonClientOptions {
  /** Default: DOMUS_STATE, or `domus` in the user's state folder. */
  readonly stateFolder?: string;
  /** The script that starts a host process with the argument `daemon`. */
  readonly entry: string;
}

export interface LogOptions {
  readonly streams?: readonly LogStream[];
  readonly tail?: number;
  /** ISO 8601. */
  readonly since?: string;
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
}

export interface RemoteCommand extends Omit<CommandOptions, 'signal'> {
  readonly command: readonly string[];
}

const START_MS_MAX = 60_000;
const START_POLL_MS = 20;

/** Of the system, for a connection that failed. */
const codeOf = (error: unknown): string => (error as { code?: string } | undefined)?.code ?? '';
/** What a connection attempt says when nobody serves. */
const NOBODY = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE']);

const gone = (cause?: unknown) =>
  new DomusError(
    'E_DAEMON_GONE',
    'the host process has ended, and its guests with it',
    '"domus list" shows what is left',
    { cause },
  );

async function textOf(answer: LocalAnswer): Promise<string> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of answer.body) chunks.push(chunk);
  } catch (error) {
    throw gone(error);
  }
  return new TextDecoder().decode(concatenate(chunks));
}

/** Lines of a reply as they come. */
async function* linesOf(answer: LocalAnswer): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let pending = '';
  try {
    for await (const chunk of answer.body) {
      const pieces = (pending + decoder.decode(chunk, { stream: true })).split('\n');
      pending = pieces.pop() ?? '';
      for (const piece of pieces) if (piece !== '') yield JSON.parse(piece);
    }
  } catch (error) {
    throw gone(error);
  }
}

export interface Cloned {
  readonly guests: readonly GuestView[];
  /** For so many milliseconds their parent was held. */
  readonly heldMs: number;
}

export class Daemon {
  readonly #paths: StatePaths;
  readonly #token: string;

  private constructor(paths: StatePaths, token: string) {
    this.#paths = paths;
    this.#token = token;
  }

  /** Connect to the host process, and start one if there is none. @throws DomusError E_STATE_FOLDER, E_DAEMON_START */
  static async connect(options: DaemonClientOptions): Promise<Daemon> {
    const paths = await openStateFolder(options.stateFolder ?? defaultStateFolder());
    return (await Daemon.#find(paths)) ?? Daemon.#start(paths, options);
  }

  /** Connect if there is a host process, or guests of an earlier one to tell of. */
  static async connectIfAny(options: DaemonClientOptions): Promise<Daemon | undefined> {
    const paths = await openStateFolder(options.stateFolder ?? defaultStateFolder());
    const found = await Daemon.#find(paths);
    if (found || (await listFolder(paths.guests)).length === 0) return found;
    return Daemon.#start(paths, options);
  }

  static async #find(paths: StatePaths): Promise<Daemon | undefined> {
    if (!(await isOwnSocket(paths.socket))) return undefined;
    const token = await readIfPresent(paths.token);
    if (!token) return undefined;
    const daemon = new Daemon(paths, new TextDecoder().decode(token));
    try {
      const answer = await daemon.#call('GET', '/v1/version');
      await textOf(answer);
      return answer.status === 200 ? daemon : undefined;
    } catch (error) {
      if (NOBODY.has(codeOf(error)) || codeOf(error) === 'E_DAEMON_GONE') return undefined;
      throw error;
    }
  }

  static #start(paths: StatePaths, { entry }: DaemonClientOptions): Promise<Daemon> {
    return withLock(paths.lock, async () => {
      const found = await Daemon.#find(paths);
      if (found) return found;
      // Of a host process that was killed. Only the holder of the lock may take it away.
      await removeFile(paths.socket);
      await removeFile(paths.log);
      let hasEnded = false;
      startDetached(entry, ['daemon'], paths.log, () => {
        hasEnded = true;
      });
      for (let waitedMs = 0; waitedMs < START_MS_MAX && !hasEnded; waitedMs += START_POLL_MS) {
        await sleep(START_POLL_MS);
        const daemon = await Daemon.#find(paths);
        if (daemon) return daemon;
      }
      const said = new TextDecoder()
        .decode(await readIfPresent(paths.log))
        .trim()
        .split('\n')
        .at(-1);
      throw new DomusError(
        'E_DAEMON_START',
        `the host process did not start${said ? `: ${said.replace(/^domus: /, '')}` : ''}`,
        `see ${paths.log}`,
      );
    });
  }

  #request(method: string, path: string, body?: string, signal?: AbortSignal) {
    return {
      socketPath: this.#paths.socket,
      authorization: `Bearer ${this.#token}`,
      method,
      path,
      signal,
      ...(body !== undefined && { body }),
    };
  }

  #call(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<LocalAnswer> {
    return this.forward(method, path, body === undefined ? undefined : JSON.stringify(body), signal);
  }

  /**
   * A request of somebody who speaks the interface (docs/api/openapi.json), and its answer, as they are. Rejects with the system's error
   * when there is no connection.
   */
  forward(method: string, path: string, body?: string, signal?: AbortSignal): Promise<LocalAnswer> {
    return callLocal(this.#request(method, path, body, signal));
  }
  /** Likewise a connection that leaves HTTP for the agent's frames, or the answer that refuses it. */
  forwardFrames(path: string): Promise<{ stream: ByteStream } | LocalAnswer> {
    return upgradeLocal(this.#request('GET', path), FRAMES_PROTOCOL);
  }

  /** @throws DomusError of the host process, E_DAEMON_GONE */
  async #ask(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<LocalAnswer> {
    let answer: LocalAnswer;
    try {
      answer = await this.#call(method, path, body, signal);
    } catch (error) {
      signal?.throwIfAborted();
      throw gone(error);
    }
    if (answer.status !== 200) throw parseErrorBody(await textOf(answer));
    return answer;
  }

  async #askGuest(method: string, path: string, signal?: AbortSignal, body?: unknown): Promise<GuestView> {
    const answer = await this.#ask(method, path, body, signal);
    return (JSON.parse(await textOf(answer)) as { guest: GuestView }).guest;
  }

  async list(): Promise<readonly GuestView[]> {
    const answer = await this.#ask('GET', '/v1/guests');
    return (JSON.parse(await textOf(answer)) as { guests: GuestView[] }).guests;
  }

  /** Settles when the guest's command has begun. */
  async create(
    request: GuestRequest,
    onPhase: (phase: Phase) => void = () => {},
    signal?: AbortSignal,
  ): Promise<GuestView> {
    const answer = await this.#ask('POST', '/v1/guests', request, signal);
    for await (const line of linesOf(answer)) {
      const { phase, guest } = line as { phase?: Phase; guest?: GuestView };
      if (phase) onPhase(phase);
      else if (guest) return guest;
      else throw parseErrorBody(JSON.stringify(line));
    }
    throw gone();
  }

  guest(name: string): Promise<GuestView> {
    return this.#askGuest('GET', guestPath(name));
  }
  /** The guest's record as it was at its end. */
  destroy(name: string): Promise<GuestView> {
    return this.#askGuest('DELETE', guestPath(name));
  }
  /** Write a running guest to a file, named by an absolute path; with `ends` it does not go on. */
  save(name: string, path: string, ends: boolean): Promise<GuestView> {
    return this.#askGuest('POST', guestPath(name, 'save'), undefined, { path, ends });
  }
  /** Change a running guest. Settles when it has been asked; what it does about it is seen later. */
  change(name: string, change: GuestChange): Promise<GuestView> {
    return this.#askGuest('PATCH', guestPath(name), undefined, change);
  }
  /** Pause it, let it go on, ask it to end, or press a key. */
  act(name: string, action: GuestAction): Promise<GuestView> {
    return this.#askGuest('POST', guestPath(name, 'actions'), undefined, action);
  }

  async disks(name: string): Promise<readonly DiskView[]> {
    return disksIn(await this.#ask('GET', guestPath(name, 'disks')));
  }
  /** Its path is absolute. Settles when the guest has been told of it. */
  async attachDisk(name: string, spec: DiskSpec): Promise<DiskView> {
    return diskIn(await this.#ask('POST', guestPath(name, 'disks'), spec));
  }
  /** Settles when the guest has given it back; those that are left. */
  async detachDisk(name: string, device: string): Promise<readonly DiskView[]> {
    return disksIn(await this.#ask('DELETE', diskPath(name, device)));
  }
  /** Keep, clone, merge or resize a disk while the guest goes on; paths are absolute. */
  async actOnDisk(name: string, device: string, action: DiskAction): Promise<DiskView> {
    return diskIn(await this.#ask('POST', `${diskPath(name, device)}/actions`, action));
  }

  /** Undefined for a guest without one. */
  async network(name: string): Promise<NetworkView | undefined> {
    return networkIn(await this.#ask('GET', guestPath(name, 'network')));
  }
  /** Change the faults, the rules and the capture while the guest goes on. */
  async changeNetwork(name: string, change: NetworkChange): Promise<NetworkView> {
    return (await networkIn(await this.#ask('PATCH', guestPath(name, 'network'), change))) as NetworkView;
  }
  async switches(): Promise<readonly SwitchView[]> {
    const answer = await this.#ask('GET', '/v1/switches');
    return (JSON.parse(await textOf(answer)) as { switches: SwitchView[] }).switches;
  }
  /** Part a switch between guests, or heal it. */
  async changeSwitch(name: string, change: SwitchChange): Promise<SwitchView> {
    const answer = await this.#ask('PATCH', `/v1/switches/${encodeURIComponent(name)}`, change);
    return (JSON.parse(await textOf(answer)) as { switch: SwitchView }).switch;
  }

  async info(): Promise<HostInfo & { readonly version: string }> {
    const answer = await this.#ask('GET', '/v1/info');
    return JSON.parse(await textOf(answer)) as HostInfo & { version: string };
  }
  /** What page sharing does for the guests. */
  async sharing(): Promise<SharingReport> {
    return JSON.parse(await textOf(await this.#ask('GET', '/v1/sharing'))) as SharingReport;
  }
  /** Let the scan use so much of a processor from now on; 0 ends it. */
  async setSharing(change: { readonly cpuPercent: number }): Promise<SharingReport> {
    return JSON.parse(await textOf(await this.#ask('PATCH', '/v1/sharing', change))) as SharingReport;
  }
  /** How much memory moves between guests by need. */
  async balance(): Promise<BalanceReport> {
    return JSON.parse(await textOf(await this.#ask('GET', '/v1/memory'))) as BalanceReport;
  }
  /** What guests whose memory goes by need have together; null: what they usually have. */
  async setMemoryBudget(budgetBytes: number | null): Promise<BalanceReport> {
    return JSON.parse(await textOf(await this.#ask('PATCH', '/v1/memory', { budgetBytes }))) as BalanceReport;
  }
  /** What has happened to guests of this host process; with `follow` until the signal. */
  async *events({
    follow = false,
    signal,
  }: {
    readonly follow?: boolean;
    readonly signal?: AbortSignal;
  } = {}) {
    const answer = await this.#ask('GET', `/v1/events${follow ? '?follow=1' : ''}`, undefined, signal);
    for await (const line of linesOf(answer)) yield line as GuestEvent;
  }
  async clearEvents(): Promise<void> {
    await textOf(await this.#ask('DELETE', '/v1/events'));
  }

  /** Settles when all of them run. */
  async clone(name: string, request: CloneRequest): Promise<Cloned> {
    const answer = await this.#ask('POST', guestPath(name, 'clone'), request);
    return JSON.parse(await textOf(answer)) as Cloned;
  }
  /** Settles when the guest no longer runs. */
  wait(name: string, signal?: AbortSignal): Promise<GuestView> {
    return this.#askGuest('GET', guestPath(name, 'wait'), signal);
  }

  async *logs(name: string, options: LogOptions = {}): AsyncGenerator<LogRecord> {
    const { streams, tail, since, follow, signal } = options;
    const query = new URLSearchParams({
      ...(streams && { streams: streams.join(',') }),
      ...(tail !== undefined && { tail: String(tail) }),
      ...(since !== undefined && { since }),
      ...(follow && { follow: '1' }),
    });
    const answer = await this.#ask('GET', `${guestPath(name, 'logs')}?${query}`, undefined, signal);
    for await (const line of linesOf(answer)) yield line as LogRecord;
  }

  /** Run a command in a guest; set the listeners at once. */
  exec(name: string, command: RemoteCommand): Promise<RunningCommand> {
    return this.#open(guestPath(name, 'exec'), command);
  }

  /** The guest's console as a command's streams; it ends with the guest, or when it is killed. */
  console(name: string): Promise<RunningCommand> {
    return this.#open(guestPath(name, 'console'), { command: [], hasInput: true });
  }

  async #open(path: string, command: RemoteCommand): Promise<RunningCommand> {
    let answer: { stream: ByteStream } | LocalAnswer;
    try {
      answer = await this.forwardFrames(path);
    } catch (error) {
      throw gone(error);
    }
    if (!('stream' in answer)) throw parseErrorBody(await textOf(answer));
    const { stream } = answer;
    const channel = openAgentChannel(stream, {
      encode: () => new TextEncoder().encode(JSON.stringify(command)),
      explain: payload => parseErrorBody(new TextDecoder().decode(payload)),
    });
    stream.onClose(() => channel.finish(gone()));
    const running = channel.run({
      argv: command.command,
      env: {},
      hasInput: command.hasInput ?? false,
      ...(command.terminal && { terminal: command.terminal }),
    });
    // A connection that has served its command is of no use.
    running.exit.then(stream.close, stream.close);
    return running;
  }
}

const diskPath = (name: string, device: string): string =>
  guestPath(name, `disks/${encodeURIComponent(device)}`);
const networkIn = async (answer: LocalAnswer): Promise<NetworkView | undefined> =>
  (JSON.parse(await textOf(answer)) as { network: NetworkView | null }).network ?? undefined;
const disksIn = async (answer: LocalAnswer): Promise<readonly DiskView[]> =>
  (JSON.parse(await textOf(answer)) as { disks: DiskView[] }).disks;
const diskIn = async (answer: LocalAnswer): Promise<DiskView> =>
  (JSON.parse(await textOf(answer)) as { disk: DiskView }).disk;
const guestPath = (name: string, what?: string): string =>
  `/v1/guests/${encodeURIComponent(name)}${what ? `/${what}` : ''}`;
