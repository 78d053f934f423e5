/** Switches between the guests of a host process: who is on them, and what parts them. */
import { DomusError } from '../../base/errors.ts';
import { formatIp } from '../../net/packet/address.ts';
import type { Switch } from '../../net/switch.ts';
import { isStringArray } from './guest-request.ts';
import type { Guest } from './guests.ts';

export interface SwitchView {
  readonly name: string;
  readonly ports: readonly SwitchPortView[];
  readonly isPartitioned: boolean;
}

export interface SwitchPortView {
  readonly guest: string;
  readonly id: number;
  readonly address: string;
  /** Its part of a switch that is partitioned, from 1; 0: with all who are in no group. */
  readonly group?: number;
}

export interface SwitchChange {
  /** Guests by name or number; who is in none hears those who are in none. No groups: everybody hears everybody. */
  readonly groups: readonly (readonly string[])[];
}

const bad = (what: string) => new DomusError('E_API_REQUEST', `the request is not understood: ${what}`);

const portOf = ({ vm, isAlive }: Guest, lan: Switch): string | undefined => {
  const network = isAlive ? vm?.network : undefined;
  if (network?.mode.kind !== 'switch' || network.mode.name !== lan.name) return undefined;
  return formatIp(network.address);
};

export function switchView(lan: Switch, guests: readonly Guest[]): SwitchView {
  const { groups } = lan;
  const isPartitioned = groups.some(group => group.length > 0);
  const ports = guests.flatMap((guest): SwitchPortView[] => {
    const address = portOf(guest, lan);
    if (address === undefined) return [];
    const group = groups.findIndex(members => members.includes(address)) + 1;
    const { name, id } = guest.record;
    return [{ guest: name, id, address, ...(isPartitioned && { group }) }];
  });
  return { name: lan.name, ports, isPartitioned };
}

/** @throws DomusError E_API_REQUEST */
export function parseSwitchChange(value: unknown): SwitchChange {
  const { groups } = (value ?? {}) as { groups?: unknown };
  if (!Array.isArray(groups) || !groups.every(isStringArray))
    throw bad('groups is no list of lists of texts');
  return { groups };
}

/**
 * Part a switch, or heal it.
 * @param find a guest by name or number
 * @throws DomusError E_GUEST_NOT_FOUND, E_NET_SWITCH
 */
export function changeSwitch(lan: Switch, { groups }: SwitchChange, find: (name: string) => Guest): void {
  const seen = new Set<string>();
  const ports = groups.map(group =>
    group.map(name => {
      const address = portOf(find(name), lan);
      if (address === undefined) {
        throw new DomusError(
          'E_NET_SWITCH',
          `the guest ${name} is not on the switch ${lan.name}`,
          '"domus switch-list" shows who is',
        );
      }
      if (seen.has(address)) {
        throw new DomusError('E_NET_SWITCH', `the guest ${name} is in two groups`, 'name it once');
      }
      seen.add(address);
      return address;
    }),
  );
  if (ports.length === 0) lan.heal();
  else lan.partition(ports);
}
