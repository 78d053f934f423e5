import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as errno from '../abi/xen/errno.ts';
import { EvtchnBindIpi } from '../abi/xen/event-channel.ts';
import { XenHvmParam } from '../abi/xen/hvm.ts';
import { XenAddToPhysmap } from '../abi/xen/memory.ts';
import * as sched from '../abi/xen/sched.ts';
import { Vcpuop } from '../abi/xen/vcpu.ts';
import { Hypervisor, VcpuInfo } from '../abi/xen/xen.ts';
import { mfn } from '../base/brand.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { FrameEntry, FrameType } from '../machine/frames.ts';
import { machineHeader } from '../machine/header.ts';
import { FRAME_TABLE_BASE, RUNTIME_DATA_BASE } from '../machine/memory.ts';
import { attachRun, createHypervisor, destroyDomain } from './domain.ts';
import { allocUnboundFor, bindToGuest, notify } from './event/backend.ts';
import type { Vcpu } from './hypervisor.ts';
import { domainInfo } from './info.ts';
import {
  crashReason,
  domainCrash,
  domainResume,
  pauseDomain,
  shutdownCode,
  unpauseDomain,
  vcpuUp,
} from './life.ts';
import { populateGfn } from './p2m.ts';
import { EXIT_FUEL, runOne } from './scheduler.ts';
import {
  ACTIVE_BYTES,
  ActiveGrant,
  CHANNELS_PER_FRAME,
  DomainState,
  EventChannel,
  EventTable,
  GrantTable,
  HYPERVISOR_STATE,
  HypervisorState,
  MAPTRACK_PER_FRAME,
  Maptrack,
  NEVER,
  Pause,
  VcpuState,
} from './state.ts';
import { guestAddress, issue, issueOp, SCRATCH, testDomain, testMachine } from './testing.ts';
import { setSingleshot } from './time.ts';
import { interruptArrived } from './wake.ts';

const { sched_op, vcpu_op, xen_version } = Hypervisor;

test('runnable vCPUs take turns; fuel, pause and yield end a slice', () => {
  const machine = testMachine();
  const a = testDomain(machine);
  const b = testDomain(machine);
  vcpuUp(a.vcpus[1]!);
  const names = new Map<number, string>();
  for (const [name, vcpu] of [
    ['a0', a.vcpus[0]],
    ['b0', b.vcpus[0]],
    ['a1', a.vcpus[1]],
  ] as [string, Vcpu][]) {
    names.set(vcpu.state.block, name);
  }
  const order: string[] = [];
  machine.script.run = (vcpu, fuel) => {
    order.push(names.get(vcpu)!);
    assert.equal(fuel, 100);
    return order.length % 2 ? Exit.pause : Exit.fuel;
  };
  for (let i = 0; i < 6; i++) runOne(machine.hypervisor, 100);
  assert.deepEqual(order, ['a0', 'b0', 'a1', 'a0', 'b0', 'a1']);
});

test('a slice says how much of its fuel it has used, with a share for each entry', () => {
  const machine = testMachine();
  const { block } = testDomain(machine).vcpus[0]!;
  const used = (exit: number, instructions: number): number => {
    machine.script.run = (_vcpu, fuel) => {
      block.fuel = fuel - instructions;
      return exit;
    };
    const outcome = runOne(machine.hypervisor, 100_000);
    return outcome.kind === 'ran' ? outcome.used : -1;
  };
  assert.equal(used(Exit.pause, 7), EXIT_FUEL + 7);
  const whole = used(Exit.fuel, 20_000);
  assert.ok(whole >= 100_000 && whole < 100_000 + 20_000 + EXIT_FUEL, String(whole));
});

test('a hypercall continues the slice with what fuel is left', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const { block } = domain.vcpus[0]!;
  const fuels: number[] = [];
  machine.script.run = (_vcpu, fuel) => {
    fuels.push(fuel);
    block.fuel = fuel - 30;
    block.gpr.set(0, BigInt(xen_version));
    block.gpr.set(7, 0n);
    return Exit.hypercall;
  };
  runOne(machine.hypervisor, 2000);
  assert.deepEqual(fuels, [2000, 1470, 940, 410]);
  assert.equal(block.gpr.get(0), 0x40011n);
});

