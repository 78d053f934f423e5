/** __HYPERVISOR_xen_version (17): int cmd, void *arg. */
import { XEN_EFAULT, XEN_EINVAL, XEN_EPERM } from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/version.ts';
import { PAGE_SIZE } from '../../base/brand.ts';
import { blank, copyIn, copyOut, copyToGuest } from '../guest-memory.ts';
import type { Call, Operation, OperationTable } from './call.ts';

const { Xenver, Xenfeat } = abi;

/** What tools and guests see: the Xen release whose ABI this is. */
export const XEN_VERSION_MAJOR = 4;
export const XEN_VERSION_MINOR = 17;
export const XEN_EXTRAVERSION = '.0-domus';
const CAPABILITIES = 'xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ';
/** Bottom of the addresses that Xen reserves in 64-bit PV guests. */
const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;

const encoder = new TextEncoder();

/** A zero-padded character array. */
export function characters(text: string, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(encoder.encode(text).subarray(0, length - 1));
  return bytes;
}

const textOf = (name: string, text: string, length: number, note = ''): Operation => ({
  name,
  compat: true,
  note,
  run: (call, argument) => (copyToGuest(call.vcpu, argument, characters(text, length)) ? 0 : -XEN_EFAULT),
});

function compileInfo(call: Call, argument: bigint): number {
  const info = blank(abi.XenCompileInfo);
  info.value.compiler.set(characters('TypeScript', 64));
  info.value.compile_by.set(characters('domus', 16));
  info.value.compile_domain.set(characters('', 32));
  info.value.compile_date.set(characters('', 32));
  return copyOut(call.vcpu, argument, info) ? 0 : -XEN_EFAULT;
}

function platformParameters(call: Call, argument: bigint): number {
  const parameters = blank(abi.XenPlatformParameters);
  parameters.value.virt_start = HYPERVISOR_VIRT_START;
  return copyOut(call.vcpu, argument, parameters) ? 0 : -XEN_EFAULT;
}

const FEATURES =
  (1 << Xenfeat.writable_page_tables) |
  (1 << Xenfeat.auto_translated_physmap) |
  (1 << Xenfeat.hvm_callback_vector) |
  (1 << Xenfeat.hvm_safe_pvclock) |
  (1 << Xenfeat.memory_op_vnode_supported) |
  (1 << Xenfeat.not_direct_mapped);

function getFeatures(call: Call, argument: bigint): number {
  const info = copyIn(call.vcpu, abi.XenFeatureInfo, argument);
  if (info === undefined) return -XEN_EFAULT;
  if (info.value.submap_idx !== 0) return -XEN_EINVAL;
  info.value.submap = FEATURES;
  return copyOut(call.vcpu, argument, info) ? 0 : -XEN_EFAULT;
}

export const versionOperations: OperationTable = {
  [Xenver.version]: {
    name: 'version',
    compat: true,
    run: () => (XEN_VERSION_MAJOR << 16) | XEN_VERSION_MINOR,
    note: `${XEN_VERSION_MAJOR}.${XEN_VERSION_MINOR}`,
  },
  [Xenver.extraversion]: textOf('extraversion', XEN_EXTRAVERSION, abi.XEN_EXTRAVERSION_LEN, XEN_EXTRAVERSION),
  [Xenver.compile_info]: { name: 'compile_info', compat: true, run: compileInfo },
  [Xenver.capabilities]: textOf('capabilities', CAPABILITIES, abi.XEN_CAPABILITIES_INFO_LEN),
  [Xenver.changeset]: textOf('changeset', 'unavailable', abi.XEN_CHANGESET_INFO_LEN),
  [Xenver.platform_parameters]: { name: 'platform_parameters', run: platformParameters },
  [Xenver.get_features]: { name: 'get_features', compat: true, run: getFeatures },
  [Xenver.pagesize]: {
    name: 'pagesize',
    compat: true,
    run: (_call, argument) => (argument !== 0n ? -XEN_EINVAL : PAGE_SIZE),
  },
  [Xenver.guest_handle]: {
    name: 'guest_handle',
    compat: true,
    run: (call, argument) =>
      copyToGuest(call.vcpu, argument, call.domain.state.handle.slice()) ? 0 : -XEN_EFAULT,
  },
  [Xenver.commandline]: textOf('commandline', '<denied>', abi.XEN_COMMANDLINE_LEN, 'not shown to guests'),
  [Xenver.build_id]: { name: 'build_id', compat: true, run: () => -XEN_EPERM, note: '-EPERM to guests' },
};
