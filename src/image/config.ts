/** How commands are run in an image, unless somebody says otherwise. */
import type { UserIds } from './guest-agent/start.ts';

export interface ImageConfig {
  readonly env: Readonly<Record<string, string>>;
  /** Stands before every command. */
  readonly entrypoint: readonly string[];
  /** What is run when nothing is said. */
  readonly command: readonly string[];
  readonly workingFolder: string;
  /** Root when absent. */
  readonly user?: UserIds;
}

export const PLAIN_CONFIG: ImageConfig = {
  env: {},
  entrypoint: [],
  command: ['/bin/sh'],
  workingFolder: '/',
};
