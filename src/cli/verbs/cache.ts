/** `domus cache`: where downloaded packages and unpacked kernels are kept, and how to be rid of them. */

import { DomusError } from '../../base/errors.ts';
import { defaultCacheFolder } from '../../platform/node/cache-folder.ts';
import { folderSize, removeEntries } from '../../platform/node/host-info.ts';
import { formatSize } from '../../toolstack/config.ts';
import { outputOption } from '../output.ts';
import { verb } from '../verb.ts';

/** What src/image keeps in the folder. DOMUS_CACHE may point anywhere: what else lies there is not ours to remove. */
const ENTRIES = [
  'objects',
  'records',
  'kernels',
  'images',
  'roots',
  'blobs',
  'runs',
  'locks',
  'scratch',
  'apt',
  'regions',
  'prepared',
  'program',
  'trails',
];

export const cache = verb({
  name: 'cache',
  summary: 'Show the cache of kernels and packages, or empty it',
  operands: '[clean]',
  options: {
    output: outputOption,
  },
  notes: ['The folder is DOMUS_CACHE, else XDG_CACHE_HOME/domus, else ~/.cache/domus.'],
  async run(context, values, operands) {
    const [action, ...rest] = operands;
    if (rest.length > 0 || (action !== undefined && action !== 'clean')) {
      throw new DomusError(
        'E_USAGE',
        `cache cannot "${operands.join(' ')}"`,
        'use "domus cache" or "domus cache clean"',
      );
    }
    const folder = defaultCacheFolder();
    const sizeBytes = await folderSize(folder);
    if (action === 'clean') await removeEntries(folder, ENTRIES);
    if (values.output === 'json') {
      const facts = action === 'clean' ? { folder, freedBytes: sizeBytes } : { folder, sizeBytes };
      await context.print(`${JSON.stringify(facts)}\n`);
    } else {
      const verbText = action === 'clean' ? 'emptied, freed' : '';
      await context.print(`${[`${folder}:`, verbText, formatSize(sizeBytes)].filter(Boolean).join(' ')}\n`);
    }
    return 0;
  },
});
