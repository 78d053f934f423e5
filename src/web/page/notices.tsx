/** What has just been done or has failed. Both regions exist before there is anything in them, so that screen readers watch them. */
import { useEffect, useState } from 'preact/hooks';
import { useStore } from './store.ts';

export function Notices() {
  const store = useStore();
  const part = (isFailure: boolean) =>
    store.notices
      .filter(notice => notice.isFailure === isFailure)
      .map(({ number, text }) => (
        <div key={number} class={isFailure ? 'notice failure' : 'notice'}>
          <span>{text}</span>
          <button
            type="button"
            class="notice-close"
            aria-label="Dismiss"
            onClick={() => store.dismiss(number)}
          >
            ×
          </button>
        </div>
      ));
  return (
    <div class="notices">
      <div role="status">{part(false)}</div>
      <div role="alert">{part(true)}</div>
      <EventTeller />
    </div>
  );
}

/** Tells a screen reader what happens to machines by itself. */
function EventTeller() {
  const { events } = useStore();
  const newest = events[0];
  const [first] = useState(() => Date.now());
  const [text, setText] = useState('');
  useEffect(() => {
    if (!newest || Date.parse(newest.at) < first) return;
    if (['started', 'exited', 'crashed', 'rebooted'].includes(newest.event)) {
      setText(`${newest.name} ${newest.event}${newest.detail ? `: ${newest.detail}` : ''}`);
    }
  }, [newest, first]);
  return (
    <div class="hidden" role="status">
      {text}
    </div>
  );
}
