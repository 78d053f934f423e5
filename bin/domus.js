#!/usr/bin/env node
/**
 * The `domus` command, first step: find a runtime that can run Domus, then hand over to src/cli/main.ts.
 *
 * This file is plain JavaScript that an old Node understands (18 and later). Domus needs Node 24; npm installs a
 * pinned one beside it as the optional package node-<platform>-<arch>, and this file re-executes that one when the
 * running Node is older. What then runs is the bundle that the build left in dist/. In a clone whose sources have changed
 * since, the sources run as they are.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isBundleCurrent } from './sources.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OLDEST_NODE = 24;
const OWN_FAILURE = 125;
const USAGE_ERROR = 2;

/** Failures before the command line was read: `run` and `exec` report their own with 125, as docker does. */
const failure = ['run', 'exec'].includes(process.argv[2]) ? OWN_FAILURE : USAGE_ERROR;

function bundledRuntime() {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const require = nodeModule.createRequire(import.meta.url);
  try {
    const folder = dirname(require.resolve(`node-${platform}-${process.arch}/package.json`));
    const file = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    return existsSync(file) ? file : undefined;
  } catch {
    return undefined;
  }
}

/** Run this same command line under `runtime`; streams are shared, signals and the exit status pass through. */
function reexecute(runtime) {
  const child = spawn(runtime, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit',
    // Says that this already is the second attempt, so that a wrong package cannot loop.
    env: { ...process.env, DOMUS_LAUNCHED: '1' },
  });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGCONT'];
  // A terminal sends Ctrl-C to both processes; the other one takes two within a moment for one press.
  for (const name of signals) process.on(name, () => child.kill(name));
  child.on('error', error => {
    process.stderr.write(`domus: cannot start ${runtime}: ${error.message}; run "npm install" again\n`);
    process.exit(failure);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? OWN_FAILURE);
    for (const name of signals) process.removeAllListeners(name);
    process.kill(process.pid, signal);
    // Still here: the signal is one that this process survives.
    process.exitCode = 128 + (constants.signals[signal] ?? 0);
  });
}

async function start() {
  const source = new URL('../src/cli/main.ts', import.meta.url);
  const bundle = new URL('../dist/main.js', import.meta.url);
  // Below node_modules Node refuses to strip types, and nobody changes sources there.
  const isInstalled = ROOT.split(/[\\/]/).includes('node_modules');
  const entry = isInstalled || !existsSync(source) || isBundleCurrent(ROOT) ? bundle : source;
  if (!existsSync(entry)) {
    process.stderr.write('domus: this copy is not built; run "npm run build" in its folder\n');
    process.exit(failure);
  }
  // Compiled code of the bundle is kept by Node from one run to the next.
  nodeModule.enableCompileCache?.();
  const { endProcess, main } = await import(entry.href);
  endProcess(await main(process.argv.slice(2)));
}

if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) {
  start();
} else {
  const runtime = process.env.DOMUS_LAUNCHED === undefined ? bundledRuntime() : undefined;
  if (runtime === undefined) {
    process.stderr.write(
      `domus: Node ${process.versions.node} is too old and no bundled runtime is installed; ` +
        `run "npm install --include=optional", or use Node ${OLDEST_NODE} or newer\n`,
    );
    process.exit(failure);
  }
  reexecute(runtime);
}
