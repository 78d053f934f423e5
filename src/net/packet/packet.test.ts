import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { packetOf, plainFrame, segments, withChecksum } from '../frame.ts';
import { formatIp, formatMac, ip, isRangeWithin, isWithin, parseCidr, parseIp, parseMac } from './address.ts';
import { concatBytes, get16, put16 } from './bytes.ts';
import { checksum, fold, pseudoSum, sumWords } from './checksum.ts';
import { parseDhcpRequest } from './dhcp.ts';
import { dnsAnswer, dnsQuery, parseDns, readName, reverseAddress } from './dns.ts';
import { EtherType, ethernetHeader, parseArp } from './ethernet.ts';
import { icmpPayload, linkLayerOption, parseIcmp, unreachableMessage } from './icmp.ts';
import { type IpPacket, Protocol, parseIpPacket, writeIpHeader } from './ip.ts';
import { ipPackets, Reassembly } from './reassembly.ts';
import { parseTcp, sequenceDistance, TcpFlag, writeTcpHeader } from './tcp.ts';
import { parseUdp } from './udp.ts';

test('addresses are read and written as RFC 4291 and RFC 5952 have them', () => {
  for (const [text, canonical] of [
    ['10.0.2.15', '10.0.2.15'],
    ['::', '::'],
    ['::1', '::1'],
    ['FE80::1', 'fe80::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8::0:1', '2001:db8::1'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['::ffff:1.2.3.4', '::ffff:102:304'],
    ['1:0:0:2::', '1:0:0:2::'],
  ] as const) {
    assert.equal(formatIp(ip(text)), canonical);
  }
  for (const text of [
    '',
    '1',
    '1.2.3',
    '1.2.3.256',
    '1.2.3.04',
    '1.2.3.4.5',
    ':',
    ':::',
    '1::2::3',
    '12345::',
    'g::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '::1%eth0',
    '1:2:3:4:5:6:7::8:9',
  ]) {
    assert.equal(parseIp(text), undefined, text);
  }
  assert.equal(formatMac(parseMac('52:54:00:AB:cd:ef')!), '52:54:00:ab:cd:ef');
  assert.equal(parseMac('52:54:00:ab:cd'), undefined);
});

test('ranges', () => {
  const range = parseCidr('10.1.2.128/25')!;
  assert.ok(isWithin(ip('10.1.2.200'), range));
  assert.ok(!isWithin(ip('10.1.2.100'), range));
  assert.ok(!isWithin(ip('::1'), range));
  assert.ok(isRangeWithin(range, parseCidr('10.0.0.0/8')!));
  assert.ok(!isRangeWithin(parseCidr('10.0.0.0/8')!, range));
  assert.ok(isWithin(ip('1.2.3.4'), parseCidr('0.0.0.0/0')!));
  for (const text of ['10.0.0.0/33', '10.0.0.0/', '/8', '10.0.0.0/8/8', '::/129']) {
    assert.equal(parseCidr(text), undefined, text);
  }
});

test('checksums: the example of RFC 1071, odd lengths, parts', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.equal(fold(sumWords(bytes, 0, 8)), 0xddf2);
  assert.equal(checksum(bytes, 0, 7), ~fold(sumWords(bytes, 0, 6) + 0xf600) & 0xffff);
  const long = new Uint8Array(65_535);
  createSeededEntropy(1).fill(long);
  let slow = 0;
  for (let i = 0; i < long.length; i++) slow += i % 2 === 0 ? long[i]! * 256 : long[i]!;
  assert.equal(fold(sumWords(long, 0, long.length)), fold(slow));
  assert.equal(fold(sumWords(long, 0, 30_000) + sumWords(long, 30_000, long.length)), fold(slow));
});

const SOURCE = ip('10.0.2.15');
const TARGET = ip('93.184.216.34');

