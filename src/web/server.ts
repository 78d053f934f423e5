/**
 * The web server of `domus web`: a page, and behind it the interface of the host process (docs/api/openapi.json) as it is, under the same
 * paths and with the same errors. What the page asks for is checked (guard.ts) and handed on; this process knows of no operation.
 */
import { DomusError } from '../base/errors.ts';
import { nodeEntropy } from '../platform/node/entropy.ts';
import { toHex } from '../platform/node/text-codecs.ts';
import {
  serveWeb,
  type WebHandler,
  type WebReply,
  type WebRequest,
  type WebServer,
} from '../platform/node/web-http.ts';
import { errorBody } from '../toolstack/daemon/errors.ts';
import { createGuard } from './guard.ts';
import type { HostLink } from './host-link.ts';
import { checkPage, PLAIN_HEADERS, pageFile } from './page-files.ts';
import { SOCKET_PROTOCOL } from './socket-protocol.ts';
import { joinStreams, webSocketStream } from './web-socket.ts';

export interface WebOptions {
  readonly link: HostLink;
  /** 0: any that is free. */
  readonly port: number;
}

export interface WebConsole {
  /** With the token. */
  readonly address: string;
  close(): Promise<void>;
}

const REQUEST_BYTES_MAX = 1 << 20;
const TOKEN_BYTES = 32;
const NONCE_BYTES = 16;
const METHODS = new Set(['GET', 'POST', 'PATCH', 'DELETE']);
const STATUS: Readonly<Record<string, number>> = {
  E_WEB_ORIGIN: 403,
  E_API_TOKEN: 401,
  E_API_NOT_FOUND: 404,
  E_API_REQUEST: 400,
};

function random(bytes: number): string {
  const buffer = new Uint8Array(bytes);
  nodeEntropy.fill(buffer);
  return toHex(buffer);
}

function refusal(error: unknown): WebReply {
  const code = error instanceof DomusError ? error.code : '';
  return {
    status: STATUS[code] ?? 500,
    headers: { ...PLAIN_HEADERS, 'content-type': 'application/json' },
    body: `${errorBody(error)}\n`,
  };
}

const isInterface = (path: string) => path.startsWith('/v1/');
const targetOf = ({ path, query }: WebRequest) => (query.size > 0 ? `${path}?${query}` : path);
const nowhere = ({ method, path }: WebRequest) =>
  new DomusError('E_API_NOT_FOUND', `there is no ${method} ${path}`);

async function textOf(request: WebRequest): Promise<string | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await request.body(REQUEST_BYTES_MAX);
  } catch {
    throw new DomusError('E_API_REQUEST', `a request is longer than ${REQUEST_BYTES_MAX} bytes`);
  }
  return bytes.length > 0 ? new TextDecoder().decode(bytes) : undefined;
}

function createHandler(link: HostLink, port: number, token: string): WebHandler {
  const guard = createGuard(port, token);
  const forward = async (request: WebRequest): Promise<WebReply> => {
    guard.checkToken(request);
    const { status, contentType, body } = await link.ask(
      request.method,
      targetOf(request),
      await textOf(request),
      request.signal,
    );
    return { status, headers: { ...PLAIN_HEADERS, 'content-type': contentType }, body };
  };
  return {
    async reply(request) {
      try {
        guard.checkOrigin(request);
        if (METHODS.has(request.method) && isInterface(request.path)) return await forward(request);
        const file = request.method === 'GET' ? pageFile(request.path, random(NONCE_BYTES)) : undefined;
        if (!file) throw nowhere(request);
        return file;
      } catch (error) {
        return refusal(error);
      }
    },
    async upgrade(request) {
      try {
        guard.checkSocket(request);
        if (!isInterface(request.path)) throw nowhere(request);
        const answer = await link.open(targetOf(request));
        if (!('stream' in answer)) {
          const chunks: string[] = [];
          const decoder = new TextDecoder();
          for await (const chunk of answer.body) chunks.push(decoder.decode(chunk, { stream: true }));
          return {
            status: answer.status,
            headers: { ...PLAIN_HEADERS, 'content-type': answer.contentType },
            body: chunks.join(''),
          };
        }
        const { stream } = answer;
        return {
          protocol: SOCKET_PROTOCOL,
          serve: connection => joinStreams(webSocketStream(connection), stream),
        };
      } catch (error) {
        return refusal(error);
      }
    },
  };
}

/** @throws DomusError E_WEB_PAGE, E_WEB_PORT */
export async function startWeb({ link, port }: WebOptions): Promise<WebConsole> {
  checkPage();
  const token = random(TOKEN_BYTES);
  let server: WebServer;
  try {
    server = await serveWeb(port, bound => createHandler(link, bound, token));
  } catch (error) {
    const why = (error as { code?: string }).code ?? String(error);
    throw new DomusError(
      'E_WEB_PORT',
      `cannot listen on port ${port}: ${why}`,
      'choose another --port, or none',
    );
  }
  return {
    address: `http://127.0.0.1:${server.port}/#token=${token}`,
    close: () => server.close(),
  };
}
