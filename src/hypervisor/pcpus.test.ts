/** pCPUs as threads: what wakes them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { machineHeader } from '../machine/header.ts';
import { readAsset } from '../platform/node/files.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import { cpuPolicy } from './cpuid-policy.ts';
import { createDomain } from './domain.ts';
import { locked } from './event/backend.ts';
import { unpauseDomain } from './life.ts';
import { createMachineHost, TSC_KHZ } from './machine-host.ts';
import { startPcpus } from './pcpus.ts';
import { NEVER, Pause } from './state.ts';

const until = async (isSo: () => boolean): Promise<void> => {
  for (let i = 0; i < 3000 && !isSo(); i++) await sleep(10);
};

test('timers of a domain whose vCPUs all sleep fire when it is unpaused', async () => {
  const modules = {
    runtime: new WebAssembly.Module(readAsset('runtime.wasm')),
    interpreter: new WebAssembly.Module(readAsset('interpreter.wasm')),
  };
  const platform = createNodePlatform();
  const policy = cpuPolicy();
  const host = createMachineHost({
    ...{ modules, platform, policy, guestBytes: 2 << 20, vcpus: 2 },
    translates: false,
    parallel: { pcpu: 0 },
  });
  const { hypervisor, processors, engine } = host;
  const domain = createDomain(hypervisor, { p2mCount: 1 << 12, maxPages: 64, vcpus: 2, tscKhz: TSC_KHZ });
  processors.attach(domain);
  for (const { state } of domain.vcpus) {
    engine.runtime.resetCpu(state.block);
    // As they are when a domain was saved that had nothing to do.
    state.isInitialised = 1;
    state.pauseFlags = Pause.blocked;
    state.singleshotNs = 0;
  }
  let failure: unknown;
  const threads = startPcpus({
    ...{ host, modules, policy, clock: platform.clock, count: 2, makers: [] },
    called: () => {},
    failed: error => {
      failure = error;
    },
  });
  try {
    await threads.ready;
    const { memory } = hypervisor;
    await until(() => machineHeader(memory).idlePcpus === 2);
    locked(hypervisor, () => unpauseDomain(domain));
    const areFired = () => domain.vcpus.every(({ state }) => state.singleshotNs === NEVER);
    await until(areFired);
    assert.equal(failure, undefined);
    assert.ok(areFired());
  } finally {
    await threads.stop();
  }
});
