import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { plainFrame } from '../frame.ts';
import { formatIp, ip } from '../packet/address.ts';
import { concatBytes, get16 } from '../packet/bytes.ts';
import { DhcpOption, DhcpType } from '../packet/dhcp.ts';
import { DnsCode, DnsType, dnsAnswer, dnsQuery, parseDns } from '../packet/dns.ts';
import { ArpOperation, arpFrame, EtherType, etherType, parseArp } from '../packet/ethernet.ts';
import { Icmp, Icmpv6, linkLayerOption, neighbourTarget } from '../packet/icmp.ts';
import {
  createTestWorld,
  GUEST_IP,
  GUEST_IP6,
  GUEST_MAC,
  NAMESERVER,
  pattern,
  serve,
  type TestWorld,
  WEB,
} from './guest.fixture.ts';
import type { NatOptions } from './nat.ts';

const echo = (id: number, data: Uint8Array) => Uint8Array.of(0, id, 0, 1, ...data);

test('the gateway answers ARP and pings, and no other address does', async () => {
  const { guest, pass, nat } = createTestWorld();
  await pass(10);
  const reply = guest.frames.find(frame => etherType(frame) === EtherType.arp);
  assert.equal(formatIp(parseArp(reply!)!.senderIp), '10.0.2.2');
  guest.frames.length = 0;
  const target = { mac: new Uint8Array(6), ip: ip('10.0.2.99') };
  guest.send(
    arpFrame(new Uint8Array(6).fill(255), ArpOperation.request, { mac: GUEST_MAC, ip: GUEST_IP }, target),
  );
  await pass(10);
  assert.equal(guest.frames.length, 0);
  guest.sendIcmp(nat.addresses.gateway, { type: Icmp.echoRequest, code: 0, body: echo(7, pattern(3000)) });
  await pass(10);
  // The request and the reply are longer than the link: both go in fragments, which the guest here does not join.
  assert.equal(guest.frames.length, 3);
  guest.sendIcmp(nat.addresses.gateway, { type: Icmp.echoRequest, code: 0, body: echo(8, pattern(56)) });
  await pass(10);
  const answer = guest.icmp.at(-1)!;
  assert.deepEqual(
    [answer.from, answer.message.type, answer.message.body[1]],
    ['10.0.2.2', Icmp.echoReply, 8],
  );
  guest.sendIcmp(ip('192.0.2.1'), { type: Icmp.echoRequest, code: 0, body: echo(9, pattern(56)) });
  await pass(10);
  assert.deepEqual(
    [guest.icmp.at(-1)!.message.type, guest.icmp.at(-1)!.message.code],
    [Icmp.unreachable, 13],
    'there is no way to ping the outside',
  );
});

test('neighbour discovery, router advertisement and pings over IPv6', async () => {
  const { guest, pass, nat } = createTestWorld();
  const solicitation = concatBytes(new Uint8Array(4), nat.addresses.gateway6, Uint8Array.of(1, 1), GUEST_MAC);
  guest.sendIcmp(ip('ff02::1:ff00:2'), { type: Icmpv6.neighbourSolicitation, code: 0, body: solicitation });
  await pass(10);
  const told = guest.icmp.at(-1)!;
  assert.equal(told.message.type, Icmpv6.neighbourAdvertisement);
  assert.equal(formatIp(neighbourTarget(told.message)!), formatIp(nat.addresses.gateway6));
  assert.deepEqual(linkLayerOption(told.message, 20, 2), nat.addresses.mac);
  guest.sendIcmp(ip('ff02::2'), { type: Icmpv6.routerSolicitation, code: 0, body: new Uint8Array(4) });
  await pass(10);
  const router = guest.icmp.at(-1)!;
  assert.equal(router.message.type, Icmpv6.routerAdvertisement);
  assert.equal(router.from, 'fe80::2');
  guest.sendIcmp(nat.addresses.gateway6, { type: Icmpv6.echoRequest, code: 0, body: echo(1, pattern(20)) });
  await pass(10);
  assert.equal(guest.icmp.at(-1)!.message.type, Icmpv6.echoReply);
  assert.equal(formatIp(GUEST_IP6), 'fd00:646f:6d75:73::15');
});

