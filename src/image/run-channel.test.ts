import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DomusError } from '../base/errors.ts';
import type { ConsoleStream } from './console-writer.ts';
import { hasCode, sampleBytes, seeded } from './fuzz.fixture.ts';
import { markedOutput } from './marked-output.ts';
import { openRunChannel, type RunningCommand } from './run-channel.ts';
import { type CommandSpec, commandScript } from './run-command.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A console whose guest side the test plays. It takes at most `room` bytes at a time. */
function fakeConsole(room = 7) {
  let listener: (bytes: Uint8Array) => void | Promise<void> = () => {};
  let writable = (): void => {};
  let received: number[] = [];
  let waiters: (() => void)[] = [];
  const stream: ConsoleStream = {
    onData: it => {
      listener = it;
    },
    write(bytes) {
      const taken = Math.min(room, bytes.length);
      received.push(...bytes.subarray(0, taken));
      setImmediate(() => {
        for (const wake of waiters.splice(0)) wake();
        writable();
      });
      return taken;
    },
    onWritable: it => {
      writable = it;
    },
    close() {},
  };
  const take = async (count: number): Promise<Uint8Array> => {
    while (received.length < count) await new Promise<void>(wake => waiters.push(wake));
    const bytes = Uint8Array.from(received.slice(0, count));
    received = received.slice(count);
    return bytes;
  };
  return {
    stream,
    say: (data: string | Uint8Array) => listener(typeof data === 'string' ? bytesOf(data) : data),
    take,
    async line() {
      let text = '';
      for (;;) {
        const byte = textOf(await take(1));
        if (byte === '\n') return text;
        text += byte;
      }
    },
    pending: () => received.length,
    drop() {
      received = [];
      waiters = [];
    },
  };
}

function fakeGuest(options: { isThrowaway?: boolean } = {}) {
  const io = fakeConsole();
  const err = fakeConsole();
  const control = fakeConsole();
  const channel = openRunChannel({ io: io.stream, err: err.stream, control: control.stream }, options);
  /** Accept one command as the init does; returns its script and mark. */
  const accept = async () => {
    const words = (await control.line()).split(' ');
    assert.equal(words[0], 'run');
    const script = textOf(await control.take(Number(words[6])));
    const mark = words[5]!;
    let line = '';
    while (line !== mark) line = await io.line();
    control.say('started\n');
    return { words, script, mark };
  };
  const end = (mark: string, code: number): void => {
    io.say(mark);
    err.say(mark);
    control.say(`exit ${code}\n`);
  };
  /** A frame of stdin; undefined at end of file. */
  const frame = async (): Promise<Uint8Array | undefined> => {
    const length = Number(await io.line());
    return length === 0 ? undefined : await io.take(length);
  };
  return { io, err, control, channel, accept, end, frame };
}

function collect(command: RunningCommand) {
  const out: number[] = [];
  const err: number[] = [];
  command.onStdout(bytes => {
    out.push(...bytes);
  });
  command.onStderr(bytes => {
    err.push(...bytes);
  });
  return { out: () => Uint8Array.from(out), err: () => textOf(Uint8Array.from(err)) };
}

