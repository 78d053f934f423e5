import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainFrame } from '../../net/frame.ts';
import { ip } from '../../net/packet/address.ts';
import { ethernetHeader } from '../../net/packet/ethernet.ts';
import { Protocol, writeIpHeader } from '../../net/packet/ip.ts';
import { writeTcpHeader } from '../../net/packet/tcp.ts';
import { FlowQueues } from './flow-queues.ts';

const SEGMENT = 60_000;

/** A segment of the connection to this port of the domain's. */
function segment(port: number, dataBytes = SEGMENT) {
  const bytes = new Uint8Array(54 + dataBytes);
  bytes.set(ethernetHeader(new Uint8Array(6).fill(2), new Uint8Array(6).fill(4), 0x800));
  const header = { source: ip('10.0.2.2'), destination: ip('10.0.2.15'), protocol: Protocol.tcp };
  writeIpHeader(bytes, 14, header, 20 + dataBytes);
  const ends = { sourcePort: 5201, destinationPort: port };
  writeTcpHeader(bytes, 34, { ...ends, sequence: 3, acknowledgement: 4, flags: 16, window: 5 });
  return plainFrame(bytes);
}
const always = () => true;
const never = () => false;

test('heavy flows have a queue each, though many light ones have begun between them', () => {
  const flows = new FlowQueues(4);
  const heavy = [1000, 2000, 3000, 4000];
  let light = 10_000;
  for (const port of heavy) {
    flows.choose(segment(port), always);
    for (let i = 0; i < 5; i++) flows.choose(segment(light++, 10), always);
  }
  for (let i = 0; i < 300; i++) for (const port of heavy) flows.choose(segment(port), always);
  const used = heavy.map(port => flows.choose(segment(port), never));
  assert.deepEqual(
    used.toSorted((a, b) => a - b),
    [0, 1, 2, 3],
  );
});

test('a flow moves when its queue is drained, and not before; without need it stays where it is', () => {
  const flows = new FlowQueues(2);
  // Two begin in the same queue: something else was in the other one then.
  const first = flows.choose(segment(1000, 10), always);
  for (let i = 0; i < 20; i++) flows.choose(segment(2000), always);
  assert.equal(flows.choose(segment(3000, 10), always), first);
  const ports = [1000, 3000];
  const places = (isDrained: () => boolean) => ports.map(port => flows.choose(segment(port), isDrained));
  for (let i = 0; i < 600; i++) assert.deepEqual(places(never), [first, first]);
  // The one that was heavy has not carried anything for long.
  for (let i = 0; i < 20; i++) places(always);
  const [one, other] = places(never);
  assert.notEqual(one, other);
  for (let i = 0; i < 600; i++) assert.deepEqual(places(always), [one, other]);
});

test('what has no ports, and what is no packet, has a queue too, always the same', () => {
  const flows = new FlowQueues(3);
  for (const bytes of [new Uint8Array(60), segment(1, 100).bytes.subarray(0, 36)]) {
    const queue = flows.choose(plainFrame(bytes), never);
    assert.ok(queue >= 0 && queue < 3);
    for (let i = 0; i < 5; i++) assert.equal(flows.choose(plainFrame(bytes), never), queue);
  }
});
