/**
 * Sharing at birth: of the pages that guests read from an image through their block driver, how many does nobody look at afterwards?
 * Each page is marked as idle at the moment when it has been filled, before the guest hears of it; who looks at it takes the mark away.
 * Then the same is done with pages given up for the store's at that moment, as far as they are known from the other guest, and compared with
 * what the scan does alone. `node bench/block-pages.ts [IMAGE [SECONDS]]`.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PAGE_SIZE } from '../src/base/brand.ts';
import { P2m } from '../src/cpu/vcpu/layout.ts';
import type { Disk } from '../src/disk/disk.ts';
import type { Domain } from '../src/hypervisor/hypervisor.ts';
import { flushStale, forEachEntry, mapChanged, p2mType, rawEntry } from '../src/hypervisor/p2m.ts';
import { PageScan, type ScannedDomain } from '../src/hypervisor/sharing/page-scan.ts';
import { Host } from '../src/toolstack/index.ts';
import { defaultParts } from '../src/toolstack/parts.ts';
import type { Sharer } from '../src/toolstack/sharer.ts';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { XenMachine } from '../src/toolstack/xen-machine.ts';

const [image = 'debian:12', seconds = '60'] = process.argv.slice(2);
const WATCH_MS = 1000 * Number(seconds);
const LOOK_MS = 200;
const READ_ALL = 'cat $(find /usr/share -type f) >/dev/null';
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
  /** Called with each page. */
  onFilled: (gfn: number, entry: number) => void = () => {};
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
        this.onFilled(gfn, entry);
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

async function watched(
  each: Watch,
  what: string,
  known: ReadonlySet<string>,
  run: () => Promise<unknown>,
): Promise<void> {
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
}

/** A host of machines that are watched from their beginning, each by the watch that is on then. */
function openHost(watchOf: () => Watch, scan?: BenchScan): Promise<Host> {
  return Host.open({
    // The host's scan would mark pages itself.
    sharing: { cpuPercent: 0 },
    parts: {
      ...parts,
      async createMachine(config) {
        const watch = watchOf();
        for (const { disk } of config.disks ?? []) watch.follow(disk);
        const machine = await parts.createMachine(scan ? { ...config, sharer: scan.sharer } : config);
        if (machine instanceof XenMachine) {
          const { domain } = machine;
          watch.domain = domain;
          if (scan) watch.onFilled = (gfn, entry) => scan.born(domain, gfn, entry);
        }
        return machine;
      },
    },
  });
}

/** How long pages that were read are left alone. */
async function looks(): Promise<void> {
  let watch = new Watch();
  await using host = await openHost(() => watch);
  let known: ReadonlySet<string> = new Set();
  for (const name of ['first', 'second']) {
    watch = new Watch();
    const mine = watch;
    const vm = await host.create({ image, memory: '512M' });
    await watched(mine, `${name}: boot to a command`, known, () => vm.exec('true'));
    await watched(mine, `${name}: perl, dpkg, apt-cache`, known, () => vm.exec(PROGRAM));
    await watched(mine, `${name}: all of /usr/share read`, known, () => vm.exec(READ_ALL));
    console.log(`${name}: ${Math.round(mine.otherPages)} pages came through a buffer`);
    known = new Set(mine.filled.map(({ digest }) => digest));
    await vm.destroy();
  }
}

/** A scan with passes of ten seconds, and, with `atBirth`, a look at each page as soon as it has been read. */
class BenchScan {
  readonly scan = new PageScan();
  readonly members = new Map<Domain, ScannedDomain>();
  readonly atBirth: boolean;
  bornNs = 0;
  constructor(atBirth: boolean) {
    this.atBirth = atBirth;
  }
  /** In place of the host's: it only knows the store and who takes part. */
  get sharer(): Sharer {
    const { scan, members } = this;
    return {
      store: scan.store,
      join(domain: Domain) {
        const scanned = scan.join(domain);
        members.set(domain, scanned);
        return {
          get facts() {
            return scanned.facts;
          },
          rest() {},
          leave: () => scan.leave(scanned),
        };
      },
    } as unknown as Sharer;
  }
  born(domain: Domain, gfn: number, entry: number): void {
    const scanned = this.members.get(domain);
    if (!this.atBirth || !scanned) return;
    const start = performance.now();
    this.scan.consider(scanned, gfn, entry);
    this.bornNs += (performance.now() - start) * 1e6;
  }
  /** Pages that nobody looks at for ten seconds. */
  async pass(): Promise<void> {
    for (const scanned of this.members.values()) scanned.mark();
    await sleep(10_000);
    for (const scanned of this.members.values()) scanned.compare(() => false);
    this.scan.sweep();
  }
}

/** What it saves to give pages up at once. */
async function births(atBirth: boolean): Promise<void> {
  const mine = new BenchScan(atBirth);
  let watch = new Watch();
  await using host = await openHost(() => watch, mine);
  const mebibytes = (pages: number) => ((pages * PAGE_SIZE) / 2 ** 20).toFixed(1);
  const show = (what: string, vm: VirtualMachine) => {
    const { own = 0, shared = 0, zero = 0 } = vm.sharing ?? {};
    console.log(
      `${atBirth ? 'at birth' : 'scan alone'}: ${what.padEnd(32)} touched ${(vm.touchedBytes / 2 ** 20).toFixed(1)} MiB, ` +
        `own ${mebibytes(own)}, shared ${mebibytes(shared)}, zeros ${mebibytes(zero)}; store ${(mine.scan.store.heldBytes / 2 ** 20).toFixed(1)}; ` +
        `births took ${(mine.bornNs / 1e6).toFixed(1)} ms`,
    );
  };
  const guests: VirtualMachine[] = [];
  for (const name of ['first', 'second', 'third']) {
    watch = new Watch();
    const vm = await host.create({ image, memory: '512M' });
    guests.push(vm);
    await vm.exec('true');
    show(`${name}, booted`, vm);
    await vm.exec(PROGRAM);
    show(`${name}, after perl, dpkg, apt`, vm);
    await mine.pass();
    show(`${name}, after a pass`, vm);
    await vm.exec(READ_ALL);
    show(`${name}, after all of /usr/share`, vm);
    await mine.pass();
  }
  for (const vm of guests) await vm.destroy();
}

if (WATCH_MS > 0) await looks();
await births(false);
await births(true);
