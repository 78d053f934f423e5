/** MMX, SSE to SSE4.2, AES and PCLMUL of the CPU engine against the host's processor, in all three modes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asRunner } from './compare.ts';
import { compareGuest } from './guest-compare.ts';
import { createGuestCpu } from './guest-cpu.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { icedForms } from './iced-forms.ts';

const skip = hostUnavailable() ?? false;
const full = process.env.DOMUS_TEST_FULL === '1';
const FEATURES = new Set('mmx sse sse2 pni ssse3 sse4_1 sse4_2 aes pclmulqdq'.split(' '));

test('vector instructions do what the host does', { skip }, async t => {
  await using host = await openHostCpu();
  const forms = icedForms().filter(
    form =>
      form.hostFeatures.some(name => FEATURES.has(name)) &&
      !form.hostFeatures.includes('avx') &&
      form.hostFeatures.every(name => host.features.cpu.has(name)),
  );
  assert.ok(forms.length > 390, `only ${forms.length} forms`);
  const report = await compareGuest(forms, host, asRunner(createGuestCpu()), full ? 1000 : 24);
  t.diagnostic(`${forms.length} forms, ${report.cases} cases`);
  assert.deepEqual(report.failures, []);
});
