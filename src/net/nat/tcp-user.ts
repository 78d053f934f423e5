/** What a TCP connection with a guest is made with, and what it asks of its user. */
import type { Clock, Timers } from '../../platform/platform.ts';
import type { BlockPool } from '../block-pool.ts';
import type { TcpHeader } from '../packet/tcp.ts';
import type { SendQueue } from './send-queue.ts';

export interface TcpUser {
  /** Send a segment: the header's fields, and `dataBytes` of the queue beginning `dataOffset` behind its head. */
  emit(
    header: Omit<TcpHeader, 'sourcePort' | 'destinationPort'>,
    queue: SendQueue,
    dataOffset: number,
    dataBytes: number,
  ): void;
  connected(): void;
  /** Bytes in order; only for the call. */
  data(bytes: Uint8Array): void;
  /** The guest sends nothing more. */
  ended(): void;
  /** Something that was sent is acknowledged, or the window has changed. */
  progressed(): void;
  /** The connection is over. `broken`: by a reset or because the guest no longer answers. */
  closed(broken: boolean): void;
  /** How many bytes the user would take now. */
  receiveRoom(): number;
}

export interface TcpConnectionOptions {
  readonly user: TcpUser;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Runs a task when what is at hand is done: acknowledgements of a burst become one. */
  readonly defer: (task: () => void) => void;
  readonly initialSequence: number;
  /** Of this end of the cable. */
  readonly mss: number;
  /** Longest data of one segment that the cable takes, by leaving the cutting to others. */
  readonly largeSegmentBytes: number;
  /** Where bytes wait for their acknowledgement. */
  readonly blocks: BlockPool;
}
