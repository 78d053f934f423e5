/** AVX, AVX2, FMA and F16C of the CPU engine against the host's processor, in all three modes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asRunner } from './compare.ts';
import { compareGuest } from './guest-compare.ts';
import { createGuestCpu } from './guest-cpu.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { icedForms } from './iced-forms.ts';

const skip = hostUnavailable() ?? false;
const full = process.env.DOMUS_TEST_FULL === '1';
const FEATURES = new Set('avx avx2 fma f16c'.split(' '));

test('AVX instructions do what the host does', { skip }, async t => {
  await using host = await openHostCpu();
  const forms = icedForms().filter(form => form.hostFeatures.some(name => FEATURES.has(name)));
  assert.ok(forms.length > 640, `only ${forms.length} forms`);
  const available = forms.filter(form => form.hostFeatures.every(name => host.features.cpu.has(name)));
  const report = await compareGuest(available, host, asRunner(createGuestCpu()), full ? 1000 : 12);
  t.diagnostic(`${available.length} forms, ${report.cases} cases`);
  assert.deepEqual(report.failures, []);
});
