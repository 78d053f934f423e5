/** `domus doctor`: what this machine can and cannot do for Domus, each line with a remedy. */

import { type Check, runChecks } from '../doctor-checks.ts';
import { ExitCode } from '../exit-codes.ts';
import { outputOption } from '../output.ts';
import { verb } from '../verb.ts';

function line(check: Check, width: number, isPlain: boolean): string {
  const colour = { ok: 32, warn: 33, fail: 31, info: 36 }[check.status];
  const word = check.status.padEnd(4);
  const status = isPlain ? word : `\x1b[${colour}m${word}\x1b[39m`;
  const remedy = check.remedy ? `\n${' '.repeat(width + 7)}-> ${check.remedy}` : '';
  return `${status} ${check.name.padEnd(width)}  ${check.found}${remedy}`;
}

export const doctor = verb({
  name: 'doctor',
  summary: 'Check what this machine can do for Domus, and say what to mend',
  operands: '',
  options: {
    output: outputOption,
  },
  notes: [
    'Exit code 0 when everything that is needed is there, else 1. Lines marked warn and info do not count.',
  ],
  async run(context, values) {
    const checks = await runChecks();
    const isOk = checks.every(check => check.status !== 'fail');
    if (values.output === 'json') {
      await context.print(`${JSON.stringify({ ok: isOk, checks }, null, 2)}\n`);
    } else {
      const width = Math.max(...checks.map(check => check.name.length));
      const isPlain = !context.terminal.isOutputTerminal || Boolean(context.env.NO_COLOR);
      await context.print(`${checks.map(check => line(check, width, isPlain)).join('\n')}\n`);
    }
    return isOk ? ExitCode.ok : ExitCode.failed;
  },
});
