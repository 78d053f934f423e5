/** What a saved machine says about itself comes from a file: it is taken as it was written, or refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DomusError } from '../base/errors.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import { RecordType } from '../state/format.ts';
import { encodeFacts, factsOf, type MachineFacts } from './machine-facts.ts';

const FACTS: MachineFacts = {
  memoryBytes: 512 << 20,
  vcpus: 2,
  nrConsoles: 2,
  disks: [
    {
      device: 'xvda',
      file: 'base-010203040506.vhd',
      isReadOnly: false,
      queueDepth: 8,
      limits: { requestsPerSecond: 100, bytesPerSecond: undefined },
    },
    { device: 'xvdb', file: 'b.vhd', isReadOnly: true, queueDepth: undefined, limits: undefined },
  ],
  disksFolder: 'warm.sav.disks-01020304',
  network: {
    mac: '00:16:3e:01:02:03',
    mtu: 1500,
    allow: ['10.0.0.0/8'],
    deny: undefined,
    nameservers: [{ address: '127.0.0.53', port: 53 }],
  },
  image: {
    env: { PATH: '/bin' },
    entrypoint: ['entry'],
    command: ['sh'],
    workingFolder: '/',
    user: { uid: 101, gid: 102, groups: [103] },
  },
};
const read = (payload: Uint8Array) => factsOf({ records: new Map([[RecordType.machine, [payload]]]) });
const readText = (value: unknown) => read(new TextEncoder().encode(JSON.stringify(value)));
const isDamaged = (error: unknown) => error instanceof DomusError && error.code === 'E_SAVE_DAMAGED';

test('facts are read as they were written, and those of the first version too', () => {
  assert.deepEqual(read(encodeFacts(FACTS)), FACTS);
  assert.deepEqual(readText({ domus: '0.1.0', memoryBytes: 64 << 20, vcpus: 1, nrConsoles: 2 }), {
    memoryBytes: 64 << 20,
    vcpus: 1,
    nrConsoles: 2,
    disks: [],
    disksFolder: undefined,
    network: undefined,
    image: undefined,
  });
});

test('facts name no file elsewhere, and nothing that no machine has', () => {
  const [disk] = FACTS.disks;
  for (const file of ['/etc/passwd', '../x.vhd', 'a/b.vhd', 'key.pem', '', 'x.vhd\0'])
    assert.throws(() => readText({ ...FACTS, disks: [{ ...disk, file }] }), isDamaged, file);
  for (const change of [
    { memoryBytes: 2 ** 50 },
    { memoryBytes: '512M' },
    { vcpus: 0 },
    { nrConsoles: 11 },
    { disks: [disk, disk] },
    { disks: {} },
    { disksFolder: '../x.disks-01020304' },
    { disksFolder: '/tmp' },
    { disks: [{ ...disk, device: 'sda/..' }] },
    { network: { ...FACTS.network, mac: 'x' } },
    { network: { ...FACTS.network, deny: 'all' } },
    { image: { ...FACTS.image, env: { A: 1 } } },
    { image: [] },
  ])
    assert.throws(() => readText({ ...FACTS, ...change }), isDamaged, JSON.stringify(change));
});

test('forged facts are taken or refused, and nothing else', () => {
  const bytes = encodeFacts(FACTS);
  const entropy = createSeededEntropy(21);
  const chance = new Uint8Array(8);
  const outcomes = { taken: 0, refused: 0 };
  for (let round = 0; round < 3000; round++) {
    const forged = bytes.slice();
    entropy.fill(chance);
    const [at = 0, value = 0, kind = 0] = new Uint16Array(chance.buffer);
    // A character of JSON, or any.
    const others = '{}[]:,"0-1etrufalsn\\';
    forged[at % forged.length] = kind % 2 === 0 ? others.charCodeAt(value % others.length) : value;
    try {
      const { disks } = read(kind % 64 === 1 ? forged.subarray(0, at % forged.length) : forged);
      for (const { file } of disks) assert.ok(!file.includes('/') && file.endsWith('.vhd'), file);
      outcomes.taken += 1;
    } catch (error) {
      assert.ok(isDamaged(error), String(error));
      outcomes.refused += 1;
    }
  }
  assert.ok(outcomes.taken > 100 && outcomes.refused > 100, JSON.stringify(outcomes));
});
