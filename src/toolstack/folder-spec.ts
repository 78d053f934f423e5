/** Shared folders as people write them: `HOSTDIR:GUESTDIR[:ro][,cache=loose]`. */
import { DomusError } from '../base/errors.ts';

/**
 * What a guest's kernel may keep of a shared folder: nothing, pages for shared mappings (the default), or everything, which is faster
 * and does not see what the host changes (docs/design/0015).
 */
export const FOLDER_CACHES = ['none', 'mmap', 'loose'] as const;
export type FolderCache = (typeof FOLDER_CACHES)[number];

export interface FolderSpec {
  /** The folder on the host. */
  readonly path: string;
  /** Where it is in the guest; a whole path. `/`: the folder is the guest's root. */
  readonly target: string;
  readonly isReadOnly?: boolean | undefined;
  readonly cache?: FolderCache | undefined;
}

const bad = (text: string, why: string) =>
  new DomusError('E_USAGE', `the folder "${text}" cannot be read: ${why}`, 'write HOSTDIR:GUESTDIR[:ro]');

/** Without what means nothing in a path. The way up from the root is the root. */
function wholePath(target: string): string {
  const parts: string[] = [];
  for (const part of target.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

/** @throws DomusError E_USAGE */
export function checkFolderSpec(spec: FolderSpec): FolderSpec {
  const text = `${spec.path}:${spec.target}`;
  if (spec.path === '') throw bad(text, 'it names no folder of the host');
  if (!spec.target.startsWith('/'))
    throw bad(text, `${spec.target || 'nothing'} is no whole path in the guest`);
  if (/[\n\0]/.test(spec.target)) throw bad(text, 'a path in the guest is one line');
  return { ...spec, target: wholePath(spec.target) };
}

/** @throws DomusError E_USAGE */
export function parseFolderSpec(text: string): FolderSpec {
  const match = /^(.*?):(\/[^:]*)(?::(.*))?$/.exec(text);
  if (!match) throw bad(text, 'it does not say where in the guest');
  const [, path = '', target = '', options = ''] = match;
  let isReadOnly: boolean | undefined;
  let cache: FolderCache | undefined;
  for (const word of options.split(',')) {
    const wanted = FOLDER_CACHES.find(each => word === `cache=${each}`);
    if (word === 'ro' || word === 'rw') isReadOnly = word === 'ro';
    else if (wanted) cache = wanted;
    else if (word !== '' || match[3] === '') throw bad(text, `"${word}" means nothing here`);
  }
  return checkFolderSpec({ path, target, isReadOnly, cache });
}
