/**
 * Where the host process keeps its state.
 *
 *     daemon.sock      its socket; whoever has the folder may connect
 *     daemon.token     what a client must show; new for each host process
 *     daemon.lock      held by who starts or ends a host process
 *     daemon.log       what the host process said last
 *     guests/ID/       guest.json (guest-record.ts), log and log.old (guest-log.ts)
 */
import { DomusError } from '../../base/errors.ts';
import { joinPath } from '../../platform/node/cache-folder.ts';
import { makePrivateFolder } from '../../platform/node/state-folder.ts';

export interface StatePaths {
  readonly folder: string;
  readonly socket: string;
  readonly token: string;
  readonly lock: string;
  readonly log: string;
  readonly guests: string;
  readonly snapshots: string;
}

/** sockaddr_un holds 108 bytes, the last one a NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/** @throws DomusError E_STATE_FOLDER */
export async function openStateFolder(folder: string): Promise<StatePaths> {
  const refuse = (why: string, remedy: string) =>
    new DomusError('E_STATE_FOLDER', `cannot keep the state of guests in ${folder}: ${why}`, remedy);
  const socket = joinPath(folder, 'daemon.sock');
  if (new TextEncoder().encode(socket).length > SOCKET_PATH_BYTES_MAX) {
    throw refuse('its name is too long for a socket', 'set DOMUS_STATE to a folder with a shorter name');
  }
  let wrong: string | undefined;
  try {
    wrong = await makePrivateFolder(folder);
  } catch (error) {
    wrong = error instanceof Error ? error.message.replace(/, .*$/, '') : String(error);
  }
  if (wrong !== undefined) {
    throw refuse(wrong, `make it yours alone (chmod 700 ${folder}), or set DOMUS_STATE to another folder`);
  }
  return {
    folder,
    socket,
    token: joinPath(folder, 'daemon.token'),
    lock: joinPath(folder, 'daemon.lock'),
    log: joinPath(folder, 'daemon.log'),
    guests: joinPath(folder, 'guests'),
    snapshots: joinPath(folder, 'snapshots'),
  };
}
