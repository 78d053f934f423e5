/**
 * Whatever a guest puts into its tables and asks for, the runtime neither traps nor leaves the vCPU in a state that no
 * processor could be in. Seeds are fixed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TLB_BYTES, TLB_EXEC_OFFSET, TLB_READ_OFFSET, VCPU_BLOCK_BYTES } from '../vcpu/layout.ts';
import { type RuntimeExports, runtimeExports } from './signatures.ts';
import { createTestMachine, type TestMachine, U, W } from './test-machine.ts';

const STEPS = process.env.DOMUS_TEST_FULL ? 30_000 : 4000;

function generator(seed: number) {
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) >>> 0;
    return (state ^ (state >>> 13)) >>> 0;
  };
  const below = (limit: number) => next() % limit;
  const pick = <T>(items: readonly T[]): T => items[below(items.length)]!;
  const wide = () => (BigInt(next()) << 32n) | BigInt(next());
  return { next, below, pick, wide };
}

/** Exports that a guest's instructions lead to; what only the hypervisor calls, with arguments it vouches for, is not here. */
const HOST_ONLY = new Set<string>([
  'commit',
  'translate',
  'flushFrame',
  'flushDomain',
  'freezeEntries',
  'frozenOthers',
  'markCode',
  'invalidateCode',
  'discardCode',
  'makeRoom',
  'dropRegion',
  'openRegion',
  'codeBehind',
  'checkCrossing',
  'setFlags',
  'setSystemFlags',
  'setCpl',
  'updateMode',
  'sipi',
  'resetCpu',
]);
const MSRS = [0x174, 0x175, 0x1a0, 0x277, 0xc000_0080, 0xc000_0082, 0xc000_0100, 0xc000_0102, 0x123];
/** Small arguments that are not free: which register, which size. */
const SIZES: Record<string, readonly number[]> = {
  loadSegment: [0, 2, 3, 4, 5],
  readDr: [0, 1, 2, 3, 4, 5, 6, 7],
  writeDr: [0, 1, 2, 3, 4, 5, 6, 7],
  readSlow: [1, 2, 4, 8, 10, 16, 32, 64],
  writeSlow: [1, 2, 4, 8, 16],
  modifySlow: [1, 2, 4, 8, 16],
  pushLegacy: [2, 4],
  peekLegacy: [2, 4],
  leaveLegacy: [2, 4],
  enterFrame: [2, 4, 8],
  pushAll: [2, 4],
  popAll: [2, 4],
  popFlags: [2, 4, 8],
  checkPort: [1, 2, 4],
};
/** Vector functions work on machine addresses that the generated code gives them, never on a guest's. */
const ON_OPERANDS = /^(aes|carryless|checksum|sumDifference|compare(Ex|Im)plicit|maskTo)/;
/** Functions whose first argument, not the last, is the small one. */
const SMALL_FIRST = /^(loadSegment|.*Dr|peekLegacy|leaveLegacy|enterFrame|pushAll|popAll)$/;

function populate(machine: TestMachine, random: ReturnType<typeof generator>): void {
  const { vcpu } = machine;
  machine.enterLongMode(0);
  for (let page = 0; page < 64; page++) machine.map(BigInt(page) << 12n, page << 12, U | W);
  // The descriptor tables, the task state and the stacks have random contents that are often half right.
  for (let at = 0; at < 0x4000; at += 8) {
    const access = BigInt(
      random.pick([0x9b, 0x93, 0xfb, 0xf3, 0x89, 0x82, 0x8c, 0xec, 0x8e, 0xee, 0x0e, random.below(256)]),
    );
    const size = BigInt(random.pick([0xcf, 0xaf, 0x8f, 0x00, random.below(256)]));
    const selector = BigInt(random.below(64) * 8 + random.pick([0, 0, 3, 4]));
    const base = random.pick([0n, selector << 16n, BigInt(random.next()) << 16n]);
    machine.write64(at, random.pick([0n, 0xffffn, 0x1000n]) | base | (access << 40n) | (size << 48n));
  }
  // Some good gates, a good code segment, TSS and LDT.
  for (let vector = 0; vector < 256; vector += 2) {
    machine.write64(
      0x1000 + vector * 16,
      0x2000n | (8n << 16n) | (BigInt(random.pick([0x8e, 0xee, 0xef])) << 40n),
    );
    machine.write64(0x1008 + vector * 16, 0n);
  }
  machine.write64(0x08, 0x00af_9b00_0000_ffffn);
  machine.write64(0x30, 0x0000_8900_3000_0067n);
  machine.write64(0x38, 0n);
  machine.write64(0x40, 0x0000_8200_2000_07ffn);
  machine.write64(0x48, 0n);
  vcpu.sysenterCs = 8n;
  vcpu.gdtBase = 0n;
  vcpu.gdtLimit = 0x7ff;
  vcpu.idtBase = 0x1000n;
  vcpu.idtLimit = 0xfff;
  machine.segment(7, 0x30, 0x3000n, 0x67, 0x8b);
  machine.write64(0x3004, 0x1_0000n);
  machine.write64(0x3024, 0x1_8000n);
}

