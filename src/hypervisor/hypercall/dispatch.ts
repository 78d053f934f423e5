/**
 * Hypercalls: from VMCALL or VMMCALL to the group's operation, and the result back into rax.
 *
 * 64-bit callers pass the number in rax and arguments in rdi, rsi, rdx, r10, r8, r9; 32-bit ones in eax and ebx, ecx,
 * edx, esi, edi, ebp. A hypercall that would take long does a part and returns -ERESTART: the instruction is then
 * executed again with the arguments that are left, so timers and other vCPUs get their turn in between.
 */
import {
  XEN_EACCES,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ERESTART,
} from '../../abi/xen/errno.ts';
import { Schedop } from '../../abi/xen/sched.ts';
import {
  Hypervisor as Hypercall,
  VMASST_CMD_disable,
  VMASST_CMD_enable,
  VMASST_TYPE_runstate_update_flag,
} from '../../abi/xen/xen.ts';
import { Mode } from '../../cpu/decode/mode.ts';
import { copyFromGuest } from '../guest-memory.ts';
import type { Vcpu } from '../hypervisor.ts';
import { NEVER } from '../state.ts';
import { guestTime, setSingleshot } from '../time.ts';
import { type Call, type OperationTable, runOperation, uint } from './call.ts';
import { consoleOperations } from './console-io.ts';
import { eventChannelOperations } from './event-channel-op.ts';
import { grantTableOperations } from './grant-table-op.ts';
import { hvmOperations } from './hvm-op.ts';
import { memoryOperations } from './memory-op.ts';
import { multicall } from './multicall.ts';
import { schedOperations } from './sched-op.ts';
import { vcpuOperations } from './vcpu-op.ts';
import { versionOperations } from './xen-version.ts';

/** One hypercall number. */
export interface HypercallGroup {
  readonly name: string;
  run(call: Call): number;
  /** The operations behind it, where it has any. */
  readonly operations?: OperationTable;
  readonly note?: string;
}

/** A group whose first argument is the command and whose argument `pointer` points to the structure. */
function group(
  name: string,
  operations: OperationTable,
  pointer: number,
  mask = 0xffff_ffffn,
): HypercallGroup {
  return {
    name,
    operations,
    run: call => runOperation(call, operations, Number(call.args[0]! & mask), call.args[pointer]!),
  };
}

function vmAssist(call: Call): number {
  const command = uint(call.args[0]!);
  const type = uint(call.args[1]!);
  if (type !== VMASST_TYPE_runstate_update_flag) return -XEN_EINVAL;
  const { state } = call.domain;
  if (command === VMASST_CMD_enable) state.vmAssist |= 1 << type;
  else if (command === VMASST_CMD_disable) state.vmAssist &= ~(1 << type);
  else return -XEN_ENOSYS;
  return 0;
}

/** The older way to a singleshot timer: an absolute time, 0 to stop. */
function setTimerOp(call: Call): number {
  if (call.compat) return -XEN_ENOSYS;
  const timeout = call.args[0]!;
  setSingleshot(call.vcpu, timeout === 0n ? NEVER : guestTime(timeout));
  return 0;
}

/** domctl and sysctl: the version in the second word is checked before the caller's rights. */
const controlInterface = (name: string, version: number): HypercallGroup => ({
  name,
  note: `interface version ${version} is -EPERM, others -EACCES`,
  run(call) {
    const head = copyFromGuest(call.vcpu, call.args[0]!, 8);
    if (head === undefined) return -XEN_EFAULT;
    return head.getUint32(4, true) === version ? -XEN_EPERM : -XEN_EACCES;
  },
});

const refused = (name: string, result: number, note: string): HypercallGroup => ({
  name,
  run: () => result,
  note,
});

