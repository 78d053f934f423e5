/**
 * The nodes that a domain finds when it starts, with the permissions that libxl gives them: its own directory to read,
 * some below it to write.
 */
import type { XenstoreClient, XenstoreValue } from './client.ts';
import { domainPath } from './path.ts';

export interface DomainTreeOptions {
  readonly domid: number;
  readonly name: string;
  /** As text, with hyphens. */
  readonly uuid: string;
  /** What it can have at most, and what it is to have now. */
  readonly memoryKiB: number;
  readonly memoryTargetKiB: number;
  readonly vcpus: number;
  readonly vcpusOnline: number;
  /** Guest frame of the xenstore ring page. */
  readonly storeGfn: number;
  /** The domain's event channel port to xenstore. */
  readonly storePort: number;
}

/** Nodes that the domain may write, empty at first. */
const WRITABLE = [
  'control/shutdown',
  'control/feature-poweroff',
  'control/feature-reboot',
  'control/feature-suspend',
  'control/sysrq',
  'device/suspend/event-channel',
  'data',
  'drivers',
  'feature',
  'attr',
  'error',
  // Not libxl's: where xenballoond says what the guest has left.
  'memory/meminfo',
];

export function writeDomainTree(xs: XenstoreClient, options: DomainTreeOptions): void {
  const { domid, name, uuid, vcpus, storeGfn, storePort } = options;
  const base = domainPath(domid);
  const readOnly = ['n0', `r${domid}`];
  const values: Record<string, XenstoreValue> = {
    vm: `/vm/${uuid}`,
    name,
    domid,
    'memory/target': options.memoryTargetKiB,
    'memory/static-max': options.memoryKiB,
    'store/ring-ref': storeGfn,
    'store/port': storePort,
  };
  xs.transaction(t => {
    for (const directory of [base, `/vm/${uuid}`]) {
      t.remove(directory);
      t.mkdir(directory);
      t.setPermissions(directory, readOnly);
    }
    t.write(`/vm/${uuid}/name`, name);
    t.write(`/vm/${uuid}/uuid`, uuid);
    // What is created below inherits the permissions of the directory.
    for (const [key, value] of Object.entries(values)) t.write(`${base}/${key}`, value);
    for (let vcpu = 0; vcpu < vcpus; vcpu++) {
      t.write(`${base}/cpu/${vcpu}/availability`, vcpu < options.vcpusOnline ? 'online' : 'offline');
    }
    for (const directory of ['control', 'device']) t.mkdir(`${base}/${directory}`);
    for (const path of WRITABLE) {
      t.mkdir(`${base}/${path}`);
      t.setPermissions(`${base}/${path}`, [`n${domid}`]);
    }
  });
}

/**
 * A number that no other copy of the domain has: whoever keeps secrets or names that must not be there twice watches it.
 * Source: Xen docs/misc/xenstore-paths (`~/platform/generation-id`: two 64-bit numbers).
 * @param id 16 bytes
 */
export function writeGenerationId(xs: XenstoreClient, domid: number, id: Uint8Array): void {
  const view = new DataView(id.buffer, id.byteOffset, id.byteLength);
  const text = `${view.getBigUint64(0, true)}:${view.getBigUint64(8, true)}`;
  xs.write(`${domainPath(domid)}/platform/generation-id`, text);
}

/** What is left of a domain that is gone. */
export function removeDomainTree(xs: XenstoreClient, domid: number): void {
  const vm = xs.read(`${domainPath(domid)}/vm`);
  xs.transaction(t => {
    t.remove(domainPath(domid));
    // Only domain 0 can write this node, but a path is still better looked at before it is removed.
    if (vm !== undefined && /^\/vm\/[A-Za-z0-9-]+$/.test(vm)) t.remove(vm);
  });
}
