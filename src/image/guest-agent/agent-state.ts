/**
 * What the host's end of the agent's channel has to remember of a guest that is saved: frames that are half-way in either direction,
 * and commands that run. As JSON text, in the record `agent` of a saved machine.
 */
import { DomusError } from '../../base/errors.ts';
import { fromHex, toHex } from '../../platform/node/text-codecs.ts';
import { DATA_BYTES, HEADER_BYTES, SESSIONS, VERSION, WINDOW_BYTES } from './frames.ts';

export interface AgentState {
  /** Of the protocol, as the guest's agent speaks it. */
  readonly version: number;
  /** The agent has said that it takes commands. */
  readonly isReady: boolean;
  /** What has come of a frame of the guest's. */
  readonly received: Uint8Array;
  /** What the guest has not taken yet, from the middle of a frame on perhaps. */
  readonly unsent: Uint8Array;
  readonly sessions: readonly {
    readonly id: number;
    /** Bytes of output and of error output that the guest was not told to be taken. */
    readonly owed: readonly [number, number];
  }[];
}

/** More than this never waits: each session may have sent a window, and started with less than a window. */
const UNSENT_MAX = 64 << 20;

export function encodeAgentState({ version, isReady, received, unsent, sessions }: AgentState): Uint8Array {
  const text = JSON.stringify({
    protocol: version,
    isReady,
    received: toHex(received),
    unsent: toHex(unsent),
    sessions,
  });
  return new TextEncoder().encode(text);
}

/** @throws DomusError E_SAVE_DAMAGED, E_SAVE_VERSION */
export function decodeAgentState(record: Uint8Array): AgentState {
  const bad = (what: string) =>
    new DomusError('E_SAVE_DAMAGED', `the saved machine is damaged: ${what}`, 'save the machine again');
  let found: Record<string, unknown>;
  try {
    found = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(record)) as Record<string, unknown>;
  } catch {
    throw bad("the state of the agent's channel is no JSON");
  }
  const { protocol, isReady, received, unsent, sessions } = found ?? {};
  if (typeof protocol === 'number' && protocol > VERSION) {
    throw new DomusError(
      'E_SAVE_VERSION',
      `the saved machine was made by a later version of Domus: its agent speaks version ${protocol}`,
      'restore it with that version',
    );
  }
  const isList = Array.isArray(sessions) && sessions.length <= SESSIONS && sessions.every(isSession);
  const isText = (text: unknown, bytesMax: number): text is string =>
    typeof text === 'string' && text.length <= 2 * bytesMax && /^(?:[0-9a-f]{2})*$/.test(text);
  const isGood =
    Number.isInteger(protocol) &&
    typeof isReady === 'boolean' &&
    isText(received, HEADER_BYTES + DATA_BYTES) &&
    isText(unsent, UNSENT_MAX) &&
    isList;
  if (!isGood) throw bad("the state of the agent's channel");
  return {
    version: protocol as number,
    isReady,
    received: fromHex(received),
    unsent: fromHex(unsent),
    sessions: sessions as AgentState['sessions'],
  };
}

function isSession(each: unknown): boolean {
  const { id, owed } = (each ?? {}) as { id?: unknown; owed?: unknown };
  const isUpTo = (value: unknown, most: number) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;
  return (
    isUpTo(id, SESSIONS - 1) &&
    Array.isArray(owed) &&
    owed.length === 2 &&
    owed.every(count => isUpTo(count, WINDOW_BYTES))
  );
}
