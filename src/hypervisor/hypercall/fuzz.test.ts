/** Any hypercall with any arguments: nothing throws, and no other domain notices. Seeded, so a failure repeats. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as event from '../../abi/xen/event-channel.ts';
import * as grant from '../../abi/xen/grant-table.ts';
import * as hvm from '../../abi/xen/hvm.ts';
import * as memory from '../../abi/xen/memory.ts';
import * as sched from '../../abi/xen/sched.ts';
import * as vcpuAbi from '../../abi/xen/vcpu.ts';
import { Hypervisor } from '../../abi/xen/xen.ts';
import { mfn } from '../../base/brand.ts';
import type { FieldType, Struct } from '../../base/struct.ts';
import { Mode } from '../../cpu/decode/mode.ts';
import { FrameType } from '../../machine/frames.ts';
import { destroyDomain } from '../domain.ts';
import { deliverEvents } from '../event/backend.ts';
import { mapGrant, seedGrant, unmapGrant } from '../grant/table.ts';
import { setMemoryMap } from '../guest-physical.ts';
import type { Domain } from '../hypervisor.ts';
import { domainResume, vcpuUp } from '../life.ts';
import { mfnOfGfn, p2mEntry, populateGfn } from '../p2m.ts';
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

/** Machines that each test tries; many more with DOMUS_TEST_FULL. */
const ROUNDS = process.env.DOMUS_TEST_FULL ? 40 : 3;
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

type Shape = Struct<Record<string, FieldType<unknown>>>;
/** What the argument of each operation points to. */
const shapes: Record<number, Record<number, unknown>> = {
  [Hypervisor.memory_op]: {
    0: memory.XenMemoryReservation,
    1: memory.XenMemoryReservation,
    3: memory.XenMemoryDomain,
    6: memory.XenMemoryReservation,
    7: memory.XenAddToPhysmap,
    9: memory.XenMemoryMap,
    15: memory.XenRemoveFromPhysmap,
    23: memory.XenAddToPhysmapBatch,
  },
  [Hypervisor.grant_table_op]: {
    0: grant.GnttabMapGrantRef,
    1: grant.GnttabUnmapGrantRef,
    2: grant.GnttabSetupTable,
    5: grant.GnttabCopy,
    11: grant.GnttabSwapGrantRef,
  },
  [Hypervisor.vcpu_op]: {
    2: vcpuAbi.VcpuRegisterVcpuInfo,
    3: vcpuAbi.VcpuRegisterVcpuInfo,
    5: vcpuAbi.VcpuRegisterRunstateMemoryArea,
    8: vcpuAbi.VcpuSetSingleshotTimer,
    10: vcpuAbi.VcpuRegisterVcpuInfo,
    13: vcpuAbi.VcpuRegisterTimeMemoryArea,
  },
  [Hypervisor.sched_op]: { 2: sched.SchedShutdown, 3: sched.SchedPoll, 6: sched.SchedWatchdog },
  [Hypervisor.event_channel_op]: {
    0: event.EvtchnBindInterdomain,
    1: event.EvtchnBindVirq,
    3: event.EvtchnClose,
    4: event.EvtchnSend,
    5: event.EvtchnStatus,
    6: event.EvtchnAllocUnbound,
    7: event.EvtchnBindIpi,
    8: event.EvtchnBindVcpu,
    9: event.EvtchnUnmask,
    10: event.EvtchnReset,
    11: event.EvtchnInitControl,
    12: event.EvtchnExpandArray,
    13: event.EvtchnSetPriority,
  },
  [Hypervisor.hvm_op]: {
    0: hvm.XenHvmParam,
    1: hvm.XenHvmParam,
    15: hvm.XenHvmGetMemType,
    23: hvm.XenHvmEvtchnUpcallVector,
  },
};

