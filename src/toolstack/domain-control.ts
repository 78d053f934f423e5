/**
 * What the toolstack asks of a domain that runs, as libxl does it: by nodes of xenstore that the guest watches, and by the hypervisor's
 * limits. The guest does its part when it likes, or never: `status` tells what it has done.
 */
import { DomusError } from '../base/errors.ts';
import { affinityOf } from '../hypervisor/affinity.ts';
import { locked } from '../hypervisor/event/backend.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { domainInfo, type VcpuInfo, vcpuInfo } from '../hypervisor/info.ts';
import { type DomainMemoryMap, domainMemoryMap } from '../hypervisor/memory-map.ts';
import { pinVcpu } from '../hypervisor/pin.ts';
import type { XenstoreClient } from '../xenstore/client.ts';
import { domainPath } from '../xenstore/path.ts';
import { checkMemory } from './config.ts';
import { uuidText } from './uuid.ts';

export interface VcpuFacts extends VcpuInfo {
  /** pCPUs that it may run on, from 0; absent: all. */
  readonly affinity?: readonly number[];
}

/** Bytes that have passed through a domain's devices since it was built. */
export interface Traffic {
  readonly diskReadBytes: number;
  readonly diskWrittenBytes: number;
  readonly netReceivedBytes: number;
  readonly netSentBytes: number;
}

export interface DomainStatus {
  readonly uuid: string;
  /** As `xl list` has it: r running, b blocked, p paused, s shut down, c crashed, d dying. */
  readonly state: string;
  readonly cpuTimeNs: number;
  /** What the domain has now, what it is asked to have, and the most that it may be asked to have. */
  readonly memoryBytes: number;
  /** What of it has a frame: the rest has not been looked at yet. */
  readonly residentBytes: number;
  readonly memoryTargetBytes: number;
  readonly memoryMaxBytes: number;
  readonly vcpus: readonly VcpuFacts[];
  /** Threads that run them. */
  readonly pcpus: number;
  readonly traffic: Traffic;
}

/** What `control/shutdown` can say. */
export const SHUTDOWN_REQUESTS = ['poweroff', 'reboot', 'halt'] as const;
export type ShutdownRequest = (typeof SHUTDOWN_REQUESTS)[number];

export interface DomainControl {
  status(): DomainStatus;
  /** What of `status` the balloon changes, without the few frames that a domain has besides its memory. */
  balloon(): { readonly actualBytes: number; readonly targetBytes: number; readonly maxBytes: number };
  /** What is at a node of its own directory in xenstore, where the guest may have written it. */
  node(path: string): string | undefined;
  /** What its memory is made of, in at most `nrCells` cells. */
  memoryMap(nrCells: number): DomainMemoryMap;
  /** Ask the guest to end by itself. @throws DomusError E_NOT_READY when it does not listen yet */
  requestShutdown(request: ShutdownRequest): void;
  /** A key of Linux' magic SysRq. */
  sysrq(key: string): void;
  setName(name: string): void;
  /** Ask the guest to have so much memory; it cannot have more from then on. @throws DomusError E_MEMORY_SIZE */
  setMemoryTarget(bytes: number): void;
  /** The most that targets may ask for. @throws DomusError E_MEMORY_SIZE */
  setMemoryMax(bytes: number): void;
  /** Ask the guest to use the first `count` of its vCPUs. @throws DomusError E_VCPU_COUNT */
  setVcpusOnline(count: number): void;
  /** Let a vCPU run on these pCPUs only; undefined for all. @throws DomusError E_PCPU_COUNT */
  setAffinity(vcpu: number, pcpus: readonly number[] | undefined): void;
}

export interface ControlledDomain {
  readonly domain: Domain;
  readonly xs: XenstoreClient;
  /** Most memory, and threads that run vCPUs. */
  readonly memoryBytes: number;
  readonly pcpus: number;
  /** Frames that a domain has besides its memory. */
  readonly extraFrames: number;
  traffic(): Traffic;
  /** There is something for the guest. */
  wake(): void;
}

const PAGE = 4096;
/** Names of the control nodes by which Linux says that it listens. */
const FEATURES: Readonly<Partial<Record<ShutdownRequest, string>>> = {
  poweroff: 'feature-poweroff',
  reboot: 'feature-reboot',
};

