import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { DomusError } from '../base/errors.ts';
import { createImage } from '../disk/create.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import { nodeDiskHost } from './disk-host.ts';
import { createFakeParts, type FakeScript } from './fake-guest.fixture.ts';
import { formatCrashReport, GuestFailure, Host, type MachineOptions } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-host-'));
after(() => rmSync(folder, { recursive: true }));
const never = () => new Promise<never>(() => {});
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

async function openFake(script: FakeScript) {
  const parts = createFakeParts(script);
  const phases: string[] = [];
  const host = await Host.open({ parts, onPhase: phase => phases.push(phase.name) });
  return { host, parts, phases };
}

async function failure(promise: Promise<unknown>): Promise<DomusError> {
  const error = await promise.then(
    () => assert.fail('a failure was expected'),
    caught => caught,
  );
  assert.ok(error instanceof DomusError, String(error));
  return error;
}

test('run: output streams stay apart, are binary-safe, and the exit code is the command’s', async () => {
  const binary = Uint8Array.from({ length: 256 }, (_, i) => i);
  const { host, parts, phases } = await openFake({
    async command({ spec, stdout, stderr }) {
      assert.deepEqual(spec.argv, ['tool', '--flag', 'a b']);
      assert.deepEqual(spec.env, { NAME: 'value=1' });
      assert.equal(spec.hasInput, false);
      await stdout(binary);
      await stderr('on the other stream');
      return 42;
    },
  });
  const result = await host.run({ command: ['tool', '--flag', 'a b'], env: { NAME: 'value=1' } });
  assert.equal(result.exitCode, 42);
  assert.deepEqual(result.stdout, binary);
  assert.equal(textOf(result.stderr), 'on the other stream');
  assert.equal(result.instructions, 1234);
  assert.deepEqual(phases, ['kernel', 'create', 'boot', 'ready']);
  assert.equal(parts.guests.length, 1);
  assert.equal(parts.guests[0]?.isDestroyed, true);
});

test('run: only the parts know where a machine is kept, and a broken one is booted again', async () => {
  const kept = join(folder, 'kept');
  writeFileSync(kept, 'not a machine');
  const parts = createFakeParts({ command: () => 3 });
  const phases: string[] = [];
  const preparedPath = async () => kept;
  await using asked = await Host.open({
    parts: { ...parts, preparedPath },
    onPhase: ({ name, detail = '' }) => phases.push(`${name}: ${detail}`),
  });
  assert.equal((await asked.run({ command: 'x', isPrepared: true })).exitCode, 3);
  assert.match(phases.join('\n'), /^restore: boots instead/m);
  assert.equal(existsSync(kept), false);

  phases.length = 0;
  await using others = await Host.open({ parts, onPhase: phase => phases.push(phase.name) });
  assert.equal((await others.run({ command: 'x', isPrepared: true })).exitCode, 3);
  assert.deepEqual(phases, ['kernel', 'create', 'boot', 'ready']);
});

test('run: a line of text is a shell command, and input of every kind arrives whole', async () => {
  const { host } = await openFake({
    async command({ spec, input, stdout }) {
      assert.deepEqual(spec.argv, ['/bin/sh', '-c', 'cat']);
      for await (const chunk of input()) await stdout(chunk);
      return 0;
    },
  });
  async function* pieces() {
    yield Uint8Array.of(0, 255);
    yield new Uint8Array();
    yield Uint8Array.of(10);
  }
  assert.equal(textOf((await host.run({ command: 'cat', stdin: 'text' })).stdout), 'text');
  assert.deepEqual((await host.run({ command: 'cat', stdin: pieces() })).stdout, Uint8Array.of(0, 255, 10));
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(Uint8Array.of(0, 255));
      controller.enqueue(Uint8Array.of(10));
      controller.close();
    },
  });
  assert.deepEqual((await host.run({ command: 'cat', stdin: stream })).stdout, Uint8Array.of(0, 255, 10));
});

