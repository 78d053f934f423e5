/** __HYPERVISOR_event_channel_op (32): int cmd, void *arg. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOENT, XEN_ERESTART, XEN_ESRCH } from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/event-channel.ts';
import { DOMID_SELF } from '../../abi/xen/xen.ts';
import type { FieldType, Struct } from '../../base/struct.ts';
import * as channel from '../event/channel.ts';
import { expandArray, initControl } from '../event/fifo.ts';
import { channelAt, channelOf } from '../event/table.ts';
import { copyIn, copyOut } from '../guest-memory.ts';
import { gfnOfNumber } from '../p2m.ts';
import { Channel } from '../state.ts';
import { type Call, domainOf, mustBeSelf, type Operation, type OperationTable } from './call.ts';

const { Evtchnop } = abi;

/** Copy the structure in and run; when `output` names a field, a result that is a port goes there. */
function withStruct<F extends Record<string, FieldType<unknown>>>(
  name: string,
  layout: Struct<F>,
  body: (call: Call, op: ReturnType<Struct<F>['at']>) => number,
  output?: 'port' | 'local_port',
): Operation {
  return {
    name,
    compat: true,
    run(call, argument) {
      const op = copyIn(call.vcpu, layout, argument);
      if (op === undefined) return -XEN_EFAULT;
      const result = body(call, op.value);
      if (result < 0 || output === undefined) return result;
      (op.value as Record<string, number>)[output] = result;
      if (copyOut(call.vcpu, argument, op)) return 0;
      // The guest cannot have learnt of the port: it must not stay.
      channel.closePort(call.domain, result);
      return -XEN_EFAULT;
    },
  };
}

const statusOf = {
  2: abi.EVTCHNSTAT_unbound,
  3: abi.EVTCHNSTAT_interdomain,
  4: abi.EVTCHNSTAT_virq,
} as const;

const status: Operation = {
  name: 'status',
  compat: true,
  run(call, argument) {
    const op = copyIn(call.vcpu, abi.EvtchnStatus, argument);
    if (op === undefined) return -XEN_EFAULT;
    const refused = mustBeSelf(call, op.value.dom);
    if (refused < 0) return refused;
    const record = channelOf(call.domain, op.value.port);
    if (record === undefined) return -XEN_EINVAL;
    op.value.status = abi.EVTCHNSTAT_closed;
    if (record.state === Channel.ipi) op.value.status = abi.EVTCHNSTAT_ipi;
    else if (record.state >= Channel.unbound) {
      op.value.status = statusOf[record.state as keyof typeof statusOf];
      if (record.state === Channel.virq) {
        op.value.u.dom = record.remotePort & 0xffff;
      } else {
        op.value.u.dom = record.remoteDomain === call.domain.id ? DOMID_SELF : record.remoteDomain;
        op.value.u.port = record.remotePort;
      }
    }
    op.value.vcpu = record.notifyVcpu;
    return copyOut(call.vcpu, argument, op) ? 0 : -XEN_EFAULT;
  },
};

const initControlOp: Operation = {
  name: 'init_control',
  compat: true,
  run(call, argument) {
    const op = copyIn(call.vcpu, abi.EvtchnInitControl, argument);
    if (op === undefined) return -XEN_EFAULT;
    op.value.link_bits = abi.EVTCHN_FIFO_LINK_BITS;
    const vcpu = call.domain.vcpus[op.value.vcpu];
    if (vcpu === undefined) return -XEN_ENOENT;
    const result = initControl(vcpu, gfnOfNumber(op.value.control_gfn), op.value.offset);
    if (result === 0 && !copyOut(call.vcpu, argument, op)) return -XEN_EFAULT;
    return result;
  },
};

/** Ports closed per call before the guest has to come again. */
const RESET_BATCH = 4096;

export const eventChannelOperations: OperationTable = {
  [Evtchnop.bind_interdomain]: withStruct(
    'bind_interdomain',
    abi.EvtchnBindInterdomain,
    (call, op) => {
      const remote = domainOf(call, op.remote_dom);
      if (remote === undefined) return -XEN_ESRCH;
      return channel.bindInterdomain(call.domain, remote, op.remote_port);
    },
    'local_port',
  ),
  [Evtchnop.bind_virq]: withStruct(
    'bind_virq',
    abi.EvtchnBindVirq,
    (call, op) => channel.bindVirq(call.domain, op.virq, op.vcpu),
    'port',
  ),
  [Evtchnop.bind_pirq]: withStruct('bind_pirq', abi.EvtchnBindPirq, () => -XEN_EINVAL),
  [Evtchnop.close]: withStruct('close', abi.EvtchnClose, (call, op) =>
    channel.closePort(call.domain, op.port),
  ),
  [Evtchnop.send]: withStruct('send', abi.EvtchnSend, (call, op) => channel.send(call.domain, op.port)),
  [Evtchnop.status]: status,
  [Evtchnop.alloc_unbound]: withStruct(
    'alloc_unbound',
    abi.EvtchnAllocUnbound,
    (call, op) => {
      const refused = mustBeSelf(call, op.dom);
      if (refused < 0) return refused;
      const remote = op.remote_dom === DOMID_SELF ? call.domain.id : op.remote_dom;
      return channel.allocUnbound(call.domain, remote);
    },
    'port',
  ),
  [Evtchnop.bind_ipi]: withStruct(
    'bind_ipi',
    abi.EvtchnBindIpi,
    (call, op) => channel.bindIpi(call.domain, op.vcpu),
    'port',
  ),
  [Evtchnop.bind_vcpu]: withStruct('bind_vcpu', abi.EvtchnBindVcpu, (call, op) =>
    channel.bindVcpu(call.domain, op.port, op.vcpu),
  ),
  [Evtchnop.unmask]: withStruct('unmask', abi.EvtchnUnmask, (call, op) =>
    channel.unmaskPort(call.domain, op.port),
  ),
  [Evtchnop.reset]: withStruct('reset', abi.EvtchnReset, (call, op) => {
    const refused = mustBeSelf(call, op.dom);
    return refused < 0 ? refused : resetSome(call);
  }),
  [Evtchnop.init_control]: initControlOp,
  [Evtchnop.expand_array]: withStruct('expand_array', abi.EvtchnExpandArray, (call, op) =>
    expandArray(call.domain, gfnOfNumber(op.array_gfn)),
  ),
  [Evtchnop.set_priority]: withStruct('set_priority', abi.EvtchnSetPriority, (call, op) =>
    channel.setPriority(call.domain, op.port, op.priority),
  ),
};

/** Close some ports; the last portion also leaves the FIFO layout. */
function resetSome(call: Call): number {
  let closed = 0;
  for (let port = 1; port < call.domain.state.nrPorts; port++) {
    if (channelAt(call.domain, port).state === Channel.free) continue;
    if (++closed > RESET_BATCH) return -XEN_ERESTART;
    channel.closePort(call.domain, port);
  }
  return channel.resetChannels(call.domain);
}
