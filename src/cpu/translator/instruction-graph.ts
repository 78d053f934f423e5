/**
 * Finds the instructions of a region, from where it begins: breadth first, or, where blocks have been counted, what is executed
 * most first. Only what has been decoded is followed, so code that never ran costs nothing. Small functions are copied to where
 * they are called; others are there once, and return to all calls.
 */
import { Frontier } from './frontier.ts';
import { controlOf, type Instruction } from './instruction.ts';
import type { Call, Link, Node } from './instruction-node.ts';
import { type Counts, sharesOf, together } from './profile.ts';
import { displaced, PAGE, type Place, reachesOver, samePlace } from './region.ts';

/** What is executed less often than this, as a share of the entry's executions, is left out. */
const COLD = 1 / 64;
/** More pages than a region can be away from its entry's, in either direction: near branches reach 2 GiB. */
const PAGES_MAX = 2 ** 21;

/** What formation asks of the decoded code. */
export interface CodeView {
  readonly mode: number;
  /** Code page that is mapped `page` pages from the entry's for the vCPU now; 0 when it is not known. */
  codePage(page: number): number;
  /** The decoded instruction at an offset of a code page; undefined when there is none that can be translated. */
  instruction(codePage: number, offset: number): Instruction | undefined;
  /** Has this conditional branch, within its page, ever been taken? */
  wasTaken(instruction: Instruction): boolean;
  /** Where the computed jump, call or return at a place was seen to go, the likeliest first. */
  targets(place: Place): readonly Target[];
  /** How often a place was executed; undefined when no region counts there. */
  counts(codePage: number, offset: number): Counts | undefined;
}

export interface Target {
  readonly place: Place;
  /** How often it was seen by whoever takes note of it: not by regions that have the target. */
  readonly count: number;
}

export interface Limits {
  readonly instructions: number;
  /** How deep calls of small functions are copied in. */
  readonly callDepth: number;
  /** Instructions of a function that is copied to where it is called. */
  readonly copied: number;
  /** How often the region counts on being entered before it asks to be made anew within wider limits; undefined: never. */
  readonly entriesToGrow: number | undefined;
  /** Go by what has been counted. */
  readonly isWeighed: boolean;
}

export class InstructionGraph {
  readonly #view: CodeView;
  readonly #limits: Limits;
  readonly #nodes = new Map<number, Node>();
  readonly #contexts = new Map<Call | undefined, number>([[undefined, 0]]);
  readonly #frontier = new Frontier<Node>();
  /** What was too cold to be followed when it was met. */
  readonly #leftOut: { readonly from: Node; readonly link: Link; readonly call: Call | undefined }[] = [];
  /** Calls of functions that are in the region once. */
  readonly #sharedCalls: { readonly callee: Node; readonly returnPoint: Node }[] = [];
  readonly codePages = new Map<number, number>();

  constructor(view: CodeView, limits: Limits) {
    this.#view = view;
    this.#limits = limits;
  }
  explore(start: Place): Node | undefined {
    const entry = this.#node(start, undefined, 1);
    if (!entry) return undefined;
    entry.isLeader = true;
    for (let node = this.#frontier.take(); node; node = this.#frontier.take()) {
      if (node.isFollowed) continue;
      node.isFollowed = true;
      this.#follow(node);
    }
    this.#linkLeftOut();
    this.#linkReturns();
    return entry;
  }

