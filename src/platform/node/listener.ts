/** TCP connections from this machine only: a listener on 127.0.0.1. */
import { createServer, type Socket } from 'node:net';

export interface Connection {
  /** Each chunk is the listener's own copy. One listener a connection. */
  onData(listener: (chunk: Uint8Array) => void): void;
  /** The other side has gone, or `close` was called. */
  onClose(listener: () => void): void;
  write(bytes: Uint8Array): void;
  close(): void;
}

export interface Listener {
  /** The port in use, also when any was asked for with 0. */
  readonly port: number;
  /** Take no more connections and end those that are open. */
  close(): Promise<void>;
}

/** Listen on 127.0.0.1, or the system's reason why that is not possible. It keeps the process alive. */
export function tryListenLocal(
  port: number,
  onConnection: (connection: Connection) => void,
): Promise<{ listener: Listener } | { reason: string }> {
  const sockets = new Set<Socket>();
  const server = createServer(socket => {
    sockets.add(socket);
    socket.setNoDelay(true);
    onConnection(connectionOf(socket));
    socket.on('close', () => sockets.delete(socket));
  });
  return new Promise(resolve => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve({ reason: error.code ?? error.message }));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      resolve({
        listener: {
          port: bound,
          close() {
            for (const socket of sockets) socket.destroy();
            return new Promise(closed => server.close(() => closed()));
          },
        },
      });
    });
  });
}

function connectionOf(socket: Socket): Connection {
  // A connection that breaks is closed: `close` follows by itself.
  socket.on('error', () => {});
  return {
    onData(listener) {
      socket.on('data', chunk => listener(Uint8Array.from(chunk as Buffer)));
    },
    onClose(listener) {
      socket.on('close', () => listener());
    },
    write(bytes) {
      if (!socket.destroyed) socket.write(bytes);
    },
    close() {
      socket.end();
    },
  };
}
