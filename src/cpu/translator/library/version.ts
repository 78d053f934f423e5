/** Which library fits: everything that decides what a region's module looks like, and what V8 makes of it. */
import { engineDigest } from '../../../platform/node/files.ts';
import { hostKind } from '../../../platform/node/host-info.ts';
import { sha256Hex } from '../../../platform/node/native-codecs.ts';

/** A name for this version of the CPU engine on this kind of host. */
export function libraryVersion(): string {
  const text = `${hostKind()}\n${engineDigest()}`;
  return sha256Hex(new TextEncoder().encode(text)).slice(0, 16);
}
