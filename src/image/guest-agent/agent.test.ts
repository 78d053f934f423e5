/** The agent and the host's end of its channel, with the real program. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DomusError } from '../../base/errors.ts';
import { sampleBytes, seeded } from '../fuzz.fixture.ts';
import { skip, startAgent } from './agent.fixture.ts';
import { type AgentChannel, type AgentChannelOptions, openAgentChannel } from './agent-channel.ts';
import { type AgentState, decodeAgentState, encodeAgentState } from './agent-state.ts';
import {
  encodeFrame,
  Frame,
  frameParser,
  OLDEST_VERSION,
  SESSIONS,
  VERSION,
  VERSION_WITH_IDENTITY,
  WINDOW_BYTES,
} from './frames.ts';
import type { CommandSpec } from './start.ts';

const text = (chunks: readonly Uint8Array[]) => Buffer.concat(chunks).toString();

/** Run a command to its end. */
async function run(
  channel: AgentChannel,
  argv: string[],
  spec: Partial<CommandSpec> = {},
  input?: Uint8Array,
) {
  const out: Uint8Array[] = [];
  const err: Uint8Array[] = [];
  const command = channel.run({ argv, env: {}, hasInput: input !== undefined, ...spec });
  command.onStdout(bytes => void out.push(bytes));
  command.onStderr(bytes => void err.push(bytes));
  if (input) {
    await command.writeStdin(input);
    command.closeStdin();
  }
  const code = await command.exit;
  return { code, stdout: text(out), stderr: text(err), bytes: Buffer.concat(out) };
}

test('streams stay apart, the exit code is the command’s', { skip }, async () => {
  using agent = startAgent();
  const result = await run(agent.channel, ['sh', '-c', 'echo out; echo err >&2; exit 7']);
  assert.deepEqual([result.code, result.stdout, result.stderr], [7, 'out\n', 'err\n']);
  assert.equal((await run(agent.channel, ['sh', '-c', 'kill -9 $$'])).code, 137);
  assert.equal((await run(agent.channel, ['true'])).code, 0);
});

test('environment, working folder, arguments as they are, and how a missing program looks', {
  skip,
}, async () => {
  using agent = startAgent();
  const strange = ["it's", '$(x) `y`', '', 'ä\n"'];
  const printed = await run(agent.channel, ['printf', '%s|', ...strange]);
  assert.equal(printed.stdout, `${strange.join('|')}|`);
  const place = await run(agent.channel, ['sh', '-c', 'pwd; echo "$A-$HOME"'], {
    env: { A: 'b=c' },
    workingFolder: '/usr/bin',
  });
  assert.equal(place.stdout, '/usr/bin\nb=c-/root\n');
  const missing = await run(agent.channel, ['no-such-program']);
  assert.deepEqual([missing.code, missing.stderr], [127, 'domus: no-such-program: not found\n']);
  const folder = await run(agent.channel, ['/usr']);
  assert.deepEqual([folder.code, folder.stderr], [126, 'domus: /usr: cannot be executed\n']);
  const nowhere = await run(agent.channel, ['true'], { workingFolder: '/no/where' });
  assert.deepEqual([nowhere.code, nowhere.stderr], [126, 'domus: /no/where: no such folder\n']);
  assert.equal((await run(agent.channel, ['cat', '/proc/self/comm'], { isTool: true })).code, 0);
});

test('four megabytes pass through a command unchanged', { skip }, async () => {
  using agent = startAgent();
  const input = sampleBytes(4 << 20, 7);
  const { bytes, code } = await run(agent.channel, ['cat'], {}, input);
  assert.equal(code, 0);
  const hash = (what: Uint8Array) => createHash('sha256').update(what).digest('hex');
  assert.equal(hash(bytes), hash(input));
});

