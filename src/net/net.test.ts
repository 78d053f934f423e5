import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createSimulatedClock } from '../platform/sim/clock.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import { createSimulatedTimers } from '../platform/sim/timers.ts';
import { createCapture } from './capture.ts';
import { type Frame, plainFrame, type Station } from './frame.ts';
import { checkFaults, createLine } from './impairment.ts';
import { checkForward, parseForward } from './nat/forwards.ts';
import { ip } from './packet/address.ts';
import { ethernetHeader } from './packet/ethernet.ts';
import { ipPackets } from './packet/reassembly.ts';
import { EgressPolicy } from './policy.ts';
import { Switch } from './switch.ts';

const macOf = (n: number) => Uint8Array.of(2, 0, 0, 0, n >> 8, n & 255);
const BROADCAST = new Uint8Array(6).fill(255);
const frame = (to: Uint8Array, from: Uint8Array, data = 0): Frame =>
  plainFrame(Uint8Array.of(...ethernetHeader(to, from, 0x88b5), data));

function recorder(): Station & { readonly got: number[] } {
  const got: number[] = [];
  return { got, receive: ({ bytes }) => void got.push(bytes[14]!) };
}

test('a switch learns where addresses are, and asks everybody before', () => {
  let nowNs = 0;
  const lan = new Switch('lan', () => nowNs);
  const [a, b, c] = [recorder(), recorder(), recorder()];
  const [pa, pb, pc] = [lan.attach('a', a), lan.attach('b', b), lan.attach('c', c)];
  pa.receive(frame(macOf(2), macOf(1), 1));
  assert.deepEqual([a.got, b.got, c.got], [[], [1], [1]], 'unknown: to all but the sender');
  pb.receive(frame(macOf(1), macOf(2), 2));
  assert.deepEqual([a.got, b.got, c.got], [[2], [1], [1]]);
  pc.receive(frame(BROADCAST, macOf(3), 3));
  assert.deepEqual([a.got, b.got, c.got], [[2, 3], [1, 3], [1]]);
  pa.receive(frame(macOf(1), macOf(1), 4));
  assert.deepEqual(b.got, [1, 3], "what is for the sender's own side stays there");
  // A station moves.
  pc.receive(frame(BROADCAST, macOf(2), 5));
  pa.receive(frame(macOf(2), macOf(1), 6));
  assert.deepEqual(
    [b.got, c.got],
    [
      [1, 3, 5],
      [1, 6],
    ],
  );
  nowNs = 301e9;
  pa.receive(frame(macOf(2), macOf(1), 7));
  assert.deepEqual([b.got.at(-1), c.got.at(-1)], [7, 7], 'what was not heard for long is not known any more');
  pc.detach();
  pc.receive(frame(BROADCAST, macOf(3), 8));
  assert.equal(a.got.at(-1), 5, 'nothing comes from a port that is gone');
});

test('a station that makes up addresses does not displace those of others', () => {
  const lan = new Switch('lan', () => 0);
  const [a, b, c] = [recorder(), recorder(), recorder()];
  const [pa, pb, pc] = [lan.attach('a', a), lan.attach('b', b), lan.attach('c', c)];
  pb.receive(frame(BROADCAST, macOf(2)));
  for (let n = 1000; n < 11_000; n++) pa.receive(frame(macOf(2), macOf(n)));
  const before = c.got.length;
  pc.receive(frame(macOf(2), macOf(3), 9));
  assert.equal(b.got.at(-1), 9);
  assert.equal(c.got.length, before);
  assert.equal(lan.nrFlooded, 0);
});

test('a switch can be cut into parts, also in one direction', () => {
  const lan = new Switch('lan', () => 0);
  const [a, b, c] = [recorder(), recorder(), recorder()];
  const [pa, pb] = [lan.attach('a', a), lan.attach('b', b), lan.attach('c', c)];
  lan.partition([['a', 'b'], ['c']]);
  pa.receive(frame(BROADCAST, macOf(1), 1));
  assert.deepEqual([b.got, c.got], [[1], []]);
  lan.cut((from, to) => from === 'a' && to === 'b');
  pa.receive(frame(BROADCAST, macOf(1), 2));
  pb.receive(frame(BROADCAST, macOf(2), 3));
  assert.deepEqual([a.got, b.got], [[3], [1]]);
  lan.heal();
  pa.receive(frame(BROADCAST, macOf(1), 4));
  assert.equal(b.got.at(-1), 4);
});

