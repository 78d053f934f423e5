/** HTTP for a browser of this machine: a server on 127.0.0.1, and connections that leave HTTP for WebSocket (RFC 6455 section 4). */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type ByteStream, bodyOf, sendPiece, streamOf, targetOf } from './local-http.ts';

export interface WebRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Undefined when it is missing or was given more than once. */
  header(name: string): string | undefined;
  /** @throws when it is longer than `limitBytes` */
  body(limitBytes: number): Promise<Uint8Array>;
  /** Aborted when the client has gone before the reply was complete. */
  readonly signal: AbortSignal;
}

export interface WebReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | AsyncIterable<Uint8Array>;
}

export interface WebUpgrade {
  /** One of those that the client offered. */
  readonly protocol: string;
  serve(stream: ByteStream): void;
}

export interface WebHandler {
  reply(request: WebRequest): Promise<WebReply>;
  /** The client wants a WebSocket: what serves it, or the reply that refuses it. */
  upgrade(request: WebRequest): Promise<WebReply | WebUpgrade>;
}

export interface WebServer {
  readonly port: number;
  close(): Promise<void>;
}

const CONNECTIONS_MAX = 256;
/** RFC 6455 section 1.3. */
const KEY_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Compares in a time that tells nothing about where two texts differ. */
export function equalSecrets(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function requestOf(incoming: IncomingMessage, signal: AbortSignal): WebRequest {
  return {
    method: incoming.method ?? 'GET',
    ...targetOf(incoming),
    header(name) {
      const values = incoming.headersDistinct[name];
      return values?.length === 1 ? values[0] : undefined;
    },
    signal,
    body: limitBytes => bodyOf(incoming, limitBytes),
  };
}

async function sendReply(
  response: ServerResponse,
  { status, headers, body }: WebReply,
  signal: AbortSignal,
): Promise<void> {
  response.writeHead(status, headers);
  if (typeof body === 'string' || body instanceof Uint8Array) {
    response.end(body);
    return;
  }
  response.flushHeaders();
  for await (const piece of body) if (!(await sendPiece(response, piece, signal))) break;
  response.end();
}

function sendUpgrade(incoming: IncomingMessage, socket: Socket, answer: WebReply | WebUpgrade): void {
  if ('protocol' in answer) {
    const key = `${incoming.headers['sec-websocket-key']}${KEY_SUFFIX}`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${answer.protocol}\r\n\r\n`,
    );
    socket.setNoDelay(true);
    answer.serve(streamOf(socket));
    return;
  }
  const body = typeof answer.body === 'string' ? answer.body : '';
  const headers = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(
    `HTTP/1.1 ${answer.status} Refused\r\nConnection: close\r\n${headers.join('')}` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve());
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

/** Serve on 127.0.0.1; port 0: any that is free. Rejects with the system's error when it cannot be listened on. */
export async function serveWeb(port: number, handlerFor: (port: number) => WebHandler): Promise<WebServer> {
  const { createServer } = await import('node:http');
  const sockets = new Set<Socket>();
  let handler: WebHandler | undefined;
  const server = createServer((incoming, response) => {
    const gone = new AbortController();
    response.on('close', () => {
      if (!response.writableFinished) gone.abort();
    });
    handler
      ?.reply(requestOf(incoming, gone.signal))
      .then(reply => sendReply(response, reply, gone.signal))
      .catch(() => response.destroy());
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('connection', socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => {});
    const gone = new AbortController();
    socket.on('close', () => gone.abort());
    if (head.length > 0) socket.unshift(head);
    handler
      ?.upgrade(requestOf(incoming, gone.signal))
      .then(answer => sendUpgrade(incoming, socket, answer))
      .catch(() => socket.destroy());
  });
  const bound = await listen(server, port);
  handler = handlerFor(bound);
  return {
    port: bound,
    close() {
      return new Promise(resolve => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    },
  };
}
