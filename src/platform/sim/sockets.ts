/**
 * A network of sockets in memory, for tests: servers are registered under an address and a port, everything takes a
 * fixed time, and what a reader does not take stays in its writer's buffer.
 */
import type { Timers } from '../platform.ts';
import type {
  DatagramEvents,
  DatagramSocket,
  Peer,
  SocketListener,
  Sockets,
  StreamEvents,
  StreamSocket,
} from '../sockets.ts';

/** What travels before the reader must take it, as in a kernel's socket buffer. */
const PIPE_BYTES = 65_536;

const keyOf = ({ address, port }: Peer): string => `${address} ${port}`;

/** One end of a connection. `link` ties two of them together. */
class SimulatedStream implements StreamSocket {
  readonly #timers: Timers;
  readonly #latencyMs: number;
  events: StreamEvents | undefined;
  other: SimulatedStream | undefined;
  #outbox: Uint8Array[] = [];
  #outBytes = 0;
  #inTransit = 0;
  #inbox: (Uint8Array | 'end')[] = [];
  #isPaused: boolean;
  #isEnding = false;
  #endSent = false;
  #endSeen = false;
  isClosed = false;

  constructor(timers: Timers, latencyMs: number, isPaused: boolean) {
    this.#timers = timers;
    this.#latencyMs = latencyMs;
    this.#isPaused = isPaused;
  }

  get bufferedBytes(): number {
    return this.#outBytes;
  }
  get isPaused(): boolean {
    return this.#isPaused;
  }

  later(task: () => void): void {
    this.#timers.after(this.#latencyMs, () => {
      if (!this.isClosed) task();
    });
  }

  write(bytes: Uint8Array, done?: () => void): void {
    if (done) this.#timers.after(this.#latencyMs, done);
    if (this.isClosed || this.#isEnding) return;
    this.#outbox.push(bytes.slice());
    this.#outBytes += bytes.length;
    this.#push();
  }

  end(): void {
    this.#isEnding = true;
    this.#push();
  }

  /** Send as much as the pipe takes. */
  #push(): void {
    const { other } = this;
    if (!other) return;
    let sent = false;
    while (this.#outbox.length > 0 && this.#inTransit < PIPE_BYTES) {
      const chunk = this.#outbox.shift()!;
      this.#outBytes -= chunk.length;
      this.#inTransit += chunk.length;
      sent = true;
      other.later(() => other.#arrive(chunk));
    }
    if (sent) this.later(() => this.events?.written());
    if (this.#isEnding && this.#outbox.length === 0 && !this.#endSent) {
      this.#endSent = true;
      other.later(() => other.#arrive('end'));
      if (this.#endSeen) this.later(() => this.close());
    }
  }

  #arrive(item: Uint8Array | 'end'): void {
    this.#inbox.push(item);
    this.#deliver();
  }

  #deliver(): void {
    while (this.#inbox.length > 0 && !this.#isPaused && !this.isClosed) {
      const item = this.#inbox.shift()!;
      if (item === 'end') {
        this.#endSeen = true;
        this.events?.ended();
      } else {
        if (this.other) {
          this.other.#inTransit -= item.length;
          const { other } = this;
          other.later(() => other.#push());
        }
        this.events?.data(item);
      }
    }
    if (this.#endSeen && this.#endSent) this.close();
  }

  pause(): void {
    this.#isPaused = true;
  }
  resume(): void {
    this.#isPaused = false;
    this.later(() => {
      this.#push();
      this.#deliver();
    });
  }

  attach(other: SimulatedStream): void {
    this.other = other;
    this.#push();
  }

  close(reason?: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.events?.closed(reason);
  }

  destroy(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const { other } = this;
    other?.later(() => other.close('ECONNRESET'));
  }
}

export interface SimulatedNetwork extends Sockets {
  /** Connections answer with this reason instead of being refused. */
  unreachable: Map<string, string>;
  /** Open ends on this side. */
  readonly nrStreams: number;
  /** Sockets for datagrams that are open. */
  readonly nrDatagrams: number;
}

export function createSimulatedSockets(
  timers: Timers,
  options: { readonly latencyMs?: number; readonly nameservers?: readonly Peer[] } = {},
): SimulatedNetwork {
  const { latencyMs = 1, nameservers = [] } = options;
  const listeners = new Map<string, (socket: StreamSocket, from: Peer) => StreamEvents>();
  const datagrams = new Map<string, DatagramEvents>();
  const streams = new Set<SimulatedStream>();
  const unreachable = new Map<string, string>();
  let nextPort = 40_000;

  return {
    unreachable,
    get nrStreams() {
      for (const stream of streams) if (stream.isClosed) streams.delete(stream);
      return streams.size;
    },
    get nrDatagrams() {
      return datagrams.size;
    },
    nameservers: () => nameservers,
    connect(to, events) {
      const near = new SimulatedStream(timers, latencyMs, false);
      near.events = events;
      streams.add(near);
      const port = nextPort++;
      near.later(() => {
        const accept = listeners.get(keyOf(to)) ?? listeners.get(keyOf({ address: '*', port: to.port }));
        const reason = unreachable.get(to.address) ?? (accept ? undefined : 'ECONNREFUSED');
        if (reason === 'silence') return;
        if (!accept || reason !== undefined) {
          near.close(reason);
          return;
        }
        const far = new SimulatedStream(timers, latencyMs, true);
        near.attach(far);
        far.attach(near);
        far.events = accept(far, { address: '192.0.2.1', port });
        near.events?.connected?.();
      });
      return near;
    },
    async listen(at, onConnection) {
      const port = at.port === 0 ? nextPort++ : at.port;
      const key = keyOf({ address: at.address, port });
      if (listeners.has(key)) return { reason: 'EADDRINUSE' };
      listeners.set(key, onConnection);
      const listener: SocketListener = { port, close: () => void listeners.delete(key) };
      return { listener };
    },
    async openDatagram(family, events, at) {
      const own = {
        address: at?.address ?? (family === 4 ? '192.0.2.1' : '2001:db8::1'),
        port: at?.port || nextPort++,
      };
      if (datagrams.has(keyOf(own))) return { reason: 'EADDRINUSE' };
      datagrams.set(keyOf(own), events);
      const socket: DatagramSocket = {
        port: own.port,
        send(bytes, to) {
          const copy = bytes.slice();
          timers.after(latencyMs, () => {
            const target = datagrams.get(keyOf(to));
            if (target) target.message(copy, own);
            else if (datagrams.has(keyOf(own))) events.failed('ECONNREFUSED');
          });
        },
        close: () => void datagrams.delete(keyOf(own)),
      };
      return { socket };
    },
  };
}
