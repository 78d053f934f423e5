/**
 * What a backend needs of the hypervisor, over the hypervisor in this process: the backend is the control domain.
 */
import { maddr } from '../../base/brand.ts';
import { bindToGuest, locked, notify, unbind } from '../../hypervisor/event/backend.ts';
import { mapGrant, unmapGrant } from '../../hypervisor/grant/table.ts';
import type { Hypervisor } from '../../hypervisor/hypervisor.ts';
import type { BackendHost } from './device.ts';

export function createBackendHost(hypervisor: Hypervisor): BackendHost {
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
  };
}
