/**
 * A soak: guests at mixed work for as long as asked, `node test/soak.ts [MINUTES]` (60 by default).
 *
 * Three guests take turns: one translated, one translated on two pCPUs, one in lockstep with the interpreter. Each
 * round is a few commands whose output must be what it was in the first round. The process's memory is looked at after each
 * round; it must stay flat: the largest of the last quarter at most a tenth above the largest of the second. The first quarter is for
 * what comes once: pages that are touched, code that becomes hot.
 */
import { parseArgs } from 'node:util';
import { Host, type MachineOptions, type VirtualMachine } from '../src/toolstack/index.ts';

/** Compressing, sorting, hashing, text, processes, files and memory, with what busybox has. */
const WORK: Readonly<Record<string, string>> = {
  compress: 'seq 1 60000 | gzip -c | gunzip -c | md5sum',
  sort: 'seq 1 20000 | sed "s/\\(.\\)\\(.*\\)/\\2\\1/" | sort -n | sha256sum',
  text: 'seq 1 8000 | awk "{ s += \\$1 * \\$1 % 97; w[\\$1 % 7] = s } END { for (i = 0; i < 7; i++) print w[i] }"',
  processes: 'i=0; while [ $i -lt 60 ]; do i=$((i + 1)); /bin/busybox echo $i; done | sha1sum',
  pipes: 'seq 1 30000 | cat | cat | tail -n +2 | head -n 20000 | md5sum',
  files:
    'mkdir -p /tmp/s; for i in 1 2 3 4 5 6 7 8; do seq 1 $((i * 500)) > /tmp/s/$i; done; cat /tmp/s/* | md5sum; rm -r /tmp/s',
  arithmetic:
    'i=0; x=1; while [ $i -lt 4000 ]; do x=$(((x * 1103515245 + 12345) % 2147483648)); i=$((i + 1)); done; echo $x',
  together: '(seq 1 9000 | sha256sum) & (seq 1 9000 | md5sum) & wait; echo both',
};
const GUESTS: Readonly<Record<string, MachineOptions>> = {
  translated: { memory: '256M' },
  'two pCPUs': { memory: '256M', vcpus: 2, pcpus: 2 },
  lockstep: { memory: '256M', engine: 'lockstep', deterministic: { seed: 1 } },
};
const MIB = 1 << 20;
const DEFAULT_MINUTES = 60;
/** Of fewer rounds it is not to be said what memory does. */
const ROUNDS_MIN = 8;

interface Guest {
  readonly name: string;
  readonly vm: VirtualMachine;
  readonly expected: Map<string, string>;
}

async function round({ name, vm, expected }: Guest): Promise<void> {
  for (const [work, command] of Object.entries(WORK)) {
    const { exitCode, stdout, stderr } = await vm.exec(['sh', '-c', command]);
    // Two at once end in either order.
    const lines = new TextDecoder().decode(stdout).trim().split('\n').sort().join('\n');
    if (exitCode !== 0)
      throw new Error(`${name}: ${work} ended with ${exitCode}: ${new TextDecoder().decode(stderr)}`);
    const before = expected.get(work);
    if (before !== undefined && before !== lines)
      throw new Error(`${name}: ${work} gave ${lines} after ${before}`);
    expected.set(work, lines);
  }
}

const { positionals } = parseArgs({ allowPositionals: true });
const minutes = Number(positionals[0] ?? DEFAULT_MINUTES);
const resident: number[] = [];
await using host = await Host.open();
const guests: Guest[] = [];
for (const [name, options] of Object.entries(GUESTS)) {
  guests.push({ name, vm: await host.create(options), expected: new Map() });
}
const begin = performance.now();
const elapsed = () => (performance.now() - begin) / 60_000;
const isOver = () => resident.length > 0 && elapsed() >= minutes;
while (!isOver()) {
  for (const guest of guests) if (!isOver()) await round(guest);
  if (isOver()) break;
  resident.push(process.memoryUsage.rss() / MIB);
  const instructions = guests
    .map(({ name, vm }) => `${name} ${(vm.instructions() / 1e9).toFixed(1)}`)
    .join(', ');
  console.log(
    `${elapsed().toFixed(1)} min, round ${resident.length}: ${Math.round(resident.at(-1) as number)} MiB; thousand million instructions: ${instructions}`,
  );
}
const results = guests.map(({ expected }) => JSON.stringify([...expected]));
if (new Set(results).size > 1) throw new Error('guests differ in their results');
if (resident.length < ROUNDS_MIN) throw new Error(`${resident.length} rounds are too few to judge memory by`);
const quarter = Math.floor(resident.length / 4);
const [early, late] = [resident.slice(quarter, 2 * quarter), resident.slice(-quarter)].map(part =>
  Math.max(...part),
);
if ((late as number) > 1.1 * (early as number)) {
  throw new Error(`memory grows: ${Math.round(early as number)} MiB, then ${Math.round(late as number)} MiB`);
}
console.log(
  `${resident.length} rounds of ${guests.length} guests in ${elapsed().toFixed(1)} min, all results equal, memory flat`,
);
