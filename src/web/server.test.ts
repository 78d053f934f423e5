/** The web server before a real host process, whose machines are doubles: who is let in, what is handed on, and hostile bytes. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { seeded } from '../image/fuzz.fixture.ts';
import { openAgentChannel } from '../image/guest-agent/agent-channel.ts';
import { Daemon } from '../toolstack/daemon/client.ts';
import { parseErrorBody } from '../toolstack/daemon/errors.ts';
import { runDaemon } from '../toolstack/daemon/server.ts';
import { createFakeParts, type FakeParts } from '../toolstack/fake-guest.fixture.ts';
import { Host } from '../toolstack/host.ts';
import { linkHost } from './host-link.ts';
import { startWeb, type WebConsole } from './server.ts';
import { SOCKET_PROTOCOL, SOCKET_TOKEN_PREFIX } from './socket-protocol.ts';

const stateFolder = mkdtempSync(join(tmpdir(), 'domus-web-'));
const parts: FakeParts = createFakeParts({
  boot: guest => void guest.say('fake kernel says hello\n'),
  async command({ spec, stdout, input }) {
    if (spec.argv[0] === 'much') await stdout(new Uint8Array(1 << 20).fill(7));
    if (spec.argv[0] === 'cat') for await (const chunk of input()) await stdout(chunk);
    if (spec.argv[0] === 'hang') return new Promise(() => {});
    return 5;
  },
});

let stop = new AbortController();
let ended: Promise<void>;
let daemon: Daemon;
let server: WebConsole;
let port = 0;
let token = '';

function startDaemon(): void {
  stop = new AbortController();
  const openHost: typeof Host.open = options => Host.open({ ...options, parts });
  ended = runDaemon({ stateFolder, openHost, idleMs: 60_000, signal: stop.signal });
}
async function find(): Promise<Daemon> {
  for (;;) {
    const found = await Daemon.connectIfAny({ stateFolder, entry: '/nonexistent' }).catch(() => undefined);
    if (found) return found;
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

before(async () => {
  startDaemon();
  daemon = await find();
  server = await startWeb({ link: linkHost({ stateFolder, entry: '/nonexistent' }, daemon), port: 0 });
  const { host, hash } = new URL(server.address);
  port = Number(host.split(':')[1]);
  token = hash.slice('#token='.length);
});
after(async () => {
  await server.close();
  stop.abort();
  await ended;
  rmSync(stateFolder, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

function ask(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = httpRequest({ host: '127.0.0.1', port, method, path, headers }, response => {
      let text = '';
      response.setEncoding('utf8').on('data', piece => {
        text += piece;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    call.on('error', reject);
    call.end(body);
  });
}
const known = () => ({ authorization: `Bearer ${token}` });
const askKnown = (method: string, path: string, body?: unknown) =>
  ask(method, path, known(), body === undefined ? undefined : JSON.stringify(body));
const codeOf = ({ text }: Answer): string => parseErrorBody(text).code;
const socketUrl = (path: string) => `ws://127.0.0.1:${port}${path}`;

test('the page comes without a token, with a policy that lets nothing in from elsewhere', async () => {
  const page = await ask('GET', '/');
  assert.equal(page.status, 200);
  assert.match(page.headers['content-type'] ?? '', /^text\/html/);
  const policy = String(page.headers['content-security-policy']);
  assert.match(policy, /default-src 'none'; script-src 'self';/);
  assert.doesNotMatch(policy, /script-src[^;]*unsafe|https?:|\*/);
  const nonce = /'nonce-([0-9a-f]{32})'/.exec(policy)?.[1];
  assert.ok(nonce && page.text.includes(`content="${nonce}"`));
  assert.ok(!page.text.includes(token));
  assert.notEqual(
    (await ask('GET', '/')).headers['content-security-policy'],
    policy,
    'a new nonce each time',
  );
  for (const [, file = ''] of page.text.matchAll(/(?:src|href)="([^"]+)"/g)) {
    assert.match(file, /^\/[a-z.]+$/, 'files of its own alone');
    const answer = await ask('GET', file);
    assert.equal(answer.status, 200, file);
    assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    assert.doesNotMatch(answer.text, /sourceMappingURL=http|@import url\(["']?http/);
  }
  for (const path of [
    '/index.html',
    '/../package.json',
    '/%2e%2e/package.json',
    '/constructor',
    '/__proto__',
  ])
    assert.equal((await ask('GET', path)).status, 404, path);
  assert.equal((await ask('POST', '/')).status, 404);
});