export const hypercalls: Readonly<Record<number, HypercallGroup>> = {
  [Hypercall.platform_op]: refused('platform_op', -XEN_EPERM, 'hardware domain only: -EPERM'),
  [Hypercall.memory_op]: group('memory_op', memoryOperations, 1, 0x3fn),
  [Hypercall.multicall]: {
    name: 'multicall',
    run: call => multicall(call, runHypercall),
    note: 'not within another; 64-bit callers only',
  },
  [Hypercall.set_timer_op]: { name: 'set_timer_op', run: setTimerOp, note: '64-bit callers only' },
  [Hypercall.xen_version]: group('xen_version', versionOperations, 1),
  [Hypercall.console_io]: group('console_io', consoleOperations, 2),
  [Hypercall.grant_table_op]: group('grant_table_op', grantTableOperations, 1),
  [Hypercall.vm_assist]: { name: 'vm_assist', run: vmAssist, note: 'runstate_update_flag only' },
  [Hypercall.vcpu_op]: group('vcpu_op', vcpuOperations, 2),
  [Hypercall.mmuext_op]: refused('mmuext_op', -XEN_EINVAL, 'PV only: -EINVAL'),
  [Hypercall.xsm_op]: refused('xsm_op', -XEN_ENOSYS, 'no security module: -ENOSYS'),
  [Hypercall.sched_op]: group('sched_op', schedOperations, 1),
  [Hypercall.event_channel_op]: group('event_channel_op', eventChannelOperations, 1),
  [Hypercall.physdev_op]: refused(
    'physdev_op',
    -XEN_ENOSYS,
    'no physical interrupts in a PVH guest: -ENOSYS',
  ),
  [Hypercall.hvm_op]: group('hvm_op', hvmOperations, 1),
  [Hypercall.sysctl]: controlInterface('sysctl', 0x15),
  [Hypercall.domctl]: controlInterface('domctl', 0x15),
  [Hypercall.xenpmu_op]: refused('xenpmu_op', -XEN_EOPNOTSUPP, '-EOPNOTSUPP'),
  [Hypercall.dm_op]: refused('dm_op', -XEN_EPERM, 'device models only: -EPERM'),
  [Hypercall.hypfs_op]: refused('hypfs_op', -XEN_EPERM, 'control domain only: -EPERM'),
};

function runHypercall(call: Call, number: number): number {
  const found = hypercalls[number];
  return found === undefined ? -XEN_ENOSYS : found.run(call);
}

/** Indices of the argument registers in `Vcpu.gpr`. */
const ARGUMENTS_64 = [7, 6, 2, 10, 8, 9];
const ARGUMENTS_32 = [3, 1, 2, 6, 7, 5];
const RAX = 0;
/** VMCALL and VMMCALL are three bytes long, and so is what the hypercall page's stubs end in. */
const INSTRUCTION_BYTES = 3n;

/** May the hypercall that a vCPU has just issued change the p2m, or take pages back? */
export function mayChangeMap({ block }: Vcpu): boolean {
  const number = BigInt.asUintN(32, block.gpr.get(RAX));
  return (
    number === BigInt(Hypercall.memory_op) ||
    number === BigInt(Hypercall.grant_table_op) ||
    number === BigInt(Hypercall.multicall)
  );
}

/** Do the hypercall that a vCPU has just issued. Returns whether it may go on with its slice. */
export function hypercall(vcpu: Vcpu): boolean {
  const { block, domain } = vcpu;
  const { hypervisor } = domain;
  const compat = (block.mode & Mode.sizeMask) !== Mode.code64;
  const width = compat ? 32 : 64;
  if (block.cpl !== 0 || (block.mode & Mode.real) !== 0) {
    setResult(vcpu, -XEN_EPERM, compat);
    return true;
  }
  const registers = compat ? ARGUMENTS_32 : ARGUMENTS_64;
  const args = registers.map(register => BigInt.asUintN(width, block.gpr.get(register)));
  const rawNumber = BigInt.asUintN(width, block.gpr.get(RAX));
  const number = rawNumber > 0xffff_ffffn ? 0xffff_ffff : Number(rawNumber);
  hypervisor.notices.hypercall?.(vcpu, number, args);
  const command = args[0];
  const result = runHypercall({ hypervisor, domain, vcpu, args, compat, inMulticall: false }, number);
  hypervisor.notices.hypercallDone?.(vcpu, number, args, result);
  if (result === -XEN_ERESTART) {
    for (const [n, register] of registers.entries()) block.gpr.set(register, args[n]!);
    block.rip -= INSTRUCTION_BYTES;
    return true;
  }
  setResult(vcpu, result, compat);
  return !(number === Hypercall.sched_op && command === BigInt(Schedop.yield));
}

function setResult(vcpu: Vcpu, result: number, compat: boolean): void {
  vcpu.block.gpr.set(RAX, BigInt.asUintN(compat ? 32 : 64, BigInt(result)));
}
