/**
 * Debian packages with all that they depend on, as the files of a guest: obtained with the machine's own package client,
 * checked against the signed lists, unpacked by our own readers, kept in the cache as one archive.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { aptClient, type PackageClient, type PackageFacts } from '../src/image/apt.ts';
import { type CpioEntry, readCpio, writeCpio } from '../src/image/archive/cpio.ts';
import { readDeb } from '../src/image/archive/deb.ts';
import { openImageCache } from '../src/image/cache.ts';

/** Packages that are for managing packages, or that have no files of use in a guest. */
const NOT_NEEDED =
  /^(dpkg|debconf|install-info|readline-common|perl:any|.*-base|.*-common|cdebconf|media-types)$/;
const isNeeded = (name: string) => name === 'perl-base' || !NOT_NEEDED.test(name);
/** Documentation, translations and the like; the reasons for a guest's userland are programs and libraries. */
const IS_LEFT_OUT = /^usr\/share\/|^usr\/lib\/(gconv|.*\/gconv|locale)\/|^etc\//;
/** busybox's userland has one folder of programs. */
const placeOf = (name: string): string => name.replace(/^(usr\/)?s?bin\//, 'bin/');

async function closure(client: PackageClient, names: readonly string[]): Promise<PackageFacts[]> {
  const found = new Map<string, PackageFacts>();
  const rest = [...names];
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (found.has(name) || !isNeeded(name)) continue;
    const facts = await client.describe(name, 'private');
    // A dependency may be virtual; what was asked for may not.
    if (!facts && names.includes(name))
      throw new Error(`the package sources of this machine have no ${name}`);
    if (!facts) continue;
    found.set(name, facts);
    rest.push(...facts.depends);
  }
  return [...found.values()];
}

function* filesOf(deb: Uint8Array): Generator<CpioEntry> {
  for (const entry of readDeb(deb)) {
    if (IS_LEFT_OUT.test(entry.name)) continue;
    const name = placeOf(entry.name);
    if (entry.type === 'file') yield { type: 'file', name, mode: entry.mode & 0o777, data: entry.read() };
    if (entry.type === 'symlink') yield { type: 'symlink', name, target: entry.link };
    if (entry.type === 'hardlink')
      yield { type: 'symlink', name, target: `/${placeOf(entry.link.replace(/^\.\//, ''))}` };
  }
}

/** The folders that files need and that userland does not have yet. */
function foldersOf(entries: readonly CpioEntry[]): CpioEntry[] {
  const folders = new Set<string>();
  for (const { name } of entries) {
    const parts = name.split('/').slice(0, -1);
    for (let i = 1; i <= parts.length; i++) folders.add(parts.slice(0, i).join('/'));
  }
  return [...folders].sort().map(name => ({ type: 'directory', name, mode: 0o755 }));
}

/** @throws Error when a package cannot be had */
export async function obtainPackages(
  names: readonly string[],
  say: (text: string) => void,
): Promise<readonly CpioEntry[]> {
  const cache = openImageCache();
  const key = `bench-${createHash('sha256').update(names.join(' ')).digest('hex').slice(0, 16)}`;
  const known = await cache.lookUp(key);
  if (known) return [...readCpio(known.contents)];
  const client = aptClient({
    folder: join(cache.folder, 'apt'),
    progress: (phase, detail) => say(`packages: ${phase} ${detail}`),
  });
  // The archive may no longer have what old lists name.
  await client.update();
  const all = await closure(client, names);
  const files: CpioEntry[] = [];
  for (const facts of all) {
    const deb = await cache.withScratchFolder(folder => client.download(facts, folder));
    files.push(...filesOf(deb));
  }
  const entries = [...foldersOf(files), ...files];
  const versions = all.map(({ name, version }) => `${name}=${version}`).join(' ');
  await cache.store(key, { package: 'bench', version: versions, file: 'userland.cpio' }, writeCpio(entries));
  return entries;
}
