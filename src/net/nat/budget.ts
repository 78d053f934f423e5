/**
 * What all connections of a NAT may hold in memory together. As long as there is plenty, each may hold a lot; when it
 * becomes scarce each gets only a little, so that the sum stays bounded whatever guest and outside do.
 */
export const CONNECTIONS_MAX = 4096;
const TOTAL_BYTES = 256 << 20;
const PLENTY_BYTES = 1 << 20;
const SCARCE_BYTES = 32 << 10;

export class Budget {
  /** Held now; kept up to date by those who hold it. */
  heldBytes = 0;

  /** What one direction of one connection may hold. */
  get shareBytes(): number {
    return this.heldBytes < TOTAL_BYTES / 2 ? PLENTY_BYTES : SCARCE_BYTES;
  }
}
