import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as netif from '../../abi/xen/netif.ts';
import { plainFrame } from '../../net/frame.ts';
import { pattern } from '../../net/nat/guest.fixture.ts';
import { ip } from '../../net/packet/address.ts';
import { ethernetHeader } from '../../net/packet/ethernet.ts';
import { Protocol, writeIpHeader } from '../../net/packet/ip.ts';
import { writeTcpHeader } from '../../net/packet/tcp.ts';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { BACK, FRONT, setUp } from './frontend.fixture.ts';

const event = (world: ReturnType<typeof setUp>, port: number) => world.ports.get(port)?.();

function tcpFrame(dataBytes: number): Uint8Array {
  const bytes = new Uint8Array(54 + dataBytes);
  bytes.set(ethernetHeader(new Uint8Array(6).fill(2), new Uint8Array(6).fill(4), 0x800));
  const header = { source: ip('10.0.2.15'), destination: ip('10.0.2.16'), protocol: Protocol.tcp };
  writeIpHeader(bytes, 14, header, 20 + dataBytes);
  writeTcpHeader(bytes, 34, {
    sourcePort: 1,
    destinationPort: 2,
    sequence: 3,
    acknowledgement: 4,
    flags: 16,
    window: 5,
  });
  bytes.set(pattern(dataBytes), 54);
  return bytes;
}

function cut(bytes: Uint8Array, size: number) {
  const parts: { bytes: Uint8Array }[] = [];
  for (let at = 0; at < bytes.length; at += size) parts.push({ bytes: bytes.subarray(at, at + size) });
  return parts;
}

test('the keys are those that libxl writes and a kernel reads', () => {
  const { guest, device } = setUp();
  assert.equal(guest.read(`${FRONT}/backend`), BACK);
  assert.equal(guest.read(`${FRONT}/mac`), '00:16:3e:01:02:03');
  assert.equal(guest.read(`${FRONT}/state`), '1');
  assert.equal(guest.read(`${BACK}/state`), '2');
  assert.equal(guest.read(`${BACK}/feature-rx-copy`), '1');
  assert.equal(guest.read(`${BACK}/feature-gso-tcpv4`), '1');
  assert.equal(guest.read(`${BACK}/multi-queue-max-queues`), '4');
  assert.equal(guest.read(`${BACK}/feature-ctrl-ring`), 'ENOENT');
  assert.equal(guest.write(`${BACK}/state`, '4'), 'EACCES');
  assert.equal(device.state, 2);
});

test('frames go out: one part, several parts, a large segment, with every request answered', () => {
  const world = setUp();
  const { queues, sent, connect, log, device } = world;
  connect();
  assert.equal(device.state, 4);
  const [queue] = queues;
  const small = pattern(60, 1);
  queue!.transmit([{ bytes: small, offset: 4000 }]);
  event(world, 20);
  assert.deepEqual(sent.at(-1), { bytes: small, lacksChecksum: false, segmentBytes: 0, isLent: false });
  assert.deepEqual(log, ['notify 20']);
  const jumbo = pattern(9014, 2);
  queue!.transmit(cut(jumbo, 3000), netif.NETTXF_csum_blank);
  event(world, 20);
  assert.deepEqual(sent.at(-1)?.bytes, jumbo);
  assert.equal(sent.at(-1)?.lacksChecksum, true);
  const large = tcpFrame(60_000);
  queue!.transmit(cut(large, 4096), netif.NETTXF_csum_blank | netif.NETTXF_data_validated, 1448);
  event(world, 20);
  assert.deepEqual(sent.at(-1), { bytes: large, lacksChecksum: true, segmentBytes: 1448, isLent: false });
  const statuses = queue!.takeStatuses();
  assert.equal(statuses.length, 1 + 4 + 1 + 15);
  assert.deepEqual(
    statuses.slice(5, 8),
    [0, 1, 0],
    'the slot of extra information has no response of its own',
  );
  assert.deepEqual(device.counters.transmit, {
    frames: 3,
    bytes: 60 + 9014 + large.length,
    errors: 0,
    dropped: 0,
  });
});

