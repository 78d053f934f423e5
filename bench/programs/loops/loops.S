/*
 * Loops of one kind of instruction each: rdi = iterations, rsi = buffer; the result is in rax.
 * Each body is long enough that the loop's own counter hardly matters.
 */
        .text
        .macro workload name
        .globl loop_\name
        .balign 64
loop_\name:
        .endm

        /* Register arithmetic with dependences and flags that are used now and then. */
        workload alu
        mov $0x9e3779b97f4a7c15, %rax
        mov $1, %ecx
        mov $2, %edx
        xor %r8d, %r8d
1:      .rept 4
        add %rax, %rcx
        xor %rcx, %rdx
        lea 7(%rdx,%rcx,2), %r8
        sub %r8, %rax
        rol $13, %rax
        and $0x7fffffff, %ecx
        or %edx, %r8d
        inc %rcx
        cmp %r8, %rcx
        adc $0, %rdx
        shr $3, %r8
        not %rdx
        .endr
        dec %rdi
        jnz 1b
        xor %rdx, %rax
        ret

        /* Loads and stores of all sizes within 4 KiB. */
        workload memory
        xor %eax, %eax
        xor %ecx, %ecx
1:      .rept 4
        mov (%rsi,%rcx), %rdx
        add %rdx, %rax
        mov %rax, 8(%rsi,%rcx)
        mov 16(%rsi,%rcx), %r8d
        add %r8d, 20(%rsi,%rcx)
        movzbl 24(%rsi,%rcx), %r9d
        mov %r9b, 33(%rsi,%rcx)
        movswq 34(%rsi,%rcx), %r10
        mov %r10w, 40(%rsi,%rcx)
        incq 48(%rsi,%rcx)
        add $56, %ecx
        and $0xff8, %ecx
        .endr
        dec %rdi
        jnz 1b
        ret

        /* Loads that each depend on the one before, over 1 MiB: every other one misses a small TLB. */
        workload chase
        push %rbx
        lea 0(%rsi), %r8
        cmpq $0, 4088(%rsi)             /* the list is laid out once */
        jne 2f
        xor %ecx, %ecx
        mov $0, %edx
1:      mov %edx, %ebx                  /* element edx at (edx * 4160) mod 1 MiB, rounded to 64 */
        imul $4160, %ebx, %ebx
        and $0xfffc0, %ebx
        inc %edx
        imul $4160, %edx, %r9d
        and $0xfffc0, %r9d
        add %rsi, %r9
        mov %r9, (%rsi,%rbx)
        cmp $16384, %edx
        jne 1b
        movq $1, 4088(%rsi)
2:      .rept 8
        mov (%r8), %r8
        .endr
        dec %rdi
        jnz 2b
        sub %rsi, %r8
        mov %r8, %rax
        pop %rbx
        ret

        workload call
        xor %eax, %eax
        mov $3, %ecx
1:      call 2f
        call 3f
        call 2f
        call 4f
        dec %rdi
        jnz 1b
        ret
        .balign 16
2:      push %rbp
        mov %rsp, %rbp
        add %rcx, %rax
        pop %rbp
        ret
        .balign 16
3:      push %rbx
        sub $16, %rsp
        mov %rax, 8(%rsp)
        call 2b
        mov 8(%rsp), %rbx
        xor %rbx, %rcx
        add $16, %rsp
        pop %rbx
        ret
        .balign 16
4:      lea 2b(%rip), %rdx
        call *%rdx
        ret

        /* Branches that follow a pseudo-random sequence (xorshift). */
        workload branch
        mov $0x2545f4914f6cdd1d, %rax
        xor %ecx, %ecx
1:      mov %rax, %rdx
        shl $13, %rdx
        xor %rdx, %rax
        mov %rax, %rdx
        shr $7, %rdx
        xor %rdx, %rax
        mov %rax, %rdx
        shl $17, %rdx
        xor %rdx, %rax
        test $1, %al
        jz 2f
        inc %rcx
2:      test $0x40, %ah
        jnz 3f
        add $3, %rcx
3:      test $0x10000, %eax
        je 4f
        xor $5, %rcx
        jmp 5f
4:      sub $1, %rcx
5:      cmp $0x40000000, %eax
        ja 6f
        lea 1(%rcx,%rcx), %rcx
