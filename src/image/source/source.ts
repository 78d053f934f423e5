/** Where a root file system comes from: something that knows what it is before it is unpacked. */
import type { ImageConfig } from '../config.ts';
import type { Ext4, StoredFile } from '../rootfs/ext4/file-system.ts';
import type { FileTree } from '../rootfs/tree.ts';

export interface ImageSource {
  /** Changes whenever the contents may have changed. */
  readonly identity: string;
  readonly config: ImageConfig;
  /** Layers by their hashes, as far as the store keeps them. */
  readonly blobs: readonly string[];
  /** Unpack. @throws DomusError E_IMAGE_* */
  fill(fs: Ext4, tree: FileTree<StoredFile>): Promise<void>;
  /** After `fill`: a script for the new system's shell, to be run once in a guest that has it for its root. */
  finishing?(): string;
}
