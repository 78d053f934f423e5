/**
 * What a guest boots from, out of what a user asked for: a kernel by file or by package, and either the user's own initrd or the minimal
 * userland that runs commands.
 */
import { DomusError } from '../base/errors.ts';
import { readHostFile } from '../platform/node/host-file.ts';
import { type KernelImage, readKernel } from './bzimage.ts';
import {
  DEFAULT_KERNEL_PACKAGE,
  type DebianOptions,
  isKernelPackageName,
  obtainBusybox,
  obtainKernel,
} from './debian.ts';
import { buildInitramfs, type GuestSettings } from './initramfs.ts';

/** Neither a kernel file nor an initrd that a 32-bit memory could hold is larger. */
const FILE_LIMIT_BYTES = 1 << 30;

async function readNamed(what: string, path: string, option: string): Promise<Uint8Array> {
  const file = await readHostFile(path, FILE_LIMIT_BYTES);
  if (file.kind === 'contents') return file.contents;
  const why = file.kind === 'missing' ? 'there is no such file' : file.why;
  throw new DomusError(
    'E_IMAGE_FILE',
    `cannot read the ${what} ${path}: ${why}`,
    `Check the path given to ${option}.`,
  );
}

export interface LoadedKernel extends KernelImage {
  /** Where it came from: a path, or package and version. */
  readonly origin: string;
}

/**
 * The kernel for `choice`: bytes, a file, or the name of a kernel package; without one the default package. A name that looks like a
 * package is one, unless it has a slash in it.
 */
export async function loadKernel(
  options: DebianOptions,
  choice: string | Uint8Array = DEFAULT_KERNEL_PACKAGE,
): Promise<LoadedKernel> {
  if (typeof choice !== 'string') return { ...readKernel(choice), origin: 'given' };
  if (isKernelPackageName(choice)) {
    const file = await obtainKernel(options, choice);
    return { ...readKernel(file.contents), origin: `${file.package} ${file.version}` };
  }
  return { ...readKernel(await readNamed('kernel', choice, '--kernel')), origin: choice };
}

/** A user's own initrd. It is handed to the kernel as it is. */
export const loadInitrd = async (choice: string | Uint8Array): Promise<Uint8Array> =>
  typeof choice === 'string' ? await readNamed('initrd', choice, '--initrd') : choice;

/** The userland that runs commands over the run channel. */
export async function loadUserland(
  options: DebianOptions,
  settings: GuestSettings = {},
): Promise<Uint8Array> {
  return buildInitramfs((await obtainBusybox(options)).contents, settings);
}
