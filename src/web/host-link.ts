/** The host process, from the web server: found or started when it is needed, and again when it has ended by itself meanwhile. */
import type { ByteStream, LocalAnswer } from '../platform/node/local-http.ts';
import { Daemon, type DaemonClientOptions } from '../toolstack/daemon/client.ts';

export interface HostLink {
  /** A request of the host process's interface. */
  ask(method: string, path: string, body: string | undefined, signal: AbortSignal): Promise<LocalAnswer>;
  /** A connection of the agent's frames, or the answer that refuses it. */
  open(path: string): Promise<{ stream: ByteStream } | LocalAnswer>;
}

/** The system's words for a connection that was never made, so that nothing can have been done. */
const NOBODY = new Set(['ENOENT', 'ECONNREFUSED']);
const isNobody = (error: unknown) => NOBODY.has((error as { code?: string } | undefined)?.code ?? '');
/** A host process that came later has another token. */
const isAnother = (answer: object) => 'status' in answer && answer.status === 401;

export function linkHost(options: DaemonClientOptions, first: Daemon): HostLink {
  let current: Promise<Daemon> = Promise.resolve(first);
  const attempt = async <T extends object>(use: (daemon: Daemon) => Promise<T>): Promise<T> => {
    const before = current;
    const answer = await before.then(use).catch(error => {
      if (isNobody(error)) return undefined;
      throw error;
    });
    if (answer && !isAnother(answer)) return answer;
    // Of several that find it gone, one looks for the next.
    if (current === before) current = Daemon.connect(options);
    const next = current;
    next.catch(() => {
      if (current === next) current = before;
    });
    return next.then(use);
  };
  return {
    ask: (method, path, body, signal) => attempt(daemon => daemon.forward(method, path, body, signal)),
    open: path => attempt(daemon => daemon.forwardFrames(path)),
  };
}