function dhcp(type: number, mac: Uint8Array, options: readonly number[] = []): Uint8Array {
  const bytes = new Uint8Array(300);
  bytes.set([1, 1, 6, 0, 1, 2, 3, 4]);
  bytes.set(mac, 28);
  bytes.set([0x63, 0x82, 0x53, 0x63, DhcpOption.messageType, 1, type, ...options, 255], 236);
  return bytes;
}

/** As a client without an address sends it. */
function sendDhcp(world: TestWorld, bytes: Uint8Array): void {
  world.guest.sendUdp(ip('255.255.255.255'), 67, bytes, 68);
}

test('DHCP gives an address, keeps it, and refuses others', async () => {
  const world = createTestWorld();
  const { guest, pass } = world;
  sendDhcp(world, dhcp(DhcpType.discover, GUEST_MAC));
  await pass(10);
  const offer = guest.datagrams.at(-1)!;
  assert.deepEqual([offer.port, offer.toPort], [67, 68]);
  assert.equal(formatIp(offer.data.slice(16, 20)), '10.0.2.15');
  sendDhcp(world, dhcp(DhcpType.request, GUEST_MAC, [50, 4, 10, 0, 2, 15]));
  await pass(10);
  const typeOf = (data: Uint8Array) => data[242];
  assert.equal(typeOf(guest.datagrams.at(-1)!.data), DhcpType.ack);
  sendDhcp(world, dhcp(DhcpType.request, GUEST_MAC, [50, 4, 10, 0, 2, 77]));
  await pass(10);
  assert.equal(typeOf(guest.datagrams.at(-1)!.data), DhcpType.nak);
  sendDhcp(world, dhcp(DhcpType.discover, Uint8Array.of(2, 0, 0, 0, 0, 16)));
  await pass(10);
  assert.equal(formatIp(guest.datagrams.at(-1)!.data.slice(16, 20)), '10.0.2.16');
  const count = guest.datagrams.length;
  for (const length of [0, 10, 235, 239, 242]) sendDhcp(world, dhcp(1, GUEST_MAC).slice(0, length));
  await pass(10);
  assert.equal(guest.datagrams.length, count, 'what is no DHCP message is not answered');
});

test('UDP goes out and comes back, only from those who were asked, and ends by itself', async () => {
  const { guest, network, nat, pass } = createTestWorld();
  let asked = '';
  const opened = await network.openDatagram(
    4,
    {
      message: (bytes, from) => {
        asked = new TextDecoder().decode(bytes);
        if ('socket' in opened) opened.socket.send(new TextEncoder().encode('pong'), from);
      },
      failed() {},
    },
    { address: '198.51.100.9', port: 9 },
  );
  guest.sendUdp(ip('198.51.100.9'), 9, new TextEncoder().encode('ping'));
  await pass(20);
  assert.equal(asked, 'ping');
  const [answer] = guest.datagrams;
  assert.deepEqual([answer?.from, answer?.port, answer?.toPort], ['198.51.100.9', 9, 5000]);
  const stranger = await network.openDatagram(
    4,
    { message() {}, failed() {} },
    { address: '198.51.100.66', port: 9 },
  );
  assert.ok('socket' in stranger);
  for (let port = 40_000; port < 40_010; port++)
    stranger.socket.send(Uint8Array.of(1), { address: '192.0.2.1', port });
  await pass(20);
  assert.equal(guest.datagrams.length, 1);
  const large = pattern(20_000);
  guest.sendUdp(ip('198.51.100.9'), 9, large);
  await pass(20);
  assert.equal(asked.length > 0 && nat.nrFlows, 1, 'fragments are put together');
  await pass(70_000);
  assert.equal(nat.nrFlows, 0);
});

