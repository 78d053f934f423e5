/** `domus vhd`: makes, examines and changes disk images. The work itself is in src/disk. */
import { parseImageFormat } from '../../disk/format.ts';
import { nodeDiskHost } from '../../toolstack/disk-host.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag, option } from '../options.ts';
import { outputOption } from '../output.ts';
import { createProgress } from '../progress.ts';
import { usage } from '../usage.ts';
import { verb } from '../verb.ts';
import { ACTIONS } from './vhd/actions.ts';

function parseTarget(text: string): 'vhd' | 'raw' {
  const format = parseImageFormat(text);
  if (format === 'vhd' || format === 'raw') return format;
  throw usage(`${format} images are only read`, 'write to vhd or raw');
}

const options = {
  format: option({
    name: 'format',
    short: 'f',
    placeholder: 'FORMAT',
    summary: 'format of FILE: vhd, raw, qcow2 or vhdx (default: as its name and contents say)',
    parse: parseImageFormat,
  }),
  to: option({
    name: 'to',
    placeholder: 'FORMAT',
    summary: 'create, convert: format of the new image, vhd or raw (default: as its name says, else vhd)',
    parse: parseTarget,
  }),
  fixed: flag({
    name: 'fixed',
    summary: 'create, convert: a fixed VHD, as large as the disk, instead of a dynamic one',
  }),
  repair: flag({ name: 'repair', summary: 'check: mend what can be mended' }),
  child: option({
    name: 'child',
    placeholder: 'FILE',
    summary: 'coalesce: the image that builds on FILE, when it is in another folder',
    parse: text => text,
  }),
  output: outputOption,
  quiet: flag({ name: 'quiet', short: 'q', summary: 'show no progress' }),
};

export const vhd = verb({
  name: 'vhd',
  summary: 'Create, examine, snapshot and convert disk images',
  operands: `${Object.keys(ACTIONS).join('|')} FILE...`,
  options,
  notes: [
    Object.values(ACTIONS)
      .map(({ usage: line, summary }) => `  ${line.padEnd(24)} ${summary}`)
      .join('\n'),
    'Examples:\n' +
      '  domus vhd create disk.vhd 10G\n' +
      '  domus vhd snapshot disk.vhd before-upgrade.vhd\n' +
      '  domus vhd convert disk.vhd disk.raw',
  ],
  async run(context, values, operands) {
    const [name, ...files] = operands;
    const action = name === undefined ? undefined : ACTIONS[name];
    if (!action) {
      const names = Object.keys(ACTIONS).join(', ');
      throw usage(
        name === undefined ? 'vhd needs to know what to do' : `vhd cannot "${name}"`,
        `use one of ${names}`,
      );
    }
    const wanted = action.usage.split(' ').length - 1;
    if (files.length !== wanted) {
      throw usage(
        `vhd ${name} needs ${wanted} operands, not ${files.length}`,
        `write domus vhd ${action.usage}`,
      );
    }
    const progress = createProgress(context, values.quiet);
    using interrupts = watchInterrupts();
    try {
      const result = await action.run({
        host: nodeDiskHost(),
        files,
        values,
        signal: interrupts.signal,
        onProgress: (done, total) =>
          progress.show({ name: name as string, detail: files[0] as string, done, total }),
      });
      progress.clear();
      await context.print(values.output === 'json' ? `${JSON.stringify(result.json)}\n` : result.text);
      return result.exitCode ?? 0;
    } finally {
      progress.clear();
    }
  },
});
