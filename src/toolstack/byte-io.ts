/** Bytes between callers and guests: whatever a caller may pass as input or output, in one form. */
import type { ByteListener } from './machine.ts';

/** Text, bytes, or anything that yields chunks: a web ReadableStream, a Node stream, an async generator. */
export type InputSource = string | Uint8Array | AsyncIterable<Uint8Array>;

/** 'collect' keeps the bytes for the result, 'ignore' drops them; a promise from a function holds the guest back. */
export type OutputTarget = 'collect' | 'ignore' | ByteListener | WritableStream<Uint8Array>;

export function inputChunks(source: InputSource): AsyncIterable<Uint8Array> {
  if (typeof source === 'string') return oneChunk(new TextEncoder().encode(source));
  if (source instanceof Uint8Array) return oneChunk(source);
  return source;
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

export function concatenate(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

export async function readAll(source: InputSource): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of inputChunks(source)) chunks.push(chunk);
  return concatenate(chunks);
}

export interface Output {
  readonly listener: ByteListener;
  /** Settles when everything heard so far has been taken. */
  drained(): Promise<void>;
  /** The bytes collected so far; empty unless the target is 'collect'. */
  bytes(): Uint8Array;
  /** Give a stream back to its owner. */
  release(): void;
}

/**
 * Open a target. With `neverHoldsBack` the guest cannot feel how fast its output is taken, as a deterministic run
 * needs it: what is not taken yet waits in the host's memory.
 */
export function openOutput(target: OutputTarget, neverHoldsBack = false): Output {
  const nothing = () => new Uint8Array();
  const done = async () => {};
  if (target === 'ignore') return { listener: () => {}, drained: done, bytes: nothing, release: () => {} };
  if (target === 'collect') {
    const chunks: Uint8Array[] = [];
    return {
      listener: chunk => {
        chunks.push(chunk);
      },
      drained: done,
      bytes: () => concatenate(chunks),
      release: () => {},
    };
  }
  const writer = typeof target === 'function' ? undefined : target.getWriter();
  const take: ByteListener = typeof target === 'function' ? target : chunk => writer?.write(chunk);
  let last: Promise<void> = Promise.resolve();
  return {
    listener: chunk => {
      if (neverHoldsBack) {
        last = last.then(() => take(chunk));
        // Reported by `drained`; without this a failure before that would count as unhandled.
        last.catch(() => {});
        return;
      }
      const taken = take(chunk);
      if (taken) last = taken;
      return taken;
    },
    drained: () => last,
    bytes: nothing,
    release: () => writer?.releaseLock(),
  };
}

/** Input on its way. */
export interface Feeding {
  /** Rejects when the source fails or its bytes cannot be written; settles never otherwise. */
  readonly failed: Promise<never>;
  /** A source that is waiting for its own next chunk is simply left alone. */
  stop(): void;
}

/** Feed `source` to `write` until it ends, then `close`. Without a source there is nothing to do. */
export function feed(
  source: InputSource | undefined,
  write: (chunk: Uint8Array) => Promise<void>,
  close: () => void,
): Feeding {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  // It may come when nobody waits any more.
  failed.catch(() => {});
  if (source === undefined) return { failed, stop: () => {} };
  let isStopped = false;
  const run = async () => {
    for await (const chunk of inputChunks(source)) {
      if (isStopped) return;
      if (chunk.length > 0) await write(chunk);
      if (isStopped) return;
    }
    close();
  };
  run().catch(error => {
    if (!isStopped) reject(error);
  });
  const stop = () => {
    isStopped = true;
  };
  return { failed, stop };
}
