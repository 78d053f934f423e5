/**
 * Sockets: the network's part of the one door to the outside. Addresses are text, reasons are the system's own words
 * (ECONNREFUSED and the like). Callbacks come from the event loop, never from inside a call.
 */

/** What a stream tells its user. */
export interface StreamEvents {
  /** The connection stands. Not told for a connection that was accepted. */
  connected?(): void;
  /** Bytes from the other side; theirs who calls, as soon as it returns. */
  data(chunk: Uint8Array): void;
  /** The other side will send nothing more. */
  ended(): void;
  /** Something of what was written has left: `bufferedBytes` is smaller. */
  written(): void;
  /** The connection is over, by an error if there is a reason. Nothing follows. */
  closed(reason?: string): void;
}

export interface StreamSocket {
  /** @param done nobody needs the bytes any more, whatever became of them */
  write(bytes: Uint8Array, done?: () => void): void;
  /** Written, and not yet taken by the system. */
  readonly bufferedBytes: number;
  /** Nothing more will be written; what was is still sent. */
  end(): void;
  /** Ask for no more data; what is on its way may still come. */
  pause(): void;
  resume(): void;
  /** Give the connection up, abruptly if it still stands. No events follow. */
  destroy(): void;
}

export interface Peer {
  readonly address: string;
  readonly port: number;
}

export interface SocketListener {
  readonly port: number;
  close(): void;
}

export interface DatagramEvents {
  /** The bytes are the listener's own copy. */
  message(bytes: Uint8Array, from: Peer): void;
  /** The system reports that something sent did not arrive, or the socket broke. */
  failed(reason: string): void;
}

export interface DatagramSocket {
  readonly port: number;
  send(bytes: Uint8Array, to: Peer): void;
  close(): void;
}

export interface Sockets {
  /** Connect to an address (no name). Failure is reported by `closed`. */
  connect(to: Peer, events: StreamEvents): StreamSocket;
  /** Take connections. A new one is paused until `resume`. */
  listen(
    at: Peer,
    onConnection: (socket: StreamSocket, from: Peer) => StreamEvents,
  ): Promise<{ listener: SocketListener } | { reason: string }>;
  /** A socket for datagrams, bound to `at`, or to any address and port of the family. */
  openDatagram(
    family: 4 | 6,
    events: DatagramEvents,
    at?: Peer,
  ): Promise<{ socket: DatagramSocket } | { reason: string }>;
  /** Name servers that this machine uses. */
  nameservers(): readonly Peer[];
}
