import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as errno from '../abi/xen/errno.ts';
import * as sched from '../abi/xen/sched.ts';
import * as abi from '../abi/xen/vcpu.ts';
import { Hypervisor, VcpuTimeInfo } from '../abi/xen/xen.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { bindVirq } from './event/channel.ts';
import { shutdownCode } from './life.ts';
import { runOne } from './scheduler.ts';
import { guestStruct, issue, issueOp, SCRATCH, TEST_TSC_KHZ, testDomain, testMachine } from './testing.ts';
import { fireTimers, ticksToNs, timeScale } from './time.ts';

const { vcpu_op, sched_op, set_timer_op, vm_assist } = Hypervisor;
const { Vcpuop } = abi;

test('the scale turns ticks into nanoseconds at any TSC rate', () => {
  for (const khz of [1000, 12_345, 999_999, 1_000_000, 1_000_001, 2_000_000, 3_600_000, 10_000_000]) {
    const { mul, shift } = timeScale(khz);
    assert.ok(mul >= 2 ** 31 && mul < 2 ** 32);
    const second = Number(ticksToNs(BigInt(khz) * 1000n, mul, shift));
    assert.ok(Math.abs(second - 1e9) <= 1, `${khz} kHz: ${second} ns`);
  }
});

function timerMachine() {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  assert.equal(bindVirq(domain, 0, 0), 1);
  const { u8 } = machine.hypervisor.memory;
  const fired = () => {
    const pending = u8[vcpu.state.vcpuInfo] !== 0;
    u8.fill(0, vcpu.state.vcpuInfo, vcpu.state.vcpuInfo + 16);
    u8.fill(0, domain.state.sharedInfo + 0x800, domain.state.sharedInfo + 0xa00);
    return pending;
  };
  const at = (nowNs: number) => {
    machine.clock.nowNs = nowNs;
    fireTimers(machine.hypervisor);
  };
  return { machine, domain, vcpu, fired, at };
}

test('the singleshot timer fires once, at once when it is past, and can be stopped', () => {
  const { vcpu, fired, at } = timerMachine();
  const set = (timeout_abs_ns: bigint, flags = 0, who = 0) =>
    issueOp(vcpu, abi.VcpuSetSingleshotTimer, { timeout_abs_ns, flags }, a =>
      issue(vcpu, vcpu_op, Vcpuop.set_singleshot_timer, who, a),
    ).result;
  assert.equal(set(5000n), 0);
  at(4999);
  assert.equal(fired(), false);
  at(5000);
  assert.equal(fired(), true);
  at(9000);
  assert.equal(fired(), false);
  assert.equal(set(10n), 0);
  at(9001);
  assert.equal(fired(), true);
  assert.equal(set(10n, abi.VCPU_SSHOTTMR_future), -errno.XEN_ETIME);
  assert.equal(set(10n, 0, 1), -errno.XEN_EINVAL);
  assert.equal(set(10n, 0, 7), -errno.XEN_ENOENT);
  assert.equal(set(0xffff_ffff_ffff_ffffn), 0);
  at(Number.MAX_SAFE_INTEGER - 1);
  assert.equal(fired(), false);
  at(10_000);
  set(11_000n);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.stop_singleshot_timer, 0, 0), 0);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.stop_singleshot_timer, 1, 0), -errno.XEN_EINVAL);
  at(12_000);
  assert.equal(fired(), false);
  assert.equal(issue(vcpu, set_timer_op, 13_000), 0);
  at(13_000);
  assert.equal(fired(), true);
});

test('the periodic timer ticks, does not make up for missed ticks, and stops', () => {
  const { vcpu, fired, at } = timerMachine();
  const set = (period_ns: bigint) =>
    issueOp(vcpu, abi.VcpuSetPeriodicTimer, { period_ns }, a =>
      issue(vcpu, vcpu_op, Vcpuop.set_periodic_timer, 0, a),
    ).result;
  assert.equal(set(999_999n), -errno.XEN_EINVAL);
  assert.equal(set(1n << 60n), -errno.XEN_EINVAL);
  assert.equal(set(1_000_000n), 0);
  at(1_001_000);
  assert.equal(fired(), true);
  at(5_500_000);
  assert.equal(fired(), true);
  at(6_000_999);
  assert.equal(fired(), false);
  at(6_001_000);
  assert.equal(fired(), true);
  assert.equal(issue(vcpu, vcpu_op, Vcpuop.stop_periodic_timer, 0, 0), 0);
  at(9_000_000);
  assert.equal(fired(), false);
});

