/**
 * The guest's init against a real kernel: Debian's cloud kernel in QEMU, with serial ports in place of the Xen consoles. It needs QEMU,
 * and kernel and busybox in the image cache; it runs in the full test run only.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { runProgram } from '../../platform/node/program.ts';
import { openImageCache } from '../cache.ts';
import type { ConsoleStream } from '../console-writer.ts';
import { sampleBytes } from '../fuzz.fixture.ts';
import { AGENT } from '../guest-agent/agent.fixture.ts';
import { type AgentChannel, openAgentChannel } from '../guest-agent/agent-channel.ts';
import type { CommandSpec } from '../guest-agent/start.ts';
import { buildInitramfs } from '../initramfs.ts';
import { DEFAULT_KERNEL_PACKAGE, USERLAND_PACKAGE } from '../package-names.ts';

const QEMU = 'qemu-system-x86_64';
const cache = openImageCache();
const kernel = await cache.lookUp(DEFAULT_KERNEL_PACKAGE);
const busybox = await cache.lookUp(USERLAND_PACKAGE);
const skip = !process.env.DOMUS_TEST_FULL
  ? 'only in the full test run'
  : !(await runProgram([QEMU, '--version']))
    ? `${QEMU} is not installed`
    : !kernel || !busybox
      ? 'kernel and busybox are not in the image cache'
      : false;

/** A console over the next connection to a local socket. */
function socketConsole(path: string): Promise<ConsoleStream> {
  return new Promise(resolve => {
    const server = createServer((socket: Socket) => {
      server.close();
      socket.on('error', () => {});
      resolve({
        onData: listener => {
          socket.on('data', async data => {
            const taken = listener(new Uint8Array(data as Buffer));
            if (!taken) return;
            socket.pause();
            await taken;
            socket.resume();
          });
        },
        write(bytes) {
          socket.write(bytes);
          return bytes.length;
        },
        onWritable() {},
        close: () => socket.destroy(),
      });
    }).listen(path);
  });
}

describe('the init in a real guest', { skip, timeout: 120_000 }, () => {
  let folder = '';
  let qemu: ChildProcess;
  let channel: AgentChannel;
  let gone: Promise<unknown>;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'domus-qemu-'));
    const socket = join(folder, 'channel');
    writeFileSync(join(folder, 'kernel'), kernel!.contents);
    const agent = readFileSync(AGENT);
    writeFileSync(
      join(folder, 'initrd'),
      buildInitramfs(busybox!.contents, { channel: '/dev/ttyS1', agent }),
    );
    const console = socketConsole(socket);
    qemu = spawn(QEMU, [
      ...['-accel', 'tcg', '-cpu', 'max', '-m', '256', '-display', 'none', '-nodefaults', '-no-reboot'],
      ...['-kernel', join(folder, 'kernel'), '-initrd', join(folder, 'initrd')],
      ...['-append', 'console=ttyS0 panic=-1', '-serial', `file:${join(folder, 'console')}`],
      ...['-serial', `unix:${socket}`],
    ]);
    gone = new Promise(done => qemu.on('exit', done));
    channel = openAgentChannel(await console);
    await channel.ready;
  });
  after(() => {
    qemu?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  async function run(spec: Partial<CommandSpec>, input?: Uint8Array) {
    const command = channel.run({ argv: ['sh'], env: {}, hasInput: input !== undefined, ...spec });
    const out: Uint8Array[] = [];
    const err: Uint8Array[] = [];
    command.onStdout(bytes => {
      out.push(bytes);
    });
    command.onStderr(bytes => {
      err.push(bytes);
    });
    if (input) {
      void command.writeStdin(input);
      if (!spec.terminal) command.closeStdin();
    }
    const code = await command.exit;
    const bytes = new Uint8Array(Buffer.concat(out));
    return { code, bytes, out: new TextDecoder().decode(bytes), err: Buffer.concat(err).toString() };
  }

  test('arguments, variables, outputs apart, exit code', async () => {
    const argv = [
      'sh',
      '-c',
      'printf "<%s>" "$@" "$A"; tty; echo oops >&2; exit 7',
      'x',
      "it's",
      'a b',
      '',
      'n\nl',
      '$A',
    ];
    const result = await run({ argv, env: { A: 'v "w"' } });
    assert.equal(result.out, '<it\'s><a b><><n\nl><$A><v "w">not a tty\n');
    assert.equal(result.err, 'oops\n');
    assert.equal(result.code, 7);
  });

  test('input and output are binary', async () => {
    const input = sampleBytes(20_000);
    assert.deepEqual((await run({ argv: ['cat'] }, input)).bytes, input);
  });

  test('a command that leaves its input does not pass it on to the next', async () => {
    assert.deepEqual(
      (await run({ argv: ['head', '-c', '3'] }, sampleBytes(20_000))).bytes,
      sampleBytes(20_000).slice(0, 3),
    );
    assert.equal((await run({ argv: ['cat'] }, new TextEncoder().encode('mine'))).out, 'mine');
  });

  test('not found, not executable, killed', async () => {
    assert.equal((await run({ argv: ['no-such-command'] })).code, 127);
    assert.equal((await run({ argv: ['/etc/passwd'] })).code, 126);
    assert.equal((await run({ argv: ['sh', '-c', 'kill -SEGV $$'] })).code, 139);
    const command = channel.run({ argv: ['sleep', '1000'], env: {}, hasInput: false });
    command.kill(2);
    assert.equal(await command.exit, 130);
  });

  test('much output, and processes left behind', async () => {
    const result = await run({ argv: ['sh', '-c', 'sleep 1000 & yes | head -c 200000'] });
    assert.equal(result.out, 'y\n'.repeat(100_000));
    assert.equal(result.code, 0);
  });

  test('a terminal, and after it none', async () => {
    const terminal = { rows: 33, columns: 99 };
    const result = await run(
      { argv: ['sh', '-c', 'stty size; tty; read line; echo "got $line"; exit 4'], terminal },
      new TextEncoder().encode('typed\n'),
    );
    assert.match(result.out, /33 99\r\n\/dev\/pts\/0\r\n/);
    assert.match(result.out, /got typed\r\n$/);
    assert.equal(result.code, 4);
    assert.equal((await run({ argv: ['tty'] })).out, 'not a tty\n');
  });

  test('a shell on a pipe, and the end', async () => {
    const result = await run({}, new TextEncoder().encode('echo hi; exit 9\n'));
    assert.deepEqual([result.out, result.code], ['hi\n', 9]);
    channel.stop();
    await gone;
    assert.match(readFileSync(join(folder, 'console'), 'latin1'), /reboot: Power down/);
  });
});
