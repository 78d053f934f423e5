/**
 * Guest time: pvclock records, the wall clock in the shared info page, and the timers of domains and vCPUs.
 *
 * All vCPUs of a domain have the same pvclock record, made once when the domain starts (and again when it resumes
 * elsewhere), so they can never disagree and TSC_STABLE is truthful. All times are plain numbers of nanoseconds below
 * 2^53 (104 days); a guest's larger value means "never".
 */
import { SHUTDOWN_watchdog } from '../abi/xen/sched.ts';
import {
  SharedInfo,
  VcpuInfo,
  VcpuTimeInfo,
  VIRQ_TIMER,
  XEN_PVCLOCK_TSC_STABLE_BIT,
} from '../abi/xen/xen.ts';
import { sendVirq } from './event/channel.ts';
import { blank, copyToGuest } from './guest-memory.ts';
import type { Domain, Hypervisor, Vcpu } from './hypervisor.ts';
import { domainShutdown } from './life.ts';
import { NEVER } from './state.ts';
import { unblock } from './wake.ts';

const NS_PER_SECOND = 1_000_000_000n;

/** mul and shift so that ns = ((ticks << shift) * mul) >> 32, with mul in its most precise range. */
export function timeScale(tscKhz: number): { mul: number; shift: number } {
  const hz = BigInt(tscKhz) * 1000n;
  let shift = 0;
  const mulFor = (s: number) =>
    s >= 0 ? (NS_PER_SECOND << 32n) / (hz << BigInt(s)) : ((NS_PER_SECOND << 32n) << BigInt(-s)) / hz;
  while (mulFor(shift) >= 1n << 32n) shift += 1;
  while (mulFor(shift) < 1n << 31n) shift -= 1;
  return { mul: Number(mulFor(shift)), shift };
}

/** Nanoseconds for a number of ticks by the domain's own scale, as the guest computes it. */
export function ticksToNs(ticks: bigint, mul: number, shift: number): bigint {
  const shifted = shift >= 0 ? ticks << BigInt(shift) : ticks >> BigInt(-shift);
  return (shifted * BigInt(mul)) >> 32n;
}

/** Take the present moment as the base of the domain's pvclock records. */
export function startDomainTime(domain: Domain): void {
  const { state, hypervisor } = domain;
  const { mul, shift } = timeScale(state.tscKhz);
  state.tscToSystemMul = mul;
  state.tscShift = shift;
  state.tscBase = BigInt(hypervisor.clock.tsc());
  state.systemBaseNs = hypervisor.clock.systemTimeNs();
  updateWallClock(domain);
  for (const vcpu of domain.vcpus) updateVcpuTime(vcpu);
}

function timeRecord(domain: Domain) {
  const { state } = domain;
  const record = blank(VcpuTimeInfo);
  record.value.tsc_timestamp = state.tscBase;
  record.value.system_time = BigInt(state.systemBaseNs);
  record.value.tsc_to_system_mul = state.tscToSystemMul;
  record.value.tsc_shift = state.tscShift;
  record.value.flags = XEN_PVCLOCK_TSC_STABLE_BIT;
  return record;
}

/** Write the vCPU's pvclock record, and the guest's registered copy. The version is odd while it changes. */
export function updateVcpuTime(vcpu: Vcpu): void {
  const { memory } = vcpu.domain.hypervisor;
  const record = timeRecord(vcpu.domain);
  const address = vcpu.state.vcpuInfo + VcpuInfo.offsets.time;
  const version = (memory.view.getUint32(address, true) | 1) >>> 0;
  memory.view.setUint32(address, version, true);
  record.value.version = version;
  memory.u8.set(record.bytes, address);
  memory.view.setUint32(address, version + 1, true);
  updateTimeArea(vcpu);
}

export function updateTimeArea(vcpu: Vcpu): void {
  const area = vcpu.state.timeArea;
  if (area === 0n) return;
  const record = timeRecord(vcpu.domain);
  const own = VcpuTimeInfo.at(
    vcpu.domain.hypervisor.memory.view,
    vcpu.state.vcpuInfo + VcpuInfo.offsets.time,
  );
  const version = own.version;
  record.value.version = (version - 1) | 1;
  if (!copyToGuest(vcpu, area, record.bytes)) return;
  record.value.version = version & ~1;
  copyToGuest(vcpu, area, record.bytes);
}

