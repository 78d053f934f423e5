/**
 * Machine memory: the one shared WebAssembly memory that holds everything a guest or the hypervisor can see.
 *
 *     0x0000_0000  never used: address 0 means "none" or "fault" everywhere
 *     0x0001_0000  static data of the runtime module (the AssemblyScript side)
 *     0x0010_0000  frame table, one entry for every 4 KiB frame
 *     after it     frames: vCPU blocks, p2m tables, code cache and guest memory, all from the frame allocator
 *
 * A machine address is an index into this memory; frame number `mfn` starts at `mfn << 12`.
 */
import { DomusError } from '../base/errors.ts';

export const RUNTIME_DATA_BASE = 0x1_0000;
export const FRAME_TABLE_BASE = 0x10_0000;
const WASM_PAGE = 65536;
/** A 32-bit memory cannot be larger. */
export const MACHINE_BYTES_MAX = 2 ** 32;

/** Views over the one memory. They stay valid for its whole life: machine memory never grows. */
export interface MachineMemory {
  readonly wasm: WebAssembly.Memory;
  readonly sizeBytes: number;
  readonly view: DataView;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
}

/** As `reserveMemory` does. */
export const createMachineMemory = (sizeBytes: number): MachineMemory =>
  viewMachineMemory(reserveMemory(Math.min(sizeBytes, MACHINE_BYTES_MAX)));

/**
 * Memory that threads can share, all zeros. The operating system commits pages as they are touched, so a large size costs little: that is
 * so of a WebAssembly memory, not of each SharedArrayBuffer, and those that can grow are slow.
 * @throws DomusError E_HOST_MEMORY when the host refuses the reservation.
 */
export function reserveMemory(sizeBytes: number): WebAssembly.Memory {
  const pages = Math.ceil(sizeBytes / WASM_PAGE);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new DomusError(
      'E_HOST_MEMORY',
      `the host refused ${Math.ceil((pages * WASM_PAGE) / 2 ** 20)} MiB of machine memory`,
      'give the guest less memory with --memory, or raise the address space limit (ulimit -v)',
      { cause },
    );
  }
}

/** Views over a memory that another thread has made. */
export function viewMachineMemory(wasm: WebAssembly.Memory): MachineMemory {
  const { buffer } = wasm;
  return {
    wasm,
    sizeBytes: buffer.byteLength,
    view: new DataView(buffer),
    u8: new Uint8Array(buffer),
    u16: new Uint16Array(buffer),
    u32: new Uint32Array(buffer),
    i32: new Int32Array(buffer),
  };
}
