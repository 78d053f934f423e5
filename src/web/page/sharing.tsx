/** What keeping identical pages once saves, and what looking for them may cost. */
import { useEffect, useState } from 'preact/hooks';
import type { SharingReport } from '../../toolstack/daemon/sharing-report.ts';
import { bytes } from './format.ts';
import { useStore } from './store.ts';

const LOOK_MS = 5000;

export function Sharing() {
  const { api } = useStore();
  const [report, setReport] = useState<SharingReport | undefined>();
  useEffect(() => {
    const look = () => void api.sharing().then(setReport, () => {});
    look();
    const timer = setInterval(() => {
      if (!document.hidden) look();
    }, LOOK_MS);
    return () => clearInterval(timer);
  }, [api]);
  return (
    <section class="card scrolls" aria-labelledby="sharing">
      <h2 id="sharing">Page sharing</h2>
      {report && <Report report={report} />}
      {report && <Budget cpuPercent={report.cpuPercent} onChange={setReport} />}
    </section>
  );
}

function Report({ report }: { readonly report: SharingReport }) {
  const { guests, pageBytes, storeBytes, processorTimeNs } = report;
  const rows = guests.flatMap(({ name, pages }) => (pages ? [{ name, pages }] : []));
  const saved = rows.reduce((sum, { pages }) => sum + pages.saved, 0) * pageBytes;
  return (
    <>
      <p class="quiet">
        Saves {bytes(saved)}. The scan has used {(processorTimeNs / 1e9).toFixed(1)} s of a processor, and{' '}
        {bytes(storeBytes)} for pages that are shared.
      </p>
      {rows.length > 0 && (
        <table class="sharing">
          <caption class="hidden">Memory that is shared, by machine</caption>
          <thead>
            <tr>
              <th scope="col">Machine</th>
              <th scope="col" class="number">
                Shared
              </th>
              <th scope="col" class="number">
                Zeros
              </th>
              <th scope="col" class="number">
                Saved
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ name, pages }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{bytes(pages.shared * pageBytes)}</td>
                <td class="number">{bytes(pages.zero * pageBytes)}</td>
                <td class="number">{bytes(pages.saved * pageBytes)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

interface BudgetProps {
  readonly cpuPercent: number;
  onChange(report: SharingReport): void;
}

function Budget({ cpuPercent, onChange }: BudgetProps) {
  const store = useStore();
  const send = (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = Number(new FormData(event.target as HTMLFormElement).get('percent'));
    void store.attempt(async () => {
      onChange(await store.api.setSharing(wanted));
      return wanted === 0 ? 'nothing more is shared' : `the scan may use ${wanted} % of a processor`;
    });
  };
  return (
    <form class="target" onSubmit={send}>
      <label for="percent">Processor for the scan, percent</label>
      <div class="joined">
        <input
          id="percent"
          name="percent"
          type="number"
          min={0}
          max={100}
          step="any"
          defaultValue={String(cpuPercent)}
          required
        />
        <button type="submit">Set</button>
      </div>
    </form>
  );
}
