/**
 * Our modules run without stack checks (platform/node/wasm-compiler.ts), so that nothing in them may recur: no function calls itself by way
 * of others; a call through a table is one of all that is in it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import binaryen from 'binaryen';
import { readAsset } from '../../platform/node/files.ts';

interface CallGraph {
  readonly callees: ReadonlyMap<string, ReadonlySet<string>>;
  /** Functions that call through a table, and those that are in one. */
  readonly indirect: ReadonlySet<string>;
  readonly inTable: ReadonlySet<string>;
}

function callGraphOf(bytes: Uint8Array): CallGraph {
  const module = binaryen.readBinary(bytes);
  const text = module.emitText();
  module.dispose();
  const callees = new Map<string, Set<string>>();
  const indirect = new Set<string>();
  const inTable = new Set<string>();
  let current = '';
  for (const line of text.split('\n')) {
    const begun = /^ \(func (\$\S+)/.exec(line)?.[1];
    if (begun) {
      current = begun;
      callees.set(current, new Set());
    }
    const elements = /^ \(elem \S+ \(i32\.const \d+\)(.*)\)$/.exec(line)?.[1];
    for (const name of elements?.trim().split(' ') ?? []) inTable.add(name);
    for (const [, name] of line.matchAll(/\((?:return_)?call (\$[^\s)]+)/g)) callees.get(current)?.add(name!);
    if (/\bcall_indirect\b/.test(line)) indirect.add(current);
  }
  return { callees, indirect, inTable };
}

/** All that a function may come to call. */
function reachable(from: string, { callees, indirect, inTable }: CallGraph): Set<string> {
  const seen = new Set<string>();
  const queue = [from];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    for (const next of [...(callees.get(name) ?? []), ...(indirect.has(name) ? inTable : [])]) {
      if (seen.has(next)) continue;
      seen.add(next);
      queue.push(next);
    }
  }
  return seen;
}

const recurring = (graph: CallGraph): string[] =>
  [...graph.callees.keys()].filter(from => reachable(from, graph).has(from));

for (const name of ['runtime', 'interpreter']) {
  test(`no function of the ${name} module recurs`, () => {
    const graph = callGraphOf(readAsset(`${name}.wasm`));
    assert.ok(graph.callees.size > 200, 'functions are found');
    assert.ok(graph.indirect.size > 0 && graph.inTable.size > 0, 'so are calls through the table');
    assert.deepEqual(recurring(graph), []);
  });
}

// Handlers are in the interpreter's table, of which they must call nothing.
for (const name of ['rare-forms', 'rare-runtime']) {
  test(`no function of the ${name} module recurs, or calls through a table`, () => {
    const graph = callGraphOf(readAsset(`${name}.wasm`));
    assert.ok(graph.callees.size > 100, 'functions are found');
    assert.deepEqual([...graph.indirect], []);
    assert.deepEqual(recurring(graph), []);
  });
}
