/** What machines have used during the last minutes, from the counters of two looks. */
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import type { HostInfo } from '../../toolstack/daemon/host-info.ts';

/** So long samples are kept. */
export const SPAN_MS = 120_000;

export interface Sample {
  /** On the page's own clock. */
  readonly atMs: number;
  /** Of one processor, in percent. */
  readonly cpu: number;
  readonly memoryBytes: number;
  /** What of it has frames. */
  readonly residentBytes: number;
  /** Bytes a second. */
  readonly diskRead: number;
  readonly diskWritten: number;
  readonly netReceived: number;
  readonly netSent: number;
}

interface Counters {
  readonly atMs: number;
  readonly cpuNs: number;
  readonly diskRead: number;
  readonly diskWritten: number;
  readonly netReceived: number;
  readonly netSent: number;
}

interface Track {
  last: Counters;
  samples: Sample[];
}

export class History {
  readonly #tracks = new Map<number, Track>();
  #host: Track | undefined;

  samples(id: number): readonly Sample[] {
    return this.#tracks.get(id)?.samples ?? [];
  }
  get hostSamples(): readonly Sample[] {
    return this.#host?.samples ?? [];
  }

  look(guests: readonly GuestView[], info: HostInfo, atMs: number): void {
    for (const { id, domain } of guests) {
      if (!domain) continue;
      const { traffic } = domain;
      const now: Counters = {
        atMs,
        cpuNs: domain.cpuTimeNs,
        diskRead: traffic.diskReadBytes,
        diskWritten: traffic.diskWrittenBytes,
        netReceived: traffic.netReceivedBytes,
        netSent: traffic.netSentBytes,
      };
      this.#tracks.set(id, extended(this.#tracks.get(id), now, domain));
    }
    for (const id of this.#tracks.keys()) {
      if (!guests.some(guest => guest.id === id)) this.#tracks.delete(id);
    }
    const none = { diskRead: 0, diskWritten: 0, netReceived: 0, netSent: 0 };
    const host = { atMs, cpuNs: info.processTimeNs, ...none };
    this.#host = extended(this.#host, host, {
      memoryBytes: info.memoryBytes,
      residentBytes: info.processMemoryBytes,
    });
  }
}

type Memory = Pick<Sample, 'memoryBytes' | 'residentBytes'>;

function extended(track: Track | undefined, now: Counters, { memoryBytes, residentBytes }: Memory): Track {
  if (!track || now.atMs <= track.last.atMs) return { last: now, samples: track?.samples ?? [] };
  const { last } = track;
  const seconds = (now.atMs - last.atMs) / 1000;
  // A machine that was started anew counts from zero.
  const perSecond = (key: Exclude<keyof Counters, 'atMs'>) => Math.max(0, now[key] - last[key]) / seconds;
  const { atMs } = now;
  const sample: Sample = {
    atMs,
    cpu: perSecond('cpuNs') / 1e7,
    memoryBytes,
    residentBytes,
    diskRead: perSecond('diskRead'),
    diskWritten: perSecond('diskWritten'),
    netReceived: perSecond('netReceived'),
    netSent: perSecond('netSent'),
  };
  const kept = track.samples.filter(each => each.atMs >= atMs - SPAN_MS);
  return { last: now, samples: [...kept, sample] };
}