test('UDP ports are forwarded, each peer under a port of its own', async () => {
  const { guest, network, nat, pass } = createTestWorld();
  const open = await nat.forward({ hostPort: 5353, guestPort: 53, protocol: 'udp' }, GUEST_IP);
  const heard: string[] = [];
  for (const name of ['a', 'b']) {
    const opened = await network.openDatagram(4, {
      message: bytes => heard.push(`${name} ${new TextDecoder().decode(bytes)}`),
      failed() {},
    });
    assert.ok('socket' in opened);
    opened.socket.send(new TextEncoder().encode(name), { address: '127.0.0.1', port: open.hostPort });
  }
  await pass(20);
  assert.equal(guest.datagrams.length, 2);
  for (const { port, data } of guest.datagrams) guest.sendUdp(nat.addresses.gateway, port, data, 53);
  await pass(20);
  assert.deepEqual(heard.sort(), ['a a', 'b b']);
});

/** A name server that knows one name. */
async function nameserver(world: TestWorld): Promise<{ asked: string[] }> {
  const asked: string[] = [];
  const opened = await world.network.openDatagram(
    4,
    {
      message: (bytes, from) => {
        const query = parseDns(bytes);
        if (!query || !('socket' in opened)) return;
        asked.push(query.question.name);
        const isKnown = query.question.name === 'example.com' && query.question.type === DnsType.a;
        const record = { type: DnsType.a, ttlSeconds: 30, data: ip(WEB.address) };
        const reply = dnsAnswer(
          bytes,
          query,
          isKnown ? DnsCode.ok : DnsCode.noSuchName,
          isKnown ? [record] : [],
        );
        opened.socket.send(reply, from);
      },
      failed() {},
    },
    NAMESERVER,
  );
  return { asked };
}

async function lookUp(
  world: TestWorld,
  name: string,
  to = world.nat.addresses.nameserver,
  type: number = DnsType.a,
) {
  world.guest.datagrams.length = 0;
  world.guest.sendUdp(to, 53, dnsQuery(1234, name, type), 6000);
  await world.pass(20);
  const [reply] = world.guest.datagrams;
  assert.equal(reply && get16(reply.data, 0), 1234);
  return parseDns(reply!.data)!;
}

test("names are asked for at the host's name server; a dead one gives a failure", async () => {
  const world = createTestWorld();
  const server = await nameserver(world);
  const found = await lookUp(world, 'example.com');
  assert.equal(formatIp(found.answers[0]!.data), WEB.address);
  assert.equal((await lookUp(world, 'nowhere.example')).code, DnsCode.noSuchName);
  assert.deepEqual(server.asked, ['example.com', 'nowhere.example']);
  const host = await lookUp(world, 'host.domus.internal');
  assert.equal(formatIp(host.answers[0]!.data), '10.0.2.2');
  const dead = createTestWorld({ nameservers: [{ address: '192.0.2.99', port: 53 }] });
  dead.guest.sendUdp(dead.nat.addresses.nameserver, 53, dnsQuery(1, 'example.com', 1));
  await dead.pass(10_000);
  assert.equal(parseDns(dead.guest.datagrams[0]!.data)!.code, DnsCode.serverFailure);
});

test('DNS over TCP', async () => {
  const world = createTestWorld();
  const server = await serve(world.network, NAMESERVER);
  const stream = world.guest.connect({ address: '10.0.2.3', port: 53 });
  await world.pass(20);
  const query = dnsQuery(77, 'example.com', DnsType.txt);
  stream.tcp.send(Uint8Array.of(0, query.length, ...query));
  await world.pass(50);
  const connection = server.connections[0]!;
  const asked = connection.received.slice(2);
  const reply = dnsAnswer(asked, parseDns(asked)!, DnsCode.ok, [
    { type: DnsType.txt, ttlSeconds: 1, data: pattern(3000) },
  ]);
  connection.socket.write(Uint8Array.of(reply.length >> 8, reply.length & 255, ...reply));
  await world.pass(50);
  const message = parseDns(stream.received.slice(2))!;
  assert.deepEqual([message.id, message.answers[0]?.data.length], [77, 3000]);
  stream.tcp.finish();
  await world.pass(5000);
  assert.equal(world.nat.nrFlows, 0);
});

