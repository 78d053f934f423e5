/** What a machine's console and its command have said, and go on saying. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { LogRecord } from '../../toolstack/daemon/guest-log.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { moment } from './format.ts';
import { errorText, useStore } from './store.ts';

const LINES = 500;
/** Pieces that come together are shown together. */
const SHOW_MS = 100;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what terminals are told begins with one
const CONTROL = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f]/g;

const textOf = ({ text, base64 }: LogRecord): string =>
  (text ?? atob(base64 ?? '')).replace(CONTROL, '').trimEnd();

export function Log({ guest }: { readonly guest: GuestView }) {
  const { api } = useStore();
  const [records, setRecords] = useState<readonly LogRecord[]>([]);
  const [failure, setFailure] = useState('');
  const box = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  useEffect(() => {
    const stop = new AbortController();
    let waiting: LogRecord[] = [];
    const show = setInterval(() => {
      if (waiting.length === 0) return;
      const news = waiting;
      waiting = [];
      setRecords(before => [...before, ...news].slice(-LINES));
    }, SHOW_MS);
    (async () => {
      for await (const record of api.logs(guest.name, LINES, stop.signal)) waiting.push(record);
    })().catch(error => {
      if (!stop.signal.aborted) setFailure(errorText(error));
    });
    return () => {
      stop.abort();
      clearInterval(show);
    };
  }, [api, guest.name]);
  useLayoutEffect(() => {
    const element = box.current;
    if (element && isAtEnd.current) element.scrollTop = element.scrollHeight;
  });
  return (
    <section class="card log-card" aria-labelledby="log">
      <h2 id="log">Log</h2>
      {failure && <p role="alert">{failure}</p>}
      <div
        class="log"
        role="log"
        aria-labelledby="log"
        aria-live="off"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
        tabIndex={0}
        ref={box}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          isAtEnd.current = scrollTop + clientHeight > scrollHeight - 20;
        }}
      >
        {records.map((record, i) => (
          <div key={`${i} ${record.at}`} class={`log-${record.stream}`}>
            <time dateTime={record.at}>{moment(record.at)}</time>
            {record.stream !== 'console' && <span class="log-stream">{record.stream}</span>}
            <span>{textOf(record)}</span>
          </div>
        ))}
        {records.length === 0 && !failure && <p class="quiet">It has said nothing yet.</p>}
      </div>
    </section>
  );
}
