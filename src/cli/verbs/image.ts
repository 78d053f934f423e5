/** `domus image`: what guests can have for a root. The work itself is in src/image and src/toolstack/images.ts. */
import { checkName } from '../../image/reference.ts';
import { GROUP_BYTES } from '../../image/rootfs/ext4/geometry.ts';
import { parseSize } from '../../toolstack/size.ts';
import { ExitCode } from '../exit-codes.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag, list, option } from '../options.ts';
import { outputOption } from '../output.ts';
import { createProgress } from '../progress.ts';
import { usage } from '../usage.ts';
import { verb } from '../verb.ts';
import { ACTIONS } from './image/actions.ts';

const options = {
  tag: option({
    name: 'tag',
    short: 't',
    placeholder: 'NAME',
    summary: 'build: name of the image in the store, NAME or NAME:TAG',
    parse: checkName,
  }),
  include: list({
    name: 'include',
    placeholder: 'PACKAGE,...',
    summary: 'build debian:SUITE: install these packages too; may be repeated',
    parse: text => text.split(',').filter(name => name !== ''),
  }),
  size: option({
    name: 'size',
    placeholder: 'SIZE',
    summary: 'build: what the root can grow to, a multiple of 128M (default 16G)',
    parse: text => Math.ceil(parseSize(text) / GROUP_BYTES) * GROUP_BYTES,
  }),
  output: outputOption,
  quiet: flag({ name: 'quiet', short: 'q', summary: 'show no progress' }),
};

export const image = verb({
  name: 'image',
  summary: 'List, fetch, build and remove root file systems for guests',
  operands: `${Object.keys(ACTIONS).join('|')} ...`,
  options,
  notes: [
    Object.values(ACTIONS)
      .map(({ usage: line, summary }) => `  ${line.padEnd(24)} ${summary}`)
      .join('\n'),
    'Examples:\n' +
      '  domus image pull debian:12\n' +
      '  domus image build -t build-box debian:12 --include gcc,make\n' +
      '  domus run build-box:latest -- gcc --version',
  ],
  async run(context, values, operands) {
    const [name, ...rest] = operands;
    const action = name === undefined ? undefined : ACTIONS[name];
    if (!action) {
      throw usage(
        name === undefined ? 'image needs to know what to do' : `image cannot "${name}"`,
        `use one of ${Object.keys(ACTIONS).join(', ')}`,
      );
    }
    const [min, max] = action.operands;
    if (rest.length < min || rest.length > max) {
      throw usage(`image ${name} does not take ${rest.length} operands`, `write domus image ${action.usage}`);
    }
    const progress = createProgress(context, values.quiet);
    using interrupts = watchInterrupts();
    await using host = await context.openHost({});
    try {
      const result = await action.run({
        images: host.images,
        operands: rest,
        values,
        signal: interrupts.signal,
        progress: (name, detail, done, total) => progress.show({ name, detail, done, total }),
      });
      progress.clear();
      await context.print(values.output === 'json' ? `${JSON.stringify(result.json)}\n` : result.text);
      return result.exitCode ?? ExitCode.ok;
    } finally {
      progress.clear();
    }
  },
});
