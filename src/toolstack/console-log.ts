/**
 * The last lines of a guest's console, kept so that a failure can show what the guest said before it. Bounded in
 * both directions: a guest may write without end, and lines without end.
 */
const LINES_KEPT = 20;
const LINE_CHARACTERS_MAX = 400;
// A terminal must not obey a crashed guest: control sequences and control characters are dropped.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is being removed
const CONTROL = /\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

export interface ConsoleLog {
  add(chunk: Uint8Array): void;
  /** Oldest first; an unfinished last line counts as one. Empty lines are left out. */
  lastLines(): string[];
}

export function createConsoleLog(): ConsoleLog {
  const decoder = new TextDecoder();
  let lines: string[] = [];
  let current = '';
  return {
    add(chunk) {
      const pieces = decoder.decode(chunk, { stream: true }).split('\n');
      for (const [index, piece] of pieces.entries()) {
        if (index > 0) {
          lines.push(current);
          current = '';
        }
        if (current.length < LINE_CHARACTERS_MAX)
          current += piece.slice(0, LINE_CHARACTERS_MAX - current.length);
      }
      if (lines.length > 4 * LINES_KEPT) lines = lines.slice(-2 * LINES_KEPT);
    },
    lastLines() {
      return [...lines, current]
        .map(line => line.replace(CONTROL, '').trimEnd())
        .filter(line => line !== '')
        .slice(-LINES_KEPT);
    },
  };
}
