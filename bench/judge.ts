/** Who computed wrongly: all must agree with the rival that is trusted most. */
import type { Rival } from './rivals.ts';

const TRUST: readonly Rival['kind'][] = ['native', 'qemu', 'v86', 'domus'];

/** The reasons of those that differ. */
export function judge(checks: ReadonlyMap<Rival, string>): ReadonlyMap<Rival, string> {
  const [trusted] = [...checks.keys()].sort((a, b) => TRUST.indexOf(a.kind) - TRUST.indexOf(b.kind));
  const wrong = new Map<Rival, string>();
  for (const [rival, check] of checks) {
    const expected = checks.get(trusted!);
    if (check !== expected) wrong.set(rival, `computed ${check}, ${trusted!.name} ${expected}`);
  }
  return wrong;
}
