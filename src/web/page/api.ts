/** The host process's interface (docs/api/openapi.json) from the page. */
import { DomusError } from '../../base/errors.ts';
import type { DomainMemoryMap } from '../../hypervisor/memory-map.ts';
import { openAgentChannel } from '../../image/guest-agent/agent-channel.ts';
import type { Phase, RunningCommand } from '../../toolstack/boot.ts';
import type { RemoteCommand } from '../../toolstack/daemon/client.ts';
import type { CloneRequest } from '../../toolstack/daemon/clone-request.ts';
import { parseErrorBody } from '../../toolstack/daemon/errors.ts';
import type { GuestEvent } from '../../toolstack/daemon/event-log.ts';
import type { GuestAction, GuestChange } from '../../toolstack/daemon/guest-change.ts';
import type { LogRecord } from '../../toolstack/daemon/guest-log.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import type { GuestRequest } from '../../toolstack/daemon/guest-request.ts';
import type { HostInfo } from '../../toolstack/daemon/host-info.ts';
import type { SharingReport } from '../../toolstack/daemon/sharing-report.ts';
import type { Snapshot } from '../../toolstack/snapshots.ts';
import { socketStream } from './socket-stream.ts';

const gone = () =>
  new DomusError(
    'E_WEB_GONE',
    'the server of this page has ended',
    'start "domus web" again and open its address',
  );

const guestPath = (name: string, what = ''): string => `/v1/guests/${encodeURIComponent(name)}${what}`;

export class Api {
  readonly #token: string;

  constructor(token: string) {
    this.#token = token;
  }

  /** @throws DomusError of the host process, E_WEB_GONE */
  async #ask(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(path, {
        method,
        headers: { authorization: `Bearer ${this.#token}` },
        cache: 'no-store',
        ...(signal && { signal }),
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    } catch {
      signal?.throwIfAborted();
      throw gone();
    }
    if (!response.ok) throw parseErrorBody(await response.text());
    return response;
  }

  async #json<T>(method: string, path: string, body?: unknown): Promise<T> {
    return (await (await this.#ask(method, path, body)).json()) as T;
  }

  /** Lines of a reply as they come. */
  async *#lines<T>(method: string, path: string, signal: AbortSignal, body?: unknown): AsyncGenerator<T> {
    const response = await this.#ask(method, path, body, signal);
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let pending = '';
    while (reader) {
      const { done, value } = await reader.read();
      if (done) return;
      const pieces = (pending + value).split('\n');
      pending = pieces.pop() ?? '';
      for (const piece of pieces) if (piece !== '') yield JSON.parse(piece) as T;
    }
  }

  async guests(): Promise<readonly GuestView[]> {
    return (await this.#json<{ guests: GuestView[] }>('GET', '/v1/guests')).guests;
  }
  info(): Promise<HostInfo & { readonly version: string }> {
    return this.#json('GET', '/v1/info');
  }
  /** The last ones, then those to come. */
  events(signal: AbortSignal): AsyncGenerator<GuestEvent> {
    return this.#lines('GET', '/v1/events?follow=1', signal);
  }
  async snapshots(): Promise<readonly Snapshot[]> {
    return (await this.#json<{ snapshots: Snapshot[] }>('GET', '/v1/snapshots')).snapshots;
  }
  sharing(): Promise<SharingReport> {
    return this.#json('GET', '/v1/sharing');
  }
  setSharing(cpuPercent: number): Promise<SharingReport> {
    return this.#json('PATCH', '/v1/sharing', { cpuPercent });
  }
  memory(name: string, cells: number): Promise<DomainMemoryMap> {
    return this.#json('GET', guestPath(name, `/memory?cells=${cells}`));
  }
  /** The last so many lines, then those to come until the guest ends. */
  logs(name: string, tail: number, signal: AbortSignal): AsyncGenerator<LogRecord> {
    return this.#lines('GET', guestPath(name, `/logs?follow=1&tail=${tail}`), signal);
  }

  /** Settles when it runs. Aborting takes back what was begun. */
  async create(
    request: GuestRequest,
    onPhase: (phase: Phase) => void,
    signal: AbortSignal,
  ): Promise<GuestView> {
    type Line = { readonly phase?: Phase; readonly guest?: GuestView };
    for await (const line of this.#lines<Line>('POST', '/v1/guests', signal, request)) {
      if (line.phase) onPhase(line.phase);
      else if (line.guest) return line.guest;
      else throw parseErrorBody(JSON.stringify(line));
    }
    throw gone();
  }
  act(name: string, action: GuestAction): Promise<unknown> {
    return this.#json('POST', guestPath(name, '/actions'), action);
  }
  change(name: string, change: GuestChange): Promise<unknown> {
    return this.#json('PATCH', guestPath(name), change);
  }
  snapshot(name: string, as: string): Promise<unknown> {
    return this.#json('POST', guestPath(name, '/snapshot'), { name: as });
  }
  removeSnapshot(name: string): Promise<unknown> {
    return this.#json('DELETE', `/v1/snapshots/${encodeURIComponent(name)}`);
  }
  clone(name: string, request: CloneRequest): Promise<{ guests: GuestView[]; heldMs: number }> {
    return this.#json('POST', guestPath(name, '/clone'), request);
  }
  destroy(name: string): Promise<unknown> {
    return this.#json('DELETE', guestPath(name));
  }

  /** A command in a guest, or its console; set the listeners at once. It ends with the connection at the latest. */
  open(name: string, what: 'exec' | 'console', command: RemoteCommand): RunningCommand & Disposable {
    const stream = socketStream(guestPath(name, `/${what}`), this.#token);
    const channel = openAgentChannel(stream, {
      encode: () => new TextEncoder().encode(JSON.stringify(command)),
      explain: payload => parseErrorBody(new TextDecoder().decode(payload)),
    });
    stream.onClose(() =>
      channel.finish(
        new DomusError('E_WEB_GONE', 'the connection has ended', 'look whether the machine still runs'),
      ),
    );
    const { terminal, hasInput = false } = command;
    const running = channel.run({ argv: command.command, env: {}, hasInput, ...(terminal && { terminal }) });
    running.exit.then(stream.close, stream.close);
    return Object.assign(running, { [Symbol.dispose]: stream.close });
  }
}
