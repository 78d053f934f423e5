import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatFaults, parseFaults } from '../net/fault-text.ts';
import { formatIp } from '../net/packet/address.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import { createSimulatedClock } from '../platform/sim/clock.ts';
import { createSimulatedSockets } from '../platform/sim/sockets.ts';
import { createSimulatedTimers } from '../platform/sim/timers.ts';
import {
  checkMtu,
  chosenMode,
  networkFacts,
  parseNetworkMode,
  SwitchRoom,
  VirtualNetwork,
} from './network.ts';

test('a network is none unless something asks for one', () => {
  assert.deepEqual(chosenMode({}), { kind: 'none' });
  assert.deepEqual(chosenMode({ publish: [], allow: [] }), { kind: 'none' });
  for (const options of [
    { publish: ['1:2'] },
    { allow: ['all'] },
    { deny: ['10.0.0.0/8'] },
    { mtu: 9000 },
    { capture: 'x' },
  ]) {
    assert.deepEqual(chosenMode(options), { kind: 'nat' });
  }
  assert.deepEqual(chosenMode({ mode: 'switch:lan-1', mtu: 9000 }), { kind: 'switch', name: 'lan-1' });
  for (const mode of ['none', 'switch:lan']) {
    assert.throws(() => chosenMode({ mode, allow: ['all'] }), { code: 'E_NET_MODE' });
  }
  for (const mode of ['', 'switch:', 'switch:a b', 'bridge', 'NAT']) {
    assert.throws(() => parseNetworkMode(mode), { code: 'E_NET_MODE' }, mode);
  }
});

test('faults are written as text', () => {
  assert.deepEqual(
    parseFaults('delay=50ms,jitter=0.1s,loss=1.5%,reorder=0.05,duplicate=2%,bandwidth=10M,seed=3'),
    {
      faults: {
        delayMs: 50,
        jitterMs: 100,
        loss: 0.015,
        reorder: 0.05,
        duplicate: 0.02,
        bandwidthBitsPerSecond: 10e6,
      },
      seed: 3,
    },
  );
  assert.deepEqual(parseFaults('cut'), { faults: { isCut: true } });
  assert.deepEqual(parseFaults('none'), { faults: {} });
  for (const text of [
    'none',
    'cut',
    'delay=50ms,jitter=10.5ms,loss=1.5%,reorder=5%,duplicate=0.1%,bandwidth=10M,cut',
    'bandwidth=1.5M',
  ]) {
    assert.equal(formatFaults(parseFaults(text).faults), text);
  }
  assert.equal(formatFaults({ bandwidthBitsPerSecond: 1234.5, isCut: false, loss: 0 }), 'bandwidth=1234.5');
  for (const text of [
    '',
    'delay',
    'delay=5',
    'loss=200%',
    'loss=x',
    'bandwidth=1T',
    'speed=1',
    'loss=-1',
    'cut=1',
    'none,cut',
  ]) {
    assert.throws(() => parseFaults(text), { code: 'E_NET_FAULT' }, text);
  }
});

test('packets are as long as IPv6 needs and the device takes', () => {
  assert.equal(checkMtu(1500), 1500);
  for (const mtu of [0, 1279, 65_522, 1500.5, Number.NaN])
    assert.throws(() => checkMtu(mtu), { code: 'E_NET_MTU' });
});

test('guests of a switch have addresses of their own, until there are no more', async () => {
  const platform = createNodePlatform();
  const switches = new SwitchRoom(platform.clock);
  const sockets = createSimulatedSockets(createSimulatedTimers(createSimulatedClock()));
  const options = { mode: 'switch:lan' };
  const open = () => VirtualNetwork.open(options, chosenMode(options), { platform, sockets, switches });
  const first = await open();
  const second = await open();
  assert.deepEqual([formatIp(first.address), formatIp(second.address)], ['10.0.3.1', '10.0.3.2']);
  assert.notDeepEqual(first.mac, second.mac);
  assert.equal(first.settings.gateway, undefined);
  assert.deepEqual(switches.find('lan').portNames, ['10.0.3.1', '10.0.3.2']);
  await first.close();
  assert.deepEqual(switches.find('lan').portNames, ['10.0.3.2']);
  for (let i = 0; i < 252; i++) await open();
  // Those of guests that are gone come last.
  assert.equal(formatIp((await open()).address), '10.0.3.1');
  await assert.rejects(open(), { code: 'E_NET_ADDRESS' });
});