test('runstate: time in each state adds up, in the area and on request', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  vcpu.block.flagSys = 0x202;
  assert.equal(issue(vcpu, vm_assist, 0, 5), 0);
  const area = 0x5000;
  const registered = issueOp(vcpu, abi.VcpuRegisterRunstateMemoryArea, { addr: BigInt(area) }, a =>
    issue(vcpu, vcpu_op, Vcpuop.register_runstate_memory_area, 0, a),
  );
  assert.equal(registered.result, 0);
  machine.clock.nowNs += 500;
  machine.script.run = () => {
    const now = guestStruct(domain, abi.VcpuRunstateInfo, area);
    assert.equal(now.state, abi.RUNSTATE_running);
    assert.equal(now.state_entry_time, 1500n);
    assert.equal(now.time.get(abi.RUNSTATE_runnable), 500n);
    machine.clock.nowNs += 300;
    return Exit.halt;
  };
  runOne(machine.hypervisor);
  const after = guestStruct(domain, abi.VcpuRunstateInfo, area);
  assert.equal(after.state, abi.RUNSTATE_blocked);
  assert.equal(after.time.get(abi.RUNSTATE_running), 300n);
  machine.clock.nowNs += 200;
  const info = issueOp(vcpu, abi.VcpuRunstateInfo, {}, a =>
    issue(vcpu, vcpu_op, Vcpuop.get_runstate_info, 0, a),
  );
  assert.deepEqual(
    [0, 1, 2, 3].map(i => Number(info.op.time.get(i))),
    [300, 500, 200, 0],
  );
  const bad = issueOp(vcpu, abi.VcpuRegisterRunstateMemoryArea, { addr: 1n << 47n }, a =>
    issue(vcpu, vcpu_op, Vcpuop.register_runstate_memory_area, 0, a),
  );
  assert.equal(bad.result, -errno.XEN_EFAULT);
});

test('the secondary time area is a copy of the vCPU time', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  const done = issueOp(vcpu, abi.VcpuRegisterTimeMemoryArea, { addr: 0x6000n }, a =>
    issue(vcpu, vcpu_op, Vcpuop.register_vcpu_time_memory_area, 0, a),
  );
  assert.equal(done.result, 0);
  const time = guestStruct(domain, VcpuTimeInfo, 0x6000);
  assert.equal(time.version % 2, 0);
  assert.equal(time.flags, 1);
  const ticks = BigInt(machine.clock.nowNs + 1_000_000) * 2n - time.tsc_timestamp;
  const ns = time.system_time + ticksToNs(ticks, time.tsc_to_system_mul, time.tsc_shift);
  assert.equal(ns, BigInt(machine.clock.nowNs) + 1_000_000n);
  assert.equal(TEST_TSC_KHZ, 2_000_000);
});

test('watchdogs: two, set again, stopped, and fatal when they run out', () => {
  const { machine, domain, vcpu, at } = timerMachine();
  const watchdog = (id: number, timeout: number) =>
    issueOp(vcpu, sched.SchedWatchdog, { id, timeout }, a => issue(vcpu, sched_op, sched.Schedop.watchdog, a))
      .result;
  assert.equal(watchdog(0, 0), -errno.XEN_EINVAL);
  assert.equal(watchdog(1, 5), -errno.XEN_EINVAL);
  assert.equal(watchdog(3, 5), -errno.XEN_EINVAL);
  assert.equal(watchdog(0, 10), 1);
  assert.equal(watchdog(0, 10), 2);
  assert.equal(watchdog(0, 10), -errno.XEN_ENOSPC);
  assert.equal(watchdog(2, 0), 0);
  machine.clock.nowNs = 9e9;
  assert.equal(watchdog(1, 10), 0);
  at(18e9);
  assert.equal(shutdownCode(domain), undefined);
  at(19e9);
  assert.equal(shutdownCode(domain), sched.SHUTDOWN_watchdog);
  assert.equal(issue(vcpu, sched_op, 99, SCRATCH), -errno.XEN_ENOSYS);
});
