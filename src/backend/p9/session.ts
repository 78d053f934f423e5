/**
 * One client's conversation over one shared folder, message by message: version, requests in flight by their tags, and the fids that
 * it holds. What a client says wrongly is answered with an errno; what the host's files refuse, with theirs.
 */
import { DomusError, InvariantError } from '../../base/errors.ts';
import type { Awaitable } from '../../platform/block-files.ts';
import { FileError } from '../../platform/folder-files.ts';
import type { Defer } from '../../xenstore/faults.ts';
import * as attributes from './attribute-requests.ts';
import type { Call, Handler } from './call.ts';
import { MessageReader } from './codec.ts';
import * as create from './create-requests.ts';
import { FidTable } from './fids.ts';
import * as contents from './file-requests.ts';
import * as locks from './lock-requests.ts';
import * as names from './name-requests.ts';
import { Errno, T, VERSION } from './protocol.ts';
import { emptyReply, errorReply, versionReply } from './reply.ts';
import { errnoOfBadRequest, parseRequest, type Request } from './request.ts';
import type { SharedFolder } from './shared-folder.ts';
import { take } from './steps.ts';
import { Holds } from './tree.ts';

/** Behind the length and the type. */
const TAG_AT = 5;
/** Linux does not go below this either. */
export const MESSAGE_BYTES_MIN = 4096;

type Served = Exclude<Request['kind'], 'version' | 'auth' | 'flush'>;

const HANDLERS: { readonly [Kind in Served]: Handler<Kind> } = {
  attach: names.attach,
  walk: names.walk,
  readlink: names.readlink,
  link: names.link,
  unlinkat: names.unlinkat,
  remove: names.remove,
  renameat: names.renameat,
  rename: names.rename,
  mkdir: create.mkdir,
  symlink: create.symlink,
  mknod: create.mknod,
  lcreate: create.lcreate,
  lopen: contents.lopen,
  read: contents.read,
  write: contents.write,
  readdir: contents.readdir,
  fsync: contents.fsync,
  statfs: contents.statfs,
  clunk: contents.clunk,
  getattr: attributes.getattr,
  setattr: attributes.setattr,
  xattrwalk: attributes.xattrwalk,
  xattrcreate: attributes.xattrcreate,
  lock: locks.lock,
  getlock: locks.getlock,
};

/** Gives a reply to the client. */
export type Deliver = (reply: Uint8Array) => void;

export interface SessionOptions {
  readonly folder: SharedFolder;
  /** The longest message that can be carried. */
  readonly mostBytes: number;
  /** What is answered later is answered from a task of its own. */
  readonly defer: Defer;
  /** Settles when the client has taken all replies that it has been given so far. */
  allTaken(): Awaitable<void>;
}

export class Session {
  readonly #folder: SharedFolder;
  readonly #mostBytes: number;
  readonly #defer: Defer;
  readonly #allTaken: () => Awaitable<void>;
  readonly #fids: FidTable;
  /** Requests that wait for the host, by tag; each settles when its reply has been given. */
  readonly #inFlight = new Map<number, Promise<void>>();
  #messageBytes = 0;
  #running = 0;
  #onIdle: (() => void) | undefined;
  #isClosed = false;

  constructor({ folder, mostBytes, defer, allTaken }: SessionOptions) {
    this.#folder = folder;
    this.#mostBytes = mostBytes;
    this.#defer = defer;
    this.#allTaken = allTaken;
    this.#fids = new FidTable(folder.tree);
  }

  get nrFids(): number {
    return this.#fids.size;
  }