6:      test %eax, %eax
        js 7f
        not %rcx
7:      dec %rdi
        jnz 1b
        xor %rcx, %rax
        ret

        /* 4 KiB with each of the string instructions. A repeated instruction counts as Domus counts it. */
        workload string
        mov %rdi, %rdx
        mov %rsi, %r8
        xor %r9d, %r9d
1:      lea 0x2000(%r8), %rdi
        mov %rdx, %rax
        mov $512, %ecx
        rep stosq
        lea 0x2000(%r8), %rsi
        lea 0x4001(%r8), %rdi
        mov $4096, %ecx
        rep movsb
        lea 0x2000(%r8), %rsi
        lea 0x6000(%r8), %rdi
        mov $512, %ecx
        rep movsq
        lea 0x2000(%r8), %rsi
        lea 0x6000(%r8), %rdi
        mov $256, %ecx
        repe cmpsb
        lea 0x2000(%r8), %rdi
        mov $0x1234, %eax
        mov $256, %ecx
        repne scasw
        add %rcx, %r9
        mov $16, %ecx
2:      lodsq
        xor %rax, %r9
        stosq
        dec %ecx
        jnz 2b
        dec %rdx
        jnz 1b
        mov %r9, %rax
        ret

        workload muldiv
        push %rbx
        mov $0xda942042e4dd58b5, %rbx
        mov $0x123456789abcdef1, %rax
        mov $977, %r8d
        xor %r10d, %r10d
1:      mul %rbx
        xor %rdx, %rax
        imul %rbx, %rax
        imul $1000003, %rax, %r9
        add %r9, %r10
        xor %edx, %edx
        div %r8
        add %rdx, %r10
        mov %r10d, %eax
        xor %edx, %edx
        div %r8d
        imul %r10d, %edx
        lea (%rdx,%r10), %rax
        cqto
        idiv %r8
        xor %r10, %rax
        dec %rdi
        jnz 1b
        pop %rbx
        ret

        workload sse_int
        movdqa lane_seed(%rip), %xmm0
        movdqa %xmm0, %xmm1
        movdqa %xmm0, %xmm2
        pcmpeqd %xmm3, %xmm3
1:      .rept 4
        paddd %xmm0, %xmm1
        pxor %xmm1, %xmm2
        pmuludq %xmm1, %xmm0
        pshufd $0x39, %xmm2, %xmm4
        psrld $5, %xmm4
        por %xmm4, %xmm0
        paddq %xmm3, %xmm1
        movdqa %xmm1, 64(%rsi)
        pcmpgtd %xmm2, %xmm4
        pand 64(%rsi), %xmm4
        psubb %xmm4, %xmm2
        punpckldq %xmm1, %xmm4
        .endr
        dec %rdi
        jnz 1b
        pxor %xmm1, %xmm0
        pxor %xmm2, %xmm0
        movq %xmm0, %rax
        ret

        workload sse_double
        movapd double_a(%rip), %xmm0
        movapd double_b(%rip), %xmm1
        movapd double_a(%rip), %xmm2
        xorpd %xmm3, %xmm3
1:      .rept 4
        mulpd double_c(%rip), %xmm0
        addpd %xmm1, %xmm0
        movapd %xmm0, %xmm4
        mulsd %xmm1, %xmm4
        addsd %xmm4, %xmm3
        subsd double_b(%rip), %xmm3
        mulsd double_c(%rip), %xmm3
        cvttsd2si %xmm3, %eax
        cvtsi2sd %eax, %xmm5
        addsd %xmm5, %xmm3
        divsd double_d(%rip), %xmm3
        maxsd %xmm3, %xmm2
        .endr
        dec %rdi
        jnz 1b
        addpd %xmm2, %xmm0
        xorpd %xmm3, %xmm0
        movq %xmm0, %rax
        ret

        .section .rodata
        .balign 16
lane_seed: .long 0x12345678, 0x9abcdef1, 0x0fedcba9, 0x87654321
double_a: .double 1.5, 0.25
double_b: .double 0.75, 1.125
double_c: .double 0.5, 0.4375
double_d: .double 3.0, 3.0
        .section .note.GNU-stack, "", @progbits