test('with an allow list only its names resolve, and only their addresses are reached, as long as answers last', async () => {
  const world = createTestWorld({ allow: ['example.com'] });
  await nameserver(world);
  await serve(world.network, WEB);
  const early = world.guest.connect(WEB, 41_000);
  await world.pass(50);
  assert.equal(early.isConnected, false, 'nobody has asked for the name yet');
  assert.equal(world.guest.icmp.at(-1)?.message.code, 13);
  assert.equal((await lookUp(world, 'other.example')).code, DnsCode.noSuchName);
  assert.equal((await lookUp(world, 'sub.example.com')).code, DnsCode.noSuchName);
  assert.equal(
    (await lookUp(world, 'example.com', ip('8.8.8.8'))).answers.length,
    1,
    'asked elsewhere, answered here',
  );
  const stream = world.guest.connect(WEB, 41_001);
  await world.pass(50);
  assert.ok(stream.isConnected);
  await world.pass(60_000);
  const late = world.guest.connect(WEB, 41_002);
  await world.pass(50);
  assert.equal(late.isConnected, false, 'the answer is no longer valid');
});

test('the host itself is reached only when its address is allowed', async () => {
  for (const [allow, isOpen] of [
    [undefined, false],
    [['all'], false],
    [['0.0.0.0/0'], false],
    [['127.0.0.1'], true],
    [['127.0.0.0/8', 'all'], true],
  ] as const) {
    const world = createTestWorld({ allow });
    await serve(world.network, { address: '127.0.0.1', port: 8080 });
    await serve(world.network, { address: '169.254.169.254', port: 80 });
    const host = world.guest.connect({ address: '10.0.2.2', port: 8080 });
    const metadata = world.guest.connect({ address: '169.254.169.254', port: 80 }, 40_001);
    await world.pass(50);
    assert.equal(host.isConnected, isOpen, `allow ${allow}`);
    assert.equal(metadata.isConnected, false);
  }
});

test('rules close the gateway and the name server, under all of their addresses', async () => {
  /** Who answers: pings of the gateway (IPv4, IPv6) and the name server, its questions, the host's port at the gateway. */
  async function answering(rules: NatOptions): Promise<string> {
    const world = createTestWorld(rules);
    const { guest, nat, pass, network } = world;
    await nameserver(world);
    await serve(network, { address: '127.0.0.1', port: 8080 });
    await pass(10);
    const pings = async (to: Uint8Array) => {
      const type = to.length === 4 ? Icmp.echoRequest : Icmpv6.echoRequest;
      guest.icmp.length = 0;
      guest.sendIcmp(to, { type, code: 0, body: echo(3, pattern(56)) });
      await pass(10);
      const [heard] = guest.icmp;
      return heard?.message.type === (to.length === 4 ? Icmp.echoReply : Icmpv6.echoReply);
    };
    const { gateway, gateway6, nameserver: names, nameserver6: names6 } = nat.addresses;
    const found: string[] = [];
    for (const [name, to] of Object.entries({ gateway, gateway6, names, names6 }))
      if (await pings(to)) found.push(name);
    guest.datagrams.length = 0;
    guest.sendUdp(names, 53, dnsQuery(5, 'example.com', DnsType.a));
    await pass(50);
    if (guest.datagrams.length > 0) found.push('udp-53');
    const asking = guest.connect({ address: formatIp(names), port: 53 }, 42_000);
    const host = guest.connect({ address: formatIp(gateway), port: 8080 }, 42_001);
    await pass(50);
    if (asking.isConnected) found.push('tcp-53');
    if (host.isConnected) found.push('host');
    return found.join(' ');
  }
  const open = { allow: ['127.0.0.1', 'all'] };
  const pings = 'gateway gateway6 names names6';
  assert.equal(await answering(open), `${pings} udp-53 tcp-53 host`);
  assert.equal(await answering({ ...open, deny: ['10.0.2.2'] }), 'names names6 udp-53 tcp-53');
  assert.equal(await answering({ ...open, deny: ['fe80::2'] }), 'names names6 udp-53 tcp-53');
  assert.equal(await answering({ ...open, deny: ['10.0.2.3'] }), 'gateway gateway6 host');
  assert.equal(await answering({ ...open, deny: ['10.0.2.0/24'] }), '');
  // The local network as people deny it: names still resolve.
  assert.equal(await answering({ ...open, deny: ['10.0.0.0/8'] }), 'gateway6 names6 udp-53 tcp-53');
  assert.equal(await answering({ ...open, deny: ['example.com'] }), `${pings} udp-53 tcp-53 host`);
});

