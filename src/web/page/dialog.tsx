/** A dialog of the browser's own: it keeps the focus inside, closes on Escape, and gives the focus back. */
import type { ComponentChildren } from 'preact';
import { useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { errorText, useStore } from './store.ts';

interface Props {
  readonly title: string;
  /** On the button that does it. */
  readonly action: string;
  readonly isDangerous?: boolean;
  readonly children: ComponentChildren;
  /** Returns what to say when it is done. When it fails the dialog stays, and tells why. */
  submit(form: FormData): Promise<string>;
  onClose(): void;
}

export function Dialog({ title, action, isDangerous = false, children, submit, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const store = useStore();
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState('');
  const id = useId();
  useLayoutEffect(() => {
    const opener = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);

  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    setBusy(true);
    setFailure('');
    try {
      const text = await submit(new FormData(event.target as HTMLFormElement));
      await store.look();
      onClose();
      store.say(text);
    } catch (error) {
      setFailure(errorText(error));
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <form onSubmit={send}>
        <h2 id={id}>{title}</h2>
        {children}
        <div role="alert" class="failure">
          {failure}
        </div>
        <div class="dialog-buttons">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class={isDangerous ? 'danger' : 'primary'} disabled={isBusy}>
            {isBusy ? 'Working…' : action}
          </button>
        </div>
      </form>
    </dialog>
  );
}

interface FieldProps {
  readonly label: string;
  readonly hint?: string;
  readonly children: (id: string, hintId: string | undefined) => ComponentChildren;
}

/** A field with its label, and what else there is to know about it. */
export function Field({ label, hint, children }: FieldProps) {
  const id = useId();
  const hintId = hint === undefined ? undefined : `${id}-hint`;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id, hintId)}
      {hint !== undefined && (
        <small id={hintId} class="quiet">
          {hint}
        </small>
      )}
    </div>
  );
}