test('frames come in: small, over several pages, large; they wait for pages and are dropped when too many', () => {
  const world = setUp();
  const { queues, connect, device, log } = world;
  connect();
  const queue = queues[0]!;
  queue.giveBuffers(4);
  device.receive(plainFrame(pattern(60, 1)));
  const jumbo = pattern(9000, 2);
  device.receive(plainFrame(jumbo));
  assert.deepEqual(log, ['notify 21']);
  const frames = queue.takeFrames();
  assert.deepEqual(
    frames.map(frame => frame.bytes.length),
    [60, 9000],
  );
  assert.deepEqual(new Uint8Array(frames[1]!.bytes), jumbo);
  assert.equal(frames[0]!.flags, netif.NETRXF_data_validated);
  const segment = tcpFrame(60_000);
  const lent = segment.slice();
  queue.giveBuffers(10);
  device.receive({ bytes: lent, lacksChecksum: true, segmentBytes: 1448, isLent: true });
  // It waits, and its sender goes on with his memory.
  lent.fill(0);
  assert.deepEqual(queue.takeFrames(), [], 'it needs sixteen');
  assert.equal(queue.rxEvent, 4 + 16);
  queue.giveBuffers(6);
  event(world, 21);
  const [arrived] = queue.takeFrames();
  assert.deepEqual(new Uint8Array(arrived!.bytes), segment);
  assert.deepEqual([arrived!.segmentBytes, arrived!.segmentType], [1448, netif.XEN_NETIF_GSO_TYPE_TCPV4]);
  assert.equal(arrived!.flags & netif.NETRXF_csum_blank, netif.NETRXF_csum_blank);
  for (let i = 0; i < 5000; i++) device.receive(plainFrame(new Uint8Array(60)));
  assert.equal(device.counters.receive.dropped, 5000 - 4096);
});

test('large frames that wait are each as they were sent, though their memory is used again', () => {
  const world = setUp();
  world.connect();
  const queue = world.queues[0]!;
  const lent = new Uint8Array(60_054);
  let next = 0;
  for (let round = 0; round < 5; round++) {
    const [from, count] = [next, 3 + round];
    for (let i = 0; i < count; i++) {
      const segment = tcpFrame(60_000);
      segment.fill(next++, 54);
      lent.set(segment);
      world.device.receive({ bytes: lent, lacksChecksum: true, segmentBytes: 1448, isLent: true });
    }
    lent.fill(255);
    const arrived = [];
    for (let i = 0; i < count; i++) {
      queue.giveBuffers(16);
      event(world, 21);
      arrived.push(...queue.takeFrames());
    }
    assert.deepEqual(
      arrived.map(({ bytes }) => [bytes.length, bytes[54], bytes.at(-1)]),
      Array.from({ length: count }, (_, i) => [60_054, from + i, from + i]),
    );
  }
});

test('heavy connections move into queues of their own, and no frame is overtaken', () => {
  const world = setUp({ nrQueues: 2 });
  world.connect();
  const of = (port: number, number: number, dataBytes: number) => {
    const bytes = tcpFrame(dataBytes);
    new DataView(bytes.buffer).setUint16(34, port);
    new DataView(bytes.buffer).setUint32(38, number);
    return { bytes, lacksChecksum: true, segmentBytes: dataBytes > 1448 ? 1448 : 0 };
  };
  const next = new Map<number, number>();
  const places = new Map<number, number>();
  /** From the second queue first: what overtakes shows. */
  const take = () => {
    for (const i of [1, 0]) {
      for (const { bytes } of world.queues[i]!.takeFrames()) {
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        const [port, number] = [view.getUint16(34), view.getUint32(38)];
        assert.equal(number, next.get(port) ?? 0, `the next frame for port ${port}`);
        next.set(port, number + 1);
        places.set(port, i);
      }
    }
  };
  const given = world.queues.map(() => 0);
  /** As many pages as there are slots, beyond what was taken. */
  const refill = () => {
    for (const [i, queue] of world.queues.entries()) {
      const taken = queue.view.getUint32(queue.rx + 8, true);
      queue.giveBuffers(256 - (given[i]! - taken));
      given[i] = taken + 256;
      event(world, 21 + 2 * i);
    }
  };
  refill();
  const ports = [1, 2, 3, 4];
  // Something else is in the second queue, so all of them begin in the first one.
  for (const port of [5, 6]) world.device.receive(of(port, 0, 20_000 * (port - 4)));
  for (const port of ports) world.device.receive(of(port, 0, 10));
  take();
  const [first] = new Set(ports.map(port => places.get(port)));
  assert.deepEqual([...new Set(ports.map(port => places.get(port)))], [first]);
  for (let number = 1; number < 1000; number++) {
    for (const port of ports) world.device.receive(of(port, number, 40_000));
    if (number % 2 === 1) continue;
    take();
    refill();
  }
  assert.deepEqual(
    ports.map(port => next.get(port)),
    [999, 999, 999, 999],
  );
  assert.equal(ports.filter(port => places.get(port) === first).length, 2, 'two in each');
});

