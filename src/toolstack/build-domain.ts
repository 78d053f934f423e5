/** A machine's only domain, as the domain builder makes it: memory, kernel, first vCPU, and the pages and ports of its services. */
import { HvmParam } from '../abi/xen/hvm.ts';
import type { Gfn } from '../base/brand.ts';
import { DomusError, invariant } from '../base/errors.ts';
import { buildPvhDomain } from '../hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../hypervisor/builder/entry-state.ts';
import { SpecialPage } from '../hypervisor/builder/layout.ts';
import { createDomain } from '../hypervisor/domain.ts';
import { allocUnboundFor } from '../hypervisor/event/backend.ts';
import { seedGrant } from '../hypervisor/grant/table.ts';
import { builderMemory, setMemoryMap } from '../hypervisor/guest-physical.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { type MachineHost, TSC_KHZ } from '../hypervisor/machine-host.ts';
import { mfnOfGfn, takeReference } from '../hypervisor/p2m.ts';
import type { ServiceFrames } from '../state/save-domain.ts';
import type { MachineConfig } from './machine.ts';
import { newUuid, uuidBytes } from './uuid.ts';

const PAGE = 4096;
/** p2m tables reach to 4 GiB: Linux picks unused frame numbers anywhere below. */
const P2M_FRAMES = 0x100000;
/** ACPI tables, special pages and what the guest maps besides its RAM. */
export const EXTRA_FRAMES = 256;
/** Grant references that libxl reserves for the console and xenstore rings. */
const GRANT_CONSOLE = 0;
const GRANT_XENSTORE = 1;

/** A new domain, with the kernel at its beginning. */
export function buildDomain({ hypervisor, processors, engine }: MachineHost, config: MachineConfig): Domain {
  invariant(config.kernel, 'there is nothing to boot');
  const domain = createDomain(hypervisor, {
    p2mCount: P2M_FRAMES,
    maxPages: config.memoryBytes / PAGE + EXTRA_FRAMES,
    vcpus: config.vcpus,
    tscKhz: TSC_KHZ,
    handle: uuidBytes(config.uuid ?? newUuid(config.platform.entropy)),
  });
  const built = buildPvhDomain(builderMemory(domain), {
    memoryBytes: config.memoryBytes,
    vcpus: config.vcpus,
    kernel: config.kernel,
    initrd: config.initrd,
    commandLine: config.commandLine,
  });
  setMemoryMap(domain, built.memoryMap);
  processors.attach(domain);
  for (const vcpu of domain.vcpus) engine.runtime.resetCpu(vcpu.state.block);
  const boot = domain.vcpus[0];
  if (!boot) throw new DomusError('E_VCPUS', 'a domain needs a vCPU', 'ask for at least one');
  setPvhEntryState(boot.block, built.entry, built.startInfo);
  engine.runtime.updateMode(boot.state.block);
  engine.runtime.selectTlb(boot.state.block);
  return domain;
}

/** The rings of xenstore and the first console: their pages, grants and ports, as the domain finds them. */
export function serviceFrames(domain: Domain): ServiceFrames {
  const service = (page: Gfn, grant: number, pfnParam: number, portParam: number): number => {
    seedGrant(domain, grant, page, 0);
    domain.state.hvmParams.set(pfnParam, BigInt(page));
    domain.state.hvmParams.set(portParam, BigInt(allocUnboundFor(domain)));
    const frame = mfnOfGfn(domain, page);
    // Held for as long as the machine lives: a guest that gives the page away must not have it used for something else.
    takeReference(domain.hypervisor, frame);
    return frame;
  };
  return {
    store: service(SpecialPage.xenstore, GRANT_XENSTORE, HvmParam.STORE_PFN, HvmParam.STORE_EVTCHN),
    console: service(SpecialPage.console, GRANT_CONSOLE, HvmParam.CONSOLE_PFN, HvmParam.CONSOLE_EVTCHN),
  };
}
