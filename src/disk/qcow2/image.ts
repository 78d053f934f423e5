/** qcow2 images: recognised, and refused for now. */
import type { BlockFile } from '../../platform/block-files.ts';
import { unsupported } from '../errors.ts';
import type { Layer } from '../layer.ts';

export async function openQcow2(file: BlockFile): Promise<Layer> {
  throw unsupported(file.path, 'qcow2 is not read yet');
}
