/** Every MMX and SSE instruction in 64-bit mode against the host's processor: registers, MXCSR, flags, memory, faults. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { compareForm, formatFailure } from '../../../test/oracle/compare.ts';
import { openEngineCpu } from '../../../test/oracle/engine-cpu.ts';
import { hostUnavailable, openHostCpu } from '../../../test/oracle/host-cpu.ts';
import { icedForms } from '../../../test/oracle/iced-forms.ts';
import type { CaseRunner, MachineCase } from '../../../test/oracle/machine-case.ts';
import { copyState, D, Flag } from '../../../test/oracle/machine-state.ts';

const CASES = 48;
const FEATURES = new Set('mmx sse sse2 pni ssse3 sse4_1 sse4_2 aes pclmulqdq'.split(' '));
/** Defined elsewhere: fences, FISTTP, prefetches. */
const OTHERS = /^(.fence|fisttp|prefetch)/;
const SS = 12;
const GP = 13;

const built = existsSync(join(import.meta.dirname, '../../../dist/interpreter.wasm'));
const skip = hostUnavailable() ?? (built ? false : 'dist/ is not built');

/** Alignment checks (EFLAGS.AC) are not a matter of these instructions. */
const withoutAlignmentCheck = (test: MachineCase): MachineCase => {
  const state = copyState(test.state);
  state.u32[D.rflags]! &= ~Flag.ac;
  return { ...test, state };
};

test('vector instructions do what the host does', { skip }, async t => {
  await using host = await openHostCpu();
  const engine = openEngineCpu();
  const expected: CaseRunner = { run: cases => host.run(cases.map(withoutAlignmentCheck)) };
  const actual: CaseRunner = {
    async run(cases) {
      const wanted = await expected.run(cases);
      return Promise.all(
        cases.map(async (machineCase, i) => {
          const result = await engine.run(withoutAlignmentCheck(machineCase));
          // A non-canonical address through the stack segment: which of the two is the memory's business.
          return wanted[i]!.vector === SS && result.vector === GP ? wanted[i]! : result;
        }),
      );
    },
  };
  const failures: string[] = [];
  let forms = 0;
  for (const form of icedForms()) {
    if (!form.modes.includes(64) || OTHERS.test(form.mnemonic)) continue;
    if (!form.hostFeatures.some(name => FEATURES.has(name))) continue;
    if (!form.hostFeatures.every(name => host.features.cpu.has(name))) continue;
    forms++;
    const report = await compareForm(form, 64, expected, actual, { cases: CASES });
    if (report.first)
      failures.push(`${form.name}: ${report.failures} of ${report.cases}\n${formatFailure(report.first)}`);
  }
  t.diagnostic(`${forms} forms`);
  assert.ok(forms > 250);
  assert.deepEqual(failures, []);
});
