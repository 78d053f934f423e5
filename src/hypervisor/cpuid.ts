/**
 * CPUID as a guest sees it: the policy's features, identification, topology, caches, state sizes, and Xen's leaves.
 *
 * Topology: one package, every vCPU a core of one thread, APIC id twice the vCPU's number as Xen assigns them.
 * Sources: SDM vol. 2, CPUID; AMD APM vol. 3, appendix E; xen/include/public/arch-x86/cpuid.h.
 */
import type { CpuidRegister } from '../abi/x86/cpuid-features.ts';
import { apicIdOf } from './builder/layout.ts';
import { type CpuPolicy, featureKey } from './cpuid-policy.ts';

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** What the answer depends on besides the policy. */
export interface CpuidContext {
  readonly policy: CpuPolicy;
  readonly vcpuId: number;
  readonly vcpus: number;
  readonly domainId: number;
  /** CR4.OSXSAVE of the vCPU that asks, and its XCR0 (low half). */
  readonly osxsave: boolean;
  readonly xcr0: number;
  /** IA32_APIC_BASE has the APIC enabled. */
  readonly apicEnabled: boolean;
  readonly tsc: {
    readonly khz: number;
    /** For TSC to nanoseconds, as in pvclock: ns = ((tsc << shift) * mul) >> 32. */
    readonly mul: number;
    readonly shift: number;
    readonly incarnation: number;
  };
}

export const XEN_CPUID_BASE = 0x40000000;
export const XEN_VERSION_MAJOR = 4;
export const XEN_VERSION_MINOR = 17;
export const XEN_HYPERCALL_MSR = 0x40000000;

const BASIC_MAX = 0xd;
const EXTENDED_MAX = 0x80000021;
/** Family 19h, model 11h, stepping 1. */
const SIGNATURE = 0x00a10f11;
const BRAND = 'Domus virtual CPU';
const PHYSICAL_BITS = 40;
const LINEAR_BITS = 48;
const CACHE_LINE_BYTES = 64;
/** Bits of base+4 eax: IOMMU mappings, vCPU id and domain id present, per-vCPU upcall vector. */
const XEN_HVM_FEATURES = (1 << 2) | (1 << 3) | (1 << 4) | (1 << 6);

const XSTATE_LEGACY_BYTES = 576;
const XSTATE_AVX_BYTES = 256;
const XCR0_AVX = 4;

interface Cache {
  readonly level: number;
  /** 1 data, 2 instructions, 3 both. */
  readonly type: number;
  readonly ways: number;
  readonly sizeBytes: number;
  readonly shared: boolean;
}
const CACHES: readonly Cache[] = [
  { level: 1, type: 1, ways: 8, sizeBytes: 32 << 10, shared: false },
  { level: 1, type: 2, ways: 8, sizeBytes: 32 << 10, shared: false },
  { level: 2, type: 3, ways: 8, sizeBytes: 1 << 20, shared: false },
  { level: 3, type: 3, ways: 16, sizeBytes: 32 << 20, shared: true },
];

const fourBytes = (text: string, at: number) => {
  let value = 0;
  for (let i = 3; i >= 0; i--) value = value * 256 + (text.charCodeAt(at + i) || 0);
  return value;
};

/** Bits of an APIC id that tell the vCPUs of a domain apart: the thread bit and the core bits. */
export function apicIdBits(vcpus: number): number {
  return 1 + Math.ceil(Math.log2(vcpus));
}

export function cpuid(leafNumber: number, subleafNumber: number, context: CpuidContext): CpuidResult {
  const leaf = leafNumber >>> 0;
  const subleaf = subleafNumber >>> 0;
  let result: CpuidResult;
  if (leaf >= XEN_CPUID_BASE && leaf < XEN_CPUID_BASE + 0x10000)
    result = hypervisorLeaf(leaf, subleaf, context);
  else if (leaf >= 0x80000000) result = extendedLeaf(leaf, subleaf, context);
  else result = basicLeaf(leaf, subleaf, context);
  result.eax >>>= 0;
  result.ebx >>>= 0;
  result.ecx >>>= 0;
  result.edx >>>= 0;
  return result;
}

const answer = (eax = 0, ebx = 0, ecx = 0, edx = 0): CpuidResult => ({ eax, ebx, ecx, edx });

/** A leaf that starts from the policy's feature bits. */
function withFeatures(leaf: number, subleaf: number, { policy }: CpuidContext): CpuidResult {
  const bits = (register: CpuidRegister) => policy.bits.get(featureKey(leaf, subleaf, register)) ?? 0;
  return answer(bits('eax'), bits('ebx'), bits('ecx'), bits('edx'));
}

function basicLeaf(leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  const { vcpuId, vcpus, policy } = context;
  const apicId = apicIdOf(vcpuId);
  switch (leaf) {
    case 0:
      return vendor(BASIC_MAX);
    case 1: {
      const result = withFeatures(1, 0, context);
      result.eax = SIGNATURE;
      result.ebx = ((apicId & 0xff) << 24) | (Math.min(vcpus, 255) << 16) | ((CACHE_LINE_BYTES / 8) << 8);
      if (context.osxsave && policy.features.has('xsave')) result.ecx |= 1 << 27;
      if (!context.apicEnabled) result.edx &= ~(1 << 9);
      if (vcpus > 1) result.edx |= 1 << 28;
      return result;
    }
    case 6:
      return withFeatures(6, 0, context);
    case 7:
      return subleaf === 0 ? withFeatures(7, 0, context) : answer();
    case 0xb:
      // A level's shift says how many low bits of the x2APIC id to drop to get to the next level.
      if (subleaf === 0) return answer(1, 1, 0x100, apicId);
      if (subleaf === 1) return answer(apicIdBits(vcpus), vcpus, 0x201, apicId);
      return answer(0, 0, subleaf & 0xff, apicId);
    case 0xd:
      return policy.features.has('xsave') ? extendedState(subleaf, context) : answer();
    default:
      // Leaves beyond the last one read as zero, as on AMD's processors.
      return answer();
  }
}

