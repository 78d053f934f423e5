/**
 * HTTP between processes of one user: a server on a Unix socket, its client, and connections that leave HTTP for a protocol
 * of their own (Upgrade, RFC 9110 section 7.8).
 */
import { chmod } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** When it is needed: with what it brings along it takes longer to load than the rest of the program. */
const http = () => import('node:http');

export interface LocalRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string | undefined;
  /** @throws when it is longer than `limitBytes` */
  body(limitBytes: number): Promise<Uint8Array>;
  /** Aborted when the client has gone before the reply was complete. */
  readonly signal: AbortSignal;
}

export interface LocalReply {
  readonly status: number;
  readonly contentType: string;
  /** Text as a whole, or as it comes; the next piece is asked for when the last one was taken. */
  readonly body: string | AsyncIterable<string>;
}

/** Bytes in both directions. A promise of the listener's holds the other side back. */
export interface ByteStream {
  onData(listener: (bytes: Uint8Array) => void | Promise<void>): void;
  /** Returns how many bytes were taken, all or none. */
  write(bytes: Uint8Array): number;
  onWritable(listener: () => void): void;
  onClose(listener: () => void): void;
  close(): void;
}

export interface LocalHandler {
  reply(request: LocalRequest): Promise<LocalReply>;
  /** A connection asks for another protocol: its stream, or the reply that refuses it. */
  upgrade(request: LocalRequest, protocol: string): Promise<LocalReply | ((stream: ByteStream) => void)>;
}

export interface LocalServer {
  /** Connections that are open. */
  readonly nrConnections: number;
  close(): Promise<void>;
}

const BUFFERED_BYTES_MAX = 256 * 1024;

export function streamOf(socket: Socket): ByteStream {
  let isHeld = 0;
  socket.on('error', () => {});
  // Sockets of Node's HTTP server stay half open otherwise: nobody here ends one direction alone.
  socket.on('end', () => socket.end());
  return {
    onData(listener) {
      socket.on('data', (chunk: Buffer) => {
        const taken = listener(new Uint8Array(chunk));
        if (!taken) return;
        isHeld += 1;
        socket.pause();
        const release = () => {
          isHeld -= 1;
          if (isHeld === 0) socket.resume();
        };
        taken.then(release, release);
      });
      socket.resume();
    },
    write(bytes) {
      // What goes to a connection that has broken is of no interest any more.
      if (socket.destroyed) return bytes.length;
      if (socket.writableLength > BUFFERED_BYTES_MAX) return 0;
      socket.write(bytes);
      return bytes.length;
    },
    onWritable: listener => void socket.on('drain', listener),
    onClose: listener => void socket.on('close', () => listener()),
    close: () => void socket.end(),
  };
}

/** What was asked for; a target that is no path is taken as one that does not exist. */
export function targetOf({ url = '/' }: IncomingMessage): { path: string; query: URLSearchParams } {
  const target = url.startsWith('/') && !url.startsWith('//') ? URL.parse(url, 'http://domus') : null;
  return { path: target?.pathname ?? '/unreadable', query: target?.searchParams ?? new URLSearchParams() };
}

/** @throws when it is longer than `limitBytes` */
export async function bodyOf(incoming: IncomingMessage, limitBytes: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limitBytes) throw new Error(`a request is longer than ${limitBytes} bytes`);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function requestOf(incoming: IncomingMessage, signal: AbortSignal): LocalRequest {
  return {
    method: incoming.method ?? 'GET',
    ...targetOf(incoming),
    authorization: incoming.headers.authorization,
    signal,
    body: limitBytes => bodyOf(incoming, limitBytes),
  };
}

