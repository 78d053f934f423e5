/** One hypercall in progress, and how the operation tables of the hypercall groups are written. */
import { XEN_EFAULT, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../../abi/xen/errno.ts';
import { DOMID_SELF } from '../../abi/xen/xen.ts';
import type { Domain, Hypervisor, Vcpu } from '../hypervisor.ts';

export interface Call {
  readonly hypervisor: Hypervisor;
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  /** The arguments; a handler that returns -ERESTART leaves here what the repeated call is to get. */
  readonly args: bigint[];
  /** Issued by 32-bit code. */
  readonly compat: boolean;
  /** Issued from a multicall. */
  readonly inMulticall: boolean;
}

export interface Operation {
  readonly name: string;
  /** Returns the hypercall's result; `argument` is the group's pointer argument. */
  run(call: Call, argument: bigint): number;
  /** The structures are alike for 32-bit callers, who otherwise get -ENOSYS. */
  readonly compat?: boolean;
  /** For docs/hypercalls.md. */
  readonly note?: string;
}

export type OperationTable = Readonly<Record<number, Operation>>;

/** Look up and run an operation of a group. */
export function runOperation(call: Call, table: OperationTable, command: number, argument: bigint): number {
  const operation = table[command];
  if (operation === undefined || (call.compat && !operation.compat)) return -XEN_ENOSYS;
  return operation.run(call, argument);
}

export const fixed = (name: string, result: number, note: string): Operation => ({
  name,
  run: () => result,
  compat: true,
  note,
});

/** An argument that C declares as a 32-bit unsigned int. */
export const uint = (value: bigint): number => Number(value & 0xffff_ffffn);

/** Domain that a guest names; undefined when there is none. */
export function domainOf(call: Call, id: number): Domain | undefined {
  if (id === DOMID_SELF) return call.domain;
  return call.hypervisor.domains.get(id);
}

/** For operations that a guest may do to itself only. Returns 0 or a negative errno. */
export function mustBeSelf(call: Call, id: number): number {
  const domain = domainOf(call, id);
  if (domain === undefined) return -XEN_ESRCH;
  return domain === call.domain ? 0 : -XEN_EPERM;
}

export const faultUnless = (ok: boolean, result = 0): number => (ok ? result : -XEN_EFAULT);
