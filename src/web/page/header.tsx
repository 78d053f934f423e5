/** What the host has, at the top of everything. */
import { bytes, percent, plural } from './format.ts';
import { Mark } from './icons.tsx';
import { useStore } from './store.ts';

export function Header() {
  const { info, history } = useStore();
  const cpu = history.hostSamples.at(-1)?.cpu;
  return (
    <header class="top">
      <a class="brand" href="#/">
        <Mark />
        Domus
      </a>
      {info && (
        <dl class="host" aria-label="Host">
          <Fact name="Running" value={`${info.nrRunning} of ${plural(info.nrGuests, 'machine')}`} />
          <Fact
            name="CPU"
            value={cpu === undefined ? '…' : `${percent(cpu)} of ${plural(info.nrCpus, 'core')}`}
          />
          <Fact
            name="Memory"
            value={`${bytes(info.processMemoryBytes)} used, ${bytes(info.freeMemoryBytes)} free`}
          />
          <Fact name="Version" value={info.version} />
        </dl>
      )}
    </header>
  );
}

const Fact = ({ name, value }: { readonly name: string; readonly value: string }) => (
  <div>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
);
