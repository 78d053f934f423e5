/** x86 floating point: what the CPU engine calls. See control.ts for how the parts share state. */
export * from './sse-binary';
export * from './sse-other';
export { farith, farithMem32, farithMem64, farithInt, fcom, ftst, fcomi, fxam, fsqrt, fchs, fabs, frndint, fscale, fxtract, fprem, fprem1 } from './x87-arith';
export * from './x87-functions';
export * from './x87-move';
export * from './x87-image';
