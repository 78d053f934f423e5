import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DomusError } from '../../base/errors.ts';
import { damaged, seeded } from '../../image/fuzz.fixture.ts';
import { parseGuestRequest } from '../daemon/guest-request.ts';
import { parseXlConfig, parseXlOverride, type XlValue } from './parse.ts';
import { xlRequest } from './request.ts';

/** As found beside Xen: comments, all kinds of values, lists over lines, several settings in a line. */
const SAMPLE = `# a guest
name = "web"            # its name
type = "pvh"
uuid = "3FB1B5A0-0D0C-4C0E-9B3E-0123456789ab"
memory = 256; maxmem = 512; minmem = 64
vcpus = "2"
maxvcpus=4
cpus = ["0-1", "all"]
cpu_weight = 512
cap = 50
kernel = '/boot/vmlinuz'
ramdisk = "initrd.img"
root = "/dev/xvda1 ro"
extra = "quiet\\x20splash \\"x\\""
disk = [ 'file:web.vhd,xvda,w',
         "format=raw, vdev=hdb, access=ro, target=/data/a,b.raw",   # a comment in a list
       ]
vif = [ "mac=00:16:3e:01:02:03,bridge=lan,rate=10Mb/s,script=vif-bridge" ]
on_crash = "coredump-restart"
on_poweroff="destroy"
vnc = 1
nosuchkey = [ [ 1, 0x10 ], 010 ]
`;

const plain = (value: XlValue | undefined): unknown =>
  value?.kind === 'list' ? value.items.map(plain) : value?.kind === 'number' ? value.number : value?.text;
const absolute = (path: string) => (path.startsWith('/') ? path : `/cwd/${path}`);
const request = (text: string) => xlRequest(parseXlConfig(text, 'test.cfg'), absolute);
const refused = (text: string, message: RegExp) =>
  assert.throws(() => request(text), { code: 'E_XL_CONFIG', message });

test('values as xl reads them', () => {
  const config = parseXlConfig(SAMPLE, 'web.cfg');
  assert.equal(plain(config.get('extra')?.value), 'quiet splash "x"');
  assert.deepEqual(plain(config.get('nosuchkey')?.value), [[1, 16], 8]);
  assert.equal(config.get('maxmem')?.where, 'web.cfg:5');
  assert.equal(config.get('vnc')?.where, 'web.cfg:21');
  const more = parseXlConfig('a = ["1"]\na += ["2"]\nb="x"\nb+="y"\na2=1\na2=2', 'x');
  assert.deepEqual(
    ['a', 'b', 'a2'].map(key => plain(more.get(key)?.value)),
    [['1', '2'], 'xy', 2],
  );
  assert.deepEqual(plain(parseXlConfig('x = [\n\n 1,\n 2 ] ; y=3', 'x').get('x')?.value), [1, 2]);
});

test('what a configuration asks for, and what of it has no effect', () => {
  const { request: asked, warnings } = xlRequest(parseXlConfig(SAMPLE, 'web.cfg'), absolute);
  assert.deepEqual(asked, {
    name: 'web',
    uuid: '3FB1B5A0-0D0C-4C0E-9B3E-0123456789ab',
    memory: 256 << 20,
    maxMemory: 512 << 20,
    minMemory: 64 << 20,
    vcpus: 2,
    maxVcpus: 4,
    cpus: ['0-1', 'all'],
    weight: 512,
    cap: 50,
    kernel: '/boot/vmlinuz',
    initrd: '/cwd/initrd.img',
    isOwn: true,
    append: 'root=/dev/xvda1 ro quiet splash "x"',
    disks: [
      { path: '/cwd/web.vhd', device: 'xvda', isReadOnly: false },
      { format: 'raw', device: 'xvdb', isReadOnly: true, path: '/data/a,b.raw' },
    ],
    network: {
      mac: '00:16:3e:01:02:03',
      faults: { bandwidthBitsPerSecond: 10_000_000 },
      mode: 'switch:lan',
    },
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'restart',
  });
  assert.equal(parseGuestRequest(asked), asked);
  assert.equal(warnings.length, 5);
  assert.ok(warnings.every(line => /^web\.cfg:\d+: /.test(line)));
  for (const what of [
    /vif: script has no effect/,
    /hdb is seen as xvdb/,
    /no core is dumped/,
    /vnc: .*no screen/,
  ])
    assert.ok(
      warnings.some(line => what.test(line)),
      String(what),
    );
  assert.match(warnings.at(-1)!, /nosuchkey: is no key that is known/);
});

