/**
 * Which instructions a region has: a graph of basic blocks from one entry, over direct branches, across pages, and
 * into called functions, which are copied in with their return. Only what has been decoded is followed, so code that
 * never ran costs nothing.
 */
import { Mode } from '../decode/mode.ts';
import { type Control, controlOf, type Instruction } from './instruction.ts';
import { structureOf } from './structure.ts';

export const PAGE = 4096;

/** More pages than a region can be away from its entry's, in either direction: near branches reach 2 GiB. */
const PAGES_MAX = 2 ** 21;

/** A place in code: pages away from the entry's page, and the offset in that page. */
export interface Place {
  readonly page: number;
  readonly offset: number;
}

/** A function that was copied in: where it returns to. */
interface Call {
  readonly caller: Call | undefined;
  readonly depth: number;
  readonly function: Place;
  readonly returnsTo: Place;
}

/** Where control goes: to a block of the region, or out of it to `place`. */
export interface Edge {
  readonly place: Place;
  readonly block: Block | undefined;
  /** Another page than the one that control comes from: its mapping must be looked at. */
  readonly crosses: boolean;
}

export interface Block {
  readonly id: number;
  readonly place: Place;
  readonly instructions: readonly Instruction[];
  /** How the last instruction ends it; `next` when the block simply goes on with `next`. */
  readonly control: Control;
  readonly taken: Edge | undefined;
  readonly next: Edge | undefined;
}

export interface Region {
  /** The first one is the entry. */
  readonly blocks: readonly Block[];
  /** Machine addresses of the code pages by `Place.page`. */
  readonly codePages: ReadonlyMap<number, number>;
}

/** What formation asks of the decoded code. */
export interface CodeView {
  readonly mode: number;
  /** Code page that is mapped `page` pages from the entry's for the vCPU now; 0 when it is not known. */
  codePage(page: number): number;
  /** The decoded instruction at an offset of a code page; undefined when there is none that can be translated. */
  instruction(codePage: number, offset: number): Instruction | undefined;
  /** Has this conditional branch, within its page, ever been taken? */
  wasTaken(instruction: Instruction): boolean;
}

export interface Limits {
  readonly instructions: number;
  readonly callDepth: number;
}

interface Node {
  readonly place: Place;
  readonly call: Call | undefined;
  readonly instruction: Instruction;
  readonly control: Control;
  taken: Link | undefined;
  next: Link | undefined;
  /** Edges that lead here from elsewhere than the instruction before, or from more than one. */
  nrPredecessors: number;
  isLeader: boolean;
  block: number;
}
interface Link {
  readonly place: Place;
  node: Node | undefined;
  readonly crosses: boolean;
}

/** Form the region that begins at `offset` of the entry's page; undefined when there is nothing to translate. */
export function formRegion(view: CodeView, offset: number, limits: Limits): Region | undefined {
  if ((view.mode & Mode.sizeMask) !== Mode.code64) return undefined;
  const graph = new InstructionGraph(view, limits);
  const entry = graph.explore({ page: 0, offset });
  if (!entry) return undefined;
  return { blocks: reducible(graph.blocks(entry)), codePages: graph.codePages };
}

class InstructionGraph {
  readonly #view: CodeView;
  readonly #limits: Limits;
  readonly #nodes = new Map<number, Node>();
  readonly #contexts = new Map<Call | undefined, number>([[undefined, 0]]);
  readonly codePages = new Map<number, number>();

  constructor(view: CodeView, limits: Limits) {
    this.#view = view;
    this.#limits = limits;
  }
  /** Breadth first, so that what is near the entry comes in before the limit is reached. */
  explore(start: Place): Node | undefined {
    const entry = this.#node(start, undefined);
    if (!entry) return undefined;
    entry.isLeader = true;
    const queue = [entry];
    for (let node = queue.shift(); node; node = queue.shift()) this.#follow(node, queue);
    return entry;
  }

  #node(place: Place, call: Call | undefined): Node | undefined {
    let context = this.#contexts.get(call);
    if (context === undefined) {
      context = this.#contexts.size;
      this.#contexts.set(call, context);
    }
    const key = (context * PAGES_MAX + place.page) * PAGE + place.offset;
    const known = this.#nodes.get(key);
    if (known) return known;
    if (this.#nodes.size >= this.#limits.instructions) return undefined;
    let codePage = this.codePages.get(place.page);
    if (codePage === undefined) {
      codePage = this.#view.codePage(place.page);
      if (codePage === 0) return undefined;
    }
    const instruction = this.#view.instruction(codePage, place.offset);
    if (!instruction) return undefined;
    this.codePages.set(place.page, codePage);
    const node: Node = {
      place,
      call,
      instruction,
      control: controlOf(instruction.form),
      taken: undefined,
      next: undefined,
      nrPredecessors: 0,
      isLeader: false,
      block: -1,
    };
    this.#nodes.set(key, node);
    return node;
  }

