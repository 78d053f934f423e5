import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maddr, PAGE_SIZE } from '../../base/brand.ts';
import { createMachineMemory } from '../../machine/memory.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { TestGuest } from '../../xenstore/guest-fixture.ts';
import { createXenstored } from '../../xenstore/xenstored.ts';
import type { BackendHost } from '../host.ts';
import { createConsoleDevice } from './device.ts';
import { writePrimaryConsoleKeys } from './keys.ts';
import { ConsoleRing, IN_BYTES, OUT_BYTES } from './ring.ts';

const FRONT = 'device/console/1';
const BACK = '/local/domain/0/backend/console/5/1';

/** A domain with a console driver: a small xenbus client over its real xenstore ring, and a granted console page. */
function setUp(fault: () => Fault = () => 'none') {
  const memory = createMachineMemory(1 << 18);
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.write('/local/domain/5/name', 'guest');
  xs.setPermissions('/local/domain/5', ['n0', 'r5']);
  const grants = new Map([
    [9, 3 * PAGE_SIZE],
    [0, 4 * PAGE_SIZE],
  ]);
  const ports = new Map<number, () => void>();
  const log: string[] = [];
  const host: BackendHost = {
    memory,
    mapGrant(domid, ref) {
      const address = grants.get(ref);
      log.push(`map ${domid} ${ref}`);
      return address === undefined ? undefined : maddr(address);
    },
    unmapGrant: (_, ref) => void log.push(`unmap ${ref}`),
    bindInterdomain(_, remotePort, onEvent) {
      if (remotePort > 20) return undefined;
      ports.set(remotePort, onEvent);
      log.push(`bind ${remotePort}`);
      return { notify: () => void log.push('notify'), close: () => void log.push(`close ${remotePort}`) };
    },
  };
  let removed = 0;
  const device = createConsoleDevice({
    xs,
    host,
    defer: task => task(),
    domid: 5,
    devid: 1,
    name: 'exec',
    faults: { onTransfer: fault },
    onRemoved: () => {
      removed += 1;
    },
  });
  const guest = new TestGuest(xenstored, 5, memory, PAGE_SIZE);
  const announce = (ref: string, port: string) => {
    const tx = guest.begin();
    guest.write(`${FRONT}/ring-ref`, ref, tx);
    guest.write(`${FRONT}/port`, port, tx);
    assert.equal(guest.end(tx), 'OK\0');
    assert.equal(guest.write(`${FRONT}/state`, '3'), 'OK\0');
    xenstored.pump();
  };
  const setState = (state: number) => {
    guest.write(`${FRONT}/state`, String(state));
    xenstored.pump();
  };
  xenstored.pump();
  return { memory, xenstored, xs, device, guest, log, ports, announce, setState, removed: () => removed };
}

test('the keys are those that libxl writes and a kernel reads', () => {
  const { guest, xs, device } = setUp();
  assert.equal(guest.read(`${FRONT}/backend`), BACK);
  assert.equal(guest.read(`${FRONT}/backend-id`), '0');
  assert.equal(guest.read(`${FRONT}/state`), '1');
  assert.equal(guest.read(`${FRONT}/type`), 'ioemu');
  assert.equal(guest.read(`${FRONT}/name`), 'exec');
  assert.equal(guest.read(`${BACK}/state`), '2');
  assert.equal(guest.read(`${BACK}/frontend`), '/local/domain/5/device/console/1');
  assert.equal(guest.read(`${BACK}/frontend-id`), '5');
  assert.equal(guest.read(`${BACK}/online`), '1');
  assert.equal(guest.write(`${BACK}/state`, '4'), 'EACCES');
  assert.equal(guest.write(`${FRONT}/type`, 'x'), 'EACCES');
  assert.deepEqual(xs.getPermissions('/local/domain/5/device/console/1/state'), ['n5', 'r0']);
  assert.deepEqual(xs.getPermissions(BACK), ['n0', 'r5']);
  assert.equal(device.state, 2);

  writePrimaryConsoleKeys(xs, { domid: 5, gfn: 0xfefff, port: 2 });
  assert.equal(guest.read('console/ring-ref'), String(0xfefff));
  assert.equal(guest.read('console/port'), '2');
  assert.equal(guest.read('console/type'), 'xenconsoled');
  assert.equal(guest.write('console/port', '3'), 'EACCES');
});