test('a driver that asks for less gets what it can take', () => {
  const world = setUp({
    features: { 'feature-gso-tcpv4': '0', 'feature-no-csum-offload': '1' },
  });
  world.connect();
  const queue = world.queues[0]!;
  queue.giveBuffers(200);
  world.device.receive({ bytes: tcpFrame(10_000), lacksChecksum: true, segmentBytes: 1448 });
  const frames = queue.takeFrames();
  assert.equal(frames.length, 7);
  assert.ok(frames.every(frame => (frame.flags & netif.NETRXF_csum_blank) === 0 && frame.segmentBytes === 0));
  const plain = setUp({ features: { 'feature-sg': '0' } });
  plain.connect();
  plain.queues[0]!.giveBuffers(200);
  plain.device.receive(plainFrame(new Uint8Array(5000)));
  plain.device.receive({ bytes: tcpFrame(3000), lacksChecksum: true, segmentBytes: 1448 });
  assert.equal(plain.queues[0]!.takeFrames().length, 3, 'cut, and what takes two pages dropped');
});

test('several queues: each works, and a connection stays in one', () => {
  const world = setUp({ nrQueues: 4 });
  world.connect();
  assert.equal(world.device.nrQueues, 4);
  for (const [i, queue] of world.queues.entries()) {
    queue.giveBuffers(100);
    queue.transmit([{ bytes: pattern(100, i) }]);
    event(world, 20 + 2 * i);
    assert.deepEqual(world.sent.at(-1)?.bytes, pattern(100, i));
  }
  const used = new Set<number>();
  for (let sourcePort = 1; sourcePort < 40; sourcePort++) {
    const bytes = tcpFrame(10);
    bytes[35] = sourcePort;
    for (let i = 0; i < 3; i++) world.device.receive(plainFrame(bytes));
    const counts = world.queues.map(queue => queue.takeFrames().length);
    assert.deepEqual(
      counts.filter(count => count > 0),
      [3],
    );
    used.add(counts.indexOf(3));
  }
  assert.equal(used.size, 4, 'connections are spread');
});

test('what cannot be is answered with an error, and the device goes on', () => {
  const world = setUp();
  const { queues, connect, sent, device } = world;
  connect();
  const queue = queues[0]!;
  const bad: [string, () => void][] = [
    ['too short', () => queue.transmit([{ bytes: pattern(13) }])],
    ['beyond the page', () => queue.transmit([{ bytes: pattern(200), offset: 3900 }])],
    ['no TCP', () => queue.transmit([{ bytes: pattern(2000) }], 1, 1448)],
    ['pieces of one byte', () => queue.transmit([{ bytes: tcpFrame(2000) }], 1, 1)],
    ['an unknown kind of segment', () => queue.transmit([{ bytes: tcpFrame(2000) }], 1, 1448, 9)],
  ];
  for (const [what, act] of bad) {
    act();
    event(world, 20);
    assert.ok(queue.takeStatuses().includes(netif.NETIF_RSP_ERROR), what);
  }
  assert.equal(sent.length, 0);
  queue.transmit([{ bytes: pattern(100) }]);
  queue.view.setUint32(queue.txSlot(9), 0xffff_fff0, true);
  event(world, 20);
  assert.equal(device.state, 4);
  assert.ok(device.counters.transmit.errors >= bad.length);
});

test('a ring that makes no sense ends the device with a reason, and a new driver may begin anew', () => {
  const world = setUp();
  const { queues, connect, device, xs, setState, guest } = world;
  connect();
  queues[0]!.view.setUint32(queues[0]!.tx, 5000, true);
  event(world, 20);
  assert.equal(device.state, 5);
  assert.match(xs.read('/local/domain/0/error/backend/vif/5/0/error') ?? '', /transmit ring/);
  setState(6);
  assert.equal(guest.read(`${BACK}/state`), '6');
  setState(1);
  assert.equal(device.state, 2);
  queues[0]!.u8.fill(0, queues[0]!.tx, queues[0]!.tx + 16);
  setState(4);
  assert.equal(device.state, 4);
});

