/**
 * A saved machine as the toolstack sees it: what has to be built around the domain before it can go on, and the agent's channel. The
 * facts (machine-facts.ts) are in the record `machine`.
 */
import { openAgentChannel } from '../image/guest-agent/agent-channel.ts';
import { type AgentState, decodeAgentState, encodeAgentState } from '../image/guest-agent/agent-state.ts';
import { RESUME_SEED_BYTES } from '../image/guest-agent/frames.ts';
import type { Platform } from '../platform/platform.ts';
import { type SavedState, writeSaved } from '../state/file.ts';
import { damaged, RecordType, type SavedRecord } from '../state/format.ts';
import type { SavedDomain } from '../state/save-domain.ts';
import type { BootPlan } from './boot.ts';
import { encodeFacts, type MachineFacts } from './machine-facts.ts';

/** @throws DomusError E_SAVE_FILE */
export function writeMachine(
  path: string,
  facts: MachineFacts,
  { records, pages }: SavedDomain,
  agent: AgentState | undefined,
  isDurable: boolean,
): void {
  writeSaved(path, [...machineRecords(facts, agent), ...records], pages, isDurable);
}

/** What the toolstack adds to a domain's records. */
export function machineRecords(facts: MachineFacts, agent: AgentState | undefined): SavedRecord[] {
  const records: SavedRecord[] = [{ type: RecordType.machine, payload: encodeFacts(facts) }];
  if (agent) records.push({ type: RecordType.agent, payload: encodeAgentState(agent) });
  return records;
}

/** In a boot plan's place: nothing is booted, and the agent is there already. */
export function restoredPlan(
  { records }: Pick<SavedState, 'records'>,
  { nrConsoles }: MachineFacts,
  platform: Platform,
  isThrowaway: boolean,
): BootPlan {
  const plan: BootPlan = { commandLine: '', nrConsoles };
  const [record] = records.get(RecordType.agent) ?? [];
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
