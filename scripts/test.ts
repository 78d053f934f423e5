/** Runs every *.test.ts beside the sources and under test/, in one `node --test`. Arguments are passed on. */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';

const patterns = ['src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts'];
const files = patterns.flatMap(pattern => globSync(pattern)).sort();
const result = spawnSync(process.execPath, ['--test', ...process.argv.slice(2), ...files], {
  stdio: 'inherit',
});
process.exitCode = result.status ?? 1;
