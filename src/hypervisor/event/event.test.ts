import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as errno from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/event-channel.ts';
import { DOMID_SELF, Hypervisor, SharedInfo, VcpuInfo, VIRQ_CONSOLE, VIRQ_TIMER } from '../../abi/xen/xen.ts';
import type { Domain, Vcpu } from '../hypervisor.ts';
import { guestAddress, guestStruct, issue, issueOp, SCRATCH, testDomain, testMachine } from '../testing.ts';
import * as channel from './channel.ts';
import { setPending } from './port.ts';
import { channelAt, takeFreePort } from './table.ts';

const { Evtchnop } = abi;

function evtchn(vcpu: Vcpu, command: keyof typeof Evtchnop, values: Record<string, number | bigint>) {
  const layouts = {
    bind_interdomain: abi.EvtchnBindInterdomain,
    bind_virq: abi.EvtchnBindVirq,
    bind_pirq: abi.EvtchnBindPirq,
    close: abi.EvtchnClose,
    send: abi.EvtchnSend,
    status: abi.EvtchnStatus,
    alloc_unbound: abi.EvtchnAllocUnbound,
    bind_ipi: abi.EvtchnBindIpi,
    bind_vcpu: abi.EvtchnBindVcpu,
    unmask: abi.EvtchnUnmask,
    reset: abi.EvtchnReset,
    init_control: abi.EvtchnInitControl,
    expand_array: abi.EvtchnExpandArray,
    set_priority: abi.EvtchnSetPriority,
  } as const;
  const layout = layouts[command] as typeof abi.EvtchnStatus;
  const done = issueOp(vcpu, layout, values, a =>
    issue(vcpu, Hypervisor.event_channel_op, Evtchnop[command], a),
  );
  return { result: done.result, op: done.op as unknown as Record<string, number> };
}

function fifoDomain(machine = testMachine()) {
  const domain = testDomain(machine);
  for (const vcpu of domain.vcpus) {
    assert.equal(
      evtchn(domain.vcpus[0]!, 'init_control', { control_gfn: 3n, offset: vcpu.id * 128, vcpu: vcpu.id })
        .result,
      0,
    );
  }
  assert.equal(evtchn(domain.vcpus[0]!, 'expand_array', { array_gfn: 4n }).result, 0);
  return { machine, domain, vcpu: domain.vcpus[0]! };
}

const wordOf = (domain: Domain, port: number) => guestAddress(domain, 0x4000) / 4 + port;

/** Take events off a vCPU's queues as a guest does, highest priority first. */
function drain(domain: Domain, vcpuId: number): number[] {
  const { u32 } = domain.hypervisor.memory;
  const control = guestStruct(domain, abi.EvtchnFifoControlBlock, 0x3000 + vcpuId * 128);
  const order: number[] = [];
  for (let priority = 0; priority < 16; priority++) {
    if ((control.ready & (1 << priority)) === 0) continue;
    control.ready &= ~(1 << priority);
    let port = control.head.get(priority);
    while (port !== 0) {
      order.push(port);
      const word = u32[wordOf(domain, port)]!;
      u32[wordOf(domain, port)] = word & 0x5000_0000 & ~0x2001_ffff;
      port = word & abi.EVTCHN_FIFO_LINK_MASK;
    }
    control.head.set(priority, 0);
  }
  return order;
}

