/** What guests need of the cache, for a user who cannot write to it. */
import { openImageCache } from '../src/image/cache.ts';
import { obtainModules } from '../src/image/debian.ts';
import { FOLDER_KERNEL_PACKAGE, USERLAND_PACKAGE } from '../src/image/package-names.ts';

/** Userland, and the kernel that has the driver for folders, with these modules. */
export async function copyCache(folder: string, modules: readonly string[]): Promise<void> {
  const cache = openImageCache();
  await obtainModules({ cache }, modules, FOLDER_KERNEL_PACKAGE);
  const copy = openImageCache(folder);
  for (const name of await cache.names()) {
    if (name !== USERLAND_PACKAGE && !name.startsWith(FOLDER_KERNEL_PACKAGE)) continue;
    const found = await cache.lookUp(name);
    if (found) await copy.store(name, found.record, found.contents);
  }
}
