/** The disassembler against iced-x86's Intel formatter, over every form that both know. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder, Formatter, FormatterSyntax, MemorySizeOptions } from 'iced-x86';
import { icedForms } from '../../../test/oracle/iced-forms.ts';
import { random } from '../../../test/oracle/random.ts';
import { Mode } from '../decode/mode.ts';
import { disassemble } from './disassembler.ts';

const ADDRESS = 0x7fff_1234_5678n;
const EACH = 6;
/** The same instruction under another name. */
const NAMES: Record<string, string> = { pushf: 'pushfw', popf: 'popfw' };
/** Forms that the table has as NOP, or that iced names by their mod. */
const OTHER_NAMES = /^(prefetch|endbr|nop|xchg (ax,ax|rax,rax))/;

function withIced(bytes: Uint8Array, formatter: Formatter): string {
  const decoder = new Decoder(64, bytes, 0);
  decoder.ip = ADDRESS;
  const text = formatter.format(decoder.decode());
  decoder.free();
  return text;
}

/** What the two are free to write in their own ways. */
function common(text: string): string {
  let result = text
    .replace(/ #.*$/, '')
    .replace(
      /\b(xmmword|ymmword|qword|dword|word|byte|tbyte|fword|fpuenv\d+|fpustate\d+|mmword|oword) ptr /g,
      '',
    )
    .replace(/\b(short|near) /g, '')
    .replace(/\s*,\s*/g, ',')
    .replace(/\b(cs|ds|es|ss):/g, '')
    .replace(
      /^((xacquire|xrelease|bnd|notrack|rep|repe|repne|data16|rex\S*) )+(?!(movs|stos|lods|ins|outs|cmps|scas)[bwdq])/,
      '',
    )
    .replace(/^(xacquire|xrelease) /, '');
  const [name = ''] = result.split(' ');
  if (NAMES[name]) result = result.replace(name, NAMES[name]);
  // Implied operands: ST(0), the places of strings and of XLAT, AX.
  if (/^f/.test(result)) {
    result = result
      .replace(/^(fnstsw) ax$/, '$1')
      .replace(/ st,/, ' ')
      .replace(/,st(\(0\))?$/, '')
      .replace(/ st\(0\),(?=st)/, ' ');
  }
  result = result
    .replace(/^((rep |repe |repne )?(movs|stos|lods|cmps|scas|ins|outs)[bwdq]) .*\[.*$/, '$1')
    .replace(/^((?:p?blendv)\w* .*),xmm0$/, '$1')
    .replace(/^xlat .*/, 'xlat')
    .replace(/^addr32 /, '')
    .replace(/\*1(?!\d)/, '')
    .replace(/^(ro[lr]|rc[lr]|sh[lr]|sar)( .*),0x1$/, '$1$2,1');
  return result.trim();
}

test('operands and names are as iced-x86 has them', t => {
  const formatter = new Formatter(FormatterSyntax.Intel);
  formatter.hexPrefix = '0x';
  formatter.hexSuffix = '';
  formatter.uppercaseHex = false;
  formatter.smallHexNumbersInDecimal = false;
  formatter.ripRelativeAddresses = true;
  formatter.memorySizeOptions = MemorySizeOptions.Always;
  formatter.usePseudoOps = false;
  formatter.showBranchSize = false;
  formatter.branchLeadingZeros = false;
  const draw = random(0x0d15a);
  const differences = new Map<string, string>();
  let compared = 0;
  for (const form of icedForms()) {
    if (!form.modes.includes(64)) continue;
    for (let i = 0; i < EACH; i++) {
      const encoding = form.generate(draw, 64);
      if (!encoding) continue;
      const bytes = encoding.code;
      const ours = disassemble(bytes, 0, ADDRESS, Mode.code64);
      const theirs = withIced(bytes, formatter);
      // The table does not have it: the engine raises #UD.
      if (ours.text === '(bad)') continue;
      compared++;
      if (OTHER_NAMES.test(common(theirs)) && OTHER_NAMES.test(common(ours.text))) continue;
      if (common(ours.text) !== common(theirs)) differences.set(form.name, `${ours.text} | ${theirs}`);
    }
  }
  t.diagnostic(`${compared} instructions`);
  assert.ok(compared > 3000);
  assert.deepEqual([...differences], []);
});

test('what is no instruction is one bad byte', () => {
  assert.deepEqual(disassemble(Uint8Array.of(0x06), 0, 0n, Mode.code64), { length: 1, text: '(bad)' });
});

test('addresses relative to the instruction are worked out', () => {
  const text = (...bytes: number[]) => disassemble(Uint8Array.from(bytes), 0, 0x1000n, Mode.code64).text;
  assert.equal(text(0x48, 0x8b, 0x05, 0x10, 0, 0, 0), 'mov rax, qword ptr [rip+0x10] # 0x1017');
  assert.equal(text(0xe8, 0xfb, 0xff, 0xff, 0xff), 'call 0x1000');
  assert.equal(text(0xf3, 0x48, 0xab), 'rep stosq');
  assert.equal(text(0xf0, 0x0f, 0xb1, 0x11), 'lock cmpxchg dword ptr [rcx], edx');
});