test('run: output goes to a function or a web stream, and a slow taker holds the guest back', async () => {
  const order: string[] = [];
  const { host } = await openFake({
    async command({ stdout, stderr }) {
      await stdout('first');
      order.push('guest goes on');
      await stderr('second');
      return 0;
    },
  });
  const taken: string[] = [];
  const writable = new WritableStream<Uint8Array>({
    write(chunk) {
      taken.push(textOf(chunk));
    },
  });
  const result = await host.run({
    command: 'x',
    stdout: async chunk => {
      await new Promise(resolve => setImmediate(resolve));
      order.push(`took ${textOf(chunk)}`);
    },
    stderr: writable,
  });
  assert.deepEqual(order, ['took first', 'guest goes on']);
  assert.deepEqual(taken, ['second']);
  assert.equal(writable.locked, false, 'the stream is given back');
  assert.equal(result.stdout.length, 0);
});

test('run: a time-out says where the guest was and what it said last', async () => {
  const booting = await openFake({
    boot(guest) {
      guest.say('line one\nwaiting for the root device');
      return never();
    },
  });
  const error = await failure(booting.host.run({ command: 'x', timeoutMs: 20 }));
  assert.equal(error.code, 'E_TIMEOUT');
  assert.match(error.message, /timed out after 0\.02 s while the guest was booting/);
  assert.ok(error instanceof GuestFailure);
  assert.deepEqual(error.report.consoleLines, ['line one', 'waiting for the root device']);
  assert.equal(booting.parts.guests[0]?.isDestroyed, true);

  const running = await openFake({ command: never });
  const late = await failure(running.host.run({ command: 'x', timeoutMs: 20 }));
  assert.match(late.message, /while the command was running/);
  assert.deepEqual(running.parts.guests[0]?.killedBy, [9]);

  const fetching = await openFake({});
  fetching.parts.planBoot = request => {
    request.onPhase({ name: 'kernel', detail: 'fetching the kernel' });
    return never();
  };
  const early = await failure(fetching.host.run({ command: 'x', timeoutMs: 20 }));
  assert.match(early.message, /timed out after 0\.02 s while fetching the kernel/);
});

test('run: a crash carries reason, registers, call trace and the last 20 lines of the console', async () => {
  const { host, parts } = await openFake({
    command({ guest }) {
      for (let i = 0; i < 100; i++) guest.say(`\x1b[31mline ${i}\x1b[0m\r\n`);
      guest.stop({ reason: 'crash', detail: 'triple fault' });
      return never();
    },
  });
  const error = await failure(host.run({ command: 'x' }));
  assert.equal(error.code, 'E_GUEST_CRASHED');
  assert.equal(error.message, 'the guest crashed (crash: triple fault)');
  assert.ok(error instanceof GuestFailure);
  const lines = formatCrashReport(error.report);
  const text = lines.join('\n');
  assert.match(text, /rip ffffffff81000000 .*rsp ffffc90000000ff8/);
  assert.match(text, /0xffffffff81000010 panic\+0x10/);
  assert.match(text, /0x0000000000001000$/m);
  assert.equal(error.report.consoleLines.length, 20);
  assert.deepEqual(error.report.consoleLines.at(-1), 'line 99');
  assert.equal(parts.guests[0]?.isDestroyed, true);
});

test('run: a guest that stops before its command ends is a failure, afterwards it is not', async () => {
  const early = await openFake({
    command({ guest }) {
      guest.stop({ reason: 'poweroff' });
      return never();
    },
  });
  assert.equal((await failure(early.host.run({ command: 'x' }))).code, 'E_GUEST_STOPPED');
  const broken = await openFake({
    boot(guest) {
      guest.fail(new Error('something of ours'));
      return never();
    },
  });
  const error = await failure(broken.host.run({ command: 'x' }));
  assert.equal(error.code, 'E_MACHINE_FAILED');
  assert.match(error.message, /something of ours/);
});

test('run: an abort ends it at once and destroys the guest', async () => {
  const { host, parts } = await openFake({ command: never });
  const controller = new AbortController();
  const run = host.run({ command: 'x', signal: controller.signal });
  setImmediate(() => controller.abort());
  assert.equal((await failure(run)).code, 'E_INTERRUPTED');
  assert.equal(parts.guests[0]?.isDestroyed, true);
  assert.equal(
    (await failure(host.run({ command: 'x', signal: AbortSignal.abort() }))).code,
    'E_INTERRUPTED',
  );
});

