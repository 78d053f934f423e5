/**
 * The hypercall page: 128 stubs of 32 bytes, one for each hypercall number, that a guest calls instead of knowing which
 * instruction enters the hypervisor. Older kernels ask for it by writing a guest-physical address to MSR 0x40000000.
 */
const STUB_BYTES = 32;
const PAGE_BYTES = 4096;
/** HYPERVISOR_iret only makes sense for PV guests. */
const HYPERCALL_IRET = 23;
const INT3 = 0xcc;
const RET = 0xc3;
const UD2 = [0x0f, 0x0b];
const VMMCALL = [0x0f, 0x01, 0xd9];
const MOV_EAX_IMMEDIATE = 0xb8;

export function hypercallPage(): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES).fill(INT3);
  for (let number = 0; number < PAGE_BYTES / STUB_BYTES; number++) {
    const stub = number === HYPERCALL_IRET ? UD2 : [MOV_EAX_IMMEDIATE, number, 0, 0, 0, ...VMMCALL, RET];
    page.set(stub, number * STUB_BYTES);
  }
  return page;
}