function tcpFrame(
  data: Uint8Array,
  version: 4 | 6,
  flags: number = TcpFlag.ack | TcpFlag.psh | TcpFlag.fin,
): Uint8Array {
  const [source, destination] = version === 4 ? [SOURCE, TARGET] : [ip('fd00::15'), ip('2001:db8::1')];
  const ipBytes = version === 4 ? 20 : 40;
  const bytes = new Uint8Array(14 + ipBytes + 20 + data.length);
  bytes.set(
    ethernetHeader(new Uint8Array(6), new Uint8Array(6), version === 4 ? EtherType.ipv4 : EtherType.ipv6),
  );
  writeIpHeader(bytes, 14, { source, destination, protocol: Protocol.tcp, id: 0xffff }, 20 + data.length);
  writeTcpHeader(bytes, 14 + ipBytes, {
    sourcePort: 1,
    destinationPort: 2,
    sequence: 0xffff_ff00,
    acknowledgement: 7,
    flags,
    window: 9,
  });
  bytes.set(data, 14 + ipBytes + 20);
  return bytes;
}

const goodTcp = (packet: IpPacket) => {
  const length = packet.payloadEnd - packet.payloadStart;
  return (
    checksum(
      packet.bytes,
      packet.payloadStart,
      packet.payloadEnd,
      pseudoSum(packet.addressSum, 6, length),
    ) === 0
  );
};

for (const version of [4, 6] as const) {
  test(`a large segment is cut into good ones, IPv${version}`, () => {
    const data = new Uint8Array(10_000);
    createSeededEntropy(3).fill(data);
    const bytes = tcpFrame(data, version);
    const pieces = segments({ bytes, lacksChecksum: true, segmentBytes: 1448 });
    assert.equal(pieces.length, 7);
    let joined = new Uint8Array(0) as Uint8Array;
    for (const [i, piece] of pieces.entries()) {
      const packet = packetOf(piece.bytes)!;
      assert.ok(goodTcp(packet), `checksum of piece ${i}`);
      const tcp = parseTcp(piece.bytes, packet.payloadStart, packet.payloadEnd)!;
      assert.equal(sequenceDistance(tcp.sequence, 0xffff_ff00), i * 1448);
      const isLast = i === 6;
      assert.equal((tcp.flags & TcpFlag.fin) !== 0, isLast);
      assert.equal((tcp.flags & TcpFlag.psh) !== 0, isLast);
      joined = concatBytes(joined, piece.bytes.subarray(tcp.dataStart, tcp.dataEnd));
    }
    assert.deepEqual(joined, data);
  });

  test(`a checksum that was left to others is completed, IPv${version}`, () => {
    const bytes = tcpFrame(new Uint8Array(33).fill(5), version);
    put16(bytes, 14 + (version === 4 ? 20 : 40) + 16, 0x1234);
    const frame = withChecksum({ bytes, lacksChecksum: true, segmentBytes: 0 });
    assert.ok(goodTcp(packetOf(frame.bytes)!));
    assert.equal(bytes[14 + (version === 4 ? 20 : 40) + 16], 0x12, "the sender's bytes are not touched");
  });
}

test('a large segment that is none gives nothing', () => {
  const arp = plainFrame(new Uint8Array(60));
  assert.deepEqual(segments({ ...arp, segmentBytes: 100 }), []);
  assert.equal(segments(arp).length, 1);
});

test('datagrams are cut to the link and put together again in any order, bounded and without overlaps', () => {
  let nowNs = 0;
  const reassembly = new Reassembly(() => nowNs);
  for (const [source, destination] of [
    [SOURCE, TARGET],
    [ip('fd00::15'), ip('2001:db8::1')],
  ] as const) {
    const payload = new Uint8Array(5001);
    createSeededEntropy(4).fill(payload);
    const header = { source, destination, protocol: Protocol.udp };
    const packets = ipPackets(header, payload, 1500, 99).map(bytes => {
      assert.ok(bytes.length <= 1500);
      return parseIpPacket(bytes, 0)!;
    });
    assert.equal(packets.length, 4);
    const order = [2, 0, 3, 1];
    const results = order.map(i => reassembly.add(packets[i]!));
    assert.deepEqual(results.slice(0, 3), [undefined, undefined, undefined]);
    assert.deepEqual(results[3]?.payload, payload);
    // An overlap makes an end of it.
    reassembly.add(packets[0]!);
    reassembly.add(packets[0]!);
    assert.equal(reassembly.nrWaiting, 0);
  }
  const first = (id: number) =>
    parseIpPacket(
      ipPackets({ source: SOURCE, destination: TARGET, protocol: 17 }, new Uint8Array(3000), 1500, id)[0]!,
      0,
    )!;
  for (let id = 0; id < 1000; id++) reassembly.add(first(id));
  assert.equal(reassembly.nrWaiting, 64);
  nowNs = 31e9;
  reassembly.add(first(5000));
  assert.equal(reassembly.nrWaiting, 1, 'what is old is forgotten');
});

