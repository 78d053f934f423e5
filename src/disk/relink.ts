/**
 * Gives a differencing image another parent.
 *
 * The header is two sectors, which a cut can tear apart. So a new one is written elsewhere; one sector, the footer's copy, then says
 * which header counts. Afterwards the header moves back to where other programs may expect it, in the same way.
 */
import type { DiskHost } from './host.ts';
import { describeParent, type ParentOfNew } from './vhd/create.ts';
import type { VhdImage } from './vhd/image.ts';
import { FOOTER_BYTES, footerOf, HEADER_BYTES, sealFooter } from './vhd/layout.ts';

/** `parent.path` is absolute; `path` is the image's own. */
export async function relink(host: DiskHost, image: VhdImage, parent: ParentOfNew): Promise<void> {
  const { file, meta } = image;
  const path = await host.files.realPath(image.path);
  await image.flush();
  const header = meta.header.slice();
  const sizeOfLocators = describeParent(header.slice(), parent, path, 0).length;
  // First only to learn where it will lie: locators have absolute positions.
  const position = await image.append(new Uint8Array(HEADER_BYTES + sizeOfLocators));
  const locators = describeParent(header, parent, path, position + HEADER_BYTES);
  await file.write(position, header);
  await file.write(position + HEADER_BYTES, locators);
  await file.flush();
  await useHeaderAt(image, position);
  if (meta.headerOffset === FOOTER_BYTES) {
    await file.write(FOOTER_BYTES, header);
    await file.flush();
    await useHeaderAt(image, FOOTER_BYTES);
  } else meta.headerOffset = position;
  meta.header = header;
}

async function useHeaderAt(image: VhdImage, position: number): Promise<void> {
  const { file, meta } = image;
  footerOf(meta.footer).dataOffset = BigInt(position);
  sealFooter(meta.footer);
  await file.write(0, meta.footer);
  await file.flush();
  await image.writeEndFooter();
  await file.flush();
}
