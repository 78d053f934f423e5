/** `domus version`: what this is, and what it runs on. */
import { readPackageVersion } from '../../platform/node/files.ts';
import { runtimeVersion } from '../../platform/node/host-info.ts';
import { outputOption } from '../output.ts';
import { verb } from '../verb.ts';

export const version = verb({
  name: 'version',
  summary: 'Show the version of Domus and of its runtime',
  operands: '',
  options: {
    output: outputOption,
  },
  async run(context, values) {
    const facts = { domus: readPackageVersion(), ...runtimeVersion() };
    if (values.output === 'json') await context.print(`${JSON.stringify(facts)}\n`);
    else await context.print(`domus ${facts.domus} (Node ${facts.node}, V8 ${facts.v8})\n`);
    return 0;
  },
});
