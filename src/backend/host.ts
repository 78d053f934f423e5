/**
 * What backends need of the hypervisor, over the hypervisor in this process: the backends are the control domain.
 */
import {
  type DomainId,
  type EventPort,
  frameAddress,
  type GrantRef,
  type MachineAddress,
  maddr,
  mfn,
  PAGE_SIZE,
} from '../base/brand.ts';
import { bindToGuest, locked, notify, unbind } from '../hypervisor/event/backend.ts';
import { acquireGrant, mapGrant, releaseGrant, unmapGrant } from '../hypervisor/grant/table.ts';
import { wroteTo } from '../hypervisor/guest-memory.ts';
import type { Hypervisor } from '../hypervisor/hypervisor.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { copyParts, type GrantParts, LentMemory, lendParts } from './grant-parts.ts';

/** `undefined` means that the domain has given nothing valid. */
export interface BackendHost {
  readonly memory: MachineMemory;
  mapGrant(domid: DomainId, ref: GrantRef): MachineAddress | undefined;
  unmapGrant(domid: DomainId, ref: GrantRef, address: MachineAddress): void;
  bindInterdomain(
    domid: DomainId,
    remotePort: EventPort,
    onEvent: () => void,
  ): { notify(): void; close(): void } | undefined;
}

/** For devices whose data lie in granted pages. */
export interface CopyingHost extends BackendHost {
  /** Fill `target` from a page that a domain has granted. False if it has not, or the range leaves the page. */
  copyFromGrant(domid: DomainId, ref: GrantRef, offset: number, target: Uint8Array): boolean;
  /** Copy into a page that a domain has granted for writing. */
  copyToGrant(domid: DomainId, ref: GrantRef, offset: number, source: Uint8Array): boolean;
  /** Fill `target` from parts of granted pages, as many bytes as they have. False at the first that is not granted. */
  copyFromParts(domid: DomainId, parts: GrantParts, target: Uint8Array): boolean;
  /** The other way. */
  copyToParts(domid: DomainId, parts: GrantParts, source: Uint8Array): boolean;
  /**
   * Let `use` work on parts of granted pages where they are, as pieces of memory in their order; it writes to them only with `isWrite`.
   * Returns what it returns; undefined, without a call of it, when a part is not granted.
   */
  lendParts<T>(
    domid: DomainId,
    parts: GrantParts,
    isWrite: boolean,
    use: (pieces: readonly Uint8Array[]) => T,
  ): T | undefined;
}

export function createBackendHost(hypervisor: Hypervisor): CopyingHost {
  const { u8 } = hypervisor.memory;
  const lent = new LentMemory(u8);
  /** Let `copy` work on the machine address of `length` bytes of a granted page, held meanwhile. */
  const withGrant = (
    domid: DomainId,
    ref: GrantRef,
    offset: number,
    length: number,
    isWrite: boolean,
    copy: (start: number) => void,
  ): boolean => {
    const domain = hypervisor.domains.get(domid);
    if (!domain || offset + length > PAGE_SIZE) return false;
    return locked(hypervisor, () => {
      const frame = acquireGrant(domain, ref, 0, isWrite);
      if (frame < 0) return false;
      copy(frameAddress(mfn(frame)) + offset);
      releaseGrant(domain, ref, isWrite, frame);
      return true;
    });
  };
  const withParts = (domid: DomainId, parts: GrantParts, bytes: Uint8Array, isWrite: boolean): boolean => {
    const domain = hypervisor.domains.get(domid);
    return domain !== undefined && locked(hypervisor, () => copyParts(domain, parts, bytes, isWrite));
  };
  return {
    memory: hypervisor.memory,
    mapGrant(domid, ref) {
      const domain = hypervisor.domains.get(domid);
      if (!domain) return undefined;
      const address = locked(hypervisor, () => mapGrant(domain, ref, true));
      return address > 0 ? maddr(address) : undefined;
    },
    unmapGrant(domid, ref) {
      const domain = hypervisor.domains.get(domid);
      if (domain) locked(hypervisor, () => unmapGrant(domain, ref, true));
    },
    bindInterdomain(domid, remotePort, onEvent) {
      const domain = hypervisor.domains.get(domid);
      if (!domain) return undefined;
      const port = bindToGuest(domain, remotePort, onEvent);
      if (port <= 0) return undefined;
      return { notify: () => void notify(hypervisor, port), close: () => unbind(hypervisor, port) };
    },
    copyFromGrant: (domid, ref, offset, target) =>
      withGrant(domid, ref, offset, target.length, false, start => {
        target.set(u8.subarray(start, start + target.length));
      }),
    copyToGrant: (domid, ref, offset, source) =>
      withGrant(domid, ref, offset, source.length, true, start => {
        u8.set(source, start);
        wroteTo(hypervisor, start, source.length);
      }),
    copyFromParts: (domid, parts, target) => withParts(domid, parts, target, false),
    copyToParts: (domid, parts, source) => withParts(domid, parts, source, true),
    lendParts(domid, parts, isWrite, use) {
      const domain = hypervisor.domains.get(domid);
      return domain && lendParts(domain, parts, isWrite, use, lent);
    },
  };
}
