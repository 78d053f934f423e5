/**
 * The translator against the interpreter, its oracle: programs run on both, in slices of few and of many instructions, and
 * after each slice everything must be equal. `DOMUS_TEST_FULL=1` runs many more programs; `DOMUS_LOCKSTEP_SEED` one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { analyse } from '../oracle/analysis.ts';
import { icedForms } from '../oracle/iced-forms.ts';
import type { Random } from '../oracle/random.ts';
import { Assembler, type Label } from './assembler.ts';
import { type LockstepOptions, lockstep } from './lockstep.ts';
import { CODE, CODE_PAGES, DATA_PAGES, PAGE, type Program } from './machine.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
const only = process.env.DOMUS_LOCKSTEP_SEED;
/** Programs of each kind. */
const SEEDS = isFull ? 600 : 12;

const equal = (options: LockstepOptions) => {
  const result = lockstep(options);
  if (result.difference !== undefined) assert.fail(result.difference);
  return result;
};

const KINDS: [name: string, options: Omit<LockstepOptions, 'seed'>][] = [
  ['programs that leave their code alone', { instructions: 40_000, changesCode: false }],
  ['programs that change, alias and remap their code', { instructions: 40_000, changesCode: true }],
  [
    'programs in a code cache that overflows',
    { instructions: 20_000, changesCode: true, codeCacheBytes: 256 << 10 },
  ],
  [
    'programs of which only the hottest places are translated',
    { instructions: 60_000, changesCode: true, hotJumps: 60 },
  ],
];
/** Any form of any instruction that works on registers alone, as the oracle of single instructions draws them. */
const BASES = new Set([3, 4, 12, 14, 15]);
const EXCLUDED =
  /^(j|loop|call|ret|iret|int|sys|hlt|popf|push|pop|enter|leave|in|out|rd|wr|xchg|xadd|cmpxchg|ud|std|xbegin)/;
const usable = (bytes: Uint8Array): boolean => {
  const analysis = analyse(bytes, 64, 0n);
  if (!analysis || analysis.privileged || analysis.hasMemoryOperand || analysis.memory.length > 0)
    return false;
  return !BASES.has(analysis.register0) && !EXCLUDED.test(analysis.mnemonic);
};
const anyInstruction = (random: Random): Uint8Array => {
  for (;;) {
    const form = random.pick(icedForms());
    const bytes = form.modes.includes(64) ? form.generate(random, 64)?.code : undefined;
    if (bytes && usable(bytes)) return bytes;
  }
};
KINDS.push([
  'programs with instructions of all kinds',
  { instructions: 40_000, changesCode: false, instruction: anyInstruction },
]);

KINDS.forEach(([name, options], kind) => {
  test(name, () => {
    const total = { regions: 0, dropped: 0, faults: 0 };
    for (let n = 0; n < SEEDS; n++) {
      const seed = kind * 10_000 + n + 1;
      if (only !== undefined && Number(only) !== seed) continue;
      const { regions, dropped, faults } = equal({ seed, ...options });
      total.regions += regions;
      total.dropped += dropped;
      total.faults += faults;
    }
    if (only !== undefined) return;
    // The comparison means something: code was translated, and faulted, and was changed under the regions.
    assert.ok(total.regions > SEEDS * 3, `${total.regions} regions`);
    assert.ok(total.faults > SEEDS * 50, `${total.faults} faults`);
    if (options.changesCode) assert.ok(total.dropped > SEEDS / 4, `${total.dropped} regions taken back`);
  });
});

/**
 * A program for one purpose; it begins with `write` at CODE, which is a loop. What is to be seen must add up: the end of
 * a slice is always the interpreter's.
 */
function programOf(write: (code: Assembler, start: Label) => void): Program {
  const code = new Assembler(CODE, CODE_PAGES * PAGE);
  const start = code.here();
  write(code, start);
  code.jump(start);
  const data = new Uint8Array((DATA_PAGES + 2) * PAGE).map((_, i) => (i * 7919) >> 3);
  return { code: code.finish(), otherCode: new Uint8Array(PAGE), data, entries: [start.address as number] };
}
const same = (name: string, write: (code: Assembler, start: Label) => void) =>
  test(name, () => {
    for (let seed = 1; seed <= 3; seed++) {
      const { regions } = equal({ seed, instructions: 8000, changesCode: false, program: programOf(write) });
      assert.ok(regions > 0);
    }
  });

same('vectors survive a handler that does not come back to its region', code => {
  code.op({ prefix: 0x66 }, [0x0f, 0x76], 3, 3); // pcmpeqd xmm3, xmm3
  code.op({ prefix: 0x66 }, [0x0f, 0xfa], 2, 3); // psubd xmm2, xmm3
  code.bytes(0xb9, 9, 0, 0, 0); // mov ecx, 9
  code.op({ wide: true }, [0x8d], 6, { base: 3 }); // lea rsi, [rbx]
  code.bytes(0xf3, 0xac); // rep lodsb
});