test('interdomain channels connect, notify, fall back to unbound and close', () => {
  const machine = testMachine();
  const a = testDomain(machine);
  const b = testDomain(machine);
  const [va, vb] = [a.vcpus[0]!, b.vcpus[0]!];
  const { op, result } = evtchn(va, 'alloc_unbound', { dom: DOMID_SELF, remote_dom: b.id });
  assert.deepEqual([result, op.port], [0, 1]);
  assert.equal(
    evtchn(vb, 'bind_interdomain', { remote_dom: a.id, remote_port: 2 }).result,
    -errno.XEN_EINVAL,
  );
  assert.equal(evtchn(vb, 'bind_interdomain', { remote_dom: 77, remote_port: 1 }).result, -errno.XEN_ESRCH);
  const bound = evtchn(vb, 'bind_interdomain', { remote_dom: a.id, remote_port: 1 });
  assert.deepEqual([bound.result, bound.op.local_port], [0, 1]);
  // The binding end hears of what it may have missed.
  const sharedB = SharedInfo.at(machine.hypervisor.memory.view, b.state.sharedInfo);
  assert.equal(sharedB.evtchn_pending.get(0), 2n);
  assert.equal(
    evtchn(vb, 'bind_interdomain', { remote_dom: a.id, remote_port: 1 }).result,
    -errno.XEN_EINVAL,
  );

  const status = evtchn(vb, 'status', { dom: DOMID_SELF, port: 1 });
  const union = status.op.u as unknown as { dom: number; port: number };
  assert.deepEqual([status.result, status.op.status, union.dom, union.port], [0, 2, a.id, 1]);
  assert.equal(evtchn(vb, 'status', { dom: a.id, port: 1 }).result, -errno.XEN_EPERM);

  assert.equal(evtchn(vb, 'send', { port: 1 }).result, 0);
  const sharedA = SharedInfo.at(machine.hypervisor.memory.view, a.state.sharedInfo);
  assert.equal(sharedA.evtchn_pending.get(0), 2n);
  assert.equal(VcpuInfo.at(machine.hypervisor.memory.view, va.state.vcpuInfo).evtchn_upcall_pending, 1);

  assert.equal(evtchn(vb, 'close', { port: 1 }).result, 0);
  assert.equal(evtchn(vb, 'close', { port: 1 }).result, -errno.XEN_EINVAL);
  assert.equal(sharedB.evtchn_pending.get(0), 0n);
  assert.equal(evtchn(va, 'status', { dom: DOMID_SELF, port: 1 }).op.status, 1);
  assert.equal(evtchn(va, 'send', { port: 1 }).result, 0);
  assert.equal(evtchn(va, 'close', { port: 1 }).result, 0);
  for (const port of [0, 1, 300, 0xffff_ffff]) {
    assert.equal(evtchn(va, 'send', { port }).result, -errno.XEN_EINVAL);
    assert.equal(evtchn(va, 'unmask', { port }).result, port === 1 ? 0 : -errno.XEN_EINVAL);
  }
});

test('VIRQs and IPIs are bound once, to vCPUs that exist', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  assert.equal(evtchn(vcpu, 'bind_virq', { virq: 24, vcpu: 0 }).result, -errno.XEN_EINVAL);
  assert.equal(evtchn(vcpu, 'bind_virq', { virq: VIRQ_TIMER, vcpu: 2 }).result, -errno.XEN_ENOENT);
  assert.equal(evtchn(vcpu, 'bind_virq', { virq: VIRQ_CONSOLE, vcpu: 1 }).result, -errno.XEN_EINVAL);
  const { op } = evtchn(vcpu, 'bind_virq', { virq: VIRQ_TIMER, vcpu: 1 });
  assert.equal(evtchn(vcpu, 'bind_virq', { virq: VIRQ_TIMER, vcpu: 1 }).result, -errno.XEN_EEXIST);
  assert.equal(evtchn(vcpu, 'bind_vcpu', { port: op.port!, vcpu: 0 }).result, -errno.XEN_EINVAL);
  channel.sendVirq(domain.vcpus[1]!, VIRQ_TIMER);
  assert.equal(machine.hypervisor.memory.u8[domain.vcpus[1]!.state.vcpuInfo], 1);
  assert.equal(evtchn(vcpu, 'close', { port: op.port! }).result, 0);
  assert.equal(evtchn(vcpu, 'bind_virq', { virq: VIRQ_TIMER, vcpu: 1 }).result, 0);

  assert.equal(evtchn(vcpu, 'bind_ipi', { vcpu: 9 }).result, -errno.XEN_ENOENT);
  const ipi = evtchn(vcpu, 'bind_ipi', { vcpu: 0 });
  machine.hypervisor.memory.u8[vcpu.state.vcpuInfo] = 0;
  assert.equal(evtchn(vcpu, 'send', { port: ipi.op.port! }).result, 0);
  assert.equal(machine.hypervisor.memory.u8[vcpu.state.vcpuInfo], 1);
  assert.equal(evtchn(vcpu, 'bind_vcpu', { port: ipi.op.port!, vcpu: 1 }).result, -errno.XEN_EINVAL);
  assert.equal(evtchn(vcpu, 'bind_pirq', { pirq: 1 }).result, -errno.XEN_EINVAL);
});

