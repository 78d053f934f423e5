/**
 * Writes the "mixed" loop: several thousand different instructions in a row, drawn with a fixed seed, so that neither the
 * host's branch predictor nor a small cache of decoded instructions knows what comes next. Branches depend on flags
 * that are defined everywhere; the result is the same on every x86-64 processor.
 */

const REGISTERS_64 = ['rax', 'rcx', 'rdx', 'rbx', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13'];
const REGISTERS_32 = ['eax', 'ecx', 'edx', 'ebx', 'r8d', 'r9d', 'r10d', 'r11d', 'r12d', 'r13d'];
const REGISTERS_8 = ['al', 'cl', 'dl', 'bl', 'r8b', 'r9b', 'r10b', 'r11b', 'r12b', 'r13b'];
const SAVED = ['rbx', 'rbp', 'r12', 'r13'];
const CONDITIONS = ['z', 'nz', 'c', 'nc', 's', 'ns', 'l', 'ge', 'be', 'a', 'o', 'no'];

/** Same numbers everywhere: a 32-bit linear congruential generator, upper bits. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Assembler text of loop_mixed, about `size` instructions an iteration. */
export function mixedLoop(size = 4000): string {
  const random = generator(20101);
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const r64 = () => `%${pick(REGISTERS_64)}`;
  const r32 = () => `%${pick(REGISTERS_32)}`;
  const r8 = () => `%${pick(REGISTERS_8)}`;
  const at = () => `${random(0x4000)}(%rsi)`;
  const immediate = () => `$${random(0x10000) - 0x8000}`;
  const cc = () => pick(CONDITIONS);
  const arithmetic = () => pick(['add', 'sub', 'and', 'or', 'xor', 'adc', 'sbb']);
  const compare = () =>
    pick([`cmp ${r64()}, ${r64()}`, `cmpl ${immediate()}, ${r32()}`, `test ${r32()}, ${r32()}`]);
  let label = 0;

  const kinds: (() => string[])[] = [
    () => [`${arithmetic()} ${r64()}, ${r64()}`],
    () => [`${arithmetic()} ${r32()}, ${r32()}`],
    () => [`${arithmetic()}q ${immediate()}, ${r64()}`],
    () => [`${arithmetic()} ${at()}, ${r64()}`],
    () => [`${arithmetic()} ${r32()}, ${at()}`],
    () => [`${arithmetic()} ${r8()}, ${r8()}`],
    () => [`mov ${r64()}, ${r64()}`],
    () => [`mov ${at()}, ${r64()}`],
    () => [`mov ${at()}, ${r32()}`],
    () => [`mov ${r64()}, ${at()}`],
    () => [`mov ${r8()}, ${at()}`],
    () => [`movl $${random(2 ** 31)}, ${r32()}`],
    () => [`movzbl ${at()}, ${r32()}`],
    () => [`movswq ${at()}, ${r64()}`],
    () => [`lea ${random(512)}(${r64()},${r64()},${pick([1, 2, 4, 8])}), ${r64()}`],
    () => [`${pick(['shl', 'shr', 'sar', 'rol', 'ror'])} $${1 + random(31)}, ${pick([r64, r32])()}`],
    () => [`imul ${r64()}, ${r64()}`],
    () => [`${pick(['inc', 'dec', 'neg', 'not'])} ${r64()}`],
    () => [`${pick(['bswap'])} ${r64()}`],
    () => [`xchg ${r64()}, ${r64()}`],
    () => [`push ${r64()}`, `pop ${r64()}`],
    () => [compare(), `set${cc()} ${r8()}`],
    () => [compare(), `cmov${cc()} ${r64()}, ${r64()}`],
    () => branch(),
    () => branch(),
    () => [`call mixed_leaf_${random(4)}`],
    () => [`movdqu ${at()}, %xmm${random(8)}`],
    () => [`${pick(['paddd', 'pxor', 'psubw', 'pand', 'pcmpeqb'])} %xmm${random(8)}, %xmm${random(8)}`],
  ];
  function branch(): string[] {
    const to = `.Lmixed${label++}`;
    const skipped = Array.from({ length: 1 + random(3) }, () => `${arithmetic()} ${r64()}, ${r64()}`);
    return [compare(), `j${cc()} ${to}`, ...skipped, `${to}:`];
  }

  const body: string[] = [];
  while (body.length < size) body.push(...pick(kinds)());
  // Every path below gives defined flags to what follows: the loop's own test comes last.
  return [
    '.text',
    ...Array.from({ length: 4 }, (_, i) => [
      `mixed_leaf_${i}:`,
      `add $${i + 1}, %rax`,
      `xor %rax, %r1${i}`,
      'ret',
    ]).flat(),
    '.globl loop_mixed',
    '.balign 64',
    'loop_mixed:',
    ...SAVED.map(register => `push %${register}`),
    ...REGISTERS_64.map((register, i) => `mov $${0x1234567 * (i + 1)}, %${register}`),
    ...Array.from({ length: 8 }, (_, i) => `pxor %xmm${i}, %xmm${i}`),
    '1:',
    ...body,
    'dec %rdi',
    'jnz 1b',
    ...REGISTERS_64.slice(1).map(register => `xor %${register}, %rax`),
    'movq %xmm3, %rcx',
    'xor %rcx, %rax',
    ...SAVED.toReversed().map(register => `pop %${register}`),
    'ret',
    '.section .note.GNU-stack, "", @progbits',
    '',
  ].join('\n');
}
