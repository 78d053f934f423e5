#!/usr/bin/env node
/**
 * The `domus` command, first step: find a runtime that can run Domus, then hand over to src/cli/main.ts.
 *
 * This file is plain JavaScript that an old Node understands (18 and later). Domus needs Node 24; npm installs a
 * pinned one beside it as the optional package node-<platform>-<arch>, and this file re-executes that one when the
 * running Node is older. What then runs is the bundle that the build left in dist/. In a clone whose sources have changed
 * since, the sources run as they are.
 */
const { existsSync } = require('node:fs');
const { join, sep } = require('node:path');

const ROOT = join(__dirname, '..', sep);
const OLDEST_NODE = 24;
const OWN_FAILURE = 125;
/** A process that is still there after so long may stay while the package is updated. */
const STAYS_MS = 10_000;
const USAGE_ERROR = 2;

/** Failures before the command line was read: `run` and `exec` report their own with 125, as docker does. */
const failure = ['run', 'exec'].includes(process.argv[2]) ? OWN_FAILURE : USAGE_ERROR;

async function start() {
  const source = join(ROOT, 'src/cli/main.ts');
  const bundle = join(ROOT, 'dist/program.cjs');
  // Below node_modules Node refuses to strip types, and nobody changes sources there.
  const isInstalled = ROOT.split(/[\\/]/).includes('node_modules');
  const words = process.argv.slice(2);
  if (!isInstalled && existsSync(source) && !require('./sources.js').isBundleCurrent(ROOT)) {
    // Node keeps the code that it makes of sources.
    require('node:module').enableCompileCache?.();
    const { endProcess, main } = await import(require('node:url').pathToFileURL(source).href);
    endProcess(await main(words));
    return;
  }
  if (!existsSync(bundle)) {
    process.stderr.write('domus: this copy is not built; run "npm run build" in its folder\n');
    process.exit(failure);
  }
  const { loadProgram } = require('./program.js');
  const { endProcess, main, keepCode, loadRest } = loadProgram(bundle, words[0]);
  setTimeout(loadRest, STAYS_MS).unref();
  const code = await main(words);
  keepCode();
  endProcess(code);
}

function startElsewhere() {
  const { bundledRuntime, reexecute } = require('./other-node.js');
  const runtime = process.env.DOMUS_LAUNCHED === undefined ? bundledRuntime() : undefined;
  if (runtime === undefined) {
    process.stderr.write(
      `domus: Node ${process.versions.node} is too old and no bundled runtime is installed; ` +
        `run "npm install --include=optional", or use Node ${OLDEST_NODE} or newer\n`,
    );
    process.exit(failure);
  }
  reexecute(runtime, __filename, failure, OWN_FAILURE);
}

if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) start();
else startElsewhere();
