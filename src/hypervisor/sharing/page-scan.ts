/**
 * The scan for identical pages of domains, in however many machines. A domain is looked at in passes. A pass begins with all of its RAM
 * marked as idle (`mark`); some time later `compare` takes those pages that still are, a portion at a time. Zeros are given up. A page
 * that is in the store already, or is the same as one that was offered, is given up for the store's; others are offered. What somebody
 * looks at is his own again, at once and wherever it was (p2m.ts).
 *
 * So only pages that are not in use are shared. As each machine has a memory of its own, a page that two of them use must be in both.
 */
import { frameAddress, mfn } from '../../base/brand.ts';
import { P2m } from '../../cpu/vcpu/layout.ts';
import type { Domain } from '../hypervisor.ts';
import { p2mType, rawEntry } from '../p2m.ts';
import { ENTRIES_PER_PAGE } from '../p2m-pages.ts';
import { giveUp, markIdle, releaseShared, replaceIdle } from './give-up.ts';
import { Offers } from './offers.ts';
import { PageStore } from './page-store.ts';
import { hashPage, isSamePage } from './page-words.ts';
import { countPages, type SharingFacts } from './sharing-facts.ts';

/** Pages between two looks at the clock. */
const PORTION = 32;

export class PageScan {
  readonly store: PageStore;
  readonly #offers = new Offers();
  readonly #domains = new Map<number, ScannedDomain>();
  #nextNumber = 1;

  constructor(store = new PageStore()) {
    this.store = store;
  }

  /** Its hypervisor's store must be this one. */
  join(domain: Domain): ScannedDomain {
    const number = this.#nextNumber++;
    const scanned = new ScannedDomain(this, domain, number);
    this.#domains.set(number, scanned);
    return scanned;
  }
  /** Before its machine goes. */
  leave(scanned: ScannedDomain): void {
    if (this.#domains.delete(scanned.number)) releaseShared(scanned.domain);
  }

  /** Forget what nobody needs. */
  sweep(): void {
    this.store.sweep();
    this.#offers.sweep((who, gfn) => this.#offered(who, gfn) !== undefined);
  }

  #offered(who: number, gfn: number): { domain: Domain; entry: number } | undefined {
    const domain = this.#domains.get(who)?.domain;
    if (!domain) return undefined;
    const entry = rawEntry(domain, gfn);
    return p2mType(entry) === P2m.offered ? { domain, entry } : undefined;
  }

  /** Find a place to share for an idle page, whose entry was read before. */
  consider({ domain, number }: ScannedDomain, gfn: number, entry: number): void {
    const { u32 } = domain.hypervisor.memory;
    const address = frameAddress(mfn(entry & P2m.mfnMask));
    const hash = hashPage(u32, address);
    if (hash === 0) {
      giveUp(domain, gfn, entry, 0);
      return;
    }
    const page = this.store.find(hash, u32, address);
    if (page !== 0) {
      giveUp(domain, gfn, entry, page);
      return;
    }
    if (this.#offers.find(hash, (who, other) => this.#pair(hash, domain, gfn, entry, who, other))) return;
    const offer = (entry & P2m.mfnMask) | (P2m.offered << P2m.typeShift);
    if (replaceIdle(domain, gfn, entry, offer)) this.#offers.add(hash, number, gfn);
  }

  /** Share a page with one that was offered, if they are the same. Returns whether the search is over. */
  #pair(hash: number, domain: Domain, gfn: number, entry: number, who: number, otherGfn: number): boolean {
    const other = this.#offered(who, otherGfn);
    if (!other || (other.domain === domain && otherGfn === gfn)) return false;
    const { u32 } = domain.hypervisor.memory;
    const address = frameAddress(mfn(entry & P2m.mfnMask));
    const others = other.domain.hypervisor.memory.u32;
    const otherAddress = frameAddress(mfn(other.entry & P2m.mfnMask));
    if (!isSamePage(u32, address, others, otherAddress)) return false;
    const page = this.store.add(hash, u32, address);
    // The copy is good when it was idle until now; only then may the other one have it.
    if (page === 0 || !giveUp(domain, gfn, entry, page)) return true;
    if (this.store.find(hash, others, otherAddress) === page)
      giveUp(other.domain, otherGfn, other.entry, page);
    return true;
  }
}

export class ScannedDomain {
  readonly #scan: PageScan;
  readonly domain: Domain;
  readonly number: number;
  #next = 0;

  /** Use `PageScan.join`. */
  constructor(scan: PageScan, domain: Domain, number: number) {
    this.#scan = scan;
    this.domain = domain;
    this.number = number;
  }

  get facts(): SharingFacts {
    return countPages(this.domain, this.#scan.store);
  }

  /** Begin a pass. */
  mark(): void {
    markIdle(this.domain);
    this.#next = 0;
  }

  /** Go on with it until the time is up. Returns whether it is done. */
  compare(isTimeUp: () => boolean): boolean {
    const { state, hypervisor } = this.domain;
    const { p2m, p2mCount, p2mInUse } = state;
    const { u32 } = hypervisor.memory;
    let left = PORTION;
    while (this.#next < p2mCount) {
      const gfn = this.#next;
      const page = Math.floor(gfn / ENTRIES_PER_PAGE);
      if ((p2mInUse.get(page >>> 5) & (1 << (page & 31))) === 0) {
        this.#next = (page + 1) * ENTRIES_PER_PAGE;
        continue;
      }
      this.#next += 1;
      const entry = u32[p2m / 4 + gfn] as number;
      if (p2mType(entry) !== P2m.idle) continue;
      this.#scan.consider(this, gfn, entry);
      left -= 1;
      if (left > 0) continue;
      if (isTimeUp()) return this.#next >= p2mCount;
      left = PORTION;
    }
    return true;
  }
}
