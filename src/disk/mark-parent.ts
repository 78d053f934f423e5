/**
 * An image that another one builds on is marked, so that it is not written any more: the last step of a snapshot. Where a cut came before
 * that, who opens the new image for writing does it. Parents of images that other programs have made are left as they are.
 */
import type { DiskHost } from './host.ts';
import type { Layer } from './layer.ts';
import { isOwnChild } from './vhd/create.ts';
import { VhdImage } from './vhd/image.ts';
import { footerOf } from './vhd/layout.ts';
import { readMetadata } from './vhd/metadata.ts';

/** All that was written to the image has been flushed. */
export const markAsParent = (image: VhdImage): Promise<void> =>
  image.sealAs(footer => {
    footer.hidden = 1;
  });

/** @param child a disk's own image, claimed for writing, over `parent`, which is claimed for reading */
export async function markParentOf(host: DiskHost, child: Layer, parent: Layer): Promise<void> {
  if (!(child instanceof VhdImage && parent instanceof VhdImage)) return;
  if (parent.isHidden || !isOwnChild(child.meta.footer)) return;
  // Where we may not write to it nobody is going to by mistake.
  const file = await host.files.open(parent.path, 'write').catch(() => undefined);
  if (!file) return;
  try {
    await markAsParent(new VhdImage(file, await readMetadata(file)));
  } finally {
    await file.close();
  }
  footerOf(parent.meta.footer).hidden = 1;
}
