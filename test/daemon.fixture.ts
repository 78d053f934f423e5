/** A host process within the test's own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon } from '../src/toolstack/daemon/client.ts';
import { runDaemon } from '../src/toolstack/daemon/server.ts';
import { Host } from '../src/toolstack/host.ts';

/** @returns once it answers; `ended` settles when `signal` has ended it */
export async function startDaemon(
  stateFolder: string,
  signal: AbortSignal,
): Promise<{ daemon: Daemon; ended: Promise<void> }> {
  const ended = runDaemon({ stateFolder, openHost: Host.open, idleMs: 600_000, signal });
  for (;;) {
    const daemon = await Daemon.connectIfAny({ stateFolder, entry: '' }).catch(() => undefined);
    if (daemon) return { daemon, ended };
    await sleep(20);
  }
}
