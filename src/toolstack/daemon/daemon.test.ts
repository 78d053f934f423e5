/** The host process and its clients over a real socket, in one process, with a test double for the machine. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createImage } from '../../disk/create.ts';
import { nodeDiskHost } from '../disk-host.ts';
import { createFakeParts, type FakeParts, type FakeScript } from '../fake-guest.fixture.ts';
import { Host } from '../host.ts';
import { ROUTES } from './api.ts';
import { Daemon, type RemoteCommand } from './client.ts';
import { recordBytes } from './guest-log.ts';
import { runDaemon } from './server.ts';

const scratch = mkdtempSync(join(tmpdir(), 'domus-daemon-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
let nrFolders = 0;
const newFolder = () => join(scratch, String(++nrFolders));

const SCRIPT: FakeScript = {
  boot: guest => void guest.say('fake kernel says hello\n'),
  async command({ spec, stdout, stderr, input, guest, sizes }) {
    const [word, argument] = spec.argv;
    if (word === 'both') {
      await stdout('to stdout\n');
      await stderr('to stderr\n');
      return 7;
    }
    if (word === 'cat') {
      for await (const chunk of input()) await stdout(chunk);
      return 0;
    }
    if (word === 'much') await stdout(new Uint8Array(1 << 20).fill(7));
    if (word === 'sizes') {
      while (sizes.length === 0) await sleep(5);
      await stdout(JSON.stringify(sizes));
    }
    if (word === 'exit') return Number(argument);
    if (word === 'crash') guest.stop({ reason: 'crash', detail: 'triple fault' });
    if (word === 'crash' || word === 'hang') return new Promise(() => {});
    return 0;
  },
};

interface Running extends AsyncDisposable {
  readonly daemon: Daemon;
  readonly parts: FakeParts;
  readonly folder: string;
}

async function startDaemon(folder = newFolder(), script = SCRIPT): Promise<Running> {
  const stop = new AbortController();
  const parts = createFakeParts(script);
  const ended = runDaemon({
    stateFolder: folder,
    openHost: options => Host.open({ ...options, parts }),
    idleMs: 60_000,
    signal: stop.signal,
  });
  while (!readdirSync(scratch).includes(folder.split('/').at(-1)!)) await sleep(5);
  const daemon = await (async () => {
    for (;;) {
      const found = await Daemon.connectIfAny({ stateFolder: folder, entry: '/nonexistent' }).catch(() => {});
      if (found) return found;
      await sleep(5);
    }
  })();
  return {
    daemon,
    parts,
    folder,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

async function exec(daemon: Daemon, name: string, command: RemoteCommand, input?: Uint8Array) {
  const out: Uint8Array[] = [];
  const err: Uint8Array[] = [];
  const running = await daemon.exec(name, { ...command, hasInput: input !== undefined });
  running.onStdout(bytes => void out.push(bytes));
  running.onStderr(bytes => void err.push(bytes));
  if (input) {
    await running.writeStdin(input);
    running.closeStdin();
  }
  return { code: await running.exit, out: Buffer.concat(out), err: Buffer.concat(err).toString() };
}

async function logText(daemon: Daemon, name: string, options = {}) {
  const chunks: Uint8Array[] = [];
  for await (const record of daemon.logs(name, options)) chunks.push(recordBytes(record));
  return Buffer.concat(chunks).toString();
}

test('a guest from its birth to its end, and what is kept of it', async () => {
  await using running = await startDaemon();
  const { daemon, folder } = running;
  const phases: string[] = [];
  const guest = await daemon.create({ name: 'web', command: ['hang'] }, ({ name }) => void phases.push(name));
  assert.deepEqual([guest.id, guest.name, guest.state], [1, 'web', 'running']);
  assert.ok(phases.includes('boot'));
  assert.deepEqual(
    (await daemon.list()).map(({ name, state }) => [name, state]),
    [['web', 'running']],
  );
  const result = await exec(daemon, 'web', { command: ['both'] });
  assert.deepEqual([result.code, result.out.toString(), result.err], [7, 'to stdout\n', 'to stderr\n']);
  const short = await daemon.create({ command: ['both'] });
  assert.equal(short.name, 'guest-2');
  const ended = await daemon.wait('2');
  assert.deepEqual([ended.state, ended.exitCode], ['exited', 7]);
  assert.equal(await logText(daemon, 'guest-2', { streams: ['stdout', 'stderr'] }), 'to stdout\nto stderr\n');
  assert.equal(await logText(daemon, 'guest-2', { streams: ['console'] }), 'fake kernel says hello\n');
  await assert.rejects(exec(daemon, 'guest-2', { command: ['both'] }), { code: 'E_GUEST_ENDED' });
  await daemon.destroy('guest-2');
  await daemon.destroy('web');
  assert.deepEqual(await daemon.list(), []);
  assert.deepEqual(readdirSync(join(folder, 'guests')), []);
});

test('input and output pass in any size, several commands at a time', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  await daemon.create({ name: 'web', command: ['hang'] });
  const input = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
  const results = await Promise.all([
    exec(daemon, 'web', { command: ['cat'] }, input),
    exec(daemon, 'web', { command: ['much'] }),
    exec(daemon, 'web', { command: ['cat'] }, new Uint8Array(0)),
  ]);
  assert.deepEqual(new Uint8Array(results[0].out), input);
  assert.equal(results[1].out.length, 1 << 20);
  assert.deepEqual(
    results.map(({ code }) => code),
    [0, 0, 0],
  );
});

test('a client that does not read holds its command back; its going kills the command', async () => {
  await using running = await startDaemon();
  const { daemon, parts } = running;
  await daemon.create({ name: 'web', command: ['hang'] });
  let nrBytes = 0;
  const slow = await daemon.exec('web', { command: ['much'] });
  slow.onStdout(bytes => {
    nrBytes += bytes.length;
    return new Promise(() => {});
  });
  await sleep(100);
  assert.ok(nrBytes <= 65536 && !slow.hasExited);
  const hanging = await daemon.exec('web', { command: ['hang'] });
  await sleep(20);
  hanging.kill(15);
  while (!parts.guests[0]!.killedBy.includes(15)) await sleep(5);
});

test('a terminal’s size reaches the command', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  await daemon.create({ name: 'web', command: ['hang'] });
  const out: Uint8Array[] = [];
  const command = await daemon.exec('web', { command: ['sizes'], terminal: { columns: 80, rows: 24 } });
  command.onStdout(bytes => void out.push(bytes));
  command.resize({ columns: 132, rows: 50 });
  assert.equal(await command.exit, 0);
  assert.deepEqual(JSON.parse(Buffer.concat(out).toString()), [{ columns: 132, rows: 50 }]);
});

test('the console: typed and heard, and its end', async () => {
  await using running = await startDaemon();
  const { daemon, parts } = running;
  await daemon.create({ name: 'web', command: ['hang'] });
  const heard: Uint8Array[] = [];
  const console = await daemon.console('web');
  console.onStdout(bytes => void heard.push(bytes));
  await console.writeStdin(Buffer.from('typed'));
  while (!parts.guests[0]!.typed.includes('typed')) await sleep(5);
  await parts.guests[0]!.say('an answer');
  while (!Buffer.concat(heard).toString().includes('an answer')) await sleep(5);
  console.kill(9);
  assert.equal(await console.exit, 0);
});

test('a crash is reported to who waits, who executes, and in the list', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  await daemon.create({ name: 'web', command: ['hang'] });
  await assert.rejects(exec(daemon, 'web', { command: ['crash'] }), { code: 'E_GUEST_CRASHED' });
  const { state, reason } = await daemon.wait('web');
  assert.equal(state, 'crashed');
  assert.match(reason ?? '', /triple fault/);
});

test('logs: the last lines, since a moment, and followed to the end', async () => {
  await using running = await startDaemon();
  const { daemon, parts } = running;
  await daemon.create({ name: 'web', command: ['hang'] });
  const followed = logText(daemon, 'web', { streams: ['console'], follow: true });
  for (let i = 1; i <= 5; i++) await parts.guests[0]!.say(`line ${i}\n`);
  // The guest's clock and this one may be a millisecond apart.
  const moment = new Date(Date.now() + 20).toISOString();
  await sleep(40);
  await parts.guests[0]!.say('late\nno end');
  await sleep(400);
  assert.equal(await logText(daemon, 'web', { tail: 2 }), 'late\nno end');
  assert.equal(await logText(daemon, 'web', { since: moment }), 'late\nno end');
  parts.guests[0]!.stop({ reason: 'poweroff' });
  assert.match(await followed, /^fake kernel says hello\nline 1\n[\s\S]*late\nno end$/);
});

test('mistakes are refused with what to do', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  await daemon.create({ name: 'web', command: ['hang'] });
  await assert.rejects(daemon.create({ name: 'web', command: ['hang'] }), { code: 'E_GUEST_EXISTS' });
  await assert.rejects(daemon.create({ name: '../x', command: ['hang'] }), { code: 'E_GUEST_NAME' });
  await assert.rejects(daemon.create({ name: 'x' }), { code: 'E_NO_COMMAND' });
  await assert.rejects(daemon.create({ command: ['x'], memory: 5 }), { code: 'E_MEMORY_SIZE' });
  await assert.rejects(daemon.create({ command: 7 as never }), { code: 'E_API_REQUEST' });
  await assert.rejects(daemon.guest('no-one'), { code: 'E_GUEST_NOT_FOUND' });
  await assert.rejects(daemon.exec('no-one', { command: ['x'] }), { code: 'E_GUEST_NOT_FOUND' });
  await assert.rejects(exec(daemon, 'web', { command: [] }), { code: 'E_NO_COMMAND' });
});

test('a guest whose boot fails, or whose maker goes away, leaves nothing', async () => {
  await using running = await startDaemon(undefined, {
    boot: () => new Promise(() => {}),
  });
  const { daemon, folder, parts } = running;
  const stop = new AbortController();
  const creation = daemon.create({ name: 'web', command: ['hang'] }, () => {}, stop.signal);
  while (parts.guests.length === 0) await sleep(5);
  stop.abort();
  await assert.rejects(creation);
  while (!parts.guests[0]!.isDestroyed || readdirSync(join(folder, 'guests')).length > 0) await sleep(5);
  assert.deepEqual(await daemon.list(), []);
});

test('who lacks the token is not served, and the folder is the user’s alone', async () => {
  await using running = await startDaemon();
  const { folder } = running;
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.equal(statSync(join(folder, 'daemon.sock')).mode & 0o777, 0o600);
  assert.equal(statSync(join(folder, 'daemon.token')).mode & 0o777, 0o600);
  const status = await new Promise(resolve => {
    const call = { socketPath: join(folder, 'daemon.sock'), path: '/v1/guests' };
    request({ ...call, headers: { authorization: 'Bearer wrong' } }, response => {
      response.resume();
      resolve(response.statusCode);
    }).end();
  });
  assert.equal(status, 401);
  const open = newFolder();
  await using other = await startDaemon(open);
  assert.ok(other.daemon);
  chmodSync(open, 0o755);
  await assert.rejects(Daemon.connect({ stateFolder: open, entry: '' }), { code: 'E_STATE_FOLDER' });
  await assert.rejects(Daemon.connect({ stateFolder: join(scratch, 'x'.repeat(100)), entry: '' }), {
    code: 'E_STATE_FOLDER',
  });
});

test('what a host process left when it was killed: reported, cleaned up, numbers go on', async () => {
  const folder = newFolder();
  {
    await using running = await startDaemon(folder);
    await running.daemon.create({ name: 'web', command: ['hang'] });
  }
  const guests = join(folder, 'guests');
  const file = readFileSync(join(guests, '1', 'guest.json'), 'utf8').replace('"exited"', '"running"');
  // As SIGKILL leaves it: a guest that ran, one that was being made, one half removed, a log cut off, a file of a later version.
  writeFileSync(join(guests, '1', 'guest.json'), file.replace(/"crashed"/, '"running"'));
  writeFileSync(join(guests, '1', 'log'), readFileSync(join(guests, '1', 'log'), 'utf8').slice(0, -5));
  // A save to elsewhere, in the middle.
  const elsewhere = mkdtempSync(join(scratch, 'saves-'));
  const saved = join(elsewhere, 'web.sav');
  writeFileSync(`${saved}.tmp-4194305-0`, 'half');
  writeFileSync(join(guests, '1', 'saving-4194305-1'), JSON.stringify(saved));
  await using again = await startDaemon(folder);
  const [lost] = await again.daemon.list();
  assert.deepEqual([lost?.name, lost?.state], ['web', 'lost']);
  assert.deepEqual(
    [...readdirSync(elsewhere), ...readdirSync(join(guests, '1'))].filter(name => /saving|tmp-/.test(name)),
    [],
  );
  assert.equal(await logText(again.daemon, 'web'), '');
  await assert.rejects(again.daemon.exec('web', { command: ['x'] }), { code: 'E_GUEST_ENDED' });
  await assert.rejects(again.daemon.create({ name: 'web', command: ['hang'] }), { code: 'E_GUEST_EXISTS' });
  assert.equal((await again.daemon.create({ command: ['exit', '0'] })).id, 2);
});

test('docs/api/openapi.json describes every route, and no other', () => {
  const text = readFileSync(new URL('../../../docs/api/openapi.json', import.meta.url), 'utf8');
  const { paths } = JSON.parse(text) as { paths: Record<string, Record<string, unknown>> };
  const described = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`),
  );
  assert.deepEqual(described.sort(), ROUTES.map(({ method, path }) => `${method} ${path}`).sort());
});

test('what is asked of a running guest: done, shown, told as events', async () => {
  await using running = await startDaemon();
  const { daemon, parts } = running;
  await daemon.create({
    name: 'web',
    initrd: '/own',
    kernel: '/k',
    memory: 64 << 20,
    maxMemory: 128 << 20,
    vcpus: 1,
    maxVcpus: 4,
    labels: { tier: 'front' },
    isPaused: true,
  });
  const { domain, labels, uuid } = await daemon.guest('web');
  assert.deepEqual([domain?.state, labels, uuid === domain?.uuid], ['--p---', { tier: 'front' }, true]);
  assert.equal((await daemon.act('web', { action: 'unpause' })).domain?.state, '-b----');
  assert.equal((await daemon.act('web', { action: 'pause' })).domain?.state, '--p---');
  const changed = await daemon.change('web', {
    memoryTarget: 32 << 20,
    memoryMax: 96 << 20,
    vcpusOnline: 3,
    name: 'other',
    cpus: { 1: '0' },
    weight: 512,
    cap: 150,
  });
  assert.deepEqual(changed.share, { weight: 512, cap: 150 });
  const { memoryTargetBytes, memoryMaxBytes, vcpus } = changed.domain!;
  assert.deepEqual([changed.name, memoryTargetBytes, memoryMaxBytes], ['other', 32 << 20, 96 << 20]);
  assert.deepEqual(
    vcpus.map(({ isOnline, affinity }) => [isOnline, affinity]),
    [
      [true, undefined],
      [true, [0]],
      [true, undefined],
      [false, undefined],
    ],
  );
  await daemon.act('other', { action: 'sysrq', key: 'h' });
  assert.match(await logText(daemon, 'other'), /name: other\nsysrq: h\n/);
  for (const change of [
    { name: '7' },
    { memoryTarget: 5 },
    { vcpusOnline: 0 },
    { cpus: '3-1' },
    { cpus: 'x' },
    { weight: 0 },
    { cap: 401 },
  ])
    await assert.rejects(daemon.change('other', change), /^DomusError/);
  for (const action of [{ action: 'explode' }, { action: 'sysrq', key: 'hh' }])
    await assert.rejects(daemon.act('other', action as never), { code: 'E_API_REQUEST' });
  const stop = new AbortController();
  const heard: string[] = [];
  const following = (async () => {
    for await (const { event, name, detail = '' } of daemon.events({ follow: true, signal: stop.signal }))
      heard.push(`${name} ${event} ${detail}`.trim());
  })();
  await daemon.act('other', { action: 'poweroff' });
  assert.equal((await daemon.wait('other')).reason, 'poweroff');
  await daemon.change('other', { name: 'late' });
  await assert.rejects(daemon.change('late', { vcpusOnline: 1 }), { code: 'E_GUEST_ENDED' });
  await daemon.destroy('late');
  while (!heard.includes('late destroyed')) await sleep(5);
  stop.abort();
  await following.catch(() => {});
  assert.deepEqual(
    heard.map(line => line.replace(/ memoryTarget.*/, '')),
    [
      'web created',
      'web started paused',
      'web unpaused',
      'web paused',
      'web changed',
      'other requested sysrq h',
      'other requested poweroff',
      'other exited poweroff',
      'other changed name=late',
      'late destroyed',
    ],
  );
  assert.ok(parts.guests[0]!.isDestroyed);
  const { nrGuests, processTimeNs } = await daemon.info();
  assert.ok(nrGuests === 0 && processTimeNs > 0);
  await daemon.clearEvents();
  for await (const event of daemon.events()) assert.fail(JSON.stringify(event));
});

