/** General-purpose instructions of the CPU engine against the host's processor, in all three modes. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { asRunner, casesOf } from './compare.ts';
import { compareGuest, guestDifferences } from './guest-compare.ts';
import { createGuestCpu } from './guest-cpu.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { icedForms } from './iced-forms.ts';
import type { CaseRunner } from './machine-case.ts';
import { sequenceForms } from './sequence-forms.ts';
import { readVectorFile, replayVectors } from './vectors.ts';

const skip = hostUnavailable() ?? false;
const full = process.env.DOMUS_TEST_FULL === '1';
/** What belongs to other families' tests. */
const OTHERS = new Set('fpu mmx sse sse2 pni ssse3 sse4_1 sse4_2 aes pclmulqdq avx avx2 fma f16c'.split(' '));
const isInteger = (form: { hostFeatures: readonly string[] }) =>
  !form.hostFeatures.some(name => OTHERS.has(name));

let guest: CaseRunner;
before(() => {
  guest = asRunner(createGuestCpu());
});

test('integer instructions do what the host does', { skip }, async t => {
  await using host = await openHostCpu();
  const forms = icedForms().filter(
    form => isInteger(form) && form.hostFeatures.every(f => host.features.cpu.has(f)),
  );
  const report = await compareGuest(forms, host, guest, full ? 1000 : 12);
  t.diagnostic(`${forms.length} forms, ${report.cases} cases`);
  assert.deepEqual(report.failures, []);
});

test('sequences of integer instructions do what the host does', { skip }, async () => {
  await using host = await openHostCpu();
  const report = await compareGuest(sequenceForms(), host, guest, full ? 4000 : 300);
  assert.deepEqual(report.failures, []);
});

test('integer and x87 instructions do what the recorded processor did', async () => {
  const failures: string[] = [];
  for (const recorded of replayVectors(readVectorFile(), icedForms())) {
    const { form, cases, analyses, results } = recorded;
    if (!isInteger(form) && !form.hostFeatures.includes('fpu')) continue;
    const actual = await guest.run(cases);
    cases.forEach((test, i) => {
      const entry = { test, analysis: analyses[i], expected: results[i]!, actual: actual[i]! };
      const lines = guestDifferences(entry, form.undefinedFlags);
      if (lines.length > 0) failures.push(`${form.name}: ${lines.join('; ')}`);
    });
  }
  assert.deepEqual(failures, []);
});

test('a case ends the same however often it runs', async () => {
  const form = icedForms().find(f => f.name === 'Imul_r64_rm64_imm32')!;
  const { cases } = casesOf(form, 64, 50);
  assert.deepEqual(await guest.run(cases), await guest.run(cases));
});
