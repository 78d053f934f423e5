/**
 * Clones of a running guest: each goes on from its state of one moment, in this process. Memory and disks are shared with the guest until
 * somebody changes them; see hypervisor/memory-image.ts and saved-disk.ts. A clone has random numbers, a generation ID and a MAC
 * address of its own.
 */
import { DomusError } from '../base/errors.ts';
import type { Identity } from '../image/guest-agent/identity.ts';
import { formatIp, formatMac, parseIp, parseMac } from '../net/packet/address.ts';
import { recordsByType } from '../state/format.ts';
import type { GuestPurpose, GuestWorld } from './guest-builder.ts';
import { HeldRoot } from './held-root.ts';
import type { MachineFacts } from './machine-facts.ts';
import { goOn, type RestoreOptions } from './restored-guest.ts';
import { closeKeptDisks, type ForkedDisk, type OpenedDisk, openKeptDisk } from './saved-disk.ts';
import type { VirtualMachine } from './virtual-machine.ts';

export interface CloneOptions {
  /** Default 1. */
  readonly count?: number;
  /** Of a clone, by its index; without one it has its parent's. */
  readonly hostname?: (index: number) => string | undefined;
  /** Of a clone, by its index: hears its console, and more. */
  readonly restore?: (index: number) => RestoreOptions;
}

export interface Clones {
  readonly clones: readonly VirtualMachine[];
  /** For so long the parent was held. */
  readonly heldMs: number;
}

export const CLONES_MAX = 1000;
/**
 * For so long a parent may write what it has to write before it is cloned. What it does not, each clone writes some seconds later: a sixth of a
 * small command's work, and a copy of it in each clone's disk.
 */
const WRITE_BACK_MS = 250;
const HOSTNAME =
  /^[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?)*$/;

/** @throws DomusError E_CLONE_COUNT */
export function checkCount(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= CLONES_MAX) return count;
  throw new DomusError('E_CLONE_COUNT', `there cannot be ${count} clones`, `ask for 1 to ${CLONES_MAX}`);
}

/** @throws DomusError E_HOSTNAME */
export function checkHostname(name: string): string {
  if (HOSTNAME.test(name) && name.length <= 64) return name;
  throw new DomusError(
    'E_HOSTNAME',
    `"${name}" cannot be the name of a host`,
    'use letters, digits and dashes, 64 at most',
  );
}

/**
 * All of them, running, or none.
 * @throws DomusError E_SAVE_UNSUPPORTED, E_CLONE_COUNT, E_HOSTNAME, E_DISK_*
 */
export async function cloneGuest(
  world: GuestWorld,
  parent: VirtualMachine,
  { count = 1, hostname = () => undefined, restore = () => ({}) }: CloneOptions,
  onDestroyed: GuestPurpose['onDestroyed'],
): Promise<Clones> {
  checkCount(count);
  const names = Array.from({ length: count }, (_, i) => hostname(i));
  for (const name of names) if (name !== undefined) checkHostname(name);
  const { store } = world.images;
  await parent.writeBack(WRITE_BACK_MS);
  const { domain, facts, disks, agent, heldMs } = await parent.fork(store.runsFolder);
  const records = recordsByType([...domain.records, ...agent]);
  const clones: VirtualMachine[] = [];
  const introduced: Promise<void>[] = [];
  const begin = (vm: VirtualMachine, i: number): void => {
    vm.start();
    const done = introduce(vm, names[i], facts);
    // Should another one fail before, this one is not waited for.
    done.catch(() => {});
    introduced.push(done);
  };
  const roots: (HeldRoot | undefined)[] = [];
  const releases: (() => Promise<void>)[] = [];
  try {
    // Not before: a thread that begins makes the parent's rest longer.
    world.pcpus.expect(count);
    for (const { facts, path } of disks) {
      // What is only read each opens for itself.
      const root = facts.isReadOnly ? undefined : await HeldRoot.open(path, store.runsFolder);
      if (root) releases.push(root.retain());
      roots.push(root);
    }
    while (clones.length < count) {
      domain.image.retain();
      const vm = await goOn(
        world,
        {
          saved: {
            records,
            nrPages: domain.image.count,
            pages: domain.image.memory,
            retain: () => domain.image.retain(),
            close: () => domain.image.close(),
          },
          facts: withNewMac(facts, world),
          openDisks: () => openDisks(disks, roots, store.runsFolder),
        },
        restore(clones.length),
        { isThrowaway: false, onDestroyed },
      );
      clones.push(vm);
      // Another thread executes it while this one makes more.
      if (!vm.runsHere) begin(vm, clones.length - 1);
    }
    for (const [i, vm] of clones.entries()) if (vm.runsHere) begin(vm, i);
    await Promise.all(introduced);
    return { clones, heldMs };
  } catch (error) {
    await Promise.all(clones.map(vm => vm.destroy()));
    throw error;
  } finally {
    domain.image.close();
    for (const release of releases) await release();
    for (const { remove } of disks) await remove?.();
  }
}

async function openDisks(
  disks: readonly ForkedDisk[],
  roots: readonly (HeldRoot | undefined)[],
  runsFolder: string,
): Promise<OpenedDisk[]> {
  const opened: OpenedDisk[] = [];
  try {
    for (const [i, { facts, path }] of disks.entries()) {
      const root = roots[i];
      const disk = await openKeptDisk(facts, path, runsFolder, root?.disk);
      const release = root?.retain();
      const remove = async () => {
        try {
          await disk.remove();
        } finally {
          await release?.();
        }
      };
      opened.push({ ...disk, remove });
    }
    return opened;
  } catch (error) {
    await closeKeptDisks(opened);
    throw error;
  }
}

function withNewMac(facts: MachineFacts, { platform }: GuestWorld): MachineFacts {
  if (!facts.network) return facts;
  const mac = new Uint8Array(6);
  platform.entropy.fill(mac);
  mac.set([0x00, 0x16, 0x3e]);
  return { ...facts, network: { ...facts.network, mac: formatMac(mac) } };
}

/** Tell a clone who it is. A guest without the agent goes on as its parent. */
async function introduce(
  vm: VirtualMachine,
  hostname: string | undefined,
  { network: before }: MachineFacts,
): Promise<void> {
  if (!vm.takesCommands) return;
  const { network } = vm;
  const macBefore = before && parseMac(before.mac);
  if (hostname === undefined && !(network && macBefore)) return;
  const { gateway } = network?.settings ?? {};
  const identity: Identity = {
    hostname,
    ...(network &&
      macBefore && {
        network: {
          macBefore,
          mac: network.mac,
          gateway: gateway === undefined ? undefined : parseIp(gateway),
        },
      }),
  };
  if (!(await vm.identify(identity))) await introduceByCommand(vm, identity);
}

/** The same for a guest whose agent was saved before there was a frame for it. */
async function introduceByCommand(vm: VirtualMachine, { hostname, network }: Identity): Promise<void> {
  const lines: string[] = [];
  if (hostname !== undefined) lines.push(`hostname ${hostname}`);
  if (network) {
    const { macBefore, mac, gateway } = network;
    lines.push(
      `for i in /sys/class/net/*; do read -r mac <$i/address && [ "$mac" = ${formatMac(macBefore)} ] && break; done`,
      `i=\${i##*/}; ip link set dev $i down; ip link set dev $i address ${formatMac(mac)}; ip link set dev $i up`,
      ...(gateway ? [`ip route replace default via ${formatIp(gateway)} dev $i`] : []),
    );
  }
  await vm.exec(['sh', '-c', lines.join('\n')], { isTool: true });
}