test('an entry ends about when the next timer is due, by the pace of late', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const { block } = domain.vcpus[0]!;
  const fuels: number[] = [];
  // A processor of 4 ns an instruction
  machine.script.run = (_vcpu, fuel) => {
    fuels.push(fuel);
    machine.clock.nowNs += 4 * fuel;
    block.fuel = 0;
    return Exit.fuel;
  };
  for (let i = 0; i < 60; i++) runOne(machine.hypervisor, 100_000);
  fuels.length = 0;
  setSingleshot(domain.vcpus[0]!, machine.clock.nowNs + 200_000);
  runOne(machine.hypervisor, 1_000_000);
  assert.ok(Math.abs(fuels[0]! - 50_000) < 500, `${fuels[0]}`);
  assert.equal(domain.vcpus[0]!.state.singleshotNs, NEVER);
});

test('a host that was busy with others does not make entries short for long', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const { block } = domain.vcpus[0]!;
  const fuels: number[] = [];
  let nsPerFuel = 4;
  machine.script.run = (_vcpu, fuel) => {
    fuels.push(fuel);
    machine.clock.nowNs += nsPerFuel * fuel;
    block.fuel = 0;
    return Exit.fuel;
  };
  nsPerFuel = 4000;
  for (let i = 0; i < 60; i++) runOne(machine.hypervisor, 100_000);
  nsPerFuel = 4;
  // A tick of 4 ms: at the pace of before, entries of a thousand instructions.
  for (let tick = 0; tick < 100; tick++) {
    setSingleshot(domain.vcpus[0]!, machine.clock.nowNs + 4_000_000);
    while (domain.vcpus[0]!.state.singleshotNs !== NEVER) {
      fuels.length = 0;
      runOne(machine.hypervisor);
    }
  }
  setSingleshot(domain.vcpus[0]!, machine.clock.nowNs + 4_000_000);
  fuels.length = 0;
  runOne(machine.hypervisor);
  assert.ok(fuels[0]! > 900_000, `${fuels[0]}`);
});

test('HLT sleeps until an interrupt; with interrupts off the last vCPU switches the machine off', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  vcpu.block.flagSys = 0x202;
  machine.script.run = () => Exit.halt;
  assert.equal(runOne(machine.hypervisor).kind, 'ran');
  assert.deepEqual(runOne(machine.hypervisor), { kind: 'idle', waitNs: Number.POSITIVE_INFINITY });
  assert.equal(vcpu.block.halted, 1);
  interruptArrived(machine.hypervisor, vcpu.state.block);
  assert.equal(vcpu.block.halted, 0);
  vcpu.block.flagSys = 2;
  assert.equal(runOne(machine.hypervisor).kind, 'ran');
  assert.equal(shutdownCode(domain), sched.SHUTDOWN_poweroff);
});

test('a triple fault or an unknown instruction crashes that domain, with a reason', () => {
  const machine = testMachine();
  const codes: [number, number][] = [];
  machine.hypervisor.notices.shutdown = (domain, code) => codes.push([domain.id, code]);
  const a = testDomain(machine);
  const b = testDomain(machine);
  a.vcpus[0]!.block.rip = 0xabcn;
  b.vcpus[0]!.block.exitInfo = 17;
  machine.script.run = vcpu => (vcpu === a.vcpus[0]!.state.block ? Exit.tripleFault : Exit.unsupported);
  runOne(machine.hypervisor);
  runOne(machine.hypervisor);
  assert.deepEqual(codes, [
    [a.id, sched.SHUTDOWN_crash],
    [b.id, sched.SHUTDOWN_crash],
  ]);
  assert.equal(crashReason(a), 'vCPU 0: triple fault at rip 0xabc');
  assert.equal(crashReason(b), 'vCPU 0: unsupported instruction form 17 at rip 0x0');
  assert.equal(runOne(machine.hypervisor).kind, 'idle');
});

test('a callback vector is asserted without a local APIC for as long as the flag is set', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  const set = issueOp(vcpu, XenHvmParam, { domid: 0x7ff0, index: 0, value: (2n << 56n) | 0xf3n }, a =>
    issue(vcpu, Hypervisor.hvm_op, 0, a),
  );
  assert.equal(set.result, 0);
  const backend = bindToGuest(domain, allocUnboundFor(domain));
  notify(machine.hypervisor, backend);
  assert.equal(vcpu.block.pendingInterrupt, 0xf3);
  assert.equal(machine.upcalls.length, 0);
  vcpu.block.pendingInterrupt = -1;
  machine.script.run = () => {
    assert.equal(vcpu.block.pendingInterrupt, 0xf3);
    return Exit.pause;
  };
  runOne(machine.hypervisor);
});

