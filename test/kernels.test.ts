/**
 * Debian's own kernels as guests, through the library: the main job, end to end on real input. Kernels come from the
 * machine's package client or the cache; without either the tests are skipped.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { DomusError } from '../src/base/errors.ts';
import { Host, type RunOptions } from '../src/toolstack/index.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
const KERNELS = ['linux-image-cloud-amd64', 'linux-image-amd64', 'linux-image-6.12-cloud-amd64'];
/** Generous: for a loaded machine, not a measure. */
const TIMEOUT_MS = 300_000;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

let host: Host;
let unavailable: string | undefined;
before(async () => {
  host = await Host.open();
  try {
    await host.run({ command: ['true'], timeoutMs: TIMEOUT_MS });
  } catch (error) {
    const isMissing = error instanceof DomusError && /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code);
    if (!isMissing) throw error;
    unavailable = `no Debian kernel to be had: ${error.message}`;
  }
});
after(() => host[Symbol.asyncDispose]());

const guest = (name: string, run: () => Promise<void>) =>
  test(name, async t => {
    if (unavailable !== undefined) t.skip(unavailable);
    else await run();
  });
const run = (command: RunOptions['command'], options: RunOptions = {}) =>
  host.run({ command: command as string[], timeoutMs: TIMEOUT_MS, ...options });

for (const kernel of isFull ? KERNELS : KERNELS.slice(0, 1)) {
  for (const vcpus of [1, 4]) {
    guest(`${kernel} with ${vcpus} vCPUs reaches the command`, async () => {
      const result = await run('uname -s; nproc', { kernel, vcpus });
      assert.equal(text(result.stdout), `Linux\n${vcpus}\n`);
      assert.equal(result.exitCode, 0);
    });
  }
}

for (const [vcpus, pcpus] of [
  [2, 2],
  [4, 2],
] as const) {
  guest(`${vcpus} vCPUs at the same time on ${pcpus} threads`, async () => {
    const work = 'seq 1 2000 | sort -n | md5sum';
    const result = await run(`nproc; for i in 1 2 3 4; do (${work}) & done; wait`, { vcpus, pcpus });
    assert.equal(text(result.stdout), `${vcpus}\n${'ea4d0a24dabcaa11f9aa979b872d162b  -\n'.repeat(4)}`);
    assert.equal(result.exitCode, 0);
  });
}

guest('streams are binary-safe and apart, and the exit code is the command’s', async () => {
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 7919) >> 3);
  const result = await run('cat; echo complaint >&2; exit 7', { stdin: bytes });
  assert.deepEqual(Buffer.from(result.stdout), Buffer.from(bytes));
  assert.equal(text(result.stderr), 'complaint\n');
  assert.equal(result.exitCode, 7);
});

guest('a signal, a missing program and one that cannot be executed', async () => {
  assert.equal((await run('kill -9 $$')).exitCode, 137);
  assert.equal((await run(['no-such-program'])).exitCode, 127);
  assert.equal((await run(['/etc'])).exitCode, 126);
});

guest('a guest that sleeps hardly wakes', async () => {
  const SECONDS = 20;
  const asleep = (seconds: number) => run(['sleep', String(seconds)], { deterministic: { seed: 3 } });
  const [short, long] = [await asleep(1), await asleep(1 + SECONDS)];
  const each = (long.instructions - short.instructions) / SECONDS;
  // What its kernel does by itself: 72,000 a second where nothing is switched off.
  assert.ok(each > 0 && each < 15_000, `${each} instructions a second`);
});

guest('the guest sees Xen 4.17 and the Domus processor', async () => {
  const result = await run(
    'grep -m1 "model name" /proc/cpuinfo; dmesg | grep -E "Hypervisor detected|Xen version|FIFO-based|Booting kernel on"',
  );
  const lines = text(result.stdout);
  assert.match(lines, /model name\s*: Domus virtual CPU/);
  assert.match(lines, /Hypervisor detected: Xen HVM/);
  assert.match(lines, /Xen version 4\.17\./);
  assert.match(lines, /Using FIFO-based ABI/);
  assert.match(lines, /Booting kernel on Xen PVH/);
});

guest('deterministic runs are equal to the last register, another seed differs', async () => {
  const once = (seed: number, engine: 'translator' | 'interpreter' = 'translator') => {
    const lines: Uint8Array[] = [];
    return run('head -c 8 /dev/urandom | od -x; dmesg | tail -1', {
      deterministic: { seed },
      engine,
      vcpus: 2,
      console: chunk => void lines.push(chunk),
    }).then(result => ({
      hash: result.stateHash,
      instructions: result.instructions,
      stdout: text(result.stdout),
      console: lines.map(text).join(''),
    }));
  };
  const first = await once(1);
  assert.deepEqual(await once(1), first);
  // Both engines are the same processor, instruction by instruction.
  assert.deepEqual(await once(1, 'interpreter'), first);
  const other = await once(2);
  assert.notEqual(other.hash, first.hash);
  assert.notEqual(other.stdout, first.stdout);
});

guest('a panic is reported with its reason, registers, call trace and last lines', async () => {
  await assert.rejects(run(['true'], { append: 'rdinit=/nonexistent root=/dev/none panic=-1' }), error => {
    assert.ok(error instanceof DomusError);
    const report = (
      error as unknown as {
        report: { consoleLines: string[]; status: { vcpus: { backtrace: { symbol?: string }[] }[] } };
      }
    ).report;
    assert.ok(report.consoleLines.some(line => line.includes('Kernel panic')));
    assert.ok(report.status.vcpus[0]?.backtrace.some(frame => frame.symbol === 'panic'));
    return true;
  });
});

guest('both engines in lockstep, to the command’s end', async () => {
  const options: RunOptions = { deterministic: { seed: 3 }, vcpus: 2 };
  const command = 'head -c 100000 /dev/urandom | md5sum; cat';
  const stdin = new TextEncoder().encode('typed\n');
  const both = await run(command, { ...options, stdin, engine: 'lockstep' });
  assert.match(text(both.stdout), /^[0-9a-f]{32} {2}-\ntyped\n$/);
  // The pair is the same machine as one alone.
  const { stateHash, instructions } = await run(command, { ...options, stdin });
  assert.deepEqual([both.stateHash, both.instructions], [stateHash, instructions]);
  await assert.rejects(run('true', { engine: 'lockstep' }), { code: 'E_LOCKSTEP' });
});

guest('in lockstep, input comes to both machines at the same time, whenever it comes', async () => {
  const vm = await host.create({ engine: 'lockstep', deterministic: { seed: 5 }, memory: '256M' });
  for (let i = 0; i < 12; i++) {
    const { stdout } = await vm.exec(['sh', '-c', `sleep 0.0${i % 9}; echo ${i}`]);
    assert.equal(text(stdout), `${i}\n`);
    // While the guest waits for its next timer.
    await new Promise(resolve => setTimeout(resolve, (i * 7) % 23));
  }
  // More than a ring takes: the rest comes while the guest makes room, in the middle of a slice.
  const much = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) >>> 3);
  const { stdout } = await vm.exec('sha256sum', { stdin: much });
  assert.equal(text(stdout), `${createHash('sha256').update(much).digest('hex')}  -\n`);
  await vm.destroy();
});
