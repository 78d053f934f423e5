/**
 * Exports and imports of the runtime module with their WebAssembly types, for the code generator, which calls them
 * from other modules. A test compares this table with the real module. What each does is said where it is written,
 * in assembly/.
 */
export type ValueType = 'i32' | 'i64' | 'v128';
export interface Signature {
  readonly params: readonly ValueType[];
  readonly result: ValueType | null;
}

const signature = <R extends ValueType | null, P extends readonly ValueType[]>(result: R, ...params: P) => ({
  params,
  result,
});
const i32 = 'i32';
const i64 = 'i64';
const v128 = 'v128';

/** Functions whose first parameter is the address of the vCPU block, unless it says otherwise. */
export const runtimeExports = {
  // Memory. Addresses: 0 = exception pending. checkX and others that return i32: nonzero = exception pending.
  readSlow: signature(i32, i32, i64, i32),
  writeSlow: signature(i32, i32, i64, i32),
  modifySlow: signature(i32, i32, i64, i32),
  commit: signature(null, i32),
  stopOthers: signature(i32, i32),
  letOthersGoOn: signature(null, i32),
  checkRead: signature(i32, i32, i64, i32),
  checkWrite: signature(i32, i32, i64, i32),
  translate: signature(i32, i32, i64, i32, i32),
  selectTlb: signature(null, i32),
  tlbFlushAll: signature(null, i32),
  tlbFlushNonGlobal: signature(null, i32),
  tlbInvalidate: signature(null, i32, i64),
  /** Machine frame number. */
  flushFrame: signature(null, i32),
  /** Domain. */
  flushDomain: signature(null, i32),
  /** Address, number of entries, domain. */
  freezeEntries: signature(i32, i32, i32, i32),
  frozenOthers: signature(i32),

  // Code.
  lookup: signature(i32, i32),
  fetchAddress: signature(i32, i32, i64),
  /** Code page that reaches into the one behind it. */
  codeBehind: signature(i32, i32, i32),
  /** Record. */
  checkCrossing: signature(i32, i32, i32),
  /** Machine frame number. */
  markCode: signature(null, i32),
  /** Machine frame number, offset in it, size. */
  invalidateCode: signature(null, i32, i32, i32),
  /** No parameter. */
  discardCode: signature(null),
  makeRoom: signature(null),
  /** A region of the translator, which is not to be entered any more; with the code cache locked. */
  dropRegion: signature(null, i32),
  openRegion: signature(i32, i32, i32),

  // Flags and mode.
  getFlags: signature(i64, i32),
  setFlags: signature(null, i32, i64, i64),
  setSystemFlags: signature(null, i32, i32),
  updateMode: signature(null, i32),
  setCpl: signature(null, i32, i32),

  // Exceptions. deliver and singleStep: 0 or an exit reason (vcpu/exit.ts).
  deliver: signature(i32, i32),
  interrupt: signature(i32, i32, i32, i32),
  singleStep: signature(i32, i32),
  raiseSimd: signature(null, i32),

  // Segments and control transfer.
  loadSegment: signature(i32, i32, i32, i32),
  lldt: signature(i32, i32, i32),
  ltr: signature(i32, i32, i32),
  lar: signature(i32, i32, i32),
  lsl: signature(i32, i32, i32),
  verr: signature(i32, i32, i32),
  verw: signature(i32, i32, i32),
  farJump: signature(i32, i32, i32, i64, i32),
  farCall: signature(i32, i32, i32, i64, i32),
  farReturn: signature(i32, i32, i32, i32),
  iret: signature(i32, i32, i32),
  syscall: signature(i32, i32),
  sysret: signature(i32, i32, i32),
  sysenter: signature(i32, i32),
  sysexit: signature(i32, i32, i32),

  // Control, debug and model-specific registers.
  writeCr0: signature(i32, i32, i64),
  writeCr3: signature(i32, i32, i64),
  writeCr4: signature(i32, i32, i64),
  writeCr8: signature(i32, i32, i64),
  clts: signature(i32, i32),
  lmsw: signature(i32, i32, i32),
  readDr: signature(i32, i32, i32),
  writeDr: signature(i32, i32, i32, i64),
  xsetbv: signature(i32, i32),
  lgdt: signature(i32, i32, i64, i32),
  lidt: signature(i32, i32, i64, i32),
  invlpg: signature(i32, i32, i64),
  invpcid: signature(i32, i32, i64, i64),
  rdmsr: signature(i32, i32),
  wrmsr: signature(i32, i32),

  // Strings: 0 done, 1 exception pending, 2 more to do. XSAVE family.
  repMovs: signature(i32, i32, i32, i32, i32),
  repStos: signature(i32, i32, i32, i32),
  repCmps: signature(i32, i32, i32, i32, i32, i32),
  repScas: signature(i32, i32, i32, i32, i32),
  fxsave: signature(i32, i32, i64, i32),
  fxrstor: signature(i32, i32, i64, i32),
  xsave: signature(i32, i32, i64, i64, i32),
  xsaveopt: signature(i32, i32, i64, i64, i32),
  xsavec: signature(i32, i32, i64, i64, i32),
  xrstor: signature(i32, i32, i64, i64, i32),

  // Parts of plain instructions (divide, legacy, privilege). i32: nonzero = exception pending, or what the name asks.
  divideUnsigned128: signature(i32, i32, i64),
  divideSigned128: signature(i32, i32, i64),
  legacyAddress: signature(i32, i32, i64, i32),
  checkElement: signature(i32, i32, i32, i64, i32, i32),
  checkCode: signature(i32, i32, i64),
  pushLegacy: signature(i32, i32, i64, i32),
  peekLegacy: signature(i32, i32, i32, i32),
  addStackLegacy: signature(null, i32, i32),
  leaveLegacy: signature(i32, i32, i32),
  enterFrame: signature(i32, i32, i32, i32, i32),
  pushAll: signature(i32, i32, i32),
  popAll: signature(i32, i32, i32),
  checkVm86Iopl: signature(i32, i32),
  popFlags: signature(null, i32, i64, i32),
  setAlignmentCheck: signature(null, i32, i32),
  openInterruptWindow: signature(null, i32, i32),
  checkPort: signature(i32, i32, i32, i32),
  checkTsc: signature(i32, i32),
  checkFsgsbase: signature(i32, i32),
  xgetbv: signature(i32, i32),
  isControlRegister: signature(i32, i32, i32),
  readControl: signature(i64, i32, i32),
  writeControl: signature(i32, i32, i32, i64),

  // Vectors.
  aesenc: signature(v128, i32, v128, v128),
  aesenclast: signature(v128, i32, v128, v128),
  aesdec: signature(v128, i32, v128, v128),
  aesdeclast: signature(v128, i32, v128, v128),
  aesimc: signature(v128, i32, v128),
  aeskeygenassist: signature(v128, i32, v128, i32),
  carrylessMultiply: signature(v128, i32, v128, v128, i32),
  sumDifferenceWindows: signature(v128, i32, v128, v128, i32),
  checksum: signature(i32, i32, i32, i64, i32),
  compareImplicit: signature(i32, i32, i32),
  compareExplicit: signature(i32, i32, i32, i64, i64),
  maskToIndex: signature(i32, i32, i32, i32),
  maskToVector: signature(v128, i32, i32, i32),

  resetCpu: signature(null, i32),
  sipi: signature(null, i32, i32),
} as const satisfies Record<string, Signature>;

/** Module "host". */
export const runtimeImports = {
  decode: signature(i32, i32, i32, i32, i32),
  /** Guest frame, and whether only its instructions are wanted. */
  pageIn: signature(null, i32, i32, i32),
  mmioRead: signature(null, i32, i32, i32),
  mmioWrite: signature(null, i32, i32, i32),
  rdmsr: signature(i32, i32, i32),
  wrmsr: signature(i32, i32, i32),
} as const satisfies Record<string, Signature>;

type Value<T> = T extends 'i64' ? bigint : T extends 'i32' ? number : never;
// biome-ignore lint/suspicious/noConfusingVoidType: it is a function's result.
type Result<T> = T extends ValueType ? Value<T> : void;
type Values<P extends readonly ValueType[]> = { [K in keyof P]: Value<P[K]> };
type Callable<S extends Signature> = (...parameters: Values<S['params']>) => Result<S['result']>;
type Callables<T extends Record<string, Signature>> = { readonly [K in keyof T]: Callable<T[K]> };

export type RuntimeExports = Callables<typeof runtimeExports>;
export type RuntimeImports = Callables<typeof runtimeImports>;
