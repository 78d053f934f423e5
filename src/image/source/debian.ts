/** A Debian of some suite, made from its packages: unpacked here, configured by itself in a guest. */
import { joinPath } from '../../platform/node/cache-folder.ts';
import { sha256Hex } from '../../platform/node/native-codecs.ts';
import type { Progress, RunProgram } from '../apt.ts';
import { readDeb } from '../archive/deb.ts';
import { configureScript } from '../bootstrap/configure.ts';
import { DpkgDatabase, NEW_CONFIGURATION, type UnpackedPackage } from '../bootstrap/dpkg-database.ts';
import { choosePackages } from '../bootstrap/packages.ts';
import { carriedSettings, codenameOf, sourcesFile, sourcesFor } from '../bootstrap/suite.ts';
import type { ImageCache } from '../cache.ts';
import type { ImageConfig } from '../config.ts';
import type { Ext4, StoredFile } from '../rootfs/ext4/file-system.ts';
import { applyEntry } from '../rootfs/layer.ts';
import { type FileTree, plainAttributes } from '../rootfs/tree.ts';
import type { ImageSource } from './source.ts';

/** Changes when what is done to the packages does. */
const RECIPE = 2;
/** Since the merge of /usr these are links to folders there; in later releases a package brings them. */
const MERGED = ['bin', 'lib', 'lib64', 'sbin'];
const CONFIG: ImageConfig = { env: {}, entrypoint: [], command: ['/bin/bash'], workingFolder: '/' };
/**
 * No service starts by itself when its package is installed, where no init looks after it. Source: the policy layer of invoke-rc.d(8),
 * sd_booted(3).
 */
const POLICY = `#!/bin/sh
# Written by domus image: services are started where an init looks after them.
[ -d /run/systemd/system ] || exit 101
`;
const APT_SETTINGS = `// Written by domus image: what lists and packages leave behind is not needed in an image.
Acquire::Languages "none";
APT::Keep-Downloaded-Packages "false";
`;

export interface DebianSourceOptions {
  readonly cache: ImageCache;
  readonly suite: string;
  /** Packages besides the usual ones. */
  readonly include: readonly string[];
  readonly progress?: Progress | undefined;
  readonly run?: RunProgram | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws DomusError E_DEBIAN_*, E_PACKAGE_*, E_NO_PACKAGE_CLIENT */
export async function openDebian(options: DebianSourceOptions): Promise<ImageSource> {
  const { cache, suite, include, progress, run, signal } = options;
  const codename = codenameOf(suite);
  const folder = joinPath(cache.folder, 'apt');
  const sources = await sourcesFor(codename, { folder, run, signal });
  const settings = APT_SETTINGS + (await carriedSettings({ folder, run, signal }));
  const set = await choosePackages({ folder, codename, sources, include, progress, run, signal });
  const facts = [
    RECIPE,
    sourcesFile(sources),
    settings,
    ...set.packages.map(({ name, version, sha256 }) => `${name} ${version} ${sha256}`),
  ];
  const unpacked: UnpackedPackage[] = [];
  return {
    identity: `debian ${codename} ${sha256Hex(new TextEncoder().encode(facts.join('\n')))}`,
    config: CONFIG,
    blobs: [],
    async fill(fs, tree) {
      for (const name of MERGED) {
        tree.put(`usr/${name}`, {
          kind: 'directory',
          attributes: plainAttributes(0o755),
          entries: new Map(),
        });
        tree.put(name, { kind: 'symlink', attributes: plainAttributes(0o777), target: `usr/${name}` });
      }
      const database = new DpkgDatabase();
      let nrDone = 0;
      await set.deliver(async (file, { name }) => {
        progress?.('unpack', `${++nrDone} of ${set.packages.length}: ${name}`);
        unpacked.push(await unpack(file, database, fs, tree));
      });
      const write = async (path: string, contents: Uint8Array, mode = 0o644): Promise<void> =>
        tree.put(path, {
          kind: 'file',
          attributes: plainAttributes(mode),
          contents: await fs.store(contents.length, [contents]),
        });
      for (const { path, contents, mode } of database.files()) await write(path, contents, mode);
      const text = (path: string, contents: string, mode?: number) =>
        write(path, new TextEncoder().encode(contents), mode);
      await text('etc/apt/sources.list.d/debian.sources', sourcesFile(sources));
      await text('etc/apt/apt.conf.d/90domus', settings);
      await text('usr/sbin/policy-rc.d', POLICY, 0o755);
    },
    finishing: () => configureScript(unpacked),
  };
}

async function unpack(
  file: Uint8Array,
  database: DpkgDatabase,
  fs: Ext4,
  tree: FileTree<StoredFile>,
): Promise<UnpackedPackage> {
  const unpacked = database.add(readDeb(file, 'control'));
  const paths: string[] = [];
  for (const entry of readDeb(file)) {
    const path = `/${entry.name.replace(/\/+$/, '')}`;
    if (path !== '/') paths.push(path);
    const isConfiguration = unpacked.conffiles.has(path);
    const header = isConfiguration ? { ...entry, name: `${entry.name}${NEW_CONFIGURATION}` } : entry;
    await applyEntry(tree, header, () => fs.store(entry.size, [entry.read()]), { keepsFolderLinks: true });
  }
  database.addList(unpacked, paths);
  return unpacked;
}
