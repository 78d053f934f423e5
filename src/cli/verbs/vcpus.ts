/** `domus vcpu-list`, `vcpu-set` and `vcpu-pin`. */
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import type { VcpuFacts } from '../../toolstack/domain-control.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable, seconds } from '../table.ts';
import { verb } from '../verb.ts';
import { askingVerb } from './asking-verb.ts';
import { namedGuests, numberOperand } from './guest-operand.ts';

interface Row {
  readonly guest: GuestView;
  readonly vcpu: VcpuFacts;
}

/** `0-2,4`, or `all`. */
export function pcpusText(pcpus: readonly number[] | undefined): string {
  if (!pcpus) return 'all';
  const runs: [number, number][] = [];
  for (const pcpu of pcpus) {
    const last = runs.at(-1);
    if (last && last[1] === pcpu - 1) last[1] = pcpu;
    else runs.push([pcpu, pcpu]);
  }
  return runs.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(',');
}

const COLUMNS: readonly Column<Row>[] = [
  { name: 'Name', width: 24, of: ({ guest }) => guest.name },
  { name: 'ID', width: 4, isRight: true, of: ({ guest }) => String(guest.id) },
  { name: 'VCPU', width: 5, isRight: true, of: ({ vcpu }) => String(vcpu.id) },
  { name: 'CPU', width: 5, isRight: true, of: ({ vcpu }) => String(vcpu.pcpu ?? '-') },
  {
    name: 'State',
    width: 6,
    of: ({ vcpu: { state, isOnline } }) =>
      ` ${isOnline ? `${state === 'r' ? 'r' : '-'}${state === 'b' ? 'b' : '-'}${state === 'p' ? 'p' : '-'}` : '--p'}`,
  },
  { name: 'Time(s)', width: 9, isRight: true, of: ({ vcpu }) => seconds(vcpu.cpuTimeNs) },
  { name: 'Affinity (Hard / Soft)', width: 0, of: ({ vcpu }) => `${pcpusText(vcpu.affinity)} / all` },
];

export const vcpuList = verb({
  name: 'vcpu-list',
  summary: 'List the vCPUs of guests',
  operands: '[NAME...]',
  options: { output: outputOption },
  notes: ['CPU is the pCPU that has it at this moment. There is no soft affinity.'],
  async run(context, values, operands) {
    const rows: Row[] = (await namedGuests(context, operands)).flatMap(guest =>
      (guest.domain?.vcpus ?? []).map(vcpu => ({ guest, vcpu })),
    );
    if (values.output === 'json') {
      const all = rows.map(({ guest: { id, name }, vcpu: { id: number, ...facts } }) => ({
        ...{ id, name, vcpu: number },
        ...facts,
      }));
      await context.print(`${JSON.stringify(all)}\n`);
    } else await context.print(formatTable(COLUMNS, rows));
    return 0;
  },
});

export const vcpuSet = askingVerb({
  name: 'vcpu-set',
  summary: 'Ask a guest to use so many of its vCPUs',
  operands: ['NAME', 'COUNT'],
  notes: [
    'The guest does it when it likes; "domus vcpu-list" shows it. It cannot have more than it was started with.',
  ],
  ask(guest, count) {
    const vcpusOnline = numberOperand('number of vCPUs', count);
    return daemon => daemon.change(guest, { vcpusOnline });
  },
});

export const vcpuPin = askingVerb({
  name: 'vcpu-pin',
  summary: 'Let vCPUs run on some pCPUs only',
  operands: ['NAME', 'VCPU|all', 'PCPUS'],
  notes: ['PCPUS are written 0-1,3 or all or all,^0. A guest has those that it was started with (--pcpus).'],
  ask(guest, vcpu, pcpus) {
    const cpus = vcpu === 'all' ? pcpus : { [numberOperand('number of a vCPU', vcpu)]: pcpus };
    return daemon => daemon.change(guest, { cpus });
  },
});
