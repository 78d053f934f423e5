/**
 * A hash of everything that a guest can see of itself: its memory by guest frame, and its vCPUs' registers. Two
 * deterministic runs have equal hashes; it is no protection against forgery.
 */
import { PAGE_SIZE } from '../base/brand.ts';
import { Vcpu } from '../cpu/vcpu/layout.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { addressOfGfn } from '../hypervisor/p2m.ts';
import type { MachineMemory } from '../machine/memory.ts';

const WORDS = PAGE_SIZE / 4;
/** General registers to model-specific ones: the part of the vCPU block that the guest knows. */
const REGISTERS_END = Vcpu.offsets.miscEnable + 8;

/** Two running 32-bit hashes with different multipliers, 64 bits in all. */
interface Running {
  a: number;
  b: number;
}

function addWords(hash: Running, words: Uint32Array, from: number, to: number): void {
  let { a, b } = hash;
  for (let i = from; i < to; i++) {
    const word = words[i] as number;
    a = Math.imul(a ^ word, 0x01000193);
    b = Math.imul(b ^ word, 0x85ebca6b) ^ (b >>> 13);
  }
  hash.a = a;
  hash.b = b;
}

/** 16 hexadecimal digits. */
export function hashMachine(memory: MachineMemory, domain: Domain): string {
  const hash: Running = { a: 0x811c9dc5, b: 0x9747b28c };
  const { u32 } = memory;
  const frameNumber = new Uint32Array(1);
  for (let frame = 0; frame < domain.state.maxMappedGfn; frame++) {
    const address = addressOfGfn(domain, frame);
    if (address === 0) continue;
    frameNumber[0] = frame;
    addWords(hash, frameNumber, 0, 1);
    addWords(hash, u32, address >>> 2, (address >>> 2) + WORDS);
  }
  for (const vcpu of domain.vcpus) {
    const block = vcpu.state.block >>> 2;
    addWords(hash, u32, block, block + (REGISTERS_END >> 2));
    addWords(hash, u32, block + (Vcpu.offsets.fcw >> 2), block + (Vcpu.offsets.scratch >> 2));
  }
  return [hash.a, hash.b].map(part => (part >>> 0).toString(16).padStart(8, '0')).join('');
}