function extendedState(subleaf: number, context: CpuidContext): CpuidResult {
  const avx = context.policy.features.has('avx');
  const whole = XSTATE_LEGACY_BYTES + (avx ? XSTATE_AVX_BYTES : 0);
  const enabled = XSTATE_LEGACY_BYTES + (avx && context.xcr0 & XCR0_AVX ? XSTATE_AVX_BYTES : 0);
  if (subleaf === 0) return answer(3 | (avx ? XCR0_AVX : 0), enabled, whole, 0);
  if (subleaf === 1) {
    const result = withFeatures(0xd, 1, context);
    if (context.policy.features.has('xsavec')) result.ebx = enabled;
    return result;
  }
  if (subleaf === 2 && avx) return answer(XSTATE_AVX_BYTES, XSTATE_LEGACY_BYTES, 0, 0);
  return answer();
}

function vendor(max: number): CpuidResult {
  const name = 'AuthenticAMD';
  return answer(max, fourBytes(name, 0), fourBytes(name, 8), fourBytes(name, 4));
}

function extendedLeaf(leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  const { vcpuId, vcpus } = context;
  switch (leaf) {
    case 0x80000000:
      return vendor(EXTENDED_MAX);
    case 0x80000001: {
      const result = withFeatures(leaf, 0, context);
      result.eax = SIGNATURE;
      if (vcpus > 1) result.ecx |= 1 << 1;
      // AMD repeats these bits of leaf 1 here.
      const leaf1 = basicLeaf(1, 0, context).edx;
      result.edx |= leaf1 & 0x0183f3ff;
      return result;
    }
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const at = (leaf - 0x80000002) * 16;
      return answer(
        fourBytes(BRAND, at),
        fourBytes(BRAND, at + 4),
        fourBytes(BRAND, at + 8),
        fourBytes(BRAND, at + 12),
      );
    }
    case 0x80000005:
      // TLBs: 64 fully associative entries each; L1 caches: size KiB, ways, one line per tag, line size.
      return answer(0xff40ff40, 0xff40ff40, l1Descriptor(CACHES[0]!), l1Descriptor(CACHES[1]!));
    case 0x80000006:
      // Associativity 6 means 8 ways, 8 means 16. The L3 size is in units of 512 KiB.
      return answer(
        0,
        0x42004200,
        ((CACHES[2]!.sizeBytes >> 10) << 16) | (6 << 12) | (1 << 8) | CACHE_LINE_BYTES,
        ((CACHES[3]!.sizeBytes >> 19) << 18) | (8 << 12) | (1 << 8) | CACHE_LINE_BYTES,
      );
    case 0x80000007:
      return withFeatures(leaf, 0, context);
    case 0x80000008: {
      const result = withFeatures(leaf, 0, context);
      result.eax = PHYSICAL_BITS | (LINEAR_BITS << 8);
      result.ecx = (vcpus - 1) | (apicIdBits(vcpus) << 12);
      return result;
    }
    case 0x8000001d:
      return cacheLeaf(subleaf, vcpus);
    case 0x8000001e:
      return answer(apicIdOf(vcpuId), vcpuId & 0xff, 0, 0);
    case 0x80000021:
      return withFeatures(leaf, 0, context);
    default:
      return answer();
  }
}

const l1Descriptor = (cache: Cache) =>
  ((cache.sizeBytes >> 10) << 24) | (cache.ways << 16) | (1 << 8) | CACHE_LINE_BYTES;

function cacheLeaf(index: number, vcpus: number): CpuidResult {
  const cache = CACHES[index];
  if (!cache) return answer();
  // Counted in APIC ids, of which every vCPU takes two.
  const sharing = cache.shared ? 2 ** apicIdBits(vcpus) : 1;
  const sets = cache.sizeBytes / (cache.ways * CACHE_LINE_BYTES);
  return answer(
    cache.type | (cache.level << 5) | (1 << 8) | ((sharing - 1) << 14),
    (CACHE_LINE_BYTES - 1) | ((cache.ways - 1) << 22),
    sets - 1,
    0,
  );
}

function hypervisorLeaf(leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  const { tsc } = context;
  switch (leaf - XEN_CPUID_BASE) {
    case 0:
      return answer(
        XEN_CPUID_BASE + 5,
        fourBytes('XenVMMXenVMM', 0),
        fourBytes('XenVMMXenVMM', 4),
        fourBytes('XenVMMXenVMM', 8),
      );
    case 1:
      return answer((XEN_VERSION_MAJOR << 16) | XEN_VERSION_MINOR);
    case 2:
      return answer(1, XEN_HYPERCALL_MSR);
    case 3:
      // Not emulated (bit 0), known to be reliable (bit 1), RDTSCP available (bit 2); mode 0 = default.
      if (subleaf === 0) return answer(0b110, 0, tsc.khz, tsc.incarnation);
      if (subleaf === 1) return answer(0, 0, tsc.mul, tsc.shift);
      if (subleaf === 2) return answer(tsc.khz);
      return answer();
    case 4:
      return subleaf === 0 ? answer(XEN_HVM_FEATURES, context.vcpuId, context.domainId) : answer();
    default:
      return answer();
  }
}
