/**
 * The whole state of a guest as it is now: in a file, from which others go on, or for clones in this process. The guest goes on afterwards
 * and has not noticed.
 */
import { encodeAgentState } from '../image/guest-agent/agent-state.ts';
import { joinPath } from '../platform/node/cache-folder.ts';
import { RecordType, type SavedRecord } from '../state/format.ts';
import type { GuestAgent } from './boot.ts';
import type { GuestDisk } from './guest-disk.ts';
import type { ForkedMachine, GuestMachine } from './machine.ts';
import type { DiskFacts, MachineFacts } from './machine-facts.ts';
import {
  type BegunFork,
  describeSaved,
  type ForkedDisk,
  newDisksFolder,
  removeDisksFolder,
} from './saved-disk.ts';
import { beginDisksFolder, keepDisksFolder, removeLeftoversOf } from './saved-leftovers.ts';
import { writeMachine } from './saved-machine.ts';

/** The guest whose state it is. What a reboot replaces is asked for when it is needed. */
export interface StatefulGuest {
  machine(): GuestMachine;
  agent(): GuestAgent | undefined;
  readonly disks: ReadonlyMap<string, GuestDisk>;
  /** But for the disks. */
  readonly facts: MachineFacts;
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

/** See VirtualMachine.save. */
export async function saveGuest(guest: StatefulGuest, path: string, isDurable: boolean): Promise<void> {
  await removeLeftoversOf(path);
  const before = describeSaved(path)?.facts.disksFolder;
  const disksFolder = guest.disks.size > 0 ? newDisksFolder(path) : undefined;
  const folder = joinPath(path, '..', disksFolder ?? '');
  const disks: DiskFacts[] = [];
  try {
    if (disksFolder !== undefined) await beginDisksFolder(folder);
    await guest.machine().hold(
      state => {
        writeMachine(
          path,
          { ...guest.facts, disks, disksFolder },
          state,
          guest.agent()?.state?.(),
          isDurable,
        );
      },
      async () => {
        for (const disk of guest.disks.values()) disks.push(await disk.keep(folder, isDurable));
      },
    );
  } catch (error) {
    await removeDisksFolder(disksFolder, path);
    throw error;
  }
  if (disksFolder !== undefined) await keepDisksFolder(folder);
  await removeDisksFolder(before, path);
}

/** See VirtualMachine.fork. */
export async function forkGuest(guest: StatefulGuest, runsFolder: string): Promise<ForkedGuest> {
  const begun: BegunFork[] = [];
  const disks: ForkedDisk[] = [];
  const machine = guest.machine();
  try {
    for (const disk of guest.disks.values()) begun.push(await disk.beginFork(runsFolder));
    const { state: domain, seen: agent } = await machine.fork(
      () => {
        const state = guest.agent()?.state?.();
        return state ? [{ type: RecordType.agent, payload: encodeAgentState(state) }] : [];
      },
      async () => {
        for (const disk of begun) disks.push(await disk.take());
      },
    );
    return { domain, agent, facts: guest.facts, disks, heldMs: machine.heldMs };
  } catch (error) {
    for (const disk of begun.slice(disks.length)) await disk.giveUp();
    for (const { remove } of disks) await remove?.();
    throw error;
  }
}