function lineWorld(seed = 1) {
  const clock = createSimulatedClock();
  const timers = createSimulatedTimers(clock);
  const end = recorder();
  return { clock, timers, end, line: createLine(end, { clock, timers, entropy: createSeededEntropy(seed) }) };
}

test('a line without faults passes frames at once', () => {
  const { line, end, timers } = lineWorld();
  line.receive(frame(macOf(1), macOf(2), 1));
  assert.deepEqual(end.got, [1]);
  assert.equal(timers.nrPending, 0);
});

test('delay keeps the order, bandwidth spreads frames out', () => {
  const { line, end, timers } = lineWorld();
  line.setFaults({ delayMs: 10, jitterMs: 10 });
  for (let i = 0; i < 100; i++) line.receive(frame(macOf(1), macOf(2), i));
  timers.advance(9);
  assert.deepEqual(end.got, []);
  timers.advance(11);
  assert.deepEqual(
    end.got,
    Array.from({ length: 100 }, (_, i) => i),
  );
  // 15 bytes: 120 bits, at 12 kbit/s a hundredth of a second.
  line.setFaults({ bandwidthBitsPerSecond: 12_000 });
  for (let i = 0; i < 20; i++) line.receive(frame(macOf(1), macOf(2), i));
  timers.advance(101);
  assert.equal(end.got.length, 110);
});

test('a frame that is lent is on a slow line as it was sent', () => {
  const { line, end, timers } = lineWorld();
  line.setFaults({ delayMs: 10 });
  const lent = { ...frame(macOf(1), macOf(2), 7), isLent: true };
  line.receive(lent);
  lent.bytes.fill(0);
  timers.advance(10);
  assert.deepEqual(end.got, [7]);
});

test('loss, duplicates and reordering come as often as was asked, the same for the same seed', () => {
  const run = (seed: number) => {
    const { line, end, timers } = lineWorld(seed);
    line.setFaults({ loss: 0.1, duplicate: 0.1, reorder: 0.1 });
    for (let i = 0; i < 2000; i++) {
      line.receive(frame(macOf(1), macOf(2), i & 255));
      timers.advance(1);
    }
    timers.advance(100);
    return { got: end.got, nrLost: line.nrLost };
  };
  const { got, nrLost } = run(5);
  assert.ok(Math.abs(nrLost - 200) < 60, `${nrLost} lost of 2000`);
  assert.ok(Math.abs(got.length - (2000 - nrLost) * 1.1) < 60, `${got.length} arrived`);
  const disordered = got.filter((value, i) => i > 0 && ((value - got[i - 1]!) & 255) > 128).length;
  assert.ok(disordered > 100, `${disordered} came late`);
  assert.deepEqual(run(5), { got, nrLost });
  assert.notDeepEqual(run(6).got, got);
});

test('a line that is cut passes nothing; nonsense is refused', () => {
  const { line, end } = lineWorld();
  line.setFaults({ isCut: true });
  line.receive(frame(macOf(1), macOf(2)));
  assert.deepEqual([end.got.length, line.nrLost], [0, 1]);
  for (const faults of [{ loss: 2 }, { loss: Number.NaN }, { delayMs: -1 }, { bandwidthBitsPerSecond: 0 }]) {
    assert.throws(() => checkFaults(faults), { code: 'E_NET_FAULT' });
  }
});

