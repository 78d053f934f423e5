/** A small disk for tests of its backend, whose transfers may take their time. */
import { createImage } from '../../disk/create.ts';
import type { Disk } from '../../disk/disk.ts';
import { openDisk } from '../../disk/open.ts';
import { chance, simulatedHost } from '../../disk/testing.fixture.ts';

export const SIZE = 1 << 20;

export interface DiskWorld {
  readonly disk: Disk;
  readonly host: ReturnType<typeof simulatedHost>;
}

/** `isSlow`: every transfer takes a few turns. */
export async function setUpDisk(
  options: { isSlow?: boolean; isReadOnly?: boolean } = {},
): Promise<DiskWorld> {
  const host = simulatedHost();
  const { files } = host;
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: 64 * 1024 });
  if (options.isSlow) {
    const open = files.open.bind(files);
    const { below } = chance(99);
    files.open = async (path, mode) => {
      const file = await open(path, mode);
      const later = async <T>(use: () => T): Promise<Awaited<T>> => {
        for (let turns = below(6); turns > 0; turns--) await Promise.resolve();
        return await use();
      };
      return {
        ...file,
        read: (position, into) => later(() => file.read(position, into)),
        write: (position, from) => {
          const kept = from.slice();
          return later(() => file.write(position, kept));
        },
        flush: () => later(() => file.flush()),
        readNow: () => false,
        writeNow: () => false,
      };
    };
  }
  return { disk: await openDisk(host, '/d/disk.vhd', { isReadOnly: options.isReadOnly }), host };
}