/** Fill a structure with values that are plausible field by field, and now and then wild. */
function fill(shape: Shape, view: DataView, at: number, random: () => number): void {
  const pick = <T>(...choices: T[]): T => choices[random() % choices.length]!;
  for (const [name, field] of Object.entries(shape.fields)) {
    const address = at + shape.offsets[name]!;
    if ('fields' in field) fill(field as Shape, view, address, random);
    else if (/dom/.test(name))
      view.setUint16(address, pick(0x7ff0, 0x7ff0, 0x7ff0, 0, 1, 2, 3, random() & 0xffff), true);
    else if (field.size === 2)
      view.setUint16(address, pick(0, 1, 2, 8, random() & 0x1ff, random() & 0xffff), true);
    else if (field.size === 4)
      view.setUint32(address, pick(0, 0, 1, 2, 3, random() % 16, random() % 70, random()), true);
    else if (field.size === 8) {
      const gfn = BigInt(random() % 100);
      const wild = BOUNDARIES[random() % BOUNDARIES.length]!;
      const list = BigInt(60 * 4096 + (random() & 0xff8));
      view.setBigUint64(address, pick(gfn, gfn, gfn * 4096n, list, list, 1n, 2n, wild), true);
    }
  }
}

test('plausible structures with wild fields, and a guest that scribbles over shared pages', () => {
  const numbers = Object.keys(shapes).map(Number);
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = generator(seed * 104_729);
    const machine = testMachine({}, 16);
    const bystander = testDomain(machine);
    const before = snapshot(bystander);
    const domain = testDomain(machine, { maxPages: 200, p2mCount: 2048 });
    const peer = testDomain(machine, { maxPages: 200, p2mCount: 2048 });
    const { view } = machine.hypervisor.memory;
    setMemoryMap(domain, [{ address: 0, size: 0x40000, type: 1 }]);
    for (const vcpu of [...domain.vcpus, ...peer.vcpus]) vcpuUp(vcpu);
    let succeeded = 0;
    for (let i = 0; i < 2000; i++) {
      const who = random() % 3 === 0 ? peer : domain;
      const other = who === peer ? domain : peer;
      const vcpu = who.vcpus[random() % 2]!;
      const number = numbers[random() % numbers.length]!;
      const commands = Object.keys(shapes[number]!).map(Number);
      const command = commands[random() % commands.length]!;
      // Pages 60 to 64 hold the lists and the structure; they come back if the guest has given them away.
      for (let gfn = 60; gfn <= 64; gfn++) if (mfnOfGfn(who, gfn) === 0) populateGfn(who, gfn);
      const list = random() & 0xff8;
      view.setBigUint64(guestAddress(who, 60 * 4096 + list), BigInt(random() % 100), true);
      fill(shapes[number]![command] as Shape, view, guestAddress(who, SCRATCH), random);
      // Grant entries and event words as hostile guests write them.
      const scribble = random() & 0x1ff;
      const table = machine.hypervisor.memory.u32[who.state.grants / 4]!;
      view.setUint16(table + 8 * (scribble & 15), random() & 0x1f, true);
      view.setUint16(table + 8 * (scribble & 15) + 2, random() % 4 === 0 ? random() : other.id, true);
      view.setUint32(table + 8 * (scribble & 15) + 4, random() % 70, true);
      const middle = number === Hypervisor.vcpu_op ? random() % 3 : SCRATCH;
      const last = number === Hypervisor.vcpu_op ? SCRATCH : 1;
      if (issue(vcpu, number, command, middle, last) >= 0) succeeded++;
      if (random() % 32 === 0) {
        machine.clock.nowNs += random() % 10_000_000;
        fireTimers(machine.hypervisor);
      }
      for (const d of [domain, peer]) {
        for (const v of d.vcpus) v.state.pauseFlags &= ~(Pause.down | Pause.blocked);
        if (d.state.isShutDown) domainResume(d, false);
      }
    }
    assert.ok(succeeded > 500, `${succeeded} calls succeeded`);
    assert.equal(snapshot(bystander), before, `seed ${seed}`);
    destroyDomain(seed % 2 ? domain : peer);
    destroyDomain(seed % 2 ? peer : domain);
    assert.equal(snapshot(bystander), before, `seed ${seed}`);
    // Every frame has come back: nothing in use but the hypervisor's, the bystander's and what runs are kept.
    const { nrFree } = machine.hypervisor.frames;
    destroyDomain(testDomain(machine, { maxPages: 200, p2mCount: 2048 }));
    assert.equal(machine.hypervisor.frames.nrFree, nrFree);
    for (let frame = 0; frame < 4096; frame++) {
      const entry = machine.hypervisor.frames.entry(mfn(frame));
      if (entry.type === FrameType.ram && entry.count > 0)
        assert.equal(entry.owner, bystander.id, `frame ${frame}`);
    }
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
