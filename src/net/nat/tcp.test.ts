import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LineFaults } from '../impairment.ts';
import { ip } from '../packet/address.ts';
import { TcpFlag } from '../packet/tcp.ts';
import { createTestWorld, pattern, serve, WEB } from './guest.fixture.ts';

const same = (a: Uint8Array, b: Uint8Array, what: string) =>
  assert.ok(
    a.length === b.length && Buffer.compare(a, b) === 0,
    `${what}: ${a.length} and ${b.length} bytes`,
  );

test('a guest connects, both sides send, both sides close', async () => {
  const { guest, network, nat, pass } = createTestWorld();
  const server = await serve(network, WEB);
  const stream = guest.connect(WEB);
  await pass(50);
  assert.ok(stream.isConnected);
  stream.tcp.send(new TextEncoder().encode('GET / HTTP/1.0\r\n\r\n'));
  await pass(50);
  const [connection] = server.connections;
  assert.equal(new TextDecoder().decode(connection?.received), 'GET / HTTP/1.0\r\n\r\n');
  connection?.socket.write(new TextEncoder().encode('hello'));
  connection?.socket.end();
  await pass(50);
  assert.equal(new TextDecoder().decode(stream.received), 'hello');
  assert.ok(stream.hasEnded, 'the end comes through while the guest may still send');
  stream.tcp.send(Uint8Array.of(1, 2, 3));
  stream.tcp.finish();
  await pass(50);
  assert.equal(connection?.received.length, 21, 'half-close: the other direction still works');
  assert.ok(connection?.hasEnded);
  await pass(3000);
  assert.equal(nat.nrFlows, 0, 'nothing is left');
  assert.equal(network.nrStreams, 0);
  assert.equal(guest.resets.length, 0);
});

test('a port where nobody listens is refused, an unreachable host is reported', async () => {
  const { guest, network, nat, pass } = createTestWorld();
  const refused = guest.connect(WEB);
  await pass(50);
  assert.equal(refused.end, 'broken');
  assert.equal(guest.resets.length, 1);
  network.unreachable.set('198.51.100.1', 'EHOSTUNREACH');
  guest.connect({ address: '198.51.100.1', port: 80 }, 40_001);
  await pass(50);
  assert.deepEqual(
    guest.icmp.map(({ message }) => [message.type, message.code]),
    [[3, 1]],
  );
  assert.equal(nat.nrFlows, 0);
});

test('a reset on either side reaches the other', async () => {
  const { guest, network, pass, nat } = createTestWorld();
  const server = await serve(network, WEB);
  const first = guest.connect(WEB);
  const second = guest.connect(WEB, 40_001);
  await pass(50);
  first.tcp.reset();
  server.connections[1]?.socket.destroy();
  await pass(50);
  assert.equal(server.connections[0]?.reason, 'ECONNRESET');
  assert.equal(second.end, 'broken');
  assert.equal(nat.nrFlows, 0);
});

const lines: readonly (readonly [string, LineFaults])[] = [
  ['a good line', {}],
  ['delay', { delayMs: 40, jitterMs: 20 }],
  ['loss', { loss: 0.02 }],
  ['much loss', { loss: 0.15, delayMs: 2 }],
  ['reordering', { reorder: 0.1, delayMs: 1 }],
  ['duplicates', { duplicate: 0.2 }],
  ['little bandwidth', { bandwidthBitsPerSecond: 20e6 }],
  ['everything', { loss: 0.03, reorder: 0.05, duplicate: 0.05, delayMs: 5, jitterMs: 5 }],
];

