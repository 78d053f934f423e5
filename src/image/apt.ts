/**
 * The machine's package client, apt, used without root: which version of a package there is, and the package file itself.
 *
 * Two sets of lists are asked. First the system's own, which the administrator keeps. Where these do not know a package, or know
 * one that the archive no longer has, private lists in the cache folder are fetched from the system's sources, verified with
 * the system's keyrings. What was downloaded is compared with the hash in those lists, which apt accepts only when signed.
 *
 * Guests are x86-64 whatever this machine is, so apt is always asked for amd64.
 */
import { DomusError } from '../base/errors.ts';
import {
  fileAgeMs,
  joinPath,
  listFolder,
  makeFolder,
  readIfPresent,
  writeWhole,
} from '../platform/node/cache-folder.ts';
import { sha256Hex } from '../platform/node/native-codecs.ts';
import { type ProgramOptions, type ProgramResult, runProgram } from '../platform/node/program.ts';

export interface PackageFacts {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Names of the packages that it depends on; of alternatives, the first. */
  readonly depends: readonly string[];
  /** Whether the system's lists told, or our own. */
  readonly lists: 'system' | 'private';
}

export type Progress = (phase: string, detail: string) => void;
export type RunProgram = (
  command: readonly string[],
  options?: ProgramOptions,
) => Promise<ProgramResult | undefined>;

export interface PackageClient {
  /** The candidate version of a package; undefined where the lists do not know it. */
  describe(name: string, lists: 'system' | 'private'): Promise<PackageFacts | undefined>;
  /** Names that begin with `prefix`. */
  names(prefix: string, lists: 'system' | 'private'): Promise<string[]>;
  /** Fetch the private lists. */
  update(): Promise<void>;
  /** The package file, checked, using `scratchFolder` for the download. */
  download(facts: PackageFacts, scratchFolder: string): Promise<Uint8Array>;
}