test('SCHEDOP_poll and block wait for events, masked ones too', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  const port = allocUnboundFor(domain);
  const backend = bindToGuest(domain, port);
  const { memory } = machine.hypervisor;
  memory.view.setUint32(guestAddress(domain, 0x5000), port, true);
  const poll = (values: Record<string, number | bigint>) =>
    issueOp(vcpu, sched.SchedPoll, { ports: 0x5000n, nr_ports: 1, ...values }, a =>
      issue(vcpu, sched_op, sched.Schedop.poll, a),
    ).result;
  assert.equal(poll({ nr_ports: 129 }), -errno.XEN_EINVAL);
  assert.equal(poll({ ports: 1n << 44n }), -errno.XEN_EFAULT);
  memory.u8[domain.state.sharedInfo + 0xa00] = 0xff;
  assert.equal(poll({ timeout: 9000n }), 0);
  machine.script.run = () => Exit.pause;
  runOne(machine.hypervisor);
  assert.deepEqual(runOne(machine.hypervisor), { kind: 'idle', waitNs: 8000 });
  notify(machine.hypervisor, backend);
  assert.equal(vcpu.state.pauseFlags, 0);
  assert.equal(runOne(machine.hypervisor).kind, 'ran');
  // pending already: poll returns at once
  assert.equal(poll({}), 0);
  assert.equal(vcpu.state.pauseFlags, 0);
  memory.u8.fill(0, domain.state.sharedInfo + 0x800, domain.state.sharedInfo + 0xa00);
  assert.equal(poll({ timeout: 9500n }), 0);
  runOne(machine.hypervisor);
  machine.clock.nowNs = 9500;
  assert.equal(runOne(machine.hypervisor).kind, 'ran');
  assert.equal(issue(vcpu, sched_op, sched.Schedop.block, 0), 0);
  assert.equal(vcpu.state.pauseFlags, 1);
  const remote = (domain_id: number) =>
    issueOp(vcpu, sched.SchedRemoteShutdown, { domain_id }, a =>
      issue(vcpu, sched_op, sched.Schedop.remote_shutdown, a),
    ).result;
  assert.deepEqual([remote(0), remote(55)], [-errno.XEN_EPERM, -errno.XEN_ESRCH]);
});

test('suspend stops all vCPUs; a cancelled one returns 1', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  issueOp(vcpu, sched.SchedShutdown, { reason: sched.SHUTDOWN_suspend }, a =>
    issue(vcpu, sched_op, sched.Schedop.shutdown, a),
  );
  assert.equal(shutdownCode(domain), sched.SHUTDOWN_suspend);
  assert.equal(runOne(machine.hypervisor).kind, 'idle');
  domainResume(domain, true);
  assert.equal(vcpu.block.gpr.get(0), 1n);
  assert.equal(shutdownCode(domain), undefined);
  machine.script.run = () => Exit.pause;
  assert.equal(runOne(machine.hypervisor).kind, 'ran');
  pauseDomain(domain);
  assert.equal(runOne(machine.hypervisor).kind, 'idle');
  unpauseDomain(domain);
  assert.equal(runOne(machine.hypervisor).kind, 'ran');
});

test('vCPUs go up and down; the last one down powers off', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.is_up, 1), 0);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.up, 1), -errno.XEN_EINVAL);
  vcpuUp(domain.vcpus[1]!);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.is_up, 1), 1);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.down, 1), 0);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.is_up, 1), 0);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.up, 1), 0);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.down, 1), 0);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.down, 0), 0);
  assert.equal(shutdownCode(domain), sched.SHUTDOWN_poweroff);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.is_up, 2), -errno.XEN_ENOENT);
});

test('destroying a domain gives everything back, again and again', () => {
  const machine = testMachine({}, 24);
  const { hypervisor } = machine;
  const { frames, memory } = hypervisor;
  destroyDomain(testDomain(machine));
  const free = frames.nrFree;
  const header = machineHeader(memory).firstVcpu;
  for (let i = 0; i < 20; i++) {
    const domain = testDomain(machine);
    attachRun(domain, 0, 5000);
    bindToGuest(domain, allocUnboundFor(domain));
    issue(domain.vcpus[0]!, sched_op, 0, 0);
    destroyDomain(domain);
  }
  // The attached run came from the frontier and is kept for the next one; the control domain has a frame of ports.
  assert.equal(frames.nrFree, free - 3);
  assert.equal(machineHeader(memory).firstVcpu, header);
  assert.equal(hypervisor.vcpus.size, 0);
  for (let frame = 0; frame < memory.sizeBytes / 4096; frame++) {
    const entry = FrameEntry.at(memory.view, FRAME_TABLE_BASE + frame * FrameEntry.size);
    if (entry.type === FrameType.ram) assert.equal(entry.owner, 0xffff, `frame ${mfn(frame)}`);
  }
  assert.equal(runOne(hypervisor).kind, 'idle');
});

