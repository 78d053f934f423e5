/**
 * The guest CPU, the same on every host: which features it has.
 *
 * It calls itself an AMD family 19h model 11h ("Zen 4"), because that is the processor for which Linux 6.1 to 6.12 and later
 * need the fewest workarounds, once the bits below are there: no page table isolation (AMD), no retpolines (`autoibrs`), no
 * return thunks (`srso_no`, `btc_no`), no VERW on exit (`tsa_*_no`), no SSBD (`ssb_no`), no IBPB writes (no `ibpb`), no
 * fxsave leak workaround (`xsaveerptr`), no base clearing on null selectors (`null_sel_clr_base`). The engine does not
 * speculate, so each of these claims is true. The hypervisor bit keeps Linux from family-specific chicken bits.
 */
import { FEATURES, type FeatureName } from '../abi/x86/cpuid-features.ts';

export type CpuModel = 'x86-64-v2' | 'x86-64-v3';

const V2: readonly FeatureName[] = [
  // Leaf 1.
  ...([
    'fpu',
    'de',
    'pse',
    'tsc',
    'msr',
    'pae',
    'mce',
    'cx8',
    'apic',
    'sep',
    'mtrr',
    'pge',
    'mca',
    'cmov',
  ] as const),
  ...([
    'pat',
    'pse36',
    'clflush',
    'mmx',
    'fxsr',
    'sse',
    'sse2',
    'pni',
    'pclmulqdq',
    'ssse3',
    'cx16',
  ] as const),
  ...([
    'pcid',
    'sse4_1',
    'sse4_2',
    'x2apic',
    'popcnt',
    'tsc_deadline_timer',
    'aes',
    'xsave',
    'rdrand',
  ] as const),
  'hypervisor',
  ...(['arat', 'fsgsbase', 'smep', 'erms', 'invpcid', 'rdseed', 'smap', 'fsrm'] as const),
  ...([
    'lahf_lm',
    'cr8_legacy',
    '3dnowprefetch',
    'syscall',
    'nx',
    'mmxext',
    'pdpe1gb',
    'rdtscp',
    'lm',
  ] as const),
  // It counts nanoseconds of the domain's time, on every host. Without this Linux takes it for unstable as soon as there are two processors, and
  // each one that it starts counts loops for a sixth of a second.
  'invariant_tsc',
  // Claims about what the processor does not get wrong.
  ...(['xsaveerptr', 'ssb_no', 'btc_no', 'no_nested_data_bp', 'lfence_rdtsc', 'null_sel_clr_base'] as const),
  ...(['autoibrs', 'no_smm_ctl_msr', 'srso_no', 'srso_user_kernel_no', 'tsa_sq_no', 'tsa_l1_no'] as const),
];

const V3_ADDITIONS: readonly FeatureName[] = ['avx', 'avx2', 'bmi1', 'bmi2', 'fma', 'f16c', 'movbe', 'abm'];

/** What a feature makes no sense without. Linux checks some of these and complains. */
const NEEDS: Partial<Record<FeatureName, readonly FeatureName[]>> = {
  avx: ['xsave', 'sse4_2'],
  avx2: ['avx'],
  fma: ['avx'],
  f16c: ['avx'],
  vaes: ['avx', 'aes'],
  vpclmulqdq: ['avx', 'pclmulqdq'],
  aes: ['sse2'],
  pclmulqdq: ['sse2'],
  xsaveopt: ['xsave'],
  xsavec: ['xsave'],
  xgetbv1: ['xsave'],
  xsaves: ['xsavec'],
  pcid: ['lm', 'pge'],
  invpcid: ['pcid'],
  x2apic: ['apic'],
  tsc_deadline_timer: ['apic', 'tsc'],
  sse4_2: ['sse4_1'],
  sse4_1: ['ssse3'],
  ssse3: ['pni'],
  pni: ['sse2'],
};

export interface CpuPolicy {
  readonly features: ReadonlySet<FeatureName>;
  /** Feature bits by leaf, subleaf and register; see `featureBits`. */
  readonly bits: ReadonlyMap<string, number>;
}

export const featureKey = (leaf: number, subleaf: number, register: string) =>
  `${leaf}.${subleaf}.${register}`;

/** A policy from a model and single changes to it. What lacks something it needs is left out, silently. */
export function cpuPolicy(
  model: CpuModel = 'x86-64-v3',
  changes: { readonly add?: readonly FeatureName[]; readonly remove?: readonly FeatureName[] } = {},
): CpuPolicy {
  const features = new Set([...V2, ...(model === 'x86-64-v3' ? V3_ADDITIONS : []), ...(changes.add ?? [])]);
  for (const name of changes.remove ?? []) features.delete(name);
  for (let changed = true; changed; ) {
    changed = false;
    for (const name of features) {
      if (NEEDS[name]?.some(needed => !features.has(needed))) changed = features.delete(name);
    }
  }
  const bits = new Map<string, number>();
  for (const name of features) {
    const { leaf, subleaf, register, bit } = FEATURES[name];
    const key = featureKey(leaf, subleaf, register);
    bits.set(key, ((bits.get(key) ?? 0) | (1 << bit)) >>> 0);
  }
  return { features, bits };
}