test('keys that make no sense end the connection with a reason', () => {
  for (const [key, value, why] of [
    ['request-rx-copy', '0', /rx-copy/],
    ['multi-queue-num-queues', '9', /num-queues/],
    ['multi-queue-num-queues', '2', /queue 0/],
    ['multi-queue-num-queues', '0', /num-queues/],
  ] as const) {
    const world = setUp({ features: { [key]: value } });
    world.connect();
    assert.equal(world.device.state, 5);
    assert.match(world.xs.read('/local/domain/0/error/backend/vif/5/0/error') ?? '', why);
  }
  const world = setUp();
  world.guest.write(`${FRONT}/request-rx-copy`, '1');
  for (const key of ['tx-ring-ref', 'rx-ring-ref', 'event-channel'])
    world.guest.write(`${FRONT}/${key}`, '999999');
  world.setState(4);
  assert.match(world.xs.read('/local/domain/0/error/backend/vif/5/0/error') ?? '', /grant/);
});

test('removal asks the domain, and takes the keys away once it has closed', () => {
  const world = setUp();
  world.connect();
  world.device.remove();
  assert.equal(world.guest.read(`${BACK}/state`), '5');
  world.setState(5);
  world.setState(6);
  assert.equal(world.xs.read(`${BACK}/state`), undefined);
  assert.equal(world.ports.size, 0);
  world.device.receive(plainFrame(new Uint8Array(60)));
});

test('injected faults: lost, failed, delayed', () => {
  for (const side of ['net-transmit', 'net-receive'] as const) {
    let next: 'none' | 'lose' | 'fail' | 'delay' = 'none';
    const world = setUp({ fault: transfer => (transfer === side ? next : 'none') });
    world.connect();
    const queue = world.queues[0]!;
    queue.giveBuffers(20);
    const act = () => {
      if (side === 'net-transmit') {
        queue.transmit([{ bytes: pattern(100) }]);
        event(world, 20);
      } else {
        world.device.receive(plainFrame(pattern(100)));
      }
    };
    const arrived = () =>
      side === 'net-transmit'
        ? world.sent.splice(0).length
        : queue.takeFrames().filter(f => f.status > 0).length;
    next = 'lose';
    act();
    assert.equal(arrived(), 0);
    next = 'fail';
    act();
    assert.equal(arrived(), 0);
    next = 'delay';
    act();
    assert.equal(arrived(), 0);
    assert.equal(world.deferred.length, 1);
    next = 'none';
    world.runDeferred();
    assert.equal(arrived(), 1);
  }
});

test('no content of rings makes the backend fail, hang or write where it may not', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const world = setUp({ nrQueues: 1 + (seed % 2) });
    world.connect();
    const { memory, device } = world;
    const random = createSeededEntropy(seed);
    const number = (below: number) => {
      const bytes = new Uint8Array(4);
      random.fill(bytes);
      return new DataView(bytes.buffer).getUint32(0) % below;
    };
    const guarded = memory.u8.slice(0, 2 * 4096);
    for (let round = 0; round < 40 && device.state === 4; round++) {
      const queue = world.queues[number(world.queues.length)]!;
      const ring = number(2) === 0 ? queue.tx : queue.rx;
      for (let i = 0; i < 40; i++) {
        const slot = ring + 64 + number(3000);
        memory.u8[slot] = number(3) === 0 ? number(256) : number(20);
      }
      const produced = memory.view.getUint32(ring, true);
      memory.view.setUint32(ring, (produced + number(seed % 3 === 0 ? 400 : 20)) >>> 0, true);
      if (number(4) === 0) memory.view.setUint32(ring + 12, number(0xffff_ffff), true);
      for (const port of [...world.ports.keys()]) event(world, port);
      device.receive(plainFrame(new Uint8Array(14 + number(9000))));
      device.receive({ bytes: tcpFrame(number(60_000)), lacksChecksum: true, segmentBytes: 1448 });
      world.runDeferred();
    }
    for (const frame of world.sent) assert.ok(frame.bytes.length >= 14 && frame.bytes.length <= 65_535);
    assert.deepEqual(memory.u8.slice(0, 4096), guarded.slice(0, 4096));
  }
});
