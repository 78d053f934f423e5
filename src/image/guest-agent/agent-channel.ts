/**
 * The host's end of the agent's channel: one console of a guest, or any other pair of byte streams, becomes commands that run at
 * the same time, each with stdin, stdout, stderr and an exit code. assembly/index.ts is the other end, frames.ts the protocol.
 *
 * Everything that comes from the guest is hostile: frames are bounded, and so is what may wait of each stream. A guest that does
 * not keep to the protocol loses its channel.
 */
import { DomusError } from '../../base/errors.ts';
import { type ConsoleStream, consoleWriter } from '../console-writer.ts';
import type { AgentState } from './agent-state.ts';
import {
  DATA_BYTES,
  encodeFrame,
  Frame,
  frameParser,
  numberOf,
  OLDEST_VERSION,
  SESSIONS,
  VERSION,
  VERSION_WITH_IDENTITY,
} from './frames.ts';
import { checkIdentity, encodeIdentity, type Identity } from './identity.ts';
import { decodeMemoryReport, type MemoryReport } from './memory-report.ts';
import { type RunningCommand, Session } from './session.ts';
import { type CommandSpec, encodeStart } from './start.ts';

export interface AgentChannel {
  /** The guest is up and takes commands. */
  readonly ready: Promise<void>;
  /** Whether commands may follow one another. */
  readonly isReusable: boolean;
  /** Start a command. @throws DomusError E_RUN_ARGUMENT, E_BUSY */
  run(command: CommandSpec): RunningCommand;
  /** Ask what the guest's kernel says about memory. An agent that was saved by an earlier version never answers. */
  memory(): Promise<MemoryReport>;
  /**
   * Tell a copy of a guest who it is from now on, before anything else runs in it. Undefined, and nothing done, where its agent was saved by
   * a version that cannot take it. @throws DomusError E_IDENTITY
   */
  identify(identity: Identity): Promise<void> | undefined;
  /** What another host needs to go on with the guest. */
  state(): AgentState;
  /** Ask the guest to power off. */
  stop(): void;
  /**
   * To be called when the guest is gone and its consoles have handed over their last bytes. Commands whose exit codes have not been
   * reported by then fail with `reason`.
   */
  finish(reason?: unknown): void;
}

export interface AgentChannelOptions {
  /** The guest serves one command and is then told to power off. */
  readonly isThrowaway?: boolean;
  /** How START is written, where it is not the agent itself that reads it. */
  readonly encode?: (spec: CommandSpec) => Uint8Array;
  /** The guest was restored: the state of its channel, and the payload of RESUME. */
  readonly resume?: { readonly state: AgentState; readonly payload: Uint8Array } | undefined;
  /** What FAILED says, likewise. */
  readonly explain?: (payload: Uint8Array) => Error;
}

const NOTHING = new Uint8Array(0);

/** The guest's words, made fit for a terminal. */
function guestFailure(payload: Uint8Array): Error {
  const why = new TextDecoder().decode(payload).replace(/[^\x20-\x7e]/g, '?');
  return new DomusError('E_RUN_GUEST', `the guest cannot run commands: ${why}`);
}

export function openAgentChannel(
  channel: ConsoleStream,
  { isThrowaway = false, encode = encodeStart, explain = guestFailure, resume }: AgentChannelOptions = {},
): AgentChannel {
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => {});
  let isReady = false;
  const writer = consoleWriter(channel);
  const sessions = new Map<number, Session>();
  let failure: unknown;
  /** As the guest's agent speaks it. */
  let version = resume?.state.version ?? VERSION;
  let identified: PromiseWithResolvers<number | undefined> | undefined;
  /** One question at a time. */
  let asked: PromiseWithResolvers<MemoryReport> | undefined;

  /** In order, once the guest is ready. */
  const send = (type: number, stream: number, session: number, payload: Uint8Array): Promise<void> =>
    ready.promise.then(
      () =>
        failure === undefined ? writer.write(encodeFrame({ type, stream, session }, payload)) : undefined,
      () => {},
    );
  const fail = (error: unknown): void => {
    failure ??= error;
    ready.reject(failure);
    for (const session of sessions.values()) session.fail(failure);
    sessions.clear();
    asked?.reject(failure);
    identified?.reject(failure);
    writer.drop();
  };
  const parse = frameParser(DATA_BYTES, ({ type, stream, session: id }, payload) => {
    const value = numberOf(payload);
    if (type === Frame.ready) {
      if (value === undefined || value < OLDEST_VERSION || value > VERSION)
        throw new DomusError('E_CHANNEL', 'the agent in the guest is of another version');
      version = value;
      becomeReady();
      return;
    }
    if (type === Frame.failed) throw explain(payload);
    if (type === Frame.memory) {
      asked?.resolve(decodeMemoryReport(payload));
      asked = undefined;
      return;
    }
    if (type === Frame.identity) {
      identified?.resolve(value);
      return;
    }
    const session = sessions.get(id);
    if (type === Frame.exit && value !== undefined) sessions.delete(id);
    session?.receive(type, stream, payload, value);
  });
  const becomeReady = (): void => {
    isReady = true;
    ready.resolve();
  };
  if (resume) {
    const { state, payload } = resume;
    parse(state.received);
    void writer.write(state.unsent);
    if (state.isReady) {
      void writer.write(encodeFrame({ type: Frame.resume, stream: 0, session: 0 }, payload));
      becomeReady();
    }
    for (const { id, owed } of state.sessions) {
      const session = new Session((type, stream, bytes) => send(type, stream, id, bytes), false);
      sessions.set(id, session);
      session.adopt(owed);
    }
  }
  channel.onData(bytes => {
    if (failure !== undefined) return;
    try {
      parse(bytes);
    } catch (error) {
      fail(error);
    }
  });

  const freeId = (): number => {
    for (let id = 0; id < SESSIONS; id++) if (!sessions.has(id)) return id;
    throw new DomusError(
      'E_BUSY',
      `${SESSIONS} commands are running in this guest`,
      'wait for the end of one of them',
    );
  };

  return {
    ready: ready.promise,
    isReusable: !isThrowaway,
    run(spec) {
      const start = encode(spec);
      const id = freeId();
      const session = new Session(
        (type, stream, payload) => send(type, stream, id, payload),
        spec.terminal !== undefined,
      );
      if (failure !== undefined) {
        session.fail(failure);
        return session;
      }
      sessions.set(id, session);
      void send(Frame.start, 0, id, start);
      if (isThrowaway) {
        session.exit.then(
          () => send(Frame.stop, 0, 0, NOTHING),
          () => {},
        );
      }
      return session;
    },
    memory() {
      if (asked) return asked.promise;
      asked = Promise.withResolvers();
      asked.promise.catch(() => {});
      if (failure === undefined) void send(Frame.memory, 0, 0, NOTHING);
      else asked.reject(failure);
      return asked.promise;
    },
    identify(identity) {
      if (version < VERSION_WITH_IDENTITY) return undefined;
      identified = Promise.withResolvers();
      if (failure === undefined) void send(Frame.identity, 0, 0, encodeIdentity(identity));
      else identified.reject(failure);
      return identified.promise.then(checkIdentity);
    },
    state: () => ({
      version,
      isReady,
      received: parse.partial(),
      unsent: writer.waiting(),
      sessions: Array.from(sessions, ([id, { owed }]) => ({ id, owed })),
    }),
    stop: () => void send(Frame.stop, 0, 0, NOTHING),
    finish(reason) {
      fail(
        reason ??
          new DomusError('E_RUN_NO_EXIT', 'the guest ended without reporting what the command returned'),
      );
    },
  };
}
