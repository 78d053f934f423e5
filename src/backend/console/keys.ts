/**
 * The xenstore keys of consoles, as libxl writes them, so that guests and tools find what they expect.
 *
 * The first console is described in `/local/domain/N/console` for tools only: its domain learns of it from HVM parameters.
 * Further ones are split devices: `/local/domain/N/device/console/K` belongs to the domain, except for keys that it
 * may only read, and `/local/domain/0/backend/console/N/K` to the backend.
 */
import type { XenstoreClient } from '../../xenstore/client.ts';
import { domainPath } from '../../xenstore/path.ts';
import { remake, writeAll, writeDeviceKeys } from '../keys.ts';
import { backendPath, XenbusState } from '../xenbus.ts';

/** Bytes of output that tools may keep. */
const LIMIT_BYTES = 1048576;
const PROTOCOL = 'vt100';
export const KIND = 'console';

export interface PrimaryConsoleKeys {
  readonly domid: number;
  /** Guest frame of the ring page. */
  readonly gfn: number;
  /** The domain's event channel port. */
  readonly port: number;
}

export function writePrimaryConsoleKeys(xs: XenstoreClient, { domid, gfn, port }: PrimaryConsoleKeys): void {
  const front = `${domainPath(domid)}/console`;
  const back = backendPath(0, KIND, domid, 0);
  const readOnly = ['n0', `r${domid}`];
  xs.transaction(t => {
    remake(t, front, readOnly);
    writeAll(t, front, { backend: back }, readOnly);
    writeAll(t, front, { 'backend-id': 0 }, [`n${domid}`, 'r0']);
    const fixed = { limit: LIMIT_BYTES, type: 'xenconsoled', output: 'pty', tty: '', port, 'ring-ref': gfn };
    writeAll(t, front, fixed, readOnly);
    remake(t, back, readOnly);
    const state = XenbusState.initialising;
    const values = { frontend: front, 'frontend-id': domid, online: 1, state, protocol: PROTOCOL };
    writeAll(t, back, values, readOnly);
  });
}

export interface ConsoleDeviceKeys {
  readonly domid: number;
  /** 1 for hvc1, up to 9: Linux takes the number from the last digit of the path. */
  readonly devid: number;
  readonly backendDomid: number;
  /** A console with a name is what xl calls a channel. */
  readonly name: string | undefined;
}

export function writeConsoleDeviceKeys(xs: XenstoreClient, keys: ConsoleDeviceKeys): void {
  const { domid, devid, backendDomid, name } = keys;
  const named: Record<string, string> = name === undefined ? {} : { name };
  writeDeviceKeys(
    xs,
    { kind: KIND, domid, devid, backendDomid },
    {
      backend: { protocol: PROTOCOL, ...named, connection: 'pty' },
      frontend: { protocol: PROTOCOL },
      fixed: { ...named, limit: LIMIT_BYTES, type: 'ioemu', output: 'pty', tty: '' },
    },
  );
}