test('run: without a command the guest is the user’s own: its console is the output, power-off ends with 0', async () => {
  const { host, parts } = await openFake({
    boot(guest) {
      guest.say('own guest\n');
      const end = () => {
        if (guest.typed.endsWith('<end>')) guest.stop({ reason: 'poweroff' });
        else setTimeout(end, 5);
      };
      end();
    },
  });
  const result = await host.run({ initrd: new Uint8Array(8), stdin: 'typed keys' });
  assert.equal(result.exitCode, 0);
  assert.equal(textOf(result.stdout), 'own guest\n');
  assert.equal(result.shutdown?.reason, 'poweroff');
  assert.equal(parts.guests[0]?.typed, 'typed keys<end>');
  assert.equal(parts.guests[0]?.config.nrConsoles, 1);
});

test('a reboot: another machine with the same devices, the same guest for who listens', async () => {
  const { host, parts, phases } = await openFake({
    boot: guest => void guest.say(`up ${parts.guests.length}\n`),
    command: ({ spec }) => (spec.argv[0] === 'hang' ? never() : 5),
  });
  const heard: string[] = [];
  const disk = join(folder, 'root.vhd');
  await createImage(nodeDiskHost(), disk, { format: 'vhd', sizeBytes: 1 << 20 });
  await using vm = await host.create({
    boot: true,
    disks: [disk],
    console: chunk => void heard.push(textOf(chunk)),
  });
  const before = vm.disks.get('xvda');
  const hanging = failure(vm.exec(['hang']));
  await turn();
  parts.guests[0]!.stop({ reason: 'reboot' });
  assert.equal((await hanging).code, 'E_GUEST_STOPPED');
  while (parts.guests.length < 2 || heard.length < 2) await turn();
  assert.deepEqual([parts.guests[0]!.isDestroyed, vm.hasStopped], [true, false]);
  assert.deepEqual(heard, ['up 1\n', 'up 2\n']);
  assert.deepEqual(
    parts.guests.map(({ config }) => config.disks?.map(({ name }) => name)),
    [['xvda'], ['xvda']],
  );
  assert.notEqual(vm.disks.get('xvda'), before);
  assert.equal((await vm.exec(['again'])).exitCode, 5);
  assert.equal(vm.instructions(), 2 * 1234);
  await vm.writeConsole(new TextEncoder().encode('typed'));
  assert.deepEqual([parts.guests[0]!.typed, parts.guests[1]!.typed], ['', 'typed']);
  parts.guests[1]!.stop({ reason: 'poweroff' });
  assert.equal((await vm.stopped)?.reason, 'poweroff');
  assert.equal(phases.filter(name => name === 'reboot').length, 1);
});

test('a reboot: the end of the guest, where it is to be; a failure, when it cannot start again', async () => {
  const { host, parts } = await openFake({});
  const reboots = async (options: MachineOptions) => {
    const vm = await host.create(options);
    parts.guests.at(-1)!.stop({ reason: 'reboot' });
    return vm;
  };
  await using one = await reboots({ initrd: new Uint8Array(4) });
  assert.equal((await one.stopped)?.reason, 'reboot');
  const disk = join(folder, 'gone.vhd');
  await createImage(nodeDiskHost(), disk, { format: 'vhd', sizeBytes: 1 << 20 });
  const options = { initrd: new Uint8Array(4), disks: [disk], onReboot: 'restart' } as const;
  await using two = await host.create(options);
  const end = failure(two.attach());
  rmSync(disk);
  parts.guests.at(-1)!.stop({ reason: 'reboot' });
  assert.equal((await end).code, 'E_MACHINE_FAILED');
  await assert.rejects(host.create({ boot: true }), { code: 'E_USAGE' });
  await assert.rejects(host.run({ boot: true, command: ['x'], disks: [disk] }), { code: 'E_USAGE' });
});