/** The wall clock in shared info: the time of day at system time 0. Written only when it is another one. */
export function updateWallClock(domain: Domain): void {
  const { clock, memory } = domain.hypervisor;
  const info = SharedInfo.at(memory.view, domain.state.sharedInfo);
  const atBoot = clock.wallClockNs() - BigInt(clock.systemTimeNs());
  const seconds = atBoot / NS_PER_SECOND;
  const isKnown =
    info.wc_version > 0 &&
    BigInt(info.wc_sec) + (BigInt(info.wc_sec_hi) << 32n) === seconds &&
    info.wc_nsec === Number(atBoot % NS_PER_SECOND);
  if (isKnown) return;
  const version = (info.wc_version | 1) >>> 0;
  info.wc_version = version;
  info.wc_sec = Number(seconds & 0xffff_ffffn);
  info.wc_sec_hi = Number((seconds >> 32n) & 0xffff_ffffn);
  info.wc_nsec = Number(atBoot % NS_PER_SECOND);
  info.wc_version = (version + 1) >>> 0;
}

/** A guest's 64-bit time as a number; what lies beyond our horizon is never. */
export const guestTime = (value: bigint): number => (value >= BigInt(NEVER) ? NEVER : Number(value));

/** Note that some timer is due at `deadlineNs`. */
export function timerArmed(hypervisor: Hypervisor, deadlineNs: number): void {
  if (deadlineNs < hypervisor.state.nextTimerNs) hypervisor.state.nextTimerNs = deadlineNs;
}

export function setSingleshot(vcpu: Vcpu, deadlineNs: number): void {
  vcpu.state.singleshotNs = deadlineNs;
  timerArmed(vcpu.domain.hypervisor, deadlineNs);
}

export function setPeriodic(vcpu: Vcpu, periodNs: number): void {
  const { hypervisor } = vcpu.domain;
  vcpu.state.periodicPeriodNs = periodNs;
  vcpu.state.periodicNextNs = periodNs === 0 ? NEVER : hypervisor.clock.systemTimeNs() + periodNs;
  timerArmed(hypervisor, vcpu.state.periodicNextNs);
}

export function setPollTimer(vcpu: Vcpu, deadlineNs: number): void {
  vcpu.state.pollNs = deadlineNs;
  timerArmed(vcpu.domain.hypervisor, deadlineNs);
}

/** The interrupt controller's own timer; `InterruptSink.timerFired` is called then. Negative stops it. */
export function setApicTimer(vcpu: Vcpu, deadlineNs: number): void {
  vcpu.state.apicNs = deadlineNs < 0 ? NEVER : deadlineNs;
  timerArmed(vcpu.domain.hypervisor, vcpu.state.apicNs);
}

/** Fire what is due and find the next deadline. */
export function fireTimers(hypervisor: Hypervisor): void {
  const now = hypervisor.clock.systemTimeNs();
  if (now < hypervisor.state.nextTimerNs) return;
  hypervisor.state.nextTimerNs = NEVER;
  for (const domain of hypervisor.domains.values()) {
    if (domain.state.isControl || domain.state.isShutDown) continue;
    for (const vcpu of domain.vcpus) fireVcpuTimers(vcpu, now);
    for (let i = 0; i < 2; i++) {
      const deadline = domain.state.watchdogNs.get(i);
      if (deadline <= now) {
        domain.state.watchdogNs.set(i, NEVER);
        domainShutdown(domain, SHUTDOWN_watchdog);
      } else timerArmed(hypervisor, deadline);
    }
  }
}

function fireVcpuTimers(vcpu: Vcpu, now: number): void {
  const { state } = vcpu;
  if (state.singleshotNs <= now) {
    state.singleshotNs = NEVER;
    sendVirq(vcpu, VIRQ_TIMER);
  }
  if (state.periodicNextNs <= now) {
    // Ticks that were missed are not made up for.
    const missed = Math.floor((now - state.periodicNextNs) / state.periodicPeriodNs);
    state.periodicNextNs += (missed + 1) * state.periodicPeriodNs;
    sendVirq(vcpu, VIRQ_TIMER);
  }
  if (state.pollNs <= now) unblock(vcpu);
  if (state.apicNs <= now) {
    state.apicNs = NEVER;
    vcpu.domain.hypervisor.interrupts.timerFired?.(state.block);
  }
  timerArmed(
    vcpu.domain.hypervisor,
    Math.min(state.singleshotNs, state.periodicNextNs, state.pollNs, state.apicNs),
  );
}

/** All timers again, after a domain was resumed. No vCPU may be runnable, so pCPUs that sleep have to be told. */
export function rearmTimers({ state, parallel }: Hypervisor): void {
  state.nextTimerNs = 0;
  parallel?.wakePcpu(false);
}
