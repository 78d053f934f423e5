/** What the block backend needs of the hypervisor: that of every backend, and copies from and to granted pages. */
import { type DomainId, frameAddress, type GrantRef, mfn, PAGE_SIZE } from '../../base/brand.ts';
import { locked } from '../../hypervisor/event/backend.ts';
import { acquireGrant, releaseGrant } from '../../hypervisor/grant/table.ts';
import { wroteTo } from '../../hypervisor/guest-memory.ts';
import type { Hypervisor } from '../../hypervisor/hypervisor.ts';
import type { BackendHost } from '../console/device.ts';
import { createBackendHost } from '../console/host.ts';

export interface BlockHost extends BackendHost {
  /** Fill `target` from a page that a domain has granted. False if it has not. */
  copyFromGrant(domid: DomainId, ref: GrantRef, offset: number, target: Uint8Array): boolean;
  /** Copy into a page that a domain has granted for writing. */
  copyToGrant(domid: DomainId, ref: GrantRef, offset: number, source: Uint8Array): boolean;
}

export function createBlockHost(hypervisor: Hypervisor): BlockHost {
  const { u8 } = hypervisor.memory;
  return {
    ...createBackendHost(hypervisor),
    copyFromGrant(domid, ref, offset, target) {
      const domain = hypervisor.domains.get(domid);
      if (!domain || offset + target.length > PAGE_SIZE) return false;
      return locked(hypervisor, () => {
        const frame = acquireGrant(domain, ref, 0, false);
        if (frame < 0) return false;
        const start = frameAddress(mfn(frame)) + offset;
        target.set(u8.subarray(start, start + target.length));
        releaseGrant(domain, ref, false, frame);
        return true;
      });
    },
    copyToGrant(domid, ref, offset, source) {
      const domain = hypervisor.domains.get(domid);
      if (!domain || offset + source.length > PAGE_SIZE) return false;
      return locked(hypervisor, () => {
        const frame = acquireGrant(domain, ref, 0, true);
        if (frame < 0) return false;
        const start = frameAddress(mfn(frame)) + offset;
        u8.set(source, start);
        wroteTo(hypervisor, start, source.length);
        releaseGrant(domain, ref, true, frame);
        return true;
      });
    },
  };
}
