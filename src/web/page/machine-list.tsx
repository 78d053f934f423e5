/** The machines, at the side of everything. */
import { Sparkline } from './chart.tsx';
import { percent } from './format.ts';
import { PlusIcon } from './icons.tsx';
import { machinePath } from './route.ts';
import { State } from './state.tsx';
import { useStore } from './store.ts';

interface Props {
  readonly current: string | undefined;
  onCreate(): void;
}

export function MachineList({ current, onCreate }: Props) {
  const { guests, history } = useStore();
  return (
    <nav class="side" aria-label="Machines">
      <button type="button" class="primary" onClick={onCreate}>
        <PlusIcon />
        New machine
      </button>
      <ul>
        <li>
          <a href="#/" class="side-link" aria-current={current === undefined ? 'page' : undefined}>
            All machines
          </a>
        </li>
        {guests.map(guest => {
          const samples = history.samples(guest.id);
          const cpu = guest.domain ? samples.at(-1)?.cpu : undefined;
          return (
            <li key={guest.id}>
              <a
                href={machinePath(guest.name)}
                class="side-link"
                aria-current={current === guest.name ? 'page' : undefined}
              >
                <span class="side-name">{guest.name}</span>
                <State guest={guest} />
                {guest.domain && <Sparkline samples={samples} />}
                {cpu !== undefined && (
                  <span class="side-cpu">
                    <span class="hidden">CPU </span>
                    {percent(cpu)}
                  </span>
                )}
              </a>
            </li>
          );
        })}
      </ul>
    </nav>
  );
}