test('a partition is between guests: who has the address of one that is gone is not in its group', async () => {
  const platform = createNodePlatform();
  const switches = new SwitchRoom(platform.clock);
  assert.throws(() => switches.known('lan'), { code: 'E_NET_SWITCH' });
  const lan = switches.find('lan');
  assert.equal(switches.known('lan'), lan);
  const port = lan.attach('a', { receive: () => {} });
  lan.partition([['a'], ['b']]);
  assert.deepEqual(lan.groups, [['a'], ['b']]);
  port.detach();
  assert.deepEqual(lan.groups, [[], ['b']]);
  lan.heal();
  assert.deepEqual(lan.groups, []);
});

test('a capture and faults are on the cable, in both directions', async () => {
  const platform = createNodePlatform();
  const switches = new SwitchRoom(platform.clock);
  const sockets = createSimulatedSockets(createSimulatedTimers(createSimulatedClock()));
  let captured = 0;
  const sink = {
    write: async (chunk: Uint8Array) => {
      captured += chunk.length;
    },
    close: async () => {},
  };
  const options = { mode: 'switch:lan', capture: sink };
  const a = await VirtualNetwork.open(options, chosenMode(options), { platform, sockets, switches });
  const b = await VirtualNetwork.open(
    { mode: 'switch:lan' },
    { kind: 'switch', name: 'lan' },
    { platform, sockets, switches },
  );
  const heard: number[] = [];
  const out = a.interface.plug({ receive: ({ bytes }) => void heard.push(bytes.length) }, task => task());
  const other = b.interface.plug({ receive: () => {} }, task => task());
  const frame = (length: number) => ({
    bytes: new Uint8Array(length).fill(255, 0, 6),
    lacksChecksum: false,
    segmentBytes: 0,
  });
  out.receive(frame(100));
  other.receive(frame(200));
  a.setFaults({ isCut: true }, 'in');
  other.receive(frame(300));
  assert.deepEqual(heard, [200]);
  assert.equal(a.nrLost, 1);
  await a.close();
  assert.equal(captured, 24 + 16 + 100 + 16 + 200 + 16 + 300);
});

test('a network is changed while it is there: faults of each direction, rules, captures', async () => {
  const platform = createNodePlatform();
  const world = {
    platform,
    switches: new SwitchRoom(platform.clock),
    sockets: createSimulatedSockets(createSimulatedTimers(createSimulatedClock())),
  };
  const lan = await VirtualNetwork.open({ mode: 'switch:lan' }, { kind: 'switch', name: 'lan' }, world);
  lan.setFaults({ loss: 0.5 }, 'in', 3);
  lan.setFaults({ isCut: true }, 'out');
  assert.deepEqual(lan.faults, { in: { loss: 0.5 }, out: { isCut: true } });
  assert.throws(() => lan.setFaults({ loss: 2 }), { code: 'E_NET_FAULT' });
  assert.deepEqual(lan.faults, { in: { loss: 0.5 }, out: { isCut: true } }, 'nothing has changed');
  assert.equal(lan.rules, undefined);
  assert.throws(() => lan.setRules({ deny: ['all'] }), { code: 'E_NET_MODE' });

  const folder = mkdtempSync(join(tmpdir(), 'domus-capture-'));
  try {
    const out = lan.interface.plug({ receive: () => {} }, task => task());
    const send = (length: number) =>
      out.receive({ bytes: new Uint8Array(length), lacksChecksum: false, segmentBytes: 0 });
    send(50);
    const [first, second] = [join(folder, 'first.pcap'), join(folder, 'second.pcap')];
    await lan.startCapture(first);
    send(60);
    await assert.rejects(lan.startCapture(join(folder, 'none', 'x.pcap')), { code: 'E_FILE_WRITE' });
    assert.equal(lan.capturePath, first, 'it goes on');
    send(70);
    await lan.startCapture(second);
    send(80);
    await lan.stopCapture();
    send(90);
    assert.equal(lan.capturePath, undefined);
    assert.equal(statSync(first).size, 24 + 16 + 60 + 16 + 70);
    assert.equal(statSync(second).size, 24 + 16 + 80);
    await lan.startCapture(first);
    await lan.startCapture(first);
    send(10);
    await lan.close();
    assert.equal(statSync(first).size, 24 + 16 + 10);
  } finally {
    rmSync(folder, { recursive: true });
  }

  const nat = await VirtualNetwork.open({ deny: ['192.0.2.1'] }, { kind: 'nat' }, world);
  assert.deepEqual(nat.rules, { allow: [], deny: ['192.0.2.1'] });
  nat.setRules({ allow: ['example.com'] });
  // What a saved guest goes on with.
  const { allow, deny } = networkFacts(nat);
  assert.deepEqual([allow, deny], [['example.com'], []]);
  await nat.close();
});
