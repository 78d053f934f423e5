/** Mistakes in how the command was written. */
import { DomusError } from '../base/errors.ts';

export const usage = (message: string, remedy: string) => new DomusError('E_USAGE', message, remedy);
