/** The forms of our own instruction table against the host's processor, in 64-bit mode. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arithmetic } from '../../src/cpu/isa/arithmetic.ts';
import { bits } from '../../src/cpu/isa/bits.ts';
import { bmi } from '../../src/cpu/isa/bmi.ts';
import { moves } from '../../src/cpu/isa/move.ts';
import { shift } from '../../src/cpu/isa/shift.ts';
import { TABLE } from '../../src/cpu/isa/table.ts';
import { asRunner } from './compare.ts';
import { compareGuest } from './guest-compare.ts';
import { createGuestCpu } from './guest-cpu.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { tableForms } from './table-forms.ts';

const skip = hostUnavailable() ?? false;
const full = process.env.DOMUS_TEST_FULL === '1';

test('forms of our own table do what the host does', { skip }, async t => {
  await using host = await openHostCpu();
  const forms = tableForms([...arithmetic, ...moves, ...shift, ...bits, ...bmi.filter(entry => !entry.vex)]);
  assert.ok(forms.length > 700, `only ${forms.length} forms`);
  const report = await compareGuest(forms, host, asRunner(createGuestCpu()), full ? 1000 : 12);
  t.diagnostic(`${forms.length} forms, ${report.cases} cases`);
  assert.deepEqual(report.failures, []);
});

/** What the VEX entries of the table need of the host. */
const VEX_FEATURES = ['avx', 'avx2', 'fma', 'f16c', 'bmi1', 'bmi2', 'aes', 'pclmulqdq'];

test('VEX forms of our own table do what the host does', { skip }, async t => {
  await using host = await openHostCpu();
  const lacking = VEX_FEATURES.filter(name => !host.features.cpu.has(name));
  if (lacking.length > 0) return t.skip(`the host has no ${lacking.join(', ')}`);
  const forms = tableForms(TABLE.filter(entry => entry.vex));
  assert.ok(forms.length > 900, `only ${forms.length} forms`);
  const report = await compareGuest(forms, host, asRunner(createGuestCpu()), full ? 1000 : 8);
  t.diagnostic(`${forms.length} forms, ${report.cases} cases`);
  assert.deepEqual(report.failures, []);
});