test('a vCPU that is stopped while it waits in the queue does not run', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  vcpuUp(domain.vcpus[1]!);
  domain.vcpus[0]!.state.pauseFlags |= Pause.down;
  machine.script.run = () => Exit.pause;
  const first = runOne(machine.hypervisor);
  assert.ok(first.kind === 'ran' && first.vcpu.id === 1);
});

test('the state of domains fits the frames that it has', () => {
  for (const layout of [DomainState, EventTable, GrantTable])
    assert.ok(layout.size <= 4096, layout.structName);
  assert.ok(VcpuState.size <= 4096 - VcpuInfo.size);
  assert.ok(HYPERVISOR_STATE + HypervisorState.size <= RUNTIME_DATA_BASE);
  assert.equal(EventChannel.size * CHANNELS_PER_FRAME, 4096);
  assert.equal(Maptrack.size * MAPTRACK_PER_FRAME, 4096);
  assert.ok(ActiveGrant.size <= ACTIVE_BYTES);
});

test('what the toolstack sees of a domain', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  domain.vcpus[0]!.block.flagSys = 0x202;
  machine.script.run = () => {
    machine.clock.nowNs += 70;
    return Exit.halt;
  };
  assert.equal(domainInfo(domain).state, 'r-----');
  runOne(machine.hypervisor);
  assert.deepEqual([domainInfo(domain).state, domainInfo(domain).cpuTimeNs], ['-b----', 70]);
  pauseDomain(domain);
  domainCrash(domain, 'test');
  const info = domainInfo(domain);
  assert.deepEqual([info.state, info.crashReason, info.shutdownCode], ['--psc-', 'test', 3]);
});

test('a domain that does not fit leaves nothing behind', () => {
  const machine = testMachine({}, 16);
  const { hypervisor } = machine;
  destroyDomain(testDomain(machine));
  const domains = hypervisor.domains.size;
  assert.throws(() => testDomain(machine, { p2mCount: 2 ** 22 }), { code: 'E_MACHINE_FULL' });
  assert.throws(() => testDomain(machine, { vcpus: 128 }), { code: 'E_MACHINE_FULL' });
  assert.throws(() => testDomain(machine, { vcpus: 129 }), { code: 'E_VCPUS' });
  assert.equal(hypervisor.domains.size, domains);
  const domain = testDomain(machine);
  assert.throws(() => testDomain(machine, { id: domain.id }), { code: 'E_DOMAIN_EXISTS' });
  assert.equal(hypervisor.vcpus.size, 2);
});

test('a guest that fills machine memory gets errors, not the host', () => {
  const machine = testMachine({}, 8);
  const domain = testDomain(machine, { maxPages: 10_000, p2mCount: 20_000, maxEventChannelPort: 5000 });
  let gfn = 100;
  while (populateGfn(domain, gfn)) gfn++;
  assert.equal(machine.hypervisor.frames.nrFree, 0);
  const vcpu = domain.vcpus[0]!;
  let result = 0;
  for (let i = 0; i < 300 && result === 0; i++) {
    result = issueOp(vcpu, EvtchnBindIpi, {}, a => issue(vcpu, Hypervisor.event_channel_op, 7, a)).result;
  }
  assert.equal(result, -errno.XEN_ENOSPC);
  const grow = issueOp(vcpu, XenAddToPhysmap, { domid: 0x7ff0, space: 1, idx: 20n, gpfn: 9n }, a =>
    issue(vcpu, Hypervisor.memory_op, 7, a),
  );
  assert.equal(grow.result, -errno.XEN_EINVAL);
});

test('handles are rebuilt from machine memory', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const other = testDomain(machine);
  const { hypervisor } = machine;
  const again = createHypervisor({ ...hypervisor });
  assert.deepEqual([...again.domains.keys()].sort(), [0, domain.id, other.id]);
  assert.equal(again.domains.get(domain.id)!.vcpus.length, 2);
  machine.script.run = () => Exit.pause;
  const first = runOne(again);
  assert.ok(first.kind === 'ran' && first.vcpu.domain.id === domain.id);
  const vcpu = again.domains.get(other.id)!.vcpus[0]!;
  assert.equal(issue(vcpu, xen_version, 0, SCRATCH), 0x40011);
});