test('disks of a running guest: shown, plugged in and out, and told as events', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  const path = join(scratch, 'data.vhd');
  const host = nodeDiskHost();
  await createImage(host, path, { format: 'vhd', sizeBytes: 1 << 20 });
  await daemon.create({ name: 'web', isOwn: true });
  assert.deepEqual(await daemon.disks('web'), []);
  const disk = await daemon.attachDisk('web', { path, isReadOnly: true });
  assert.deepEqual(disk, {
    device: 'xvda',
    files: [path],
    sizeBytes: 1 << 20,
    isReadOnly: true,
    readBytes: 0,
    writtenBytes: 0,
  });
  assert.deepEqual(await daemon.disks('web'), [disk]);
  const refused = async (promise: Promise<unknown>, code: string) => assert.rejects(promise, { code });
  await refused(daemon.attachDisk('web', { path: 'relative.vhd' }), 'E_API_REQUEST');
  await refused(daemon.attachDisk('web', { path, device: 'xvda' }), 'E_USAGE');
  await refused(daemon.attachDisk('web', { path, device: 'none' }), 'E_USAGE');
  await refused(daemon.actOnDisk('web', 'xvdb', { action: 'clone', path: '/x' }), 'E_DISK_UNKNOWN');
  await refused(daemon.actOnDisk('web', 'xvda', { action: 'clone', path: 'x' }), 'E_API_REQUEST');
  await refused(daemon.actOnDisk('web', 'xvda', { action: 'resize', size: 'x' }), 'E_SIZE');
  await refused(daemon.actOnDisk('web', 'xvda', { action: 'melt' } as never), 'E_API_REQUEST');
  assert.deepEqual(await daemon.detachDisk('web', 'xvda'), []);
  await refused(daemon.detachDisk('web', 'xvda'), 'E_DISK_UNKNOWN');
  const told: string[] = [];
  for await (const { event, detail } of daemon.events()) if (event === 'changed') told.push(detail ?? '');
  assert.deepEqual(told, [`disk xvda: ${path}`, 'disk xvda: taken away']);
  await daemon.destroy('web');
  await refused(daemon.disks('web'), 'E_GUEST_NOT_FOUND');
});

