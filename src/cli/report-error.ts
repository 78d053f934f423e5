/** How failures look: one line that says what happened and what to do; for guests, what is known about them below. */
import { DomusError } from '../base/errors.ts';
import { formatCrashReport, GuestFailure } from '../toolstack/crash-report.ts';
import type { CommandContext } from './verb.ts';

/** Messages may quote what a user or a guest wrote: keep them on one line and free of control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is being removed
const oneLine = (text: string) => text.replace(/[\x00-\x1f\x7f-\x9f]+/g, ' ').trim();

/** A remedy may be written as a sentence; behind the message it is a clause. */
function asClause(remedy: string): string {
  if (remedy === '') return '';
  const startsWithName = /^(?:[A-Z]{2}|\S+_)/.test(remedy);
  const first = startsWithName ? remedy.charAt(0) : remedy.charAt(0).toLowerCase();
  return `; ${first}${remedy.slice(1).replace(/\.$/, '')}`;
}

/** What loads the bundle (bin/program.js) is no part of it, and has an error of the same form. */
const isOurs = (error: unknown): error is DomusError =>
  error instanceof DomusError || (error as { code?: unknown } | undefined)?.code === 'E_STALE_BUILD';

export async function reportError(
  context: Pick<CommandContext, 'complain' | 'env'>,
  error: unknown,
): Promise<void> {
  if (isOurs(error)) {
    await context.complain(oneLine(`domus: ${error.message}${asClause(error.remedy)}`));
    if (error instanceof GuestFailure) {
      for (const line of formatCrashReport(error.report)) await context.complain(line);
    }
    // Where a wrapped failure of ours came from matters only to those who mend it.
    if (context.env.DOMUS_DEBUG && error.stack) await context.complain(error.stack);
    return;
  }
  const text = error instanceof Error ? error.message : String(error);
  await context.complain(oneLine(`domus: internal error: ${text}; please report this with the lines below`));
  if (error instanceof Error && error.stack) await context.complain(error.stack);
}
