/** What the toolstack shows of a domain. */
import { SHUTDOWN_crash } from '../abi/xen/sched.ts';
import { RUNSTATE_blocked, RUNSTATE_running } from '../abi/xen/vcpu.ts';
import type { Domain } from './hypervisor.ts';
import { crashReason, shutdownCode } from './life.ts';
import { Life, Pause } from './state.ts';

export interface DomainInfo {
  readonly id: number;
  /** As `xl list` has it: r running, b blocked, p paused, s shut down, c crashed, d dying. */
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
    online.some(vcpu => vcpu.state.runstate === RUNSTATE_running) ? 'r' : '-',
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
    cpuTimeNs: vcpus.reduce((sum, vcpu) => sum + vcpu.state.runstateTimeNs.get(RUNSTATE_running), 0),
    shutdownCode: code,
    crashReason: crashReason(domain),
  };
}