test('another name for the machine, another origin, another site: refused, with the token too', async () => {
  const refused = async (headers: Record<string, string>) => {
    for (const path of ['/', '/v1/guests']) {
      const answer = await ask('GET', path, { ...known(), ...headers });
      assert.deepEqual([answer.status, codeOf(answer)], [403, 'E_WEB_ORIGIN'], JSON.stringify(headers));
    }
  };
  await refused({ host: 'evil.example' });
  await refused({ host: `evil.example:${port}` });
  await refused({ host: '127.0.0.1' });
  await refused({ host: `127.0.0.1:${port + 1}` });
  await refused({ origin: 'http://evil.example' });
  await refused({ origin: 'null' });
  await refused({ origin: `https://127.0.0.1:${port}` });
  await refused({ origin: `http://localhost:${port}` });
  await refused({ 'sec-fetch-site': 'cross-site' });
  await refused({ 'sec-fetch-site': 'same-site' });
  const own = { ...known(), origin: `http://127.0.0.1:${port}`, 'sec-fetch-site': 'same-origin' };
  assert.equal((await ask('GET', '/v1/guests', own)).status, 200);
  const other = { ...known(), host: `localhost:${port}`, origin: `http://localhost:${port}` };
  assert.equal((await ask('GET', '/v1/guests', other)).status, 200);
  // A link from another page may lead here; it brings no token.
  const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' };
  assert.equal((await ask('GET', '/', link)).status, 200);
  assert.equal((await ask('GET', '/v1/guests', link)).status, 401);
});

test('without the token nothing of the host process is shown or done', async () => {
  const wrong = [
    '',
    'Bearer',
    'Bearer ',
    `Bearer ${token.slice(1)}`,
    `Bearer ${token}0`,
    `Basic ${token}`,
    token,
  ];
  for (const authorization of wrong) {
    for (const method of ['GET', 'POST', 'DELETE', 'PATCH']) {
      const answer = await ask(method, '/v1/guests', authorization ? { authorization } : {});
      assert.deepEqual([answer.status, codeOf(answer)], [401, 'E_API_TOKEN'], authorization);
    }
  }
  assert.equal((await ask('GET', `/v1/guests?token=${token}`)).status, 401);
});

