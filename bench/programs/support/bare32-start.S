/*
 * Start of a program that runs bare as 32-bit code, for engines without 64 bits: a Multiboot kernel, protected mode without
 * paging, with SSE on. Sources: Multiboot specification 0.6.96; SDM vol. 3, 14.1.4 (enabling SSE).
 */
        .section .text.start, "ax"
        .balign 4
        .long 0x1badb002, 0x00000002, -(0x1badb002 + 0x00000002)   /* wants memory information */

        .globl start
start:
        cli
        mov $stack_top, %esp
        mov %cr0, %eax
        and $~4, %eax                   /* CR0: no EM, but MP and NE */
        or $0x22, %eax
        mov %eax, %cr0
        mov %cr4, %eax
        or $0x600, %eax                 /* CR4: OSFXSR, OSXMMEXCPT */
        mov %eax, %cr4
        fninit
        sub $12, %esp
        push 16(%ebx)                   /* Multiboot information: address of the command line */
        call bare_main
1:      hlt
        jmp 1b

        .bss
        .balign 16
        .skip 65536
stack_top:
        .section .note.GNU-stack, "", @progbits