test('commands run at the same time, as many as there are sessions', { skip }, async () => {
  using agent = startAgent();
  const cats = Array.from({ length: SESSIONS }, (_, i) => {
    const out: Uint8Array[] = [];
    const command = agent.channel.run({ argv: ['cat'], env: {}, hasInput: true });
    command.onStdout(bytes => void out.push(bytes));
    return { i, out, command };
  });
  assert.throws(
    () => agent.channel.run({ argv: ['true'], env: {}, hasInput: false }),
    (error: unknown) => error instanceof DomusError && error.code === 'E_BUSY',
  );
  for (const { i, command } of cats) await command.writeStdin(Buffer.from(`session ${i}\n`));
  for (const { command } of cats.toReversed()) command.closeStdin();
  for (const { i, out, command } of cats) {
    assert.equal(await command.exit, 0);
    assert.equal(text(out), `session ${i}\n`);
  }
  assert.equal((await run(agent.channel, ['true'])).code, 0);
});

test('a reader that is slow holds its own command back, and no other', { skip }, async () => {
  using agent = startAgent();
  const taken = Promise.withResolvers<void>();
  let nrBytes = 0;
  const slow = agent.channel.run({ argv: ['head', '-c', '1000000', '/dev/zero'], env: {}, hasInput: false });
  slow.onStdout(bytes => {
    nrBytes += bytes.length;
    return taken.promise;
  });
  for (let i = 0; i < 5; i++) assert.equal((await run(agent.channel, ['echo', 'quick'])).stdout, 'quick\n');
  await sleep(50);
  assert.ok(nrBytes <= WINDOW_BYTES && !slow.hasExited);
  taken.resolve();
  assert.equal(await slow.exit, 0);
  assert.equal(nrBytes, 1_000_000);
});

test('a command that does not read holds its writer back, and its end lets the writer go', {
  skip,
}, async () => {
  using agent = startAgent();
  const command = agent.channel.run({ argv: ['sleep', '0.3'], env: {}, hasInput: true });
  await command.writeStdin(new Uint8Array(1 << 20));
  assert.equal(await command.exit, 0);
});

test('a terminal: its size, Ctrl-C, and both output streams in one', { skip }, async () => {
  using agent = startAgent();
  const terminal = { rows: 33, columns: 101 };
  const size = await run(agent.channel, ['sh', '-c', 'stty size; test -t 0 && echo tty >&2'], { terminal });
  assert.deepEqual([size.stdout, size.stderr], ['33 101\r\ntty\r\n', '']);
  const out: Uint8Array[] = [];
  const command = agent.channel.run({
    argv: ['sh', '-c', 'trap "stty size" WINCH; while :; do sleep 0.05; done'],
    env: {},
    hasInput: true,
    terminal,
  });
  command.onStdout(bytes => void out.push(bytes));
  await sleep(100);
  command.resize({ rows: 5, columns: 6 });
  while (!text(out).includes('5 6')) await sleep(20);
  await command.writeStdin(Uint8Array.of(3));
  assert.equal(await command.exit, 130);
});

test('signals: one for the command, SIGKILL for all that it has started', { skip }, async () => {
  using agent = startAgent();
  const command = agent.channel.run({
    argv: ['sh', '-c', 'trap "echo got it; exit 3" USR1; echo ready; while :; do sleep 0.05; done'],
    env: {},
    hasInput: false,
  });
  const out: Uint8Array[] = [];
  command.onStdout(bytes => void out.push(bytes));
  while (!text(out).includes('ready')) await sleep(10);
  command.kill(10);
  assert.equal(await command.exit, 3);
  assert.equal(text(out), 'ready\ngot it\n');
  const family = agent.channel.run({ argv: ['sh', '-c', 'sleep 1000 & wait'], env: {}, hasInput: false });
  await sleep(50);
  family.kill(9);
  assert.equal(await family.exit, 137);
});

test('what a command leaves behind does not keep its session open', { skip }, async () => {
  using agent = startAgent();
  const result = await run(agent.channel, ['sh', '-c', 'sleep 2 & echo done']);
  assert.deepEqual([result.code, result.stdout], [0, 'done\n']);
});

