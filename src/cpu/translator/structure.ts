/**
 * From a flow graph to nested blocks and loops, for which WebAssembly has no goto (N. Ramsey, "Beyond Relooper",
 * ICFP 2022): a node is written inside of what dominates it; nodes that several paths lead to follow a block that the
 * paths break out of, heads of loops open a loop.
 */

export interface Structure {
  /** All nodes that the entry (node 0) leads to, in reverse postorder. */
  readonly order: readonly number[];
  /** Position in `order`, -1 for nodes that are not reached. */
  readonly position: Int32Array;
  /** What dominates a node immediately; the entry dominates itself. */
  readonly dominator: Int32Array;
  /** What a node dominates immediately, in reverse postorder. */
  readonly children: readonly (readonly number[])[];
  readonly isLoopHead: readonly boolean[];
  /** How many loops a node is in. */
  readonly depth: readonly number[];
  /** More than one forward edge leads here. */
  readonly isMerge: readonly boolean[];
  /** Edges into the middle of a loop, which nesting cannot express. */
  readonly irreducible: readonly (readonly [from: number, to: number])[];
}

/** @param successors of each node, the likelier one last; a repeated one counts as two edges */
export function structureOf(successors: readonly (readonly number[])[]): Structure {
  const count = successors.length;
  const order = reversePostorder(successors);
  const position = new Int32Array(count).fill(-1);
  order.forEach((node, index) => {
    position[node] = index;
  });
  const at = (node: number) => position[node] as number;
  const predecessors: number[][] = Array.from({ length: count }, () => []);
  for (const node of order) for (const to of successors[node] ?? []) predecessors[to]?.push(node);

  const dominator = dominators(order, position, predecessors);
  const dominates = (a: number, b: number) => {
    let node = b;
    while (at(node) > at(a)) node = dominator[node] as number;
    return node === a;
  };
  const children: number[][] = Array.from({ length: count }, () => []);
  for (const node of order.slice(1)) children[dominator[node] as number]?.push(node);

  const isLoopHead = new Array<boolean>(count).fill(false);
  const isMerge = new Array<boolean>(count).fill(false);
  const depth = new Array<number>(count).fill(0);
  const irreducible: [number, number][] = [];
  for (const node of order) {
    const ends: number[] = [];
    let forward = 0;
    for (const from of predecessors[node] ?? []) {
      if (at(from) < at(node)) forward += 1;
      else if (dominates(node, from)) ends.push(from);
      else irreducible.push([from, node]);
    }
    isMerge[node] = forward > 1;
    isLoopHead[node] = ends.length > 0;
    for (const inside of loopOf(node, ends, predecessors)) depth[inside] = (depth[inside] as number) + 1;
  }
  return { order, position, dominator, children, isLoopHead, depth, isMerge, irreducible };
}

/** The natural loop of a head: what leads to the ends from where it goes back there. Empty without ends. */
function loopOf(head: number, ends: readonly number[], predecessors: readonly number[][]): Set<number> {
  const inside = new Set(ends.length > 0 ? [head] : []);
  const open = [...ends];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (inside.has(node)) continue;
    inside.add(node);
    open.push(...(predecessors[node] as number[]));
  }
  return inside;
}

function reversePostorder(successors: readonly (readonly number[])[]): number[] {
  const seen = new Uint8Array(successors.length);
  const postorder: number[] = [];
  const stack: { node: number; next: number }[] = [{ node: 0, next: 0 }];
  seen[0] = 1;
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const to = successors[top.node]?.[top.next];
    top.next += 1;
    if (to === undefined) {
      postorder.push(top.node);
      stack.pop();
    } else if (!seen[to]) {
      seen[to] = 1;
      stack.push({ node: to, next: 0 });
    }
  }
  return postorder.reverse();
}

/** Immediate dominators (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"). */
function dominators(order: readonly number[], position: Int32Array, predecessors: number[][]): Int32Array {
  const dominator = new Int32Array(position.length).fill(-1);
  const at = (node: number) => position[node] as number;
  const meet = (a: number, b: number) => {
    let [x, y] = [a, b];
    while (x !== y) {
      while (at(x) > at(y)) x = dominator[x] as number;
      while (at(y) > at(x)) y = dominator[y] as number;
    }
    return x;
  };
  dominator[order[0] as number] = order[0] as number;
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of order.slice(1)) {
      let best = -1;
      for (const from of predecessors[node] ?? []) {
        if (dominator[from] === -1) continue;
        best = best === -1 ? from : meet(best, from);
      }
      if (best !== dominator[node]) {
        dominator[node] = best;
        changed = true;
      }
    }
  }
  return dominator;
}
