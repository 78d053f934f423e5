import assert from 'node:assert/strict';
import { test } from 'node:test';
import { analyse } from './analysis.ts';
import { casesOf, compareForm, compareForms, formatFailure, resultDifferences } from './compare.ts';
import { compareDecoder, formatDecodeDifference, icedLengthDecoder } from './decode.ts';
import { codePlace } from './forms.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { icedForms } from './iced-forms.ts';
import { type CaseRunner, End, type Mode } from './machine-case.ts';
import { copyState, D, Flag, initialState } from './machine-state.ts';
import { random } from './random.ts';
import { sequenceForms } from './sequence-forms.ts';
import { makeCase } from './state.ts';
import { undefinedFlags } from './undefined-flags.ts';
import { hashCases, readVectorFile, recordVectors, replayVectors } from './vectors.ts';

const skip = hostUnavailable() ?? false;
const form = (name: string) => icedForms().find(f => f.name === name)!;

test('iced has a form for every group of user instructions', () => {
  const forms = icedForms();
  assert.ok(forms.length > 1200, `only ${forms.length}`);
  assert.equal(new Set(forms.map(f => f.name)).size, forms.length);
  const mnemonics = new Set(forms.map(f => f.mnemonic));
  const wanted =
    'add adc sub cmp mul imul div idiv shl shld rcr bt bts bsf bsr popcnt bswap xadd cmpxchg cmpxchg8b cmpxchg16b ' +
    'cmovo setg enter leave push pop pushfq popfq call ret jmp jrcxz loopne movsb cmpsq scasd lodsw stosb xlatb lahf ' +
    'sahf cwde cqo movsxd movbe aaa daa aad pushad bound arpl into salc fld fsin fbstp fxsave fxrstor fcmovb fisttp ' +
    'emms paddb maskmovq pshufw addps cvttsd2si haddpd pshufb roundss pcmpistri crc32 aesenc pclmulqdq ldmxcsr ' +
    'maskmovdqu movnti prefetchw clflush blendvps extractps ptest endbr64 pause nop';
  const missing = wanted.split(' ').filter(name => !mnemonics.has(name));
  assert.deepEqual(missing, []);
});

test('cases depend on form, mode and seed alone', () => {
  const [first, again, other] = [1, 1, 2].map(seed =>
    hashCases(casesOf(form('Add_rm32_r32'), 64, 50, seed).cases),
  );
  assert.equal(first, again);
  assert.notEqual(first, other);
});

test('every form has cases in each of its modes', () => {
  const without = icedForms().flatMap(f =>
    f.modes.filter(mode => casesOf(f, mode, 4).cases.length < 4).map(mode => `${f.name}/${mode}`),
  );
  assert.deepEqual(without, []);
});

test('undefined flags of shifts follow from the count', () => {
  const undefinedFor = (code: string, cl = 0) => {
    const state = initialState();
    state.bytes[8] = cl;
    return undefinedFlags(analyse(Uint8Array.from(Buffer.from(code, 'hex')), 64, 0n)!, state);
  };
  assert.equal(undefinedFor('d3e0', 0), 0, 'shl eax, cl');
  assert.equal(undefinedFor('d3e0', 32), 0);
  assert.equal(undefinedFor('d3e0', 1), Flag.af);
  assert.equal(undefinedFor('d3e0', 5), Flag.af | Flag.of);
  assert.equal(undefinedFor('d2e0', 9), Flag.af | Flag.of | Flag.cf, 'shl al, cl');
  assert.equal(undefinedFor('d2f8', 9), Flag.af | Flag.of, 'sar al, cl');
  assert.equal(undefinedFor('d3c0', 1), 0, 'rol eax, cl');
  assert.equal(undefinedFor('d3c0', 2), Flag.of);
  assert.equal(undefinedFor('48c1e020'), Flag.af | Flag.of, 'shl rax, 32');
  assert.equal(undefinedFor('21c0'), Flag.af, 'and eax, eax');
  assert.equal(undefinedFor('01c0'), 0, 'add eax, eax');
});

test('the host agrees with itself on every form', { skip }, async t => {
  await using first = await openHostCpu();
  await using second = await openHostCpu();
  const options = { cases: 8, seed: 7, hostFeatures: first.features.cpu };
  let cases = 0;
  const failures: string[] = [];
  for await (const report of compareForms(icedForms(), first, second, options)) {
    cases += report.cases;
    if (report.first)
      failures.push(`${report.form.name}: ${report.failures}\n${formatFailure(report.first)}`);
  }
  t.diagnostic(`${cases} cases`);
  assert.deepEqual(failures, []);
});

test('the harness survives any bytes', { skip }, async () => {
  await using host = await openHostCpu();
  const probe = casesOf(form('Add_rm32_r32'), 64, 16).cases;
  const before = await host.run(probe);
  for (const mode of [64, 32, 16] as const) {
    if (!host.features.modes[mode]) continue;
    const draw = random(mode);
    const cases = Array.from({ length: 3000 }, () => {
      const rip = codePlace(draw, mode);
      const code = Uint8Array.from({ length: 1 + draw.below(15) }, () => draw.below(256));
      const nop = analyse(Uint8Array.of(0x90), mode, rip)!;
      return makeCase(draw, analyse(code, mode, rip) ?? nop, code, rip);
    });
    assert.equal((await host.run(cases)).length, cases.length);
  }
  assert.deepEqual(await host.run(probe), before);
});