  #follow(node: Node, queue: Node[]): void {
    const { instruction, control, place, call } = node;
    const behind = displaced(place, instruction.length);
    const link = (to: Place, context: Call | undefined): Link => {
      const before = this.#nodes.size;
      const target = this.#node(to, context);
      if (target) {
        target.nrPredecessors += 1;
        if (this.#nodes.size > before) queue.push(target);
      }
      return { place: to, node: target, crosses: to.page !== place.page };
    };
    if (control === 'next' || control === 'conditional') node.next = link(behind, call);
    if (control === 'conditional' || control === 'jump' || control === 'call') {
      const distance = Number(BigInt.asIntN(32, instruction.immediate));
      const target = displaced(behind, distance);
      if (control === 'jump') node.taken = link(target, call);
      else if (control === 'conditional') {
        const isCold = target.page === place.page && !this.#view.wasTaken(instruction);
        node.taken = isCold ? { place: target, node: undefined, crosses: false } : link(target, call);
      } else
        node.taken = this.#isWorthCopying(target, call)
          ? link(target, { caller: call, depth: (call?.depth ?? 0) + 1, function: target, returnsTo: behind })
          : { place: target, node: undefined, crosses: false };
    }
    if (control === 'return' && call) node.taken = link(call.returnsTo, call.caller);
    if (control !== 'next')
      for (const edge of [node.taken, node.next]) if (edge?.node) edge.node.isLeader = true;
  }

  /** Not too deep, and not a function that calls itself. */
  #isWorthCopying(target: Place, call: Call | undefined): boolean {
    if ((call?.depth ?? 0) >= this.#limits.callDepth) return false;
    for (let outer = call; outer; outer = outer.caller) if (samePlace(outer.function, target)) return false;
    return true;
  }

  blocks(entry: Node): Block[] {
    const starts: Node[] = [entry];
    entry.block = 0;
    const drafts: { nodes: Node[] }[] = [];
    const blockOf = (node: Node): number => {
      if (node.block < 0) {
        node.block = starts.length;
        starts.push(node);
      }
      return node.block;
    };
    for (let id = 0; id < starts.length; id++) {
      const nodes = [starts[id] as Node];
      for (let last = nodes[0] as Node; ; ) {
        const follower = last.control === 'next' ? last.next : undefined;
        const next = follower?.node;
        const joins = !next || next.isLeader || next.nrPredecessors > 1 || follower.crosses;
        if (joins) break;
        nodes.push(next);
        last = next;
      }
      drafts.push({ nodes });
      const last = nodes.at(-1) as Node;
      for (const link of [last.taken, last.next]) if (link?.node) blockOf(link.node);
    }
    const made: { -readonly [K in keyof Block]: Block[K] }[] = drafts.map(({ nodes }, id) => ({
      id,
      place: (nodes[0] as Node).place,
      instructions: nodes.map(node => node.instruction),
      control: (nodes.at(-1) as Node).control,
      taken: undefined,
      next: undefined,
    }));
    const edge = (link: Link | undefined): Edge | undefined =>
      link && {
        place: link.place,
        crosses: link.crosses,
        block: link.node && (made[link.node.block] as Block),
      };
    drafts.forEach(({ nodes }, id) => {
      const last = nodes.at(-1) as Node;
      const block = made[id] as (typeof made)[0];
      block.taken = edge(last.taken);
      block.next = edge(last.next);
    });
    return made;
  }
}

/** Cut edges into the middle of loops, until none is left. */
function reducible(blocks: Block[]): Block[] {
  let result = blocks;
  for (;;) {
    const { irreducible } = structureOf(successors(result));
    if (irreducible.length === 0) return result;
    const cut = new Set(irreducible.map(([from, to]) => `${from}:${to}`));
    const without = (from: number, edge: Edge | undefined): Edge | undefined =>
      edge?.block && cut.has(`${from}:${edge.block.id}`) ? { ...edge, block: undefined } : edge;
    for (const block of result as { -readonly [K in keyof Block]: Block[K] }[]) {
      block.taken = without(block.id, block.taken);
      block.next = without(block.id, block.next);
    }
    result = [...result];
  }
}

/** Successors by block, the fall-through last. */
export function successors(blocks: readonly Block[]): number[][] {
  return blocks.map(({ taken, next }) => [taken, next].flatMap(edge => (edge?.block ? [edge.block.id] : [])));
}

export function displaced({ page, offset }: Place, distance: number): Place {
  const total = page * PAGE + offset + distance;
  const to = Math.floor(total / PAGE);
  return { page: to, offset: total - to * PAGE };
}
const samePlace = (a: Place, b: Place): boolean => a.page === b.page && a.offset === b.offset;
