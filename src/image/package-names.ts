/** Debian packages that guests are made of. */

/** The kernel that boots fastest: built for virtual machines, packed with LZ4. */
export const DEFAULT_KERNEL_PACKAGE = 'linux-image-cloud-amd64';
/** Has drivers for nearly everything, shared folders among them, and takes longer to boot. */
export const FOLDER_KERNEL_PACKAGE = 'linux-image-amd64';
export const USERLAND_PACKAGE = 'busybox-static';

const KERNEL_PACKAGE = /^linux-image-[a-z0-9][a-z0-9+.-]*$/;

/** Whether a `--kernel` value can be the name of a kernel package. */
export const isKernelPackageName = (name: string): boolean => KERNEL_PACKAGE.test(name);
