/** Any hypercall with any arguments: nothing throws, and no other domain notices. Seeded, so a failure repeats. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hypervisor } from '../../abi/xen/xen.ts';
import { Mode } from '../../cpu/decode/mode.ts';
import { destroyDomain } from '../domain.ts';
import { deliverEvents } from '../event/backend.ts';
import { mapGrant, seedGrant, unmapGrant } from '../grant/table.ts';
import { setMemoryMap } from '../guest-physical.ts';
import type { Domain } from '../hypervisor.ts';
import { domainResume, vcpuUp } from '../life.ts';
import { mfnOfGfn, p2mEntry } from '../p2m.ts';
import { Pause } from '../state.ts';
import { guestAddress, issue, SCRATCH, testDomain, testMachine } from '../testing.ts';
import { fireTimers } from '../time.ts';
import { hypercalls } from './dispatch.ts';

function generator(seed: number) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state ^ (state >>> 15)) >>> 0;
  };
}

const BOUNDARIES = [
  0n,
  1n,
  2n,
  0x7ff0n,
  0x7fffn,
  0xffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_8000_0000_0000n,
  0xffff_ffff_ffff_fff8n,
  0xffff_ffff_ffff_ffffn,
];

/** Pages of the other domain, and where they are: compared before and after. */
function snapshot(domain: Domain): string {
  const { u8 } = domain.hypervisor.memory;
  let sum = 0;
  for (let gfn = 0; gfn < 80; gfn++) {
    sum = (Math.imul(sum, 31) + p2mEntry(domain, gfn)) | 0;
    const frame = mfnOfGfn(domain, gfn);
    if (frame === 0) continue;
    for (let i = 0; i < 4096; i++) sum = (Math.imul(sum, 31) + u8[frame * 4096 + i]!) | 0;
  }
  return `${sum} ${domain.state.totPages} ${domain.state.nrGrantFrames} ${domain.state.isShutDown}`;
}

const ROUNDS = 12;
const CALLS_PER_NUMBER = 40;

test('random and boundary arguments on every hypercall number', () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = generator(seed * 7919);
    const machine = testMachine({}, 16);
    const bystander = testDomain(machine);
    const { u8, view } = machine.hypervisor.memory;
    for (let gfn = 1; gfn <= 64; gfn++)
      u8.fill(gfn, guestAddress(bystander, gfn * 4096), guestAddress(bystander, gfn * 4096) + 4096);
    const before = snapshot(bystander);
    const domain = testDomain(machine, { maxPages: 200, p2mCount: 2048 });
    setMemoryMap(domain, [{ address: 0, size: 0x40000, type: 1 }]);
    seedGrant(domain, 0, 5, 0);
    vcpuUp(domain.vcpus[1]!);

    const value = (): bigint => {
      switch (random() % 6) {
        case 0:
          return BOUNDARIES[random() % BOUNDARIES.length]!;
        case 1:
          return BigInt(SCRATCH + (random() % 4000));
        case 2:
          return BigInt(random() % 64) * 4096n + BigInt(random() % 4096);
        case 3:
          return (BigInt(random()) << 32n) | BigInt(random());
        default:
          return BigInt(random() % 40);
      }
    };
    for (let number = 0; number < 64; number++) {
      const group = hypercalls[number];
      const commands = Object.keys(group?.operations ?? {}).map(Number);
      for (let i = 0; i < (group ? CALLS_PER_NUMBER + 6 * commands.length : 2); i++) {
        // Structures made of likely values, in whatever RAM is left.
        for (let slot = 0; slot < 8; slot++) {
          const at = SCRATCH + 8 * slot;
          if (mfnOfGfn(domain, at >>> 12) !== 0) view.setBigUint64(guestAddress(domain, at), value(), true);
        }
        const args = [value(), value(), value(), value(), value(), value()];
        if (commands.length > 0 && random() % 8 !== 0) {
          args[0] = BigInt(commands[random() % commands.length]!);
          for (const n of [1, 2]) if (random() % 2 === 0) args[n] = BigInt(SCRATCH);
          // Counts and vCPU numbers that get somewhere.
          if (random() % 4 === 0) args[1] = BigInt(random() % 3);
          if (random() % 4 === 0) args[2] = BigInt(random() % 3);
        }
        const vcpu = domain.vcpus[random() % 2]!;
        vcpu.block.mode = random() % 16 === 0 ? Mode.code32 : Mode.code64;
        // A very long list of failing entries is legal; the test need not wait for its end.
        if (
          number === Hypervisor.grant_table_op ||
          number === Hypervisor.multicall ||
          number === Hypervisor.console_io
        ) {
          for (const n of [1, 2])
            if (args[n]! > 0xffffn && random() % 8 !== 0) args[n] = args[n]! & 0x4_0fffn;
        }
        issue(vcpu, number, ...args);
        if ((random() & 63) === 0) {
          machine.clock.nowNs += random() % 10_000_000;
          fireTimers(machine.hypervisor);
          deliverEvents(machine.hypervisor);
          if (mapGrant(domain, 0, true) > 0) unmapGrant(domain, 0, true);
        }
        for (const other of domain.vcpus) other.state.pauseFlags &= ~(Pause.down | Pause.blocked);
        if (domain.state.isShutDown) domainResume(domain, false);
      }
    }
    assert.equal(snapshot(bystander), before, `seed ${seed}`);
    destroyDomain(domain);
    assert.equal(snapshot(bystander), before, `seed ${seed}`);
  }
});