test('DNS names and messages', () => {
  const query = dnsQuery(5, 'www.Example.com', 1);
  const parsed = parseDns(query)!;
  assert.deepEqual(parsed.question, { name: 'www.example.com', type: 1, class: 1 });
  const reply = dnsAnswer(query, parsed, 0, [{ type: 1, ttlSeconds: 100_000, data: ip('1.2.3.4') }]);
  const answer = parseDns(reply)!;
  assert.deepEqual([answer.answers[0]?.name, answer.answers[0]?.ttlSeconds], ['www.example.com', 100_000]);
  assert.equal(formatIp(reverseAddress('34.216.184.93.in-addr.arpa')!), '93.184.216.34');
  assert.equal(reverseAddress('x.216.184.93.in-addr.arpa'), undefined);
  const loop = Uint8Array.of(0xc0, 0x00);
  assert.equal(readName(loop, 0), undefined, 'a pointer to itself');
  const pair = Uint8Array.of(1, 97, 0xc0, 0x04, 1, 98, 0xc0, 0x00);
  assert.equal(readName(pair, 4), undefined, 'pointers in a circle');
  const evil = Uint8Array.of(3, 0x61, 0x2e, 0x62, 0);
  assert.equal(readName(evil, 0)?.name, 'a\\46b', 'a dot inside a label is none between two');
});

test('ICMP messages carry their checksums', () => {
  const packet = parseIpPacket(
    ipPackets({ source: SOURCE, destination: TARGET, protocol: 17 }, new Uint8Array(900), 1500, 1)[0]!,
    0,
  )!;
  const payload = icmpPayload(unreachableMessage(packet, 'prohibited'), TARGET, SOURCE);
  assert.ok(payload.length <= 576);
  const sent = parseIpPacket(
    ipPackets({ source: TARGET, destination: SOURCE, protocol: 1 }, payload, 1500, 1)[0]!,
    0,
  )!;
  assert.deepEqual([parseIcmp(sent)?.type, parseIcmp(sent)?.code], [3, 13]);
  payload[9]! ^= 1;
  const broken = parseIpPacket(
    ipPackets({ source: TARGET, destination: SOURCE, protocol: 1 }, payload, 1500, 1)[0]!,
    0,
  )!;
  assert.equal(parseIcmp(broken), undefined);
});

test('no bytes make a parser fail or read beyond them', () => {
  const random = createSeededEntropy(11);
  const seedFrames = [tcpFrame(new Uint8Array(40), 4, TcpFlag.syn), tcpFrame(new Uint8Array(40), 6)];
  for (let round = 0; round < 20_000; round++) {
    const source = seedFrames[round % 2]!;
    const noise = new Uint8Array(8);
    random.fill(noise);
    const bytes = source.slice(0, round % 3 === 0 ? get16(noise, 0) % (source.length + 1) : source.length);
    for (let i = 2; i < 6; i += 2)
      if (bytes.length > 0) bytes[(12 + noise[i]!) % bytes.length] = noise[i + 1]!;
    const packet = packetOf(bytes);
    parseArp(bytes);
    parseDns(bytes.subarray(14));
    parseDhcpRequest(bytes);
    segments({ bytes, lacksChecksum: true, segmentBytes: 1 + (noise[6]! % 20) });
    withChecksum({ bytes, lacksChecksum: true, segmentBytes: 0 });
    if (!packet) continue;
    assert.ok(packet.payloadStart <= packet.payloadEnd && packet.payloadEnd <= bytes.length);
    const tcp = parseTcp(bytes, packet.payloadStart, packet.payloadEnd);
    if (tcp) assert.ok(tcp.dataStart <= tcp.dataEnd && tcp.dataEnd <= bytes.length);
    const udp = parseUdp(bytes, packet.payloadStart, packet.payloadEnd);
    if (udp) assert.ok(udp.dataStart <= udp.dataEnd && udp.dataEnd <= bytes.length);
    linkLayerOption({ type: 0, code: 0, body: bytes }, 20, 1);
    parseIcmp(packet);
  }
});
