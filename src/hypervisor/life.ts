/** How a domain stops: shutdown with a reason, crash with a text, pause; and how it goes on. */
import { SHUTDOWN_crash } from '../abi/xen/sched.ts';
import { RUNSTATE_offline } from '../abi/xen/vcpu.ts';
import type { Domain, Vcpu } from './hypervisor.ts';
import { removeFromQueue } from './run-queue.ts';
import { setRunstate } from './runstate.ts';
import { Life, Pause, SHUTDOWN_CODE_INVALID } from './state.ts';
import { rearmTimers } from './time.ts';
import { wake } from './wake.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Stop all vCPUs for good or until `domainResume`. The first shutdown's reason counts. */
export function domainShutdown(domain: Domain, code: number, vcpuId = 0): void {
  const { state } = domain;
  if (state.isShutDown !== 0) return;
  if (state.shutdownCode === SHUTDOWN_CODE_INVALID) state.shutdownCode = code & 0xff;
  state.shutdownVcpu = vcpuId;
  state.isShutDown = 1;
  stopVcpus(domain);
  domain.hypervisor.notices.shutdown?.(domain, state.shutdownCode);
}

/** A guest that cannot go on: shut it down as crashed, and say why. Never throws. */
export function domainCrash(domain: Domain, reason: string): void {
  const { state } = domain;
  if (state.isShutDown !== 0) return;
  const text = encoder.encode(reason).subarray(0, state.crashReason.length);
  state.crashReason.set(text);
  state.crashReasonLength = text.length;
  state.shutdownCode = SHUTDOWN_crash;
  domainShutdown(domain, SHUTDOWN_crash);
}

export const crashReason = (domain: Domain): string =>
  decoder.decode(domain.state.crashReason.slice(0, domain.state.crashReasonLength));

/** SHUTDOWN_* once the domain has shut down, undefined before. */
export const shutdownCode = (domain: Domain): number | undefined =>
  domain.state.isShutDown === 0 ? undefined : domain.state.shutdownCode;

function stopVcpus(domain: Domain): void {
  for (const vcpu of domain.vcpus) {
    removeFromQueue(vcpu);
    setRunstate(vcpu, RUNSTATE_offline);
    domain.hypervisor.parallel?.kick(vcpu);
  }
}

function startVcpus(domain: Domain): void {
  for (const vcpu of domain.vcpus) if (vcpu.state.isInitialised) wake(vcpu);
}

export function pauseDomain(domain: Domain): void {
  domain.state.pauseCount += 1;
  for (const vcpu of domain.vcpus) {
    if (vcpu.state.onRunQueue !== 0) {
      removeFromQueue(vcpu);
      setRunstate(vcpu, RUNSTATE_offline);
    }
    domain.hypervisor.parallel?.kick(vcpu);
  }
}

/** Undo one pause; the first one starts a created domain. */
export function unpauseDomain(domain: Domain): void {
  const { state } = domain;
  if (state.life === Life.dying) return;
  if (state.life === Life.created) state.life = Life.running;
  if (state.pauseCount > 0) state.pauseCount -= 1;
  if (state.pauseCount === 0) {
    rearmTimers(domain.hypervisor);
    startVcpus(domain);
  }
}

/**
 * Go on after SHUTDOWN_suspend. `cancelled` makes SCHEDOP_shutdown return 1: the guest is still where it was and
 * need not connect everything again.
 */
export function domainResume(domain: Domain, cancelled: boolean): void {
  const { state } = domain;
  if (state.isShutDown === 0) return;
  const vcpu = domain.vcpus[state.shutdownVcpu];
  vcpu?.block.gpr.set(0, cancelled ? 1n : 0n);
  state.isShutDown = 0;
  state.shutdownCode = SHUTDOWN_CODE_INVALID;
  state.crashReasonLength = 0;
  rearmTimers(domain.hypervisor);
  startVcpus(domain);
}

/** Bring a vCPU up: VCPUOP_up, or a start-up IPI. Its registers must be set. */
export function vcpuUp(vcpu: Vcpu): void {
  vcpu.state.isInitialised = 1;
  vcpu.state.pauseFlags &= ~(Pause.down | Pause.blocked);
  vcpu.block.halted = 0;
  wake(vcpu);
}

/** Take a vCPU down: VCPUOP_down, HLT with interrupts disabled, or an INIT. */
export function vcpuDown(vcpu: Vcpu): void {
  vcpu.state.pauseFlags |= Pause.down;
  removeFromQueue(vcpu);
  setRunstate(vcpu, RUNSTATE_offline);
  vcpu.domain.hypervisor.parallel?.kick(vcpu);
}
