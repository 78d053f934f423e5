/** Which library fits: everything that decides what a region's module looks like, and what V8 makes of it. */
import { programText } from '../../../platform/node/files.ts';
import { hostKind } from '../../../platform/node/host-info.ts';
import { sha256Hex } from '../../../platform/node/native-codecs.ts';

/** A name for this version of the CPU engine on this kind of host. */
export function libraryVersion(): string {
  const digests = programText('cpu').map(sha256Hex);
  return sha256Hex(new TextEncoder().encode([hostKind(), ...digests].join('\n'))).slice(0, 16);
}