/** Send a piece, and wait until another one may be sent. @returns whether anybody is there to have it */
export async function sendPiece(
  response: ServerResponse,
  piece: string | Uint8Array,
  signal: AbortSignal,
): Promise<boolean> {
  if (signal.aborted) return false;
  if (response.write(piece)) return true;
  // Nothing of it is left when it is over: a reply may have no end.
  await new Promise<void>(resolve => {
    const finish = () => {
      response.removeListener('drain', finish);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    response.on('drain', finish);
    signal.addEventListener('abort', finish);
  });
  return !signal.aborted;
}

async function sendReply(response: ServerResponse, reply: LocalReply, signal: AbortSignal): Promise<void> {
  response.writeHead(reply.status, { 'content-type': reply.contentType });
  if (typeof reply.body === 'string') {
    response.end(reply.body);
    return;
  }
  response.flushHeaders();
  for await (const piece of reply.body) if (!(await sendPiece(response, piece, signal))) break;
  response.end();
}

/** Serve on a socket that nobody serves on. Only its owner may connect. */
export async function serveLocal(path: string, handler: LocalHandler): Promise<LocalServer> {
  const sockets = new Set<Socket>();
  const { createServer } = await http();
  const server = createServer((incoming, response) => {
    const gone = new AbortController();
    response.on('close', () => {
      if (!response.writableFinished) gone.abort();
    });
    handler
      .reply(requestOf(incoming, gone.signal))
      .then(reply => sendReply(response, reply, gone.signal))
      .catch(() => response.destroy());
  });
  server.on('connection', socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => {});
    const gone = new AbortController();
    socket.on('close', () => gone.abort());
    const protocol = incoming.headers.upgrade ?? '';
    handler
      .upgrade(requestOf(incoming, gone.signal), protocol)
      .then(answer => {
        if (typeof answer === 'function') {
          socket.write(
            `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`,
          );
          if (head.length > 0) socket.unshift(head);
          answer(streamOf(socket));
          return;
        }
        const body = typeof answer.body === 'string' ? answer.body : '';
        socket.end(
          `HTTP/1.1 ${answer.status} Refused\r\nConnection: close\r\nContent-Type: ${answer.contentType}\r\n` +
            `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
        );
      })
      .catch(() => socket.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve());
  });
  await chmod(path, 0o600);
  return {
    get nrConnections() {
      return sockets.size;
    },
    close() {
      return new Promise(resolve => {
        // An error says that it is closed already.
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    },
  };
}

export interface LocalCall {
  readonly socketPath: string;
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly authorization: string;
  readonly body?: string;
  readonly signal?: AbortSignal | undefined;
}

export interface LocalAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: AsyncIterable<Uint8Array>;
}

/** Each request has a connection of its own: one that is kept may be closed by the other side in the moment in which it is used again. */
const optionsOf = ({ socketPath, method, path, authorization, body, signal }: LocalCall) => ({
  socketPath,
  method,
  path,
  signal,
  agent: false as const,
  headers: { authorization, ...(body !== undefined && { 'content-type': 'application/json' }) },
});

const answerOf = (response: IncomingMessage): LocalAnswer => ({
  status: response.statusCode ?? 0,
  contentType: response.headers['content-type'] ?? '',
  body: response,
});

/** Rejects with the system's error when there is no connection. */
export async function callLocal(call: LocalCall): Promise<LocalAnswer> {
  const { request: open } = await http();
  return new Promise((resolve, reject) => {
    const request = open(optionsOf(call), response => resolve(answerOf(response)));
    request.on('error', reject);
    request.end(call.body);
  });
}

/** Leave HTTP for `protocol`; or the answer that refuses it. */
export async function upgradeLocal(
  call: LocalCall,
  protocol: string,
): Promise<{ stream: ByteStream } | LocalAnswer> {
  const { request: open } = await http();
  return new Promise((resolve, reject) => {
    const options = optionsOf(call);
    const request = open({
      ...options,
      headers: { ...options.headers, connection: 'Upgrade', upgrade: protocol },
    });
    request.on('error', reject);
    request.on('response', response => resolve(answerOf(response)));
    request.on('upgrade', (_response, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      resolve({ stream: streamOf(socket as Socket) });
    });
    request.end();
  });
}