test('networks of running guests: shown and changed, and told as events', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  const network = { mode: 'nat', deny: ['192.0.2.0/24'], mac: '00:16:3e:00:00:01' };
  await daemon.create({ name: 'web', isOwn: true, network });
  await daemon.create({ name: 'none', isOwn: true, network: 'none' });
  const shown = await daemon.network('web');
  assert.deepEqual(shown, {
    mode: 'nat',
    address: '10.0.2.15',
    mac: '00:16:3e:00:00:01',
    mtu: 1500,
    ports: [],
    rules: { allow: [], deny: ['192.0.2.0/24'] },
    faults: { in: {}, out: {} },
    lostFrames: 0,
  });
  assert.equal(await daemon.network('none'), undefined);
  const capture = join(scratch, 'web.pcap');
  const faults = { delayMs: 50, loss: 0.01 };
  const rules = { allow: ['example.com'], deny: [] };
  assert.deepEqual(await daemon.changeNetwork('web', { faults, direction: 'in', seed: 1, rules, capture }), {
    ...shown,
    rules,
    faults: { in: faults, out: {} },
    capture,
  });
  const good = await daemon.changeNetwork('web', { faults: {}, capture: null });
  assert.deepEqual([good.faults, good.capture, good.rules], [{ in: {}, out: {} }, undefined, rules]);
  const refused = async (change: unknown, code: string, guest = 'web') =>
    assert.rejects(daemon.changeNetwork(guest, change as never), { code }, JSON.stringify(change));
  for (const change of [
    {},
    null,
    { faults: 1 },
    { faults: { loss: '1' } },
    { faults: { isCut: 1 } },
    { faults: { speed: 1 } },
    { faults: {}, direction: 'up' },
    { direction: 'in' },
    { seed: 1 },
    { rules: [] as unknown, seed: 1 },
    { rules: { allow: 'all' } },
    { capture: 'relative.pcap' },
    { capture: 7 },
  ])
    await refused(change, 'E_API_REQUEST');
  await refused({ faults: { loss: 7 } }, 'E_NET_FAULT');
  await refused({ rules: { deny: ['not a name'] } }, 'E_NET_RULE');
  const bad = { capture: join(scratch, 'none', 'x.pcap'), faults: { isCut: true }, rules: { deny: ['all'] } };
  await refused(bad, 'E_FILE_WRITE');
  assert.deepEqual(await daemon.network('web'), good, 'nothing has changed');
  await refused({ faults: {} }, 'E_NET_MODE', 'none');
  const told: string[] = [];
  for await (const { event, detail } of daemon.events()) if (event === 'changed') told.push(detail ?? '');
  assert.deepEqual(told, [
    `network: faults in delay=50ms,loss=1%, rules allow=example.com, capture ${capture}`,
    'network: faults none, capture none',
  ]);
  await daemon.destroy('web');
  await refused({ faults: {} }, 'E_GUEST_NOT_FOUND');
});

