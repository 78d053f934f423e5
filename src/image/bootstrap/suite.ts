/**
 * Where the packages of a Debian suite come from: the archive that this machine's own apt uses, with the suite's name in place of
 * the machine's. Proxies and the like are the machine's too.
 */
import { DomusError } from '../../base/errors.ts';
import { fileExists, joinPath } from '../../platform/node/cache-folder.ts';
import { ARCHITECTURE, callApt, type RunProgram } from '../apt.ts';

/** Releases by their numbers. */
const CODENAMES: Readonly<Record<string, string>> = {
  '11': 'bullseye',
  '12': 'bookworm',
  '13': 'trixie',
  '14': 'forky',
  oldstable: 'bookworm',
  stable: 'trixie',
};
/** They change every day, and so have no updates of their own. */
const ROLLING = new Set(['sid', 'unstable', 'testing']);
const CODENAME = /^[a-z][a-z-]{1,30}$/;
/** Debian's own place for its keys, the same in the image. */
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

export interface Source {
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
}

/** @throws DomusError E_DEBIAN_SUITE */
export function codenameOf(suite: string): string {
  const name = CODENAMES[suite] ?? suite;
  if (CODENAME.test(name)) return name;
  throw new DomusError(
    'E_DEBIAN_SUITE',
    `there is no Debian ${suite}`,
    'use debian:12, debian:13 or a code name',
  );
}

/** One line for each index that apt knows, its fields parted by spaces. */
const TARGET_FORMAT = '$(REPO_URI) $(COMPONENT) $(LABEL)';

export interface SuiteOptions {
  /** Folder for apt's files. */
  readonly folder: string;
  readonly run?: RunProgram | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws DomusError E_DEBIAN_SOURCES when this machine has no source of Debian packages */
export async function sourcesFor(codename: string, options: SuiteOptions): Promise<Source[]> {
  const call = { ...options, configuration: joinPath(options.folder, 'system.conf'), text: ARCHITECTURE };
  const words = ['indextargets', '--format', TARGET_FORMAT, 'Created-By: Packages'];
  const { stdout } = await callApt('apt-get', words, call);
  let main: string | undefined;
  let security: string | undefined;
  for (const line of stdout.split('\n')) {
    const [uri = '', component, label] = line.split(' ');
    // What needs a name and a password is not written into images.
    if (component !== 'main' || /:\/\/[^/]*@/.test(uri)) continue;
    if (label === 'Debian') main ??= uri;
    else if (label === 'Debian-Security') security ??= uri;
  }
  if (main === undefined) {
    throw new DomusError(
      'E_DEBIAN_SOURCES',
      'the package lists of this machine come from no Debian archive',
      'add a Debian source to /etc/apt/sources.list.d and run "apt-get update"',
    );
  }
  const components = ['main'];
  if (ROLLING.has(codename)) return [{ uri: main, suites: [codename], components }];
  return [
    { uri: main, suites: [codename, `${codename}-updates`], components },
    ...(security ? [{ uri: security, suites: [`${codename}-security`], components }] : []),
  ];
}

/** As a `.sources` file has it (deb822). */
export const sourcesFile = (sources: readonly Source[]): string =>
  sources
    .map(({ uri, suites, components }) =>
      [
        'Types: deb',
        `URIs: ${uri}`,
        `Suites: ${suites.join(' ')}`,
        `Components: ${components.join(' ')}`,
        ...(fileExists(KEYRING) ? [`Signed-By: ${KEYRING}`] : []),
        '',
      ].join('\n'),
    )
    .join('\n');

/** Settings of the machine's apt without which it does not reach its archive. Not those with passwords in them. */
const CARRIED =
  /^Acquire::(?:(?:https?|ftp)::(?:Proxy|No-Cache|Pipeline-Depth)(?:::[^ ]*)?|Check-Valid-Until|Check-Date|Retries|ForceIPv[46]) "([^"]*)";$/i;

/** @returns text for a file in /etc/apt/apt.conf.d */
export async function carriedSettings(options: SuiteOptions): Promise<string> {
  const call = { ...options, configuration: joinPath(options.folder, 'system.conf'), text: ARCHITECTURE };
  const { stdout } = await callApt('apt-config', ['dump'], call);
  const lines = stdout.split('\n').filter(line => {
    const value = CARRIED.exec(line)?.[1];
    return value !== undefined && value !== '' && !value.includes('@');
  });
  return lines.map(line => `${line}\n`).join('');
}
