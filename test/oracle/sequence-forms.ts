/**
 * Short runs of integer instructions: what one leaves in the flags another uses. Finds what single instructions
 * cannot show: flags kept in a lazy form, merged or dropped between two instructions.
 *
 * Only instructions that leave no flag but AF undefined take part, none of them reads AF, and none touches memory.
 */
import { analyse } from './analysis.ts';
import { codePlace, type InstructionForm } from './forms.ts';
import { icedForms } from './iced-forms.ts';
import { MAX_CODE_BYTES, type Mode } from './machine-case.ts';
import { Flag, initialState } from './machine-state.ts';
import type { Random } from './random.ts';
import { undefinedFlags } from './undefined-flags.ts';

const MEMBERS =
  /^(add|sub|adc|sbb|cmp|inc|dec|neg|and|or|xor|test|not|mov|movzx|movsxd?|lea|cmov.*|set.*|xchg|xadd|cmpxchg|bswap|cwd|cdq|cqo|cbw|cwde|cdqe|popcnt|clc|stc|cmc|sahf|sh[lr]|sar|ro[lr]|rc[lr]|shld|shrd)$/;

let members: readonly InstructionForm[] | undefined;

function memberBytes(random: Random, mode: Mode): Uint8Array | undefined {
  members ??= icedForms().filter(form => MEMBERS.test(form.mnemonic));
  const form = random.pick(members);
  if (!form.modes.includes(mode)) return undefined;
  const encoding = form.generate(random, mode);
  const analysis = encoding && analyse(encoding.code, mode, encoding.rip);
  if (!encoding || !analysis || analysis.memory.length > 0 || analysis.byCl || analysis.privileged)
    return undefined;
  // Where the count is constant so is what it leaves undefined.
  return undefinedFlags(analysis, initialState()) & ~Flag.af ? undefined : encoding.code;
}

/** Sequences of up to `longest` instructions. */
export const sequenceForm = (longest: number): InstructionForm => ({
  name: `Sequence_${longest}`,
  mnemonic: 'sequence',
  modes: [64, 32, 16],
  hostFeatures: ['popcnt', 'cmov'],
  undefinedFlags: Flag.af,
  generate: (random, mode) => {
    const wanted = 2 + random.below(longest - 1);
    const bytes: number[] = [];
    for (let n = 0, attempts = 0; n < wanted && attempts < 200; attempts++) {
      const member = memberBytes(random, mode);
      if (!member || bytes.length + member.length > MAX_CODE_BYTES) continue;
      bytes.push(...member);
      n++;
    }
    return { code: Uint8Array.from(bytes), rip: codePlace(random, mode) };
  },
});

export const sequenceForms = (): readonly InstructionForm[] => [2, 4, 8].map(sequenceForm);
