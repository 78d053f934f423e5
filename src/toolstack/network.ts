/**
 * A guest's network: what the user asked for, checked; the cable from the guest's network device to a NAT or a switch,
 * with its faults and its capture; and what the guest has to be told.
 *
 *     guest's device -- outward line --> NAT or switch
 *                    <-- inward line ---
 */
import { DomusError } from '../base/errors.ts';
import type { GuestNetwork } from '../image/initramfs.ts';
import { type Capture, createCapture } from '../net/capture.ts';
import type { Frame, Station } from '../net/frame.ts';
import { checkFaults, createLine, type Line, type LineFaults } from '../net/impairment.ts';
import { checkForward, type PortForward, parseForward } from '../net/nat/forwards.ts';
import { MTU_DEFAULT, Nat } from '../net/nat/nat.ts';
import { formatIp, formatMac, type IpAddress, ip, type MacAddress, parseMac } from '../net/packet/address.ts';
import type { PolicyOptions } from '../net/policy.ts';
import { Switch } from '../net/switch.ts';
import { tryCreateFileSink } from '../platform/node/streams.ts';
import type { ByteSink, Clock, Entropy, Platform } from '../platform/platform.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import type { Peer, Sockets } from '../platform/sockets.ts';
import type { NetworkInterface } from './machine.ts';

/** The kernel's drivers for a network device. */
export const NETWORK_MODULES = ['xen-netfront'];
/** What frontend and backend can carry in one packet with its Ethernet header. */
const MTU_MAX = 65_521;
/** IPv6 needs as much. */
const MTU_MIN = 1280;

export interface NetworkOptions {
  /** `none`, `nat`, or `switch:NAME`: a switch that the guests of one host share. */
  readonly mode?: string;
  /** Ports of the host that lead to the guest, `[BIND:]HOST:GUEST[/udp]`; on 127.0.0.1 unless told otherwise. */
  readonly publish?: readonly (string | PortForward)[];
  /** Addresses, ranges and names that the guest may reach, and those that it may not. */
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  /** A file for a capture in pcap format, or what takes its bytes. */
  readonly capture?: string | ByteSink;
  readonly faults?: LineFaults;
  /** Makes the faults' chance repeatable. */
  readonly faultSeed?: number;
  readonly mtu?: number;
  readonly mac?: string;
  /** Name servers in place of the host's. */
  readonly nameservers?: readonly Peer[];
}

export type NetworkMode =
  | { readonly kind: 'none' }
  | { readonly kind: 'nat' }
  | { readonly kind: 'switch'; readonly name: string };

/** @throws DomusError E_NET_MODE */
export function parseNetworkMode(text: string): NetworkMode {
  if (text === 'none' || text === 'nat') return { kind: text };
  const match = /^switch:([A-Za-z0-9][A-Za-z0-9_.-]{0,62})$/.exec(text);
  if (match) return { kind: 'switch', name: match[1]! };
  throw new DomusError('E_NET_MODE', `there is no network "${text}"`, 'use none, nat or switch:NAME');
}

/** Options that only a NAT understands. */
const NAT_OPTIONS = ['publish', 'allow', 'deny', 'nameservers'] as const;

/** What is wanted, when the options leave it open: whoever opens ports or sets rules wants the outside. */
export function chosenMode(options: NetworkOptions): NetworkMode {
  const isGiven = (value: unknown) => (Array.isArray(value) ? value.length > 0 : value !== undefined);
  const wants = Object.entries(options).filter(([, value]) => isGiven(value));
  const mode = parseNetworkMode(options.mode ?? (wants.length > 0 ? 'nat' : 'none'));
  const lost = NAT_OPTIONS.find(name => isGiven(options[name]));
  if (mode.kind !== 'nat' && lost !== undefined) {
    throw new DomusError(
      'E_NET_MODE',
      `${lost} has no meaning with the network ${options.mode}`,
      'use the network nat, or leave it out',
    );
  }
  return mode;
}

