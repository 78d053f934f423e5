/**
 * CPUID feature bits by name: leaf, subleaf, register and bit. The names are Linux's (/proc/cpuinfo), where it has one.
 *
 * Sources: SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
 */
export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';
export interface FeaturePlace {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly bit: number;
}

const places =
  (leaf: number, subleaf: number, register: CpuidRegister) =>
  <N extends string>(names: Record<N, number>): Record<N, FeaturePlace> => {
    const result = {} as Record<N, FeaturePlace>;
    for (const name of Object.keys(names) as N[])
      result[name] = { leaf, subleaf, register, bit: names[name] };
    return result;
  };

// biome-ignore format: a table
export const FEATURES = {
  ...places(1, 0, 'edx')({
    fpu: 0, vme: 1, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, mce: 7, cx8: 8, apic: 9, sep: 11, mtrr: 12, pge: 13, mca: 14,
    cmov: 15, pat: 16, pse36: 17, clflush: 19, mmx: 23, fxsr: 24, sse: 25, sse2: 26, ht: 28,
  }),
  ...places(1, 0, 'ecx')({
    pni: 0, pclmulqdq: 1, monitor: 3, ssse3: 9, fma: 12, cx16: 13, pcid: 17, sse4_1: 19, sse4_2: 20, x2apic: 21, movbe: 22,
    popcnt: 23, tsc_deadline_timer: 24, aes: 25, xsave: 26, osxsave: 27, avx: 28, f16c: 29, rdrand: 30, hypervisor: 31,
  }),
  ...places(6, 0, 'eax')({ arat: 2 }),
  ...places(7, 0, 'ebx')({
    fsgsbase: 0, tsc_adjust: 1, bmi1: 3, avx2: 5, smep: 7, bmi2: 8, erms: 9, invpcid: 10, rdseed: 18, adx: 19, smap: 20,
    clflushopt: 23, clwb: 24, sha_ni: 29,
  }),
  ...places(7, 0, 'ecx')({ umip: 2, pku: 3, vaes: 9, vpclmulqdq: 10, rdpid: 22 }),
  ...places(7, 0, 'edx')({ fsrm: 4 }),
  ...places(0xd, 1, 'eax')({ xsaveopt: 0, xsavec: 1, xgetbv1: 2, xsaves: 3 }),
  ...places(0x80000001, 0, 'ecx')({
    lahf_lm: 0, cmp_legacy: 1, svm: 2, cr8_legacy: 4, abm: 5, sse4a: 6, misalignsse: 7, '3dnowprefetch': 8, topoext: 22,
  }),
  ...places(0x80000001, 0, 'edx')({ syscall: 11, nx: 20, mmxext: 22, fxsr_opt: 25, pdpe1gb: 26, rdtscp: 27, lm: 29 }),
  ...places(0x80000007, 0, 'edx')({ invariant_tsc: 8 }),
  ...places(0x80000008, 0, 'ebx')({ xsaveerptr: 2, ibpb: 12, ibrs: 14, ssb_no: 26, btc_no: 29 }),
  ...places(0x80000021, 0, 'eax')({
    no_nested_data_bp: 0, lfence_rdtsc: 2, null_sel_clr_base: 6, autoibrs: 8, no_smm_ctl_msr: 9, srso_no: 29,
    srso_user_kernel_no: 30,
  }),
  ...places(0x80000021, 0, 'ecx')({ tsa_sq_no: 1, tsa_l1_no: 2 }),
} as const;

export type FeatureName = keyof typeof FEATURES;
