/** All machines, all snapshots, and what has happened. */
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { Sparkline } from './chart.tsx';
import { Events } from './events.tsx';
import { bytes, duration, percent } from './format.ts';
import { MachineButtons } from './machine-buttons.tsx';
import { machinePath } from './route.ts';
import { Sharing } from './sharing.tsx';
import { Snapshots } from './snapshots.tsx';
import { State } from './state.tsx';
import { useStore } from './store.ts';

interface Props {
  onCreate(): void;
  onStart(snapshot: string): void;
}

export function Overview({ onCreate, onStart }: Props) {
  const { guests, info } = useStore();
  return (
    <>
      <h1>All machines</h1>
      {guests.length === 0 && info && (
        <section class="empty card">
          <h2>No machines yet</h2>
          <p>
            A machine is an unmodified Linux kernel as a Xen guest. It takes a few seconds to boot, and needs
            no root and no hardware.
          </p>
          <button type="button" class="primary" onClick={onCreate}>
            Create the first one
          </button>
        </section>
      )}
      {guests.length > 0 && <MachineTable guests={guests} />}
      <div class="columns">
        <Events shown={200} />
        <div class="stack">
          <Snapshots onStart={onStart} />
          <Sharing />
        </div>
      </div>
    </>
  );
}

function MachineTable({ guests }: { readonly guests: readonly GuestView[] }) {
  const { history } = useStore();
  return (
    <section class="card scrolls">
      <table class="machines">
        <caption class="hidden">Machines, with their state and what they use</caption>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">State</th>
            <th scope="col" class="number">
              CPU
            </th>
            <th scope="col" class="number">
              Memory
            </th>
            <th scope="col" class="number">
              vCPUs
            </th>
            <th scope="col">Up for</th>
            <th scope="col">Runs</th>
            <th scope="col">
              <span class="hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {guests.map(guest => {
            const samples = history.samples(guest.id);
            const cpu = guest.domain ? samples.at(-1)?.cpu : undefined;
            return (
              <tr key={guest.id}>
                <th scope="row">
                  <a href={machinePath(guest.name)}>{guest.name}</a>
                  {guest.parent && <small>clone of {guest.parent}</small>}
                </th>
                <td>
                  <State guest={guest} />
                </td>
                <td class="cpu number">
                  {cpu !== undefined && (
                    <>
                      <Sparkline samples={samples} />
                      <span>{percent(cpu)}</span>
                    </>
                  )}
                </td>
                <td class="number">
                  {guest.domain && <>{bytes(guest.domain.residentBytes)} of </>}
                  {bytes(guest.domain?.memoryBytes ?? guest.memoryBytes)}
                </td>
                <td class="number">{guest.vcpus}</td>
                <td>{guest.domain && guest.startedAt ? uptime(guest.startedAt) : '–'}</td>
                <td class="runs">{guest.image ?? guest.command?.join(' ') ?? guest.reason ?? '–'}</td>
                <td>
                  <MachineButtons guest={guest} isSmall />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}

export const uptime = (startedAt: string): string => duration(Date.now() - Date.parse(startedAt));