const HOSTS_MAX = 254;

interface Entry {
  readonly lan: Switch;
  nextHost: number;
}

/** Switches that the guests of a host share, and the addresses on them. */
export class SwitchRoom {
  readonly #clock: Clock;
  readonly #switches = new Map<string, Entry>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Made when it is first asked for. */
  find(name: string): Switch {
    return this.#entry(name).lan;
  }

  /** One that there is. @throws DomusError E_NET_SWITCH */
  known(name: string): Switch {
    const found = this.#switches.get(name)?.lan;
    if (found) return found;
    const names = this.all.map(lan => lan.name).join(', ');
    throw new DomusError('E_NET_SWITCH', `there is no switch ${name}`, `there is ${names || 'none'}`);
  }
  get all(): readonly Switch[] {
    return Array.from(this.#switches.values(), ({ lan }) => lan);
  }

  /** 10.0.3.1, 10.0.3.2, ... in the order in which guests come; when all have been given, those of guests that are gone. */
  nextAddress(name: string): IpAddress {
    const entry = this.#entry(name);
    const taken = new Set(entry.lan.portNames);
    for (let tries = 0; tries < HOSTS_MAX; tries++) {
      const address = `10.0.3.${entry.nextHost}`;
      entry.nextHost = (entry.nextHost % HOSTS_MAX) + 1;
      if (!taken.has(address)) return ip(address);
    }
    throw new DomusError('E_NET_ADDRESS', `the switch ${name} has no more addresses`, 'use another switch');
  }

  #entry(name: string): Entry {
    const known = this.#switches.get(name);
    if (known) return known;
    const made = { lan: new Switch(name, () => this.#clock.monotonicNs()), nextHost: 1 };
    this.#switches.set(name, made);
    return made;
  }
}

/** What a saved guest's network needs to be made again. Its ports, faults and capture are the affair of whoever goes on with it. */
export interface NetworkFacts {
  readonly mac: string;
  readonly mtu: number;
  readonly allow?: readonly string[] | undefined;
  readonly deny?: readonly string[] | undefined;
  readonly nameservers?: readonly Peer[] | undefined;
}

/** Connections through a NAT end with it: the far ends are sockets of the host. @throws DomusError E_SAVE_UNSUPPORTED */
export function networkFacts({ mode, options, rules, macText, settings }: VirtualNetwork): NetworkFacts {
  if (mode.kind === 'switch') {
    throw new DomusError(
      'E_SAVE_UNSUPPORTED',
      `a guest on a switch cannot be saved yet: its address on ${mode.name} would be there twice`,
      'start it with --net nat or without a network',
    );
  }
  const { nameservers } = options;
  const { allow, deny } = rules ?? {};
  return { mac: macText, mtu: settings.mtu, allow, deny, nameservers };
}

export interface NetworkWorld {
  readonly platform: Platform;
  readonly sockets: Sockets;
  readonly switches: SwitchRoom;
}

/** One guest's network, as its owner sees it. */
export class VirtualNetwork {
  readonly mode: NetworkMode;
  readonly mac: MacAddress;
  readonly address: IpAddress;
  /** For the machine. */
  readonly interface: NetworkInterface;
  /** For the guest. */
  readonly settings: GuestNetwork & { readonly mtu: number };
  /** As they were asked for. */
  readonly options: NetworkOptions;
  readonly #nat: Nat | undefined;
  readonly #forwards: readonly PortForward[];
  readonly #ports: { forward: PortForward; hostPort: number }[] = [];
  readonly #toGuest: Station = { receive: frame => this.#device?.receive(frame) };
  readonly #inward: Line;
  readonly #outward: Line;
  readonly #unplug: () => void;
  readonly #clock: Clock;
  #chance: Entropy;
  #capture: OpenCapture | undefined;
  #device: Station | undefined;
  #defer: (task: () => void) => void = task => task();

  /** @throws DomusError E_NET_* */
  static async open(
    options: NetworkOptions,
    mode: NetworkMode,
    world: NetworkWorld,
  ): Promise<VirtualNetwork> {
    const { capture } = options;
    const opened = capture === undefined ? undefined : await openCapture(capture, world.platform.clock);
    return new VirtualNetwork(options, mode, world, opened);
  }

  private constructor(
    options: NetworkOptions,
    mode: NetworkMode,
    { platform, sockets, switches }: NetworkWorld,
    capture: OpenCapture | undefined,
  ) {
    const { clock, timers, entropy } = platform;
    this.#clock = clock;
    this.mode = mode;
    this.options = options;
    this.mac = checkMac(options.mac, entropy);
    const mtu = checkMtu(options.mtu ?? MTU_DEFAULT);
    const faults = checkFaults(options.faults ?? {});
    this.#forwards = (options.publish ?? []).map(each =>
      typeof each === 'string' ? parseForward(each) : checkForward(each),
    );
    this.#capture = capture;
    this.#chance = options.faultSeed === undefined ? entropy : createSeededEntropy(options.faultSeed);
    const chance: Entropy = { fill: bytes => this.#chance.fill(bytes) };
    const line = (to: Station) => createLine(to, { clock, timers, entropy: chance }, faults);

    this.#inward = line(this.#toGuest);
    const inward = this.#captured(this.#inward);
    if (mode.kind === 'switch') {
      this.address = switches.nextAddress(mode.name);
      const port = switches.find(mode.name).attach(formatIp(this.address), inward);
      this.#outward = line(port);
      this.#unplug = () => port.detach();
    } else {
      const nat = new Nat(
        { sockets, clock, timers, entropy, defer: task => this.#defer(task) },
        { ...options, mtu },
      );
      nat.connect(inward);
      this.#nat = nat;
      this.address = nat.lease(this.mac)!;
      this.#outward = line(nat);
      this.#unplug = () => nat.close();
    }
    const outward = this.#captured(this.#outward);
    this.interface = {
      mac: this.mac,
      mtu,
      plug: (device, defer) => {
        this.#device = device;
        this.#defer = defer;
        return outward;
      },
    };
    const router = this.#nat?.addresses;
    this.settings = {
      address: `${formatIp(this.address)}/24`,
      mtu,
      ...(router && { gateway: formatIp(router.gateway), nameserver: formatIp(router.nameserver) }),
    };
  }

  #captured(to: Station): Station {
    return {
      receive: (frame: Frame) => {
        this.#capture?.file.record(frame);
        to.receive(frame);
      },
    };
  }

  /** Listen on the ports that lead to the guest. @throws DomusError E_NET_LISTEN */
  async publish(): Promise<void> {
    for (const forward of this.#forwards) {
      const open = await this.#nat?.forward(forward, this.address);
      if (open) this.#ports.push({ forward, hostPort: open.hostPort });
    }
  }

  /** Ports of the host that lead to the guest, also those that were asked for as any. */
  get ports(): readonly {
    readonly hostPort: number;
    readonly guestPort: number;
    readonly protocol: string;
  }[] {
    return this.#ports.map(({ forward, hostPort }) => ({
      hostPort,
      guestPort: forward.guestPort,
      protocol: forward.protocol ?? 'tcp',
    }));
  }

  get macText(): string {
    return formatMac(this.mac);
  }

  /**
   * Make the cable bad, or good again with `{}`, in both directions or in one, as the guest sees it. With a seed their chance
   * begins anew.
   * @throws DomusError E_NET_FAULT
   */
  setFaults(faults: LineFaults, direction: 'both' | 'in' | 'out' = 'both', seed?: number): void {
    checkFaults(faults);
    if (seed !== undefined) this.#chance = createSeededEntropy(seed);
    if (direction !== 'out') this.#inward.setFaults(faults);
    if (direction !== 'in') this.#outward.setFaults(faults);
  }

  get faults(): { readonly in: LineFaults; readonly out: LineFaults } {
    return { in: this.#inward.faults, out: this.#outward.faults };
  }

  /** What the guest may reach; undefined where no rules apply. */
  get rules(): Required<PolicyOptions> | undefined {
    return this.#nat?.policy.rules;
  }
  /** Other rules in place of these, for all that begins from now on. @throws DomusError E_NET_MODE, E_NET_RULE */
  setRules(rules: PolicyOptions): void {
    if (!this.#nat) {
      throw new DomusError('E_NET_MODE', 'rules have no meaning on a switch', 'use the network nat');
    }
    this.#nat.policy.setRules(rules);
  }

  /** The file of the capture that is being made. */
  get capturePath(): string | undefined {
    return this.#capture?.path;
  }
  /** Write from now on what passes, to this file and no other. @throws DomusError E_FILE_WRITE */
  async startCapture(to: string | ByteSink): Promise<void> {
    // The same file anew: not two that write to it.
    if (typeof to === 'string' && to === this.capturePath) await this.stopCapture();
    const next = await openCapture(to, this.#clock);
    const before = this.#capture;
    this.#capture = next;
    await closeCapture(before);
  }
  /** Settles when all of it is in the file. @throws DomusError E_FILE_WRITE */
  async stopCapture(): Promise<void> {
    const before = this.#capture;
    this.#capture = undefined;
    await closeCapture(before);
  }

  /** Frames that the faults have taken. */
  get nrLost(): number {
    return this.#inward.nrLost + this.#outward.nrLost;
  }

  /** End all connections, give ports back, finish the capture. */
  async close(): Promise<void> {
    this.#device = undefined;
    this.#unplug();
    await this.#capture?.file.close();
  }
}

interface OpenCapture {
  readonly file: Capture;
  readonly path?: string;
}

/** @throws DomusError E_FILE_WRITE */
async function openCapture(to: string | ByteSink, clock: Clock): Promise<OpenCapture> {
  if (typeof to !== 'string') return { file: createCapture(to, clock) };
  const opened = await tryCreateFileSink(to);
  if ('reason' in opened) {
    throw new DomusError(
      'E_FILE_WRITE',
      `cannot write the capture to ${to}: ${opened.reason}`,
      'choose a file in a folder that exists and can be written',
    );
  }
  return { file: createCapture(opened.sink, clock), path: to };
}

async function closeCapture(capture: OpenCapture | undefined): Promise<void> {
  try {
    await capture?.file.close();
  } catch (error) {
    throw new DomusError(
      'E_FILE_WRITE',
      `the capture is not complete: ${(error as Error).message}`,
      'see whether its disk is full',
      { cause: error },
    );
  }
}

/** @throws DomusError E_NET_ADDRESS */
function checkMac(text: string | undefined, entropy: Entropy): MacAddress {
  if (text === undefined) {
    // Xen's own prefix.
    const mac = new Uint8Array(6);
    entropy.fill(mac);
    mac.set([0x00, 0x16, 0x3e]);
    return mac;
  }
  const mac = parseMac(text);
  if (mac && (mac[0]! & 1) === 0 && mac.some(byte => byte !== 0)) return mac;
  throw new DomusError(
    'E_NET_ADDRESS',
    `"${text}" cannot be the MAC address of a guest`,
    'write for example 00:16:3e:12:34:56',
  );
}

/** @throws DomusError E_NET_MTU */
export function checkMtu(mtu: number): number {
  if (Number.isInteger(mtu) && mtu >= MTU_MIN && mtu <= MTU_MAX) return mtu;
  throw new DomusError(
    'E_NET_MTU',
    `packets cannot be of ${mtu} bytes`,
    `choose an MTU from ${MTU_MIN} to ${MTU_MAX}`,
  );
}
