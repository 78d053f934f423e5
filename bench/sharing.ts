/**
 * Page sharing: what the scan finds in two guests that were booted separately, what it costs, and what it takes from a guest that works.
 * `node bench/sharing.ts [IMAGE [ROUNDS]]`; the image `-` is the userland that Domus brings itself.
 */
import { createHash } from 'node:crypto';
import { PAGE_SIZE } from '../src/base/brand.ts';
import { P2m } from '../src/cpu/vcpu/layout.ts';
import type { Domain } from '../src/hypervisor/hypervisor.ts';
import {
  forEachEntry,
  frameOwner,
  p2mType,
  pageIn,
  readElsewhere,
  STORED_PAGES,
} from '../src/hypervisor/p2m.ts';
import { Host } from '../src/toolstack/index.ts';
import { defaultParts } from '../src/toolstack/parts.ts';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { XenMachine } from '../src/toolstack/xen-machine.ts';

const [image = 'debian:12', rounds = '10'] = process.argv.slice(2);
const MEMORY = '512M';
const WATCH_S = 60;
const WARM_UPS = 4;
const SCAN_PERCENT = 3;
/** Processes, pipes, files and arithmetic. */
const WORK = `for n in 1 2 3; do dd if=/dev/zero bs=64k count=96 2>/dev/null | sha256sum >/dev/null; done
  for n in 1 2 3 4 5 6 7 8 9 10 11 12; do ls -lR /bin /lib /usr/lib/apt 2>/dev/null | sort -r | gzip | wc -c >/dev/null; done`;

const mebibytes = (pages: number): string => ((pages * PAGE_SIZE) / 2 ** 20).toFixed(1);
const residentMiB = (): number => process.memoryUsage.rss() / 2 ** 20;
const sleep = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

/** How many pages of the domains have the same contents as another one, or zeros, and how many of those are shared. */
function identicalPages(domains: readonly Domain[]): { identical: number; shared: number } {
  const groups = new Map<string, { pages: number; shared: number }>();
  const copy = new Uint8Array(PAGE_SIZE);
  const zeros = createHash('sha1').update(copy).digest('latin1');
  for (const domain of domains) {
    const { hypervisor } = domain;
    forEachEntry(domain, (_gfn, entry) => {
      const type = p2mType(entry);
      const number = entry & P2m.mfnMask;
      const isShared = type === P2m.shared;
      if (type === P2m.paged || type === P2m.unread || type === P2m.mmio) return;
      if (!isShared && frameOwner(hypervisor, number) !== domain.id) return;
      if (!isShared) copy.set(hypervisor.memory.u8.subarray(number * PAGE_SIZE, (number + 1) * PAGE_SIZE));
      else if (number === 0) copy.fill(0);
      else readElsewhere(hypervisor, STORED_PAGES + number, copy);
      const hash = createHash('sha1').update(copy).digest('latin1');
      const group = groups.get(hash) ?? { pages: 0, shared: 0 };
      group.pages += 1;
      if (isShared) group.shared += 1;
      groups.set(hash, group);
    });
  }
  let [identical, shared] = [0, 0];
  for (const [hash, group] of groups) {
    if (group.pages < 2 && hash !== zeros) continue;
    identical += group.pages;
    shared += group.shared;
  }
  return { identical, shared };
}

const parts = await defaultParts();
const domains: Domain[] = [];
await using host = await Host.open({
  parts: {
    ...parts,
    async createMachine(config) {
      const machine = await parts.createMachine(config);
      if (machine instanceof XenMachine) domains.push(machine.domain);
      return machine;
    },
  },
});
const guest = (): Promise<VirtualMachine> => host.create({ memory: MEMORY, ...(image !== '-' && { image }) });
const first = await guest();
await first.exec('true');
const second = await guest();
await second.exec('true');
const guests = [first, second];
console.log(`two guests of ${MEMORY}, ${image === '-' ? "Domus' own userland" : image}, both just booted`);
console.log('seconds   shared of identical      saved MiB   scan, % of a processor   process MiB');
const [start, used] = [performance.now(), host.sharing.processorTimeNs];
for (let seconds = 0; seconds <= WATCH_S; seconds += 10) {
  await sleep(Math.max(0, start + seconds * 1000 - performance.now()));
  const { identical, shared } = identicalPages(domains);
  const saved = guests.reduce((sum, vm) => sum + (vm.sharing?.saved ?? 0), 0);
  const elapsedMs = performance.now() - start;
  const percent = (host.sharing.processorTimeNs - used) / 1e4 / Math.max(1, elapsedMs);
  console.log(
    `${String(seconds).padStart(7)}   ${`${shared} of ${identical}`.padStart(15)} ${((100 * shared) / identical).toFixed(0).padStart(3)}% ` +
      `${mebibytes(saved).padStart(13)} ${percent.toFixed(2).padStart(24)} ${residentMiB().toFixed(0).padStart(13)}`,
  );
}
for (const [i, vm] of guests.entries()) console.log(`guest ${i + 1}`, vm.sharing, `of ${MEMORY}`);

const cpuNow = (): number => {
  const { user, system } = process.threadCpuUsage();
  return user + system;
};
/** Microseconds for a page of the domain to come back. */
function comingBack(domain: Domain): number {
  const shared: number[] = [];
  forEachEntry(domain, (gfn, entry) => {
    if (p2mType(entry) === P2m.shared && (entry & P2m.mfnMask) !== 0) shared.push(gfn);
  });
  const before = cpuNow();
  for (const gfn of shared) pageIn(domain, gfn);
  return (cpuNow() - before) / shared.length;
}
console.log(`a shared page comes back in ${comingBack(domains[1] as Domain).toFixed(1)} us`);
// So that the scan has something to do while the first one works.
await second.exec('true');

/** Processor time of a guest for the work, in ms. */
async function work(vm: VirtualMachine, cpuPercent: number): Promise<number> {
  host.setSharingCpu(cpuPercent);
  const before = vm.domain.cpuTimeNs;
  await vm.exec(WORK);
  return (vm.domain.cpuTimeNs - before) / 1e6;
}
for (let i = 0; i < WARM_UPS; i++) await work(first, 0);
const without: number[] = [];
const withScan: number[] = [];
for (let round = 0; round < Number(rounds); round++) {
  const order = round % 2 === 0 ? [0, SCAN_PERCENT] : [SCAN_PERCENT, 0];
  for (const percent of order) (percent === 0 ? without : withScan).push(await work(first, percent));
}
const [off, on] = [median(without), median(withScan)];
console.log(
  `a guest works for ${off.toFixed(0)} ms without the scan and ${on.toFixed(0)} ms with it: ${((100 * on) / off - 100).toFixed(1)}% more`,
);
console.log(
  `each without: ${without.map(ms => ms.toFixed(0)).join(' ')}; with: ${withScan.map(ms => ms.toFixed(0)).join(' ')}`,
);