test('a guest that is to be started anew keeps what was changed, and does not die for ever', async () => {
  const parts = createFakeParts({});
  const real = createNodePlatform();
  let nowNs = 0;
  const clock = { ...real.clock, monotonicNs: () => nowNs };
  await using host = await Host.open({ parts, platform: { ...real, clock } });
  const options = { initrd: new Uint8Array(4), maxVcpus: 4, memory: '64M', maxMemory: '128M' } as const;
  await using vm = await host.create({ ...options, name: 'web', onCrash: 'restart', onPoweroff: 'destroy' });
  vm.setVcpusOnline(3);
  vm.setMemoryTarget(96 << 20);
  vm.setName('other');
  vm.setShare({ cap: 50 });
  nowNs = 11e9;
  parts.guests[0]!.stop({ reason: 'crash' });
  while (parts.guests.length < 2) await turn();
  const { name, uuid, memoryTargetBytes, vcpusOnline, isPaused } = parts.guests[1]!.config;
  assert.deepEqual([name, memoryTargetBytes, vcpusOnline, isPaused], ['other', 96 << 20, 3, undefined]);
  assert.equal(uuid, '00000000-0000-4000-8000-000000000001');
  assert.deepEqual(vm.share, { weight: 256, cap: 50 });
  assert.equal(parts.guests[0]!.isDestroyed, true);
  // It has run for less than ten seconds this time.
  nowNs = 20e9;
  parts.guests[1]!.stop({ reason: 'crash' });
  assert.equal((await vm.stopped)?.reason, 'crash');
  assert.throws(() => vm.setVcpusOnline(1), { code: 'E_DESTROYED' });
  await assert.rejects(host.create({ ...options, pcpus: 2, vcpus: 2, cap: 50 }), { code: 'E_SCHED_CREDIT' });
  await assert.rejects(host.create({ ...options, uuid: 'x' }), { code: 'E_UUID' });
});

test('a command is over when what it has written is on what outlives the guest', async () => {
  const tools: (readonly string[])[] = [];
  const one = await openFake({ isReusable: false });
  const disk = join(folder, 'kept.vhd');
  await createImage(nodeDiskHost(), disk, { format: 'vhd', sizeBytes: 1 << 20 });
  let isOver = false;
  const ending = one.host.run({ command: 'x', disks: [disk] }).then(() => {
    isOver = true;
  });
  while (one.parts.guests.length === 0) await turn();
  for (let i = 0; i < 20; i++) await turn();
  assert.equal(isOver, false);
  // It synchronizes and powers itself off.
  one.parts.guests[0]!.stop({ reason: 'poweroff' });
  await ending;
  await one.host.run({ command: 'x', disks: [`${disk},ro`] });

  // One that takes more commands is asked to.
  const { host } = await openFake({
    command: ({ spec }) => {
      if (spec.isTool) tools.push(spec.argv);
      return 0;
    },
  });
  await using vm = await host.create({ disks: [disk] });
  await vm.exec(['x']);
  await vm.settle();
  await using without = await host.create();
  await without.settle();
  assert.deepEqual(tools, [['sync']]);
});

test('a machine hears that there is a command to come, before the guest does', async () => {
  const { host, parts } = await openFake({
    command() {
      assert.equal(parts.guests[0]?.isExpectingWork, true);
      return 0;
    },
  });
  await using vm = await host.create();
  assert.equal(parts.guests[0]?.isExpectingWork, false);
  assert.equal((await vm.exec(['x'])).exitCode, 0);
});

test('what a guest has to write is waited for, but not for long, and not where nobody would do it', async () => {
  const disk = join(folder, 'written.vhd');
  await createImage(nodeDiskHost(), disk, { format: 'vhd', sizeBytes: 1 << 20 });
  const tools: (readonly string[])[] = [];
  const { host } = await openFake({
    command: ({ spec }) => {
      tools.push(spec.argv);
      return tools.length === 1 ? 0 : new Promise<number>(() => {});
    },
  });
  await using vm = await host.create({ disks: [disk] });
  await vm.writeBack(3_600_000);
  await vm.writeBack(1);
  assert.deepEqual(tools, [['sync'], ['sync']]);
  vm.pause();
  await vm.writeBack(3_600_000);
  await using without = await host.create();
  await without.writeBack(3_600_000);
  assert.equal(tools.length, 2);
});

