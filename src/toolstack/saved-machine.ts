/**
 * A saved machine as the toolstack sees it: what has to be built around the domain before it can go on, and the agent's channel. The
 * facts are JSON text in the record `machine`.
 */
import { DomusError } from '../base/errors.ts';
import { openAgentChannel } from '../image/guest-agent/agent-channel.ts';
import { type AgentState, decodeAgentState, encodeAgentState } from '../image/guest-agent/agent-state.ts';
import { RESUME_SEED_BYTES } from '../image/guest-agent/frames.ts';
import { readPackageVersion } from '../platform/node/files.ts';
import type { Platform } from '../platform/platform.ts';
import { type SavedFile, writeSaved } from '../state/file.ts';
import { damaged, RecordType, type SavedRecord } from '../state/format.ts';
import { recordOf } from '../state/restore-domain.ts';
import type { SavedDomain } from '../state/save-domain.ts';
import type { BootPlan } from './boot.ts';
import { checkMemory, checkVcpus } from './config.ts';

export interface MachineFacts {
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly nrConsoles: number;
}

const NR_CONSOLES_MAX = 10;

function encodeFacts({ memoryBytes, vcpus, nrConsoles }: MachineFacts): Uint8Array {
  const facts = { domus: readPackageVersion(), memoryBytes, vcpus, nrConsoles };
  return new TextEncoder().encode(JSON.stringify(facts));
}

/** @throws DomusError E_SAVE_DAMAGED */
export function factsOf({ records }: SavedFile): MachineFacts {
  const text = new TextDecoder().decode(recordOf(records, RecordType.machine, 'the machine'));
  try {
    const { memoryBytes, vcpus, nrConsoles } = JSON.parse(text) as MachineFacts;
    const isGood = Number.isInteger(nrConsoles) && nrConsoles >= 1 && nrConsoles <= NR_CONSOLES_MAX;
    if (isGood) return { memoryBytes: checkMemory(memoryBytes), vcpus: checkVcpus(vcpus), nrConsoles };
  } catch {
    // As below.
  }
  throw damaged('what it says about the machine');
}

/** @throws DomusError E_SAVE_FILE */
export function writeMachine(
  path: string,
  facts: MachineFacts,
  { records, pages }: SavedDomain,
  agent: AgentState | undefined,
  isDurable: boolean,
): void {
  const own: SavedRecord[] = [{ type: RecordType.machine, payload: encodeFacts(facts) }];
  if (agent) own.push({ type: RecordType.agent, payload: encodeAgentState(agent) });
  writeSaved(path, [...own, ...records], pages, isDurable);
}

/** In a boot plan's place: nothing is booted, and the agent is there already. */
export function restoredPlan(saved: SavedFile, platform: Platform, isThrowaway: boolean): BootPlan {
  const { nrConsoles } = factsOf(saved);
  const plan: BootPlan = { commandLine: '', nrConsoles };
  const [record] = saved.records.get(RecordType.agent) ?? [];
  if (!record) return plan;
  const state = decodeAgentState(record);
  return {
    ...plan,
    connect: ([, channel]) => {
      if (!channel) throw damaged("the console of the agent's channel is missing");
      return openAgentChannel(channel, { isThrowaway, resume: { state, payload: resumePayload(platform) } });
    },
  };
}

/** The time of day, and randomness that no other copy of the guest gets. */
function resumePayload({ clock, entropy }: Platform): Uint8Array {
  const payload = new Uint8Array(16 + RESUME_SEED_BYTES);
  const view = new DataView(payload.buffer);
  const nowNs = clock.wallNs();
  view.setBigUint64(0, nowNs / 1_000_000_000n, true);
  view.setBigUint64(8, nowNs % 1_000_000_000n, true);
  entropy.fill(payload.subarray(16));
  return payload;
}

/** @throws DomusError E_SAVE_UNSUPPORTED */
export const cannotSave = (what: string): never => {
  throw new DomusError(
    'E_SAVE_UNSUPPORTED',
    `a guest with ${what} cannot be saved yet`,
    'start one without it',
  );
};
