/** Rate limits of a disk: requests and bytes a second, each with a burst of a tenth of a second. */

export interface RateLimits {
  readonly requestsPerSecond?: number | undefined;
  readonly bytesPerSecond?: number | undefined;
}

export interface Limiter {
  /** Nanoseconds until a request may begin; 0: now. */
  waitNs(nowNs: number): number;
  take(sizeBytes: number, nowNs: number): void;
}

const BURST_SECONDS = 0.1;

interface Bucket {
  readonly perNs: number;
  readonly max: number;
  level: number;
  atNs: number;
}

function bucket(perSecond: number | undefined): Bucket | undefined {
  if (perSecond === undefined) return undefined;
  const max = Math.max(1, perSecond * BURST_SECONDS);
  return { perNs: perSecond / 1e9, max, level: max, atNs: 0 };
}

function fill(each: Bucket, nowNs: number): void {
  each.level = Math.min(each.max, each.level + Math.max(0, nowNs - each.atNs) * each.perNs);
  each.atNs = nowNs;
}

/** A bucket may go below zero: a large request is paid for afterwards, instead of never. */
export function createLimiter({ requestsPerSecond, bytesPerSecond }: RateLimits): Limiter | undefined {
  const requests = bucket(requestsPerSecond);
  const bytes = bucket(bytesPerSecond);
  if (!requests && !bytes) return undefined;
  const buckets = [requests, bytes].filter(each => each !== undefined);
  return {
    waitNs(nowNs) {
      let wait = 0;
      for (const each of buckets) {
        fill(each, nowNs);
        if (each.level <= 0) wait = Math.max(wait, Math.ceil((1 - each.level) / each.perNs));
      }
      return wait;
    },
    take(sizeBytes, nowNs) {
      for (const each of buckets) fill(each, nowNs);
      if (requests) requests.level -= 1;
      if (bytes) bytes.level -= sizeBytes;
    },
  };
}
