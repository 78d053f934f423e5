/** Errors on their way from the host process to a client: `{"error": {"code", "message", "remedy"}}`. */
import { DomusError } from '../../base/errors.ts';

export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly remedy: string };
}

export function errorBody(error: unknown): string {
  const body: ErrorBody =
    error instanceof DomusError
      ? { error: { code: error.code, message: error.message, remedy: error.remedy } }
      : {
          error: {
            code: 'E_DAEMON_FAILED',
            message: `internal error of the host process: ${error instanceof Error ? error.message : String(error)}`,
            remedy: 'this is a defect of Domus: please report it',
          },
        };
  return JSON.stringify(body);
}

/** The error that a body stands for. */
export function parseErrorBody(text: string): DomusError {
  try {
    const { error } = JSON.parse(text) as ErrorBody;
    if (typeof error.code === 'string' && typeof error.message === 'string') {
      return new DomusError(error.code, error.message, error.remedy);
    }
  } catch {
    // Reported below.
  }
  return new DomusError('E_DAEMON_FAILED', 'the host process answered what nobody understands');
}