test('2-level: a masked event waits, unmask delivers it, one upcall serves many', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  vcpu.state.upcallVector = 0xf3;
  const ports = [0, 0].map(() => evtchn(vcpu, 'bind_ipi', { vcpu: 0 }).op.port!);
  const shared = SharedInfo.at(machine.hypervisor.memory.view, domain.state.sharedInfo);
  shared.evtchn_mask.set(0, 0b110n);
  for (const port of ports) assert.equal(evtchn(vcpu, 'send', { port }).result, 0);
  assert.equal(shared.evtchn_pending.get(0), 0b110n);
  assert.equal(machine.upcalls.length, 0);
  for (const port of ports) assert.equal(evtchn(vcpu, 'unmask', { port }).result, 0);
  assert.equal(machine.upcalls.length, 1);
  assert.equal(shared.evtchn_mask.get(0), 0n);
  assert.equal(evtchn(vcpu, 'unmask', { port: ports[0]! }).result, 0);
  assert.equal(machine.upcalls.length, 1);
});

test('FIFO: order within a priority, priorities in order, and one link per event', () => {
  const { machine, domain, vcpu } = fifoDomain();
  vcpu.state.upcallVector = 0xf3;
  const ports = Array.from({ length: 8 }, () => evtchn(vcpu, 'bind_ipi', { vcpu: 0 }).op.port!);
  const priorities = [7, 7, 0, 15, 7, 0, 15, 7];
  for (const [i, port] of ports.entries()) {
    assert.equal(evtchn(vcpu, 'set_priority', { port, priority: priorities[i]! }).result, 0);
    assert.equal(evtchn(vcpu, 'set_priority', { port, priority: 16 }).result, -errno.XEN_EINVAL);
  }
  for (const port of [...ports, ...ports]) assert.equal(evtchn(vcpu, 'send', { port }).result, 0);
  assert.equal(machine.upcalls.length, 1);
  assert.deepEqual(drain(domain, 0), [3, 6, 1, 2, 5, 8, 4, 7]);
  assert.deepEqual(drain(domain, 0), []);
  // Queues that were emptied start anew.
  machine.hypervisor.memory.u8[vcpu.state.vcpuInfo] = 0;
  for (const port of [2, 1]) evtchn(vcpu, 'send', { port });
  assert.deepEqual(drain(domain, 0), [2, 1]);
  assert.equal(machine.upcalls.length, 2);
});

test('FIFO: a masked event is linked by unmask; a port still linked is not handed out again', () => {
  const { domain, vcpu, machine } = fifoDomain();
  const { u32 } = machine.hypervisor.memory;
  const port = evtchn(vcpu, 'bind_ipi', { vcpu: 0 }).op.port!;
  u32[wordOf(domain, port)] = 1 << 30;
  evtchn(vcpu, 'send', { port });
  assert.equal(u32[wordOf(domain, port)]! >>> 30, 3);
  assert.deepEqual(drain(domain, 0), []);
  evtchn(vcpu, 'unmask', { port });
  assert.equal(u32[wordOf(domain, port)]! >>> 29, 0b101);
  evtchn(vcpu, 'close', { port });
  assert.notEqual(evtchn(vcpu, 'bind_ipi', { vcpu: 0 }).op.port, port);
  drain(domain, 0);
  assert.equal(evtchn(vcpu, 'bind_ipi', { vcpu: 0 }).op.port, port);
});

test('FIFO: events move to the queue of the vCPU that they are bound to', () => {
  const { domain, vcpu } = fifoDomain();
  const { op } = evtchn(vcpu, 'alloc_unbound', { dom: DOMID_SELF, remote_dom: DOMID_SELF });
  const back = evtchn(vcpu, 'bind_interdomain', { remote_dom: DOMID_SELF, remote_port: op.port! });
  drain(domain, 0);
  evtchn(vcpu, 'send', { port: back.op.local_port! });
  assert.deepEqual(drain(domain, 0), [op.port]);
  assert.equal(evtchn(vcpu, 'bind_vcpu', { port: op.port!, vcpu: 1 }).result, 0);
  evtchn(vcpu, 'send', { port: back.op.local_port! });
  assert.deepEqual(drain(domain, 0), []);
  assert.deepEqual(drain(domain, 1), [op.port]);
});

