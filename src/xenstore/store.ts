/**
 * The store: the tree with permissions, quotas, transactions and watches, without any transport.
 *
 * Every operation is done by a session, inside one of its transactions or (undefined) at once. What a session may not
 * do is thrown as XenstoreError; an operation that throws has changed nothing, or has failed its transaction.
 * Behaviour in corner cases follows Xen's xenstored.
 */
import { invariant } from '../base/errors.ts';
import { canonicalPath, childPath, domainPath, isRelative, isUnder, parentPath } from './path.ts';
import { Access, accessOf, canRead, isPrivileged, ownerOf, type Permissions } from './permissions.ts';
import type { Quotas } from './quota.ts';
import type { Session } from './session.ts';
import { Transaction } from './transaction.ts';
import { change, lookup, type Node, newNode, newTop, nodeBytes, walk } from './tree.ts';
import { EMPTY, XenstoreError } from './wire.ts';

export const INTRODUCE_DOMAIN = '@introduceDomain';
export const RELEASE_DOMAIN = '@releaseDomain';

export class Store {
  readonly quotas: Quotas;
  /** The hidden node above everything. */
  top: Node = newTop();
  /** The last generation given out. */
  generation = 0;
  /** In the order in which they came, which is the order in which their watches fire. */
  readonly sessions = new Set<Session>();
  /** Number of nodes owned, by domain. */
  readonly nodeCounts = new Map<number, number>();

  constructor(quotas: Quotas) {
    this.quotas = quotas;
    const root: Permissions = [{ domid: 0, access: Access.none }];
    for (const path of ['/', '/tool', '/tool/xenstored', RELEASE_DOMAIN, INTRODUCE_DOMAIN]) {
      this.top = change(this.top, path, () => newNode(root, ++this.generation));
      this.#count(undefined, 0, 1);
    }
  }

  /** The full path meant by `session`. @throws XenstoreError EINVAL */
  resolve(session: Session, path: string, allowSpecial = false): string {
    return canonicalPath(path, session.domid, this.quotas.pathBytes, allowSpecial);
  }

