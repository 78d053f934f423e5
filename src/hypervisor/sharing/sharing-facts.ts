/** What a domain's memory is made of, page by page, and what sharing saves it. */
import { P2m } from '../../cpu/vcpu/layout.ts';
import type { Domain } from '../hypervisor.ts';
import { forEachEntry, frameOwner, p2mType } from '../p2m.ts';
import type { StoredPages } from './stored-pages.ts';

/** Numbers of pages of 4 KiB. */
export interface SharingFacts {
  /** RAM that has a frame of the domain's own. */
  readonly own: number;
  /** Of these, pages that nobody has looked at since the last pass began. */
  readonly idle: number;
  /** RAM whose contents are in the host's store. */
  readonly shared: number;
  /** RAM that held zeros, and was given up. */
  readonly zero: number;
  /** RAM that nobody has ever looked at, but for its instructions. */
  readonly untouched: number;
  /** Frames that sharing saves: those given up, less the domain's part of the store. */
  readonly saved: number;
}

export function countPages(domain: Domain, store: StoredPages): SharingFacts {
  const { hypervisor, id } = domain;
  let [own, idle, shared, zero, untouched, parts] = [0, 0, 0, 0, 0, 0];
  const count = (_gfn: number, entry: number): void => {
    const type = p2mType(entry);
    const number = entry & P2m.mfnMask;
    if (type === P2m.paged || type === P2m.unread) untouched += 1;
    else if (type === P2m.shared && number === 0) zero += 1;
    else if (type === P2m.shared) {
      shared += 1;
      parts += 1 / Math.max(1, store.usesOf(number));
    } else if (type !== P2m.mmio && frameOwner(hypervisor, number) === id) {
      own += 1;
      if (type === P2m.idle || type === P2m.offered) idle += 1;
    }
  };
  forEachEntry(domain, count, (_gfn, pages) => {
    untouched += pages;
  });
  return { own, idle, shared, zero, untouched, saved: Math.round(zero + shared - parts) };
}
