/** Disks in the files of this machine. */
import type { DiskHost } from '../disk/host.ts';
import { nodeBlockFiles } from '../platform/node/block-files.ts';
import { createNodeClock } from '../platform/node/clock.ts';
import { nodeEntropy } from '../platform/node/entropy.ts';

export const nodeDiskHost = (): DiskHost => ({
  files: nodeBlockFiles,
  clock: createNodeClock(),
  entropy: nodeEntropy,
});