same('handlers see all of an immediate where a region begins: nested ENTER', code => {
  code.op({ wide: true }, [0x8d], 5, { base: 4, displacement: -64 }); // lea rbp, [rsp-64]
  const loop = code.here();
  code.bytes(0xc8, 16, 0, 3); // enter 16, 3
  code.op({ wide: true }, [0x01], 4, { base: 3, displacement: 512 }); // add [rbx+512], rsp
  code.bytes(0xc9); // leave
  code.op({}, [0xff], 1, 1); // dec ecx
  code.jumpIf(5, loop);
  code.bytes(0xb9, 9, 0, 0, 0); // mov ecx, 9
});

same('handlers see all of an immediate where a region begins: the second source of VEX', code => {
  code.op({ prefix: 0x66 }, [0x0f, 0xef], 2, 2); // pxor xmm2, xmm2
  const loop = code.here();
  code.bytes(0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x93); // vpgatherdd xmm1, [rbx+xmm2*4], xmm3
  code.op({ prefix: 0x66 }, [0x0f, 0xfe], 4, 1); // paddd xmm4, xmm1
  code.op({ prefix: 0x66 }, [0x0f, 0x76], 3, 3); // pcmpeqd xmm3, xmm3
  code.op({ prefix: 0x66 }, [0x0f, 0xfa], 2, 3); // psubd xmm2, xmm3
  code.op({}, [0xff], 1, 1); // dec ecx
  code.jumpIf(5, loop);
  code.bytes(0xb9, 9, 0, 0, 0); // mov ecx, 9
});

same('a store changes the instruction behind it, in the same block', code => {
  const loop = code.here();
  const number = code.label();
  code.op({}, [0xff], 0, { label: number }); // inc dword [number]
  code.bytes(0x81, 0xc2); // add edx, number
  code.bind(number);
  code.u32(5);
  code.op({}, [0xff], 1, 1); // dec ecx
  code.jumpIf(5, loop);
  code.bytes(0xb9, 9, 0, 0, 0); // mov ecx, 9
});

same('exceptions of SSE are unmasked and masked again in a loop', code => {
  code.op({ prefix: 0x66 }, [0x0f, 0xef], 0, 0); // pxor xmm0, xmm0
  const loop = code.here();
  code.op({}, [0x0f, 0xae], 3, { base: 3 }); // stmxcsr [rbx]
  code.op({}, [0x81], 6, { base: 3 }); // xor dword [rbx], ZM
  code.u32(0x200);
  code.op({}, [0x0f, 0xae], 2, { base: 3 }); // ldmxcsr [rbx]
  code.op({ prefix: 0xf2 }, [0x0f, 0x2a], 1, 1); // cvtsi2sd xmm1, ecx
  code.op({ prefix: 0xf2 }, [0x0f, 0x58], 2, 1); // addsd xmm2, xmm1
  code.op({ prefix: 0xf2 }, [0x0f, 0x5e], 1, 0); // divsd xmm1, xmm0
  code.op({}, [0xff], 1, 1); // dec ecx
  code.jumpIf(5, loop);
  code.bytes(0xb9, 9, 0, 0, 0); // mov ecx, 9
});

same('stores beside code, and over what has become code since', code => {
  const loop = code.here();
  const data = code.label();
  code.op({ wide: true }, [0x8d], 7, { label: data }); // lea rdi, [data]
  code.op({ wide: true }, [0x8d], 0, { base: 7, displacement: 128 }); // lea rax, [rdi+128]
  code.op({}, [0xff], 0, { base: 7 }); // inc dword [rdi]
  code.op({ wide: true }, [0x01], 1, { base: 7, displacement: 60 }); // add [rdi+60], rcx
  code.op({}, [0xc6], 0, { base: 0 }); // mov byte [rax], RET
  code.bytes(0xc3);
  code.bytes(0xff, 0xd0); // call rax
  code.op({}, [0xc6], 0, { base: 0, displacement: 1 }); // mov byte [rax+1], RET
  code.bytes(0xc3);
  code.op({}, [0xc6], 0, { base: 0 }); // mov byte [rax], NOP
  code.bytes(0x90);
  code.bytes(0xff, 0xd0); // call rax
  code.op({ wide: true }, [0xff], 0, { base: 0, displacement: -4 }); // inc qword [rax-4]
  code.op({}, [0xff], 0, { base: 0, displacement: -8 }); // inc dword [rax-8]
  code.op({ wide: true }, [0x01], 7, { base: 3 }); // add [rbx], rdi
  code.op({}, [0xff], 1, 1); // dec ecx
  code.jumpIf(5, loop);
  code.bytes(0xb9, 9, 0, 0, 0); // mov ecx, 9
  const end = code.label();
  code.jump(end);
  code.bind(data);
  for (let i = 0; i < 48; i++) code.u32(0);
  code.bind(end);
});
