/**
 * Which format a file has.
 *
 * A guest can write what it likes into a raw image, also the first bytes of another format that names files of the
 * host as its parents. So contents alone never decide: the file's name, or the caller, must say the same.
 */
import { DomusError } from '../base/errors.ts';
import type { BlockFile } from '../platform/block-files.ts';
import { wrongFormat } from './errors.ts';
import type { ImageFormat } from './layer.ts';
import { FOOTER_BYTES, footerFault } from './vhd/layout.ts';

export const IMAGE_FORMATS: readonly ImageFormat[] = ['vhd', 'raw', 'qcow2', 'vhdx'];

/** @throws DomusError E_USAGE */
export function parseImageFormat(text: string): ImageFormat {
  const found = IMAGE_FORMATS.find(format => format === (text === 'vpc' ? 'vhd' : text));
  if (found) return found;
  throw new DomusError('E_USAGE', `there is no image format "${text}"`, `use ${IMAGE_FORMATS.join(', ')}`);
}

const BY_NAME: Readonly<Record<string, ImageFormat>> = {
  vhd: 'vhd',
  vpc: 'vhd',
  avhd: 'vhd',
  vhdx: 'vhdx',
  qcow2: 'qcow2',
  raw: 'raw',
  img: 'raw',
};

export function formatByName(path: string): ImageFormat | undefined {
  return BY_NAME[/\.([A-Za-z0-9]+)$/.exec(path)?.[1]?.toLowerCase() ?? ''];
}

const startsWith = (bytes: Uint8Array, text: string): boolean =>
  [...text].every((character, i) => bytes[i] === character.charCodeAt(0));

/** What the contents look like; raw when like nothing else. */
export async function formatByContents(file: BlockFile): Promise<ImageFormat> {
  const start = new Uint8Array(FOOTER_BYTES);
  await file.read(0, start);
  if (startsWith(start, 'QFI\xfb')) return 'qcow2';
  if (startsWith(start, 'vhdxfile')) return 'vhdx';
  if (footerFault(start) === undefined) return 'vhd';
  const end = new Uint8Array(FOOTER_BYTES);
  await file.read(Math.max(0, (await file.size()) - FOOTER_BYTES), end);
  return footerFault(end) === undefined ? 'vhd' : 'raw';
}

/** @throws DomusError E_DISK_FORMAT where name and contents leave a doubt */
export async function detectFormat(file: BlockFile): Promise<ImageFormat> {
  const byName = formatByName(file.path);
  const byContents = await formatByContents(file);
  if (byName === byContents) return byName;
  if (byName === undefined && byContents === 'raw')
    throw wrongFormat(file.path, 'neither name nor contents tell its format');
  // A damaged image of the format that its name says is reported by who reads it.
  if (byName !== undefined && byContents === 'raw') return byName;
  if (byName === undefined) return byContents;
  throw wrongFormat(file.path, `its name says ${byName}, its contents look like ${byContents}`);
}
