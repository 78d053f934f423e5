/** x87 instructions of the CPU engine against the host's processor, in all three modes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asRunner } from './compare.ts';
import { compareGuest } from './guest-compare.ts';
import { createGuestCpu } from './guest-cpu.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { icedForms } from './iced-forms.ts';

const skip = hostUnavailable() ?? false;
const full = process.env.DOMUS_TEST_FULL === '1';

test('x87 instructions do what the host does', { skip }, async t => {
  await using host = await openHostCpu();
  const forms = icedForms().filter(form => form.hostFeatures.includes('fpu'));
  assert.ok(forms.length > 140, `only ${forms.length} forms`);
  const report = await compareGuest(forms, host, asRunner(createGuestCpu()), full ? 1000 : 24);
  t.diagnostic(`${forms.length} forms, ${report.cases} cases`);
  assert.deepEqual(report.failures, []);
});
