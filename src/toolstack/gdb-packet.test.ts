/** Packets of the remote serial protocol, whole, in pieces, damaged and random. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { random } from '../../test/oracle/random.ts';
import { createPacketReader, framePacket, fromHex, type PacketEvent, unescapeBinary } from './gdb-packet.ts';

const bytes = (text: string) => Uint8Array.from(text, c => c.charCodeAt(0));
function read(...chunks: string[]): PacketEvent[] {
  const events: PacketEvent[] = [];
  const reader = createPacketReader(event => events.push(event));
  for (const chunk of chunks) reader(bytes(chunk));
  return events;
}

test('packets, interrupts and requests to send again are told apart', () => {
  assert.deepEqual(read('+$m0,4#fd\x03-'), [
    { kind: 'packet', data: 'm0,4' },
    { kind: 'interrupt' },
    { kind: 'resend' },
  ]);
  assert.deepEqual(read('$', 'm0', ',4#f', 'd'), [{ kind: 'packet', data: 'm0,4' }]);
  assert.deepEqual(read('$m0,4#00'), [{ kind: 'damaged' }]);
  // 3 within a packet is data.
  assert.deepEqual(read('$\x03#03'), [{ kind: 'packet', data: '\x03' }]);
});

test('binary data is escaped on its way out and comes back', () => {
  const data = 'a$b#c}d*e\xff';
  const [event] = read(String.fromCharCode(...framePacket(data)));
  assert.equal(event?.kind, 'packet');
  const text = event.kind === 'packet' ? event.data : '';
  assert.equal(String.fromCharCode(...unescapeBinary(text)), data);
  assert.deepEqual(fromHex('00ff7'), undefined);
  assert.deepEqual(fromHex('zz'), undefined);
});

test('a packet that is too long is damaged, and the next one is read', () => {
  assert.deepEqual(read(`$${'a'.repeat(100_000)}#00`, '$?#3f'), [
    { kind: 'damaged' },
    { kind: 'packet', data: '?' },
  ]);
});

test('random bytes stop nothing', () => {
  const draw = random(0x6db);
  const alphabet = '$#}*+-\x03mMXgGpPzZvcqQHT:;,=0123456789abcdef\xff\0';
  for (let round = 0; round < 300; round++) {
    const text = Array.from({ length: draw.below(200) }, () => alphabet[draw.below(alphabet.length)]).join(
      '',
    );
    read(text);
  }
});
