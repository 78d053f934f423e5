import assert from 'node:assert/strict';
import { EventEmitter, getEventListeners } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { callLocal, sendPiece } from './local-http.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-http-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('a connection that the other side has kept open, and closes when it is used again, is not used again', async () => {
  const socketPath = join(folder, 'socket');
  const server = createServer(socket => {
    let isUsed = false;
    socket.on('error', () => {});
    socket.on('data', () => {
      if (isUsed) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=60\r\n\r\nok');
      isUsed = true;
    });
  });
  server.unref();
  await new Promise<void>(resolve => server.listen(socketPath, resolve));
  for (let call = 0; call < 3; call++) {
    const { body } = await callLocal({ socketPath, method: 'GET', path: '/', authorization: '' });
    let text = '';
    for await (const chunk of body) text += new TextDecoder().decode(chunk);
    assert.equal(text, 'ok');
    // The connection is back where it would be kept.
    await new Promise(resolve => setImmediate(resolve));
  }
});

test('who follows for long, slowly, leaves nothing behind for each piece, and is missed when it goes', async () => {
  const response = Object.assign(new EventEmitter(), { write: () => false });
  const reader = new AbortController();
  const send = () => sendPiece(response as unknown as ServerResponse, 'piece', reader.signal);
  for (let i = 0; i < 3; i++) {
    const sent = send();
    response.emit('drain');
    assert.equal(await sent, true);
  }
  assert.equal(getEventListeners(reader.signal, 'abort').length, 0);
  const last = send();
  reader.abort();
  assert.equal(await last, false);
  assert.equal(await send(), false);
  assert.equal(response.listenerCount('drain'), 0);
});
