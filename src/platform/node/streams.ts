/** Standard streams and files as byte sources and sinks, binary-safe and with back-pressure. */
import { createWriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import type { ByteSink, ByteSource } from '../platform.ts';

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

export const standardOutput = (): ByteSink => sinkOf(process.stdout, false);
export const standardError = (): ByteSink => sinkOf(process.stderr, false);

/** Standard input. Nothing is read before the first chunk is asked for. */
export const standardInput = (): ByteSource => ({
  async *[Symbol.asyncIterator]() {
    for await (const chunk of process.stdin) {
      const bytes = chunk as Buffer;
      yield new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    }
  },
});

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
