/** Sockets of the host's operating system, through Node. */
import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { connect, createServer, type Socket } from 'node:net';
import type { DatagramSocket, Peer, Sockets, StreamEvents, StreamSocket } from '../sockets.ts';

/** Room for what one system call brings. */
const READ_BYTES = 256 << 10;
/**
 * What connections read into, one after the other: a read and what becomes of its bytes are one step of the event loop. Not on
 * Windows, where the system fills the buffer of a read that was begun before.
 */
const readBuffer = process.platform === 'win32' ? undefined : new Uint8Array(READ_BYTES);

const reasonOf = (error: NodeJS.ErrnoException): string => error.code ?? error.message;

function streamOf(socket: Socket, getEvents: () => StreamEvents): StreamSocket {
  let reason: string | undefined;
  let isSilent = false;
  socket.setNoDelay(true);
  socket.on('connect', () => isSilent || getEvents().connected?.());
  socket.on('data', (chunk: Buffer) => {
    if (!isSilent) getEvents().data(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length));
  });
  socket.on('end', () => isSilent || getEvents().ended());
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reason = reasonOf(error);
  });
  socket.on('close', () => isSilent || getEvents().closed(reason));
  return {
    write(bytes, done) {
      if (socket.destroyed || socket.writableEnded) {
        done?.();
        return;
      }
      let isTaken = false;
      socket.write(bytes, error => {
        if (!isTaken) done?.();
        if (!error && !isSilent) getEvents().written();
      });
      // Most of the time the system takes all at once; Node tells of it later.
      isTaken = socket.writableLength === 0;
      if (isTaken) done?.();
    },
    get bufferedBytes() {
      return socket.writableLength;
    },
    end: () => void socket.end(),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    destroy() {
      isSilent = true;
      // A connection that stands is reset: the other side must not take what it has for everything.
      if (socket.connecting || socket.destroyed) socket.destroy();
      else socket.resetAndDestroy();
    },
  };
}

/** `[address]:port`, `address:port` or an address, as the resolver's configuration has them. */
function parseServer(text: string): Peer {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  if (bracketed) return { address: bracketed[1]!, port: Number(bracketed[2] ?? 53) };
  const plain = /^([\d.]+)(?::(\d+))?$/.exec(text);
  return plain ? { address: plain[1]!, port: Number(plain[2] ?? 53) } : { address: text, port: 53 };
}

export const nodeSockets: Sockets = {
  connect(to, events) {
    const callback = (count: number, buffer: Uint8Array) => {
      events.data(buffer.subarray(0, count));
      return true;
    };
    const options = { host: to.address, port: to.port, allowHalfOpen: true, autoSelectFamily: false };
    const socket = connect(readBuffer ? { ...options, onread: { buffer: readBuffer, callback } } : options);
    return streamOf(socket, () => events);
  },

  listen(at, onConnection) {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, socket => {
      const from = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
      let events: StreamEvents | undefined;
      const stream = streamOf(socket, () => events!);
      events = onConnection(stream, from);
    });
    return new Promise(resolve => {
      server.once('error', (error: NodeJS.ErrnoException) => resolve({ reason: reasonOf(error) }));
      server.listen({ host: at.address, port: at.port, exclusive: true }, () => {
        const bound = server.address();
        const port = typeof bound === 'object' && bound !== null ? bound.port : at.port;
        resolve({ listener: { port, close: () => void server.close() } });
      });
    });
  },

  openDatagram(family, events, at) {
    const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', ipv6Only: family === 6 });
    return new Promise(resolve => {
      let isOpen = false;
      socket.on('error', error => {
        if (isOpen) events.failed(reasonOf(error));
        else resolve({ reason: reasonOf(error) });
      });
      socket.on('message', (message, from) => {
        const bytes = new Uint8Array(message.buffer, message.byteOffset, message.length);
        events.message(bytes, { address: from.address, port: from.port });
      });
      socket.bind({ address: at?.address, port: at?.port ?? 0, exclusive: true }, () => {
        isOpen = true;
        resolve({ socket: datagramOf(socket) });
      });
    });

    function datagramOf(open: typeof socket): DatagramSocket {
      let isClosed = false;
      return {
        port: open.address().port,
        send(bytes, to) {
          if (isClosed) return;
          open.send(bytes, to.port, to.address, error => {
            if (error && !isClosed) events.failed(reasonOf(error as NodeJS.ErrnoException));
          });
        },
        close() {
          if (isClosed) return;
          isClosed = true;
          open.close();
        },
      };
    }
  },

  nameservers: () => getServers().map(parseServer),
};
