/** A guest that goes on from a saved machine instead of booting. */
import { openSaved } from '../state/file.ts';
import { abortError } from './abort.ts';
import type { Phase } from './boot.ts';
import type { GuestPurpose, GuestWorld } from './guest-builder.ts';
import type { GuestMachine } from './machine.ts';
import { checkOptions, type MachineOptions } from './machine-options.ts';
import { cannotSave, factsOf, restoredPlan } from './saved-machine.ts';
import { VirtualMachine } from './virtual-machine.ts';

/** What a restored machine may have otherwise than the one that was saved. */
export type RestoreOptions = Pick<
  MachineOptions,
  'pcpus' | 'engine' | 'trace' | 'gdbPort' | 'console' | 'onPhase' | 'signal'
>;

/** Ready to start. @throws DomusError E_SAVE_* */
export async function restoreGuest(
  world: GuestWorld,
  path: string,
  options: RestoreOptions,
  purpose: Pick<GuestPurpose, 'isThrowaway' | 'onDestroyed'>,
): Promise<VirtualMachine> {
  const { signal, trace, gdbPort, console, pcpus, engine } = options;
  const report = (phase: Phase): void => {
    world.onPhase(phase);
    options.onPhase?.(phase);
  };
  report({ name: 'restore', detail: `going on from ${path}` });
  const saved = openSaved(path);
  let machine: GuestMachine | undefined;
  try {
    const platform = { ...world.platform, pacer: world.platform.newPacer?.() ?? world.platform.pacer };
    const facts = factsOf(saved);
    const checked = checkOptions({
      memory: facts.memoryBytes,
      vcpus: facts.vcpus,
      ...(pcpus !== undefined && { pcpus }),
      ...(engine !== undefined && { engine }),
    });
    if (checked.engine === 'lockstep') cannotSave('a second one in lockstep');
    const plan = restoredPlan(saved, platform, purpose.isThrowaway);
    const { commandLine, nrConsoles } = plan;
    machine = await world.parts.createMachine({
      ...checked,
      saved,
      commandLine,
      nrConsoles,
      platform,
      trace,
      gdbPort,
    });
    if (signal?.aborted) throw abortError(signal);
    const vm: VirtualMachine = new VirtualMachine(
      { machine, disks: [] },
      {
        connect: plan.connect,
        platform,
        facts,
        onPhase: report,
        console,
        onDestroyed: () => purpose.onDestroyed(vm),
      },
    );
    return vm;
  } catch (error) {
    if (machine) await machine.destroy();
    else saved.close();
    throw error;
  }
}