test('an agent that goes away ends its commands with an error', { skip }, async () => {
  using agent = startAgent();
  const command = agent.channel.run({ argv: ['sleep', '1000'], env: {}, hasInput: false });
  await agent.channel.ready;
  agent.child.kill('SIGKILL');
  await assert.rejects(command.exit, { code: 'E_RUN_NO_EXIT' });
});

test('frames of any kind from the guest: no crash, no unbounded memory', () => {
  const seen: number[] = [];
  const parse = frameParser(16, ({ type }, payload) => void seen.push(type, payload.length));
  const both = Buffer.concat([
    encodeFrame({ type: Frame.end, stream: 1, session: 3 }, new Uint8Array(0)),
    encodeFrame({ type: Frame.data, stream: 1, session: 3 }, new Uint8Array(16)),
  ]);
  for (const byte of both) parse(Uint8Array.of(byte));
  parse(both);
  assert.deepEqual(seen, [3, 0, 2, 16, 3, 0, 2, 16]);
  assert.throws(() => parse(encodeFrame({ type: 2, stream: 1, session: 0 }, new Uint8Array(17))), {
    code: 'E_CHANNEL',
  });
});

test('a hostile agent: random frames end the channel or mean nothing, and what waits is bounded', async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seeded(seed);
    let deliver: (bytes: Uint8Array) => void = () => {};
    const channel = openAgentChannel({
      onData: listener => {
        deliver = bytes => void listener(bytes);
      },
      write: bytes => bytes.length,
      onWritable() {},
      close() {},
    });
    let waiting = 0;
    const commands = Array.from({ length: 3 }, () => channel.run({ argv: ['x'], env: {}, hasInput: true }));
    for (const command of commands) {
      command.onStdout(bytes => {
        waiting += bytes.length;
        return new Promise(() => {});
      });
      void command.writeStdin(new Uint8Array(100_000));
      command.exit.catch(() => {});
    }
    deliver(
      encodeFrame({ type: Frame.ready, stream: 0, session: 0 }, Uint8Array.of(random(10) ? 1 : 2, 0, 0, 0)),
    );
    for (let i = 0; i < 60; i++) {
      const payload = sampleBytes(random(3) ? random(8) : random(17_000), seed + i);
      const frame = encodeFrame({ type: random(12), stream: random(4), session: random(5) }, payload);
      if (random(20) === 0) frame[random(frame.length)] = random(256);
      deliver(frame);
    }
    await new Promise(resolve => setImmediate(resolve));
    channel.finish();
    assert.ok(waiting <= commands.length * WINDOW_BYTES);
    for (const command of commands)
      await command.exit.then(
        code => assert.ok(code <= 255),
        () => {},
      );
  }
});

test('the agent says what the kernel says about memory, beside commands', { skip }, async () => {
  using agent = startAgent();
  const running = agent.channel.run({ argv: ['cat'], env: {}, hasInput: true });
  const field = (name: string) =>
    Number(new RegExp(`${name}:? +(\\d+)`).exec(readFileSync(file(name), 'utf8'))?.[1]);
  const file = (name: string) => (name.startsWith('Mem') ? '/proc/meminfo' : '/proc/vmstat');
  const before = field('oom_kill');
  const [report, same] = await Promise.all([agent.channel.memory(), agent.channel.memory()]);
  assert.equal(report, same, 'one question');
  // This machine may be a guest with a balloon itself.
  assert.ok(Math.abs(report.totalKiB / field('MemTotal') - 1) < 0.1);
  assert.ok(report.freeKiB > 0 && report.freeKiB < report.totalKiB);
  assert.ok(report.availableKiB > 0 && report.availableKiB < report.totalKiB);
  assert.ok(report.kills >= before && report.kills <= field('oom_kill'));
  const vmstat = readFileSync('/proc/vmstat', 'utf8').matchAll(/^workingset_refault\w* (\d+)$/gm);
  const refaults = [...vmstat].reduce((total, [, count]) => total + Number(count), 0);
  assert.ok(report.refaults <= refaults && (report.refaults > 0 || refaults < 1000));
  const later = await agent.channel.memory();
  assert.ok(later !== report && later.refaults >= report.refaults && later.waitedUs >= report.waitedUs);
  running.closeStdin();
  assert.equal(await running.exit, 0);
});

