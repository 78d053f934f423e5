/** What is shown without a token. */
import { Mark } from './icons.tsx';

export function Locked() {
  return (
    <main class="locked">
      <Mark />
      <h1>This page needs its key</h1>
      <p>
        Open the whole address that <code>domus web</code> printed, with <code>#token=…</code> at its end. The
        server was started anew? Then the address is another one.
      </p>
    </main>
  );
}
