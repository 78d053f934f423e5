/** From instructions to basic blocks. */
import type { Draft } from './dispatcher.ts';
import type { Link, Node } from './instruction-node.ts';
import type { Block, Edge } from './region.ts';

/** The region's blocks, the first one beginning at `entry`, and those where others come in: behind calls that leave it. */
export function blocksOf(entry: Node): { blocks: readonly Draft<Block>[]; entries: readonly Block[] } {
  const starts: Node[] = [];
  const begin = (node: Node) => {
    if (node.block >= 0) return;
    node.block = starts.length;
    starts.push(node);
  };
  begin(entry);
  const drafts: Node[][] = [];
  const entered = new Set([entry]);
  for (let id = 0; id < starts.length; id++) {
    const nodes = [starts[id] as Node];
    for (let last = nodes[0] as Node; ; ) {
      const follower = last.control === 'next' ? last.next : undefined;
      const next = follower?.node;
      if (!next || next.isLeader || next.nrPredecessors > 1 || follower.crosses) break;
      nodes.push(next);
      last = next;
    }
    drafts.push(nodes);
    const { taken, next, targets, returnPoint } = nodes.at(-1) as Node;
    for (const link of [taken, next, ...targets]) if (link?.node) begin(link.node);
    if (returnPoint) {
      begin(returnPoint);
      if (!taken?.node || returnPoint.nrPredecessors === 0) entered.add(returnPoint);
    }
  }
  const made: Draft<Block>[] = drafts.map((nodes, id) => ({
    id,
    place: (nodes[0] as Node).place,
    instructions: nodes.map(node => node.instruction),
    control: (nodes.at(-1) as Node).control,
    taken: undefined,
    next: undefined,
    targets: [],
  }));
  const edge = ({ place, crosses, node }: Link): Edge => ({
    place,
    crosses,
    block: node && (made[node.block] as Block),
    dispatch: undefined,
  });
  drafts.forEach((nodes, id) => {
    const { taken, next, targets } = nodes.at(-1) as Node;
    const block = made[id] as Draft<Block>;
    block.taken = taken && edge(taken);
    block.next = next && edge(next);
    block.targets = targets.map(edge);
  });
  return { blocks: made, entries: [...entered].map(node => made[node.block] as Block) };
}