test('FIFO: errors of setup, and events that come before their page', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  assert.equal(evtchn(vcpu, 'expand_array', { array_gfn: 4n }).result, -errno.XEN_EOPNOTSUPP);
  assert.equal(
    evtchn(vcpu, 'init_control', { control_gfn: 3n, offset: 4030, vcpu: 0 }).result,
    -errno.XEN_EINVAL,
  );
  assert.equal(
    evtchn(vcpu, 'init_control', { control_gfn: 3n, offset: 4, vcpu: 0 }).result,
    -errno.XEN_EINVAL,
  );
  assert.equal(evtchn(vcpu, 'init_control', { control_gfn: 0n, vcpu: 0 }).result, -errno.XEN_EINVAL);
  assert.equal(evtchn(vcpu, 'init_control', { control_gfn: 1n << 60n, vcpu: 0 }).result, -errno.XEN_EINVAL);
  assert.equal(evtchn(vcpu, 'init_control', { control_gfn: 3n, vcpu: 5 }).result, -errno.XEN_ENOENT);
  const port = evtchn(vcpu, 'bind_ipi', { vcpu: 0 }).op.port!;
  assert.equal(evtchn(vcpu, 'set_priority', { port, priority: 1 }).result, -errno.XEN_ENOSYS);
  evtchn(vcpu, 'send', { port });
  assert.equal(evtchn(vcpu, 'init_control', { control_gfn: 3n, vcpu: 0 }).result, 0);
  assert.equal(evtchn(vcpu, 'init_control', { control_gfn: 3n, vcpu: 0 }).result, -errno.XEN_EINVAL);
  assert.equal(evtchn(vcpu, 'expand_array', { array_gfn: 999n }).result, -errno.XEN_EINVAL);
  assert.equal(evtchn(vcpu, 'expand_array', { array_gfn: 4n }).result, 0);
  assert.deepEqual(drain(domain, 0), [port]);
  assert.equal(evtchn(vcpu, 'reset', { dom: DOMID_SELF }).result, 0);
  assert.equal(domain.state.usesFifo, 0);
  assert.equal(evtchn(vcpu, 'status', { dom: DOMID_SELF, port }).op.status, 0);
});

test('FIFO: a guest that scribbles over words and control block harms nobody else', () => {
  const { domain, vcpu, machine } = fifoDomain();
  const other = testDomain(machine);
  const otherBytes = () =>
    machine.hypervisor.memory.u8.slice(guestAddress(other, 0x1000), guestAddress(other, 0x1000) + 4096);
  const before = otherBytes();
  const ports = Array.from({ length: 32 }, () => evtchn(vcpu, 'bind_ipi', { vcpu: 0 }).op.port!);
  let seed = 12345;
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed;
  };
  const { u32 } = machine.hypervisor.memory;
  for (let i = 0; i < 5000; i++) {
    u32[guestAddress(domain, 0x4000) / 4 + (random() >>> 22)] = random();
    u32[guestAddress(domain, 0x3000) / 4 + (random() >>> 27)] = random();
    const port = ports[random() % ports.length]!;
    const record = channelAt(domain, port);
    record.priority = random() & 15;
    setPending(domain, port, record);
    if ((i & 7) === 0) channel.unmaskPort(domain, port);
  }
  assert.deepEqual(otherBytes(), before);
});

test('ports run out with -ENOSPC', () => {
  const machine = testMachine();
  const domain = testDomain(machine, { maxEventChannelPort: 300 });
  for (let i = 1; i <= 300; i++) {
    const port = takeFreePort(domain);
    assert.equal(port, i);
    channelAt(domain, port).state = 2;
  }
  assert.equal(
    evtchn(domain.vcpus[0]!, 'alloc_unbound', { dom: DOMID_SELF, remote_dom: 0 }).result,
    -errno.XEN_ENOSPC,
  );
  assert.equal(issue(domain.vcpus[0]!, Hypervisor.event_channel_op, 99, SCRATCH), -errno.XEN_ENOSYS);
  assert.equal(issue(domain.vcpus[0]!, Hypervisor.event_channel_op, 4, 8), -errno.XEN_EFAULT);
});
