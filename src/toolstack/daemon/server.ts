/**
 * The host process: holds the guests that outlive the command that made them. It is started on demand (client.ts), serves its socket, and
 * ends by itself when it has had nothing to do for a while.
 */
import { sweep, withLock, writeWhole } from '../../platform/node/cache-folder.ts';
import { nodeEntropy } from '../../platform/node/entropy.ts';
import { readPackageVersion } from '../../platform/node/files.ts';
import { serveLocal } from '../../platform/node/local-http.ts';
import { createNodePlatform } from '../../platform/node/platform.ts';
import { processId } from '../../platform/node/state-folder.ts';
import { toHex } from '../../platform/node/text-codecs.ts';
import type { Timers } from '../../platform/platform.ts';
import type { Host, HostOptions } from '../host.ts';
import { removeAllLeftovers } from '../saved-leftovers.ts';
import { createApi } from './api.ts';
import { Guests } from './guests.ts';
import { openStateFolder } from './paths.ts';

export interface DaemonOptions {
  readonly stateFolder: string;
  openHost(options: HostOptions): Promise<Host>;
  /** Without guests and clients for this long, it ends. */
  readonly idleMs: number;
  /** Asks for the end. Guests that still run are destroyed. */
  readonly signal?: AbortSignal;
}

const IDLE_CHECK_MS = 500;

function randomHex(bytes: number): string {
  const random = new Uint8Array(bytes);
  nodeEntropy.fill(random);
  return toHex(random);
}

/** Nothing of it is left when it settles: there are two a second for as long as the process lives. */
function pause(timers: Timers, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    const finish = () => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = timers.after(ms, finish);
    signal?.addEventListener('abort', finish);
  });
}

/** Serve until there is nothing to do. The caller holds the lock of the state folder, and nobody serves there. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const paths = await openStateFolder(options.stateFolder);
  // Nobody else saves there, nor writes beside the token.
  await removeAllLeftovers(paths.snapshots);
  await sweep(paths.folder);
  const platform = createNodePlatform();
  await using host = await options.openHost({ platform });
  const token = randomHex(32);
  const guests = await Guests.open({ host, platform, folder: paths.guests, daemon: randomHex(8) });
  await writeWhole(paths.token, token, 0o600);
  const version = readPackageVersion();
  const server = await serveLocal(
    paths.socket,
    createApi({ guests, stateFolder: paths.folder, token, version, processId: processId() }),
  );
  const isIdle = () => server.nrConnections === 0 && guests.nrAlive === 0;
  const { signal } = options;
  let idleSinceNs = platform.clock.monotonicNs();
  while (!signal?.aborted) {
    await pause(platform.timers, IDLE_CHECK_MS, signal);
    const nowNs = platform.clock.monotonicNs();
    if (!isIdle()) idleSinceNs = nowNs;
    if (nowNs - idleSinceNs < options.idleMs * 1e6) continue;
    // Whoever starts a host process holds this lock: no client can come between the last look and the end.
    const isClosed = await withLock(paths.lock, async () => {
      if (!isIdle()) return false;
      await server.close();
      return true;
    });
    if (isClosed) return;
  }
  await guests.close();
  await server.close();
}