test('hypercalls from user mode, real mode and unknown numbers', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  vcpu.block.cpl = 3;
  assert.equal(issue(vcpu, Hypervisor.xen_version, 0), -1);
  vcpu.block.cpl = 0;
  assert.equal(issue(vcpu, 11), -38);
  assert.equal(issue(vcpu, 0xffff_ffff), -38);
  assert.equal(issue(vcpu, 34 + 2 ** 40), -38);
  vcpu.block.mode = Mode.real;
  assert.equal(issue(vcpu, Hypervisor.xen_version, 0) | 0, -1);
  vcpu.block.mode = Mode.code32;
  vcpu.block.gpr.set(3, 0n);
  assert.equal(issue(vcpu, Hypervisor.xen_version), 0x40011);
  // A structure that lies otherwise for 32-bit callers
  assert.equal(issue(vcpu, Hypervisor.memory_op) | 0, -38);
});

test('multicall runs its entries in order, each with its result', () => {
  const machine = testMachine();
  const vcpu = testDomain(machine).vcpus[0]!;
  const { view } = machine.hypervisor.memory;
  const at = guestAddress(vcpu.domain, SCRATCH);
  const put = (index: number, words: number[]) => {
    for (const [n, word] of words.entries()) view.setBigUint64(at + 64 * index + 8 * n, BigInt(word), true);
  };
  put(0, [Hypervisor.xen_version, 0, 0]);
  put(1, [Hypervisor.multicall, 0, SCRATCH, 1]);
  put(2, [Hypervisor.vm_assist, 0, 0, 5]);
  put(3, [77, 0]);
  assert.equal(issue(vcpu, Hypervisor.multicall, SCRATCH, 4), 0);
  const results = [0, 1, 2, 3].map(i => Number(view.getBigInt64(at + 64 * i + 8, true)));
  assert.deepEqual(results, [0x40011, -22, 0, -38]);
  assert.equal(issue(vcpu, Hypervisor.multicall, 2 ** 40, 1), -14);
  assert.equal(vcpu.domain.state.vmAssist, 32);
});

test('console output, versions and interfaces for tools', () => {
  const text: string[] = [];
  const machine = testMachine({ console: (_domain, bytes) => text.push(new TextDecoder().decode(bytes)) });
  const domain = testDomain(machine);
  const silent = testDomain(machine, { console: false });
  const vcpu = domain.vcpus[0]!;
  machine.hypervisor.memory.u8.set(new TextEncoder().encode('hello'), guestAddress(domain, SCRATCH));
  assert.equal(issue(vcpu, Hypervisor.console_io, 0, 5, SCRATCH), 0);
  assert.equal(issue(vcpu, Hypervisor.console_io, 0, 5, 2 ** 40), -14);
  assert.equal(issue(silent.vcpus[0]!, Hypervisor.console_io, 0, 5, SCRATCH), -1);
  assert.deepEqual(text, ['hello']);
  const string = (command: number, length: number) => {
    assert.equal(issue(vcpu, Hypervisor.xen_version, command, SCRATCH), 0);
    const at = guestAddress(domain, SCRATCH);
    return new TextDecoder().decode(machine.hypervisor.memory.u8.slice(at, at + length)).replace(/\0+$/, '');
  };
  assert.equal(string(3, 1024), 'xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ');
  assert.equal(string(9, 1024), '<denied>');
  assert.equal(issue(vcpu, Hypervisor.xen_version, 7, 0), 4096);
  assert.equal(issue(vcpu, Hypervisor.xen_version, 7, 8), -22);
  assert.equal(issue(vcpu, Hypervisor.xen_version, 10, 0), -1);
  assert.equal(issue(vcpu, Hypervisor.domctl, SCRATCH), -13);
  machine.hypervisor.memory.view.setUint32(guestAddress(domain, SCRATCH + 4), 0x15, true);
  assert.equal(issue(vcpu, Hypervisor.domctl, SCRATCH), -1);
});
