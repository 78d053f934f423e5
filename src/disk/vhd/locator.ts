/**
 * How a differencing image names its parent: by name, and by up to eight locators, each a path in some system's form.
 *
 * Three are written: relative (W2ru) and absolute (W2ku) in UTF-16, and the relative path as a file URL (MacX), which is
 * the one that Xen's own tools read.
 */
import { folderOf, join, nameOf, relativeTo } from '../path.ts';
import { LocatorCode } from './layout.ts';

/** Longer paths are nobody's. */
export const LOCATOR_MAX_BYTES = 4096;

export interface Locator {
  readonly code: number;
  readonly data: Uint8Array;
}

export function utf16(text: string, isLittleEndian: boolean): Uint8Array {
  const encoded = new Uint8Array(text.length * 2);
  const view = new DataView(encoded.buffer);
  for (let i = 0; i < text.length; i++) view.setUint16(2 * i, text.charCodeAt(i), isLittleEndian);
  return encoded;
}

export function fromUtf16(encoded: Uint8Array, isLittleEndian: boolean): string {
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  let text = '';
  for (let i = 0; i + 1 < encoded.length; i += 2) {
    const unit = view.getUint16(i, isLittleEndian);
    if (unit === 0) break;
    text += String.fromCharCode(unit);
  }
  return text;
}

/** Locators for a parent; both paths absolute. */
export function locatorsFor(childPath: string, parentPath: string): Locator[] {
  const relative = relativeTo(folderOf(childPath), parentPath);
  const dotted = relative.startsWith('..') ? relative : `./${relative}`;
  const url = dotted.split('/').map(encodeURIComponent).join('/');
  return [
    { code: LocatorCode.W2ru, data: utf16(dotted.replaceAll('/', '\\'), true) },
    { code: LocatorCode.W2ku, data: utf16(parentPath.replaceAll('/', '\\'), true) },
    { code: LocatorCode.MacX, data: new TextEncoder().encode(`file://${url}`) },
  ].filter(({ data }) => data.length <= LOCATOR_MAX_BYTES);
}

const withSlashes = (path: string): string => path.replaceAll('\\', '/');

function pathOf({ code, data }: Locator): string | undefined {
  if (code === LocatorCode.W2ru || code === LocatorCode.W2ku) return withSlashes(fromUtf16(data, true));
  if (code !== LocatorCode.MacX) return undefined;
  const text = new TextDecoder().decode(data).replace(/\0.*$/s, '');
  try {
    return text.startsWith('file://') ? decodeURIComponent(text.slice(7)) : undefined;
  } catch {
    return undefined;
  }
}

/** Where the parent may be, the likeliest first: relative, then absolute, then by its name beside the child. */
export function parentCandidates(childPath: string, name: string, locators: readonly Locator[]): string[] {
  const folder = folderOf(childPath);
  const paths = locators
    .map(pathOf)
    .filter(path => path !== undefined && path !== '' && !path.includes('\0')) as string[];
  const isRelative = (path: string) => !/^(?:\/|[A-Za-z]:)/.test(path);
  const ordered = [
    ...paths.filter(isRelative),
    ...paths.filter(path => !isRelative(path)),
    ...(name === '' ? [] : [nameOf(withSlashes(name))]),
  ];
  return [...new Set(ordered.map(path => join(folder, path)))];
}
