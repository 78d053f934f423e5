/** What a machine's memory is made of: a map, the sums beside it, and how much it is asked to have. */
import { useEffect, useState } from 'preact/hooks';
import type { DomainMemoryMap } from '../../hypervisor/memory-map.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { bytes, percent } from './format.ts';
import { MemoryMap } from './memory-map.tsx';
import { KINDS, kindText } from './page-kinds.ts';
import { errorText, useStore } from './store.ts';

const LOOK_MS = 1500;
const CELLS = 2048;

export function MemoryView({ guest }: { readonly guest: GuestView }) {
  const { api } = useStore();
  const [map, setMap] = useState<DomainMemoryMap | undefined>();
  const [failure, setFailure] = useState('');
  const { name } = guest;
  const runs = guest.domain !== undefined;
  useEffect(() => {
    if (!runs) return;
    let isOver = false;
    const look = async () => {
      try {
        const next = await api.memory(name, CELLS);
        if (!isOver) setMap(next);
        setFailure('');
      } catch (error) {
        setFailure(errorText(error));
      }
    };
    void look();
    const timer = setInterval(() => {
      if (!document.hidden) void look();
    }, LOOK_MS);
    return () => {
      isOver = true;
      clearInterval(timer);
    };
  }, [api, name, runs]);
  if (!runs) return <p class="quiet card">The machine does not run: it has no memory.</p>;
  return (
    <div class="memory">
      <section class="card" aria-labelledby="map">
        <h2 id="map">Memory map</h2>
        {failure && <p role="alert">{failure}</p>}
        {map && <MemoryMap map={map} name={name} />}
      </section>
      <section class="card" aria-labelledby="sums">
        <h2 id="sums">Made of</h2>
        {map && <Sums map={map} />}
        <Target guest={guest} />
      </section>
    </div>
  );
}

function Sums({ map }: { readonly map: DomainMemoryMap }) {
  const order = Object.keys(KINDS);
  const rank = (kind: string) => (order.includes(kind) ? order.indexOf(kind) : order.length);
  const rows = map.kinds
    .map((kind, i) => ({ kind, pages: map.totals[i] ?? 0 }))
    .filter(({ pages }) => pages > 0)
    .sort((a, b) => rank(a.kind) - rank(b.kind));
  return (
    <table class="sums">
      <caption class="hidden">Memory by kind of page</caption>
      <thead>
        <tr>
          <th scope="col">Kind</th>
          <th scope="col" class="number">
            Size
          </th>
          <th scope="col" class="number">
            Part
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ kind, pages }) => (
          <tr key={kind}>
            <th scope="row">
              <span class={`swatch kind-${kind}`} aria-hidden="true" />
              {kindText(kind).label}
              <small class="sum-meaning">{kindText(kind).meaning}</small>
            </th>
            <td class="number">{bytes(pages * map.pageBytes)}</td>
            <td class="number">{percent((100 * pages) / map.pages)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The balloon: memory that the machine is asked to have. */
function Target({ guest }: { readonly guest: GuestView }) {
  const store = useStore();
  const { name, domain, balance } = guest;
  if (!domain) return null;
  const mebibytes = (value: number) => Math.round(value / 2 ** 20);
  const send = (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = Number(new FormData(event.target as HTMLFormElement).get('target'));
    void store.attempt(async () => {
      await store.api.change(name, { memoryTarget: wanted * 2 ** 20 });
      return `${name} is asked to have ${wanted} MiB`;
    });
  };
  return (
    <form class="target" onSubmit={send}>
      <label for="target">Asked to have, MiB</label>
      <div class="joined">
        <input
          id="target"
          name="target"
          type="number"
          min={32}
          max={mebibytes(domain.memoryMaxBytes)}
          defaultValue={String(mebibytes(balance?.usualBytes ?? domain.memoryTargetBytes))}
          required
        />
        <button type="submit">Set</button>
      </div>
      <small class="quiet">
        It has {bytes(domain.memoryBytes)}, and can have {bytes(domain.memoryMaxBytes)}.
        {balance &&
          ` Its memory goes by need: ${bytes(balance.minBytes)} at least, ${bytes(balance.usualBytes)} as long as nobody needs it more.`}
        {balance?.neededBytes !== undefined && ` It needs ${bytes(balance.neededBytes)}.`}
      </small>
    </form>
  );
}
