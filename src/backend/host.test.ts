import assert from 'node:assert/strict';
import { test } from 'node:test';
import { domid, gref, port } from '../base/brand.ts';
import { allocUnboundFor, deliverEvents } from '../hypervisor/event/backend.ts';
import { send } from '../hypervisor/event/channel.ts';
import { seedGrant } from '../hypervisor/grant/table.ts';
import { guestAddress, testDomain, testMachine } from '../hypervisor/testing.ts';
import { createXenstored } from '../xenstore/xenstored.ts';
import { createConsoleDevice } from './console/device.ts';
import { ConsoleRing, OUT_BYTES } from './console/ring.ts';
import { createBackendHost } from './host.ts';

test('a console device over the real grant table and event channels', () => {
  const machine = testMachine();
  const { hypervisor } = machine;
  const guest = testDomain(machine);
  const xenstored = createXenstored();
  const xs = xenstored.client();
  const host = createBackendHost(hypervisor);
  const device = createConsoleDevice({ xs, host, defer: task => task(), domid: guest.id, devid: 1 });
  let seen = '';
  device.stream.onData(bytes => {
    seen += String.fromCharCode(...bytes);
  });
  seedGrant(guest, 8, 5, 0);
  const guestPort = allocUnboundFor(guest);
  const front = `/local/domain/${guest.id}/device/console/1`;
  xs.write(`${front}/ring-ref`, 8);
  xs.write(`${front}/port`, guestPort);
  xs.write(`${front}/state`, 3);
  xenstored.pump();
  assert.equal(device.state, 4);

  const ring = ConsoleRing.at(hypervisor.memory.view, guestAddress(guest, 5 * 4096));
  for (const char of 'hello') ring.out[ring.out_prod++ % OUT_BYTES] = char.charCodeAt(0);
  assert.equal(send(guest, guestPort), 0);
  deliverEvents(hypervisor);
  assert.equal(seen, 'hello');
  assert.equal(ring.out_cons, 5);
  assert.equal(device.stream.write(Uint8Array.of(65)), 1);
  assert.equal(ring.in[0], 65);

  xs.write(`${front}/state`, 6);
  xenstored.pump();
  assert.equal(device.state, 6);
  assert.equal(host.mapGrant(guest.id, gref(9)), undefined);
  assert.equal(host.mapGrant(domid(77), gref(8)), undefined);
  assert.equal(
    host.bindInterdomain(guest.id, port(4095), () => {}),
    undefined,
  );
});
