/** Threads of this process, in Node, and a clock that all of them share. */
import { enableCompileCache, getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import {
  MessageChannel,
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  Worker,
  workerData,
} from 'node:worker_threads';
import { tellThreads } from './wasm-compiler.ts';

export interface Thread {
  /** Stop it at once, wherever it is. */
  terminate(): Promise<void>;
  /** Whether the process lives for as long as it does. */
  keepAlive(isToLive: boolean): void;
}

export interface ThreadEvents {
  message(message: unknown): void;
  /** It threw something, or ended by itself with an error. */
  failed(error: unknown): void;
}

/** One end of a way between two threads; it can be given to another thread, once. */
export type Port = MessagePort;

/** Both ends of a way between two threads. */
export function createChannel(): [Port, Port] {
  const { port1, port2 } = new MessageChannel();
  return [port1, port2];
}
/** Send to the other end. `given` are the ports in the message. */
export const send = (port: Port, message: unknown, given: readonly Port[] = []): void =>
  port.postMessage(message, [...given]);
/** What has arrived and was not looked at yet, without waiting; undefined when there is nothing. */
export const receive = (port: Port): unknown => receiveMessageOnPort(port)?.message;

export interface ThreadOptions {
  /** Ports in the data: they are given away. */
  readonly given?: readonly Port[];
  /** It does not keep the process alive. */
  readonly isDaemon?: boolean;
  /** Memory that V8 may have for objects that are new, in MiB. Default: V8's own. */
  readonly youngMiB?: number;
}

let keepsCode = false;
/** For a program that is ours: Node keeps the code of threads' modules. Others decide that for themselves. */
export function keepThreadCode(): void {
  keepsCode = true;
}

/** Start a module of ours in a thread of its own. `data` is copied, but for what can be shared. */
export function startThread(
  module: URL,
  data: unknown,
  events: ThreadEvents,
  { given = [], isDaemon = false, youngMiB }: ThreadOptions = {},
): Thread {
  // A thread takes Node's cache of compiled code from the environment. What this one uses is a folder for its version.
  if (keepsCode) enableCompileCache?.();
  tellThreads();
  const cache = getCompileCacheDir?.();
  const env = cache === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: dirname(cache) };
  const worker = new Worker(module, {
    ...{ workerData: data, transferList: [...given], env },
    ...(youngMiB !== undefined && { resourceLimits: { maxYoungGenerationSizeMb: youngMiB } }),
  });
  if (isDaemon) worker.unref();
  worker.on('message', message => events.message(message));
  worker.on('error', error => events.failed(error));
  return {
    async terminate() {
      await worker.terminate();
    },
    keepAlive: isToLive => void (isToLive ? worker.ref() : worker.unref()),
  };
}

/** In a thread: what it was started with. */
export const threadData = (): unknown => workerData;
/** In a thread: send to whoever started it. */
export const post = (message: unknown): void => parentPort?.postMessage(message);
