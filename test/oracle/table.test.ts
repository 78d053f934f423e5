/** The forms of our own instruction table against the host's processor, in all modes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arithmetic } from '../../src/cpu/isa/arithmetic.ts';
import { bits } from '../../src/cpu/isa/bits.ts';
import { bmi } from '../../src/cpu/isa/bmi.ts';
import type { Definition } from '../../src/cpu/isa/definition.ts';
import { moves } from '../../src/cpu/isa/move.ts';
import { shift } from '../../src/cpu/isa/shift.ts';
import { sse } from '../../src/cpu/isa/sse.ts';
import { stack } from '../../src/cpu/isa/stack.ts';
import { strings } from '../../src/cpu/isa/string.ts';
import { TABLE } from '../../src/cpu/isa/table.ts';
import { x87 } from '../../src/cpu/isa/x87.ts';
import { asRunner } from './compare.ts';
import { compareGuest } from './guest-compare.ts';
import { createGuestCpu } from './guest-cpu.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { tableForms } from './table-forms.ts';

const skip = hostUnavailable() ?? false;
const full = process.env.DOMUS_TEST_FULL === '1';

interface Family {
  readonly definitions: readonly Definition[];
  readonly atLeast: number;
  /** What the entries need of the host. */
  readonly features?: readonly string[];
}
const FAMILIES: Record<string, Family> = {
  integer: { definitions: [...arithmetic, ...moves, ...shift, ...bits, ...bmi], atLeast: 1000 },
  stack: { definitions: stack, atLeast: 50 },
  string: { definitions: strings, atLeast: 100 },
  x87: { definitions: x87, atLeast: 150 },
  'MMX and SSE': { definitions: sse, atLeast: 700 },
};
const VEX_FEATURES = ['avx', 'avx2', 'fma', 'f16c', 'bmi1', 'bmi2', 'aes', 'pclmulqdq'];
const ALL: [string, Family][] = Object.entries(FAMILIES).map(([name, family]) => [
  name,
  { ...family, definitions: family.definitions.filter(({ vex }) => !vex) },
]);
ALL.push(['VEX', { definitions: TABLE.filter(({ vex }) => vex), atLeast: 900, features: VEX_FEATURES }]);

for (const [name, { definitions, atLeast, features }] of ALL) {
  test(`${name} forms of our own table do what the host does`, { skip }, async t => {
    await using host = await openHostCpu();
    const lacking = (features ?? []).filter(feature => !host.features.cpu.has(feature));
    if (lacking.length > 0) return t.skip(`the host has no ${lacking.join(', ')}`);
    const forms = tableForms(definitions);
    assert.ok(forms.length >= atLeast, `only ${forms.length} forms`);
    for (const mode of [64, 32, 16] as const) assert.ok(forms.some(({ modes }) => modes.includes(mode)));
    const report = await compareGuest(forms, host, asRunner(createGuestCpu()), full ? 1000 : 4);
    t.diagnostic(`${forms.length} forms, ${report.cases} cases`);
    assert.deepEqual(report.failures, []);
  });
}
