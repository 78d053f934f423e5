/**
 * Sharing at birth: of the pages that guests read from an image through their block driver, how many does nobody look at afterwards?
 * Each page is marked as idle at the moment when it has been filled, before the guest hears of it; who looks at it takes the mark away.
 * `node bench/block-pages.ts [IMAGE [SECONDS]]`.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PAGE_SIZE } from '../src/base/brand.ts';
import { P2m } from '../src/cpu/vcpu/layout.ts';
import type { Disk } from '../src/disk/disk.ts';
import type { Domain } from '../src/hypervisor/hypervisor.ts';
import { flushStale, forEachEntry, mapChanged, p2mType, rawEntry } from '../src/hypervisor/p2m.ts';
import { Host } from '../src/toolstack/index.ts';
import { defaultParts } from '../src/toolstack/parts.ts';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { XenMachine } from '../src/toolstack/xen-machine.ts';

const [image = 'debian:12', seconds = '60'] = process.argv.slice(2);
const WATCH_MS = 1000 * Number(seconds);
const LOOK_MS = 200;
const PROGRAM =
  'perl -MPOSIX -MData::Dumper -e "print Dumper([POSIX::uname()])" >/dev/null; dpkg -l >/dev/null; apt-cache policy >/dev/null';

interface Filled {
  readonly gfn: number;
  readonly entry: number;
  readonly atMs: number;
  readonly digest: string;
  /** How long it was left alone; undefined as long as it is. */
  aloneMs: number | undefined;
}

/** What one guest reads. */
class Watch {
  readonly filled: Filled[] = [];
  /** Pages of requests that are not answered at once: read into a buffer, and copied. */
  otherPages = 0;
  domain: Domain | undefined;
  #gfns = new Map<number, number>();

  follow(disk: Disk): void {
    const { readNow, read } = disk;
    disk.readNow = (offset, pieces, sizeBytes) => {
      const isDone = readNow.call(disk, offset, pieces, sizeBytes);
      if (isDone) this.#fill(pieces);
      return isDone;
    };
    disk.read = (offset, into) => {
      this.otherPages += into.length / PAGE_SIZE;
      return read.call(disk, offset, into);
    };
  }

  #gfnOf(domain: Domain, frame: number): number | undefined {
    const isThere = (gfn: number | undefined) =>
      gfn !== undefined && (rawEntry(domain, gfn) & P2m.mfnMask) === frame;
    if (!isThere(this.#gfns.get(frame)))
      forEachEntry(domain, (gfn, entry) => void this.#gfns.set(entry & P2m.mfnMask, gfn));
    const gfn = this.#gfns.get(frame);
    return isThere(gfn) ? gfn : undefined;
  }

  #fill(pieces: readonly Uint8Array[]): void {
    const { domain } = this;
    if (!domain) return;
    const { u32 } = domain.hypervisor.memory;
    for (const piece of pieces) {
      // Whole pages only: others could not be shared.
      if (piece.byteOffset % PAGE_SIZE !== 0) continue;
      for (let at = 0; at + PAGE_SIZE <= piece.length; at += PAGE_SIZE) {
        const frame = (piece.byteOffset + at) / PAGE_SIZE;
        const gfn = this.#gfnOf(domain, frame);
        if (gfn === undefined || p2mType(rawEntry(domain, gfn)) !== P2m.ram) continue;
        const entry = frame | (P2m.idle << P2m.typeShift);
        const digest = createHash('sha1')
          .update(piece.subarray(at, at + PAGE_SIZE))
          .digest('latin1');
        u32[domain.state.p2m / 4 + gfn] = entry;
        this.filled.push({ gfn, entry, digest, atMs: performance.now(), aloneMs: undefined });
      }
    }
    mapChanged(domain);
    flushStale(domain);
  }

  look(): void {
    const { domain } = this;
    if (!domain) return;
    for (const each of this.filled)
      if (each.aloneMs === undefined && rawEntry(domain, each.gfn) !== each.entry)
        each.aloneMs = performance.now() - each.atMs;
  }

  /** Of pages filled from index `first` to `last`. */
  report(what: string, first: number, last: number, known: ReadonlySet<string>): void {
    const pages = this.filled.slice(first, last);
    const alone = (ms: number) => pages.filter(({ aloneMs }) => aloneMs === undefined || aloneMs > ms).length;
    const percent = (count: number) =>
      `${count} (${((100 * count) / Math.max(1, pages.length)).toFixed(1)} %)`;
    const common = pages.filter(({ digest }) => known.has(digest)).length;
    console.log(
      `${what.padEnd(34)} pages ${String(pages.length).padStart(6)}, the other guest has read ${percent(common)}; ` +
        `not looked at for 1 s ${percent(alone(1000))}, 10 s ${percent(alone(10_000))}, ${seconds} s ${percent(alone(WATCH_MS - 2 * LOOK_MS))}`,
    );
  }
}

const parts = await defaultParts();
let watch = new Watch();
await using host = await Host.open({
  // The scan would mark pages itself.
  sharing: { cpuPercent: 0 },
  parts: {
    ...parts,
    async createMachine(config) {
      for (const { disk } of config.disks ?? []) watch.follow(disk);
      const machine = await parts.createMachine(config);
      if (machine instanceof XenMachine) watch.domain = machine.domain;
      return machine;
    },
  },
});

async function watched(
  vm: VirtualMachine,
  each: Watch,
  what: string,
  known: ReadonlySet<string>,
  run: () => Promise<unknown>,
) {
  const first = each.filled.length;
  let isOver = false;
  const looking = (async () => {
    while (!isOver) {
      each.look();
      await sleep(LOOK_MS);
    }
  })();
  await run();
  const last = each.filled.length;
  await sleep(WATCH_MS);
  isOver = true;
  await looking;
  each.look();
  each.report(what, first, last, known);
  void vm;
}

const nobody: ReadonlySet<string> = new Set();
let known = nobody;
for (const name of ['first', 'second']) {
  watch = new Watch();
  const mine = watch;
  const vm = await host.create({ image, memory: '512M' });
  await watched(vm, mine, `${name}: boot to a command`, known, () => vm.exec('true'));
  await watched(vm, mine, `${name}: perl, dpkg, apt-cache`, known, () => vm.exec(PROGRAM));
  await watched(vm, mine, `${name}: all of /usr/share read`, known, () =>
    vm.exec('cat $(find /usr/share -type f) >/dev/null'),
  );
  console.log(`${name}: ${Math.round(mine.otherPages)} pages came through a buffer`);
  known = new Set(mine.filled.map(({ digest }) => digest));
  await vm.destroy();
}
