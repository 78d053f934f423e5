/**
 * The one door to the outside: what Domus asks of the world it runs in.
 *
 * Everything above this folder sees only these interfaces (or imports functions from platform/node for files and
 * the package client). Determinism, record and replay, fault injection and the browser build are other
 * implementations of them; platform/node is the real machine, platform/sim is virtual time and seeded chance.
 */

/** Time. Both readings are nanoseconds. */
export interface Clock {
  /** Time since the clock was made: never goes back, stays below 2^53 for a hundred days. */
  monotonicNs(): number;
  /** Time since 1970-01-01 UTC. */
  wallNs(): bigint;
}

/** Randomness that the guest can see: seeds, addresses, RDRAND. */
export interface Entropy {
  fill(bytes: Uint8Array): void;
  /** Of seeded chance: what a copy needs to go on with the same numbers. */
  state?(): Uint8Array;
}

/**
 * How a run loop shares its thread with everything else. The loop executes slices of guest work; between two of them
 * it lets the host breathe, and when no vCPU can run it idles until the next timer or until something wakes it.
 */
export interface Pacer {
  /** Let timers and streams of the host have their turn. */
  breathe(): Promise<void>;
  /** Wait until `clock.monotonicNs() >= deadlineNs` (Infinity: no timer) or until `wake` is called. */
  idle(deadlineNs: number): Promise<void>;
  /** Something arrived for the guest: end `idle` now. A wake that comes before `idle` ends that idle at once. */
  wake(): void;
  /** Tell a clock that counts guest work how many instructions a slice has retired. No effect on real time. */
  retired(instructions: number): void;
}

/** Host timers for what people see: time-outs and progress. Never used for guest time. */
export interface Timers {
  /** Call once after `delayMs`; the returned function cancels. A pending timer does not keep the process alive. */
  after(delayMs: number, callback: () => void): () => void;
  every(periodMs: number, callback: () => void): () => void;
}

/** Bytes that arrive; ends when the other side closes. */
export type ByteSource = AsyncIterable<Uint8Array>;

/** Bytes that leave. `write` settles when the next one is welcome. */
export interface ByteSink {
  write(chunk: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface Terminal {
  /** Whether the stream is a terminal. */
  readonly isInputTerminal: boolean;
  readonly isOutputTerminal: boolean;
  readonly isErrorTerminal: boolean;
  size(): { columns: number; rows: number };
  onResize(listener: () => void): () => void;
  /** Every key reaches the reader as it is typed. Undone by the returned function, and on every way out. */
  enterRawMode(): () => void;
}

/** The seam that makes two runs alike: real or simulated as a whole. */
export interface Platform {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly pacer: Pacer;
  /** A pacer for a further run loop: one that two loops shared would wake only one of them. */
  newPacer?(): Pacer;
  readonly timers: Timers;
  /** Processor time of this thread in nanoseconds, where that can be known: elapsed time counts what other programs take as well. */
  threadTimeNs?(): number;
  /** Time and chance depend on the guest's own work only. */
  readonly isDeterministic: boolean;
}
