import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit } from '../cpu/vcpu/exit.ts';
import { affinityOf } from './affinity.ts';
import { vcpuUp } from './life.ts';
import { pinVcpu } from './pin.ts';
import { dequeue } from './run-queue.ts';
import { runOne } from './scheduler.ts';
import { testDomain, testMachine } from './testing.ts';

test('a pCPU takes the first vCPU that may run on it, and leaves the others in their order', () => {
  const machine = testMachine();
  const { hypervisor } = machine;
  const domain = testDomain(machine, { vcpus: 4 });
  for (const vcpu of domain.vcpus.slice(1)) vcpuUp(vcpu);
  const [a, b, c, d] = domain.vcpus as [
    (typeof domain.vcpus)[0],
    (typeof domain.vcpus)[0],
    ...typeof domain.vcpus,
  ];
  pinVcpu(a, [1, 127]);
  pinVcpu(b, [0]);
  assert.deepEqual([affinityOf(a), affinityOf(b), affinityOf(c!)], [[1, 127], [0], undefined]);
  // Pinning has put a and b behind the others.
  assert.equal(dequeue(hypervisor, 1), c);
  pinVcpu(d!, [2]);
  assert.equal(dequeue(hypervisor, 1), a);
  assert.equal(dequeue(hypervisor, 1), undefined);
  assert.equal(dequeue(hypervisor, 0), b);
  pinVcpu(d!, undefined);
  assert.equal(affinityOf(d!), undefined);
  assert.equal(dequeue(hypervisor, 1), d);
  assert.equal(dequeue(hypervisor, 0), undefined);
});

test('a vCPU that no pCPU may run waits', () => {
  const machine = testMachine();
  const [vcpu] = testDomain(machine, { vcpus: 1 }).vcpus;
  machine.script.run = () => Exit.fuel;
  pinVcpu(vcpu!, [1]);
  assert.equal(runOne(machine.hypervisor).kind, 'idle');
  pinVcpu(vcpu!, [0]);
  assert.equal(runOne(machine.hypervisor).kind, 'ran');
});