test('bytes that are no instruction are refused', { skip }, async () => {
  await using host = await openHostCpu();
  for (const mode of [64, 32] as const) {
    const { cases } = casesOf(form('Invalid'), mode, 500);
    const vectors = new Set((await host.run(cases)).map(result => result.vector));
    // #GP: longer than 15 bytes.
    assert.deepEqual(
      [...vectors].filter(vector => vector !== 6 && vector !== 13),
      [],
    );
  }
});

test('a processor with a fault in it is found out, and the failure reduced to what matters', {
  skip,
}, async () => {
  await using host = await openHostCpu();
  /** Forgets the auxiliary carry. */
  const faulty: CaseRunner = {
    run: async cases =>
      (await host.run(cases)).map(result => {
        const state = copyState(result.state);
        state.u32[D.rflags]! &= ~Flag.af;
        return { ...result, state };
      }),
  };
  const report = await compareForm(form('Add_rm32_r32'), 64, host, faulty, { cases: 100 });
  assert.ok(report.failures > 10);
  const text = formatFailure(report.first!);
  assert.match(text, /^64-bit {2}[0-9a-f ]+ {2}(lock )?add /);
  assert.match(text, /rflags +expected .* actual/);
  assert.doesNotMatch(text, /ymm|R0=/);
  // A flag that the instruction leaves undefined is not looked at.
  const and = await compareForm(form('And_rm32_r32'), 64, host, faulty, { cases: 100 });
  assert.equal(and.failures, 0);
});

test('sequences run through and repeat', { skip }, async () => {
  await using host = await openHostCpu();
  for (const sequence of sequenceForms())
    for (const mode of [64, 32] as const) {
      const report = await compareForm(sequence, mode, host, host, { cases: 400 });
      assert.equal(report.failures, 0);
      const results = await host.run(casesOf(sequence, mode, 400).cases);
      assert.deepEqual([...new Set(results.map(result => result.end))], [End.completed]);
    }
});

test('vectors recorded and replayed are what the host did', { skip }, async () => {
  await using host = await openHostCpu();
  const some = icedForms().filter((_, i) => i % 40 === 0);
  const file = await recordVectors(some, host, { cases: 6, seed: 3 });
  let forms = 0;
  for (const recorded of replayVectors(file, some)) {
    forms++;
    const results = await host.run(recorded.cases);
    recorded.cases.forEach((machineCase, i) => {
      const lines = resultDifferences(machineCase, recorded.analyses[i], recorded.results[i]!, results[i]!);
      assert.deepEqual(lines, [], recorded.form.name);
    });
  }
  assert.ok(forms >= some.length);
  assert.throws(() => [...replayVectors(file.subarray(0, file.length >> 1), some)]);
});

test('the committed vectors are those of the cases as they are made today', () => {
  let cases = 0;
  for (const recorded of replayVectors(readVectorFile(), icedForms())) cases += recorded.results.length;
  assert.ok(cases > 10_000);
});

test('the host still gives the results of the committed vectors', { skip }, async () => {
  await using host = await openHostCpu();
  const failures: string[] = [];
  for (const recorded of replayVectors(readVectorFile(), icedForms())) {
    if (!recorded.form.hostFeatures.every(name => host.features.cpu.has(name))) continue;
    if (!host.features.modes[recorded.mode]) continue;
    const results = await host.run(recorded.cases);
    recorded.cases.forEach((machineCase, i) => {
      const [expected, actual, analysis] = [recorded.results[i]!, results[i]!, recorded.analyses[i]];
      const differences = resultDifferences(machineCase, analysis, expected, actual);
      if (differences.length > 0)
        failures.push(formatFailure({ test: machineCase, analysis, expected, actual, differences }));
    });
  }
  assert.deepEqual(failures.slice(0, 3), []);
});

test('the decoder check finds a wrong length and nothing in a right decoder', () => {
  const iced = new Map(([16, 32, 64] as const).map(mode => [mode, icedLengthDecoder(mode)]));
  const right = (bytes: Uint8Array, mode: Mode) => iced.get(mode)!(bytes).length;
  const wrong = (bytes: Uint8Array, mode: Mode) => {
    const length = right(bytes, mode);
    return bytes[0] === 0xa0 && mode === 64 ? 5 : length;
  };
  for (const mode of [16, 32, 64] as const)
    assert.deepEqual(compareDecoder(right, { mode, count: 20_000 }), []);
  const differences = compareDecoder(wrong, { mode: 64, count: 20_000 });
  assert.equal(differences.length, 1);
  assert.match(formatDecodeDifference(differences[0]!), /Mov_AL_moffs8 .*: expected 9, got 5/);
});
