/**
 * Compares a test kernel's two logs line by line, and knows where QEMU is not right.
 *
 * A correction turns a line of QEMU's log into what the manual says, whatever Domus wrote: so that Domus is held to
 * the manual there too. An exemption accepts one difference where both answers are allowed.
 */

export interface Correction {
  readonly reason: string;
  readonly correct: (line: string) => string;
}

export interface Exemption {
  readonly reason: string;
  /** Of the line's name, before the colon. */
  readonly lines: RegExp;
  /** Both lines are compared without what this matches. */
  readonly ignore: RegExp;
}

export interface Difference {
  readonly line: number;
  readonly section: string;
  readonly domus: string;
  readonly qemu: string;
}

export interface Comparison {
  readonly differences: readonly Difference[];
  /** How often each correction or exemption was needed, by reason. */
  readonly used: ReadonlyMap<string, number>;
  readonly lines: number;
}

/**
 * Lines that are only in the log of Domus, because QEMU does not do what the manual says: `refused` is always #GP(0),
 * `manual` has two values that must be equal.
 */
const isRefused = (line: string) => line.startsWith('refused ') || line.startsWith('manual ');
const REFUSAL = /^refused .*: v=d e=0 ip=\+0 |^manual .*: is=(\w+) must=\1$/;

export function compareLogs(
  all: readonly string[],
  qemu: readonly string[],
  corrections: readonly Correction[],
  exemptions: readonly Exemption[],
  gaps: readonly { readonly reason: string; readonly lines: RegExp }[] = [],
): Comparison {
  const domus = all.filter(line => !isRefused(line));
  const differences: Difference[] = all
    .filter(line => isRefused(line) && !REFUSAL.test(line) && !gaps.some(gap => gap.lines.test(line)))
    .map(line => ({
      line: all.indexOf(line) + 1,
      section: 'manual',
      domus: line,
      qemu: line.startsWith('refused ') ? '(#GP(0))' : '(what it must be)',
    }));
  const used = new Map<string, number>();
  const count = (reason: string) => used.set(reason, (used.get(reason) ?? 0) + 1);
  let section = '';
  for (let i = 0; i < Math.max(domus.length, qemu.length); i++) {
    const ours = domus[i] ?? '(nothing)';
    let theirs = qemu[i] ?? '(nothing)';
    if (!ours.includes(':') && !ours.includes('=')) section = ours;
    for (const { reason, correct } of corrections) {
      const corrected = correct(theirs);
      if (corrected !== theirs) count(reason);
      theirs = corrected;
    }
    if (ours === theirs) continue;
    const exemption = exemptions.find(
      ({ lines, ignore }) =>
        lines.test(`${section}: ${ours}`) && ours.replace(ignore, '') === theirs.replace(ignore, ''),
    );
    if (exemption) count(exemption.reason);
    else differences.push({ line: i + 1, section, domus: ours, qemu: theirs });
  }
  return { differences, used, lines: domus.length };
}
