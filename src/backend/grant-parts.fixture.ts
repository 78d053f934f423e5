/** For hosts of tests: copies of many parts are those of each. */
import type { GrantRef } from '../base/brand.ts';
import type { GrantParts } from './grant-parts.ts';
import type { CopyingHost } from './host.ts';

export function partByPart(
  host: () => Pick<CopyingHost, 'copyFromGrant' | 'copyToGrant'>,
): Pick<CopyingHost, 'copyFromParts' | 'copyToParts' | 'lendParts'> {
  const each = (
    parts: GrantParts,
    bytes: Uint8Array,
    copy: (ref: GrantRef, offset: number, piece: Uint8Array) => boolean,
  ): boolean => {
    for (let i = 0, done = 0; i < parts.count; i++) {
      const piece = bytes.subarray(done, done + parts.length(i));
      if (!copy(parts.ref(i), parts.offset(i), piece)) return false;
      done += parts.length(i);
    }
    return true;
  };
  const copyFromParts: CopyingHost['copyFromParts'] = (domid, parts, target) =>
    each(parts, target, (ref, offset, piece) => host().copyFromGrant(domid, ref, offset, piece));
  const copyToParts: CopyingHost['copyToParts'] = (domid, parts, source) =>
    each(parts, source, (ref, offset, piece) => host().copyToGrant(domid, ref, offset, piece));
  return {
    copyFromParts,
    copyToParts,
    lendParts(domid, parts, isWrite, use) {
      const bytes = new Uint8Array(parts.sizeBytes);
      if (!copyFromParts(domid, parts, bytes)) return undefined;
      const pieces: Uint8Array[] = [];
      for (let i = 0, done = 0; i < parts.count; done += parts.length(i++)) {
        pieces.push(bytes.subarray(done, done + parts.length(i)));
      }
      const result = use(pieces);
      if (isWrite) copyToParts(domid, parts, bytes);
      return result;
    },
  };
}
