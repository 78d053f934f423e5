/** What the runtime does not implement: values of `Vcpu.exitInfo` with Exit.unsupported, apart from forms. */

/** Hardware task switch (task gate, far jump or call to a TSS, IRET with NT). */
export const UNSUPPORTED_TASK_SWITCH: i32 = 0x10001;
/** The segment of a far transfer to virtual-8086 mode or from it needs VME. */
export const UNSUPPORTED_VM86: i32 = 0x10002;
