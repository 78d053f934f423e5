/**
 * The xenstore keys that every split device has, as libxl writes them: `/local/domain/N/device/KIND/K` belongs to the
 * domain, `/local/domain/0/backend/KIND/N/K` to the backend, and each half may read the other's.
 */
import type { XenstoreAccess, XenstoreClient, XenstoreValue } from '../xenstore/client.ts';
import { backendPath, errorPath, frontendPath } from './xenbus.ts';

export interface DeviceId {
  readonly kind: string;
  readonly domid: number;
  readonly devid: number;
  readonly backendDomid: number;
}

/** Where the halves are, and who may do what with the keys of each. */
export const deviceAreas = ({ kind, domid, devid, backendDomid }: DeviceId) => ({
  front: frontendPath(domid, kind, devid),
  back: backendPath(backendDomid, kind, domid, devid),
  frontend: [`n${domid}`, `r${backendDomid}`],
  backend: [`n${backendDomid}`, `r${domid}`],
});

export function writeAll(
  xs: XenstoreAccess,
  directory: string,
  values: Readonly<Record<string, XenstoreValue>>,
  permissions: readonly string[],
): void {
  for (const [key, value] of Object.entries(values)) {
    xs.write(`${directory}/${key}`, value);
    xs.setPermissions(`${directory}/${key}`, permissions);
  }
}

/** Start a directory anew. */
export function remake(xs: XenstoreAccess, directory: string, permissions: readonly string[]): void {
  xs.remove(directory);
  xs.mkdir(directory);
  xs.setPermissions(directory, permissions);
}

export function removeDeviceKeys(xs: XenstoreClient, { kind, domid, devid, backendDomid }: DeviceId): void {
  xs.transaction(t => {
    t.remove(frontendPath(domid, kind, devid));
    t.remove(backendPath(backendDomid, kind, domid, devid));
    t.remove(errorPath(backendDomid, kind, domid, devid).replace(/\/error$/, ''));
  });
}
