/**
 * Node permissions. The first entry names the owner, who may do everything, and its letter is what a domain without an
 * entry of its own may do; further entries are for one domain each. Domain 0 may do everything everywhere.
 * Source: Xen docs/misc/xenstore.txt.
 */
import { parseDomid } from './path.ts';
import { XenstoreError } from './wire.ts';

export const Access = { none: 0, read: 1, write: 2, owner: 4 } as const;
const ALL = Access.read | Access.write | Access.owner;

export interface Permission {
  readonly domid: number;
  /** `Access.read` and `Access.write`. */
  readonly access: number;
}

/** Never empty: the first entry is the owner's. */
export type Permissions = readonly Permission[];

/** Who asks: a domain, perhaps acting for another one (SET_TARGET: a device model for its guest). */
export interface Subject {
  readonly domid: number;
  readonly target: number | undefined;
}

const LETTERS = 'nrwb';

export const formatPermission = ({ domid, access }: Permission): string => `${LETTERS[access]}${domid}`;

/** @throws XenstoreError EINVAL */
export function parsePermission(text: string): Permission {
  const access = LETTERS.indexOf(text[0] ?? '?');
  if (access < 0) throw new XenstoreError('EINVAL');
  return { domid: parseDomid(text.slice(1)), access };
}

export const areSame = (a: Permissions, b: Permissions): boolean =>
  a.length === b.length &&
  a.every(({ domid, access }, i) => domid === b[i]!.domid && access === b[i]!.access);

export const ownerOf = (permissions: Permissions): number => permissions[0]!.domid;

export const isPrivileged = (subject: Subject): boolean => subject.domid === 0;

/** What `subject` may do with a node. */
export function accessOf(subject: Subject, permissions: Permissions): number {
  if (isPrivileged(subject)) return ALL;
  const own = permissions.findIndex(({ domid }) => domid === subject.domid || domid === subject.target);
  if (own === 0) return ALL;
  return permissions[Math.max(own, 0)]!.access;
}

export const canRead = (subject: Subject, permissions: Permissions): boolean =>
  (accessOf(subject, permissions) & Access.read) !== 0;