/** The host's end with a guest that says what a test wants. */
function fakeGuest(options: AgentChannelOptions = {}) {
  let hear: (bytes: Uint8Array) => void = () => {};
  const stream = {
    onData(listener: (bytes: Uint8Array) => void) {
      hear = listener;
    },
    write: (bytes: Uint8Array) => bytes.length,
    onWritable() {},
    close() {},
  };
  const channel = openAgentChannel(stream, options);
  return { channel, hear: (bytes: Uint8Array) => hear(bytes) };
}
const frame = (type: number, payload: Uint8Array) => encodeFrame({ type, stream: 0, session: 0 }, payload);

test('a copy takes its identity; one that cannot, and an agent of before, say so', { skip }, async () => {
  const mac = Uint8Array.of(0, 0x16, 0x3e, 1, 2, 3);
  const network = { macBefore: Uint8Array.of(2, 9, 9, 9, 9, 9), mac, gateway: Uint8Array.of(10, 0, 2, 2) };
  using agent = startAgent();
  // This machine has no such interface: somebody has put it elsewhere.
  await agent.channel.identify({ network });
  assert.equal((await run(agent.channel, ['true'])).code, 0);

  const { channel, hear } = fakeGuest();
  hear(frame(Frame.ready, Uint8Array.of(VERSION, 0, 0, 0)));
  const refused = channel.identify({ hostname: 'x' });
  hear(frame(Frame.identity, Uint8Array.of(1, 0, 0, 0)));
  await assert.rejects(Promise.resolve(refused), { code: 'E_IDENTITY' });
  const garbled = channel.identify({ network });
  hear(frame(Frame.identity, Uint8Array.of(0)));
  await assert.rejects(Promise.resolve(garbled), { code: 'E_IDENTITY' });
  const lost = channel.identify({ network });
  channel.finish();
  await assert.rejects(Promise.resolve(lost), { code: 'E_RUN_NO_EXIT' });

  const old: AgentState = {
    version: VERSION_WITH_IDENTITY - 1,
    isReady: true,
    received: new Uint8Array(0),
    unsent: new Uint8Array(0),
    sessions: [],
  };
  const before = fakeGuest({ resume: { state: old, payload: new Uint8Array(80) } }).channel;
  assert.equal(before.identify({ network }), undefined);
  assert.equal(decodeAgentState(encodeAgentState(before.state())).version, old.version);
  // One that was saved while it started says its version afterwards.
  const late = fakeGuest();
  late.hear(frame(Frame.ready, Uint8Array.of(OLDEST_VERSION, 0, 0, 0)));
  assert.equal(late.channel.identify({ network }), undefined);
  for (const version of [OLDEST_VERSION - 1, VERSION + 1]) {
    const stranger = fakeGuest();
    stranger.hear(frame(Frame.ready, Uint8Array.of(version, 0, 0, 0)));
    await assert.rejects(stranger.channel.ready, { code: 'E_CHANNEL' });
  }
});

test('a report that is too short ends the channel, one that nobody asked for is left alone', async () => {
  const { channel, hear } = fakeGuest();
  hear(frame(Frame.ready, Uint8Array.of(VERSION, 0, 0, 0)));
  hear(frame(Frame.memory, new Uint8Array(56)));
  const answer = channel.memory();
  hear(frame(Frame.memory, new Uint8Array(56).fill(255)));
  assert.equal((await answer).totalKiB, Number.MAX_SAFE_INTEGER);
  const broken = channel.memory();
  hear(frame(Frame.memory, new Uint8Array(55)));
  await assert.rejects(broken, { code: 'E_CHANNEL' });
  await assert.rejects(channel.memory(), { code: 'E_CHANNEL' });
});
