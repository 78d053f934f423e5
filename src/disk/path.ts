/** File names of images, with `/` between folders, as text: for parents that are named relative to their child. */

export function folderOf(path: string): string {
  const slash = path.lastIndexOf('/');
  if (slash < 0) return '.';
  return slash === 0 ? '/' : path.slice(0, slash);
}

export const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

export const isAbsolute = (path: string): boolean => path.startsWith('/');

/** Without `.`, `..` and doubled slashes, as far as that can be told from the text. */
export function normalize(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else if (part !== '..' || !isAbsolute(path)) parts.push(part);
  }
  return isAbsolute(path) ? `/${parts.join('/')}` : parts.join('/') || '.';
}

export const join = (folder: string, name: string): string =>
  isAbsolute(name) ? normalize(name) : normalize(`${folder}/${name}`);

/** How `path` is called from `folder`; both absolute. */
export function relativeTo(folder: string, path: string): string {
  const from = normalize(folder).split('/').filter(Boolean);
  const to = normalize(path).split('/').filter(Boolean);
  let same = 0;
  while (same < from.length && same < to.length - 1 && from[same] === to[same]) same += 1;
  return [...from.slice(same).map(() => '..'), ...to.slice(same)].join('/');
}
