/** Moves to, from and between XMM registers (SDM vol. 1, 5.5.1, 5.6.1, 5.7), and the MMX moves among them (5.4.1). */
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import { type Operand, truncate, Vector } from './emitter.ts';
import { RDI } from './general-registers.ts';
import { checkPending, enterMmx, fromLow, MMX, pick, SSE } from './sse-common.ts';

const move: Semantics = (_x, destination, source) =>
  (destination as Operand).writeVector((source as Operand).readVector());
/** Integers or single lanes: nothing else of the destination changes. */
export const moveLane: Semantics = (_x, destination, source) =>
  (destination as Operand).write((source as Operand).read());
/** The rest of the register becomes zero. */
export const moveZeroing: Semantics = (_x, destination, source) => {
  const from = source as Operand;
  (destination as Operand).writeVector(fromLow(from.size, from.read()));
};
/** MOVSS and MOVSD: from memory the rest becomes zero, from a register it stays. */
const moveScalar: Semantics = (x, destination, source) =>
  (source as Operand).isMemory
    ? moveZeroing(x, destination as Operand, source as Operand)
    : moveLane(x, destination as Operand, source as Operand);
const storeQuad: Semantics = (x, destination, source) =>
  (destination as Operand).isMemory
    ? moveLane(x, destination as Operand, source as Operand)
    : moveZeroing(x, destination as Operand, source as Operand);

const loadHigh: Semantics = (_x, destination, source) => {
  const value = (source as Operand).read();
  const target = destination as Operand;
  target.writeVector(w.replaceLane('i64x2', target.readVector(), 1, value));
};
export const storeHigh: Semantics = (_x, destination, source) =>
  (destination as Operand).write(w.extractLane('i64x2', (source as Operand).readVector(), 1));
const highToLow: Semantics = (_x, destination, source) => {
  const target = destination as Operand;
  const b = (source as Operand).readVector();
  target.writeVector(pick(b, target.readVector(), i => (i < 8 ? i + 8 : i + 16)));
};
const lowToHigh: Semantics = (_x, destination, source) => {
  const target = destination as Operand;
  const b = (source as Operand).readVector();
  target.writeVector(pick(target.readVector(), b, i => (i < 8 ? i : i + 8)));
};
/** MOVDDUP, MOVSLDUP, MOVSHDUP: copies of lanes. */
export const duplicate =
  (lane: (i: number) => number): Semantics =>
  (_x, destination, source) => {
    const value = (source as Operand).readVector();
    (destination as Operand).writeVector(pick(value, value, lane));
  };

// ---- MMX ----

const mmxLoad: Semantics = (x, destination, source) => {
  checkPending(x);
  const value = x.let(w.extendU((source as Operand).read()));
  enterMmx(x);
  (destination as Operand).write(value);
};
const mmxStore: Semantics = (x, destination, source) => {
  checkPending(x);
  const target = destination as Operand;
  const value = (source as Operand).read();
  target.write(target.size === 8 ? value : w.wrap(value));
  enterMmx(x);
};
const mmxToXmm: Semantics = (x, destination, source) => {
  checkPending(x);
  enterMmx(x);
  moveZeroing(x, destination as Operand, source as Operand);
};
const xmmToMmx: Semantics = (x, destination, source) => {
  checkPending(x);
  enterMmx(x);
  (destination as Operand).write((source as Operand).read());
};
const emptyMmx: Semantics = x => {
  checkPending(x);
  enterMmx(x);
  x.setField('ftw', w.i32(0xffff));
};

/** MASKMOVDQU, MASKMOVQ: bytes of the first operand to DS:rDI where the second has its sign bits. */
export const storeMasked: Semantics = (x, source, mask) => {
  const { size } = source as Operand;
  if (size === 8) checkPending(x);
  const value = (source as Operand).readVector();
  const chosen = x.let(w.simd('i8x16.shr_s', (mask as Operand).readVector(), w.i32(7)));
  const offset = x.let(w.extendU(truncate(x.addressSize, x.register(RDI, x.addressSize).read())));
  x.checkSegment(offset, size, true);
  const address = x.let(x.linear(w.add(offset, x.segmentBase())));
  // The bytes that are not chosen are written back as they were.
  x.requireAlone();
  x.if(w.simd('v128.any_true', chosen), () =>
    x.modifiable(address, size, host => {
      const old = size === 16 ? w.loadV128(host) : w.loadZeroExtended(8, host);
      const result = x.let(w.simd('v128.bitselect', value, old, chosen));
      x.code.store(size, host, size === 16 ? result : w.extractLane('i64x2', result, 0));
    }),
  );
  if (size === 8) enterMmx(x);
};

export const loadControl: Semantics = (x, source) => {
  const value = (source as Operand).read();
  x.raiseIf(w.shrU(value, w.i32(16)), Vector.GP, w.i32(0));
  x.loadMxcsr(value);
};
export const storeControl: Semantics = (x, destination) =>
  (destination as Operand).write(x.let(x.field('mxcsr')));

const UNALIGNED = { ...SSE, unaligned: true };

