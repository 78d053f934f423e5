/** Why the CPU engine gave control back (`Vcpu.exitReason`), and what `Vcpu.exitInfo` means then. */
export const Exit = {
  /** The slice's fuel is used up. */
  fuel: 0,
  /** HLT executed; `rip` is after it. The vCPU sleeps until an interrupt arrives. */
  halt: 1,
  /** VMCALL or VMMCALL; `rip` is after it. The hypervisor does what rax asks and stores the result in rax. */
  hypercall: 2,
  /** Fault while delivering a double fault: the processor shuts down. */
  tripleFault: 3,
  /** Interrupts have just been enabled, or CR8 lowered: look whether one is waiting. */
  interruptWindow: 4,
  /** PAUSE in a spin loop: a good moment to run another vCPU. */
  pause: 5,
  /** A breakpoint of the debugger was reached, before the instruction at `rip` ran. */
  breakpoint: 6,
  /** Domus does not implement what comes; `exitInfo` is the form of an instruction, or a value of `Unsupported`. */
  unsupported: 7,
  /** `Vcpu.kick` was set; the instruction at `rip` has not run. */
  kick: 8,
  /** The instruction at `rip` (or the fetch of it) must be executed while no other vCPU of the machine does. */
  exclusive: 9,
} as const;

/** What is not implemented apart from forms of instructions, and cannot be taken for one. The domain is crashed. */
export const Unsupported = {
  /** Hardware task switch: through a task gate, by a far jump or call to a TSS, by IRET with NT set. */
  taskSwitch: 0x10001,
} as const;
