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
/** Parts of the vCPU block that the guest knows: first byte, and the one behind the last. */
const V = Vcpu.offsets;
const KNOWN: readonly (readonly [from: number, to: number])[] = [
  [V.gpr, V.zero],
  [V.rip, V.flagRes],
  [V.segBase, V.miscEnable + 8],
  [V.fcw, V.scratch],
];

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

/**
 * 16 hexadecimal digits.
 * @param flagsOf RFLAGS of the vCPU with this block
 */
export function hashMachine(
  memory: MachineMemory,
  domain: Domain,
  flagsOf: (block: number) => bigint,
): string {
  const hash: Running = { a: 0x811c9dc5, b: 0x9747b28c };
  const { u32 } = memory;
  const one = new Uint32Array(1);
  for (let frame = 0; frame < domain.state.maxMappedGfn; frame++) {
    const address = addressOfGfn(domain, frame);
    if (address === 0) continue;
    one[0] = frame;
    addWords(hash, one, 0, 1);
    addWords(hash, u32, address >>> 2, (address >>> 2) + WORDS);
  }
  for (const vcpu of domain.vcpus) {
    const { block } = vcpu.state;
    for (const [from, to] of KNOWN) addWords(hash, u32, (block + from) >>> 2, (block + to) >>> 2);
    // However the engine keeps them at the moment.
    one[0] = Number(flagsOf(block));
    addWords(hash, one, 0, 1);
  }
  return [hash.a, hash.b].map(part => (part >>> 0).toString(16).padStart(8, '0')).join('');
}