const ENVIRONMENT = { LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
/** Private lists younger than this are not fetched again. */
export const LISTS_FRESH_MS = 60 * 60_000;

const noClient = (): DomusError =>
  new DomusError(
    'E_NO_PACKAGE_CLIENT',
    'this machine has no apt to get Debian packages with',
    'Give local files instead: --kernel FILE and --initrd FILE.',
  );

/** What apt gave as its reason: its last line that says so. */
export function reason(result: ProgramResult): string {
  const lines = `${result.stdout}\n${result.stderr}`.split('\n').filter(line => /^(E|W|Err): ?/.test(line));
  return (lines.findLast(line => line.startsWith('E')) ?? lines.at(-1) ?? `exit code ${result.code}`).trim();
}

/** The fields of a control stanza. Continuation lines belong to their field. */
export function parseStanza(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  let current = '';
  for (const line of text.split('\n')) {
    if (line === '') {
      if (fields.size > 0) break;
      continue;
    }
    if (/^\s/.test(line)) {
      fields.set(current, `${fields.get(current) ?? ''}\n${line.trim()}`);
      continue;
    }
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    current = line.slice(0, colon).toLowerCase();
    fields.set(current, line.slice(colon + 1).trim());
  }
  return fields;
}

export interface AptOptions {
  /** Folder for the private lists. */
  readonly folder: string;
  readonly progress?: Progress;
  readonly run?: RunProgram;
  readonly signal?: AbortSignal;
}

export type AptProgram = 'apt-get' | 'apt-cache' | 'apt-config';

export interface AptCall {
  /** A file for the configuration that is added to the machine's. */
  readonly configuration: string;
  readonly text: string;
  readonly run?: RunProgram | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Run one of apt's programs with a configuration besides the machine's. @throws DomusError E_NO_PACKAGE_CLIENT */
export async function callApt(
  program: AptProgram,
  words: readonly string[],
  { configuration, text, run = runProgram, signal }: AptCall,
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  const present = await readIfPresent(configuration);
  if (!present || new TextDecoder().decode(present) !== text) await writeWhole(configuration, text);
  const quiet = program === 'apt-config' ? [] : ['-q'];
  const result = await run([program, ...quiet, '-c', configuration, ...words], {
    ...options,
    environment: ENVIRONMENT,
    ...(signal && { signal }),
  });
  if (!result) throw noClient();
  return result;
}

export function aptClient({ folder, progress, run, signal }: AptOptions): PackageClient {
  const configurations = {
    system: { configuration: joinPath(folder, 'system.conf'), text: ARCHITECTURE },
    private: {
      configuration: joinPath(folder, 'private.conf'),
      text: ARCHITECTURE + privateConfiguration(folder),
    },
  };

  const apt = (
    program: AptProgram,
    lists: 'system' | 'private',
    words: readonly string[],
    options: ProgramOptions = {},
  ): Promise<ProgramResult> => callApt(program, words, { ...configurations[lists], run, signal }, options);

  return {
    async describe(name, lists) {
      const result = await apt('apt-cache', lists, ['show', '--no-all-versions', '--', name]);
      if (result.code !== 0) return undefined;
      const fields = parseStanza(result.stdout);
      const sha256 = fields.get('sha256')?.toLowerCase() ?? '';
      const version = fields.get('version') ?? '';
      // Locally installed packages that no archive has are described without a hash: of no use here.
      if (fields.get('package') !== name || version === '' || !/^[0-9a-f]{64}$/.test(sha256))
        return undefined;
      const depends = [fields.get('pre-depends'), fields.get('depends')]
        .flatMap(list => list?.split(',') ?? [])
        .map(item => item.trim().split(/[\s|(:]/)[0]!)
        .filter(item => item !== '');
      return { name, version, sha256, sizeBytes: Number(fields.get('size') ?? 0), depends, lists };
    },

    async names(prefix, lists) {
      const result = await apt('apt-cache', lists, ['pkgnames', '--', prefix]);
      return result.stdout
        .split('\n')
        .filter(name => name.startsWith(prefix))
        .sort();
    },

    async update() {
      const stamp = joinPath(folder, 'updated');
      const age = await fileAgeMs(stamp);
      if (age !== undefined && age >= 0 && age < LISTS_FRESH_MS) return;
      for (const part of ['lists/partial', 'cache/archives/partial'])
        await makeFolder(joinPath(folder, part));
      await writeWhole(joinPath(folder, 'status'), '');
      progress?.('lists', 'fetching package lists');
      const result = await apt('apt-get', 'private', ['update'], {
        onLine: line => {
          if (/^(Get|Hit):/.test(line)) progress?.('lists', line.replace(/^\w+:\d+ /, ''));
        },
      });
      // One source that fails does not matter while another gave lists.
      const lists = (await listFolder(joinPath(folder, 'lists'))).filter(name => name.includes('_Packages'));
      if (lists.length === 0) {
        throw new DomusError(
          'E_PACKAGE_LISTS',
          `apt could not fetch package lists: ${reason(result)}`,
          'Check the network and the sources in /etc/apt, or give local files: --kernel FILE and --initrd FILE.',
        );
      }
      if (result.code === 0) await writeWhole(stamp, '');
    },

    async download(facts, scratchFolder) {
      const size = facts.sizeBytes > 0 ? ` (${(facts.sizeBytes / 1e6).toFixed(1)} MB)` : '';
      progress?.('download', `${facts.name} ${facts.version}${size}`);
      const result = await apt('apt-get', facts.lists, ['download', '--', `${facts.name}=${facts.version}`], {
        folder: scratchFolder,
      });
      const name = (await listFolder(scratchFolder)).find(entry => entry.endsWith('.deb'));
      const file = name === undefined ? undefined : await readIfPresent(joinPath(scratchFolder, name));
      if (result.code !== 0 || !file) {
        throw new DomusError(
          'E_PACKAGE_DOWNLOAD',
          `apt could not download ${facts.name}: ${reason(result)}`,
          'Check the network and the sources in /etc/apt, or give local files: --kernel FILE and --initrd FILE.',
        );
      }
      if (sha256Hex(file) !== facts.sha256) {
        throw new DomusError(
          'E_PACKAGE_HASH',
          `${facts.name} ${facts.version} is not what the signed lists say it is`,
          'Try again; if it stays so, do not trust the archive or the network in between.',
        );
      }
      return file;
    },
  };
}

/** For a call with the machine's own lists. */
export const ARCHITECTURE = `#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
`;

/** Everything that apt writes goes below `folder`; hooks of the system must not run on its behalf. */
export const privateConfiguration = (folder: string): string => `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State "${folder}/";
Dir::State::lists "lists/";
Dir::State::status "${folder}/status";
Dir::Cache "${folder}/cache/";
Acquire::Languages "none";
`;
