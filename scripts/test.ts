/** Runs every *.test.ts beside the sources and under test/, in one `node --test`. Arguments are passed on. */
import { spawn } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';

const MINUTE_MS = 60_000;
const isFull = process.env.DOMUS_TEST_FULL === '1';
/** For each test: what stands still is a failure with a name, and the others have their turn. */
const TIMEOUT_MS = (isFull ? 240 : 20) * MINUTE_MS;
/** For each file: one whose event loop stands still does not notice that a test's time is over. */
const FILE_MS = (isFull ? 720 : 25) * MINUTE_MS;
const LOOK_MS = 5000;

const patterns = ['src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts'];
const files = patterns.flatMap(pattern => globSync(pattern)).sort();
const options = [
  ...['--test', `--test-timeout=${TIMEOUT_MS}`],
  ...['--import', new URL('test-process.ts', import.meta.url).href],
];
const runner = spawn(process.execPath, [...options, ...process.argv.slice(2), ...files], {
  stdio: 'inherit',
});

/** The runner's processes, one for each file, and since when they are known. Linux says which they are. */
let known = new Map<string, number>();
function endStanding(): void {
  let children: string[] = [];
  try {
    children = readFileSync(`/proc/${runner.pid}/task/${runner.pid}/children`, 'utf8').split(' ');
  } catch {}
  known = new Map(children.filter(Boolean).map(pid => [pid, known.get(pid) ?? Date.now()]));
  for (const [pid, since] of known) {
    if (Date.now() - since < FILE_MS) continue;
    const file = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').at(-2);
    console.error(`${file} has stood still for ${FILE_MS / MINUTE_MS} minutes and is ended`);
    process.kill(Number(pid), 'SIGKILL');
  }
}
const looking = setInterval(endStanding, LOOK_MS);

process.once('SIGTERM', () => runner.kill());
runner.once('exit', code => {
  clearInterval(looking);
  process.exitCode = code ?? 1;
});
