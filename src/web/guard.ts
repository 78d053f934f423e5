/**
 * Who may ask the web server for what. Every program of this machine can connect to a port of 127.0.0.1, and so can every page of the
 * web that a browser of this machine shows. So:
 *
 * - the Host must be the server's own address: a name that somebody made resolve to 127.0.0.1 (DNS rebinding) is refused;
 * - the Origin, which browsers send along and pages cannot forge, must be the server's own, too;
 * - whoever asks for more than the page itself shows the token that "domus web" printed. It is in the fragment of the address, which no
 *   browser sends anywhere; the page sends it as a header, which no other page can.
 */
import { DomusError } from '../base/errors.ts';
import { equalSecrets, type WebRequest } from '../platform/node/web-http.ts';
import { SOCKET_PROTOCOL, SOCKET_TOKEN_PREFIX } from './socket-protocol.ts';

export interface Guard {
  /** @throws DomusError E_WEB_ORIGIN */
  checkOrigin(request: WebRequest): void;
  /** @throws DomusError E_API_TOKEN */
  checkToken(request: WebRequest): void;
  /** The same for a WebSocket, which only a page of ours may open. @throws DomusError E_WEB_ORIGIN, E_API_TOKEN, E_API_REQUEST */
  checkSocket(request: WebRequest): void;
}

const foreign = () =>
  new DomusError(
    'E_WEB_ORIGIN',
    'this server answers only its own page, under the address that "domus web" printed',
    'open that address',
  );
const unknown = () =>
  new DomusError('E_API_TOKEN', 'the token is missing or wrong', 'open the address that "domus web" printed');

export function createGuard(port: number, token: string): Guard {
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
  const isForeign = (origin: string | undefined, host: string | undefined) =>
    host === undefined || !hosts.includes(host) || (origin !== undefined && origin !== `http://${host}`);
  const guard: Guard = {
    checkOrigin(request) {
      if (isForeign(request.header('origin'), request.header('host'))) throw foreign();
      // Newer browsers say so of requests without an Origin, too.
      const site = request.header('sec-fetch-site') ?? 'none';
      const isNavigation = request.header('sec-fetch-mode') === 'navigate';
      if (site !== 'same-origin' && site !== 'none' && !isNavigation) throw foreign();
    },
    checkToken(request) {
      const shown = /^Bearer (.+)$/.exec(request.header('authorization') ?? '')?.[1] ?? '';
      if (!equalSecrets(shown, token)) throw unknown();
    },
    checkSocket(request) {
      guard.checkOrigin(request);
      const isSocket =
        request.method === 'GET' &&
        request.header('upgrade')?.toLowerCase() === 'websocket' &&
        request.header('sec-websocket-version') === '13' &&
        // 16 bytes in base64.
        /^[A-Za-z0-9+/]{22}==$/.test(request.header('sec-websocket-key') ?? '');
      if (!isSocket)
        throw new DomusError('E_API_REQUEST', 'the request is not understood: it opens no WebSocket');
      if (request.header('origin') === undefined) throw foreign();
      const offered = (request.header('sec-websocket-protocol') ?? '').split(',').map(each => each.trim());
      const shown = offered.find(each => each.startsWith(SOCKET_TOKEN_PREFIX)) ?? '';
      const isRight = equalSecrets(shown.slice(SOCKET_TOKEN_PREFIX.length), token);
      if (!isRight || !offered.includes(SOCKET_PROTOCOL)) throw unknown();
    },
  };
  return guard;
}
