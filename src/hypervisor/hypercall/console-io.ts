/** __HYPERVISOR_console_io (18): unsigned cmd, unsigned count, char *buffer. */
import { XEN_EFAULT, XEN_EPERM, XEN_ERESTART } from '../../abi/xen/errno.ts';
import { CONSOLEIO_read, CONSOLEIO_write } from '../../abi/xen/xen.ts';
import { copyFromGuest } from '../guest-memory.ts';
import { type Call, type OperationTable, uint } from './call.ts';

/** Bytes taken per call before the guest has to come again. */
const WRITE_BATCH = 4096;

function write(call: Call): number {
  const { console } = call.hypervisor.notices;
  if (!call.domain.state.isConsole) return -XEN_EPERM;
  const count = uint(call.args[1]!);
  const now = Math.min(count, WRITE_BATCH);
  const text = copyFromGuest(call.vcpu, call.args[2]!, now);
  if (text === undefined) return -XEN_EFAULT;
  console?.(call.domain, new Uint8Array(text.buffer));
  if (now === count) return 0;
  call.args[1] = BigInt(count - now);
  call.args[2] = call.args[2]! + BigInt(now);
  return -XEN_ERESTART;
}

export const consoleOperations: OperationTable = {
  [CONSOLEIO_write]: {
    name: 'write',
    compat: true,
    run: write,
    note: 'for domains created with a console, else -EPERM',
  },
  [CONSOLEIO_read]: {
    name: 'read',
    compat: true,
    run: call => (call.domain.state.isConsole ? 0 : -XEN_EPERM),
  },
};
