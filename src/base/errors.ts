/**
 * Errors that a user or a caller can act on.
 *
 * Every such error has a stable `code`, a message that says what happened, and a `remedy` that says what to do.
 * A guest's own mistakes are not errors of this kind: they become an errno for the guest, or a domain crash.
 */
export class DomusError extends Error {
  override readonly name = 'DomusError';
  /** Stable identifier, `E_` followed by words; see docs/errors.md. */
  readonly code: string;
  /** One sentence: what the user can do about it. Empty when there is nothing to be done. */
  readonly remedy: string;

  constructor(code: string, message: string, remedy = '', options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** A broken invariant of our own. Never caused by a guest, a file or a user; stops the host loudly. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
