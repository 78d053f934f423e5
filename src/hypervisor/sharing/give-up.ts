/** Taking RAM of a domain out of its machine's memory, and noting that nobody looks at it. */
import { frameAddress, mfn, PAGE_SIZE } from '../../base/brand.ts';
import { P2m } from '../../cpu/vcpu/layout.ts';
import { locked } from '../event/backend.ts';
import type { Domain } from '../hypervisor.ts';
import {
  flushStale,
  forEachEntry,
  forgoPaged,
  frameOwner,
  holdsCode,
  mapChanged,
  p2mType,
  referencesTo,
} from '../p2m.ts';

/**
 * Whatever is still `idle` later was not looked at since. Frames that somebody besides the p2m refers to are left out: backends and
 * the hypervisor itself know their addresses. So are those that clones look at.
 */
export function markIdle(domain: Domain): void {
  const { hypervisor } = domain;
  const { parallel } = hypervisor;
  if (parallel) locked(hypervisor, () => parallel.alone(() => markAlone(domain)));
  else markAlone(domain);
}

function markAlone(domain: Domain): void {
  const { hypervisor, state, id } = domain;
  const { u32 } = hypervisor.memory;
  const first = state.p2m / 4;
  const hasClones = !hypervisor.images.isEmpty;
  forEachEntry(domain, (gfn, entry) => {
    const type = p2mType(entry);
    if (type !== P2m.ram && (type !== P2m.frozen || hasClones)) return;
    const frame = entry & P2m.mfnMask;
    if (frameOwner(hypervisor, frame) !== id || referencesTo(hypervisor, frame) !== 1) return;
    u32[first + gfn] = frame | (P2m.idle << P2m.typeShift);
  });
  mapChanged(domain);
  flushStale(domain);
}

/** Change an idle entry into another one, unless somebody has looked at the page since `entry` was read. */
export function replaceIdle({ hypervisor, state }: Domain, gfn: number, entry: number, by: number): boolean {
  return Atomics.compareExchange(hypervisor.memory.u32, state.p2m / 4 + gfn, entry, by) === entry;
}

/**
 * Give an idle page's frame back: its contents are `page` of the store, 0 for zeros, as they were after `entry` was read. It is promised
 * again, so that the page can always come back. False, and nothing has happened, when somebody has looked at it since.
 */
export function giveUp(domain: Domain, gfn: number, entry: number, page: number): boolean {
  const { hypervisor } = domain;
  const { frames, store, engine } = hypervisor;
  return locked(hypervisor, () => {
    if (page !== 0) store?.retain(page);
    if (!replaceIdle(domain, gfn, entry, page | (P2m.shared << P2m.typeShift))) {
      if (page !== 0) store?.release(page);
      return false;
    }
    const frame = mfn(entry & P2m.mfnMask);
    if (holdsCode(hypervisor, frame)) engine.codeWritten?.(frameAddress(frame), PAGE_SIZE);
    frames.release(frame);
    frames.promise(1);
    return true;
  });
}

/** The domain's machine goes: let go of what it has in the store. */
export function releaseShared(domain: Domain): void {
  locked(domain.hypervisor, () =>
    forEachEntry(domain, (gfn, entry) => {
      if (p2mType(entry) === P2m.shared) forgoPaged(domain, gfn);
    }),
  );
}
