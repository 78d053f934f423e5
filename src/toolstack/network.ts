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

/** Switches that the guests of a host share, and the addresses on them. */
export class SwitchRoom {
  readonly #clock: Clock;
  readonly #switches = new Map<string, { lan: Switch; nextHost: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Made when it is first asked for. */
  find(name: string): Switch {
    return this.#entry(name).lan;
  }

  /** 10.0.3.1, 10.0.3.2, ... in the order in which guests come. */
  nextAddress(name: string): IpAddress {
    const entry = this.#entry(name);
    if (entry.nextHost > 254) {
      throw new DomusError('E_NET_ADDRESS', `the switch ${name} has no more addresses`, 'use another switch');
    }
    return ip(`10.0.3.${entry.nextHost++}`);
  }

  #entry(name: string): { lan: Switch; nextHost: number } {
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
export function networkFacts({ mode, options, macText, settings }: VirtualNetwork): NetworkFacts {
  if (mode.kind === 'switch') {
    throw new DomusError(
      'E_SAVE_UNSUPPORTED',
      `a guest on a switch cannot be saved yet: its address on ${mode.name} would be there twice`,
      'start it with --net nat or without a network',
    );
  }
  const { allow, deny, nameservers } = options;
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
  readonly #capture: Capture | undefined;
  #device: Station | undefined;
  #defer: (task: () => void) => void = task => task();

  /** @throws DomusError E_NET_* */
  static async open(
    options: NetworkOptions,
    mode: NetworkMode,
    world: NetworkWorld,
  ): Promise<VirtualNetwork> {
    const { capture } = options;
    let sink: ByteSink | undefined;
    if (typeof capture === 'string') {
      const opened = await tryCreateFileSink(capture);
      if ('reason' in opened) {
        throw new DomusError(
          'E_FILE_WRITE',
          `cannot write the capture to ${capture}: ${opened.reason}`,
          'choose a file in a folder that exists and can be written',
        );
      }
      sink = opened.sink;
    } else {
      sink = capture;
    }
    return new VirtualNetwork(options, mode, world, sink);
  }

  private constructor(
    options: NetworkOptions,
    mode: NetworkMode,
    { platform, sockets, switches }: NetworkWorld,
    sink: ByteSink | undefined,
  ) {
    const { clock, timers, entropy } = platform;
    this.mode = mode;
    this.options = options;
    this.mac = checkMac(options.mac, entropy);
    const mtu = checkMtu(options.mtu ?? MTU_DEFAULT);
    const faults = checkFaults(options.faults ?? {});
    this.#forwards = (options.publish ?? []).map(each =>
      typeof each === 'string' ? parseForward(each) : checkForward(each),
    );
    this.#capture = sink && createCapture(sink, clock);
    const chance = options.faultSeed === undefined ? entropy : createSeededEntropy(options.faultSeed);
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
    const capture = this.#capture;
    if (!capture) return to;
    return {
      receive(frame: Frame) {
        capture.record(frame);
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
   * Make the cable bad, or good again with `{}`, in both directions or in one, as the guest sees it.
   * @throws DomusError E_NET_FAULT
   */
  setFaults(faults: LineFaults, direction: 'both' | 'in' | 'out' = 'both'): void {
    if (direction !== 'out') this.#inward.setFaults(faults);
    if (direction !== 'in') this.#outward.setFaults(faults);
  }

  /** Frames that the faults have taken. */
  get nrLost(): number {
    return this.#inward.nrLost + this.#outward.nrLost;
  }

  /** End all connections, give ports back, finish the capture. */
  async close(): Promise<void> {
    this.#device = undefined;
    this.#unplug();
    await this.#capture?.close();
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

/** A line's faults as text: `delay=50ms,jitter=10ms,loss=1%,reorder=5%,duplicate=1%,bandwidth=10M,cut`. */
export function parseFaults(text: string): { faults: LineFaults; seed?: number } {
  const bad = (part: string): DomusError =>
    new DomusError(
      'E_NET_FAULT',
      `"${part}" is no fault of a line`,
      'write for example delay=50ms,jitter=10ms,loss=1%,reorder=5%,duplicate=1%,bandwidth=10M,seed=1 or cut',
    );
  const faults: { -readonly [Key in keyof LineFaults]: LineFaults[Key] } = {};
  let seed: number | undefined;
  for (const part of text.split(',')) {
    const [name, value = ''] = part.split('=');
    const number = Number.parseFloat(value);
    const isShare = /^\d+(\.\d+)?%?$/.test(value);
    const share = value.endsWith('%') ? number / 100 : number;
    const time = /^\d+(\.\d+)?(ms|s)$/.test(value) ? number * (value.endsWith('ms') ? 1 : 1000) : undefined;
    const rate = /^(\d+(?:\.\d+)?)([kMG]?)$/.exec(value);
    if (part === 'cut') faults.isCut = true;
    else if (name === 'loss' && isShare) faults.loss = share;
    else if (name === 'duplicate' && isShare) faults.duplicate = share;
    else if (name === 'reorder' && isShare) faults.reorder = share;
    else if (name === 'delay' && time !== undefined) faults.delayMs = time;
    else if (name === 'jitter' && time !== undefined) faults.jitterMs = time;
    else if (name === 'bandwidth' && rate) {
      faults.bandwidthBitsPerSecond = number * 1000 ** ['', 'k', 'M', 'G'].indexOf(rate[2] ?? '');
    } else if (name === 'seed' && /^\d+$/.test(value)) seed = number;
    else throw bad(part);
  }
  return { faults: checkFaults(faults), ...(seed !== undefined && { seed }) };
}