test('a command with input, output, errors and an exit code', async () => {
  const guest = fakeGuest();
  const command = guest.channel.run({ argv: ['cat', "it's"], env: { A: 'b' }, hasInput: true });
  const output = collect(command);
  const input = sampleBytes(70_000);
  void command.writeStdin(input);
  command.closeStdin();
  guest.control.say('ready\n');
  const { words, script, mark } = await guest.accept();
  assert.deepEqual(words.slice(1, 5), ['0', '1', '24', '80']);
  assert.match(script, /^#!\/bin\/sh\n/);
  assert.match(script, /\nexec -- 'cat' 'it'\\''s'\n$/);
  const got: number[] = [];
  for (let part = await guest.frame(); part; part = await guest.frame()) got.push(...part);
  assert.deepEqual(Uint8Array.from(got), input);
  void guest.io.say(sampleBytes(5000, 9));
  guest.err.say('oops\n');
  guest.end(mark, 42);
  assert.equal(await command.exit, 42);
  assert.deepEqual(output.out(), sampleBytes(5000, 9));
  assert.equal(output.err(), 'oops\n');
});

test('the exit code waits for output that comes later on another console, and for its reader', async () => {
  const guest = fakeGuest();
  guest.control.say('ready\n');
  const command = guest.channel.run({ argv: ['x'], env: {}, hasInput: false });
  const reader = Promise.withResolvers<void>();
  let text = '';
  command.onStdout(bytes => {
    text += textOf(bytes);
    return reader.promise;
  });
  const { mark } = await guest.accept();
  guest.control.say('exit 3\n');
  assert.ok(command.hasExited);
  let settled = false;
  void command.exit.then(() => {
    settled = true;
  });
  const held = guest.io.say(`late${mark.slice(0, 5)}`);
  assert.ok(held instanceof Promise, 'the reader holds the guest back');
  guest.io.say(mark.slice(5));
  guest.err.say(mark);
  await new Promise(setImmediate);
  assert.ok(!settled);
  reader.resolve();
  assert.equal(await command.exit, 3);
  assert.equal(text, 'late');
});

test("commands one after the other; what is left of the first one's input is skipped", async () => {
  const guest = fakeGuest();
  guest.control.say('ready\n');
  const first = guest.channel.run({ argv: ['true'], env: {}, hasInput: true });
  assert.throws(() => guest.channel.run({ argv: ['y'], env: {}, hasInput: false }), hasCode('E_BUSY'));
  const one = await guest.accept();
  void first.writeStdin(new Uint8Array(1000).fill(0x41));
  await guest.io.take(30);
  guest.end(one.mark, 0);
  assert.equal(await first.exit, 0);
  await first.writeStdin(bytesOf('to nobody'));
  const second = guest.channel.run({ argv: ['y'], env: {}, hasInput: false });
  const output = collect(second);
  const two = await guest.accept();
  assert.notEqual(two.mark, one.mark);
  guest.io.say(`new ${one.mark}`);
  guest.end(two.mark, 1);
  assert.equal(await second.exit, 1);
  assert.equal(textOf(output.out()), `new ${one.mark}`);
});

test('a terminal: plain input, size, signals', async () => {
  const guest = fakeGuest();
  guest.control.say('ready\n');
  const command = guest.channel.run({
    argv: [],
    env: {},
    hasInput: true,
    terminal: { rows: 30, columns: 100 },
  });
  const { words, script, mark } = await guest.accept();
  assert.deepEqual(words.slice(1, 5), ['1', '1', '30', '100']);
  assert.match(script, /exec -- 'sh'/);
  void command.writeStdin(bytesOf('ls\n'));
  command.closeStdin();
  assert.equal(textOf(await guest.io.take(4)), 'ls\n\x04');
  command.resize({ rows: 0, columns: 1e9 });
  command.kill(15);
  assert.equal(await guest.control.line(), 'size 1 65535');
  assert.equal(await guest.control.line(), 'signal 15');
  assert.throws(() => command.kill(0), hasCode('E_RUN_ARGUMENT'));
  guest.end(mark, 143);
  assert.equal(await command.exit, 143);
});

test('a throwaway guest is told to stop after its command', async () => {
  const guest = fakeGuest({ isThrowaway: true });
  guest.control.say('ready\n');
  const command = guest.channel.run({ argv: ['x'], env: {}, hasInput: false });
  const { mark } = await guest.accept();
  guest.end(mark, 0);
  await command.exit;
  assert.equal(await guest.control.line(), 'stop');
});

test('a guest that ends without a word', async () => {
  const guest = fakeGuest();
  guest.control.say('ready\n');
  const command = guest.channel.run({ argv: ['x'], env: {}, hasInput: true });
  const output = collect(command);
  const { mark } = await guest.accept();
  guest.io.say(`partial${mark.slice(0, 4)}`);
  guest.channel.finish();
  await assert.rejects(command.exit, hasCode('E_RUN_NO_EXIT'));
  // What might have been the mark was output after all.
  assert.equal(textOf(output.out()), `partial${mark.slice(0, 4)}`);
  await command.writeStdin(bytesOf('to nobody'));
  const never = fakeGuest();
  never.channel.finish(new DomusError('E_GUEST_CRASHED', 'crashed'));
  await assert.rejects(never.channel.ready, hasCode('E_GUEST_CRASHED'));
});

test('an error of the init', async () => {
  const guest = fakeGuest();
  guest.control.say('error the console /dev/hvc1 did not\x1b[2J appear\n');
  await assert.rejects(guest.channel.ready, /did not\?\[2J appear/);
});

test('control lines of a hostile guest', async () => {
  const guest = fakeGuest();
  guest.control.say('ready\n');
  const command = guest.channel.run({ argv: ['x'], env: {}, hasInput: false });
  const { mark } = await guest.accept();
  const random = seeded(77);
  for (let i = 0; i < 300; i++) {
    guest.control.say(new Uint8Array(random(40)).map(() => random(256)));
    guest.control.say(['exit 256\n', 'exit -1\n', 'exit\n', 'exit 1e1\n', 'ready\n', '\n'][random(6)]!);
  }
  guest.control.say(`${'x'.repeat(100_000)}exit 9\n`);
  assert.ok(!command.hasExited);
  guest.end(mark, 5);
  assert.equal(await command.exit, 5);
});

test('a mark is found however the bytes are cut', async () => {
  const random = seeded(5);
  const mark = bytesOf('\x1emark-1');
  for (let round = 0; round < 200; round++) {
    const output = markedOutput();
    const got: number[] = [];
    output.listener = bytes => {
      got.push(...bytes);
    };
    output.begin(mark);
    const body = Array.from({ length: random(60) }, () => (random(3) ? 0x1e : mark[random(mark.length)]!));
    // The body must not hold the mark itself by accident.
    if (textOf(Uint8Array.from(body)).includes('\x1emark-1')) continue;
    const all = Uint8Array.from([...body, ...mark, 1, 2, 3]);
    for (let at = 0; at < all.length; ) {
      const length = 1 + random(9);
      output.receive(all.subarray(at, at + length));
      at += length;
    }
    await output.ended();
    assert.deepEqual(got, body);
  }
});

test('what no program can be given', () => {
  const spec: CommandSpec = { argv: ['x'], env: {}, hasInput: false };
  const bad: CommandSpec[] = [
    { ...spec, argv: ['a\0b'] },
    { ...spec, env: { '1A': '' } },
    { ...spec, env: { 'A;reboot': '' } },
    { ...spec, env: { A: '\0' } },
  ];
  for (const one of bad) assert.throws(() => commandScript(one), hasCode('E_RUN_ARGUMENT'));
});
