import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FEATURES, type FeatureName } from '../abi/x86/cpuid-features.ts';
import { apicIdBits, type CpuidContext, cpuid } from './cpuid.ts';
import { cpuPolicy } from './cpuid-policy.ts';

const context = (changes: Partial<CpuidContext> = {}): CpuidContext => ({
  policy: cpuPolicy(),
  vcpuId: 0,
  vcpus: 1,
  domainId: 7,
  osxsave: false,
  xcr0: 1,
  apicEnabled: true,
  tsc: { khz: 2_000_000, mul: 0x80000000, shift: 0, incarnation: 1 },
  ...changes,
});

const text = (...words: number[]) => new TextDecoder().decode(new Uint8Array(Uint32Array.from(words).buffer));
const has = (name: FeatureName, c: CpuidContext) => {
  const { leaf, subleaf, register, bit } = FEATURES[name];
  return ((cpuid(leaf, subleaf, c)[register] >>> bit) & 1) === 1;
};

test('identification', () => {
  const c = context();
  const zero = cpuid(0, 0, c);
  assert.equal(text(zero.ebx, zero.edx, zero.ecx), 'AuthenticAMD');
  assert.equal(zero.eax, 0xd);
  const { eax } = cpuid(1, 0, c);
  assert.equal(((eax >> 8) & 15) + ((eax >> 20) & 255), 0x19);
  assert.equal(((eax >> 4) & 15) | (((eax >> 16) & 15) << 4), 0x11);
  const brand = [0x80000002, 0x80000003, 0x80000004].map(leaf => {
    const r = cpuid(leaf, 0, c);
    return text(r.eax, r.ebx, r.ecx, r.edx);
  });
  assert.equal(brand.join('').replace(/\0+$/, ''), 'Domus virtual CPU');
  assert.equal(cpuid(0x80000008, 0, c).eax, 40 | (48 << 8));
});

test('the x86-64-v3 features are there, unless the model is x86-64-v2', () => {
  const v2: FeatureName[] = [
    'cx16',
    'lahf_lm',
    'popcnt',
    'pni',
    'sse4_1',
    'sse4_2',
    'ssse3',
    'cmov',
    'cx8',
    'fpu',
  ];
  const more: FeatureName[] = [
    'fxsr',
    'mmx',
    'syscall',
    'sse',
    'sse2',
    'lm',
    'nx',
    'smep',
    'smap',
    'fsgsbase',
  ];
  const v3: FeatureName[] = ['avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe'];
  const older = context({ policy: cpuPolicy('x86-64-v2') });
  for (const name of [...v2, ...more]) assert.ok(has(name, older), name);
  for (const name of v3) assert.ok(!has(name, older), name);
  for (const name of [...v2, ...more, ...v3]) assert.ok(has(name, context()), name);
});

test('no slow mitigation is asked for, and nothing that would be slow to serve', () => {
  const wanted: FeatureName[] = [
    'autoibrs',
    'srso_no',
    'btc_no',
    'ssb_no',
    'tsa_sq_no',
    'tsa_l1_no',
    'xsaveerptr',
  ];
  for (const name of [...wanted, 'null_sel_clr_base' as const, 'invariant_tsc' as const])
    assert.ok(has(name, context()), name);
  for (const name of ['ibpb', 'ibrs', 'monitor', 'svm', 'vme'] as const)
    assert.ok(!has(name, context()), name);
  assert.ok(cpuid(0x80000000, 0, context()).eax >= 0x80000021);
});

