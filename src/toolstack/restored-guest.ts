/** A guest that goes on from a saved machine instead of booting. */
import { DomusError } from '../base/errors.ts';
import type { PcpuSeat } from '../hypervisor/shared-pcpu.ts';
import type { Platform } from '../platform/platform.ts';
import { openSaved, type SavedState } from '../state/file.ts';
import { abortError } from './abort.ts';
import type { Phase } from './boot.ts';
import type { GuestPurpose, GuestWorld } from './guest-builder.ts';
import { regionsFolder, shareOf, takeTurn } from './guest-builder.ts';
import type { GuestMachine } from './machine.ts';
import { factsOf, type MachineFacts } from './machine-facts.ts';
import { type CheckedOptions, checkOptions, type MachineOptions } from './machine-options.ts';
import { roomForTrail } from './machine-shape.ts';
import { type NetworkOptions, VirtualNetwork } from './network.ts';
import type { GuestShare, ScheduledTurn } from './run-turns.ts';
import { closeKeptDisks, type OpenedDisk, openKeptDisks } from './saved-disk.ts';
import { restoredPlan } from './saved-machine.ts';
import { GuestTrail } from './trails.ts';
import { VirtualMachine } from './virtual-machine.ts';

/** What a restored machine may have otherwise than the one that was saved. */
export type RestoreOptions = Pick<
  MachineOptions,
  'pcpus' | 'weight' | 'cap' | 'engine' | 'trace' | 'gdbPort' | 'console' | 'onPhase' | 'signal'
> & {
  /** Of a guest with a NAT: what it may reach, and which ports lead to it. What the guest itself knows of it stays. */
  readonly networkRules?: Omit<NetworkOptions, 'mode' | 'mac' | 'mtu'> | undefined;
};

/** A saved machine, and how its disks are opened. */
export interface Restorable {
  readonly saved: SavedState;
  readonly facts: MachineFacts;
  openDisks(): Promise<OpenedDisk[]>;
  readonly trail?: GuestTrail | undefined;
}

/** Ready to start. @throws DomusError E_SAVE_*, E_DISK_* */
export async function restoreGuest(
  world: GuestWorld,
  path: string,
  options: RestoreOptions,
  purpose: Pick<GuestPurpose, 'isThrowaway' | 'onDestroyed'>,
): Promise<VirtualMachine> {
  const phase: Phase = { name: 'restore', detail: `going on from ${path}` };
  world.onPhase(phase);
  options.onPhase?.(phase);
  const saved = openSaved(path);
  const { runsFolder } = world.images.store;
  let facts: MachineFacts;
  let trail: GuestTrail | undefined;
  try {
    facts = factsOf(saved);
    // Guests that stay have time, and memory that is better not taken before it is needed.
    if (purpose.isThrowaway && !world.platform.isDeterministic) trail = GuestTrail.of(saved);
  } catch (error) {
    saved.close();
    throw error;
  }
  const openDisks = () => openKeptDisks(facts, path, runsFolder);
  return goOn(world, { saved, facts, openDisks, trail }, options, purpose);
}

/** The machine around a saved domain. Closes `saved`, now or with the guest. */
export async function goOn(
  world: GuestWorld,
  { saved, facts, openDisks, trail: guestTrail }: Restorable,
  options: RestoreOptions,
  purpose: Pick<GuestPurpose, 'isThrowaway' | 'onDestroyed'>,
): Promise<VirtualMachine> {
  const { signal, trace, gdbPort, console, pcpus, engine } = options;
  const platform = { ...world.platform, pacer: world.platform.newPacer?.() ?? world.platform.pacer };
  let machine: GuestMachine | undefined;
  let turn: GuestShare | undefined;
  let network: VirtualNetwork | undefined;
  let disks: readonly OpenedDisk[] = [];
  const cleanUp = async (): Promise<void> => {
    for (const { remove } of disks) await remove();
  };
  try {
    const checked = checkOptions({
      memory: facts.memoryBytes,
      vcpus: facts.vcpus,
      ...{ pcpus: pcpus ?? 1, weight: options.weight, cap: options.cap },
      ...(engine !== undefined && { engine }),
    });
    if (checked.engine === 'lockstep') {
      throw new DomusError(
        'E_SAVE_UNSUPPORTED',
        'a saved guest cannot go on with a second one in lockstep',
        'leave out --engine',
      );
    }
    const room = guestTrail && roomForTrail({ ...checked, saved, platform, trace, gdbPort });
    if (room) guestTrail.prepare(room);
    const { commandLine, nrConsoles, connect } = restoredPlan(saved, facts, platform, purpose.isThrowaway);
    disks = await openDisks();
    network = await openNetwork(world, platform, facts, options);
    const machineDisks = disks.map(({ machineDisk }) => machineDisk);
    const place = takePlace(world, saved, options, checked);
    turn = place.seat ?? place.turn;
    machine = await world.parts.createMachine({
      ...checked,
      saved,
      commandLine,
      nrConsoles,
      networks: network ? [network.interface] : [],
      disks: machineDisks,
      regionsFolder: regionsFolder(),
      ...(guestTrail && { trail: guestTrail }),
      generationId: randomOf(platform, 16),
      platform,
      sharer: world.sharer,
      ...place,
      trace,
      gdbPort,
    });
    if (signal?.aborted) throw abortError(signal);
    const vm: VirtualMachine = new VirtualMachine(
      { machine, disks: machineDisks },
      {
        connect,
        platform,
        shape: facts,
        onPhase: phase => {
          world.onPhase(phase);
          options.onPhase?.(phase);
        },
        console,
        turn,
        network,
        image: facts.image,
        onDestroyed: () => purpose.onDestroyed(vm),
        cleanUp,
      },
    );
    return vm;
  } catch (error) {
    if (machine) {
      await machine.destroy();
      await cleanUp();
    } else {
      guestTrail?.close();
      saved.close();
      await closeKeptDisks(disks);
    }
    turn?.leave();
    await network?.close();
    throw error;
  }
}

/**
 * Where the vCPUs are executed: those of a clone, of which there may be many, wherever the least is done; others here.
 * @throws DomusError E_DOMAINS
 */
function takePlace(
  world: GuestWorld,
  { pages }: SavedState,
  options: RestoreOptions,
  checked: CheckedOptions,
): { readonly seat?: PcpuSeat; readonly turn?: ScheduledTurn } {
  const isWatched = options.trace !== undefined || options.gdbPort !== undefined;
  const mayMove = !('fd' in pages) && checked.pcpus === 1 && !isWatched;
  const seat = mayMove ? world.pcpus.take(shareOf(options)) : undefined;
  if (seat) return { seat };
  const turn = takeTurn(world, options, checked);
  return turn ? { turn } : {};
}

function randomOf({ entropy }: Platform, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  entropy.fill(bytes);
  return bytes;
}

async function openNetwork(
  { sockets, switches }: GuestWorld,
  platform: GuestWorld['platform'],
  { network: facts }: MachineFacts,
  { networkRules }: RestoreOptions,
): Promise<VirtualNetwork | undefined> {
  if (!facts) return undefined;
  const { mac, mtu, ...rules } = facts;
  const chosen = Object.fromEntries(
    Object.entries({ ...rules, ...networkRules }).filter(([, value]) => value !== undefined),
  );
  const network = await VirtualNetwork.open(
    { ...chosen, mac, mtu },
    { kind: 'nat' },
    { platform, sockets, switches },
  );
  try {
    await network.publish();
    return network;
  } catch (error) {
    await network.close();
    throw error;
  }
}
