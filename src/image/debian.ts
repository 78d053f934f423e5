/**
 * Kernels and the guest's userland out of Debian packages, cached.
 *
 * A name is looked up in the cache first; then neither the network nor the package client is touched. Otherwise the package is
 * obtained (apt.ts), its one interesting file taken out by our own readers, and remembered under the name that was asked for.
 */
import { DomusError } from '../base/errors.ts';
import { joinPath } from '../platform/node/cache-folder.ts';
import { aptClient, type PackageClient, type PackageFacts, type Progress, type RunProgram } from './apt.ts';
import { fileFromDeb } from './archive/deb.ts';
import type { ImageCache } from './cache.ts';
import { type KernelModule, modulesFromDeb, packModules, unpackModules } from './modules.ts';
import { DEFAULT_KERNEL_PACKAGE, isKernelPackageName, USERLAND_PACKAGE } from './package-names.ts';

export interface DebianOptions {
  readonly cache: ImageCache;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
  /** Ask the package client even if the cache knows the name. */
  readonly refresh?: boolean;
  /** In place of the machine's programs. */
  readonly run?: RunProgram;
}

export interface PackagedFile {
  readonly contents: Uint8Array;
  /** The package that it came from, after following meta-packages. */
  readonly package: string;
  readonly version: string;
  /** Name inside the package, such as `boot/vmlinuz-6.1.0-56-cloud-amd64`. */
  readonly file: string;
  readonly fromCache: boolean;
}

const KERNEL_FILE = /^(boot\/vmlinuz-|usr\/lib\/modules\/[^/]+\/vmlinuz$)/;
/** Meta-packages lead to packages of this prefix. */
const KERNEL_PREFIX = 'linux-image-';

/** A kernel image (bzImage). `name` is a package, or a meta-package that depends on the current one. */
export function obtainKernel(options: DebianOptions, name = DEFAULT_KERNEL_PACKAGE): Promise<PackagedFile> {
  if (!isKernelPackageName(name)) {
    throw new DomusError(
      'E_KERNEL_NAME',
      `${JSON.stringify(name)} is neither a file nor the name of a kernel package`,
      'Give a kernel file, or a package such as linux-image-cloud-amd64.',
    );
  }
  return obtain(options, name, KERNEL_FILE, KERNEL_PREFIX);
}

/**
 * Modules of the kernel that `obtainKernel` gives for the same name, with what they need, in load order. Kernel and
 * modules always come from one package.
 * @param others what may be wanted another time: kept too, where the package has it, so that it need not be fetched again
 * @throws DomusError E_MODULE_MISSING
 */
export async function obtainModules(
  options: DebianOptions,
  wanted: readonly string[],
  name = DEFAULT_KERNEL_PACKAGE,
  others: readonly string[] = [],
): Promise<KernelModule[]> {
  const { cache, progress } = options;
  const keyOf = (module: string): string => `${name} module ${module}`;
  const cached = async (): Promise<KernelModule[] | undefined> => {
    const kernel = await cache.lookUp(name);
    const lists: KernelModule[][] = [];
    for (const module of wanted) {
      const found = await cache.lookUp(keyOf(module));
      const isOfOne =
        kernel?.record.package === found?.record.package && kernel?.record.version === found?.record.version;
      if (!found || !isOfOne) return undefined;
      lists.push(unpackModules(found.contents));
    }
    return inOneList(lists);
  };
  const before = options.refresh ? undefined : await cached();
  if (before) return before;
  return cache.exclusively(
    name,
    async () => {
      const found = options.refresh ? undefined : await cached();
      if (found) return found;
      const { facts, file } = await fetchPackage(options, name, KERNEL_PREFIX);
      progress?.('unpack', `modules of ${facts.name} ${facts.version}`);
      const modules = modulesFromDeb(file, wanted, others);
      const kernel = fileFromDeb(file, path => KERNEL_FILE.test(path));
      if (!kernel) {
        throw new DomusError(
          'E_PACKAGE_CONTENTS',
          `${facts.name} ${facts.version} does not contain what was expected`,
        );
      }
      const { name: packageName, version } = facts;
      await cache.store(name, { package: packageName, version, file: kernel.name }, kernel.data);
      const record = { package: packageName, version, file: 'lib/modules' };
      for (const [module, list] of modules) await cache.store(keyOf(module), record, packModules(list));
      return inOneList(wanted.map(module => modules.get(module) ?? []));
    },
    () => progress?.('wait', `another process is getting ${name}`),
  );
}

/** Each module once: where it was first, which is before all that need it. */
function inOneList(lists: readonly (readonly KernelModule[])[]): KernelModule[] {
  const modules = new Map<string, KernelModule>();
  for (const module of lists.flat()) if (!modules.has(module.name)) modules.set(module.name, module);
  return [...modules.values()];
}

/** The static busybox of the guest. */
export const obtainBusybox = (options: DebianOptions): Promise<PackagedFile> =>
  obtain(options, USERLAND_PACKAGE, /^(usr\/)?bin\/busybox$/);

