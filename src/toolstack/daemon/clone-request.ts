/** What a client asks for when it clones a guest. */
import { DomusError } from '../../base/errors.ts';
import { CLONES_MAX, checkCount, checkHostname } from '../cloned-guest.ts';
import { checkName } from './guest-request.ts';

export interface CloneRequest {
  /** Default 1. */
  readonly count?: number;
  /** Of the clone; of several, what their names begin with: NAME-1, NAME-2, ... Default: the parent's name and the next free number. */
  readonly name?: string;
  /** Likewise, for what the guest calls itself. Default: as its parent does. */
  readonly hostname?: string;
}

const bad = (what: string) => new DomusError('E_API_REQUEST', `the request is not understood: ${what}`);

/** @throws DomusError E_API_REQUEST, E_CLONE_COUNT, E_GUEST_NAME, E_HOSTNAME */
export function parseCloneRequest(value: unknown): CloneRequest {
  if (typeof value !== 'object' || value === null) throw bad('it is no object');
  const { count, name, hostname } = value as CloneRequest;
  if (count !== undefined) checkCount(count);
  for (const text of [name, hostname])
    if (text !== undefined && typeof text !== 'string') throw bad('name or hostname is no text');
  const request = {
    ...(count !== undefined && { count }),
    ...(name !== undefined && { name }),
    ...(hostname !== undefined && { hostname }),
  };
  // The longest one.
  const last = (count ?? 1) - 1;
  if (name !== undefined) checkName(numbered(name, last, count));
  if (hostname !== undefined) checkHostname(numbered(hostname, last, count));
  return request;
}

const numbered = (prefix: string, index: number, count = 1): string =>
  count === 1 ? prefix : `${prefix}-${index + 1}`;

/** Names for the clones that nobody has. @throws DomusError E_GUEST_NAME, E_GUEST_EXISTS */
export function cloneNames(
  { count = 1, name }: CloneRequest,
  parent: string,
  taken: ReadonlySet<string>,
): string[] {
  if (name !== undefined) {
    const names = Array.from({ length: count }, (_, i) => checkName(numbered(name, i, count)));
    const known = names.find(each => taken.has(each));
    if (known === undefined) return names;
    throw new DomusError('E_GUEST_EXISTS', `there is a guest named ${known} already`, 'choose another name');
  }
  const names: string[] = [];
  for (let i = 1; names.length < Math.min(count, CLONES_MAX); i++) {
    const free = `${parent}-${i}`;
    if (!taken.has(free)) names.push(checkName(free));
  }
  return names;
}

export const hostnameOf = ({ count, hostname }: CloneRequest, index: number): string | undefined =>
  hostname === undefined ? undefined : numbered(hostname, index, count);
