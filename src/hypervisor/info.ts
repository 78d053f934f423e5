/** What the toolstack shows of a domain. */
import { SHUTDOWN_crash } from '../abi/xen/sched.ts';
import { RUNSTATE_blocked, RUNSTATE_runnable, RUNSTATE_running } from '../abi/xen/vcpu.ts';
import type { Domain, Vcpu } from './hypervisor.ts';
import { crashReason, shutdownCode } from './life.ts';
import { Life, Pause } from './state.ts';

export interface DomainInfo {
  readonly id: number;
  /** As `xl list` has it: r running or waiting for its turn, b blocked, p paused, s shut down, c crashed, d dying. */
  readonly state: string;
  readonly memoryPages: number;
  readonly maxPages: number;
  readonly vcpus: number;
  readonly vcpusOnline: number;
  /** Time that its vCPUs have run. */
  readonly cpuTimeNs: number;
  readonly shutdownCode: number | undefined;
  readonly crashReason: string;
}

export function domainInfo(domain: Domain): DomainInfo {
  const { state, vcpus } = domain;
  const code = shutdownCode(domain);
  const online = vcpus.filter(vcpu => (vcpu.state.pauseFlags & Pause.down) === 0);
  const flags = [
    online.some(({ state: { runstate } }) => runstate === RUNSTATE_running || runstate === RUNSTATE_runnable)
      ? 'r'
      : '-',
    online.every(vcpu => vcpu.state.runstate === RUNSTATE_blocked) ? 'b' : '-',
    state.pauseCount > 0 ? 'p' : '-',
    code !== undefined ? 's' : '-',
    code === SHUTDOWN_crash ? 'c' : '-',
    state.life === Life.dying ? 'd' : '-',
  ];
  return {
    id: domain.id,
    state: flags.join(''),
    memoryPages: state.totPages,
    maxPages: state.maxPages,
    vcpus: vcpus.length,
    vcpusOnline: online.length,
    cpuTimeNs: vcpus.reduce((sum, vcpu) => sum + cpuTimeNs(vcpu), 0),
    shutdownCode: code,
    crashReason: crashReason(domain),
  };
}

export interface VcpuInfo {
  readonly id: number;
  readonly isOnline: boolean;
  /** r running or waiting for its turn, b blocked, p paused or not online. */
  readonly state: string;
  readonly cpuTimeNs: number;
  /** pCPU that has it now, from 0; undefined when none has. */
  readonly pcpu: number | undefined;
}

function cpuTimeNs({ state, domain }: Vcpu): number {
  const closed = state.runstateTimeNs.get(RUNSTATE_running);
  if (state.runstate !== RUNSTATE_running) return closed;
  return closed + Math.max(0, domain.hypervisor.clock.systemTimeNs() - state.runstateEntryNs);
}

export function vcpuInfo(vcpu: Vcpu): VcpuInfo {
  const { runstate, runningOn, pauseFlags } = vcpu.state;
  const runs = runstate === RUNSTATE_running || runstate === RUNSTATE_runnable;
  return {
    id: vcpu.id,
    isOnline: (pauseFlags & Pause.down) === 0,
    state: runs ? 'r' : runstate === RUNSTATE_blocked ? 'b' : 'p',
    cpuTimeNs: cpuTimeNs(vcpu),
    pcpu: runningOn > 0 ? runningOn - 1 : undefined,
  };
}
