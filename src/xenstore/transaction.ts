/**
 * Transactions are optimistic: each works on its own tree, a snapshot taken at the start, and notes every path it looked
 * at with the generation found there. It commits if all of these paths still have that generation; otherwise the answer
 * is EAGAIN and nothing has happened. Creating or removing a node looks at its parent, so two transactions that
 * add children to one node conflict.
 */
import { lookup, type Node } from './tree.ts';
import { type XenstoreErrno, XenstoreError } from './wire.ts';

/** The generation of a node that does not exist. */
const ABSENT = -1;

export class Transaction {
  /** The tree at the start. */
  readonly base: Node;
  /** The tree as the transaction sees it. */
  top: Node;
  readonly #touchedMax: number;
  /** Every path looked at, with its generation in `base`. */
  readonly #touched = new Map<string, number>();
  /** Paths changed, parents before their children. */
  readonly #modified = new Set<string>();
  /** Watch events to fire at commit; the value says whether only watches of exactly this path see it. */
  readonly #events = new Map<string, boolean>();
  /** Change in the number of nodes owned, by domain. */
  readonly nodeDeltas = new Map<number, number>();
  /** Set when a request went wrong half-way, or the transaction was cut by save and restore: it cannot commit. */
  failure: XenstoreErrno | undefined = undefined;

  constructor(base: Node, touchedMax: number) {
    this.base = base;
    this.top = base;
    this.#touchedMax = touchedMax;
  }

  /** Note that the outcome depends on `path`. @throws XenstoreError ENOSPC */
  touch(path: string): void {
    if (this.#touched.has(path)) return;
    if (this.#touched.size >= this.#touchedMax) {
      this.failure = 'ENOMEM';
      throw new XenstoreError('ENOSPC', path);
    }
    this.#touched.set(path, lookup(this.base, path)?.generation ?? ABSENT);
  }

  modify(path: string): void {
    this.touch(path);
    this.#modified.add(path);
  }

  /** Remember to fire; an event for the whole subtree above outweighs an exact one. */
  queueEvent(path: string, exact: boolean): void {
    this.#events.set(path, exact && this.#events.get(path) !== false);
  }

  /** Path and exactness of the events, in the order in which their paths were first looked at. */
  *events(): Iterable<[path: string, exact: boolean]> {
    for (const path of this.#touched.keys()) {
      const exact = this.#events.get(path);
      if (exact !== undefined) yield [path, exact];
    }
  }

  countNodes(domid: number, delta: number): void {
    this.nodeDeltas.set(domid, (this.nodeDeltas.get(domid) ?? 0) + delta);
  }

  conflictsWith(top: Node): boolean {
    for (const [path, generation] of this.#touched) {
      if ((lookup(top, path)?.generation ?? ABSENT) !== generation) return true;
    }
    return false;
  }

  /** `top` with the changes of this transaction, which must not conflict with it. */
  applyTo(top: Node, changeNode: (top: Node, path: string, to: Node | undefined) => Node): Node {
    if (top === this.base) return this.top;
    let result = top;
    for (const path of this.#modified) result = changeNode(result, path, lookup(this.top, path));
    return result;
  }
}