export const sseMoves: Definition[] = [
  define('movups', 'NP 0F 10 /r', 'Vx Wx', move, UNALIGNED),
  define('movups', 'NP 0F 11 /r', 'Wx Vx', move, UNALIGNED),
  define('movupd', '66 0F 10 /r', 'Vx Wx', move, UNALIGNED),
  define('movupd', '66 0F 11 /r', 'Wx Vx', move, UNALIGNED),
  define('movss', 'F3 0F 10 /r', 'Vd Wd', moveScalar, SSE),
  define('movss', 'F3 0F 11 /r', 'Wd Vd', moveLane, SSE),
  define('movsd', 'F2 0F 10 /r', 'Vq Wq', moveScalar, SSE),
  define('movsd', 'F2 0F 11 /r', 'Wq Vq', moveLane, SSE),
  define('movlps', 'NP 0F 12 /r', 'Vq Mq', moveLane, SSE),
  define('movhlps', 'NP 0F 12 /r', 'Vx Ux', highToLow, SSE),
  define('movlpd', '66 0F 12 /r', 'Vq Mq', moveLane, SSE),
  define(
    'movddup',
    'F2 0F 12 /r',
    'Vx Wq',
    duplicate(i => i & 7),
    SSE,
  ),
  define(
    'movsldup',
    'F3 0F 12 /r',
    'Vx Wx',
    duplicate(i => i & 11),
    SSE,
  ),
  define('movlps', 'NP 0F 13 /r', 'Mq Vq', moveLane, SSE),
  define('movlpd', '66 0F 13 /r', 'Mq Vq', moveLane, SSE),
  define('movhps', 'NP 0F 16 /r', 'Vx Mq', loadHigh, SSE),
  define('movlhps', 'NP 0F 16 /r', 'Vx Ux', lowToHigh, SSE),
  define('movhpd', '66 0F 16 /r', 'Vx Mq', loadHigh, SSE),
  define(
    'movshdup',
    'F3 0F 16 /r',
    'Vx Wx',
    duplicate(i => i | 4),
    SSE,
  ),
  define('movhps', 'NP 0F 17 /r', 'Mq Vx', storeHigh, SSE),
  define('movhpd', '66 0F 17 /r', 'Mq Vx', storeHigh, SSE),
  define('movaps', 'NP 0F 28 /r', 'Vx Wx', move, SSE),
  define('movaps', 'NP 0F 29 /r', 'Wx Vx', move, SSE),
  define('movapd', '66 0F 28 /r', 'Vx Wx', move, SSE),
  define('movapd', '66 0F 29 /r', 'Wx Vx', move, SSE),
  define('movntps', 'NP 0F 2B /r', 'Mx Vx', move, SSE),
  define('movntpd', '66 0F 2B /r', 'Mx Vx', move, SSE),
  define('movd', 'NP 0F 6E /r', 'Pq Ey', mmxLoad, MMX),
  define('movd', '66 0F 6E /r', 'Vx Ey', moveZeroing, SSE),
  define('movq', 'NP 0F 6F /r', 'Pq Qq', mmxLoad, MMX),
  define('movdqa', '66 0F 6F /r', 'Vx Wx', move, SSE),
  define('movdqu', 'F3 0F 6F /r', 'Vx Wx', move, UNALIGNED),
  define('emms', 'NP 0F 77', '', emptyMmx, MMX),
  define('movd', 'NP 0F 7E /r', 'Ey Pq', mmxStore, MMX),
  define('movd', '66 0F 7E /r', 'Ey Vy', moveLane, SSE),
  define('movq', 'F3 0F 7E /r', 'Vx Wq', moveZeroing, SSE),
  define('movq', 'NP 0F 7F /r', 'Qq Pq', mmxStore, MMX),
  define('movdqa', '66 0F 7F /r', 'Wx Vx', move, SSE),
  define('movdqu', 'F3 0F 7F /r', 'Wx Vx', move, UNALIGNED),
  define('ldmxcsr', 'NP 0F AE /2', 'Md', loadControl, SSE),
  define('stmxcsr', 'NP 0F AE /3', 'Md', storeControl, SSE),
  define('movq', '66 0F D6 /r', 'Wq Vq', storeQuad, SSE),
  define('movdq2q', 'F2 0F D6 /r', 'Pq Uq', xmmToMmx, SSE),
  define('movq2dq', 'F3 0F D6 /r', 'Vx Nq', mmxToXmm, SSE),
  define('movntq', 'NP 0F E7 /r', 'Mq Pq', mmxStore, MMX),
  define('movntdq', '66 0F E7 /r', 'Mx Vx', move, SSE),
  define('lddqu', 'F2 0F F0 /r', 'Vx Mx', move, UNALIGNED),
  define('maskmovq', 'NP 0F F7 /r', 'Pq Nq', storeMasked, { ...MMX, addressSized: true, modal: true }),
  define('maskmovdqu', '66 0F F7 /r', 'Vx Ux', storeMasked, { ...SSE, addressSized: true, modal: true }),
];
