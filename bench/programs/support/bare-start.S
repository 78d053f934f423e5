/*
 * Start of a program that runs bare: from the PVH entry (32-bit protected mode, paging off, ebx = start info) to 64-bit C
 * with SSE on and the first GiB mapped to itself. Sources: Xen docs/misc/pvh.pandoc; SDM vol. 3, 10.8.5 (entering
 * long mode).
 */
        .section .note.pvh, "a", @note
        .long 4, 4, 18                  /* name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long start

        .section .text.start, "ax"
        .code32
        .globl start
start:
        cli
        mov $stack_top, %esp
        mov %ebx, %edi                  /* first argument of bare_main; edi survives what follows */
        lea pages_2m, %esi
        mov $0x83, %eax                 /* present, writable, 2 MiB */
        mov $512, %ecx
1:      mov %eax, (%esi)
        add $0x200000, %eax
        add $8, %esi
        loop 1b
        movl $pages_2m + 3, pages_1g
        movl $pages_1g + 3, pages_root
        mov $pages_root, %eax
        mov %eax, %cr3
        mov $0x620, %eax                /* CR4: PAE, OSFXSR, OSXMMEXCPT */
        mov %eax, %cr4
        mov $0xc0000080, %ecx           /* EFER.LME */
        rdmsr
        or $0x100, %eax
        wrmsr
        mov $0x80000023, %eax           /* CR0: PG, NE, MP, PE */
        mov %eax, %cr0
        lgdt gdt_pointer
        ljmp $8, $long_mode

        .code64
long_mode:
        mov $16, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov $stack_top, %rsp
        mov %edi, %edi
        call bare_main
        cli                             /* the processor goes to sleep for good */
1:      hlt
        jmp 1b

        .section .rodata
        .balign 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .long gdt

        .bss
        .balign 4096
pages_root: .skip 4096
pages_1g:   .skip 4096
pages_2m:   .skip 4096
        .skip 65536
stack_top:
        .section .note.GNU-stack, "", @progbits
