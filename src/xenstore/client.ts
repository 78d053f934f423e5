/**
 * Access to the store from this process: for the toolstack and the backends.
 *
 * All calls are synchronous. Watch callbacks are queued and run later, one at a time, in the order of their events;
 * never inside the call that caused them. Text is UTF-8.
 */
import { invariant } from '../base/errors.ts';
import type { Defer } from './faults.ts';
import { formatPermission, parsePermission } from './permissions.ts';
import { Session } from './session.ts';
import type { Store } from './store.ts';
import { XenstoreError } from './wire.ts';

export type XenstoreValue = string | number | Uint8Array;

/** Reading and writing, at once or in a transaction. A path that may not be accessed throws XenstoreError. */
export interface XenstoreAccess {
  /** The value as text; undefined if there is no such node. */
  read(path: string): string | undefined;
  readBytes(path: string): Uint8Array | undefined;
  /** Creates what is missing above the node. */
  write(path: string, value: XenstoreValue): void;
  mkdir(path: string): void;
  /** Remove the node and all below it. It need not exist. */
  remove(path: string): void;
  /** Names of the node's children in order of creation; none if there is no such node. */
  directory(path: string): string[];
  exists(path: string): boolean;
  /** In the protocol's form: `n0`, `r5`, ...; the first names the owner. */
  getPermissions(path: string): string[];
  setPermissions(path: string, permissions: readonly string[]): void;
}

export interface XenstoreTransaction extends XenstoreAccess {
  /** False if something that the transaction looked at has changed meanwhile: start again. */
  commit(): boolean;
  abort(): void;
}

export interface XenstoreClient extends XenstoreAccess {
  /**
   * Call back with the path that changed, for any change at `path` or below it, and once at the beginning. Special paths:
   * `@introduceDomain`, `@releaseDomain`. Returns what ends the watch; after that the callback is not called any more.
   */
  watch(path: string, callback: (path: string) => void): () => void;
  /** Run `body` in a transaction and commit; an exception aborts it. Nothing can come between: `body` is synchronous. */
  transaction<T>(body: (access: XenstoreAccess) => T): T;
  /** A transaction that stays open across turns. */
  begin(): XenstoreTransaction;
  /** End all watches and transactions. */
  close(): void;
}

/** `undefined` instead of ENOENT. */
function unlessMissing<T>(operation: () => T): T | undefined {
  try {
    return operation();
  } catch (error) {
    if (error instanceof XenstoreError && error.errno === 'ENOENT') return undefined;
    throw error;
  }
}

function toBytes(value: XenstoreValue): Uint8Array {
  return value instanceof Uint8Array ? value.slice() : new TextEncoder().encode(String(value));
}

function access(store: Store, session: Session, txId: number): XenstoreAccess {
  const tx = () => store.transaction(session, txId);
  const readBytes = (path: string) => unlessMissing(() => store.read(session, tx(), path));
  return {
    readBytes: path => readBytes(path)?.slice(),
    read: path => {
      const value = readBytes(path);
      return value && new TextDecoder().decode(value);
    },
    write: (path, value) => store.write(session, tx(), path, toBytes(value)),
    mkdir: path => store.mkdir(session, tx(), path),
    remove: path => {
      unlessMissing(() => store.remove(session, tx(), path));
    },
    directory: path => [
      ...(unlessMissing(() => store.directory(session, tx(), path))?.children.keys() ?? []),
    ],
    exists: path => readBytes(path) !== undefined,
    getPermissions: path => store.getPermissions(session, tx(), path).map(formatPermission),
    setPermissions: (path, permissions) =>
      store.setPermissions(session, tx(), path, permissions.map(parsePermission)),
  };
}

export function createClient(store: Store, domid: number, defer: Defer): XenstoreClient {
  const callbacks = new Map<string, (path: string) => void>();
  /** Events on their way: an equal one need not be queued twice. */
  const pending = new Set<string>();
  const session = new Session(domid, (path, token) => {
    const callback = callbacks.get(token);
    invariant(callback, 'a watch event without a callback');
    const key = `${token} ${path}`;
    const special = path[0] === '@';
    if (!special && pending.has(key)) return;
    pending.add(key);
    defer(() => {
      pending.delete(key);
      if (callbacks.get(token) === callback) callback(path);
    });
  });
  store.sessions.add(session);
  let lastToken = 0;

  const begin = (): XenstoreTransaction => {
    const id = store.startTransaction(session);
    return {
      ...access(store, session, id),
      commit: () => {
        try {
          store.endTransaction(session, id, true);
          return true;
        } catch (error) {
          if (error instanceof XenstoreError && error.errno === 'EAGAIN') return false;
          throw error;
        }
      },
      abort: () => store.endTransaction(session, id, false),
    };
  };

  return {
    ...access(store, session, 0),
    begin,
    watch(path, callback) {
      const token = String(++lastToken);
      callbacks.set(token, callback);
      try {
        store.watch(session, path, token).fire();
      } catch (error) {
        callbacks.delete(token);
        throw error;
      }
      return () => {
        if (callbacks.delete(token)) store.unwatch(session, path, token);
      };
    },
    transaction(body) {
      const tx = begin();
      try {
        const result = body(tx);
        invariant(tx.commit(), 'a synchronous transaction met a conflict');
        return result;
      } catch (error) {
        unlessMissing(() => tx.abort());
        throw error;
      }
    },
    close() {
      callbacks.clear();
      session.reset();
      store.sessions.delete(session);
    },
  };
}