  /**
   * Serve one message, whole and the callee's own. What can be done at once is delivered before this returns, and then nothing is
   * returned; otherwise a promise for when it is, in a deferred task.
   */
  handle(message: Uint8Array, deliver: Deliver): Promise<void> | undefined {
    const tag = new MessageReader(message, TAG_AT).u16();
    let request: Request;
    try {
      request = parseRequest(message);
    } catch (error) {
      const errno = errnoOfBadRequest(error);
      if (errno === undefined) throw error;
      deliver(errorReply(tag, errno));
      return undefined;
    }
    switch (request.kind) {
      case 'version':
        deliver(this.#version(tag, request.messageBytes, request.version));
        return undefined;
      case 'flush':
        return this.#flush(tag, request.oldTag, deliver);
      case 'auth':
        deliver(errorReply(tag, Errno.EOPNOTSUPP));
        return undefined;
      default:
        break;
    }
    if (this.#messageBytes === 0 || message.length > this.#messageBytes) {
      deliver(errorReply(tag, Errno.EPROTO));
      return undefined;
    }
    if (this.#inFlight.has(tag)) {
      deliver(errorReply(tag, Errno.EINVAL));
      return undefined;
    }
    return this.#serve(tag, request, deliver);
  }

  /** Everything that was is forgotten. */
  #version(tag: number, messageBytes: number, version: string): Uint8Array {
    this.#fids.clear();
    if (messageBytes < MESSAGE_BYTES_MIN) return errorReply(tag, Errno.EINVAL);
    const isKnown = version === VERSION;
    this.#messageBytes = isKnown ? Math.min(messageBytes, this.#mostBytes) : 0;
    return versionReply(tag, Math.min(messageBytes, this.#mostBytes), isKnown ? VERSION : 'unknown');
  }

  #serve(
    tag: number,
    request: Extract<Request, { kind: Served }>,
    deliver: Deliver,
  ): Promise<void> | undefined {
    const call: Call = {
      folder: this.#folder,
      fids: this.#fids,
      holds: new Holds(),
      tag,
      messageBytes: this.#messageBytes,
      client: this,
    };
    const handler = HANDLERS[request.kind] as Handler<Served>;
    this.#running += 1;
    let reply: Awaitable<Uint8Array>;
    try {
      reply = take(handler(call, request as never));
    } catch (error) {
      reply = this.#failed(tag, error);
    }
    if (!(reply instanceof Promise)) {
      this.#ended(call);
      deliver(reply);
      return undefined;
    }
    const answered = reply
      .catch(error => this.#failed(tag, error))
      .then(bytes =>
        this.#later(() => {
          this.#inFlight.delete(tag);
          this.#ended(call);
          deliver(bytes);
        }),
      );
    this.#inFlight.set(tag, answered);
    return answered;
  }

  #ended(call: Call): void {
    call.holds.release(this.#folder.tree);
    this.#running -= 1;
    if (this.#running === 0) this.#onIdle?.();
  }

  /** The error for the client. What is neither its nor the host's fault is ours, and thrown. */
  #failed(tag: number, error: unknown): Uint8Array {
    if (error instanceof FileError) return errorReply(tag, error.errno);
    const errno = errnoOfBadRequest(error);
    if (errno === undefined || error instanceof InvariantError || error instanceof DomusError) throw error;
    return errorReply(tag, errno);
  }

  /**
   * A client that no longer waits. Calls of the host cannot be called off: what is under way is answered first. The flush is answered
   * when the client has taken that, because replies may go different ways and the client may use the tag again at once.
   */
  #flush(tag: number, oldTag: number, deliver: Deliver): Promise<void> | undefined {
    const reply = emptyReply(T.flush, tag);
    const answered = this.#inFlight.get(oldTag);
    const taken = answered ? answered.then(() => this.#allTaken()) : this.#allTaken();
    if (taken instanceof Promise) return taken.then(() => this.#later(() => deliver(reply)));
    deliver(reply);
    return undefined;
  }

  /** Settles in the task itself: what follows from it, follows at once. */
  #later(task: () => void): Promise<void> {
    return new Promise(resolve => {
      this.#defer(() => {
        task();
        resolve();
      });
    });
  }

  /** The client is gone. Settles when nothing is under way any more. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#fids.clear();
      this.#folder.locks.clearClient(this);
    }
    if (this.#running > 0) {
      await new Promise<void>(resolve => {
        this.#onIdle = resolve;
      });
    }
    await this.#folder.settled();
  }
}
