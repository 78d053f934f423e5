/**
 * The xenstore keys that every split device has, as libxl writes them: `/local/domain/N/device/KIND/K` belongs to the
 * domain, `/local/domain/0/backend/KIND/N/K` to the backend, and each half may read the other's.
 */
import type { XenstoreAccess, XenstoreClient, XenstoreValue } from '../xenstore/client.ts';
import { backendPath, errorPath, frontendPath, XenbusState } from './xenbus.ts';

export interface DeviceId {
  readonly kind: string;
  readonly domid: number;
  readonly devid: number;
  readonly backendDomid: number;
}

/** Where the halves are, and who may do what with the keys of each. */
const deviceAreas = ({ kind, domid, devid, backendDomid }: DeviceId) => ({
  front: frontendPath(domid, kind, devid),
  back: backendPath(backendDomid, kind, domid, devid),
  frontend: [`n${domid}`, `r${backendDomid}`],
  backend: [`n${backendDomid}`, `r${domid}`],
});

export type XenstoreValues = Readonly<Record<string, XenstoreValue>>;

export function writeAll(
  xs: XenstoreAccess,
  directory: string,
  values: XenstoreValues,
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

/** What a kind of device adds to the keys that all have. */
export interface OwnKeys {
  /** In the backend's area. */
  readonly backend: XenstoreValues;
  /** In the domain's area. */
  readonly frontend?: XenstoreValues;
  /** In the domain's area, for it to read only. */
  readonly fixed?: XenstoreValues;
}

/** Write both areas anew, with both halves at the beginning. */
export function writeDeviceKeys(
  xs: XenstoreClient,
  id: DeviceId,
  { backend: described, frontend: own = {}, fixed = {} }: OwnKeys,
): void {
  const { front, back, frontend, backend } = deviceAreas(id);
  const state = XenbusState.initialising;
  xs.transaction(t => {
    remake(t, front, frontend);
    remake(t, back, backend);
    writeAll(t, back, { frontend: front, 'frontend-id': id.domid, online: 1, ...described, state }, backend);
    writeAll(t, front, { backend: back, 'backend-id': id.backendDomid, ...own }, frontend);
    writeAll(t, front, fixed, backend);
    // The state comes last: it is what makes a running kernel look at the device.
    writeAll(t, front, { state }, frontend);
  });
}

export function removeDeviceKeys(xs: XenstoreClient, { kind, domid, devid, backendDomid }: DeviceId): void {
  xs.transaction(t => {
    t.remove(frontendPath(domid, kind, devid));
    t.remove(backendPath(backendDomid, kind, domid, devid));
    t.remove(errorPath(backendDomid, kind, domid, devid).replace(/\/error$/, ''));
  });
}
