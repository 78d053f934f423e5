/** The network of a guest that runs: shown, its faults and rules changed, its capture begun and ended. */
import { DomusError } from '../../base/errors.ts';
import { formatFaults } from '../../net/fault-text.ts';
import { checkFaults, type LineFaults } from '../../net/impairment.ts';
import { formatIp } from '../../net/packet/address.ts';
import { type PolicyOptions, parseRule } from '../../net/policy.ts';
import type { VirtualNetwork } from '../network.ts';
import type { VirtualMachine } from '../virtual-machine.ts';
import { isStringArray } from './guest-request.ts';

export const DIRECTIONS = ['both', 'in', 'out'] as const;

export interface NetworkView {
  /** `nat`, or `switch:NAME`. */
  readonly mode: string;
  readonly address: string;
  readonly mac: string;
  readonly mtu: number;
  /** Of the host that lead to the guest. */
  readonly ports: VirtualNetwork['ports'];
  /** What the guest may reach; not on a switch. */
  readonly rules?: Required<PolicyOptions>;
  /** Of both directions, as the guest sees them. */
  readonly faults: { readonly in: LineFaults; readonly out: LineFaults };
  /** Frames that the faults have taken. */
  readonly lostFrames: number;
  /** The file of the capture that is being made. */
  readonly capture?: string;
}

export interface NetworkChange {
  /** All that there are then; `{}` makes the line good. */
  readonly faults?: LineFaults;
  /** Of the faults, as the guest sees it; default `both`. */
  readonly direction?: (typeof DIRECTIONS)[number];
  /** Makes the faults' chance repeatable. */
  readonly seed?: number;
  /** In place of all rules that there are. */
  readonly rules?: PolicyOptions;
  /** Absolute path of a file to begin a capture in; null ends the one that is being made. */
  readonly capture?: string | null;
}

const bad = (what: string) => new DomusError('E_API_REQUEST', `the request is not understood: ${what}`);

const FAULTS = {
  ...{ delayMs: 'number', jitterMs: 'number', loss: 'number', duplicate: 'number', reorder: 'number' },
  ...{ bandwidthBitsPerSecond: 'number', isCut: 'boolean' },
} as const satisfies Record<keyof LineFaults, string>;

function parseLineFaults(value: unknown): LineFaults {
  if (typeof value !== 'object' || value === null) throw bad('faults is no object');
  for (const [name, fault] of Object.entries(value)) {
    if (!Object.hasOwn(FAULTS, name)) throw bad(`there is no fault ${name}`);
    const type = FAULTS[name as keyof LineFaults];
    if (typeof fault !== type) throw bad(`${name} is no ${type}`);
  }
  return checkFaults(value);
}

function parseRules(value: unknown): PolicyOptions {
  if (typeof value !== 'object' || value === null) throw bad('rules is no object');
  const { allow = [], deny = [] } = value as { allow?: unknown; deny?: unknown };
  if (!isStringArray(allow) || !isStringArray(deny)) throw bad('allow or deny is no list of texts');
  for (const rule of [...allow, ...deny]) parseRule(rule);
  return { allow, deny };
}

/** @throws DomusError E_API_REQUEST, E_NET_FAULT, E_NET_RULE */
export function parseNetworkChange(value: unknown): NetworkChange {
  const { faults, direction, seed, rules, capture } = (value ?? {}) as Record<string, unknown>;
  const change = {
    ...(faults !== undefined && { faults: parseLineFaults(faults) }),
    ...(direction !== undefined && { direction: DIRECTIONS.find(each => each === direction) }),
    ...(rules !== undefined && { rules: parseRules(rules) }),
  };
  if ('direction' in change && change.direction === undefined) throw bad('there is no such direction');
  if (seed !== undefined && !Number.isSafeInteger(seed)) throw bad('seed is no whole number');
  if ((direction !== undefined || seed !== undefined) && !change.faults)
    throw bad('direction or seed without faults');
  if (capture !== undefined && capture !== null) {
    if (typeof capture !== 'string' || !capture.startsWith('/')) throw bad('capture is no absolute path');
  }
  const rest = { seed, capture } as Pick<NetworkChange, 'seed' | 'capture'>;
  const result = Object.fromEntries(
    Object.entries({ ...change, ...rest }).filter(([, each]) => each !== undefined),
  );
  if (Object.keys(result).length === 0) throw bad('it changes nothing');
  return result;
}

export const modeText = ({ mode }: VirtualNetwork): string =>
  mode.kind === 'switch' ? `switch:${mode.name}` : mode.kind;

export function networkView(network: VirtualNetwork): NetworkView {
  const { rules, capturePath } = network;
  return {
    mode: modeText(network),
    address: formatIp(network.address),
    mac: network.macText,
    mtu: network.settings.mtu,
    ports: network.ports,
    ...(rules && { rules }),
    faults: network.faults,
    lostFrames: network.nrLost,
    ...(capturePath !== undefined && { capture: capturePath }),
  };
}

/** @throws DomusError E_NET_MODE */
export function networkOf(vm: VirtualMachine, name: string): VirtualNetwork {
  if (vm.network) return vm.network;
  throw new DomusError(
    'E_NET_MODE',
    `the guest ${name} has no network`,
    'a guest has the network that it is started with: --net nat, --net switch:NAME',
  );
}

/** All of it, or nothing. @throws DomusError E_FILE_WRITE, E_NET_MODE */
export async function changeNetwork(network: VirtualNetwork, change: NetworkChange): Promise<void> {
  const { faults, direction, seed, rules, capture } = change;
  // Where there are no rules this says why.
  if (rules && !network.rules) network.setRules(rules);
  if (capture === null) await network.stopCapture();
  else if (capture !== undefined) await network.startCapture(capture);
  if (rules) network.setRules(rules);
  if (faults) network.setFaults(faults, direction, seed);
}

/** For events. */
export function networkChangeText({ faults, direction, rules, capture }: NetworkChange): string {
  const way = direction === undefined || direction === 'both' ? '' : ` ${direction}`;
  return [
    ...(faults ? [`faults${way} ${formatFaults(faults)}`] : []),
    ...(rules ? [`rules ${rulesText(rules) || 'none'}`] : []),
    ...(capture === undefined ? [] : [`capture ${capture ?? 'none'}`]),
  ].join(', ');
}

export const rulesText = ({ allow = [], deny = [] }: PolicyOptions): string =>
  [...allow.map(rule => `allow=${rule}`), ...deny.map(rule => `deny=${rule}`)].join(' ');