export function createDomainControl(options: ControlledDomain): DomainControl {
  const { domain, xs, extraFrames } = options;
  const base = domainPath(domain.id);
  let target = Number(xs.read(`${base}/memory/target`) ?? options.memoryBytes / 1024) * 1024;
  let most = options.memoryBytes;

  const change = (write: () => void): void => {
    locked(domain.hypervisor, write);
    options.wake();
  };

  return {
    status() {
      const info = domainInfo(domain);
      return {
        uuid: uuidText(domain.state.handle),
        state: info.state,
        cpuTimeNs: info.cpuTimeNs,
        memoryBytes: info.memoryPages * PAGE,
        residentBytes: (info.memoryPages - domain.hypervisor.frames.nrPromised) * PAGE,
        memoryTargetBytes: target,
        memoryMaxBytes: most,
        pcpus: options.pcpus,
        traffic: options.traffic(),
        vcpus: domain.vcpus.map(vcpu => {
          const affinity = affinityOf(vcpu);
          return { ...vcpuInfo(vcpu), ...(affinity && { affinity }) };
        }),
      };
    },
    balloon() {
      const actualBytes = domainInfo(domain).memoryPages * PAGE;
      const isAtRest = actualBytes > target && actualBytes <= target + extraFrames * PAGE;
      return { actualBytes: isAtRest ? target : actualBytes, targetBytes: target, maxBytes: most };
    },
    node: path => xs.read(`${base}/${path}`),
    memoryMap: nrCells => domainMemoryMap(domain, nrCells),
    requestShutdown(request) {
      const feature = FEATURES[request];
      if (feature && xs.read(`${base}/control/${feature}`) !== '1') {
        throw new DomusError(
          'E_NOT_READY',
          `the guest does not listen for ${request} yet: its kernel has not come so far, or has no Xen drivers`,
          'try again later, or destroy it',
        );
      }
      change(() => xs.write(`${base}/control/shutdown`, request));
    },
    sysrq(key) {
      change(() => xs.write(`${base}/control/sysrq`, key));
    },
    setName(name) {
      change(() => {
        xs.write(`${base}/name`, name);
        const vm = xs.read(`${base}/vm`);
        if (vm !== undefined) xs.write(`${vm}/name`, name);
      });
    },
    setMemoryTarget(bytes) {
      const wanted = checkMemory(bytes);
      if (wanted > most) {
        throw new DomusError(
          'E_MEMORY_SIZE',
          `the guest cannot have more than ${Math.floor(most / 2 ** 20)} MiB`,
          'ask for less, raise it with mem-max, or start the guest with a larger maxmem',
        );
      }
      target = wanted;
      change(() => {
        domain.state.maxPages = wanted / PAGE + extraFrames;
        xs.write(`${base}/memory/target`, wanted / 1024);
      });
    },
    setMemoryMax(bytes) {
      const wanted = checkMemory(bytes);
      const [least, limit] = [target, options.memoryBytes];
      if (wanted < least || wanted > limit) {
        throw new DomusError(
          'E_MEMORY_SIZE',
          wanted < least
            ? `the guest is to have ${Math.floor(least / 2 ** 20)} MiB already`
            : `the guest was started for ${Math.floor(limit / 2 ** 20)} MiB at most`,
          wanted < least ? 'lower it with mem-set first' : 'start it with a larger maxmem',
        );
      }
      most = wanted;
    },
    setVcpusOnline(count) {
      const { length } = domain.vcpus;
      if (!(Number.isInteger(count) && count >= 1 && count <= length)) {
        throw new DomusError(
          'E_VCPU_COUNT',
          `the guest cannot use ${count} vCPUs`,
          `choose a number from 1 to ${length}; start it with a larger maxvcpus for more`,
        );
      }
      change(() => {
        for (let id = 0; id < length; id++) {
          const [path, value] = [`${base}/cpu/${id}/availability`, id < count ? 'online' : 'offline'];
          // A node that is written again makes the guest act again, though it may have changed its mind.
          if (xs.read(path) !== value) xs.write(path, value);
        }
      });
    },
    setAffinity(id, pcpus) {
      const vcpu = domain.vcpus[id];
      if (!vcpu) {
        const range = `from 0 to ${domain.vcpus.length - 1}`;
        throw new DomusError('E_VCPU_COUNT', `the guest has no vCPU ${id}`, `choose a number ${range}`);
      }
      const wrong = pcpus?.find(pcpu => !(pcpu >= 0 && pcpu < options.pcpus));
      if (wrong !== undefined || pcpus?.length === 0) {
        throw new DomusError(
          'E_PCPU_COUNT',
          wrong === undefined ? 'a vCPU needs a pCPU' : `the guest runs on no pCPU ${wrong}`,
          options.pcpus > 1
            ? `it has pCPUs 0 to ${options.pcpus - 1}`
            : 'its vCPUs take turns on pCPU 0; start it with --pcpus, or pcpus=, for more',
        );
      }
      change(() => pinVcpu(vcpu, pcpus));
    },
  };
}
