/** __HYPERVISOR_multicall (13): multicall_entry_t *list, unsigned count. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_ERESTART } from '../../abi/xen/errno.ts';
import { MulticallEntry } from '../../abi/xen/xen.ts';
import { copyIn, copyOut } from '../guest-memory.ts';
import { type Call, uint } from './call.ts';

/** Entries done per call before the guest has to come again. */
const ENTRIES_BATCH = 64;

/** Run each entry; its result goes into the entry. An entry that is to be continued is left with its new arguments. */
export function multicall(call: Call, run: (call: Call, number: number) => number): number {
  if (call.compat) return -XEN_ENOSYS;
  if (call.inMulticall) return -XEN_EINVAL;
  const list = call.args[0]!;
  const count = uint(call.args[1]!);
  for (let i = 0; i < count; i++) {
    const address = list + BigInt(i * MulticallEntry.size);
    if (i === ENTRIES_BATCH) return continueAt(call, address, count - i);
    const entry = copyIn(call.vcpu, MulticallEntry, address);
    if (entry === undefined) return -XEN_EFAULT;
    const args = Array.from({ length: 6 }, (_, n) => entry.value.args.get(n));
    const number = entry.value.op > 0xffff_ffffn ? 0xffff_ffff : Number(entry.value.op);
    const result = run({ ...call, args, inMulticall: true }, number);
    if (result === -XEN_ERESTART) {
      for (const [n, value] of args.entries()) entry.value.args.set(n, value);
      if (!copyOut(call.vcpu, address, entry)) return -XEN_EFAULT;
      return continueAt(call, address, count - i);
    }
    entry.value.result = BigInt(result);
    if (!copyOut(call.vcpu, address, entry)) return -XEN_EFAULT;
  }
  return 0;
}

function continueAt(call: Call, address: bigint, count: number): number {
  call.args[0] = address;
  call.args[1] = BigInt(count);
  return -XEN_ERESTART;
}