function argumentsFor(name: keyof RuntimeExports, random: ReturnType<typeof generator>): (number | bigint)[] {
  const addresses = [
    0n,
    0x1000n,
    0x3ffcn,
    0x1_0fffn,
    0x3_fff8n,
    0xffff_fffcn,
    0x7fff_ffff_fffcn,
    -1n,
    -4096n,
  ];
  return runtimeExports[name].params.slice(1).map((type, index) => {
    if (name === 'writeCr4' || name === 'writeCr0') {
      const bits = name === 'writeCr4' ? 0x37_07ffn : 0xe005_003fn;
      return (random.wide() & bits) | (name === 'writeCr4' ? 0x620n : random.pick([0x8000_0001n, 1n, 0n]));
    }
    if (type === 'i64')
      return BigInt.asIntN(64, random.pick([...addresses, random.wide(), BigInt(random.below(0x4_0000))]));
    const known = SIZES[name];
    if (known && (index === 0) === SMALL_FIRST.test(name)) return random.pick(known);
    if (/^(lldt|ltr)$/.test(name)) return random.pick([0x30, 0x40, random.below(0x800)]);
    if (/^(lar|lsl|verr|verw|loadSegment)$/.test(name)) return random.below(0x800);
    if (/^far(Jump|Call)$/.test(name) && index === 0) return random.below(0x800);
    if (name === 'interrupt') return index === 0 ? random.below(256) : random.below(4);
    if (name.startsWith('rep')) return random.pick([1, 2, 4, 8]);
    if (name === 'writeControl' || name === 'readControl') return random.pick([0, 2, 3, 4, 8]);
    return random.pick([2, 4, 8, random.below(256)]);
  });
}

function checkInvariants(machine: TestMachine, what: string): void {
  const { vcpu, cpu } = machine;
  assert.ok(vcpu.cpl <= 3, what);
  const flagAc = (vcpu.flagSys & (1 << 18)) !== 0;
  const smap = (vcpu.cr4 & (1n << 21n)) !== 0n && !flagAc;
  const tlbClass = vcpu.cpl === 3 ? 1 : smap ? 0 : 2;
  const isOwn = (table: number) => table >= cpu && table < cpu + VCPU_BLOCK_BYTES;
  if (vcpu.cpl === 3 && flagAc && (vcpu.cr0 & (1n << 18n)) !== 0n) {
    assert.ok(!isOwn(vcpu.tlb), `${what}: alignment checks need misses`);
  } else {
    assert.equal(vcpu.tlb - cpu - TLB_READ_OFFSET, tlbClass * TLB_BYTES, `${what}: TLB class`);
  }
  assert.equal(vcpu.tlbExec - cpu - TLB_EXEC_OFFSET, vcpu.cpl === 3 ? TLB_BYTES : 0, what);
  assert.equal((vcpu.flagSys & 2) !== 0, true, what);
  assert.equal(vcpu.flagAux & ~0x895, 0, what);
  const paging = (vcpu.cr0 & 0x8000_0001n) === 0x8000_0001n;
  assert.equal((vcpu.efer & 0x400n) !== 0n, paging && (vcpu.efer & 0x100n) !== 0n, `${what}: LMA`);
  if ((vcpu.cr0 & 0x8000_0000n) !== 0n) assert.ok(paging, `${what}: PG without PE`);
  const code64 = (vcpu.mode & 3) === 2;
  assert.equal(code64, (vcpu.efer & 0x400n) !== 0n && (machine.segmentOf(1).attributes & 0x2000) !== 0, what);
  if (code64)
    for (let seg = 0; seg < 4; seg++) assert.equal(vcpu.segBase.get(seg), 0n, `${what}: base in 64-bit mode`);
}

test('random tables, registers and instructions', () => {
  const names = (Object.keys(runtimeExports) as (keyof RuntimeExports)[]).filter(
    name => !HOST_ONLY.has(name) && !ON_OPERANDS.test(name),
  );
  const outcomes = new Map<string, Set<unknown>>();
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const random = generator(seed);
    let machine = createTestMachine();
    populate(machine, random);
    for (let step = 0; step < STEPS; step++) {
      if (step % 60 === 0) {
        machine = createTestMachine();
        populate(machine, random);
      }
      const { vcpu, cpu, runtime } = machine;
      const register = random.below(16);
      vcpu.gpr.set(
        register,
        random.pick([
          0x1_0000n,
          0x2_0ff8n,
          BigInt(random.below(0x4_0000)),
          random.wide(),
          8n,
          BigInt(random.pick(MSRS)),
          BigInt(random.below(8)),
        ]),
      );
      vcpu.gpr.set(4, random.pick([vcpu.gpr.get(4), 0x2_0000n, 0x2_fffcn]));
      if (random.below(40) === 0)
        machine.write64(
          0x60_0000 + random.below(0x400) * 8,
          (random.wide() & ~0xffn) | BigInt(random.pick([0x27, 0x67, 0xe7, 0x23, 0])),
        );
      if (random.below(10) === 0) {
        vcpu.cpl = random.pick([0, 3]);
        runtime.selectTlb(cpu);
      }
      if (random.below(10) === 0) runtime.setFlags(cpu, random.wide() & 0x3f_7fd5n, -1n);
      const name = random.pick(names);
      const values = argumentsFor(name, random);
      const what = `seed ${seed} step ${step}: ${name}(${values.join(', ')})`;
      vcpu.exVector = -1;
      let result: unknown;
      try {
        result = (runtime[name] as (...all: unknown[]) => unknown)(cpu, ...values);
      } catch (cause) {
        throw new Error(what, { cause });
      }
      outcomes.set(name, (outcomes.get(name) ?? new Set()).add(result));
      if (vcpu.exVector >= 0 && name !== 'deliver' && name !== 'singleStep') {
        assert.ok(vcpu.exVector < 32 || vcpu.exVector === 256, what);
        const reason = runtime.deliver(cpu);
        assert.ok([0, 3, 7].includes(reason), what);
        assert.equal(vcpu.exVector, -1, what);
      }
      checkInvariants(machine, what);
    }
  }
  // The fuzz is worth something only if both ways are taken.
  for (const name of ['loadSegment', 'interrupt', 'readSlow', 'writeSlow'] as const) {
    assert.ok(outcomes.get(name)!.size > 1, `${name} always ended alike`);
  }
});
