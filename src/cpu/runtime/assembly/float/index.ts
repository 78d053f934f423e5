/** x86 floating point: what the CPU engine calls. See control.ts for how the parts share state. */
export * from './sse-arithmetic';
export * from './sse-compare';
export * from './sse-convert';
export {
  fabs,
  farith,
  farithInt,
  farithMem32,
  farithMem64,
  fchs,
  fcom,
  fcomi,
  fprem,
  fprem1,
  frndint,
  fscale,
  fsqrt,
  ftst,
  fxam,
  fxtract,
} from './x87-arith';
export { fldenv, fnsave, fnstenv, frstor } from './x87-image';
export * from './x87-log';
export * from './x87-move';
export * from './x87-trig';