test('who may not reach the gateway does not learn its name', async () => {
  for (const [deny, code] of [
    [[], DnsCode.ok],
    [['10.0.2.2'], DnsCode.noSuchName],
    [['*.internal'], DnsCode.noSuchName],
    [['127.0.0.1'], DnsCode.ok],
  ] as const) {
    assert.equal((await lookUp(createTestWorld({ deny }), 'host.domus.internal')).code, code, deny.join());
  }
});

test('rules change under a guest: what begins later is held to them', async () => {
  const world = createTestWorld();
  await nameserver(world);
  await serve(world.network, WEB, { echoes: true });
  const before = world.guest.connect(WEB, 41_000);
  await world.pass(50);
  world.nat.policy.setRules({ allow: ['example.com'], deny: ['10.0.2.2'] });
  assert.deepEqual(world.nat.policy.rules, { allow: ['example.com'], deny: ['10.0.2.2'] });
  const after = world.guest.connect(WEB, 41_001);
  before.tcp.send(pattern(100));
  await world.pass(50);
  assert.deepEqual([before.received.length, after.isConnected], [100, false]);
  await lookUp(world, 'example.com');
  const named = world.guest.connect(WEB, 41_002);
  await world.pass(50);
  assert.ok(named.isConnected);
  // What a name has opened lasts no longer than its rule.
  world.nat.policy.setRules({ allow: ['other.example'] });
  const late = world.guest.connect(WEB, 41_003);
  await world.pass(50);
  assert.equal(late.isConnected, false);
  assert.throws(() => world.nat.policy.setRules({ allow: ['not a name'] }), { code: 'E_NET_RULE' });
  assert.deepEqual(world.nat.policy.rules.allow, ['other.example'], 'nothing has changed');
});

test('nothing that a guest sends makes the router fail, or grow without bound', async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const world = createTestWorld({}, seed);
    const { guest, nat, pass, network } = world;
    await serve(network, WEB, { echoes: true });
    const random = createSeededEntropy(seed);
    const bytes = new Uint8Array(4);
    const number = (below: number) => {
      random.fill(bytes);
      return new DataView(bytes.buffer).getUint32(0) % below;
    };
    const samples: Uint8Array[] = [];
    const keep = guest.out.receive;
    guest.out.receive = frame => {
      samples.push(frame.bytes.slice());
      keep(frame);
    };
    const stream = guest.connect(WEB);
    await pass(20);
    stream.tcp.send(pattern(3000));
    guest.sendUdp(nat.addresses.nameserver, 53, dnsQuery(1, 'example.com', 1));
    guest.sendUdp(ip('198.51.100.9'), 9, pattern(4000));
    sendDhcp(world, dhcp(DhcpType.discover, GUEST_MAC));
    guest.sendIcmp(nat.addresses.gateway6, { type: Icmpv6.echoRequest, code: 0, body: echo(1, pattern(20)) });
    guest.sendIcmp(ip('ff02::2'), { type: Icmpv6.routerSolicitation, code: 0, body: new Uint8Array(4) });
    await pass(20);
    for (let i = 0; i < 300; i++) {
      const frame = samples[number(samples.length)]!.slice();
      for (let flips = number(6); flips >= 0; flips--) frame[6 + number(frame.length - 6)] = number(256);
      const cut = number(4) === 0 ? frame.slice(0, number(frame.length)) : frame;
      nat.receive({
        ...plainFrame(cut),
        lacksChecksum: number(4) !== 0,
        segmentBytes: number(3) === 0 ? number(9000) : 0,
      });
      if (i % 50 === 0) await pass(10);
    }
    await pass(100);
    assert.ok(nat.nrFlows <= 400, `${nat.nrFlows} flows`);
    nat.close();
    await pass(20);
    assert.equal(nat.nrFlows, 0);
  }
});
