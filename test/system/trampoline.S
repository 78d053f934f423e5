/* Where other processors start: real mode at 0x8000, then protected mode, then long mode. */
    .text
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl 0x8000 + gdtr_copy - trampoline
    mov $0x11, %eax
    mov %eax, %cr0
    ljmpl $0x10, $protected
    .align 8
gdt_copy:
    .quad 0, 0x00af9b000000ffff, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr_copy:
    .word 31
    .long 0x8000 + gdt_copy - trampoline
trampoline_end:
    .code32
protected:
    mov $0x18, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x620, %eax
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x901, %eax
    wrmsr
    mov $0x80010033, %eax
    mov %eax, %cr0
    ljmp $8, $long_mode
    .code64
long_mode:
    mov $1, %edi
    lock xadd %edi, next_stack
    inc %edi
    mov %edi, %eax
    shl $12, %eax
    lea processor_stacks(%rax), %rsp
    call processor_main