test('operations, errors and streams are the host process’s own', async () => {
  const made = await askKnown('POST', '/v1/guests', { name: 'web', command: ['hang'], memory: 64 << 20 });
  const lines = made.text.trim().split('\n');
  assert.equal(made.headers['content-type'], 'application/x-ndjson');
  assert.equal(JSON.parse(lines.at(-1) ?? '').guest.name, 'web');
  assert.ok(lines.length > 1 && 'phase' in JSON.parse(lines[0] ?? ''));
  const list = JSON.parse((await askKnown('GET', '/v1/guests')).text);
  assert.deepEqual(list, { guests: JSON.parse(JSON.stringify(await daemon.list())) });
  const map = JSON.parse((await askKnown('GET', '/v1/guests/web/memory?cells=8')).text);
  assert.deepEqual([map.cells.length, map.pages], [8, 16384]);
  const cases: readonly (readonly [string, string, unknown, number, string])[] = [
    ['GET', '/v1/guests/nosuch', undefined, 404, 'E_GUEST_NOT_FOUND'],
    ['GET', '/v1/nosuch', undefined, 404, 'E_API_NOT_FOUND'],
    ['GET', '/v1/guests/%ff', undefined, 400, 'E_API_REQUEST'],
    ['GET', '/v1/guests/web/memory?cells=0', undefined, 400, 'E_API_REQUEST'],
    ['GET', '/v1/guests/web/memory?cells=1e3', undefined, 400, 'E_API_REQUEST'],
    ['POST', '/v1/guests', { name: 'web', command: ['x'] }, 200, 'E_GUEST_EXISTS'],
    ['POST', '/v1/guests/web/actions', { action: 'fly' }, 400, 'E_API_REQUEST'],
    ['POST', '/v1/guests/web/snapshot', { name: 7 }, 400, 'E_API_REQUEST'],
    ['POST', '/v1/guests/web/snapshot', { name: '../x' }, 400, 'E_GUEST_NAME'],
    ['DELETE', '/v1/snapshots/nosuch', undefined, 404, 'E_SNAPSHOT_UNKNOWN'],
  ];
  for (const [method, path, body, status, code] of cases) {
    const answer = await askKnown(method, path, body);
    const last = answer.text.trim().split('\n').at(-1) ?? '';
    assert.deepEqual([answer.status, parseErrorBody(last).code], [status, code], `${method} ${path}`);
  }
  const long = await ask('POST', '/v1/guests', known(), `"${'x'.repeat(1 << 20)}"`).catch(
    error => error.code,
  );
  assert.ok(long === 'ECONNRESET' || long === 'EPIPE' || long.status === 400);
  await askKnown('POST', '/v1/guests/web/actions', { action: 'pause' });
  assert.equal((await daemon.guest('web')).domain?.state, '--p---');
  await askKnown('POST', '/v1/guests/web/actions', { action: 'unpause' });
});

function openSocket(path: string, protocols: string[]) {
  const socket = new WebSocket(socketUrl(path), {
    protocols,
    headers: { origin: `http://127.0.0.1:${port}` },
  } as never);
  socket.binaryType = 'arraybuffer';
  return socket;
}

/** Run a command over a WebSocket, as the page does. */
async function runOver(command: readonly string[], input?: Uint8Array) {
  const socket = openSocket('/v1/guests/web/exec', [SOCKET_PROTOCOL, `${SOCKET_TOKEN_PREFIX}${token}`]);
  const channel = openAgentChannel(
    {
      onData: hear =>
        socket.addEventListener('message', ({ data }) => void hear(new Uint8Array(data as ArrayBuffer))),
      write(bytes) {
        socket.send(new Uint8Array(bytes));
        return bytes.length;
      },
      onWritable() {},
      close: () => socket.close(),
    },
    {
      encode: () => new TextEncoder().encode(JSON.stringify({ command, hasInput: input !== undefined })),
      explain: payload => parseErrorBody(new TextDecoder().decode(payload)),
    },
  );
  socket.addEventListener('close', () => channel.finish());
  const running = channel.run({ argv: command, env: {}, hasInput: input !== undefined });
  const out: Uint8Array[] = [];
  running.onStdout(bytes => void out.push(bytes));
  running.onStderr(() => {});
  if (input) {
    await running.writeStdin(input);
    running.closeStdin();
  }
  const code = await running.exit;
  socket.close();
  return { code, out: Buffer.concat(out) };
}

test('a command over a WebSocket: megabytes out, and in and out again', async () => {
  const much = await runOver(['much']);
  assert.deepEqual([much.code, much.out.length], [5, 1 << 20]);
  const input = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
  const echoed = await runOver(['cat'], input);
  assert.deepEqual([echoed.code, new Uint8Array(echoed.out)], [5, input]);
});

