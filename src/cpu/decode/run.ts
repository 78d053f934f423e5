/** A straight run of instructions while it is decoded or copied. */
import { PAGE_SIZE } from '../../base/brand.ts';

/** Instructions decoded ahead at a time. */
export const RUN_LIMIT = 64;

/** Instructions that were decoded one after the other. */
export interface DecodedRun {
  readonly length: number;
  /** In the page. */
  readonly offsets: Uint16Array;
  readonly records: Uint32Array;
}

export class Run implements DecodedRun {
  /** Machine memory. */
  readonly u32: Uint32Array;
  codePage = 0;
  length = 0;
  readonly offsets = new Uint16Array(RUN_LIMIT);
  readonly records = new Uint32Array(RUN_LIMIT);
  /** Offset in the page of the next instruction. */
  end = 0;
  /** Where the next record goes. */
  at = 0;
  /** Offset behind the last byte that it depends on. */
  covered = 0;
  /** Its last instruction goes elsewhere. */
  isOver = false;

  constructor(u32: Uint32Array) {
    this.u32 = u32;
  }

  /** Can it go on? */
  get isOpen(): boolean {
    return !this.isOver && this.length < RUN_LIMIT && this.end < PAGE_SIZE;
  }

  /** None yet, from an offset on. */
  begin(codePage: number, offset: number, at: number): void {
    this.codePage = codePage;
    this.length = 0;
    this.end = offset;
    this.at = at;
    this.covered = offset;
    this.isOver = false;
  }
}
