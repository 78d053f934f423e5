/**
 * Functions of the runtime that none of the interpreter's usual handlers calls (isa/usual-forms.ts), nor the host: the build makes a module of
 * its own of them (dist/rare-runtime.wasm), whose 36 KB are read when a rare form or a region calls one of them. All that take or give
 * vectors are among them: for each such type V8 would compile a function that tells JavaScript that it cannot call it, in each thread.
 */
export const RARE_FUNCTIONS: ReadonlySet<string> = new Set(
  `
  aesenc aesenclast aesdec aesdeclast aesimc aeskeygenassist carrylessMultiply sumDifferenceWindows maskToVector
  addps addpd subps subpd mulps mulpd divps divpd minss minps minpd maxss maxps maxpd sqrtss sqrtps sqrtpd addsubps addsubpd
  fmass fmaps fmapd rcpss rcpps rsqrtss rsqrtps cmpss cmpps cmppd roundss roundps roundpd
  cvtss2si32 cvtss2si64 cvttss2si32 cvtsd2si32 cvtsd2si64 cvtps2dq cvttps2dq cvtpd2dq cvttpd2dq cvtps2pi cvttps2pi
  cvtdq2ps cvtpi2ps cvtpd2ps cvtps2pd cvtph2ps cvtps2ph
  farithInt fcom ftst fsqrt frndint fscale fxtract fprem fprem1 fnstenv fldenv fnsave frstor f2xm1 fyl2x fyl2xp1 fpatan
  fst32 fbld fbst fincstp fdecstp ffree fnclex fsin fcos fsincos fptan
  `
    .trim()
    .split(/\s+/),
);