const clientFor = ({ cache, progress, run, signal }: DebianOptions): PackageClient =>
  aptClient({ folder: joinPath(cache.folder, 'apt'), progress, run, signal });

async function obtain(
  options: DebianOptions,
  name: string,
  wanted: RegExp,
  followPrefix?: string,
): Promise<PackagedFile> {
  const { cache, progress } = options;
  const cached = async (): Promise<PackagedFile | undefined> => {
    const found = await cache.lookUp(name);
    if (!found) return undefined;
    const { record, contents } = found;
    return { contents, package: record.package, version: record.version, file: record.file, fromCache: true };
  };
  if (!options.refresh) {
    const found = await cached();
    if (found) return found;
  }
  return cache.exclusively(
    name,
    async () => {
      // Another process may have got it while we waited.
      const found = options.refresh ? undefined : await cached();
      if (found) return found;
      const { facts, file } = await fetchPackage(options, name, followPrefix);
      progress?.('unpack', `${facts.name} ${facts.version}`);
      const entry = fileFromDeb(file, path => wanted.test(path));
      if (!entry) {
        throw new DomusError(
          'E_PACKAGE_CONTENTS',
          `${facts.name} ${facts.version} does not contain what was expected`,
        );
      }
      await cache.store(name, { package: facts.name, version: facts.version, file: entry.name }, entry.data);
      return {
        contents: entry.data,
        package: facts.name,
        version: facts.version,
        file: entry.name,
        fromCache: false,
      };
    },
    () => progress?.('wait', `another process is getting ${name}`),
  );
}

async function fetchPackage(
  options: DebianOptions,
  name: string,
  followPrefix?: string,
): Promise<{ facts: PackageFacts; file: Uint8Array }> {
  const client = clientFor(options);
  const { cache, progress } = options;
  progress?.('resolve', name);
  const attempt = async (facts: PackageFacts): Promise<{ facts: PackageFacts; file: Uint8Array }> => ({
    facts,
    file: await cache.withScratchFolder(folder => client.download(facts, folder)),
  });
  const known = await resolve(client, name, 'system', followPrefix);
  if (known) {
    try {
      return await attempt(known);
    } catch (error) {
      // The system's lists may be older than the archive: try with fresh ones.
      if (!(error instanceof DomusError) || error.code !== 'E_PACKAGE_DOWNLOAD') throw error;
    }
  }
  await client.update();
  const facts = await resolve(client, name, 'private', followPrefix);
  if (facts) return attempt(facts);
  throw new DomusError(
    'E_PACKAGE_UNKNOWN',
    `the package sources of this machine have no ${name}`,
    'Check the name and the sources in /etc/apt, or give local files: --kernel FILE and --initrd FILE.',
  );
}

/** A package, or what a chain of meta-packages with `followPrefix` ends in. */
async function resolve(
  client: PackageClient,
  name: string,
  lists: 'system' | 'private',
  followPrefix?: string,
): Promise<PackageFacts | undefined> {
  let facts = await client.describe(name, lists);
  for (let steps = 0; facts && followPrefix && steps < 4; steps++) {
    const next = facts.depends.find(dependency => dependency.startsWith(followPrefix));
    if (next === undefined) return facts;
    facts = await client.describe(next, lists);
  }
  return facts;
}

export interface KernelPackage {
  /** A meta-package that follows a kernel series, such as `linux-image-6.12-cloud-amd64`. */
  readonly name: string;
  readonly flavour: 'cloud' | 'generic';
  /** Of the kernel it stands for now. */
  readonly version: string;
}

/** The kernel series that this machine's package sources offer, newest first. */
export async function listKernelPackages(options: DebianOptions): Promise<KernelPackage[]> {
  const client = clientFor(options);
  let lists: 'system' | 'private' = 'system';
  let names = await client.names('linux-image-', lists);
  if (names.length === 0) {
    await client.update();
    lists = 'private';
    names = await client.names('linux-image-', lists);
  }
  const found: KernelPackage[] = [];
  for (const name of names) {
    const parts = /^linux-image-(?:\d+\.\d+-)?(cloud-)?amd64$/.exec(name);
    const facts = parts && (await client.describe(name, lists));
    if (facts) found.push({ name, flavour: parts[1] ? 'cloud' : 'generic', version: facts.version });
  }
  return found.sort((a, b) => compareSeries(b.version, a.version) || a.name.localeCompare(b.name));
}

/** The newest kernel series of a flavour. */
export async function newestKernelPackage(
  options: DebianOptions,
  flavour: KernelPackage['flavour'] = 'cloud',
): Promise<string> {
  const newest = (await listKernelPackages(options)).find(candidate => candidate.flavour === flavour);
  return newest?.name ?? (flavour === 'cloud' ? DEFAULT_KERNEL_PACKAGE : 'linux-image-amd64');
}

/** Order by the numbers in the upstream version: enough to tell kernel series apart. */
function compareSeries(a: string, b: string): number {
  const numbers = (version: string): number[] => (/^[\d.]+/.exec(version)?.[0] ?? '').split('.').map(Number);
  const left = numbers(a);
  const right = numbers(b);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
