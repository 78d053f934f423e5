/**
 * Hard affinity: the pCPUs that a vCPU may run on. It lies in machine memory, where every pCPU's thread finds it; a domain that never had
 * one has no memory for it.
 */
import { struct, u32 } from '../base/struct.ts';
import type { Vcpu } from './hypervisor.ts';
import { DomainRun, VCPUS_MAX } from './state.ts';

/** A set of pCPUs, bit by bit; the first is bit 0. */
const Affinity = struct('affinity', { word0: u32, word1: u32, word2: u32, word3: u32 });
const WORDS = Affinity.size / 4;
export const AFFINITY_BYTES = VCPUS_MAX * Affinity.size;

const wordsOf = (vcpu: Vcpu): number => {
  const run = vcpu.domain.state.runs.get(2 * DomainRun.affinity);
  return run === 0 ? 0 : run / 4 + vcpu.id * WORDS;
};

/** Has the domain any? */
export const hasAffinity = (vcpu: Vcpu): boolean => wordsOf(vcpu) !== 0;

/** From 0; undefined when it may run on all. */
export function affinityOf(vcpu: Vcpu): readonly number[] | undefined {
  const at = wordsOf(vcpu);
  const { u32: words } = vcpu.domain.hypervisor.memory;
  if (at === 0) return undefined;
  const pcpus: number[] = [];
  for (let pcpu = 0; pcpu < WORDS * 32; pcpu++) {
    if ((words[at + (pcpu >>> 5)]! >>> (pcpu & 31)) & 1) pcpus.push(pcpu);
  }
  return pcpus.length === 0 ? undefined : pcpus;
}

/** May it run on this pCPU, counted from 0? */
export function mayRunOn(vcpu: Vcpu, pcpu: number): boolean {
  const at = wordsOf(vcpu);
  if (at === 0) return true;
  const { u32: words } = vcpu.domain.hypervisor.memory;
  if (((words[at + (pcpu >>> 5)]! >>> (pcpu & 31)) & 1) !== 0) return true;
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0 && words[at + 3] === 0;
}

/** Write down a set; the domain has memory for it. */
export function writeAffinity(vcpu: Vcpu, pcpus: readonly number[]): void {
  const at = wordsOf(vcpu);
  const { u32: words } = vcpu.domain.hypervisor.memory;
  words.fill(0, at, at + WORDS);
  for (const pcpu of pcpus) words[at + (pcpu >>> 5)]! |= 1 << (pcpu & 31);
}
