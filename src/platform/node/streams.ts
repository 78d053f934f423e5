/** Standard streams and files as byte sources and sinks, binary-safe and with back-pressure. */
import { createWriteStream, read } from 'node:fs';
import type { Writable } from 'node:stream';
import type { ByteSink, ByteSource } from '../platform.ts';
import { descriptorKind } from './descriptors.ts';

/** A reader that went away (a closed pipe) is the end of interest, not an error of ours. */
const isBrokenPipe = (error: NodeJS.ErrnoException) => error.code === 'EPIPE' || error.code === 'ECONNRESET';

function sinkOf(stream: Writable, closesStream: boolean): ByteSink {
  let failure: Error | undefined;
  let isBroken = false;
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (isBrokenPipe(error)) isBroken = true;
    else failure = error;
  });
  return {
    write(chunk) {
      if (failure) return Promise.reject(failure);
      if (isBroken || chunk.length === 0) return Promise.resolve();
      return new Promise((resolve, reject) => {
        stream.write(chunk, error => {
          if (error && !isBrokenPipe(error as NodeJS.ErrnoException)) reject(error);
          else resolve();
        });
      });
    },
    close() {
      if (!closesStream) return Promise.resolve();
      return new Promise((resolve, reject) => {
        stream.end(() => (failure ? reject(failure) : resolve()));
      });
    },
  };
}

/** A stream of Node's that is made when something is written to it. */
function standardSink(stream: () => Writable): ByteSink {
  let made: ByteSink | undefined;
  const sink = (): ByteSink => {
    made ??= sinkOf(stream(), false);
    return made;
  };
  return {
    write: chunk => (chunk.length === 0 ? Promise.resolve() : sink().write(chunk)),
    close: () => Promise.resolve(),
  };
}
export const standardOutput = (): ByteSink => standardSink(() => process.stdout);
export const standardError = (): ByteSink => standardSink(() => process.stderr);

/** Standard input. Nothing is read before the first chunk is asked for. */
export const standardInput = (): ByteSource => ({
  async *[Symbol.asyncIterator]() {
    const kind = descriptorKind(0);
    if (kind === 'null') return;
    if (kind === 'file') {
      yield* fileChunks(0);
      return;
    }
    for await (const chunk of process.stdin) {
      const bytes = chunk as Buffer;
      yield new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    }
  },
});

const CHUNK_BYTES = 64 << 10;

/** What is left of an open file, from where its reader stands. */
async function* fileChunks(fd: number): AsyncGenerator<Uint8Array> {
  for (;;) {
    const bytes = new Uint8Array(CHUNK_BYTES);
    const count = await new Promise<number>((resolve, reject) =>
      read(fd, bytes, 0, bytes.length, null, (error, length) => (error ? reject(error) : resolve(length))),
    );
    if (count === 0) return;
    yield bytes.subarray(0, count);
  }
}

/** A file that is written from its beginning, or the system's reason why it cannot be. */
export async function tryCreateFileSink(path: string): Promise<{ sink: ByteSink } | { reason: string }> {
  const stream = createWriteStream(path);
  try {
    await new Promise<void>((resolve, reject) => {
      stream.once('open', () => resolve());
      stream.once('error', reject);
    });
  } catch (error) {
    // Node's message repeats the path: 'ENOENT: no such file or directory, open ...'.
    const text = error instanceof Error ? error.message : String(error);
    return { reason: text.replace(/, open .*$/, '') };
  }
  return { sink: sinkOf(stream, true) };
}
