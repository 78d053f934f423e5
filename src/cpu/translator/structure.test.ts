import assert from 'node:assert/strict';
import { test } from 'node:test';
import { structureOf } from './structure.ts';

/** A random graph in which every node has at most two successors. */
function randomGraph(seed: number): number[][] {
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const count = 1 + random(12);
  return Array.from({ length: count }, () => Array.from({ length: random(3) }, () => random(count)));
}

/** Nodes that the entry leads to without passing `without`. */
function reached(graph: number[][], without: number): Set<number> {
  const seen = new Set<number>();
  const stack = without === 0 ? [] : [0];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    stack.push(...(graph[node] as number[]).filter(to => to !== without));
  }
  return seen;
}

/** Walk the nested form that the structure stands for: it must be able to express every edge. */
function assertNests(graph: number[][]): void {
  const { position, children, isMerge, isLoopHead } = structureOf(graph);
  const written = new Set<number>();
  const tree = (node: number, merges: readonly number[], loops: readonly number[]): void => {
    assert.ok(!written.has(node), `node ${node} is written once`);
    written.add(node);
    const inside = isLoopHead[node] ? [...loops, node] : loops;
    const behind = (children[node] as number[]).filter(child => isMerge[child]);
    for (const to of graph[node] as number[]) {
      if ((position[to] as number) <= (position[node] as number))
        assert.ok(inside.includes(to), 'a loop around it');
      else if (isMerge[to]) assert.ok([...merges, ...behind].includes(to), 'a block that ends there');
      else if (!written.has(to)) tree(to, [...merges, ...behind], inside);
    }
    // What follows a block is outside of it, and outside of those that end earlier.
    for (const [index, merge] of behind.entries())
      tree(merge, [...merges, ...behind.slice(index + 1)], inside);
  };
  tree(0, [], []);
  assert.equal(written.size, reached(graph, -1).size);
}

/** Of a graph that nests: does the node lead back to the head without leaving what the head dominates? */
function isInLoop(graph: number[][], head: number, node: number): boolean {
  const others = reached(graph, head);
  const isInside = (at: number) => !others.has(at);
  if (!isInside(node)) return false;
  const stack = [node];
  const seen = new Set(stack);
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    for (const to of graph[at] as number[]) {
      if (to === head) return true;
      if (seen.has(to) || !isInside(to)) continue;
      seen.add(to);
      stack.push(to);
    }
  }
  return false;
}

test('random graphs: dominators as by definition, and what is reducible nests', () => {
  let nested = 0;
  for (let seed = 1; seed <= 3000; seed++) {
    const graph = randomGraph(seed);
    const { order, position, children, isLoopHead, depth, irreducible } = structureOf(graph);
    const all = reached(graph, -1);
    assert.deepEqual(new Set(order), all);
    children.forEach((list, node) => {
      for (const child of list) {
        assert.ok(!reached(graph, node).has(child), `${node} dominates ${child}`);
        assert.ok((position[node] as number) < (position[child] as number));
      }
    });
    if (irreducible.length > 0) continue;
    assertNests(graph);
    for (const node of order) {
      const around = order.filter(head => isLoopHead[head] && isInLoop(graph, head, node));
      assert.equal(depth[node], around.length, `seed ${seed}: loops around ${node}`);
    }
    nested += 1;
  }
  assert.ok(nested > 1000);
});

test('a loop within a loop', () => {
  // 0 -> 1 -> 2 -> 2, 2 -> 3 -> 1, 3 -> 4
  assert.deepEqual(structureOf([[1], [2], [2, 3], [1, 4], []]).depth, [0, 1, 2, 1, 0]);
});

test('a loop with two ways in is irreducible', () => {
  const { irreducible } = structureOf([[1, 2], [2], [1]]);
  assert.equal(irreducible.length, 1);
});
