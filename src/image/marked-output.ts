/**
 * A command's output on a console that carries that of many: plain bytes up to a mark. The mark begins with a byte that occurs
 * nowhere else in it, so at most its own length is ever held back.
 */

export interface MarkedOutput {
  /** Hand over a piece of the console's output. A promise holds the guest back. */
  receive(bytes: Uint8Array): void | Promise<void>;
  /** From here on, output goes to `listener` until `mark` comes; before and after, it is dropped. */
  begin(mark: Uint8Array): void;
  listener: (bytes: Uint8Array) => void | Promise<void>;
  /** Settles when the mark has come and the listener has taken all that was before it. */
  ended(): Promise<void>;
  /** No more will come: what was held back was output after all. */
  finish(): void;
}

const NOTHING = new Uint8Array(0);

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** How many bytes of `mark` stand at `at`; 0 if they differ before `bytes` or `mark` ends. */
function matchLength(bytes: Uint8Array, at: number, mark: Uint8Array): number {
  const length = Math.min(mark.length, bytes.length - at);
  for (let i = 0; i < length; i++) if (bytes[at + i] !== mark[i]) return 0;
  return length;
}

export function markedOutput(): MarkedOutput {
  let mark: Uint8Array | undefined;
  let held: Uint8Array = NOTHING;
  let ended = Promise.withResolvers<void>();
  let taken: Promise<void> = Promise.resolve();
  const pass = (bytes: Uint8Array): void | Promise<void> => {
    if (bytes.length === 0) return;
    const result = output.listener(bytes);
    if (result) taken = result;
    return result;
  };
  const end = (): void => {
    mark = undefined;
    held = NOTHING;
    taken.then(ended.resolve, ended.reject);
  };
  const output: MarkedOutput = {
    listener: () => {},
    begin(newMark) {
      mark = newMark;
      held = NOTHING;
      taken = Promise.resolve();
      ended = Promise.withResolvers<void>();
      ended.promise.catch(() => {});
    },
    receive(bytes) {
      if (!mark) return;
      const all = joined(held, bytes);
      held = NOTHING;
      for (let at = all.indexOf(mark[0]!); at >= 0; at = all.indexOf(mark[0]!, at + 1)) {
        const length = matchLength(all, at, mark);
        if (length === mark.length) {
          const result = pass(all.subarray(0, at));
          end();
          return result;
        }
        if (length > 0) {
          held = all.slice(at);
          return pass(all.subarray(0, at));
        }
      }
      return pass(all);
    },
    ended: () => ended.promise,
    finish() {
      if (!mark) return;
      pass(held);
      end();
    },
  };
  return output;
}
