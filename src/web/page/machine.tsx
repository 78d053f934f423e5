/** One machine: what it is, what it does, and ways into it. */
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { Chart } from './chart.tsx';
import { Events } from './events.tsx';
import { bytes, percent, rate } from './format.ts';
import { Log } from './log.tsx';
import { MachineButtons } from './machine-buttons.tsx';
import { MemoryView } from './memory-view.tsx';
import { uptime } from './overview.tsx';
import { go, machinePath, type Tab } from './route.ts';
import { State } from './state.tsx';
import { useStore } from './store.ts';
import { Tabs } from './tabs.tsx';
import { TerminalView } from './terminal-view.tsx';

interface Props {
  readonly guest: GuestView;
  readonly tab: Tab;
}

const TAB_LABELS = [
  { name: 'overview', label: 'Overview' },
  { name: 'terminal', label: 'Terminal' },
  { name: 'memory', label: 'Memory' },
  { name: 'log', label: 'Log' },
] as const;

export function Machine({ guest, tab }: Props) {
  return (
    <>
      <div class="title">
        <h1>{guest.name}</h1>
        <State guest={guest} />
        <MachineButtons guest={guest} />
      </div>
      <Tabs
        label={`Views of ${guest.name}`}
        tabs={TAB_LABELS}
        current={tab}
        choose={name => go(machinePath(guest.name, name))}
      >
        {tab === 'overview' && <Facts guest={guest} />}
        {tab === 'terminal' && <TerminalView guest={guest} />}
        {tab === 'memory' && <MemoryView guest={guest} />}
        {tab === 'log' && <Log guest={guest} />}
      </Tabs>
    </>
  );
}

function Facts({ guest }: { readonly guest: GuestView }) {
  const { history } = useStore();
  const samples = history.samples(guest.id);
  const of = (key: keyof (typeof samples)[number]) => samples.map(sample => sample[key]);
  const { domain, share } = guest;
  const facts: readonly (readonly [string, string | undefined])[] = [
    ['Number', String(guest.id)],
    ['Made of', guest.image ?? (guest.parent ? `a clone of ${guest.parent}` : 'Debian kernel and busybox')],
    ['Command', guest.command?.join(' ')],
    [
      'Memory',
      domain
        ? `${bytes(domain.memoryBytes)}, ${bytes(domain.memoryMaxBytes)} at most`
        : bytes(guest.memoryBytes),
    ],
    ['Created', new Date(guest.createdAt).toLocaleString()],
    ['Up for', domain && guest.startedAt ? uptime(guest.startedAt) : undefined],
    ['Ended', guest.endedAt && new Date(guest.endedAt).toLocaleString()],
    ['Because', guest.reason],
    ['Exit code', guest.exitCode === undefined ? undefined : String(guest.exitCode)],
    ['Share', share && `weight ${share.weight}, ${share.cap === 0 ? 'no cap' : `cap ${share.cap} %`}`],
    [
      'Labels',
      guest.labels &&
        Object.entries(guest.labels)
          .map(pair => pair.join('='))
          .join(', '),
    ],
    ['UUID', guest.uuid],
  ];
  return (
    <>
      {domain && (
        <div class="charts">
          <Chart
            times={of('atMs')}
            title="CPU"
            curves={[{ name: '', values: of('cpu') }]}
            least={100}
            format={percent}
          />
          <Chart
            times={of('atMs')}
            title="Memory"
            curves={[
              { name: 'used', values: of('residentBytes') },
              { name: 'of', values: of('memoryBytes') },
            ]}
            least={2 ** 20}
            format={bytes}
          />
          <Chart
            times={of('atMs')}
            title="Disk"
            curves={[
              { name: 'read', values: of('diskRead') },
              { name: 'written', values: of('diskWritten') },
            ]}
            least={64 * 1024}
            format={rate}
          />
          <Chart
            times={of('atMs')}
            title="Network"
            curves={[
              { name: 'in', values: of('netReceived') },
              { name: 'out', values: of('netSent') },
            ]}
            least={64 * 1024}
            format={rate}
          />
        </div>
      )}
      <div class="columns">
        <section class="card" aria-labelledby="facts">
          <h2 id="facts">Facts</h2>
          <dl class="facts">
            {facts.map(
              ([name, value]) =>
                value && (
                  <div key={name}>
                    <dt>{name}</dt>
                    <dd>{value}</dd>
                  </div>
                ),
            )}
          </dl>
          {domain && <Vcpus domain={domain} />}
        </section>
        <Events id={guest.id} shown={100} />
      </div>
    </>
  );
}

const VCPU_STATES: Readonly<Record<string, string>> = { r: 'runs', b: 'waits', p: 'paused' };

function Vcpus({ domain }: { readonly domain: NonNullable<GuestView['domain']> }) {
  return (
    <table class="vcpus">
      <caption>vCPUs</caption>
      <thead>
        <tr>
          <th scope="col">Number</th>
          <th scope="col">State</th>
          <th scope="col">pCPU</th>
          <th scope="col" class="number">
            Time
          </th>
        </tr>
      </thead>
      <tbody>
        {domain.vcpus.map(({ id, isOnline, state, pcpu, cpuTimeNs }) => (
          <tr key={id}>
            <th scope="row">{id}</th>
            <td>{isOnline ? (VCPU_STATES[state] ?? state) : 'offline'}</td>
            <td>{pcpu ?? '–'}</td>
            <td class="number">{(cpuTimeNs / 1e9).toFixed(1)} s</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