test('run: deterministic runs have their own time and chance, wait for the power-off and give a hash', async () => {
  const { host, parts } = await openFake({
    async command({ input, stdout }) {
      for await (const chunk of input()) await stdout(chunk);
      return 3;
    },
  });
  const taken: string[] = [];
  const result = await host.run({
    command: 'x',
    stdin: 'abc',
    deterministic: { seed: 5 },
    stdout: async chunk => {
      taken.push(textOf(chunk));
    },
  });
  assert.equal(result.exitCode, 3);
  assert.equal(result.stateHash, 'c0ffee');
  assert.deepEqual(taken, ['abc']);
  assert.equal(parts.guests[0]?.config.platform.isDeterministic, true);
  assert.equal((await failure(host.run({ command: 'x', deterministic: { seed: -1 } }))).code, 'E_SEED');
});

test('values out of range are refused before anything is built', async () => {
  const { host, parts } = await openFake({});
  const codeOf = async (options: object) => (await failure(host.run({ command: 'x', ...options }))).code;
  assert.equal(await codeOf({ memory: '1M' }), 'E_MEMORY_SIZE');
  assert.equal(await codeOf({ memory: 2 ** 40 }), 'E_MEMORY_SIZE');
  assert.equal(await codeOf({ memory: Number.NaN }), 'E_MEMORY_SIZE');
  assert.equal(await codeOf({ memory: 'lots' }), 'E_SIZE');
  assert.equal(await codeOf({ vcpus: 10_000 }), 'E_VCPU_COUNT');
  assert.equal(await codeOf({ vcpus: 0 }), 'E_VCPU_COUNT');
  assert.equal(await codeOf({ engine: 'jit' }), 'E_ENGINE');
  assert.equal(await codeOf({ engine: 'steam' }), 'E_ENGINE');
  assert.equal((await failure(host.run({}))).code, 'E_NO_COMMAND');
  assert.equal(parts.guests.length, 0);
  for (const command of [[], ['a\0b'], ['']]) {
    assert.equal((await failure(host.run({ command }))).code, 'E_NO_COMMAND');
  }
});

test('create: commands run at the same time and after one another in a guest that stays', async () => {
  const { host, parts } = await openFake({
    async command({ spec, stdout }) {
      await stdout(spec.argv.join(' '));
      return spec.argv.length;
    },
  });
  const vm = await host.create({ memory: '1G', vcpus: 2 });
  assert.equal(parts.guests[0]?.config.memoryBytes, 2 ** 30);
  const [first, second] = await Promise.allSettled([vm.exec(['a']), vm.exec(['b'])]);
  assert.equal(first.status, 'fulfilled');
  assert.equal(second.status, 'fulfilled');
  assert.equal(textOf((await vm.exec(['one', 'two'])).stdout), 'one two');
  await host[Symbol.asyncDispose]();
  assert.equal(parts.guests[0]?.isDestroyed, true);
  assert.equal((await failure(vm.exec(['late']))).code, 'E_DESTROYED');
});

test('create: a guest without an agent, or with one for a single command, refuses clearly', async () => {
  const own = await openFake({});
  await using vm = await own.host.create({ initrd: new Uint8Array(1) });
  assert.equal((await failure(vm.exec('x'))).code, 'E_NO_AGENT');
  const single = await openFake({ isReusable: false });
  await using other = await single.host.create();
  assert.equal((await other.exec('x')).exitCode, 0);
  assert.equal((await failure(other.exec('x'))).code, 'E_ONE_COMMAND');
});

test('the console is heard by every listener and kept in bounds', async () => {
  const { host, parts } = await openFake({});
  await using vm = await host.create();
  const heard: string[] = [];
  const remove = vm.onConsole(chunk => {
    heard.push(textOf(chunk));
  });
  parts.guests[0]?.say('a');
  remove();
  for (let i = 0; i < 1000; i++) parts.guests[0]?.say('x'.repeat(1000));
  assert.deepEqual(heard, ['a']);
  assert.equal(vm.consoleLines.length, 1);
  assert.ok((vm.consoleLines[0]?.length ?? 0) <= 400);
  await vm.writeConsole(new TextEncoder().encode('hello'));
  assert.equal(parts.guests[0]?.typed, 'hello');
});
