/*
 * Entry of the 64-bit test kernel, and the one mechanism every case uses: `run_state` starts code in any mode and
 * privilege by IRETQ from `in`; whatever interrupt or exception comes first ends it, with all registers in `out`.
 */
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
    call map32
    mov %cr4, %eax
    or $0x620, %eax              /* PAE, OSFXSR, OSXMMEXCPT */
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x901, %eax              /* SCE, LME, NXE */
    wrmsr
    mov %cr0, %eax
    and $~0xe, %eax              /* TS, EM, MP */
    or $0x80010022, %eax         /* PG, WP, NE, MP */
    mov %eax, %cr0
    lgdt boot_gdtr
    ljmp $8, $start64

    /* Identity map of the first 64 MiB, the same for users at 1 GiB, devices at 0xfec00000. */
map32:
    movl $pdpt + 7, pml4
    movl $pd_low + 7, pdpt
    movl $pd_user + 7, pdpt + 8
    movl $pd_high + 7, pdpt + 24
    xor %ecx, %ecx
1:  mov %ecx, %eax
    shl $21, %eax
    or $0x83, %eax
    mov %eax, pd_low(,%ecx,8)
    or $4, %eax
    mov %eax, pd_user(,%ecx,8)
    inc %ecx
    cmp $32, %ecx
    jb 1b
    movl $0xfec00093, pd_high + 8 * 0x1f6
    movl $0xfee00093, pd_high + 8 * 0x1f7
    ret

    .code64
start64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    lgdt gdtr
    lidt idtr
    mov $boot_stack_top, %rsp
    mov $0xff, %al
    out %al, $0x21
    out %al, $0xa1
    call main
    .globl power_off
power_off:
    xor %eax, %eax
    mov $0xf4, %dx
    out %al, %dx
    cli
1:  hlt
    jmp 1b

    /* void run_state(void) */
    .globl run_state
run_state:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, saved_rsp
    mov in + 160, %eax
    mov %eax, %ds
    mov in + 168, %eax
    mov %eax, %es
    pushq in + 152               /* SS */
    pushq in + 32                /* RSP */
    pushq in + 144               /* RFLAGS */
    pushq in + 136               /* CS */
    pushq in + 128               /* RIP */
    mov in + 0, %rax
    mov in + 8, %rcx
    mov in + 16, %rdx
    mov in + 24, %rbx
    mov in + 40, %rbp
    mov in + 48, %rsi
    mov in + 56, %rdi
    mov in + 64, %r8
    mov in + 72, %r9
    mov in + 80, %r10
    mov in + 88, %r11
    mov in + 96, %r12
    mov in + 104, %r13
    mov in + 112, %r14
    mov in + 120, %r15
    .globl run_iretq
run_iretq:
    iretq

    .macro stub n
    .align 16
    .if (\n == 8) || (\n >= 10 && \n <= 14) || (\n == 17) || (\n == 21)
    .else
    push $-1
    .endif
    pushq $\n
    jmp common
    .endm
    .align 16
    .globl stubs
stubs:
    .altmacro
    .set vector, 0
    .rept 256
    stub %vector
    .set vector, vector + 1
    .endr
    .noaltmacro

common:
    mov %rax, out + 0
    mov %rcx, out + 8
    mov %rdx, out + 16
    mov %rbx, out + 24
    mov %rbp, out + 40
    mov %rsi, out + 48
    mov %rdi, out + 56
    mov %r8, out + 64
    mov %r9, out + 72
    mov %r10, out + 80
    mov %r11, out + 88
    mov %r12, out + 96
    mov %r13, out + 104
    mov %r14, out + 112
    mov %r15, out + 120
    mov %ds, %eax
    mov %rax, out + 160
    mov %es, %eax
    mov %rax, out + 168
    mov %fs, %eax
    mov %rax, out + 176
    mov %gs, %eax
    mov %rax, out + 184
    mov %ss, %eax
    mov %rax, out + 192          /* SS of the handler */
    mov %cs, %eax
    mov %rax, out + 200          /* CS of the handler */
    pushfq
    pop out + 208                /* RFLAGS of the handler */
    pop out + 216                /* vector */
    pop out + 224                /* error code or -1 */
    mov %rsp, out + 232          /* where the frame lies */
    mov 0(%rsp), %rax
    mov %rax, out + 128
    mov 8(%rsp), %rax
    mov %rax, out + 136
    mov 16(%rsp), %rax
    mov %rax, out + 144
    mov 24(%rsp), %rax
    mov %rax, out + 32
    mov 32(%rsp), %rax
    mov %rax, out + 152
    mov %cr2, %rax
    mov %rax, out + 240
    mov %dr6, %rax
    mov %rax, out + 248
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov saved_rsp, %rsp
    pushq $2
    popfq
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

    .data
    .align 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
    .word 23
    .long boot_gdt, 0

    .bss
    .align 4096
    .globl pml4, pdpt, pd_low, pd_user, pd_high
pml4:    .skip 4096
pdpt:    .skip 4096
pd_low:  .skip 4096
pd_user: .skip 4096
pd_high: .skip 4096
    .skip 16384
boot_stack_top:
saved_rsp: .skip 8
