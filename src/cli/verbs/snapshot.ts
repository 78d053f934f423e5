/** `domus snapshot`: states of running guests under names of their own. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { listSnapshots, newSnapshotPath, removeSnapshot, type Snapshot } from '../../toolstack/snapshots.ts';
import { outputOption } from '../output.ts';
import { verb } from '../verb.ts';

const mebibytes = (bytes: number): string => String(Math.round(bytes / 2 ** 20));

function table(snapshots: readonly Snapshot[]): string {
  const row = (name: string, mem: string, vcpus: string, size: string) =>
    `${name.padEnd(24)} ${mem.padStart(6)} ${vcpus.padStart(5)} ${size.padStart(6)}`;
  const rows = snapshots.map(({ name, memoryBytes, vcpus, sizeBytes }) =>
    row(name, mebibytes(memoryBytes), String(vcpus), mebibytes(sizeBytes)),
  );
  return `${[row('Name', 'Mem', 'VCPUs', 'File'), ...rows].join('\n')}\n`;
}

export const snapshot = verb({
  name: 'snapshot',
  summary: 'Keep the state of a running guest under a name; list and remove such states',
  operands: 'GUEST NAME | list | rm NAME...',
  options: {
    output: outputOption,
  },
  notes: [
    'The guest goes on. "domus run --from NAME -- COMMAND" and "domus restore NAME" go on from the state.',
    'Mem and File are in MiB.',
  ],
  async run(context, values, operands) {
    const { stateFolder } = context.daemon;
    const [first, ...names] = operands;
    const isJson = values.output === 'json';
    if (first === 'list' && names.length === 0) {
      const found = await listSnapshots(stateFolder);
      await context.print(isJson ? `${JSON.stringify(found)}\n` : table(found));
      return 0;
    }
    if (first === 'rm' && names.length > 0) {
      for (const name of names) await removeSnapshot(name, stateFolder);
      return 0;
    }
    const [name] = names;
    if (first === undefined || name === undefined || names.length > 1) {
      throw new DomusError(
        'E_USAGE',
        'snapshot needs a guest and a name for its state, or "list", or "rm" and names',
        '"domus list" shows the guests',
      );
    }
    const path = await newSnapshotPath(name, stateFolder);
    await (await Daemon.connect(context.daemon)).save(first, path, false);
    if (isJson) {
      const made = (await listSnapshots(stateFolder)).find(each => each.name === name);
      await context.print(`${JSON.stringify(made)}\n`);
    }
    return 0;
  },
});
