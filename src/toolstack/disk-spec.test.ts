import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameDisks, parseDiskSpec } from './disk-spec.ts';

test('disks are written as a file with settings, or as in xl', () => {
  const cases: [string, object][] = [
    ['disk.vhd', { path: 'disk.vhd' }],
    [
      'disk.img,ro,format=raw,dev=xvdc',
      { path: 'disk.img', isReadOnly: true, format: 'raw', device: 'xvdc' },
    ],
    ['/a/b.vhd,vhd,xvda,rw', { path: '/a/b.vhd', format: 'vhd', device: 'xvda', isReadOnly: false }],
    [
      'format=vpc, vdev=xvdb, access=r, target=/x/with,comma=1.vhd',
      { path: '/x/with,comma=1.vhd', format: 'vhd', device: 'xvdb', isReadOnly: true },
    ],
    ['/odd/a=b.vhd,ro', { path: '/odd/a=b.vhd', isReadOnly: true }],
    [
      'd.vhd,depth=8,iops=100,bps=10M',
      { path: 'd.vhd', queueDepth: 8, requestsPerSecond: 100, bytesPerSecond: 10 << 20 },
    ],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parseDiskSpec(text), expected, text);
});

test('what cannot be read is refused with a reason', () => {
  for (const [text, reason] of [
    ['', /names no file/],
    ['d.vhd,what', /"what" means nothing/],
    ['d.vhd,colour=red', /no setting colour/],
    ['d.vhd,dev=sda', /no device sda/],
    ['d.vhd,ro,rw', /twice/],
    ['d.vhd,format=vmdk', /no image format/],
    ['d.vhd,access=maybe', /ro or rw/],
  ] as const) {
    assert.throws(() => parseDiskSpec(text), { code: 'E_USAGE', message: reason }, text);
  }
});

test('every disk has a device of its own', () => {
  const names = (specs: string[], taken: string[] = []) =>
    nameDisks(specs, new Set(taken)).map(({ device, devid }) => `${device} ${devid}`);
  assert.deepEqual(names(['a', 'b,dev=xvda', 'c']), ['xvdb 51728', 'xvda 51712', 'xvdc 51744']);
  assert.deepEqual(names(['a'], ['xvda']), ['xvdb 51728']);
  assert.throws(() => names(['a,dev=xvda', 'b,dev=xvda']), {
    code: 'E_USAGE',
    message: /another disk already/,
  });
});
