/**
 * The errors that reading an image can end in. An image is a file that somebody handed us: whatever is in it, the
 * result is either its contents or one of these.
 */
import { DomusError } from '../../base/errors.ts';

/** The bytes contradict their own format or checksum. */
export const corrupt = (what: string, detail: string): DomusError =>
  new DomusError(
    'E_IMAGE_CORRUPT',
    `${what}: ${detail}`,
    'Get the file again, or check it with the tool that made it.',
  );

/** The data end before they should. */
export const truncated = (what: string): DomusError =>
  new DomusError(
    'E_IMAGE_TRUNCATED',
    `${what}: the data end too early`,
    'The file is cut short: get it again.',
  );

/** Valid as far as can be seen, but of a kind that is not read here. */
export const unsupported = (what: string, detail: string): DomusError =>
  new DomusError(
    'E_IMAGE_UNSUPPORTED',
    `${what}: ${detail}`,
    'Convert the file to a common form of its format.',
  );

/** Unpacking would need more memory than the caller allows. */
export const tooLarge = (what: string, limitBytes: number): DomusError =>
  new DomusError(
    'E_IMAGE_TOO_LARGE',
    `${what}: unpacks to more than ${Math.floor(limitBytes / 2 ** 20)} MiB`,
    'Check that this is the file you meant.',
  );
