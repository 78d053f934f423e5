/** What is to be looked at next: the heaviest first, of equal ones the one that came first. A binary heap. */
export class Frontier<T> {
  readonly #heap: { readonly item: T; readonly weight: number; readonly order: number }[] = [];
  #nrOrders = 0;

  add(item: T, weight: number): void {
    const heap = this.#heap;
    const added = { item, weight, order: this.#nrOrders++ };
    let at = heap.length;
    heap.push(added);
    for (; at > 0; ) {
      const above = (at - 1) >> 1;
      if (!isBefore(added, heap[above] as typeof added)) break;
      heap[at] = heap[above] as typeof added;
      at = above;
    }
    heap[at] = added;
  }

  take(): T | undefined {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (!first || !last) return undefined;
    if (heap.length === 0) return first.item;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      const other = heap[below + 1];
      if (other && isBefore(other, heap[below] as typeof last)) below += 1;
      if (!isBefore(heap[below] as typeof last, last)) break;
      heap[at] = heap[below] as typeof last;
      at = below;
    }
    heap[at] = last;
    return first.item;
  }
}

interface Weighed {
  readonly weight: number;
  readonly order: number;
}
const isBefore = (a: Weighed, b: Weighed): boolean =>
  a.weight > b.weight || (a.weight === b.weight && a.order < b.order);
