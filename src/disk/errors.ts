/** Errors about disk images, each kind made in one place. See docs/errors.md. */
import { DomusError } from '../base/errors.ts';

/** The file contradicts its own format. */
export const corrupt = (path: string, why: string): DomusError =>
  new DomusError('E_DISK_CORRUPT', `${path} is damaged: ${why}`, '"domus vhd check" says what can be mended');

/** The file is well formed but uses what is not read here. */
export const unsupported = (path: string, why: string): DomusError =>
  new DomusError(
    'E_DISK_UNSUPPORTED',
    `${path} cannot be used: ${why}`,
    'convert it with the tool that made it',
  );

export const wrongFormat = (path: string, why: string): DomusError =>
  new DomusError('E_DISK_FORMAT', `${path}: ${why}`, 'say which format it has: raw, vhd, vhdx or qcow2');

export const badSize = (why: string, remedy: string): DomusError =>
  new DomusError('E_DISK_SIZE', why, remedy);

export const badParent = (path: string, why: string, cause?: unknown): DomusError =>
  new DomusError(
    'E_DISK_PARENT',
    `${path} needs its parent: ${why}`,
    'put the parent where it was, unchanged',
    {
      cause,
    },
  );

export const readOnly = (path: string, why: string): DomusError =>
  new DomusError('E_DISK_READ_ONLY', `${path} cannot be written: ${why}`, 'write to a clone of it');
