/**
 * A learning switch: frames go to the port behind which their destination was last seen, and to all others when nobody
 * knows it. What it learns is bounded for each port, so that a guest which makes up addresses displaces only its own.
 */
import type { Frame, Station } from './frame.ts';
import { isMulticastMac, macKey } from './packet/address.ts';
import { ETHERNET_BYTES } from './packet/ethernet.ts';

const ADDRESSES_A_PORT_MAX = 256;
const AGE_MAX_NS = 300e9;

export interface SwitchPort extends Station {
  readonly name: string;
  /** Pull the cable. */
  detach(): void;
}

interface Port {
  readonly name: string;
  readonly station: Station;
  /** Addresses behind it and when they were last heard, the oldest first. */
  readonly addresses: Map<number, number>;
}

export class Switch {
  readonly name: string;
  readonly #nowNs: () => number;
  readonly #ports = new Set<Port>();
  readonly #table = new Map<number, Port>();
  #cuts: (from: string, to: string) => boolean = () => false;
  #groups: readonly (readonly string[])[] = [];
  /** Frames that went to every port because nobody knew their destination, broadcasts not counted. */
  nrFlooded = 0;

  constructor(name: string, nowNs: () => number) {
    this.name = name;
    this.#nowNs = nowNs;
  }

  get portNames(): string[] {
    return Array.from(this.#ports, port => port.name);
  }

  /** Plug in a station. What it sends goes into the port that is returned. */
  attach(name: string, station: Station): SwitchPort {
    const port: Port = { name, station, addresses: new Map() };
    this.#ports.add(port);
    return {
      name,
      receive: frame => {
        if (this.#ports.has(port)) this.#forward(port, frame);
      },
      detach: () => {
        this.#ports.delete(port);
        // Who comes under this name later is somebody else.
        this.#groups = this.#groups.map(group => group.filter(member => member !== name));
        for (const address of port.addresses.keys()) this.#table.delete(address);
      },
    };
  }

  /** No frame passes for which `isCut` says so, by the names of the ports it comes from and goes to. */
  cut(isCut: (from: string, to: string) => boolean): void {
    this.#cuts = isCut;
    this.#groups = [];
  }

  /** Of the partition that there is. */
  get groups(): readonly (readonly string[])[] {
    return this.#groups;
  }

  /** Only ports of the same group hear each other; who is in no group hears everybody who is in none. */
  partition(groups: readonly (readonly string[])[]): void {
    const groupOf = (name: string) => this.#groups.findIndex(group => group.includes(name));
    this.cut((from, to) => groupOf(from) !== groupOf(to));
    this.#groups = groups;
  }

  heal(): void {
    this.cut(() => false);
  }

  #forward(from: Port, frame: Frame): void {
    const { bytes } = frame;
    if (bytes.length < ETHERNET_BYTES) return;
    if (!isMulticastMac(bytes, 6)) this.#learn(from, macKey(bytes, 6));
    if (!isMulticastMac(bytes)) {
      const address = macKey(bytes, 0);
      const known = this.#table.get(address);
      if (known && this.#nowNs() - known.addresses.get(address)! < AGE_MAX_NS) {
        if (known !== from) this.#deliver(from, known, frame);
        return;
      }
      this.nrFlooded += 1;
    }
    for (const port of this.#ports) if (port !== from) this.#deliver(from, port, frame);
  }

  #deliver(from: Port, to: Port, frame: Frame): void {
    if (!this.#cuts(from.name, to.name)) to.station.receive(frame);
  }

  #learn(port: Port, address: number): void {
    const known = this.#table.get(address);
    if (known !== port) {
      known?.addresses.delete(address);
      this.#table.set(address, port);
    } else {
      port.addresses.delete(address);
    }
    port.addresses.set(address, this.#nowNs());
    if (port.addresses.size <= ADDRESSES_A_PORT_MAX) return;
    const oldest = port.addresses.keys().next().value!;
    port.addresses.delete(oldest);
    this.#table.delete(oldest);
  }
}
