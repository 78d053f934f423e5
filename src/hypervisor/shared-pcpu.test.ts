/** A pCPU that several machines share: a thread of its own, which runs a few instructions of each. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { frameAddress, gfn, mfn } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import { readAsset } from '../platform/node/files.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import { cpuPolicy } from './cpuid-policy.ts';
import { createDomain } from './domain.ts';
import { locked } from './event/backend.ts';
import { pauseDomain, unpauseDomain } from './life.ts';
import { createMachineHost, TSC_KHZ } from './machine-host.ts';
import { populateRange, ramOfGfn } from './p2m.ts';
import type { PageFile } from './page-file.ts';
import { type PcpuSeat, SharedPcpu } from './shared-pcpu.ts';

const modules = {
  runtime: new WebAssembly.Module(readAsset('runtime.wasm')),
  interpreter: new WebAssembly.Module(readAsset('interpreter.wasm')),
};
const platform = createNodePlatform();
const policy = cpuPolicy();
const until = async (isSo: () => boolean): Promise<void> => {
  for (let i = 0; i < 3000 && !isSo(); i++) await sleep(10);
  assert.ok(isSo());
};

/**
 * A machine whose only vCPU counts in the word at 0x1000 for ever, in 16-bit code at 0.
 * @param pages what its memory is to be filled from, instead of with that code
 */
function counter(seat: PcpuSeat, pages?: PageFile) {
  const host = createMachineHost({
    ...{ modules, platform, policy, guestBytes: 2 << 20, vcpus: 1 },
    translates: false,
    parallel: { pcpu: 0, ring: () => seat.ring() },
  });
  const { hypervisor, processors, engine } = host;
  const domain = createDomain(hypervisor, { p2mCount: 1 << 12, maxPages: 64, vcpus: 1, tscKhz: TSC_KHZ });
  processors.attach(domain);
  populateRange(domain, gfn(0), 2, pages ? 1 : 0);
  const addressOf = (frame: number) => frameAddress(mfn(ramOfGfn(domain, frame)));
  // l: not word [0x1000]; neg word [0x1000]; jmp l. Of their handlers the thread has none from the beginning (isa/usual-forms.ts).
  const code = [0xf7, 0x16, 0x00, 0x10, 0xf7, 0x1e, 0x00, 0x10, 0xeb, 0xf6];
  if (!pages) hypervisor.memory.u8.set(code, addressOf(0));
  const [vcpu] = domain.vcpus;
  engine.runtime.resetCpu(vcpu!.state.block);
  engine.runtime.sipi(vcpu!.state.block, 0);
  vcpu!.state.isInitialised = 1;
  const count = () => hypervisor.memory.u16[addressOf(1) / 2]!;
  let failure: unknown;
  const failed = (error: unknown) => {
    failure = error;
  };
  const pcpus = seat.run({
    ...{ host, policy, pages, translates: false, known: undefined, failed },
    makerLink: () => undefined,
    called: () => {},
  });
  return { hypervisor, domain, count, pcpus, failure: () => failure };
}

test('machines share a pCPU; whoever wants one of them has it between two instructions', async () => {
  const pcpu = new SharedPcpu(() => modules, platform);
  const seats = [0, 1].map(() => pcpu.take({ weight: 256, cap: 0 }));
  assert.equal(pcpu.count, 2);
  const machines = seats.map(seat => counter(seat));
  for (const { pcpus, hypervisor, domain } of machines) {
    await pcpus.ready;
    locked(hypervisor, () => unpauseDomain(domain));
  }
  for (const { count } of machines) {
    const before = count();
    await until(() => count() !== before);
  }
  for (const { hypervisor, count } of machines) {
    for (let i = 0; i < 100; i++) {
      // Guest code stands still while the lock is held.
      locked(hypervisor, () => {
        const before = count();
        const end = performance.now() + 0.2;
        while (performance.now() < end);
        assert.equal(count(), before);
      });
    }
  }
  const [{ hypervisor, domain, pcpus, count }] = machines as [ReturnType<typeof counter>];
  locked(hypervisor, () => pauseDomain(domain));
  pcpus.awaitStopped(domain);
  const before = count();
  await sleep(20);
  assert.equal(count(), before);
  await until(() => seats.every(({ usedNs }) => usedNs > 0));
  for (const { pcpus } of machines) await pcpus.stop();
  for (const seat of seats) seat.leave();
  pcpu.end();
  assert.equal(pcpu.count, 0);
  for (const { failure } of machines) assert.equal(failure(), undefined);
});

test('a machine that fails is gone, and the others go on', async () => {
  const pcpu = new SharedPcpu(() => modules, platform);
  const seats = [0, 1].map(() => pcpu.take({ weight: 256, cap: 0 })) as [PcpuSeat, PcpuSeat];
  const good = counter(seats[0]);
  const empty = openSync('/dev/null', 'r');
  const broken = counter(seats[1], { fd: empty, offset: 0, checks: new Uint32Array(2) });
  for (const { hypervisor, domain } of [broken, good]) locked(hypervisor, () => unpauseDomain(domain));
  await until(() => broken.failure() !== undefined);
  // What a user can act on comes through from the thread.
  const failure = broken.failure();
  assert.ok(failure instanceof DomusError);
  assert.equal(failure.code, 'E_SAVE_TRUNCATED');
  const before = good.count();
  await until(() => good.count() !== before);
  assert.equal(good.failure(), undefined);
  for (const { pcpus } of [broken, good]) await pcpus.stop();
  closeSync(empty);
  for (const seat of seats) seat.leave();
  pcpu.end();
});
