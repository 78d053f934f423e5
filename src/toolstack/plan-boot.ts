/**
 * Makes a boot plan: kernel from a file or a Debian package, unpacked and checked to be one; userland with the agent and
 * its init, or the user's own initrd; the command line. Everything that comes from outside is only bytes here.
 */
import { DomusError } from '../base/errors.ts';
import type { KernelImage } from '../hypervisor/builder/domain-builder.ts';
import { openImageCache } from '../image/cache.ts';
import { type DebianOptions, obtainBusybox, obtainKernel, obtainModules } from '../image/debian.ts';
import { openAgentChannel } from '../image/guest-agent/agent-channel.ts';
import { buildInitramfs } from '../image/initramfs.ts';
import type { KernelModule } from '../image/modules.ts';
import {
  DEFAULT_KERNEL_PACKAGE,
  FOLDER_KERNEL_PACKAGE,
  isKernelPackageName,
} from '../image/package-names.ts';
import { openUnpackedKernels } from '../image/unpacked-kernels.ts';
import { fileExists } from '../platform/node/cache-folder.ts';
import { readAsset } from '../platform/node/files.ts';
import { sha256Hex } from '../platform/node/native-codecs.ts';
import { tryReadFile } from '../platform/node/user-files.ts';
import type { BootPlan, BootRequest, Phase } from './boot.ts';
import { commandLineFor, lineOf } from './command-line.ts';
import { DISK_MODULES } from './guest-disk.ts';
import { FOLDER_MODULES } from './guest-folder.ts';
import type { ConsoleStream } from './machine.ts';
import { NETWORK_MODULES } from './network.ts';
import { ROOT_MODULES } from './root-disk.ts';

/** The kernel's console, and the agent's channel. */
const NR_CONSOLES_WITH_AGENT = 2;

/** @throws DomusError E_FILE_READ */
async function readNamedFile(what: string, path: string): Promise<Uint8Array> {
  const read = await tryReadFile(path);
  if ('bytes' in read) return read.bytes;
  throw new DomusError(
    'E_FILE_READ',
    `cannot read the ${what} ${path}: ${read.reason}`,
    'check its name and rights',
  );
}

/** The kernel that boots fastest has no driver for shared folders. */
const chosenKernel = ({ kernel, folders = [] }: BootRequest): BootRequest['kernel'] =>
  kernel ?? (folders.length > 0 ? FOLDER_KERNEL_PACKAGE : undefined);

async function findKernel(
  kernel: BootRequest['kernel'] = DEFAULT_KERNEL_PACKAGE,
  options: DebianOptions,
  onUnpack: () => void,
): Promise<KernelImage> {
  const { cache } = options;
  const unpacked = openUnpackedKernels(cache.folder);
  const unpack = async (file: Uint8Array): Promise<KernelImage> => {
    const sha256 = sha256Hex(file);
    const known = await unpacked.find(sha256);
    if (known) return known;
    onUnpack();
    return unpacked.unpack(sha256, file);
  };
  if (kernel instanceof Uint8Array) return unpack(kernel);
  // A file of that name comes first: its owner put it there.
  if (!isKernelPackageName(kernel) || fileExists(kernel))
    return unpack(await readNamedFile('kernel', kernel));
  const record = await cache.record(kernel);
  const known = record && (await unpacked.find(record.sha256));
  return known ?? unpack((await obtainKernel(options, kernel)).contents);
}

/** What guests may want: out of one package they come together, so that the next guest does not fetch it again. */
const ALL_MODULES = [...NETWORK_MODULES, ...DISK_MODULES, ...ROOT_MODULES, ...FOLDER_MODULES];

/** The modules that belong to the kernel; a kernel that is a file must have built in what it needs. */
async function kernelModules(request: BootRequest, options: DebianOptions): Promise<KernelModule[]> {
  const { modules = [], needsAgent, folders = [] } = request;
  const kernel = chosenKernel(request);
  if (modules.length === 0 || !needsAgent) return [];
  if (kernel === undefined) return obtainModules(options, modules, undefined, ALL_MODULES);
  const isPackage = typeof kernel === 'string' && isKernelPackageName(kernel) && !fileExists(kernel);
  if (!isPackage) return [];
  try {
    return await obtainModules(options, modules, kernel, ALL_MODULES);
  } catch (error) {
    const isDriver = error instanceof DomusError && error.code === 'E_MODULE_MISSING';
    if (!isDriver || folders.length === 0) throw error;
    throw new DomusError(
      'E_FOLDER_KERNEL',
      `${kernel} has no driver for shared folders: ${error.message}`,
      `leave out --kernel, or use one that has it: --kernel ${FOLDER_KERNEL_PACKAGE}`,
    );
  }
}

function agentOf(consoles: readonly ConsoleStream[], isThrowaway: boolean) {
  const [, channel] = consoles;
  if (!channel)
    throw new DomusError('E_MACHINE_FAILED', "the machine lacks the console of the agent's channel");
  return openAgentChannel(channel, { isThrowaway });
}

export async function planBoot(request: BootRequest): Promise<BootPlan> {
  const { signal } = request;
  const cache = openImageCache();
  const options = (name: Phase['name']): DebianOptions => ({
    cache,
    progress: (phase, detail) => request.onPhase({ name, detail: `${phase} ${detail}` }),
    ...(signal && { signal }),
  });

  request.onPhase({ name: 'kernel', detail: 'looking for the kernel' });
  // Modules first: with them the kernel of the same package comes into the cache.
  const modules = await kernelModules(request, options('kernel'));
  const kernel = await findKernel(chosenKernel(request), options('kernel'), () =>
    request.onPhase({ name: 'kernel', detail: 'unpacking' }),
  );

  let initrd: Uint8Array | undefined;
  if (request.initrd instanceof Uint8Array) initrd = request.initrd;
  else if (request.initrd !== undefined) initrd = await readNamedFile('initrd', request.initrd);

  const commandLine = request.needsAgent ? commandLineFor(request.append) : lineOf('', request.append);
  if (!request.needsAgent) {
    return { kernel, commandLine, nrConsoles: 1, ...(initrd && { initrd }) };
  }
  request.onPhase({ name: 'userland', detail: 'looking for busybox' });
  const busybox = (await obtainBusybox(options('userland'))).contents;
  const userland = buildInitramfs(busybox, {
    agent: readAsset('guest-agent'),
    modules,
    network: request.network,
    disks: request.disks,
    folders: request.folders,
    root: request.root,
    init: request.init,
  });
  return {
    kernel,
    // The kernel unpacks archives one after the other, later files win: the user's files, then our init over them.
    initrd: initrd ? joinArchives(initrd, userland) : userland,
    commandLine,
    nrConsoles: NR_CONSOLES_WITH_AGENT,
    connect: consoles => agentOf(consoles, request.isThrowaway),
  };
}

/** Archives behind one another; each begins on a multiple of four bytes, as the kernel expects it. */
function joinArchives(first: Uint8Array, second: Uint8Array): Uint8Array {
  const start = Math.ceil(first.length / 4) * 4;
  const joined = new Uint8Array(start + second.length);
  joined.set(first);
  joined.set(second, start);
  return joined;
}