  #key(place: Place, call: Call | undefined): number {
    let context = this.#contexts.get(call);
    if (context === undefined) {
      context = this.#contexts.size;
      this.#contexts.set(call, context);
    }
    return (context * PAGES_MAX + place.page) * PAGE + place.offset;
  }
  /** The node of an instruction, a new one if there is room, which control comes to with that weight. */
  #node(place: Place, call: Call | undefined, weight: number): Node | undefined {
    const key = this.#key(place, call);
    const known = this.#nodes.get(key);
    if (known) {
      if (this.#limits.isWeighed && !known.isFollowed) {
        known.weight += weight;
        this.#frontier.add(known, known.weight);
      }
      return known;
    }
    if (this.#nodes.size >= this.#limits.instructions || weight < COLD) return undefined;
    // Asked for once: a vCPU may map the page at any time, and the region must have the page that the instruction was found in.
    const codePage = this.#codePage(place.page);
    if (codePage === 0) return undefined;
    const instruction = this.#view.instruction(codePage, place.offset);
    if (!instruction) return undefined;
    if (reachesOver(place.offset, instruction.length)) {
      const behind = this.#codePage(place.page + 1);
      if (behind === 0) return undefined;
      this.codePages.set(place.page + 1, behind);
    }
    this.codePages.set(place.page, codePage);
    const node: Node = {
      place,
      call,
      instruction,
      control: controlOf(instruction.form),
      weight,
      counts: this.#counts(place),
      isFollowed: false,
      taken: undefined,
      next: undefined,
      targets: [],
      returnPoint: undefined,
      nrPredecessors: 0,
      isLeader: false,
      block: -1,
    };
    this.#nodes.set(key, node);
    this.#frontier.add(node, weight);
    return node;
  }
  #counts({ page, offset }: Place): Counts | undefined {
    const codePage = this.#limits.isWeighed ? this.#codePage(page) : 0;
    return codePage === 0 ? undefined : this.#view.counts(codePage, offset);
  }
  /** Which share of the node's executions goes on at each of these places. */
  #shares(node: Node, to: readonly Target[]): number[] {
    if (!this.#limits.isWeighed) return to.map(() => 1);
    return sharesOf(
      node.counts,
      to.map(({ place, count }) => ({ counts: this.#counts(place), odds: count })),
    );
  }
  #codePage(page: number): number {
    return this.codePages.get(page) ?? this.#view.codePage(page);
  }
  #instruction({ page, offset }: Place): Instruction | undefined {
    const codePage = this.#codePage(page);
    return codePage === 0 ? undefined : this.#view.instruction(codePage, offset);
  }

  #follow(node: Node): void {
    const { instruction, control, place, call } = node;
    const behind = displaced(place, instruction.length);
    const link = (to: Place, context: Call | undefined, share = 1) => this.#link(node, to, context, share);
    const target = () => displaced(behind, Number(BigInt.asIntN(32, instruction.immediate)));
    if (control === 'next') {
      node.next = link(behind, call);
      const { node: next } = node.next;
      if (next?.nrPredecessors === 1) next.counts = together(node.counts, next.counts);
    }
    if (control === 'jump') node.taken = link(target(), call);
    if (control === 'conditional') {
      const [next = 1, taken = 1] = this.#shares(
        node,
        [behind, target()].map(to => ({ place: to, count: 1 })),
      );
      const isCold = target().page === place.page && !this.#view.wasTaken(instruction);
      node.next = link(behind, call, isCold ? 1 : next);
      node.taken = isCold
        ? { place: target(), node: undefined, crosses: false }
        : link(target(), call, taken);
    }
    if (control === 'call') {
      if (this.#isWorthCopying(target(), call)) {
        const depth = (call?.depth ?? 0) + 1;
        node.taken = link(target(), { caller: call, depth, function: target(), returnsTo: behind });
      } else {
        node.taken = link(target(), undefined);
        this.#returnsTo(node, behind, [node.taken]);
      }
    }
    if (control === 'indirect') {
      const isCall = instruction.form.definition.name === 'call';
      this.#linkTargets(node, isCall ? undefined : call);
      if (isCall) this.#returnsTo(node, behind, node.targets);
    }
    if (control === 'return') {
      if (call) node.targets = [link(call.returnsTo, call.caller)];
      else if (this.#limits.isWeighed) this.#linkTargets(node, undefined);
    }
    if (control !== 'next') {
      for (const edge of [node.taken, node.next, ...node.targets]) if (edge?.node) edge.node.isLeader = true;
    }
  }
  #linkTargets(node: Node, call: Call | undefined): void {
    const targets = this.#view.targets(node.place);
    const shares = this.#shares(node, targets);
    targets.forEach(({ place }, i) => {
      const link = this.#link(node, place, call, shares[i] as number);
      if (link.node) node.targets.push(link);
    });
  }
  #link(from: Node, place: Place, call: Call | undefined, share: number): Link {
    const node = this.#node(place, call, from.weight * share);
    if (node) node.nrPredecessors += 1;
    const link: Link = { place, node, crosses: place.page !== from.place.page };
    if (!node) this.#leftOut.push({ from, link, call });
    return link;
  }
  /** What seemed cold at first may have come in another way. */
  #linkLeftOut(): void {
    for (const { from, link, call } of this.#leftOut) {
      const node = this.#nodes.get(this.#key(link.place, call));
      if (!node) continue;
      link.node = node;
      node.nrPredecessors += 1;
      if (from.control !== 'next') node.isLeader = true;
    }
  }

  /** The place behind a call belongs to the region too: `callees` that are in it come back there. */
  #returnsTo(caller: Node, behind: Place, callees: readonly Link[]): void {
    const point = this.#node(behind, caller.call, caller.weight);
    if (!point) return;
    point.isLeader = true;
    caller.returnPoint = point;
    for (const { node } of callees) if (node) this.#sharedCalls.push({ callee: node, returnPoint: point });
  }

  /** Small, not too deep, and not a function that calls itself. */
  #isWorthCopying(target: Place, call: Call | undefined): boolean {
    if ((call?.depth ?? 0) >= this.#limits.callDepth) return false;
    for (let outer = call; outer; outer = outer.caller) if (samePlace(outer.function, target)) return false;
    return this.#isSmall(target);
  }
  /** Does the function end within so many instructions, and call no other? */
  #isSmall(start: Place): boolean {
    const seen = new Set<number>();
    const queue = [start];
    for (let place = queue.pop(); place; place = queue.pop()) {
      const key = this.#key(place, undefined);
      if (seen.has(key)) continue;
      const instruction = this.#instruction(place);
      if (!instruction) continue;
      seen.add(key);
      if (seen.size > this.#limits.copied) return false;
      const control = controlOf(instruction.form);
      const behind = displaced(place, instruction.length);
      const taken = () => displaced(behind, Number(BigInt.asIntN(32, instruction.immediate)));
      if (control === 'call' || control === 'indirect') return false;
      if (control === 'next' || control === 'conditional') queue.push(behind);
      if (control === 'jump' || (control === 'conditional' && this.#view.wasTaken(instruction))) {
        queue.push(taken());
      }
    }
    return true;
  }

  /** Functions that are in the region once return to wherever in the region they are called. */
  #linkReturns(): void {
    const points = new Map<Node, Set<Node>>();
    for (const { callee, returnPoint } of this.#sharedCalls) {
      const set = points.get(callee) ?? new Set();
      points.set(callee, set.add(returnPoint));
    }
    for (const [callee, returnPoints] of points) {
      for (const node of returnsOf(callee)) {
        for (const point of returnPoints) {
          if (!node.targets.some(known => known.node === point)) {
            node.targets.push(this.#link(node, point.place, point.call, 1));
          }
        }
      }
    }
  }
}

/** The returns that end a function which is in the region once. */
function returnsOf(callee: Node): Node[] {
  const seen = new Set([callee]);
  const found: Node[] = [];
  for (const node of seen) {
    if (node.control === 'return' && !node.call) found.push(node);
    const isCall = node.returnPoint !== undefined;
    const links = isCall ? [] : [node.taken, node.next, ...node.targets];
    for (const next of [node.returnPoint, ...links.map(link => link?.node)]) if (next) seen.add(next);
  }
  return found;
}
