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

/** As in xl's configuration. */
export const REBOOT_ACTIONS = ['restart', 'destroy'] as const;
export type OnReboot = (typeof REBOOT_ACTIONS)[number];

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
export function checkOnReboot(text: string): OnReboot {
  const action = REBOOT_ACTIONS.find(each => each === text);
  if (action) return action;
  throw new DomusError(
    'E_USAGE',
    `a reboot cannot "${text}" a guest`,
    `use --on-reboot ${REBOOT_ACTIONS.join(' or ')}`,
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