for (const [name, faults] of lines) {
  test(`every byte arrives, in order, once: ${name}`, async () => {
    for (const seed of [1, 2, 3]) {
      const { guest, network, inward, pass } = createTestWorld({}, seed);
      const server = await serve(network, WEB);
      inward.setFaults(faults);
      guest.out.setFaults(faults);
      const stream = guest.connect(WEB);
      const up = pattern(300_000, seed);
      const down = pattern(400_000, seed + 100);
      for (let i = 0; i < 600 && server.connections.length === 0; i++) await pass(100);
      const connection = server.connections[0]!;
      connection.socket.write(down);
      connection.socket.end();
      let sent = 0;
      for (let i = 0; i < 6000 && !(stream.hasEnded && connection.hasEnded); i++) {
        if (stream.isConnected && sent < up.length && stream.tcp.queuedBytes < 100_000) {
          stream.tcp.send(up.subarray(sent, sent + 50_000));
          sent += 50_000;
          if (sent === up.length) stream.tcp.finish();
        }
        await pass(50);
      }
      same(connection.received, up, `seed ${seed}, to the outside`);
      same(stream.received, down, `seed ${seed}, to the guest`);
      assert.ok(stream.hasEnded && connection.hasEnded, 'both ends came through');
    }
  });
}

test('data goes to the guest in segments as large as its cable takes', async () => {
  const { guest, network, pass } = createTestWorld();
  const server = await serve(network, WEB);
  const stream = guest.connect(WEB);
  await pass(50);
  server.connections[0]?.socket.write(pattern(500_000));
  await pass(2000);
  assert.equal(stream.received.length, 500_000);
  assert.ok(guest.largestFrame > 60_000, `${guest.largestFrame}`);
});

test('a host that does not read holds the guest back, and memory stays bounded', async () => {
  const { guest, network, pass } = createTestWorld();
  const server = await serve(network, WEB, { reads: false });
  const stream = guest.connect(WEB);
  await pass(50);
  const data = pattern(8 << 20);
  stream.tcp.send(data);
  await pass(5000);
  const taken = data.length - stream.tcp.queuedBytes;
  assert.ok(taken < 1.3 * (1 << 20), `${taken} bytes were taken`);
  await pass(600_000);
  assert.equal(stream.end, undefined, 'a closed window is no reason to give up');
  server.connections[0]?.socket.resume();
  for (let i = 0; i < 400 && stream.tcp.queuedBytes > 0; i++) await pass(500);
  await pass(1000);
  same(server.connections[0]!.received, data, 'after the host reads again');
});

test('a guest that does not read holds the host back, and goes on when it reads', async () => {
  const { guest, network, pass } = createTestWorld();
  const server = await serve(network, WEB);
  const stream = guest.connect(WEB);
  stream.room = 100_000;
  await pass(50);
  const data = pattern(4 << 20, 9);
  const socket = server.connections[0]!.socket;
  for (let at = 0; at < data.length; at += 65_536) socket.write(data.subarray(at, at + 65_536));
  await pass(20_000);
  assert.ok(stream.received.length <= 100_001, `${stream.received.length} bytes in a window of 100,000`);
  assert.ok(socket.bufferedBytes > 2 << 20, `${socket.bufferedBytes} bytes still wait in the server`);
  for (let i = 0; i < 2000 && stream.received.length < data.length; i++) {
    stream.room = 300_000;
    stream.tcp.roomChanged();
    await pass(100);
  }
  same(stream.received, data, 'in the end');
});

test('a connection ends when the guest is gone', async () => {
  const { guest, network, inward, pass, nat } = createTestWorld();
  const server = await serve(network, WEB);
  guest.connect(WEB);
  await pass(50);
  inward.setFaults({ isCut: true });
  guest.out.setFaults({ isCut: true });
  server.connections[0]?.socket.write(pattern(1000));
  await pass(1_500_000);
  assert.equal(server.connections[0]?.reason, 'ECONNRESET');
  assert.equal(nat.nrFlows, 0);
});

test('a SYN for a known connection is answered with what is known; a new guest may reuse the port', async () => {
  const { guest, network, pass } = createTestWorld();
  await serve(network, WEB);
  const old = guest.connect(WEB);
  await pass(50);
  assert.ok(old.isConnected);
  guest.streams.clear();
  const header = {
    sourcePort: 40_000,
    destinationPort: 80,
    sequence: 12_345,
    acknowledgement: 0,
    flags: TcpFlag.syn,
    window: 1000,
  };
  guest.sendTcp(ip(WEB.address), header);
  await pass(50);
  // The fixture answers the unexpected acknowledgement with a reset, as a kernel does.
  const again = guest.connect(WEB);
  await pass(3000);
  assert.ok(again.isConnected);
});

