/**
 * The tree of nodes, immutable: a change makes new nodes from the root down to it and shares all others. A snapshot is
 * a reference to a root.
 *
 * A node's generation changes when its value, its permissions or the set of its children's names changes, not when
 * something changes further below. Generations are unique, so equal generations mean an equal node.
 */
import { childPath, pathNames } from './path.ts';
import type { Permissions } from './permissions.ts';
import { EMPTY } from './wire.ts';

export interface Node {
  readonly value: Uint8Array;
  readonly permissions: Permissions;
  readonly generation: number;
  /** In order of creation. */
  readonly children: ReadonlyMap<string, Node>;
}

/** Of all nodes without any: most of a tree, and an empty map takes as much as the rest of such a node. */
export const NO_CHILDREN: ReadonlyMap<string, Node> = new Map();

export const newNode = (permissions: Permissions, generation: number, value: Uint8Array = EMPTY): Node => ({
  value,
  permissions,
  generation,
  children: NO_CHILDREN,
});

/** The hidden node above `/` and the special nodes. */
export const newTop = (): Node => newNode([{ domid: 0, access: 0 }], 0);

export function lookup(top: Node, path: string): Node | undefined {
  let node: Node | undefined = top;
  for (const name of pathNames(path)) {
    node = node.children.get(name);
    if (!node) return undefined;
  }
  return node;
}

function update(
  node: Node,
  names: readonly string[],
  depth: number,
  change: (node: Node | undefined) => Node | undefined,
): Node {
  const name = names[depth]!;
  const child = node.children.get(name);
  const last = depth === names.length - 1;
  if (!last && !child) return node;
  const next = last ? change(child) : update(child!, names, depth + 1, change);
  if (next === child) return node;
  const children = new Map(node.children);
  if (next) children.set(name, next);
  else children.delete(name);
  return { ...node, children };
}

/** Replace, create or (by undefined) remove the node at `path`; without its parent nothing happens. */
export const change = (top: Node, path: string, by: (node: Node | undefined) => Node | undefined): Node =>
  update(top, pathNames(path), 0, by);

/** `visit` for the node and all below it, in order; children before their parent if `childrenFirst`. */
export function walk(
  node: Node,
  path: string,
  visit: (node: Node, path: string) => void,
  childrenFirst = false,
): void {
  if (!childrenFirst) visit(node, path);
  for (const [name, child] of node.children) walk(child, childPath(path, name), visit, childrenFirst);
  if (childrenFirst) visit(node, path);
}

/** Bytes of the list of children as DIRECTORY sends it. */
export function childListBytes(node: Node): number {
  let bytes = 0;
  for (const name of node.children.keys()) bytes += name.length + 1;
  return bytes;
}

/** What counts towards the size quota of a node: a fixed part, permissions, value and child list. */
export const nodeBytes = (node: Node): number =>
  24 + 8 * node.permissions.length + node.value.length + childListBytes(node);
