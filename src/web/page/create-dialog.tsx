/** A new machine: of Debian's kernel and a small userland, of an image, or of a snapshot. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Phase } from '../../toolstack/boot.ts';
import type { GuestRequest } from '../../toolstack/daemon/guest-request.ts';
import { Dialog, Field } from './dialog.tsx';
import { go, machinePath } from './route.ts';
import { useStore } from './store.ts';

export interface Preset {
  /** Name of the snapshot to begin with. */
  readonly snapshot?: string;
}

interface Props {
  readonly preset: Preset;
  onClose(): void;
}

type Source = 'plain' | 'image' | 'snapshot';

const MEMORY_DEFAULT_MIB = 512;
/** Keeps a machine that has nothing else to do. */
const IDLE_COMMAND = 'sleep infinity';

function requestOf(form: FormData, source: Source, snapshotPath: string | undefined): GuestRequest {
  const text = (name: string) => String(form.get(name) ?? '').trim();
  const name = text('name');
  const command = text('command');
  const image = text('image');
  return {
    ...(name && { name }),
    ...(command && { command: ['/bin/sh', '-c', command] }),
    ...(source === 'image' && { image }),
    ...(source === 'snapshot' && { from: snapshotPath }),
    ...(source !== 'snapshot' && {
      memory: Number(text('memory')) * 2 ** 20,
      vcpus: Number(text('vcpus')),
      network: text('network'),
    }),
  };
}

export function CreateDialog({ preset, onClose }: Props) {
  const store = useStore();
  const { snapshots } = store;
  const [source, setSource] = useState<Source>(preset.snapshot === undefined ? 'plain' : 'snapshot');
  const [phase, setPhase] = useState<Phase | undefined>();
  const stop = useRef(new AbortController());
  useEffect(() => {
    store.lookAtSnapshots().catch(() => {});
    // Who closes the dialog takes back what is being made.
    return () => stop.current.abort();
  }, [store]);

  const submit = async (form: FormData) => {
    stop.current = new AbortController();
    const { signal } = stop.current;
    const snapshot = snapshots.find(each => each.name === form.get('snapshot'));
    try {
      const request = requestOf(form, source, snapshot?.path);
      const guest = await store.api.create(request, setPhase, signal);
      go(machinePath(guest.name));
      return `${guest.name} runs`;
    } finally {
      setPhase(undefined);
    }
  };
  const choice = (value: Source, label: string, isPossible = true) => (
    <label class="choice">
      <input
        type="radio"
        name="source"
        value={value}
        checked={source === value}
        disabled={!isPossible}
        onChange={() => setSource(value)}
      />
      {label}
    </label>
  );
  return (
    <Dialog title="New machine" action="Create" submit={submit} onClose={onClose}>
      <Field label="Name" hint="Letters, digits, dots, dashes. Left empty, it gets a number.">
        {(id, hint) => (
          <input
            id={id}
            name="name"
            aria-describedby={hint}
            autoComplete="off"
            spellcheck={false}
            pattern="[A-Za-z0-9][A-Za-z0-9_.\-]*"
            maxLength={63}
          />
        )}
      </Field>
      <fieldset class="choices">
        <legend>Made of</legend>
        {choice('plain', 'Debian kernel and busybox')}
        {choice('image', 'An image')}
        {choice('snapshot', 'A snapshot', snapshots.length > 0)}
      </fieldset>
      {source === 'image' && (
        <Field label="Image" hint="debian:12, a name in the store, oci:/FOLDER, dir:/FOLDER">
          {(id, hint) => (
            <input
              id={id}
              name="image"
              required
              defaultValue="debian:12"
              aria-describedby={hint}
              autoComplete="off"
            />
          )}
        </Field>
      )}
      {source === 'snapshot' && (
        <Field label="Snapshot">
          {id => (
            <select id={id} name="snapshot">
              {snapshots.map(({ name }) => (
                <option key={name} selected={name === preset.snapshot}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
      )}
      <Field
        label="Command"
        hint={
          source === 'plain'
            ? 'Run by a shell. The machine ends when it does.'
            : 'Run by a shell. Left empty, the machine does what it is made for.'
        }
      >
        {(id, hint) => (
          <input
            key={source}
            id={id}
            name="command"
            class="code"
            required={source === 'plain'}
            defaultValue={source === 'plain' ? IDLE_COMMAND : ''}
            aria-describedby={hint}
            autoComplete="off"
            spellcheck={false}
          />
        )}
      </Field>
      {source !== 'snapshot' && (
        <div class="fields">
          <Field label="Memory, MiB">
            {id => (
              <input
                id={id}
                name="memory"
                type="number"
                min={32}
                max={3584}
                defaultValue={String(MEMORY_DEFAULT_MIB)}
                required
              />
            )}
          </Field>
          <Field label="vCPUs">
            {id => <input id={id} name="vcpus" type="number" min={1} max={16} defaultValue="1" required />}
          </Field>
          <Field label="Network">
            {id => (
              <select id={id} name="network">
                <option value="none">None</option>
                <option value="nat">Outward (NAT)</option>
              </select>
            )}
          </Field>
        </div>
      )}
      <div role="status" class="progress">
        {phase && (
          <>
            <span>
              {phase.name}
              {phase.detail ? `: ${phase.detail}` : ''}
            </span>
            <progress
              aria-label="Progress"
              {...(phase.total && { max: phase.total, value: phase.done ?? 0 })}
            />
          </>
        )}
      </div>
    </Dialog>
  );
}
