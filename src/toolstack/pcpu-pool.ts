/** The host's processors, for guests that are executed one at a time on any of them: this thread, and others that come when they are needed. */
import type { Share } from '../hypervisor/credit.ts';
import { type PcpuSeat, SharedPcpu } from '../hypervisor/shared-pcpu.ts';
import type { Platform } from '../platform/platform.ts';
import { engineModules } from './engine-modules.ts';
import type { RunTurns } from './run-turns.ts';

export class PcpuPool {
  readonly #platform: Platform;
  readonly #turns: RunTurns;
  readonly #count: number;
  readonly #others: SharedPcpu[] = [];

  /**
   * @param turns guests that this thread executes
   * @param count processors, this thread's among them
   */
  constructor(platform: Platform, turns: RunTurns, count: number) {
    this.#platform = platform;
    this.#turns = turns;
    this.#count = count;
  }

  /**
   * A place where the fewest guests are; undefined: this thread is to execute the next one. It makes all of them and has their backends to
   * serve, so it has a fifth fewer. @throws DomusError E_DOMAINS
   */
  take(share: Share): PcpuSeat | undefined {
    if (this.#platform.isDeterministic) return undefined;
    const least = this.#leastBusy();
    return least && 4 * least.count <= 5 * this.#turns.count ? least.take(share) : undefined;
  }

  /** So many guests are about to come: have threads for them. */
  expect(nrGuests: number): void {
    if (this.#platform.isDeterministic) return;
    const count = Math.min(nrGuests, this.#count - 1);
    for (let i = 0; i < count; i++) (this.#others[i] ?? this.#add()).begin();
  }

  /** When there are no guests any more. */
  close(): void {
    for (const other of this.#others) other.end();
  }

  #leastBusy(): SharedPcpu | undefined {
    const least = this.#others.reduce<SharedPcpu | undefined>(
      (best, other) => (best && best.count <= other.count ? best : other),
      undefined,
    );
    return least?.count === 0 || this.#others.length >= this.#count - 1 ? least : this.#add();
  }

  #add(): SharedPcpu {
    const another = new SharedPcpu(engineModules, this.#platform);
    this.#others.push(another);
    return another;
  }
}
