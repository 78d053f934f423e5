/**
 * Paths: which are legal, how relative ones are completed, and their parts.
 *
 * A canonical path starts with `/` (a node) or with `@` (a special watch). Both are looked up the same way: split at `/`,
 * `/a/b` is ['', 'a', 'b'] and `@releaseDomain` is ['@releaseDomain'], below one hidden top node.
 * Source: Xen docs/misc/xenstore.txt.
 */
import { ABS_PATH_MAX, XenstoreError } from './wire.ts';

const LEGAL = /^[A-Za-z0-9\-/_@]+$/;
const DOMAIN_PREFIX = /^\/local\/domain\/\d{1,5}\//;

export const domainPath = (domid: number): string => `/local/domain/${domid}`;

export const isRelative = (path: string): boolean => path[0] !== '/' && path[0] !== '@';

/**
 * The full path that a domain means by `path`. `relativeMax` bounds the part behind `/local/domain/N/` (or the whole of
 * any other path).
 * @throws XenstoreError EINVAL
 */
export function canonicalPath(
  path: string,
  domid: number,
  relativeMax: number,
  allowSpecial = false,
): string {
  if (!LEGAL.test(path) || (path[0] === '@' && !allowSpecial)) throw new XenstoreError('EINVAL', path);
  const full = isRelative(path) ? `${domainPath(domid)}/${path}` : path;
  const local = full.length - (DOMAIN_PREFIX.exec(full)?.[0].length ?? 0);
  if (
    (full.endsWith('/') && full !== '/') ||
    full.includes('//') ||
    full.length > ABS_PATH_MAX ||
    local > relativeMax
  ) {
    throw new XenstoreError('EINVAL', path);
  }
  return full;
}

/** The names from the top down. */
export const pathNames = (path: string): string[] => (path === '/' ? [''] : path.split('/'));

/** The path of the node above; the root is above itself and above the special nodes. */
export function parentPath(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash > 0 ? path.slice(0, slash) : '/';
}

export const childPath = (parent: string, name: string): string =>
  parent === '/' ? `/${name}` : `${parent}/${name}`;

/** Whether `path` is `above` or lies below it. */
export function isUnder(path: string, above: string): boolean {
  if (above === '/') return path[0] === '/';
  return path.startsWith(above) && (path.length === above.length || path[above.length] === '/');
}

/** A domid in decimal, 0 to 65535. @throws XenstoreError EINVAL */
export function parseDomid(text: string): number {
  const domid = /^\d{1,5}$/.test(text) ? Number(text) : -1;
  if (domid < 0 || domid > 0xffff) throw new XenstoreError('EINVAL');
  return domid;
}
