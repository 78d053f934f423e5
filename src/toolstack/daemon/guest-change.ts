/** What can be asked of a guest that runs: changes to what it is, and actions. Each is checked before any of it is done. */
import { DomusError } from '../../base/errors.ts';
import { checkMemory, checkVcpus, checkWeight } from '../config.ts';
import { SHUTDOWN_REQUESTS, type ShutdownRequest } from '../domain-control.ts';
import type { Host } from '../host.ts';
import type { VirtualMachine } from '../virtual-machine.ts';
import { checkName, isStringArray } from './guest-request.ts';

export interface GuestChange {
  readonly name?: string;
  /** Bytes. */
  readonly memoryTarget?: number;
  readonly memoryMax?: number;
  /** The least that it is to have while its memory goes by need; null: it does no more. */
  readonly memoryMin?: number | null;
  readonly vcpusOnline?: number;
  /** Of the credit scheduler. */
  readonly weight?: number;
  readonly cap?: number;
  /** Sets of pCPUs: for all vCPUs, or by their numbers. */
  readonly cpus?: string | Readonly<Record<string, string>>;
}

export type GuestAction =
  | { readonly action: 'pause' | 'unpause' }
  | { readonly action: ShutdownRequest }
  | { readonly action: 'sysrq'; readonly key: string };

const bad = (what: string) => new DomusError('E_API_REQUEST', `the request is not understood: ${what}`);

/** @throws DomusError E_API_REQUEST, and what the values themselves are refused with */
export function parseGuestChange(value: unknown): GuestChange {
  if (typeof value !== 'object' || value === null) throw bad('it is no object');
  const change = value as GuestChange;
  const { name, memoryTarget, memoryMax, memoryMin, vcpusOnline, cpus, weight, cap } = change;
  if (name !== undefined) {
    if (typeof name !== 'string') throw bad('name is no text');
    checkName(name);
  }
  if (memoryTarget !== undefined) checkMemory(memoryTarget);
  if (memoryMax !== undefined) checkMemory(memoryMax);
  if (memoryMin !== undefined && memoryMin !== null) checkMemory(memoryMin);
  if (vcpusOnline !== undefined) checkVcpus(vcpusOnline);
  if (weight !== undefined) checkWeight(weight);
  if (cap !== undefined && !Number.isInteger(cap)) throw bad('cap is no whole number');
  if (cpus !== undefined && typeof cpus !== 'string') {
    const isGood = typeof cpus === 'object' && cpus !== null && isStringArray(Object.values(cpus));
    if (!isGood) throw bad('cpus is neither a text nor an object of texts');
  }
  return change;
}

/** @throws DomusError E_API_REQUEST */
export function parseGuestAction(value: unknown): GuestAction {
  const { action, key } = (value ?? {}) as { action?: unknown; key?: unknown };
  if (action === 'pause' || action === 'unpause') return { action };
  const request = SHUTDOWN_REQUESTS.find(each => each === action);
  if (request) return { action: request };
  if (action !== 'sysrq') throw bad('there is no such action');
  // One character that the guest's kernel takes for a key.
  if (typeof key !== 'string' || !/^[\x20-\x7e]$/.test(key)) throw bad('key is no single letter');
  return { action, key };
}

/**
 * `0-2,4`, `all`, `all,^0` of `count` pCPUs; undefined: all of them.
 * @throws DomusError E_PCPU_COUNT
 */
export function parsePcpus(text: string, count: number): readonly number[] | undefined {
  const chosen = new Set<number>();
  const wrong = () =>
    new DomusError('E_PCPU_COUNT', `"${text}" names no pCPUs`, 'write for example 0-1,3 or all or all,^0');
  for (const part of text.split(',')) {
    const match = /^(\^?)(?:(all)|(\d{1,4})(?:-(\d{1,4}))?)$/.exec(part.trim());
    if (!match) throw wrong();
    const [, not, all, first, last = first] = match;
    const [from, to] = all ? [0, count - 1] : [Number(first), Number(last)];
    if (from > to) throw wrong();
    for (let pcpu = from; pcpu <= to; pcpu++) {
      if (not) chosen.delete(pcpu);
      else chosen.add(pcpu);
    }
  }
  if (text.trim() === 'all') return undefined;
  return [...chosen].sort((a, b) => a - b);
}

/** Do what a change asks for, in an order in which one part makes room for the next. */
export function applyChange(host: Host, vm: VirtualMachine, change: GuestChange): void {
  const { name, memoryTarget, memoryMax, memoryMin, vcpusOnline, cpus, weight, cap } = change;
  const { pcpus, vcpus, memoryTargetBytes } = vm.domain;
  const sets =
    typeof cpus === 'string' ? vcpus.map(({ id }) => [id, cpus] as const) : Object.entries(cpus ?? {});
  const pins = sets.map(([id, text]) => [Number(id), parsePcpus(text, pcpus)] as const);
  const isLowered = memoryTarget !== undefined && memoryTarget < memoryTargetBytes;
  if (isLowered) host.setMemoryTarget(vm, memoryTarget);
  if (memoryMax !== undefined) vm.setMemoryMax(memoryMax);
  if (memoryTarget !== undefined && !isLowered) host.setMemoryTarget(vm, memoryTarget);
  if (memoryMin !== undefined) host.balanceMemory(vm, memoryMin ?? undefined);
  if (vcpusOnline !== undefined) vm.setVcpusOnline(vcpusOnline);
  if (weight !== undefined || cap !== undefined)
    vm.setShare({ ...(weight !== undefined && { weight }), ...(cap !== undefined && { cap }) });
  for (const [id, set] of pins) vm.setAffinity(id, set);
  if (name !== undefined) vm.setName(name);
}

export const changeText = (change: GuestChange): string =>
  Object.entries(change)
    .map(([key, value]) => `${key}=${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join(' ');
