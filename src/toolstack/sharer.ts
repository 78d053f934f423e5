/**
 * The scan for identical pages of a host's guests (hypervisor/sharing/page-scan.ts) in the background: a little now and then, within a
 * share of a processor.
 */
import { DomusError } from '../base/errors.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { PageScan, type ScannedDomain } from '../hypervisor/sharing/page-scan.ts';
import type { SharingFacts } from '../hypervisor/sharing/sharing-facts.ts';
import type { Platform } from '../platform/platform.ts';

export interface SharingOptions {
  /** What the scan may use of one processor, in percent; 0: nothing more is shared. Default 3. */
  readonly cpuPercent?: number;
  /** What a guest has not looked at for so long may be shared. Default ten seconds. */
  readonly idleMs?: number;
}

/** What the scan has done so far, for all guests together. */
export interface SharerStatus {
  readonly cpuPercent: number;
  readonly idleMs: number;
  /** What it has used. */
  readonly processorTimeNs: number;
  /** Memory of the host for pages that are shared. */
  readonly storeBytes: number;
}

/** A domain among those that are scanned. */
export interface SharingMember {
  readonly facts: SharingFacts;
  /** It is not looked at any more: its threads are about to be ended. */
  rest(): void;
  /** Let go of what it shares, when it will not run again and before its machine goes. */
  leave(): void;
}

export const SHARING_CPU_DEFAULT = 3;
const IDLE_MS_DEFAULT = 10_000;
/** A step takes about so long: guests wait meanwhile. */
const STEP_NS = 1_000_000;
/** Between two passes over a guest that have found little. */
const REST_MAX_FACTOR = 12;
/** Finding fewer pages than this in a pass is little. */
const PAGES_FEW = 256;

/** @throws DomusError E_SHARING */
export function checkCpuPercent(percent: number): number {
  if (percent >= 0 && percent <= 100) return percent;
  throw new DomusError('E_SHARING', `the scan cannot use ${percent} percent of a processor`, 'give 0 to 100');
}

interface Turn {
  readonly scanned: ScannedDomain;
  /** What is to be done when it is due: begin a pass, or go on with it. */
  next: 'mark' | 'compare';
  dueNs: number;
  restNs: number;
  /** Pages given up when the pass began. */
  before: number;
}

export class Sharer {
  readonly #platform: Pick<Platform, 'clock' | 'timers' | 'threadTimeNs'>;
  readonly #scan = new PageScan();
  readonly #turns = new Set<Turn>();
  readonly #idleNs: number;
  #cpuPercent: number;
  #usedNs = 0;
  /** The budget allows nothing before. */
  #allowedNs = 0;
  #cancel: (() => void) | undefined;

  /** @throws DomusError E_SHARING */
  constructor(
    platform: Pick<Platform, 'clock' | 'timers' | 'threadTimeNs'>,
    { cpuPercent = SHARING_CPU_DEFAULT, idleMs = IDLE_MS_DEFAULT }: SharingOptions = {},
  ) {
    this.#platform = platform;
    this.#cpuPercent = checkCpuPercent(cpuPercent);
    this.#idleNs = idleMs * 1e6;
  }

  /** What hypervisors of machines that take part read shared pages from. */
  get store() {
    return this.#scan.store;
  }

  get status(): SharerStatus {
    return {
      cpuPercent: this.#cpuPercent,
      idleMs: this.#idleNs / 1e6,
      processorTimeNs: this.#usedNs,
      storeBytes: this.store.heldBytes,
    };
  }

  /** From now on. What is shared stays so until somebody looks at it. @throws DomusError E_SHARING */
  setCpuPercent(percent: number): void {
    this.#cpuPercent = checkCpuPercent(percent);
    this.#allowedNs = 0;
    this.#plan();
  }

  join(domain: Domain): SharingMember {
    const scanned = this.#scan.join(domain);
    const dueNs = this.#platform.clock.monotonicNs() + this.#idleNs;
    const turn: Turn = { scanned, next: 'mark', dueNs, restNs: this.#idleNs, before: 0 };
    this.#turns.add(turn);
    this.#plan();
    const rest = () => {
      this.#turns.delete(turn);
    };
    return {
      rest,
      leave: () => {
        rest();
        this.#scan.leave(scanned);
      },
      get facts() {
        return scanned.facts;
      },
    };
  }

  /** A guest that is alone has nobody to share with. */
  get #first(): Turn | undefined {
    if (this.#cpuPercent === 0 || this.#turns.size < 2) return undefined;
    return [...this.#turns].reduce((first, turn) => (turn.dueNs < first.dueNs ? turn : first));
  }

  #plan(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const first = this.#first;
    if (!first) return;
    const waitNs = Math.max(first.dueNs, this.#allowedNs) - this.#platform.clock.monotonicNs();
    this.#cancel = this.#platform.timers.after(Math.max(1, Math.ceil(waitNs / 1e6)), () => this.#step());
  }

  #step(): void {
    const turn = this.#first;
    const { clock, threadTimeNs } = this.#platform;
    // Elapsed time counts what other programs take as well.
    const workedNs = threadTimeNs ?? (() => clock.monotonicNs());
    if (turn && clock.monotonicNs() >= turn.dueNs) {
      const startNs = workedNs();
      this.#goOn(turn, () => workedNs() - startNs >= STEP_NS);
      const usedNs = workedNs() - startNs;
      this.#usedNs += usedNs;
      this.#allowedNs = clock.monotonicNs() + usedNs * (100 / this.#cpuPercent - 1);
    }
    this.#plan();
  }

  #goOn(turn: Turn, isTimeUp: () => boolean): void {
    const { scanned } = turn;
    const nowNs = this.#platform.clock.monotonicNs();
    if (turn.next === 'mark') {
      turn.before = givenUp(scanned);
      scanned.mark();
      turn.next = 'compare';
      turn.dueNs = nowNs + this.#idleNs;
      return;
    }
    // Others that are due come first the next time.
    turn.dueNs = nowNs;
    if (!scanned.compare(isTimeUp)) return;
    this.#scan.sweep();
    const isLittle = givenUp(scanned) - turn.before < PAGES_FEW;
    turn.restNs = isLittle ? Math.min(2 * turn.restNs, REST_MAX_FACTOR * this.#idleNs) : this.#idleNs;
    turn.next = 'mark';
    turn.dueNs = nowNs + turn.restNs;
  }
}

const givenUp = ({ facts: { shared, zero } }: ScannedDomain): number => shared + zero;
