/**
 * The packages that make up a small Debian of a suite: chosen by the machine's apt from the suite's signed lists, and fetched by it.
 */
import { DomusError } from '../../base/errors.ts';
import {
  fileAgeMs,
  joinPath,
  listFolder,
  makeFolder,
  readIfPresent,
  removeFile,
  writeWhole,
} from '../../platform/node/cache-folder.ts';
import { sha256Hex } from '../../platform/node/native-codecs.ts';
import {
  ARCHITECTURE,
  callApt,
  LISTS_FRESH_MS,
  type Progress,
  parseStanza,
  privateConfiguration,
  reason,
} from '../apt.ts';
import { type Source, type SuiteOptions, sourcesFile } from './suite.ts';

/** What cannot be done without, apt to get the rest, and busybox for people who look for its programs. */
const BASE = ['?essential', '?priority(required)', 'apt', 'busybox'];
/** In this release alone the merge of /usr is a choice between two packages. */
const EXTRA: Readonly<Record<string, readonly string[]>> = { bookworm: ['usr-is-merged'] };

export interface Package {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface PackageSet {
  /** In the order in which apt would unpack them. */
  readonly packages: readonly Package[];
  /** Package files by their hashes, checked. Each is read when it is asked for. */
  deliver(onPackage: (file: Uint8Array, facts: Package) => Promise<void>): Promise<void>;
}

export interface PackageSetOptions extends SuiteOptions {
  readonly codename: string;
  readonly sources: readonly Source[];
  /** More packages than the base. */
  readonly include: readonly string[];
  readonly progress?: Progress | undefined;
}

const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]+$/;

/** @throws DomusError E_PACKAGE_*, E_NO_PACKAGE_CLIENT */
export async function choosePackages(options: PackageSetOptions): Promise<PackageSet> {
  const { codename, sources, include, progress, run, signal } = options;
  for (const name of include) {
    if (PACKAGE_NAME.test(name)) continue;
    throw new DomusError('E_PACKAGE_UNKNOWN', `${JSON.stringify(name)} is no name of a package`, 'check it');
  }
  const folder = joinPath(options.folder, codename);
  const call = {
    configuration: joinPath(folder, 'apt.conf'),
    text: `${ARCHITECTURE}${privateConfiguration(folder)}${suiteConfiguration(folder)}`,
    run,
    signal,
  };
  const sourceList = joinPath(folder, 'suite.sources');
  for (const part of ['lists/partial', 'cache/archives/partial']) await makeFolder(joinPath(folder, part));
  await writeWhole(joinPath(folder, 'status'), '');
  const isChanged = new TextDecoder().decode(await readIfPresent(sourceList)) !== sourcesFile(sources);
  if (isChanged) await writeWhole(sourceList, sourcesFile(sources));

  const stamp = joinPath(folder, 'updated');
  const age = await fileAgeMs(stamp);
  if (isChanged || age === undefined || age < 0 || age > LISTS_FRESH_MS) {
    progress?.('lists', `fetching package lists of ${codename}`);
    const result = await callApt('apt-get', ['update'], call);
    if (result.code !== 0) {
      throw new DomusError(
        'E_PACKAGE_LISTS',
        `apt could not fetch the package lists of ${codename}: ${reason(result)}`,
        'check the name of the suite, the network and the sources in /etc/apt',
      );
    }
    await writeWhole(stamp, '');
  }

  progress?.('resolve', `packages of ${codename}`);
  const install = ['-y', 'install', ...BASE, ...(EXTRA[codename] ?? []), ...include];
  const plan = await callApt('apt-get', ['--simulate', ...install], call);
  const chosen = [...plan.stdout.matchAll(/^Inst (\S+) \((\S+) /gm)].map(match => `${match[1]}=${match[2]}`);
  if (plan.code !== 0 || chosen.length === 0) {
    throw new DomusError(
      'E_PACKAGE_UNKNOWN',
      `apt finds no set of packages for ${codename}: ${reason(plan)}`,
      'check the names of the packages',
    );
  }
  const described = await callApt('apt-cache', ['show', '--', ...chosen], call);
  const facts = new Map<string, Package>();
  for (const stanza of described.stdout.split('\n\n')) {
    const fields = parseStanza(stanza);
    const name = fields.get('package');
    const sha256 = fields.get('sha256')?.toLowerCase() ?? '';
    if (name === undefined || !/^[0-9a-f]{64}$/.test(sha256)) continue;
    const version = fields.get('version') ?? '';
    facts.set(`${name}=${version}`, { name, version, sha256, sizeBytes: Number(fields.get('size')) });
  }
  const packages = chosen.map(each => {
    const found = facts.get(each);
    if (found) return found;
    throw new DomusError('E_PACKAGE_HASH', `the lists of ${codename} have no SHA-256 hash for ${each}`);
  });

  return {
    packages,
    async deliver(onPackage) {
      let nrDone = 0;
      const result = await callApt('apt-get', ['--download-only', ...install], call, {
        onLine: line => {
          const name = /^Get:\d+ \S+ \S+ \S+ (\S+) /.exec(line)?.[1];
          if (name !== undefined) progress?.('download', `${++nrDone} of ${packages.length}: ${name}`);
        },
      });
      if (result.code !== 0) {
        throw new DomusError(
          'E_PACKAGE_DOWNLOAD',
          `apt could not download the packages of ${codename}: ${reason(result)}`,
          'check the network and the sources in /etc/apt',
        );
      }
      const archives = joinPath(folder, 'cache/archives');
      const files = new Map<string, string>();
      for (const name of await listFolder(archives)) {
        const match = /^([^_]+)_(.+)_(?:amd64|all)\.deb$/.exec(name);
        if (match) files.set(`${match[1]}=${decodeURIComponent(match[2]!)}`, joinPath(archives, name));
      }
      for (const each of packages) {
        const path = files.get(`${each.name}=${each.version}`);
        const file = path === undefined ? undefined : await readIfPresent(path);
        if (!file || sha256Hex(file) !== each.sha256) {
          if (path !== undefined) await removeFile(path);
          throw new DomusError(
            'E_PACKAGE_HASH',
            `${each.name} ${each.version} is not what the signed lists say it is`,
            'try again; if it stays so, do not trust the archive or the network in between',
          );
        }
        await onPackage(file, each);
      }
      // They are in the image now.
      await removeFile(archives);
    },
  };
}

const suiteConfiguration = (folder: string): string => `Dir::Etc::sourcelist "${folder}/suite.sources";
Dir::Etc::sourceparts "-";
Dir::Etc::preferencesparts "-";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
`;