test('a kernel connects, talks both ways, and closes when asked', () => {
  const { guest, device, log, ports, memory, announce, setState, xenstored, removed, xs } = setUp();
  guest.watch(`${BACK}/state`, 'backend');
  guest.takeEvents();
  assert.equal(device.stream.write(new Uint8Array(1)), 0);
  announce('9', '7');
  assert.deepEqual(log.splice(0), ['map 5 9', 'bind 7']);
  assert.deepEqual(guest.takeEvents(), [`${BACK}/state backend`]);
  assert.equal(guest.read(`${BACK}/state`), '4');
  setState(4);
  assert.deepEqual(log, []);

  const ring = ConsoleRing.at(memory.view, 3 * PAGE_SIZE);
  const got: number[] = [];
  device.stream.onData(bytes => {
    got.push(...bytes);
  });
  const binary = Array.from({ length: 600 }, (_, i) => i & 255);
  for (let round = 0; round < 5; round++) {
    for (const byte of binary) ring.out[ring.out_prod++ % OUT_BYTES] = byte;
    ports.get(7)!();
  }
  assert.deepEqual(got, Array.from({ length: 5 }, () => binary).flat());
  assert.equal(device.stream.write(Uint8Array.from([1, 2, 3])), 3);
  assert.deepEqual([...ring.in.subarray(0, 3)], [1, 2, 3]);
  assert.equal(ring.in_prod, 3);
  assert.ok(log.splice(0).every(entry => entry === 'notify'));

  // What is in the ring when the device closes is not lost.
  ring.out[ring.out_prod++ % OUT_BYTES] = 42;
  device.remove();
  assert.deepEqual(guest.takeEvents(), [`${BACK}/state backend`]);
  assert.equal(guest.read(`${BACK}/state`), '5');
  assert.equal(guest.read(`${BACK}/online`), '0');
  setState(6);
  assert.equal(got.at(-1), 42);
  assert.deepEqual(log, ['notify', 'close 7', 'unmap 9']);
  assert.equal(removed(), 1);
  xenstored.pump();
  assert.equal(xs.exists(BACK), false);
  assert.equal(xs.exists('/local/domain/5/device/console/1'), false);
  assert.equal(device.stream.write(new Uint8Array(1)), 0);
});

test('input refused before the kernel connects is asked for when it does', () => {
  const { device, announce } = setUp();
  let writable = 0;
  device.stream.onWritable(() => {
    writable += 1;
    assert.equal(device.stream.write(new Uint8Array(2000)), IN_BYTES);
  });
  assert.equal(device.stream.write(new Uint8Array(2000)), 0);
  announce('9', '7');
  assert.equal(writable, 1);
});

test('a kernel may close and come back, also with another ring', () => {
  const { device, log, announce, setState } = setUp();
  announce('9', '7');
  setState(4);
  setState(5);
  assert.equal(device.state, 5);
  setState(6);
  assert.equal(device.state, 6);
  assert.deepEqual(log.splice(0), ['map 5 9', 'bind 7', 'close 7', 'unmap 9']);
  setState(1);
  assert.equal(device.state, 2);
  announce('0', '8');
  assert.equal(device.state, 4);
  assert.deepEqual(log.splice(0), ['map 5 0', 'bind 8']);
  // Resumed elsewhere, a kernel announces a new ring without closing the old one.
  announce('9', '7');
  assert.deepEqual(log.splice(0), ['close 8', 'unmap 0', 'map 5 9', 'bind 7']);
  announce('9', '7');
  assert.deepEqual(log, []);
});

test('nonsense from the kernel closes the device and says why', () => {
  for (const [ref, port, reason] of [
    ['x', '7', /numbers/],
    ['9', '-1', /numbers/],
    ['99999999999', '7', /numbers/],
    ['1234', '7', /grant 1234/],
    ['9', '4000000000', /event channel 4000000000/],
  ] as const) {
    const { device, announce, xs, log } = setUp();
    announce(ref, port);
    assert.equal(device.state, 5);
    assert.match(xs.read('/local/domain/0/error/backend/console/5/1/error')!, reason);
    const maps = log.filter(entry => entry.startsWith('map')).length;
    assert.equal(
      log.filter(entry => entry.startsWith('unmap')).length,
      reason.source.startsWith('event') ? maps : 0,
    );
  }
});

test('a kernel that removes its nodes, or garbles its state, only closes its console', () => {
  const { device, announce, guest, xenstored, log } = setUp();
  announce('9', '7');
  assert.equal(guest.remove(FRONT), 'OK\0');
  xenstored.pump();
  assert.equal(device.state, 6);
  assert.deepEqual(log.splice(0), ['map 5 9', 'bind 7', 'close 7', 'unmap 9']);
  device.remove();
  assert.equal(device.state, 6);
  device.remove(true);
  assert.deepEqual(log, []);
});

test('a connection can be delayed or made to fail', () => {
  const delayed: Fault[] = ['delay', 'delay', 'none'];
  const first = setUp(() => delayed.shift() ?? 'none');
  first.announce('9', '7');
  assert.equal(first.device.state, 4);
  assert.equal(delayed.length, 0);
  const second = setUp(() => 'fail');
  second.announce('9', '7');
  assert.equal(second.device.state, 5);
});
