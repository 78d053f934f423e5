/** Paging, exceptions, modes and processors against QEMU: the same test kernel on both, the same log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareLogs } from './compare.ts';
import { CORRECTIONS, EXEMPTIONS, GAPS } from './deviations.ts';
import { CORRECTIONS_32, EXEMPTIONS_32 } from './deviations32.ts';
import { buildKernel, hasQemu, missingTools, runOnDomus, runOnQemu } from './harness.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';

interface Part {
  readonly name: string;
  readonly more?: readonly string[];
  readonly vcpus?: number;
  readonly bits?: 32;
}

const PARTS: readonly Part[] = [
  { name: 'exceptions' },
  { name: 'paging' },
  { name: 'privileges' },
  { name: 'modes' },
  { name: 'processors', more: ['trampoline.S'], vcpus: 4 },
  { name: 'paging32', bits: 32 },
  { name: 'exceptions32', bits: 32 },
  { name: 'gates32', bits: 32 },
  { name: 'modes32', bits: 32 },
];

const missing = missingTools();

for (const { name, more, vcpus, bits } of PARTS) {
  test(`${name}: Domus and QEMU agree`, { skip: missing ?? false }, context => {
    const kernel = buildKernel({
      sources: [
        ...(bits === 32 ? ['entry32.S', 'kernel32.c'] : ['entry64.S', 'kernel.c']),
        `${name}.c`,
        ...(more ?? []),
      ],
      bits,
      cases: `${isFull ? 'is_full=1;' : ''}${name}()`,
    });
    try {
      const domus = runOnDomus(kernel.path, vcpus);
      assert.equal(domus.problem, undefined, `Domus: ${domus.problem}, after ${domus.lines.at(-1)}`);
      if (!hasQemu()) {
        context.skip(
          'qemu-system-x86_64 is not installed; the kernel ran on Domus, but nothing was compared',
        );
        return;
      }
      const qemu = runOnQemu(kernel.path, vcpus);
      assert.equal(qemu.problem, undefined, `${qemu.problem}, after ${qemu.lines.at(-1)}`);
      const { differences, used, lines } = compareLogs(
        domus.lines,
        qemu.lines,
        bits === 32 ? CORRECTIONS_32 : CORRECTIONS,
        bits === 32 ? EXEMPTIONS_32 : EXEMPTIONS,
        GAPS,
      );
      context.diagnostic(`${lines} lines`);
      for (const [reason, count] of used) context.diagnostic(`${count} × ${reason}`);
      const shown = differences
        .slice(0, 20)
        .map(d => `${d.line} [${d.section}]\n  Domus ${d.domus}\n  QEMU  ${d.qemu}`);
      assert.equal(differences.length, 0, `${differences.length} differences\n${shown.join('\n')}`);
    } finally {
      kernel.remove();
    }
  });
}

test('a hardware task switch crashes the domain and says so', { skip: missing ?? false }, () => {
  for (const [way, name] of ['task gate', 'jump', 'call', 'IRET'].entries()) {
    const kernel = buildKernel({
      sources: ['entry32.S', 'kernel32.c', 'tasks32.c'],
      cases: `tasks32(${way})`,
      bits: 32,
    });
    try {
      const { problem } = runOnDomus(kernel.path);
      assert.match(
        problem ?? '',
        /^crashed: vCPU 0: unsupported hardware task switch at rip 0x[0-9a-f]+$/,
        name,
      );
    } finally {
      kernel.remove();
    }
  }
});
