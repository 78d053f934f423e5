/** States of machines that are kept by name. */
import { useEffect } from 'preact/hooks';
import { bytes, plural } from './format.ts';
import { DestroyIcon, ResumeIcon } from './icons.tsx';
import { useStore } from './store.ts';

export function Snapshots({ onStart }: { onStart(snapshot: string): void }) {
  const store = useStore();
  useEffect(() => {
    store.lookAtSnapshots().catch(() => {});
  }, [store]);
  const remove = (name: string) =>
    void store.attempt(async () => {
      await store.api.removeSnapshot(name);
      await store.lookAtSnapshots();
      return `the snapshot ${name} is removed`;
    });
  return (
    <section class="card" aria-labelledby="snapshots">
      <h2 id="snapshots">Snapshots</h2>
      {store.snapshots.length === 0 && (
        <p class="quiet">
          None yet. A snapshot keeps a running machine as it is, to go on from as often as you like.
        </p>
      )}
      <ul class="snapshots">
        {store.snapshots.map(({ name, memoryBytes, vcpus, sizeBytes }) => (
          <li key={name}>
            <span>
              <b>{name}</b>
              <small>
                {bytes(memoryBytes)}, {plural(vcpus, 'vCPU')}; file {bytes(sizeBytes)}
              </small>
            </span>
            <span class="buttons small">
              <button type="button" onClick={() => onStart(name)}>
                <ResumeIcon />
                Start<span class="hidden"> from {name}</span>
              </button>
              <button
                type="button"
                class="danger-quiet"
                title={`Remove ${name}`}
                aria-label={`Remove ${name}`}
                onClick={() => remove(name)}
              >
                <DestroyIcon />
              </button>
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
