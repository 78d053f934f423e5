/**
 * A guest's log: what its console and its command wrote, with the time, in bounds, and there when guest and host process are gone.
 *
 * A file of JSON lines, the first of which names format and version; a record is a line of output, or a part of one that is long or
 * waits for its end. Two files are kept: when `log` is full it becomes `log.old`. A last line that is cut off (the host process
 * was killed) is left out by readers.
 */
import { joinPath } from '../../platform/node/cache-folder.ts';
import { type AppendFile, openAppendFile, readTextNow, renameNow } from '../../platform/node/state-folder.ts';
import { fromBase64, toBase64 } from '../../platform/node/text-codecs.ts';
import type { Timers } from '../../platform/platform.ts';

export type LogStream = 'console' | 'stdout' | 'stderr';

export interface LogRecord {
  /** ISO 8601, UTC, of its first byte. */
  readonly at: string;
  readonly stream: LogStream;
  /** With its line end; what is no UTF-8 comes as `base64` instead. */
  readonly text?: string;
  readonly base64?: string;
}

export interface LogQuery {
  readonly streams: readonly LogStream[];
  /** The last so many lines of each stream together; default all. */
  readonly tail?: number;
  /** Not before this moment, ISO 8601. */
  readonly since?: string;
}

const HEADER = `${JSON.stringify({ format: 'domus-log', version: 1 })}\n`;
/** Of each of the two files. */
const FILE_BYTES_MAX = 4 << 20;
const RECORD_BYTES_MAX = 16 << 10;
/** After this time a line that has not ended becomes a record: somebody may be waiting for a prompt. */
const PARTIAL_MS = 300;
const NEWLINE = 0x0a;

interface Partial {
  bytes: Uint8Array;
  at: string;
  cancel(): void;
}

function recordOf(stream: LogStream, at: string, bytes: Uint8Array): LogRecord {
  try {
    return { at, stream, text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { at, stream, base64: toBase64(bytes) };
  }
}

export const recordBytes = ({ text, base64 }: LogRecord): Uint8Array =>
  base64 === undefined ? new TextEncoder().encode(text ?? '') : fromBase64(base64);

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

export interface GuestLogOptions {
  readonly folder: string;
  readonly timers: Timers;
  now(): string;
  readonly fileBytesMax?: number;
}

export class GuestLog {
  readonly #options: GuestLogOptions;
  readonly #partial = new Map<LogStream, Partial>();
  readonly #followers = new Set<(record: LogRecord) => void>();
  #file: AppendFile;
  #sizeBytes = 0;

  constructor(options: GuestLogOptions) {
    this.#options = options;
    this.#file = this.#begin();
  }

  #begin(): AppendFile {
    const file = openAppendFile(logPath(this.#options.folder));
    file.append(HEADER);
    this.#sizeBytes = HEADER.length;
    return file;
  }

  write(stream: LogStream, chunk: Uint8Array): void {
    const before = this.#take(stream);
    const at = before?.at ?? this.#options.now();
    let rest = before ? joined(before.bytes, chunk) : chunk;
    while (rest.length > 0) {
      const newline = rest.subarray(0, RECORD_BYTES_MAX).indexOf(NEWLINE);
      if (newline < 0 && rest.length < RECORD_BYTES_MAX) break;
      const end = newline < 0 ? RECORD_BYTES_MAX : newline + 1;
      this.#put(recordOf(stream, at, rest.subarray(0, end)));
      rest = rest.subarray(end);
    }
    if (rest.length === 0) return;
    const cancel = this.#options.timers.after(PARTIAL_MS, () => this.#flush(stream));
    this.#partial.set(stream, { bytes: rest.slice(), at, cancel });
  }

  #take(stream: LogStream): Partial | undefined {
    const partial = this.#partial.get(stream);
    partial?.cancel();
    this.#partial.delete(stream);
    return partial;
  }

  #flush(stream: LogStream): void {
    const partial = this.#take(stream);
    if (partial) this.#put(recordOf(stream, partial.at, partial.bytes));
  }

  #put(record: LogRecord): void {
    const line = `${JSON.stringify(record)}\n`;
    if (this.#sizeBytes + line.length > (this.#options.fileBytesMax ?? FILE_BYTES_MAX)) {
      this.#file.close();
      renameNow(logPath(this.#options.folder), oldLogPath(this.#options.folder));
      this.#file = this.#begin();
    }
    this.#file.append(line);
    this.#sizeBytes += line.length;
    for (const follower of this.#followers) follower(record);
  }

  /** Hear what comes from now on. Returns what ends the hearing. */
  follow(listener: (record: LogRecord) => void): () => void {
    this.#followers.add(listener);
    return () => this.#followers.delete(listener);
  }

  close(): void {
    for (const stream of [...this.#partial.keys()]) this.#flush(stream);
    this.#file.close();
  }
}

const logPath = (folder: string) => joinPath(folder, 'log');
const oldLogPath = (folder: string) => joinPath(folder, 'log.old');

function parseLines(text: string): LogRecord[] {
  const records: LogRecord[] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    try {
      const record = JSON.parse(line) as LogRecord;
      if (typeof record.at === 'string' && typeof record.stream === 'string') records.push(record);
    } catch {
      // Cut off, or not ours.
    }
  }
  return records;
}

const endsLine = (record: LogRecord): boolean => recordBytes(record).at(-1) === NEWLINE;

/** What is kept of a guest's log. */
export function readLog(folder: string, { streams, tail, since }: LogQuery): LogRecord[] {
  const records = [
    ...parseLines(readTextNow(oldLogPath(folder))),
    ...parseLines(readTextNow(logPath(folder))),
  ].filter(({ stream, at }) => streams.includes(stream) && (since === undefined || at >= since));
  if (tail === undefined) return records;
  let start = records.length;
  for (let lines = 0; start > 0; start--) {
    const isNewLine = start === records.length || endsLine(records[start - 1]!);
    if (isNewLine && ++lines > tail) break;
  }
  return records.slice(start);
}
