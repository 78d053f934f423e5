/**
 * Hands the command over to the Node that npm has installed beside the package (node-<platform>-<arch>), where the running one is too old.
 */
const { spawn } = require('node:child_process');
const { existsSync } = require('node:fs');
const { constants } = require('node:os');
const { dirname, join } = require('node:path');

function bundledRuntime() {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  try {
    const folder = dirname(require.resolve(`node-${platform}-${process.arch}/package.json`));
    const file = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    return existsSync(file) ? file : undefined;
  } catch {
    return undefined;
  }
}

/** Run this same command line under `runtime`; streams are shared, signals and the exit status pass through. */
function reexecute(runtime, command, failure, ownFailure) {
  const child = spawn(runtime, [command, ...process.argv.slice(2)], {
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
    if (signal === null) process.exit(code ?? ownFailure);
    for (const name of signals) process.removeAllListeners(name);
    process.kill(process.pid, signal);
    // Still here: the signal is one that this process survives.
    process.exitCode = 128 + (constants.signals[signal] ?? 0);
  });
}

module.exports = { bundledRuntime, reexecute };
