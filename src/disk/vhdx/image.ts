/** VHDX images: recognised, and refused for now. */
import type { BlockFile } from '../../platform/block-files.ts';
import { unsupported } from '../errors.ts';
import type { Layer } from '../layer.ts';

export async function openVhdx(file: BlockFile): Promise<Layer> {
  throw unsupported(file.path, 'VHDX is not read yet');
}
