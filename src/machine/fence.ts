/**
 * A memory barrier, which JavaScript does not have. WebAssembly has: this is a module with one function, `atomic.fence` (threads proposal,
 * opcode fe 03). The compilers of both keep stores in their order, and so does x86. There it would wait for all stores that are under
 * way, which is much where memory is touched for the first time.
 */
import { keepsStoreOrder } from '../platform/node/store-order.ts';

const MODULE = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  // Types: no parameters, no results. One function of type 0, exported as "f".
  ...[0x01, 0x04, 0x01, 0x60, 0x00, 0x00],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00],
  // Its code: no locals, atomic.fence, end.
  ...[0x0a, 0x07, 0x01, 0x05, 0x00, 0xfe, 0x03, 0x00, 0x0b],
);

/** One that is code of this module; for tests, whatever the host. */
export const makeAtomicFence = (): (() => void) =>
  new WebAssembly.Instance(new WebAssembly.Module(MODULE)).exports.f as () => void;

/** What this thread has stored before, others see before what it stores from now on. */
export const fence: () => void = keepsStoreOrder ? () => {} : makeAtomicFence();
