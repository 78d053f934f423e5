/** Runs every *.test.ts beside the sources and under test/, in one `node --test`. Arguments are passed on. */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';

const MINUTE_MS = 60_000;
/** For each test: what stands still is a failure with a name, and the others have their turn. */
const TIMEOUT_MS = (process.env.DOMUS_TEST_FULL === '1' ? 240 : 20) * MINUTE_MS;

const patterns = ['src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts'];
const files = patterns.flatMap(pattern => globSync(pattern)).sort();
const options = [
  ...['--test', `--test-timeout=${TIMEOUT_MS}`],
  ...['--import', new URL('test-process.ts', import.meta.url).href],
];
const result = spawnSync(process.execPath, [...options, ...process.argv.slice(2), ...files], {
  stdio: 'inherit',
});
process.exitCode = result.status ?? 1;