test('who leaves a WebSocket kills the command', async () => {
  const guest = parts.guests.at(-1)!;
  const before = guest.killedBy.length;
  const left = runOver(['hang']);
  left.catch(() => {});
  await new Promise(resolve => setTimeout(resolve, 50));
  const socket = openSocket('/v1/guests/web/exec', [SOCKET_PROTOCOL, `${SOCKET_TOKEN_PREFIX}${token}`]);
  await new Promise(resolve => socket.addEventListener('open', resolve));
  // START of a command that hangs, in a frame as the agent's channel writes it.
  const start = new TextEncoder().encode(JSON.stringify({ command: ['hang'] }));
  const frame = new Uint8Array(8 + start.length);
  frame[0] = 1;
  new DataView(frame.buffer).setUint32(4, start.length, true);
  frame.set(start, 8);
  socket.send(frame);
  await new Promise(resolve => setTimeout(resolve, 50));
  socket.close();
  while (guest.killedBy.length === before) await new Promise(resolve => setTimeout(resolve, 5));
  assert.equal(guest.killedBy.at(-1), 9);
});

/** What a handshake is answered with. */
function handshake(headers: Readonly<Record<string, string>>, path = '/v1/guests/web/exec'): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.setEncoding('utf8').on('data', piece => {
      text += piece;
      if (text.includes('\r\n\r\n') && text.startsWith('HTTP/1.1 101')) socket.destroy();
    });
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
    const all = {
      Host: `127.0.0.1:${port}`,
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
      ...headers,
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
  });
}

test('handshakes: the page’s own is taken as RFC 6455 wants it, every other one refused', async () => {
  const origin = `http://127.0.0.1:${port}`;
  const protocols = `${SOCKET_PROTOCOL}, ${SOCKET_TOKEN_PREFIX}${token}`;
  const good = { Origin: origin, 'Sec-WebSocket-Protocol': protocols };
  const taken = await handshake(good);
  assert.match(taken, /^HTTP\/1\.1 101 /);
  assert.match(taken, /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/);
  assert.match(taken, /Sec-WebSocket-Protocol: domus-frames\.1\r\n/);
  assert.match(await handshake({ ...good, Origin: 'http://evil.example' }), /^HTTP\/1\.1 403 /);
  assert.match(await handshake({ ...good, Host: 'evil.example' }), /^HTTP\/1\.1 403 /);
  assert.match(await handshake({ 'Sec-WebSocket-Protocol': protocols }), /^HTTP\/1\.1 403 /);
  assert.match(await handshake({ Origin: origin }), /^HTTP\/1\.1 401 /);
  const wrong = `${SOCKET_PROTOCOL}, ${SOCKET_TOKEN_PREFIX}${'0'.repeat(token.length)}`;
  assert.match(await handshake({ ...good, 'Sec-WebSocket-Protocol': wrong }), /^HTTP\/1\.1 401 /);
  const noFrames = `${SOCKET_TOKEN_PREFIX}${token}`;
  assert.match(await handshake({ ...good, 'Sec-WebSocket-Protocol': noFrames }), /^HTTP\/1\.1 401 /);
  assert.match(await handshake({ ...good, Upgrade: 'h2c' }), /^HTTP\/1\.1 400 /);
  assert.match(await handshake({ ...good, 'Sec-WebSocket-Version': '8' }), /^HTTP\/1\.1 400 /);
  assert.match(await handshake({ ...good, 'Sec-WebSocket-Key': 'short' }), /^HTTP\/1\.1 400 /);
  assert.match(await handshake(good, '/v1/guests/nosuch/exec'), /^HTTP\/1\.1 404 [\s\S]*E_GUEST_NOT_FOUND/);
  assert.match(await handshake(good, '/v1/guests'), /^HTTP\/1\.1 400 [\s\S]*E_API_REQUEST/);
  assert.match(await handshake(good, '/elsewhere'), /^HTTP\/1\.1 404 /);
});

/** Send bytes, and wait until the server has closed or said something. */
function sendRaw(bytes: Uint8Array): Promise<string> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1').on('data', piece => {
      text += piece;
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(text));
    socket.end(bytes);
  });
}

