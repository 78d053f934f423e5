/*
 * Entry of the 32-bit test kernel, and the one mechanism every case uses: `run_state` starts code in any segment and
 * privilege (virtual-8086 mode too) by IRET from `in`, `run_real` starts it in real-address mode; whatever interrupt or
 * exception comes first ends it, with all registers in `out`. Offsets are those of `struct state` in kernel32.h.
 */
    .set KCODE, 0x08
    .set KDATA, 0x10
    .set REAL_CODE, 0x38
    .set REAL_DATA, 0x40
    .set LOW, 0x8000             /* where the real-mode part is copied to */
    .set LOW_STATE, 0x7000       /* `struct state` before, and after at +0x100 */

    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, 18
    .asciz "Xen"
    .long start32

    .text
    .code32
    .globl start32
start32:
    cli
    cld
    mov $boot_stack_top, %esp
    mov $0x600, %eax             /* OSFXSR, OSXMMEXCPT */
    mov %eax, %cr4
    mov $0x10033, %eax           /* WP, NE, MP, PE */
    mov %eax, %cr0
    lgdt boot_gdtr
    ljmp $KCODE, $1f
1:  mov $KDATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $0xff, %al
    out %al, $0x21
    out %al, $0xa1
    call main
    xor %eax, %eax
    mov $0xf4, %dx
    out %al, %dx
    cli
1:  hlt
    jmp 1b

    /* void run_state(void) */
    .globl run_state
run_state:
    push %ebp
    push %ebx
    push %esi
    push %edi
    mov %esp, saved_esp
    testl $0x20000, in + 40
    jnz 2f
    mov in + 56, %eax
    mov %eax, %fs
    mov in + 60, %eax
    mov %eax, %gs
    mov in + 52, %eax
    mov %eax, %es
    testl $3, in + 36
    jnz 3f
    mov in + 44, %eax
    mov in + 16, %ecx
    mov %eax, %ss
    mov %ecx, %esp
    jmp 4f
2:  pushl in + 60
    pushl in + 56
    pushl in + 48
    pushl in + 52
3:  pushl in + 44                /* SS */
    pushl in + 16                /* ESP */
4:  pushl in + 40                /* EFLAGS */
    pushl in + 36                /* CS */
    pushl in + 32                /* EIP */
    mov in + 4, %ecx
    mov in + 8, %edx
    mov in + 12, %ebx
    mov in + 20, %ebp
    mov in + 24, %esi
    mov in + 28, %edi
    mov $KDATA, %eax
    testl $0x20000, in + 40
    jnz 5f
    mov in + 48, %eax
5:  mov %eax, %ds
    mov %cs:in, %eax
    iret

    .macro stub n
    .align 16
    .if (\n == 8) || (\n >= 10 && \n <= 14) || (\n == 17) || (\n == 21)
    .else
    push $-1
    .endif
    pushl $\n
    jmp common
    .endm
    .macro stub16 n
    .align 16
    pushl $\n
    .if (\n == 8) || (\n >= 10 && \n <= 14) || (\n == 17) || (\n == 21)
    jmp common16e
    .else
    jmp common16
    .endif
    .endm
    .macro all_stubs kind
    .altmacro
    .set vector, 0
    .rept 256
    \kind %vector
    .set vector, vector + 1
    .endr
    .noaltmacro
    .endm
    .align 16
    .globl stubs, stubs16
stubs:
    all_stubs stub
stubs16:
    all_stubs stub16

    .macro save_registers
    push %eax
    push %ds
    mov $KDATA, %eax
    mov %eax, %ds
    mov %ecx, out + 4
    mov %edx, out + 8
    mov %ebx, out + 12
    mov %ebp, out + 20
    mov %esi, out + 24
    mov %edi, out + 28
    pop %eax
    movzwl %ax, %eax
    mov %eax, out + 48
    pop %eax
    mov %eax, out
    mov %es, %eax
    mov %eax, out + 52
    mov %fs, %eax
    mov %eax, out + 56
    mov %gs, %eax
    mov %eax, out + 60
    mov %ss, %eax
    mov %eax, out + 64
    mov %eax, out + 44
    mov %cs, %eax
    mov %eax, out + 68
    pushf
    pop %eax
    mov %eax, out + 72
    pop %eax
    mov %eax, out + 76
    .endm
common:
    save_registers
    pop %eax
    mov %eax, out + 80
    mov %esp, out + 84
    pop %eax
    mov %eax, out + 32
    pop %eax
    movzwl %ax, %eax
    mov %eax, out + 36
    pop %eax
    mov %eax, out + 40
    movl $4, out + 96
    testl $0x20000, out + 40
    jnz 1f
    mov out + 36, %eax
    xor out + 68, %eax
    test $3, %eax
    jz 2f
1:  pop %ecx
    pop %eax
    movzwl %ax, %eax
    mov %eax, out + 44
    testl $0x20000, out + 40
    jz 3f
    pop %eax
    movzwl %ax, %eax
    mov %eax, out + 52
    pop %eax
    movzwl %ax, %eax
    mov %eax, out + 48
    pop %eax
    movzwl %ax, %eax
    mov %eax, out + 56
    pop %eax
    movzwl %ax, %eax
    mov %eax, out + 60
3:  mov %ecx, %esp
2:  mov %esp, out + 16
    jmp back

