/** What a machine is filled from: a file, or what the memory of another machine held. */
import type { CodeOrigin } from '../cpu/decode/decoded-before.ts';
import type { ImageMemory } from './memory-image.ts';
import type { PageFile } from './page-file.ts';

/** Where the contents of paged frames lie. */
export interface PageSource {
  /** Fill `into`, 4096 bytes, with page `page`; the first one is 1. @throws DomusError when it cannot be read any more */
  read(page: number, into: Uint8Array): void;
  /** Does it cost no more than copying the page, however often it is read? */
  isNear?(page: number): boolean;
  /** The frame that the page still is, where it comes from the memory of another machine. Good until the next call. */
  originOf?(page: number): CodeOrigin | undefined;
}

/** What a machine is filled from, in a form that other threads can be given. */
export type PagesMemory = PageFile | ImageMemory;

export interface MachinePages extends PageSource {
  readonly memory: PagesMemory;
}
