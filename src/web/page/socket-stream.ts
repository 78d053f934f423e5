/** A WebSocket as the stream of bytes that the agent's channel takes (src/image/console-writer.ts). */
import type { ConsoleStream } from '../../image/console-writer.ts';
import { SOCKET_PROTOCOL, SOCKET_TOKEN_PREFIX } from '../socket-protocol.ts';

export interface SocketStream extends ConsoleStream {
  onClose(listener: () => void): void;
}

export function socketStream(path: string, token: string): SocketStream {
  const socket = new WebSocket(`ws://${location.host}${path}`, [
    SOCKET_PROTOCOL,
    `${SOCKET_TOKEN_PREFIX}${token}`,
  ]);
  socket.binaryType = 'arraybuffer';
  return {
    onData(listener) {
      socket.addEventListener('message', ({ data }) => void listener(new Uint8Array(data as ArrayBuffer)));
    },
    // The windows of the frames bound what may wait here.
    write(bytes) {
      if (socket.readyState === WebSocket.OPEN) socket.send(new Uint8Array(bytes));
      return bytes.length;
    },
    onWritable() {},
    onClose: listener => socket.addEventListener('close', () => listener()),
    close: () => socket.close(),
  };
}