test('switches between guests: shown, parted and healed', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  assert.deepEqual(await daemon.switches(), []);
  for (const name of ['a', 'b', 'c'])
    await daemon.create({ name, isOwn: true, network: name === 'c' ? 'switch:other' : 'switch:lan' });
  const rules = { deny: ['all'] };
  await refused(daemon.changeNetwork('a', { rules, capture: join(scratch, 'a.pcap') }), 'E_NET_MODE');
  assert.equal((await daemon.network('a'))?.capture, undefined);
  const [lan] = await daemon.switches();
  const ports = [
    { guest: 'a', id: 1, address: '10.0.3.1' },
    { guest: 'b', id: 2, address: '10.0.3.2' },
  ];
  assert.deepEqual(lan, { name: 'lan', ports, isPartitioned: false });
  const parted = await daemon.changeSwitch('lan', { groups: [['2']] });
  assert.deepEqual(
    [parted.isPartitioned, parted.ports.map(({ guest, group }) => [guest, group])],
    [
      true,
      [
        ['a', 0],
        ['b', 1],
      ],
    ],
  );
  await refused(daemon.changeSwitch('lan', { groups: [['a'], ['c']] }), 'E_NET_SWITCH');
  await refused(daemon.changeSwitch('lan', { groups: [['a'], ['1']] }), 'E_NET_SWITCH');
  await refused(daemon.changeSwitch('lan', { groups: [['nobody']] }), 'E_GUEST_NOT_FOUND');
  await refused(daemon.changeSwitch('none', { groups: [] }), 'E_NET_SWITCH');
  for (const wrong of [{}, { groups: 'a' }, { groups: ['a'] }, { groups: [[1]] }])
    await refused(daemon.changeSwitch('lan', wrong as never), 'E_API_REQUEST');
  assert.deepEqual((await daemon.switches())[0], parted, 'what was refused has changed nothing');
  // With the last guest of its groups the partition is gone.
  await daemon.destroy('b');
  assert.deepEqual((await daemon.switches())[0], { name: 'lan', ports: [ports[0]], isPartitioned: false });
  await daemon.changeSwitch('lan', { groups: [['a']] });
  assert.deepEqual((await daemon.changeSwitch('lan', { groups: [] })).isPartitioned, false);
  async function refused(promise: Promise<unknown>, code: string) {
    await assert.rejects(promise, { code });
  }
});

