/**
 * Guest-physical memory out of a saved domain. Nothing is read here: RAM is marked as paged, and each page comes when it is first
 * looked at.
 */
import { gfn as asGfn, frameAddress, type Gfn, PAGE_SIZE } from '../base/brand.ts';
import { invariant } from '../base/errors.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { grantTable } from '../hypervisor/grant/table.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { mapMmio, mapSpecial, populateRange, ramOfGfn, takeReference } from '../hypervisor/p2m.ts';
import { GFN_NONE } from '../hypervisor/state.ts';
import { damaged } from './format.ts';
import { LOOSE_FRAME, MapKind, MapRun, NO_FRAME } from './layout.ts';

/** @throws DomusError E_SAVE_DAMAGED, E_MACHINE_FULL */
export function restoreMap(domain: Domain, runs: Uint8Array, nrPages: number): void {
  const view = new DataView(runs.buffer, runs.byteOffset, runs.byteLength);
  const { p2mCount } = domain.state;
  let end = 0;
  for (let at = 0; at + MapRun.size <= runs.length; at += MapRun.size) {
    const { gfn, count, kind, first } = MapRun.at(view, at);
    if (gfn < end || count === 0 || gfn + count > p2mCount) throw damaged('its map of memory');
    end = gfn + count;
    mapRun(domain, asGfn(gfn), count, kind, first, nrPages);
  }
}

function mapRun(domain: Domain, gfn: Gfn, count: number, kind: number, first: number, nrPages: number): void {
  switch (kind) {
    case MapKind.zero:
      populateRange(domain, gfn, count);
      return;
    case MapKind.pages: {
      if (first === 0 || first + count - 1 > nrPages) throw damaged('its map of memory');
      populateRange(domain, gfn, count, first);
      return;
    }
    case MapKind.mmio:
      for (let i = 0; i < count; i++) mapMmio(domain, asGfn(gfn + i));
      return;
    case MapKind.sharedInfo:
      if (count !== 1 || domain.state.sharedInfoGfn !== GFN_NONE) throw damaged('its map of memory');
      mapSpecial(domain, gfn, domain.state.sharedInfo >>> 12, GFN_NONE);
      domain.state.sharedInfoGfn = gfn;
      return;
    case MapKind.grantFrame: {
      const table = grantTable(domain);
      if (first + count > domain.state.nrGrantFrames) throw damaged('its map of memory');
      for (let i = 0; i < count; i++) {
        mapSpecial(domain, gfn + i, table.shared.get(first + i) >>> 12, GFN_NONE);
        table.sharedGfn.set(first + i, gfn + i);
      }
      return;
    }
    default:
      throw damaged(`memory of an unknown kind ${kind}`);
  }
}

/** Finds the frames that the records name. Each look-up takes a reference. */
export class FrameNames {
  readonly #domain: Domain;
  readonly #loose: DataView;
  readonly #nrPages: number;
  readonly #frames = new Map<number, number>();

  constructor(domain: Domain, loose: Uint8Array, nrPages: number) {
    this.#domain = domain;
    this.#loose = new DataView(loose.buffer, loose.byteOffset, loose.byteLength);
    this.#nrPages = nrPages;
  }

  /** The machine frame, 0 for none. @throws DomusError E_SAVE_DAMAGED */
  take(name: number): number {
    if (name === NO_FRAME) return 0;
    const known = this.#frames.get(name);
    if (known === undefined && name >= LOOSE_FRAME) return this.#newLoose(name);
    const frame = known ?? ramOfGfn(this.#domain, name);
    if (frame === 0) throw damaged(`guest frame 0x${name.toString(16)} is no memory`);
    takeReference(this.#domain.hypervisor, frame);
    return frame;
  }

  /** A loose frame has no place in guest memory: the reference is that of whoever asks first. */
  #newLoose(name: number): number {
    const index = name - LOOSE_FRAME;
    if (4 * index + 4 > this.#loose.byteLength) throw damaged('a frame that is nowhere');
    const page = this.#loose.getUint32(4 * index, true);
    if (page > this.#nrPages) throw damaged('a page that is nowhere');
    const { frames, memory, pages } = this.#domain.hypervisor;
    const frame = frames.allocate(this.#domain.id);
    if (page !== 0) {
      invariant(pages, 'there is nothing to read pages from');
      const address = frameAddress(frame);
      pages.read(page, memory.u8.subarray(address, address + PAGE_SIZE));
    }
    this.#frames.set(name, frame);
    return frame;
  }
}

/** Entries that say where their page lies have room for no higher number. */
export const PAGE_NUMBER_MAX = P2m.mfnMask;
