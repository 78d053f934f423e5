/** What can be done with a machine by click. */
import { useState } from 'preact/hooks';
import type { GuestAction } from '../../toolstack/daemon/guest-change.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { Dialog, Field } from './dialog.tsx';
import { plural } from './format.ts';
import {
  CloneIcon,
  DestroyIcon,
  PauseIcon,
  PowerIcon,
  RebootIcon,
  ResumeIcon,
  SnapshotIcon,
} from './icons.tsx';
import { go } from './route.ts';
import { isAlive, isPaused } from './state.tsx';
import { useStore } from './store.ts';

interface Props {
  readonly guest: GuestView;
  /** Pictures alone, in a row of a table. */
  readonly isSmall?: boolean;
}

type Open = 'snapshot' | 'clone' | 'destroy' | undefined;

export function MachineButtons({ guest, isSmall = false }: Props) {
  const { name } = guest;
  const store = useStore();
  const [open, setOpen] = useState<Open>();
  const close = () => setOpen(undefined);
  const runs = isAlive(guest);
  const act = (action: Exclude<GuestAction, { action: 'sysrq' }>['action'], done: string) =>
    void store.attempt(async () => {
      await store.api.act(name, { action });
      return `${name} ${done}`;
    });
  const button = (label: string, icon: preact.JSX.Element, onClick: () => void, isDangerous = false) => (
    <button
      type="button"
      class={isDangerous ? 'danger-quiet' : ''}
      title={isSmall ? `${label} ${name}` : undefined}
      aria-label={isSmall ? `${label} ${name}` : undefined}
      onClick={onClick}
    >
      {icon}
      {!isSmall && label}
    </button>
  );
  return (
    <fieldset class={isSmall ? 'buttons small' : 'buttons'} aria-label={`Actions of ${name}`}>
      {runs && isPaused(guest) && button('Resume', <ResumeIcon />, () => act('unpause', 'goes on'))}
      {runs && !isPaused(guest) && button('Pause', <PauseIcon />, () => act('pause', 'is paused'))}
      {runs && button('Snapshot', <SnapshotIcon />, () => setOpen('snapshot'))}
      {runs && button('Clone', <CloneIcon />, () => setOpen('clone'))}
      {runs && !isSmall && button('Shut down', <PowerIcon />, () => act('poweroff', 'is asked to power off'))}
      {runs && !isSmall && button('Reboot', <RebootIcon />, () => act('reboot', 'is asked to reboot'))}
      {button('Destroy', <DestroyIcon />, () => setOpen('destroy'), true)}
      {open === 'snapshot' && <SnapshotDialog name={name} onClose={close} />}
      {open === 'clone' && <CloneDialog name={name} onClose={close} />}
      {open === 'destroy' && <DestroyDialog guest={guest} onClose={close} />}
    </fieldset>
  );
}

interface DialogProps {
  readonly name: string;
  onClose(): void;
}

function SnapshotDialog({ name, onClose }: DialogProps) {
  const store = useStore();
  const submit = async (form: FormData) => {
    const as = String(form.get('name')).trim();
    await store.api.snapshot(name, as);
    await store.lookAtSnapshots();
    return `${name} is kept as ${as}`;
  };
  return (
    <Dialog title={`Snapshot of ${name}`} action="Take snapshot" submit={submit} onClose={onClose}>
      <p>The state of memory and disks is kept as it is now. The machine goes on.</p>
      <Field label="Name of the snapshot">
        {id => <input id={id} name="name" required defaultValue={`${name}-snapshot`} autoComplete="off" />}
      </Field>
    </Dialog>
  );
}

function CloneDialog({ name, onClose }: DialogProps) {
  const store = useStore();
  const submit = async (form: FormData) => {
    const own = String(form.get('name')).trim();
    const count = Number(form.get('count'));
    const { guests, heldMs } = await store.api.clone(name, { count, ...(own && { name: own }) });
    return `${plural(guests.length, 'clone')} of ${name}, which was held for ${heldMs.toFixed(1)} ms`;
  };
  return (
    <Dialog title={`Clone ${name}`} action="Clone" submit={submit} onClose={onClose}>
      <p>Copies of the running machine as it is now. Memory is shared until somebody writes to it.</p>
      <Field label="How many">
        {id => <input id={id} name="count" type="number" min={1} max={1000} defaultValue="1" required />}
      </Field>
      <Field label="Name" hint="Several get numbers. Left empty, they are named after the machine.">
        {(id, hint) => <input id={id} name="name" aria-describedby={hint} autoComplete="off" />}
      </Field>
    </Dialog>
  );
}

function DestroyDialog({ guest, onClose }: { readonly guest: GuestView; onClose(): void }) {
  const store = useStore();
  const { name } = guest;
  const submit = async () => {
    await store.api.destroy(name);
    go('#/');
    return `${name} is destroyed`;
  };
  return (
    <Dialog title={`Destroy ${name}?`} action="Destroy" isDangerous submit={submit} onClose={onClose}>
      <p>
        {isAlive(guest) ? 'It ends at once, as if its power were cut. ' : ''}
        Its record and its log are forgotten. This cannot be undone.
      </p>
    </Dialog>
  );
}
