/**
 * A real kernel's boot, saved at several points and gone on with in other machines. In virtual time that must make no difference at
 * all: every run ends with the same memory and registers.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DomusError } from '../src/base/errors.ts';
import { createNodePlatform } from '../src/platform/node/platform.ts';
import { createSimulatedPlatform } from '../src/platform/sim/platform.ts';
import { openSaved, writeSaved } from '../src/state/file.ts';
import { RecordType } from '../src/state/format.ts';
import { readDomainRecord, recordOf } from '../src/state/restore-domain.ts';
import type { BootPlan } from '../src/toolstack/boot.ts';
import { planBoot } from '../src/toolstack/plan-boot.ts';
import { createXenMachine } from '../src/toolstack/xen-machine.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
/** Millions of instructions: unpacking of the initrd, drivers, the first devices; with a full test also the agent, waiting. */
const CUTS = isFull ? [1, 40, 150, 333, 345, 400, 560] : [40, 333];
const END = isFull ? 620 : 361;

const folder = mkdtempSync(join(tmpdir(), 'domus-save-'));
after(() => rmSync(folder, { recursive: true }));
const file = (cut: number) => join(folder, `${cut}.sav`);

let plan: BootPlan;
let unavailable: string | undefined;
before(async () => {
  try {
    plan = await planBoot({ needsAgent: true, isThrowaway: true, onPhase: () => {} });
  } catch (error) {
    const isMissing = error instanceof DomusError && /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code);
    if (!isMissing) throw error;
    unavailable = `no Debian kernel to be had: ${error.message}`;
  }
});

interface Outcome {
  readonly instructions: number;
  readonly hash: string;
  readonly nowNs: number;
  readonly console: string;
}

/** Run up to END from the beginning or from a saved machine, and save at the cuts that are asked for. */
async function run(vcpus: number, cuts: readonly number[], from?: number): Promise<Outcome> {
  const saved = from === undefined ? undefined : openSaved(file(from));
  const start = saved && {
    nowNs: readDomainRecord(saved.records).systemTimeNs,
    chance: recordOf(saved.records, RecordType.chance, 'chance'),
  };
  const platform = createSimulatedPlatform(7, createNodePlatform(), start);
  const machine = await createXenMachine({
    ...plan,
    memoryBytes: 192 << 20,
    vcpus,
    pcpus: 1,
    engine: 'translator',
    platform,
    ...(saved && { saved }),
  });
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
  let console = '';
  machine.consoles[0]?.onData(bytes => {
    console += new TextDecoder().decode(bytes);
  });
  machine.onFailure(reject);
  machine.onShutdown(shutdown => reject(new Error(`the guest has stopped: ${JSON.stringify(shutdown)}`)));
  const left = [...cuts];
  machine.companion = {
    ranSlice() {
      const done = machine.instructions() / 1e6;
      const cut = left[0];
      if (cut !== undefined && done >= cut) {
        left.shift();
        machine.hold(({ records, pages }) => writeSaved(file(cut), records, pages, false)).catch(reject);
      } else if (done >= END) {
        machine.companion = undefined;
        machine
          .hold(() => {
            const { monotonicNs } = platform.clock;
            resolve({
              instructions: machine.instructions(),
              hash: machine.stateHash(),
              nowNs: monotonicNs(),
              console,
            });
          })
          .catch(reject);
      }
    },
    waited: () => {},
  };
  machine.start();
  try {
    return await promise;
  } finally {
    await machine.destroy();
  }
}

for (const vcpus of isFull ? [1, 2] : [1]) {
  test(`a boot with ${vcpus} vCPUs, cut at ${CUTS.join(', ')} million instructions`, async t => {
    if (unavailable !== undefined) {
      t.skip(unavailable);
      return;
    }
    const straight = await run(vcpus, []);
    const withCuts = await run(vcpus, CUTS);
    assert.deepEqual(withCuts, straight);
    for (const cut of CUTS) {
      const { console, ...restored } = await run(vcpus, [], cut);
      const { console: whole, ...expected } = straight;
      assert.deepEqual(restored, expected, `cut at ${cut}`);
      assert.ok(whole.endsWith(console), `the console after the cut at ${cut}`);
    }
  });
}
