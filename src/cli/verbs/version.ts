/** `domus version`: what this is, and what it runs on. */
import { readPackageVersion } from '../../platform/node/files.ts';
import { runtimeVersion } from '../../platform/node/host-info.ts';
import { option } from '../options.ts';
import { parseOutputFormat } from '../output.ts';
import { verb } from '../verb.ts';

export const version = verb({
  name: 'version',
  summary: 'Show the version of Domus and of its runtime',
  operands: '',
  options: {
    output: option({
      name: 'output',
      short: 'o',
      placeholder: 'FORMAT',
      summary: 'text (default) or json',
      parse: parseOutputFormat,
    }),
  },
  async run(context, values) {
    const facts = { domus: readPackageVersion(), ...runtimeVersion() };
    if (values.output === 'json') await context.print(`${JSON.stringify(facts)}\n`);
    else await context.print(`domus ${facts.domus} (Node ${facts.node}, V8 ${facts.v8})\n`);
    return 0;
  },
});