test('without a kernel the first disk is booted', () => {
  const { request: asked } = request('name="web"\ndisk=["web.vhd"]\nbootloader="pygrub"\nvif=[""]');
  assert.deepEqual([asked.boot, asked.isOwn, asked.network], [true, undefined, { mode: 'nat' }]);
});

test('settings of the command line', () => {
  const config = ['memory=64', 'name=other', 'extra="a b"', 'disk=["x.vhd"]', 'n=0x10'].reduce(
    (before, word) => parseXlOverride(word, before),
    parseXlConfig('name="web"', 'f'),
  );
  assert.deepEqual(
    [...config].map(([key, { value }]) => [key, plain(value)]),
    [
      ['name', 'other'],
      ['memory', 64],
      ['extra', 'a b'],
      ['disk', ['x.vhd']],
      ['n', 16],
    ],
  );
  assert.throws(() => parseXlOverride('name="web', config), { code: 'E_XL_CONFIG' });
});

test('mistakes are refused with their line', () => {
  refused('name="a"\ntype="hvm"', /^test\.cfg:2: type: guests of type "hvm"/);
  refused('name="a"\nbuilder="hvm"', /builder/);
  refused('memory=12', /no name/);
  refused('name="a"\n\npci=["01:00.0"]', /^test\.cfg:3: pci/);
  refused('name="a"\nvcpus="two"', /vcpus: is no whole number/);
  refused('name="a"\nmemory=512\nmaxmem=64', /maxmem/);
  refused('name="a"\nmemory=64\nminmem=65', /minmem: is more than memory/);
  refused('name="a"\nramdisk="x"', /belongs to a kernel/);
  refused('name="a"\nvif=["",""]', /2 interfaces/);
  refused('name="a"\nvif=["speed=1"]', /no setting speed/);
  refused('name="a"\ndisk=["x.iso,hdc:cdrom,r"]', /no CD drives/);
  refused('name="a"\non_crash="explode"', /no action/);
  refused('name="a" memory=5', /^test\.cfg:1: the end of the line is missing/);
  refused('name=\n', /a value is missing before the end of the line/);
  refused('name=[1', /"," or "\]"/);
  refused('import os\n', /"=" is missing/);
  refused(`x=${'['.repeat(99)}`, /lists within/);
  refused('a=[1]\na+="x"', /a value of the kind/);
});

test('whatever the bytes are, they are read or refused', () => {
  const random = seeded(7);
  const good = new TextEncoder().encode(SAMPLE);
  let nrRefused = 0;
  for (let i = 0; i < 3000; i++) {
    const text = new TextDecoder('latin1').decode(damaged(good, random));
    try {
      parseGuestRequest(xlRequest(parseXlConfig(text, 'fuzz'), absolute).request);
    } catch (error) {
      assert.ok(error instanceof DomusError, `round ${i}: ${(error as Error).stack}`);
      nrRefused += 1;
    }
  }
  assert.ok(nrRefused > 500);
  // No text takes long.
  for (const text of [
    '\\\n'.repeat(1 << 18),
    `x="${'\\'.repeat(1 << 19)}`,
    `x=[${'1,'.repeat(1 << 18)}`,
    '#'.repeat(1 << 19),
  ]) {
    try {
      parseXlConfig(text, 'long');
    } catch (error) {
      assert.ok(error instanceof DomusError);
    }
  }
});