  #get(tx: Transaction | undefined, path: string): Node | undefined {
    tx?.touch(path);
    return lookup(tx ? tx.top : this.top, path);
  }

  /**
   * The node if `session` may access it so. Whoever may not access the closest node above either learns nothing about
   * existence: EACCES. @throws XenstoreError
   */
  #permitted(session: Session, tx: Transaction | undefined, path: string, access: number): Node | undefined {
    const node = this.#get(tx, path);
    if (node && (accessOf(session, node.permissions) & access) === access) return node;
    let above = path;
    let parent: Node | undefined;
    do {
      above = parentPath(above);
      parent = this.#get(tx, above);
    } while (!parent);
    if (node || !(accessOf(session, parent.permissions) & access)) throw new XenstoreError('EACCES', path);
    return undefined;
  }

  #require(session: Session, tx: Transaction | undefined, path: string, access: number): Node {
    const node = this.#permitted(session, tx, path, access);
    if (!node) throw new XenstoreError('ENOENT', path);
    return node;
  }

  #set(tx: Transaction | undefined, path: string, to: (old: Node | undefined) => Node | undefined): void {
    if (tx) {
      tx.modify(path);
      tx.top = change(tx.top, path, to);
    } else {
      this.top = change(this.top, path, to);
    }
  }

  #count(tx: Transaction | undefined, domid: number, delta: number): void {
    if (tx) tx.countNodes(domid, delta);
    else this.nodeCounts.set(domid, (this.nodeCounts.get(domid) ?? 0) + delta);
  }

  nodesOwned(domid: number, tx?: Transaction): number {
    return (this.nodeCounts.get(domid) ?? 0) + (tx?.nodeDeltas.get(domid) ?? 0);
  }

  /** A node too large also fails the transaction it was meant for. @throws XenstoreError ENOSPC */
  #checkSize(session: Session, tx: Transaction | undefined, bytes: number, path: string): void {
    if (isPrivileged(session) || bytes < this.quotas.nodeBytes) return;
    if (tx) tx.failure = 'ENOMEM';
    throw new XenstoreError('ENOSPC', path);
  }

  /** Fire now, or at the commit. `before` is the tree before the change. */
  #fire(tx: Transaction | undefined, path: string, exact: boolean, before: Node): void {
    if (tx) tx.queueEvent(path, exact);
    else this.#fireNow(path, exact, before, this.top);
  }

  /**
   * Those see the event who could read the node, or who can now read it or its parent; of a node removed outside of a
   * transaction also those who can read its parent.
   */
  #fireNow(path: string, exact: boolean, before: Node, after: Node, committed = false): void {
    const old = lookup(before, path);
    const now = lookup(after, path);
    const seenBy: Permissions[] = [];
    if (old) seenBy.push(old.permissions);
    if (now) seenBy.push(now.permissions);
    const parent = now ? after : committed ? undefined : before;
    if (parent) seenBy.push(lookup(parent, parentPath(path))!.permissions);
    this.#deliver(path, exact, seenBy);
  }

  #deliver(path: string, exact: boolean, seenBy: readonly Permissions[]): void {
    for (const session of this.sessions) {
      if (session.watches.length === 0 || !seenBy.some(permissions => canRead(session, permissions)))
        continue;
      /** Two watches with one token see an event once. */
      const delivered = new Set<string>();
      for (const watch of session.watches) {
        if (exact ? watch.path !== path : !isUnder(path, watch.path)) continue;
        const key = `${watch.prefixLength} ${watch.token}`;
        if (delivered.has(key)) continue;
        delivered.add(key);
        session.deliver(path.slice(watch.prefixLength), watch.token);
      }
    }
  }

  /** Fire `@introduceDomain` or `@releaseDomain`. */
  fireSpecial(path: string): void {
    this.#deliver(path, true, [lookup(this.top, path)!.permissions]);
  }

  read(session: Session, tx: Transaction | undefined, path: string): Uint8Array {
    return this.#require(session, tx, this.resolve(session, path), Access.read).value;
  }

  /** The node itself, for its children's names and its generation. */
  directory(session: Session, tx: Transaction | undefined, path: string): Node {
    return this.#require(session, tx, this.resolve(session, path), Access.read);
  }

  write(session: Session, tx: Transaction | undefined, path: string, value: Uint8Array): void {
    const full = this.resolve(session, path);
    const before = this.top;
    const node = this.#permitted(session, tx, full, Access.write);
    if (node) {
      this.#checkSize(session, tx, nodeBytes(node) - node.value.length + value.length, full);
      this.#set(tx, full, old => ({ ...old!, value, generation: ++this.generation }));
    } else {
      this.#create(session, tx, full, value);
    }
    this.#fire(tx, full, false, before);
  }

  mkdir(session: Session, tx: Transaction | undefined, path: string): void {
    const full = this.resolve(session, path);
    const before = this.top;
    if (this.#permitted(session, tx, full, Access.write)) return;
    this.#create(session, tx, full, EMPTY);
    this.#fire(tx, full, false, before);
  }

  /** Make a node and what is missing above it, with inherited permissions; a domain owns what it makes. */
  #create(session: Session, tx: Transaction | undefined, path: string, value: Uint8Array): void {
    const missing = [path];
    let above = parentPath(path);
    let existing = this.#get(tx, above);
    for (; !existing; existing = this.#get(tx, above)) {
      missing.unshift(above);
      above = parentPath(above);
    }
    const privileged = isPrivileged(session);
    const permissions = privileged
      ? existing.permissions
      : existing.permissions.map((entry, i) => (i === 0 ? { ...entry, domid: session.domid } : entry));
    if (!privileged && this.nodesOwned(session.domid, tx) + missing.length > this.quotas.nodes) {
      throw new XenstoreError('ENOSPC', path);
    }
    const nameBytes = missing[0]!.length - above.length + 1;
    this.#checkSize(session, tx, nodeBytes(existing) + nameBytes, path);
    this.#checkSize(session, tx, nodeBytes(newNode(permissions, 0, value)), path);
    this.#set(tx, above, old => ({ ...old!, generation: ++this.generation }));
    for (const each of missing) {
      const content = each === path ? value : EMPTY;
      this.#set(tx, each, () => newNode(permissions, ++this.generation, content));
    }
    this.#count(tx, ownerOf(permissions), missing.length);
  }

  remove(session: Session, tx: Transaction | undefined, path: string): void {
    const full = this.resolve(session, path);
    const node = this.#permitted(session, tx, full, Access.write);
    if (!node) {
      if (!this.#get(tx, parentPath(full))) throw new XenstoreError('ENOENT', path);
      return;
    }
    if (full === '/') throw new XenstoreError('EINVAL', path);
    this.#removeSubtree(tx, full, node);
  }

  #removeSubtree(tx: Transaction | undefined, path: string, node: Node): void {
    const before = this.top;
    this.#set(tx, parentPath(path), old => ({ ...old!, generation: ++this.generation }));
    if (tx) walk(node, path, (_, each) => tx.modify(each));
    this.#set(tx, path, () => undefined);
    walk(
      node,
      path,
      (each, eachPath) => {
        this.#count(tx, ownerOf(each.permissions), -1);
        this.#fire(tx, eachPath, eachPath !== path, before);
      },
      true,
    );
  }

  getPermissions(session: Session, tx: Transaction | undefined, path: string): Permissions {
    return this.#require(session, tx, this.resolve(session, path, true), Access.read).permissions;
  }

  /** Counted before the entries are looked at. @throws XenstoreError ENOSPC */
  checkPermissionCount(session: Session, count: number): void {
    if (!isPrivileged(session) && count > this.quotas.nodePermissions) throw new XenstoreError('ENOSPC');
  }

  setPermissions(session: Session, tx: Transaction | undefined, path: string, to: Permissions): void {
    if (to.length === 0) throw new XenstoreError('EINVAL', path);
    this.checkPermissionCount(session, to.length);
    const privileged = isPrivileged(session);
    const full = this.resolve(session, path, true);
    const before = this.top;
    const node = this.#require(session, tx, full, Access.write | Access.owner);
    if (!privileged && ownerOf(to) !== ownerOf(node.permissions)) throw new XenstoreError('EPERM', path);
    this.#checkSize(session, tx, nodeBytes({ ...node, permissions: to }), full);
    this.#set(tx, full, old => ({ ...old!, permissions: to, generation: ++this.generation }));
    this.#count(tx, ownerOf(node.permissions), -1);
    this.#count(tx, ownerOf(to), 1);
    this.#fire(tx, full, false, before);
  }

  /** Set a watch. The caller sends the reply first and then the one event that `fire` delivers. */
  watch(session: Session, path: string, token: string): { fire(): void } {
    const full = this.resolve(session, path, true);
    if (session.watches.some(watch => watch.path === full && watch.token === token)) {
      throw new XenstoreError('EEXIST', path);
    }
    if (!isPrivileged(session) && session.watches.length >= this.quotas.watches) {
      throw new XenstoreError('ENOSPC', path);
    }
    const prefixLength = isRelative(path) ? domainPath(session.domid).length + 1 : 0;
    session.watches.push({ path: full, token, prefixLength });
    return { fire: () => session.deliver(full.slice(prefixLength), token) };
  }

  unwatch(session: Session, path: string, token: string): void {
    const full = this.resolve(session, path, true);
    const index = session.watches.findIndex(watch => watch.path === full && watch.token === token);
    if (index < 0) throw new XenstoreError('ENOENT', path);
    session.watches.splice(index, 1);
  }

  startTransaction(session: Session): number {
    if (!isPrivileged(session) && session.transactions.size >= this.quotas.transactions) {
      throw new XenstoreError('ENOSPC');
    }
    const id = session.allocateTransactionId();
    const touchedMax = isPrivileged(session) ? Number.POSITIVE_INFINITY : this.quotas.transactionNodes;
    session.transactions.set(id, new Transaction(this.top, touchedMax));
    return id;
  }

  /** @throws XenstoreError ENOENT */
  transaction(session: Session, id: number): Transaction | undefined {
    if (id === 0) return undefined;
    const tx = session.transactions.get(id);
    if (!tx) throw new XenstoreError('ENOENT');
    return tx;
  }

  /** Whatever comes of it, the transaction is over. @throws XenstoreError EAGAIN */
  endTransaction(session: Session, id: number, commit: boolean): void {
    const tx = this.transaction(session, id);
    invariant(tx, 'transaction 0 cannot end');
    session.transactions.delete(id);
    if (!commit) return;
    if (tx.failure) throw new XenstoreError(tx.failure);
    if (tx.conflictsWith(this.top)) throw new XenstoreError('EAGAIN');
    if (!isPrivileged(session)) {
      const delta = tx.nodeDeltas.get(session.domid) ?? 0;
      if (delta > 0 && this.nodesOwned(session.domid) + delta > this.quotas.nodes) {
        throw new XenstoreError('ENOSPC');
      }
    }
    const before = this.top;
    this.top = tx.applyTo(before, (top, path, to) => this.#transplant(top, path, to));
    for (const [domid, delta] of tx.nodeDeltas) this.#count(undefined, domid, delta);
    for (const [path, exact] of tx.events()) this.#fireNow(path, exact, before, this.top, true);
  }

  /** Give the node at `path` the content of `to`, keeping its children; or remove it. */
  #transplant(top: Node, path: string, to: Node | undefined): Node {
    return change(top, path, old => {
      if (!to) return undefined;
      const { value, permissions } = to;
      return { ...(old ?? newNode(permissions, 0)), value, permissions, generation: ++this.generation };
    });
  }

  /** Put another tree in the place of this one, as after a restore. */
  replaceTree(top: Node, generation: number): void {
    this.top = top;
    this.generation = generation;
    this.nodeCounts.clear();
    for (const [name, node] of top.children) {
      walk(node, name === '' ? '/' : name, ({ permissions }) =>
        this.#count(undefined, ownerOf(permissions), 1),
      );
    }
  }

  /** A domain is gone: its nodes go with all below them, and no permission names it any longer. */
  forgetDomain(domid: number): void {
    const forget = (node: Node, path: string): void => {
      if (ownerOf(node.permissions) === domid && path.length > 1 && path[0] === '/') {
        this.#removeSubtree(undefined, path, node);
        return;
      }
      const permissions = node.permissions.filter((entry, i) => i === 0 || entry.domid !== domid);
      if (permissions.length !== node.permissions.length) {
        this.#set(undefined, path, old => ({ ...old!, permissions, generation: ++this.generation }));
      }
      for (const [name, child] of node.children) forget(child, childPath(path, name));
    };
    for (const path of ['/', RELEASE_DOMAIN, INTRODUCE_DOMAIN]) forget(lookup(this.top, path)!, path);
    this.nodeCounts.delete(domid);
  }
}
