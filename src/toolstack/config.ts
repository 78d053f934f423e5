/** Limits and defaults of a machine, checked in one place for the library and the command line. */
import { DomusError } from '../base/errors.ts';

const MIB = 2 ** 20;
export const MEMORY_DEFAULT_BYTES = 512 * MIB;
/** Below this no Linux kernel reaches its first line. */
export const MEMORY_MIN_BYTES = 16 * MIB;
/** Machine memory is 4 GiB at most, and the hypervisor's own tables need their part of it. */
export const MEMORY_MAX_BYTES = 3584 * MIB;
/** HVM_MAX_VCPUS (public/hvm/hvm_info_table.h). */
export const VCPUS_MAX = 128;
export const ENGINES = ['translator', 'interpreter', 'lockstep'] as const;
export type Engine = (typeof ENGINES)[number];

/** What the end of a domain leads to, as in xl's configuration. */
export const END_ACTIONS = ['restart', 'destroy'] as const;
export type DomainEndAction = (typeof END_ACTIONS)[number];

/** Xen's credit scheduler: the usual weight, and what it may be. */
export const WEIGHT_DEFAULT = 256;
export const WEIGHT_MAX = 65_535;

export function formatSize(bytes: number): string {
  const mib = bytes / MIB;
  if (mib >= 1024 && Number.isInteger(mib / 1024)) return `${mib / 1024} GiB`;
  return mib >= 1 ? `${Math.round(mib * 10) / 10} MiB` : `${bytes} bytes`;
}

/** @throws DomusError E_MEMORY_SIZE */
export function checkMemory(bytes: number): number {
  const range = `${formatSize(MEMORY_MIN_BYTES)} to ${formatSize(MEMORY_MAX_BYTES)}`;
  if (!Number.isInteger(bytes) || bytes < MEMORY_MIN_BYTES) {
    const given = Number.isInteger(bytes) ? formatSize(bytes) : String(bytes);
    throw new DomusError(
      'E_MEMORY_SIZE',
      `a guest cannot run in ${given} of memory`,
      `choose a size from ${range}, for example --memory 512M`,
    );
  }
  if (bytes > MEMORY_MAX_BYTES) {
    throw new DomusError(
      'E_MEMORY_SIZE',
      `${formatSize(bytes)} is more memory than one machine can have`,
      `choose a size from ${range}`,
    );
  }
  // Guest memory consists of whole 4 KiB frames.
  return Math.floor(bytes / 4096) * 4096;
}

/** What a guest may have at least, of what it usually has. @throws DomusError E_MEMORY_RANGE */
export function checkMinMemory(minBytes: number, usualBytes: number): void {
  if (checkMemory(minBytes) <= usualBytes) return;
  throw new DomusError(
    'E_MEMORY_RANGE',
    `a guest that usually has ${formatSize(usualBytes)} cannot have ${formatSize(minBytes)} at least`,
    'choose less, or give it more: --memory, mem-set',
  );
}

/** @throws DomusError E_VCPU_COUNT */
export function checkVcpus(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= VCPUS_MAX) return count;
  throw new DomusError(
    'E_VCPU_COUNT',
    `a machine cannot have ${count} vCPUs`,
    `choose a number from 1 to ${VCPUS_MAX}`,
  );
}

/** @throws DomusError E_PCPU_COUNT */
export function checkPcpus(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= VCPUS_MAX) return count;
  throw new DomusError(
    'E_PCPU_COUNT',
    `the vCPUs of a machine cannot run on ${count} threads`,
    `choose a number from 1 to ${VCPUS_MAX}`,
  );
}

/** @throws DomusError E_SEED */
export function checkSeed(seed: number): number {
  if (Number.isSafeInteger(seed) && seed >= 0) return seed;
  throw new DomusError('E_SEED', `${seed} is no seed`, 'choose a whole number from 0 to 2^53 - 1');
}

/** @throws DomusError E_USAGE */
export function checkEndAction(text: string): DomainEndAction {
  const action = END_ACTIONS.find(each => each === text);
  if (action) return action;
  throw new DomusError(
    'E_USAGE',
    `the end of a guest cannot "${text}" it`,
    `the actions are ${END_ACTIONS.join(' and ')}`,
  );
}

/** @throws DomusError E_SCHED_CREDIT */
export function checkWeight(weight: number): number {
  if (Number.isInteger(weight) && weight >= 1 && weight <= WEIGHT_MAX) return weight;
  throw new DomusError(
    'E_SCHED_CREDIT',
    `a guest cannot have the weight ${weight}`,
    `choose a number from 1 to ${WEIGHT_MAX}; ${WEIGHT_DEFAULT} is the usual one`,
  );
}

/** Percent of one processor, 0 for no cap. @throws DomusError E_SCHED_CREDIT */
export function checkCap(cap: number, vcpus: number): number {
  if (Number.isInteger(cap) && cap >= 0 && cap <= 100 * vcpus) return cap;
  throw new DomusError(
    'E_SCHED_CREDIT',
    `a guest with ${vcpus} vCPUs cannot be capped at ${cap} %`,
    `choose a number from 1 to ${100 * vcpus}, percent of one processor, or 0 for no cap`,
  );
}

/** @throws DomusError E_UUID */
export function checkUuid(text: string): string {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return text.toLowerCase();
  throw new DomusError(
    'E_UUID',
    `"${text}" is no UUID`,
    'write 8-4-4-4-12 hexadecimal digits, or leave it out',
  );
}

/** @throws DomusError E_ENGINE */
export function checkEngine(name: string): Engine {
  const engine = ENGINES.find(each => each === name);
  if (engine) return engine;
  throw new DomusError(
    'E_ENGINE',
    `there is no engine named "${name}"`,
    `use --engine ${ENGINES.join(' or ')}`,
  );
}
