/**
 * The place where the layers below are put together. `Host` sees only the functions of `Parts`; everything that
 * knows which domain builder, engine and backends there are is reached from `defaultParts`.
 */
import type { BootPlan, BootRequest } from './boot.ts';
import { engineModules } from './engine-modules.ts';
import { createLockstepMachine } from './lockstep-machine.ts';
import type { GuestMachine, MachineConfig } from './machine.ts';
import { type Preparation, preparedPath } from './prepared.ts';
import { createXenMachine } from './xen-machine.ts';

export interface Parts {
  /** Find and read what the guest boots from. @throws DomusError when something is missing or broken */
  planBoot(request: BootRequest): Promise<BootPlan>;
  /** Build a machine: memory filled, vCPU 0 at the kernel's entry, nothing executed yet. */
  createMachine(config: MachineConfig): Promise<GuestMachine>;
  /** Where a machine of this kind is kept once it has booted: see prepared.ts. Without it none are kept or looked for. */
  preparedPath?(preparation: Preparation): Promise<string | undefined>;
}

export async function defaultParts(): Promise<Parts> {
  return {
    async planBoot(request) {
      engineModules();
      // Most guests are restored.
      const { planBoot } = await import('./plan-boot.ts');
      return planBoot(request);
    },
    createMachine: config =>
      config.engine === 'lockstep' ? createLockstepMachine(config) : createXenMachine(config),
    preparedPath,
  };
}