test('policies: deny first, then the list of what is allowed', () => {
  const open = new EgressPolicy({ deny: ['10.0.0.0/8', '*.evil.example'] }, () => 0);
  assert.ok(open.allowsAddress(ip('93.184.216.34')));
  assert.ok(!open.allowsAddress(ip('10.1.2.3')));
  assert.ok(!open.allowsName('www.evil.example'));
  assert.ok(open.allowsName('evil.example'));
  const closed = new EgressPolicy(
    { allow: ['*.good.example', '192.0.2.0/24'], deny: ['bad.good.example'] },
    () => 0,
  );
  assert.ok(closed.allowsName('www.good.example'));
  assert.ok(!closed.allowsName('bad.good.example'));
  assert.ok(!closed.allowsName('notgood.example'));
  assert.ok(!closed.allowsName('good.example'));
  assert.ok(closed.allowsAddress(ip('192.0.2.200')));
  assert.ok(!closed.allowsAddress(ip('93.184.216.34')));
  for (const address of [
    '127.0.0.1',
    '169.254.169.254',
    'fd00:ec2::254',
    '0.0.0.0',
    '::1',
    'fe80::1',
    '::ffff:127.0.0.1',
    '::127.0.0.1',
  ]) {
    assert.ok(!open.allowsAddress(ip(address)), address);
  }
  for (const text of [
    '',
    '1.2.3.4.5',
    '300.1.1.1',
    '10.0.0.0/99',
    'a..b',
    '-a.example',
    'a b',
    '*.*.example',
    '*',
  ]) {
    assert.throws(() => new EgressPolicy({ allow: [text] }, () => 0), { code: 'E_NET_RULE' }, text);
  }
});

test('an answer that names the host does not open it', () => {
  const policy = new EgressPolicy({ allow: ['example.com'] }, () => 0);
  policy.learn(ip('127.0.0.1'), 60);
  policy.learn(ip('93.184.216.34'), 60);
  assert.ok(!policy.allowsAddress(ip('127.0.0.1')));
  assert.ok(policy.allowsAddress(ip('93.184.216.34')));
});

test('forwards are read as docker has them', () => {
  assert.deepEqual(parseForward('8080:80'), { hostPort: 8080, guestPort: 80, protocol: 'tcp' });
  assert.deepEqual(parseForward('0.0.0.0:53:5353/udp'), {
    bind: '0.0.0.0',
    hostPort: 53,
    guestPort: 5353,
    protocol: 'udp',
  });
  assert.equal(parseForward('[::1]:1:2').bind, '::1');
  for (const text of ['', '80', 'a:80', '80:0', '70000:80', '1:2/sctp', 'host:1:2', '1:2:3:4', '::1:2:3']) {
    assert.throws(() => parseForward(text), { code: 'E_NET_FORWARD' }, text);
  }
  assert.throws(() => checkForward({ hostPort: 1.5, guestPort: 1 }), { code: 'E_NET_FORWARD' });
});

function hasTshark(): boolean {
  try {
    execFileSync('tshark', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

test('a capture is a pcap file', async t => {
  const chunks: Uint8Array[] = [];
  let isClosed = false;
  const clock = createSimulatedClock(1_800_000_000_123_456_789n);
  const capture = createCapture(
    {
      write: async chunk => void chunks.push(chunk),
      close: async () => {
        isClosed = true;
      },
    },
    clock,
  );
  const source = ip('10.0.2.15');
  const [packet] = ipPackets(
    { source, destination: ip('10.0.2.2'), protocol: 253 },
    new Uint8Array(10),
    1500,
    1,
  );
  const bytes = Uint8Array.of(...ethernetHeader(macOf(1), macOf(2), 0x800), ...packet!);
  for (let i = 0; i < 3; i++) capture.record(plainFrame(bytes));
  await capture.close();
  assert.ok(isClosed);
  const file = Buffer.concat(chunks);
  assert.equal(file.readUInt32LE(0), 0xa1b23c4d);
  assert.equal(file.length, 24 + 3 * (16 + bytes.length));
  assert.equal(file.readUInt32LE(24), 1_800_000_000);
  assert.equal(file.readUInt32LE(28), 123_456_789);
  assert.equal(file.readUInt32LE(32), bytes.length);
  if (!hasTshark()) {
    t.diagnostic('tshark is not installed: not read by it');
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'domus-pcap-'));
  try {
    writeFileSync(join(folder, 'a.pcap'), file);
    const text = execFileSync('tshark', ['-r', join(folder, 'a.pcap')], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    assert.equal(text.match(/10\.0\.2\.15/g)?.length, 3);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
