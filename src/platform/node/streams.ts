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

/** Forget standard input, so that an unread pipe or terminal does not keep the process waiting. */
export function releaseStandardInput(): void {
  process.stdin.destroy();
}

/** A file that is written from its beginning. @throws the system's error when it cannot be created. */
export async function createFileSink(path: string): Promise<ByteSink> {
  const stream = createWriteStream(path);
  await new Promise<void>((resolve, reject) => {
    stream.once('open', () => resolve());
    stream.once('error', reject);
  });
  return sinkOf(stream, true);
}