common16:
    save_registers
    movl $-1, out + 80
    jmp 1f
common16e:
    save_registers
    xor %eax, %eax
    popw %ax
    mov %eax, out + 80
1:  mov %esp, out + 84
    xor %eax, %eax
    popw %ax
    mov %eax, out + 32
    popw %ax
    mov %eax, out + 36
    popw %ax
    mov %eax, out + 40
    movl $2, out + 96
    mov out + 36, %eax
    xor out + 68, %eax
    mov %esp, %ecx
    test $3, %eax
    jz 2f
    xor %ecx, %ecx
    popw %cx
    xor %eax, %eax
    popw %ax
    mov %eax, out + 44
2:  mov %ecx, out + 16

back:
    mov %cr2, %eax
    mov %eax, out + 88
    mov %dr6, %eax
    mov %eax, out + 92
    ljmp $KCODE, $1f
1:  mov $KDATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov saved_esp, %esp
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    push $2
    popf
    pop %edi
    pop %esi
    pop %ebx
    pop %ebp
    ret

    /* void run_real(void): by way of a 16-bit segment, with `in` and `out` in low memory */
    .globl run_real
run_real:
    push %ebp
    push %ebx
    push %esi
    push %edi
    mov %esp, saved_esp
    mov %cr0, %eax
    mov %eax, saved_cr0
    and $0x7fffffff, %eax
    mov %eax, %cr0
    xor %eax, %eax
    mov %eax, %cr3
    lidt real_idtr
    mov real_data_selector, %ecx
    ljmp $REAL_CODE, $LOW + to_real - low_part
back32:
    mov $KDATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov saved_esp, %esp
    lidt idtr
    mov real_cr3, %eax
    mov %eax, %cr3
    mov saved_cr0, %eax
    mov %eax, %cr0
    push $2
    popf
    pop %edi
    pop %esi
    pop %ebx
    pop %ebp
    ret

    .globl low_part, low_part_end, real_stubs
    .align 16
low_part:
    .code16
to_real:
    mov %cx, %ds
    mov %cx, %es
    mov %cx, %fs
    mov %cx, %gs
    mov $REAL_DATA, %cx
    mov %cx, %ss
    mov %cr0, %eax
    and $~1, %al
    mov %eax, %cr0
    ljmp $0, $LOW + 1f - low_part
1:  xor %ax, %ax
    mov %ax, %ds
    mov LOW_STATE + 56, %ax
    mov %ax, %fs
    mov LOW_STATE + 60, %ax
    mov %ax, %gs
    mov LOW_STATE + 52, %ax
    mov %ax, %es
    mov LOW_STATE + 44, %ax
    mov %ax, %ss
    mov LOW_STATE + 16, %esp
    pushw LOW_STATE + 40
    pushw LOW_STATE + 36
    pushw LOW_STATE + 32
    mov LOW_STATE + 4, %ecx
    mov LOW_STATE + 8, %edx
    mov LOW_STATE + 12, %ebx
    mov LOW_STATE + 20, %ebp
    mov LOW_STATE + 24, %esi
    mov LOW_STATE + 28, %edi
    pushl LOW_STATE
    mov LOW_STATE + 48, %ax
    mov %ax, %ds
    pop %eax
    iretw

    .macro real_stub n
    .align 8
    pushw $\n
    jmp real_common
    .endm
    .align 8
real_stubs:
    all_stubs real_stub

    .set OUT, LOW_STATE + 0x100
real_common:
    pushw %ds
    pushl %eax
    xor %ax, %ax
    mov %ax, %ds
    pop %eax
    mov %eax, OUT
    xor %eax, %eax
    pop %ax
    mov %eax, OUT + 48
    mov %ecx, OUT + 4
    mov %edx, OUT + 8
    mov %ebx, OUT + 12
    mov %ebp, OUT + 20
    mov %esi, OUT + 24
    mov %edi, OUT + 28
    mov %es, %ax
    mov %eax, OUT + 52
    mov %fs, %ax
    mov %eax, OUT + 56
    mov %gs, %ax
    mov %eax, OUT + 60
    mov %ss, %ax
    mov %eax, OUT + 44
    mov %eax, OUT + 64
    mov %cs, %ax
    mov %eax, OUT + 68
    pushf
    pop %ax
    mov %eax, OUT + 72
    pop %ax
    mov %eax, OUT + 76
    mov %esp, OUT + 84
    pop %ax
    mov %eax, OUT + 32
    pop %ax
    mov %eax, OUT + 36
    pop %ax
    mov %eax, OUT + 40
    mov %esp, OUT + 16
    movl $-1, OUT + 80
    movl $0, OUT + 88
    mov %dr6, %eax
    mov %eax, OUT + 92
    movl $2, OUT + 96
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $KCODE, $back32
low_part_end:
    .code32

    .data
    .align 8
boot_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
    .word 23
    .long boot_gdt
    .align 4
    .globl real_idtr, real_data_selector, real_cr3
    .word 0
real_idtr:
    .word 0x3ff
    .long 0
real_data_selector:
    .long REAL_DATA
real_cr3:
    .long 0

    .bss
    .align 16
    .skip 16384
boot_stack_top:
saved_esp: .skip 4
saved_cr0: .skip 4
