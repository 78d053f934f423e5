/** `domus block-list`, `block-attach`, `block-detach`, and what is done to disks of a guest while it runs. */
import { DomusError } from '../../base/errors.ts';
import { absolutePath } from '../../platform/node/cache-folder.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { DiskAction, DiskView } from '../../toolstack/daemon/guest-disks.ts';
import { parseDiskSpec } from '../../toolstack/disk-spec.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable, mebibytes } from '../table.ts';
import { type Verb, verb } from '../verb.ts';
import { type OfGuest, ofRunningGuests, operandsOf } from './guest-operand.ts';

const COLUMNS: readonly Column<OfGuest<DiskView>>[] = [
  { name: 'Name', width: 24, of: ({ name }) => name },
  { name: 'ID', width: 4, isRight: true, of: ({ id }) => String(id) },
  { name: 'Device', width: 6, of: ({ device }) => device },
  { name: 'Mode', width: 4, of: ({ isReadOnly }) => (isReadOnly ? 'ro' : 'rw') },
  { name: 'Size', width: 8, isRight: true, of: ({ sizeBytes }) => mebibytes(sizeBytes) },
  { name: 'Read', width: 7, isRight: true, of: ({ readBytes }) => mebibytes(readBytes) },
  { name: 'Written', width: 7, isRight: true, of: ({ writtenBytes }) => mebibytes(writtenBytes) },
  { name: 'File', width: 0, of: ({ files }) => files[0] ?? '' },
];

export const blockList = verb({
  name: 'block-list',
  summary: 'List the disks of guests',
  operands: '[NAME...]',
  options: { output: outputOption },
  notes: ['Size, Read and Written are in MiB. "-o json" also says which files a disk builds on.'],
  async run(context, values, operands) {
    const rows = await ofRunningGuests(context, operands, (daemon, guest) => daemon.disks(guest));
    await context.print(values.output === 'json' ? `${JSON.stringify(rows)}\n` : formatTable(COLUMNS, rows));
    return 0;
  },
});

export const blockAttach = verb({
  name: 'block-attach',
  summary: 'Plug a disk into a running guest',
  operands: 'NAME DISK...',
  options: { output: outputOption },
  notes: [
    'DISK is written as for "domus run --disk": FILE[,ro][,format=FORMAT][,dev=NAME]. Several words are one disk, as in xl.',
    'Prints the name that the guest has for it: the first that is free, unless DISK says another one.',
  ],
  async run(context, values, [guest, ...words]) {
    if (guest === undefined || words.length === 0)
      throw new DomusError(
        'E_USAGE',
        'block-attach needs a guest and a disk',
        'write domus block-attach NAME FILE',
      );
    const spec = parseDiskSpec(words.join(','));
    const daemon = await Daemon.connect(context.daemon);
    const disk = await daemon.attachDisk(guest, { ...spec, path: absolutePath(spec.path) });
    await context.print(values.output === 'json' ? `${JSON.stringify(disk)}\n` : `${disk.device}\n`);
    return 0;
  },
});

export const blockDetach = verb({
  name: 'block-detach',
  summary: 'Take a disk away from a running guest',
  operands: 'NAME DEVICE',
  options: { output: outputOption },
  notes: [
    'Unmount it first. What is on its way is done before, and its file is closed when the command ends.',
  ],
  async run(context, values, operands) {
    const [guest, device] = operandsOf('block-detach', operands, 'NAME', 'DEVICE');
    const daemon = await Daemon.connect(context.daemon);
    const disks = await daemon.detachDisk(guest, device);
    if (values.output === 'json') await context.print(`${JSON.stringify(disks)}\n`);
    return 0;
  },
});

function actionVerb(
  action: DiskAction['action'],
  what: 'FILE' | 'SIZE',
  summary: string,
  note: string,
): Verb {
  const name = `block-${action}`;
  return verb({
    name,
    summary,
    operands: `NAME DEVICE ${what}`,
    options: { output: outputOption },
    notes: [note],
    async run(context, values, operands) {
      const [guest, device, operand] = operandsOf(name, operands, 'NAME', 'DEVICE', what);
      const request: DiskAction =
        action === 'resize' ? { action, size: operand } : { action, path: absolutePath(operand) };
      const daemon = await Daemon.connect(context.daemon);
      const disk = await daemon.actOnDisk(guest, device, request);
      if (values.output === 'json') await context.print(`${JSON.stringify(disk)}\n`);
      return 0;
    },
  });
}

export const blockSnapshot = actionVerb(
  'snapshot',
  'FILE',
  'Keep what a disk of a running guest holds now as another file',
  'The guest goes on. What it has not written yet is missing, as after a cut of power; "sync" in it first is better.',
);
export const blockClone = actionVerb(
  'clone',
  'FILE',
  'A new disk with what a disk of a running guest holds now',
  'Both go on. What the guest has not written yet is missing, as after a cut of power; "sync" in it first is better.',
);
export const blockCoalesce = actionVerb(
  'coalesce',
  'FILE',
  'Merge a file that a disk of a running guest builds on into its parent',
  'The guest goes on, and writes meanwhile. "domus block-list -o json" shows the files.',
);
export const blockResize = actionVerb(
  'resize',
  'SIZE',
  'Give a disk of a running guest another size',
  'SIZE is the new one, or what is to be added: 20G, +5G. The guest sees it at once; its file system is its own to grow (resize2fs).',
);