test('connections to a forwarded port reach the guest', async () => {
  const { guest, network, nat, pass } = createTestWorld();
  let served: { received: Uint8Array } | undefined;
  guest.services.set(80, stream => {
    served = stream;
    stream.tcp.send(new TextEncoder().encode('from the guest'));
    stream.tcp.finish();
  });
  const open = await nat.forward({ hostPort: 0, guestPort: 80 }, ip('10.0.2.15'));
  const heard: Uint8Array[] = [];
  let hasEnded = false;
  const socket = network.connect(
    { address: '127.0.0.1', port: open.hostPort },
    {
      connected: () => socket.write(new TextEncoder().encode('from outside')),
      data: chunk => heard.push(chunk),
      ended: () => {
        hasEnded = true;
        socket.end();
      },
      written() {},
      closed() {},
    },
  );
  await pass(500);
  assert.equal(Buffer.concat(heard).toString(), 'from the guest');
  assert.ok(hasEnded);
  assert.equal(new TextDecoder().decode(served?.received), 'from outside');
  await pass(5000);
  assert.equal(nat.nrFlows, 0);
  nat.close();
  let reason: string | undefined;
  network.connect(
    { address: '127.0.0.1', port: open.hostPort },
    { data() {}, ended() {}, written() {}, closed: why => (reason = why) },
  );
  await pass(50);
  assert.equal(reason, 'ECONNREFUSED');
});

test('a forwarded connection waits for a guest that is still starting, and is reset where nobody listens', async () => {
  const { guest, network, nat, pass, inward } = createTestWorld();
  const open = await nat.forward({ hostPort: 0, guestPort: 80 }, ip('10.0.2.15'));
  const results: (string | undefined)[] = [];
  let heard = '';
  const connect = () =>
    network.connect(
      { address: '127.0.0.1', port: open.hostPort },
      {
        data: chunk => (heard += new TextDecoder().decode(chunk)),
        ended() {},
        written() {},
        closed: why => results.push(why),
      },
    );
  inward.setFaults({ isCut: true });
  connect();
  await pass(2000);
  inward.setFaults({});
  guest.services.set(80, stream => stream.tcp.send(Uint8Array.of(111, 107)));
  await pass(8000);
  assert.equal(heard, 'ok');
  guest.services.clear();
  connect();
  await pass(500);
  assert.deepEqual(results, ['ECONNRESET']);
});

test('IPv6 works like IPv4', async () => {
  const { guest, network, pass } = createTestWorld();
  const at = { address: '2001:db8::80', port: 80 };
  const server = await serve(network, at, { echoes: true });
  const stream = guest.connect(at);
  const data = pattern(200_000);
  await pass(100);
  // The guest's IPv6 address is learned from its packets.
  stream.tcp.send(data);
  stream.tcp.finish();
  await pass(5000);
  same(stream.received, data, 'echoed');
  assert.equal(server.connections.length, 1);
});

test('when there are too many connections, the one that was silent for longest makes room', async () => {
  const { guest, network, nat, pass } = createTestWorld();
  const server = await serve(network, WEB);
  const first = guest.connect(WEB, 1000);
  const second = guest.connect(WEB, 1001);
  await pass(50);
  network.unreachable.set('198.51.100.7', 'silence');
  for (let port = 1002; port < 1000 + 4096; port++) {
    const header = { sourcePort: port, destinationPort: 80, sequence: 1, acknowledgement: 0, window: 1000 };
    guest.sendTcp(ip('198.51.100.7'), { ...header, flags: TcpFlag.syn });
  }
  first.tcp.send(Uint8Array.of(1));
  await pass(10);
  assert.equal(nat.nrFlows, 4096);
  guest.sendTcp(ip('198.51.100.7'), {
    sourcePort: 60_000,
    destinationPort: 80,
    sequence: 1,
    acknowledgement: 0,
    window: 1000,
    flags: TcpFlag.syn,
  });
  await pass(20);
  assert.equal(nat.nrFlows, 4096);
  assert.equal(server.connections[1]?.reason, 'ECONNRESET');
  assert.equal(second.end, 'broken');
  assert.equal(first.end, undefined);
});
