/** What a `domus run` writes besides the guest's output: its console, and a trace. Both are whole and closed when `cleanup` has run. */
import { DomusError } from '../../../base/errors.ts';
import { tryCreateFileSink } from '../../../platform/node/streams.ts';
import type { ByteSink } from '../../../platform/platform.ts';
import type { TraceRequest } from '../../../toolstack/machine.ts';
import type { TraceChoice } from './options.ts';

export const openConsole = (path: string, cleanup: AsyncDisposableStack): Promise<ByteSink> =>
  openFile('console', path, cleanup);

/** @param stderr where it goes unless it has a file of its own */
export async function openTrace(
  { kind, file }: TraceChoice,
  stderr: ByteSink,
  cleanup: AsyncDisposableStack,
): Promise<TraceRequest> {
  const sink = file === undefined ? stderr : await openFile('trace', file, cleanup);
  const trace = createTrace(kind, sink);
  cleanup.defer(() => trace.flush());
  return trace;
}

async function openFile(what: string, path: string, cleanup: AsyncDisposableStack): Promise<ByteSink> {
  const opened = await tryCreateFileSink(path);
  if ('sink' in opened) {
    const { sink } = opened;
    cleanup.defer(() => sink.close());
    return sink;
  }
  throw new DomusError(
    'E_FILE_WRITE',
    `cannot write the ${what} to ${path}: ${opened.reason}`,
    'choose a file in a folder that exists and can be written',
  );
}

/** Trace lines are many: they are gathered and written in larger pieces. */
function createTrace(kind: TraceRequest['kind'], sink: ByteSink): TraceRequest & { flush(): Promise<void> } {
  const encoder = new TextEncoder();
  let pending = '';
  let last: Promise<void> = Promise.resolve();
  const flush = () => {
    const bytes = encoder.encode(pending);
    pending = '';
    last = last.then(() => sink.write(bytes));
    // A reader that fails is reported by the final flush.
    last.catch(() => {});
    return last;
  };
  return {
    kind,
    write(line) {
      pending += `${line}\n`;
      if (pending.length > 65536) flush();
    },
    flush,
  };
}