test('hostile requests with fixed seeds: the server answers or hangs up, and serves on', {
  timeout: 120_000,
}, async () => {
  const encoder = new TextEncoder();
  const socketRequest = [
    'GET /v1/guests/web/exec HTTP/1.1',
    `Host: 127.0.0.1:${port}`,
    `Origin: http://127.0.0.1:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    `Sec-WebSocket-Protocol: ${SOCKET_PROTOCOL}, ${SOCKET_TOKEN_PREFIX}${token}`,
    '',
    '',
  ].join('\r\n');
  const words = [
    ...[
      'GET ',
      'POST ',
      'DELETE ',
      'OPTIONS ',
      'CONNECT ',
      '/',
      '/v1/guests',
      '/v1/guests/web/memory?cells=',
    ],
    ...['//', '/%', '/%ff', '/v1/guests/%2e%2e', 'http://evil.example/', '*', '?', '#', '\0', '\\', 'é'],
    ...[
      ' HTTP/1.1\r\n',
      ' HTTP/9\r\n',
      '\r\n',
      '\n',
      `Host: 127.0.0.1:${port}\r\n`,
      'Host: a\r\n',
      'Host:\r\n',
    ],
    ...[`Authorization: Bearer ${token}\r\n`, 'Authorization: Bearer \r\n', 'Origin: null\r\n'],
    ...[
      'Content-Length: 3\r\n',
      'Content-Length: -1\r\n',
      'Transfer-Encoding: chunked\r\n',
      '5\r\nhello\r\n0\r\n\r\n',
    ],
    ...['{"name":1}', '[]', 'Upgrade: websocket\r\n', 'Connection: upgrade\r\n', 'Expect: 100-continue\r\n'],
  ];
  for (let seed = 1; seed <= 300; seed++) {
    const below = seeded(seed * 7919);
    let bytes: Uint8Array;
    if (seed % 3 === 0) {
      const some = Array.from({ length: 1 + below(25) }, () => words[below(words.length)]);
      bytes = encoder.encode(some.join(''));
    } else if (seed % 3 === 1) {
      bytes = encoder.encode(socketRequest);
      for (let i = below(3); i > 0; i--) bytes[below(bytes.length)] = below(256);
      const frames = Uint8Array.from({ length: below(2000) }, () => below(256));
      bytes = new Uint8Array(Buffer.concat([bytes, frames]));
    } else {
      bytes = Uint8Array.from({ length: 1 + below(3000) }, () => below(256));
    }
    const text = await sendRaw(bytes);
    assert.doesNotMatch(text, /^HTTP\/1\.1 5/, `seed ${seed}`);
  }
  assert.equal((await askKnown('GET', '/v1/version')).status, 200);
  assert.deepEqual(
    (await daemon.list()).map(({ name }) => name),
    ['web'],
  );
});

test('a host process that has ended and come again is found again', async () => {
  stop.abort();
  await ended;
  startDaemon();
  daemon = await find();
  assert.equal((await askKnown('GET', '/v1/version')).status, 200);
  assert.equal((await handshake({ Origin: `http://127.0.0.1:${port}` })).slice(0, 12), 'HTTP/1.1 401');
});

test('a port that is taken is told of', async () => {
  const link = linkHost({ stateFolder, entry: '/nonexistent' }, daemon);
  await assert.rejects(startWeb({ link, port }), { code: 'E_WEB_PORT' });
});

test('snapshots: listed with what they are, and removed', async () => {
  mkdirSync(join(stateFolder, 'snapshots'), { recursive: true });
  writeFileSync(join(stateFolder, 'snapshots', 'broken.sav'), 'no saved machine');
  assert.deepEqual(JSON.parse((await askKnown('GET', '/v1/snapshots')).text), { snapshots: [] });
  assert.equal((await askKnown('DELETE', '/v1/snapshots/broken')).status, 200);
  assert.equal((await askKnown('DELETE', '/v1/snapshots/broken')).status, 404);
});
