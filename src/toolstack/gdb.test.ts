/** gdb itself, in batch mode, against the server; without gdb the tests of this file skip. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { createDebugMachine } from './debug-machine.fixture.ts';
import { startGdbServer } from './gdb-server.ts';

const hasGdb = spawnSync('gdb', ['--version']).status === 0;
const skip = hasGdb ? false : 'gdb is not installed';

const ENTRY = 0x10_0000;
/**
 * mov esp,0x300000; start: inc eax; mov [0x200000],eax; inc ecx; call sub; jmp start; sub: inc edx; ret
 */
// biome-ignore format: one instruction a line
const CODE = Uint8Array.of(
  0xbc, 0, 0, 0x30, 0,
  0x40,
  0xa3, 0, 0, 0x20, 0,
  0x41,
  0xe8, 2, 0, 0, 0,
  0xeb, 0xf2,
  0x42,
  0xc3,
);

/** Run gdb with these commands against a machine and give back what it printed. */
async function gdb(port: number, commands: readonly string[]): Promise<string> {
  const all = [
    'set pagination off',
    'set confirm off',
    'set architecture i386:x86-64',
    `target remote 127.0.0.1:${port}`,
    ...commands,
  ];
  const parameters = ['-nx', '-q', '-batch', ...all.flatMap(command => ['-ex', command])];
  return new Promise(resolve => {
    execFile('gdb', parameters, { timeout: 60_000 }, (_error, stdout, stderr) => resolve(stdout + stderr));
  });
}

async function withMachine(
  vcpus: number,
  body: (port: number, machine: ReturnType<typeof createDebugMachine>) => Promise<void>,
): Promise<void> {
  const machine = createDebugMachine({ code: CODE, entry: ENTRY, memoryBytes: 16 << 20, vcpus });
  const server = await startGdbServer(machine.target, 0);
  try {
    await body(server.port, machine);
  } finally {
    await machine.target.stop();
    await server.close();
  }
}

test('gdb reads registers and memory, steps, and stops at breakpoints', { skip }, async () => {
  await withMachine(1, async (port, { target }) => {
    const text = await gdb(port, [
      'printf "rip=%lx\\n", $rip',
      'stepi',
      'printf "rip=%lx rsp=%lx\\n", $rip, $rsp',
      'break *0x10000b',
      'continue',
      'printf "rip=%lx rax=%ld stored=%d\\n", $rip, $rax, *(int*)0x200000',
      'continue',
      'printf "rip=%lx rax=%ld rcx=%ld\\n", $rip, $rax, $rcx',
      'x/2xb 0x10000b',
      'stepi',
      'printf "rip=%lx rcx=%ld\\n", $rip, $rcx',
      'delete',
      'hbreak *0x100013',
      'continue',
      'printf "rip=%lx\\n", $rip',
      'set $rax = 1000',
      'set {int}0x200004 = 77',
      'printf "set rax=%ld stored=%d\\n", $rax, *(int*)0x200004',
      'info registers cr0 efer eflags cs',
      'monitor dump',
      'detach',
    ]);
    assert.match(text, /rip=100000\n/, text);
    assert.match(text, /rip=100005 rsp=300000\n/, text);
    assert.match(text, /rip=10000b rax=1 stored=1\n/, text);
    assert.match(text, /rip=10000b rax=2 rcx=1\n/, text);
    // Guest memory has the guest's own bytes where a breakpoint is.
    assert.match(text, /0x10000b:\s+0x41\s+0xe8/, text);
    assert.match(text, /rip=10000c rcx=2\n/, text);
    assert.match(text, /rip=100013\n/, text);
    assert.match(text, /set rax=1000 stored=77\n/, text);
    assert.match(text, /cr0\s+0x11 /, text);
    assert.match(text, /vCPU 0: runnable, cpl 0, \d+ instructions/, text);
    assert.match(text, /detached/, text);
    // After it detached the machine runs on, and nothing stops it.
    await target.stop();
    assert.notEqual(target.engine.memory.view.getBigUint64(target.vcpus[0]!.block, true), 0n);
  });
});

test('gdb sees a thread for each vCPU, and its end by kill', { skip }, async () => {
  await withMachine(2, async port => {
    const text = await gdb(port, [
      'info threads',
      'thread 2',
      'printf "rip=%lx\\n", $rip',
      'watch *(int*)0x200000',
      'kill',
    ]);
    assert.match(text, /1\s+Thread 1 \(vCPU 0\)/, text);
    assert.match(text, /2\s+Thread 2 \(vCPU 1 \(offline\)\)/, text);
  });
});

test('an instruction that gdb writes is the one that runs', { skip }, async () => {
  await withMachine(1, async port => {
    // inc eax becomes dec eax.
    const text = await gdb(port, [
      'break *0x10000b',
      'continue',
      'set {unsigned char}0x100005 = 0x48',
      'set $rax = 10',
      'continue',
      'printf "rax=%ld\\n", $rax',
      'kill',
    ]);
    assert.match(text, /rax=9\n/, text);
  });
});