test('removing a feature removes what needs it', () => {
  const policy = cpuPolicy('x86-64-v3', { remove: ['xsave'], add: ['xsavec'] });
  for (const name of ['xsave', 'avx', 'avx2', 'fma', 'xsavec'] as const)
    assert.ok(!policy.features.has(name), name);
  assert.deepEqual(cpuid(0xd, 0, context({ policy })), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

test('bits that follow the state of the vCPU', () => {
  assert.ok(!has('osxsave', context()));
  assert.ok(has('osxsave', context({ osxsave: true })));
  assert.ok(!has('apic', context({ apicEnabled: false })));
  assert.ok(!has('ht', context()));
  assert.ok(has('ht', context({ vcpus: 2 })));
});

test('leaf 0xd agrees with XCR0', () => {
  const policy = cpuPolicy('x86-64-v3');
  const without = context({ policy: cpuPolicy('x86-64-v2') });
  assert.deepEqual(cpuid(0xd, 0, without), { eax: 3, ebx: 576, ecx: 576, edx: 0 });
  assert.deepEqual(cpuid(0xd, 0, context({ policy, xcr0: 3 })), { eax: 7, ebx: 576, ecx: 832, edx: 0 });
  assert.deepEqual(cpuid(0xd, 0, context({ policy, xcr0: 7 })), { eax: 7, ebx: 832, ecx: 832, edx: 0 });
  assert.deepEqual(cpuid(0xd, 2, context({ policy })), { eax: 256, ebx: 576, ecx: 0, edx: 0 });
  assert.deepEqual(cpuid(0xd, 2, without), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

test('topology leaves agree with the APIC ids, for every number of vCPUs', () => {
  for (let vcpus = 1; vcpus <= 128; vcpus++) {
    const bits = apicIdBits(vcpus);
    const cores = new Set<number>();
    for (let vcpuId = 0; vcpuId < vcpus; vcpuId++) {
      const c = context({ vcpus, vcpuId });
      const apicId = cpuid(1, 0, c).ebx >>> 24;
      assert.equal(apicId, 2 * vcpuId);
      assert.equal(cpuid(0xb, 0, c).edx, apicId);
      assert.equal(cpuid(0x8000001e, 0, c).eax, apicId);
      // One package: nothing is left above the last level.
      assert.equal(apicId >> cpuid(0xb, 1, c).eax, 0);
      assert.equal(apicId >> bits, 0);
      cores.add(apicId >> cpuid(0xb, 0, c).eax);
    }
    assert.equal(cores.size, vcpus);
    const c = context({ vcpus });
    assert.equal(cpuid(0xb, 1, c).ebx, vcpus);
    assert.equal(cpuid(0x80000008, 0, c).ecx & 0xff, vcpus - 1);
    assert.equal((cpuid(0x80000008, 0, c).ecx >> 12) & 15, bits);
  }
});

test('caches: both descriptions say the same', () => {
  const c = context();
  const size = (index: number) => {
    const { ebx, ecx } = cpuid(0x8000001d, index, c);
    return ((ebx >>> 22) + 1) * ((ebx & 0xfff) + 1) * (ecx + 1);
  };
  assert.equal(size(0), (cpuid(0x80000005, 0, c).ecx >>> 24) * 1024);
  assert.equal(size(1), (cpuid(0x80000005, 0, c).edx >>> 24) * 1024);
  assert.equal(size(2), (cpuid(0x80000006, 0, c).ecx >>> 16) * 1024);
  assert.equal(size(3), (cpuid(0x80000006, 0, c).edx >>> 18) * 512 * 1024);
  assert.equal(cpuid(0x8000001d, 4, c).eax, 0);
});

test('Xen leaves', () => {
  const c = context({ vcpuId: 3, vcpus: 4 });
  const base = cpuid(0x40000000, 0, c);
  assert.equal(text(base.ebx, base.ecx, base.edx), 'XenVMMXenVMM');
  assert.equal(base.eax, 0x40000005);
  assert.equal(cpuid(0x40000001, 0, c).eax, 0x00040011);
  assert.deepEqual(cpuid(0x40000002, 0, c), { eax: 1, ebx: 0x40000000, ecx: 0, edx: 0 });
  assert.equal(cpuid(0x40000003, 0, c).ecx, 2_000_000);
  assert.deepEqual(cpuid(0x40000004, 0, c), { eax: 0x5c, ebx: 3, ecx: 7, edx: 0 });
  assert.deepEqual(cpuid(0x40000100, 0, c), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

test('every leaf answers with 32-bit unsigned numbers', () => {
  const ranges = [0, 0x40000000, 0x80000000];
  for (const vcpus of [1, 3, 128]) {
    const c = context({ vcpus, vcpuId: vcpus - 1, policy: cpuPolicy('x86-64-v3'), osxsave: true });
    for (const start of ranges) {
      for (let leaf = start; leaf < start + 0x30; leaf++) {
        for (let subleaf = 0; subleaf < 5; subleaf++) {
          for (const value of Object.values(cpuid(leaf, subleaf, c))) {
            assert.ok(
              Number.isInteger(value) && value >= 0 && value <= 0xffffffff,
              `${leaf.toString(16)}.${subleaf}`,
            );
          }
        }
      }
    }
  }
  assert.deepEqual(cpuid(0xffffffff, 0, context()), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});
