/** A shell in a machine, or its console. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { RunningCommand } from '../../toolstack/boot.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { isAlive } from './state.tsx';
import { errorText, useStore } from './store.ts';
import { openTerminal } from './terminal.ts';

type What = 'exec' | 'console';

const SHELL = ['/bin/sh'];
const READER_KEY = 'domus-screen-reader';

export function TerminalView({ guest }: { readonly guest: GuestView }) {
  const [what, setWhat] = useState<What>('exec');
  const [attempt, setAttempt] = useState(0);
  const [isForReader, setForReader] = useState(() => localStorage.getItem(READER_KEY) === 'yes');
  const [status, setStatus] = useState('');
  const bar = useRef<HTMLDivElement>(null);
  const choose = (next: What) => {
    setWhat(next);
    setAttempt(attempt + 1);
  };
  const choice = (value: What, label: string) => (
    <button type="button" aria-pressed={what === value} onClick={() => choose(value)}>
      {label}
    </button>
  );
  const reader = (isOn: boolean) => {
    localStorage.setItem(READER_KEY, isOn ? 'yes' : 'no');
    setForReader(isOn);
  };
  if (!isAlive(guest)) return <p class="quiet card">The machine does not run. Its log tells what it said.</p>;
  return (
    <section class="card terminal-card" aria-label="Terminal">
      <div class="terminal-bar" ref={bar}>
        <fieldset class="joined" aria-label="Connect to">
          {choice('exec', 'Shell')}
          {choice('console', 'Console')}
        </fieldset>
        <label>
          <input
            type="checkbox"
            checked={isForReader}
            onChange={event => reader(event.currentTarget.checked)}
          />
          Screen reader
        </label>
        <span role="status" class="terminal-status">
          {status}
        </span>
        <span class="quiet">
          <kbd>Ctrl</kbd> <kbd>]</kbd> leaves the terminal
        </span>
      </div>
      <Screen
        key={`${what} ${attempt} ${isForReader}`}
        name={guest.name}
        what={what}
        isForReader={isForReader}
        onStatus={setStatus}
        onLeave={() => bar.current?.querySelector<HTMLElement>('[aria-pressed=true]')?.focus()}
      />
    </section>
  );
}

interface ScreenProps {
  readonly name: string;
  readonly what: What;
  readonly isForReader: boolean;
  onStatus(text: string): void;
  onLeave(): void;
}

function Screen({ name, what, isForReader, onStatus, onLeave }: ScreenProps) {
  const { api } = useStore();
  const box = useRef<HTMLDivElement>(null);
  // The terminal lives as long as this element; the callbacks are told of by the newest one.
  const tell = useRef({ onStatus, onLeave });
  tell.current = { onStatus, onLeave };
  useEffect(() => {
    if (!box.current) return;
    const { terminal, close } = openTerminal(box.current, isForReader);
    const encoder = new TextEncoder();
    let running: (RunningCommand & Disposable) | undefined = api.open(name, what, {
      command: what === 'exec' ? SHELL : [],
      env: { TERM: 'xterm-256color' },
      hasInput: true,
      ...(what === 'exec' && { terminal: { columns: terminal.cols, rows: terminal.rows } }),
    });
    let isOver = false;
    // What ends because another one takes its place has nothing to say.
    const say = (text: string) => {
      if (!isOver) tell.current.onStatus(text);
    };
    say(what === 'exec' ? `a shell in ${name}` : `the console of ${name}`);
    const write = (bytes: Uint8Array) => new Promise<void>(resolve => terminal.write(bytes, resolve));
    running.onStdout(write);
    running.onStderr(write);
    running.exit.then(
      code => {
        running = undefined;
        say(what === 'exec' ? `the shell has ended (${code})` : 'the console has ended');
      },
      error => {
        running = undefined;
        say(errorText(error));
      },
    );
    const typed = terminal.onData(text => void running?.writeStdin(encoder.encode(text)).catch(() => {}));
    const sized = terminal.onResize(({ cols, rows }) => running?.resize({ columns: cols, rows }));
    terminal.attachCustomKeyEventHandler(event => {
      if (!event.ctrlKey || event.key !== ']') return true;
      if (event.type === 'keydown') tell.current.onLeave();
      return false;
    });
    // Who came here with arrow keys, from tab to tab, wants to be able to go on.
    if (!document.activeElement?.matches('[role=tab]:focus-visible')) terminal.focus();
    return () => {
      isOver = true;
      typed.dispose();
      sized.dispose();
      running?.[Symbol.dispose]();
      running = undefined;
      close();
    };
  }, [api, name, what, isForReader]);
  return <div class="screen" ref={box} />;
}