test('what sharing saves is told guest by guest, and its budget is changed', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  await daemon.create({ name: 'web', isOwn: true });
  await daemon.create({ name: 'other', isOwn: true });
  const { guests, cpuPercent, pageBytes } = await daemon.sharing();
  assert.deepEqual(
    guests.map(({ name, pages }) => [name, pages?.shared, pages?.saved]),
    [
      ['web', 40, 27],
      ['other', 40, 27],
    ],
  );
  assert.deepEqual([cpuPercent, pageBytes], [3, 4096]);
  assert.equal((await daemon.setSharing({ cpuPercent: 0.5 })).cpuPercent, 0.5);
  await daemon.destroy('other');
  assert.equal((await daemon.sharing()).guests.length, 1);
  for (const wrong of [101, '2', undefined]) {
    await assert.rejects(
      daemon.setSharing({ cpuPercent: wrong as number }),
      (error: Error & { code?: string }) => error.code === (wrong === 101 ? 'E_SHARING' : 'E_API_REQUEST'),
    );
  }
});

test('memory that goes by need: asked for at the start and later, shown, refused where it makes no sense', async () => {
  await using running = await startDaemon();
  const { daemon } = running;
  const MIB = 2 ** 20;
  const size = { memory: 128 * MIB, maxMemory: 256 * MIB };
  // Without what it is found to need, which comes when it is looked at.
  const asked = (balance: { minBytes: number; usualBytes: number } | undefined) =>
    balance && { minBytes: balance.minBytes, usualBytes: balance.usualBytes };
  const web = await daemon.create({ name: 'web', isOwn: true, ...size, minMemory: 64 * MIB });
  const range = { minBytes: 64 * MIB, usualBytes: 128 * MIB };
  assert.deepEqual(asked(web.balance), range);
  assert.equal((await daemon.create({ name: 'other', isOwn: true, ...size })).balance, undefined);
  const amounts = { memoryBytes: 128 * MIB, memoryTargetBytes: 128 * MIB, memoryMaxBytes: 256 * MIB };
  const { guests, ...limits } = await daemon.balance();
  assert.deepEqual(limits, { budgetBytes: 128 * MIB, boundBytes: 128 * MIB, isFixed: false });
  assert.deepEqual(
    guests.map(guest => ({ ...guest, balance: asked(guest.balance) })),
    [
      { id: 1, name: 'web', ...amounts, balance: range },
      { id: 2, name: 'other', ...amounts, balance: undefined },
    ],
  );
  const refused = (change: object, code: string) =>
    assert.rejects(daemon.change('web', change), (error: Error & { code?: string }) => error.code === code);
  await refused({ memoryMin: 129 * MIB }, 'E_MEMORY_RANGE');
  await refused({ memoryMin: 5 }, 'E_MEMORY_SIZE');
  await refused({ memoryTarget: 32 * MIB }, 'E_MEMORY_RANGE');
  await assert.rejects(daemon.setMemoryBudget(63 * MIB), { code: 'E_MEMORY_BUDGET' });
  await assert.rejects(daemon.setMemoryBudget('1g' as never), { code: 'E_API_REQUEST' });
  await assert.rejects(daemon.create({ isOwn: true, memory: 64 * MIB, minMemory: 96 * MIB }), {
    code: 'E_MEMORY_RANGE',
  });
  const fixed = await daemon.setMemoryBudget(96 * MIB);
  assert.deepEqual([fixed.budgetBytes, fixed.isFixed], [96 * MIB, true]);
  await assert.rejects(daemon.change('other', { memoryMin: 64 * MIB }), { code: 'E_MEMORY_BUDGET' });
  // What does not fit is not started either.
  const late = { name: 'late', isOwn: true, ...size, minMemory: 64 * MIB };
  await assert.rejects(daemon.create(late), { code: 'E_MEMORY_BUDGET' });
  assert.deepEqual(
    (await daemon.list()).map(({ name }) => name),
    ['web', 'other'],
  );
  assert.equal((await daemon.setMemoryBudget(null)).budgetBytes, 128 * MIB);
  const usual = await daemon.change('web', { memoryTarget: 192 * MIB });
  assert.equal(usual.balance?.usualBytes, 192 * MIB);
  assert.equal((await daemon.info()).memoryBudgetBytes, 192 * MIB);
  assert.equal((await daemon.change('web', { memoryMin: null })).balance, undefined);
  assert.equal((await daemon.balance()).budgetBytes, 0);
});
