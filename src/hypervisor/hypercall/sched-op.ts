/** __HYPERVISOR_sched_op (29): int cmd, void *arg. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSPC, XEN_EPERM, XEN_ESRCH } from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/sched.ts';
import { isPending } from '../event/port.ts';
import { channelOf } from '../event/table.ts';
import { upcallPending } from '../event/upcall.ts';
import { copyFromGuest, copyIn, guestRangeOkay } from '../guest-memory.ts';
import { domainShutdown } from '../life.ts';
import { NEVER, Pause, POLL_ANY, SHUTDOWN_CODE_INVALID } from '../state.ts';
import { guestTime, setPollTimer, timerArmed } from '../time.ts';
import type { Call, OperationTable } from './call.ts';
import { fixed } from './call.ts';

const { Schedop } = abi;
/** Longest port list of SCHEDOP_poll. */
const POLL_PORTS_MAX = 128;
/** Timers of SCHEDOP_watchdog per domain. */
const WATCHDOGS = 2;

function block(call: Call): number {
  const { vcpu } = call;
  // Blocking enables event delivery, so an event that is already there ends it at once.
  call.hypervisor.memory.u8[vcpu.state.vcpuInfo + 1] = 0;
  if (!upcallPending(vcpu) && vcpu.block.pendingInterrupt < 0) vcpu.state.pauseFlags |= Pause.blocked;
  return 0;
}

function shutdown(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.SchedShutdown, argument);
  if (op === undefined) return -XEN_EFAULT;
  domainShutdown(call.domain, op.value.reason, call.vcpu.id);
  return 0;
}

function poll(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.SchedPoll, argument);
  if (op === undefined) return -XEN_EFAULT;
  const { nr_ports: count, ports: list } = op.value;
  if (count > POLL_PORTS_MAX) return -XEN_EINVAL;
  if (!guestRangeOkay(call.vcpu, list, count * 4, false)) return -XEN_EFAULT;
  const ports = copyFromGuest(call.vcpu, list, count * 4);
  if (ports === undefined) return -XEN_EFAULT;
  for (let i = 0; i < count; i++) {
    const port = ports.getUint32(i * 4, true);
    if (channelOf(call.domain, port) === undefined) return -XEN_EINVAL;
    if (isPending(call.domain, port)) return 0;
  }
  // An interrupt that waits ends the poll as an event does: nothing would come later to end it.
  if (upcallPending(call.vcpu) || call.vcpu.block.pendingInterrupt >= 0) return 0;
  const { state } = call.vcpu;
  state.pollPort = count === 1 ? ports.getUint32(0, true) : POLL_ANY;
  state.pauseFlags |= Pause.blocked;
  if (op.value.timeout !== 0n) setPollTimer(call.vcpu, guestTime(op.value.timeout));
  return 0;
}

function remoteShutdown(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.SchedRemoteShutdown, argument);
  if (op === undefined) return -XEN_EFAULT;
  return call.hypervisor.domains.has(op.value.domain_id) ? -XEN_EPERM : -XEN_ESRCH;
}

function shutdownCode(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.SchedShutdown, argument);
  if (op === undefined) return -XEN_EFAULT;
  const { state } = call.domain;
  if (state.shutdownCode === SHUTDOWN_CODE_INVALID) state.shutdownCode = op.value.reason & 0xff;
  return 0;
}

/** id 0 takes a free watchdog and returns its id; otherwise the one named is set again or, by 0 seconds, stopped. */
function watchdog(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.SchedWatchdog, argument);
  if (op === undefined) return -XEN_EFAULT;
  const { id, timeout } = op.value;
  const { state } = call.domain;
  if (id > WATCHDOGS) return -XEN_EINVAL;
  let index = id - 1;
  if (id === 0) {
    if (timeout === 0) return -XEN_EINVAL;
    for (index = 0; index < WATCHDOGS; index++) if ((state.watchdogUsed & (1 << index)) === 0) break;
    if (index === WATCHDOGS) return -XEN_ENOSPC;
  } else if ((state.watchdogUsed & (1 << index)) === 0) return -XEN_EINVAL;
  if (timeout === 0) {
    state.watchdogUsed &= ~(1 << index);
    state.watchdogNs.set(index, NEVER);
    return 0;
  }
  state.watchdogUsed |= 1 << index;
  const deadlineNs = call.hypervisor.clock.systemTimeNs() + timeout * 1e9;
  state.watchdogNs.set(index, Math.min(deadlineNs, NEVER));
  timerArmed(call.hypervisor, deadlineNs);
  return id === 0 ? index + 1 : 0;
}

export const schedOperations: OperationTable = {
  [Schedop.yield]: { name: 'yield', compat: true, run: () => 0 },
  [Schedop.block]: { name: 'block', compat: true, run: block },
  [Schedop.shutdown]: { name: 'shutdown', compat: true, run: shutdown },
  [Schedop.poll]: { name: 'poll', run: poll, note: 'up to 128 ports' },
  [Schedop.remote_shutdown]: { name: 'remote_shutdown', compat: true, run: remoteShutdown, note: '-EPERM' },
  [Schedop.shutdown_code]: { name: 'shutdown_code', compat: true, run: shutdownCode },
  [Schedop.watchdog]: { name: 'watchdog', compat: true, run: watchdog, note: 'two per domain' },
  [Schedop.pin_override]: fixed('pin_override', -XEN_EPERM, 'hardware domain only: -EPERM'),
};
