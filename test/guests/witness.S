/*
 * The witness: an honest guest beside a hostile one. Round by round it asks for a timer event and sends itself another,
 * sleeps until both have come, and looks whether everything that it owns is as it left it: memory, registers of all
 * kinds, event counts. It ends with "OK" when the test sets P_STOP, and at once with "BAD" and P_ERROR otherwise.
 */
#include "guest.h"

	.set UPCALL, 0x50
	.set ROUND_NS, 20000
	.set PATTERN, PLAY
	.set PATTERN_WORDS, 0x2000 / 8

	.text
	.code64
main64:
	/* shared_info */
	movw $DOMID_SELF, op
	movl $0, op + 4
	movq $0, op + 8
	movq $SHARED_INFO >> 12, op + 16
	HYPERCALL HC_MEMORY_OP, 7, op
	mov $1, %ebx
	test %rax, %rax
	jnz bad
	/* HVM_PARAM_CALLBACK_IRQ: a vector */
	movw $DOMID_SELF, op
	movl $0, op + 4
	mov $(2 << 56) + UPCALL, %rax
	mov %rax, op + 8
	HYPERCALL HC_HVM_OP, 0, op
	inc %ebx
	test %rax, %rax
	jnz bad
	/* bind_virq VIRQ_TIMER, bind_ipi */
	movq $0, op
	HYPERCALL HC_EVTCHN_OP, 1, op
	inc %ebx
	test %rax, %rax
	jnz bad
	mov op + 8, %eax
	mov %eax, timer_port
	movl $0, op
	HYPERCALL HC_EVTCHN_OP, 7, op
	inc %ebx
	test %rax, %rax
	jnz bad
	mov op + 4, %eax
	mov %eax, ipi_port

	/* Registers that the rounds never touch: each has its own value. */
	mov $0x1111, %eax
	movq %rax, %xmm3
	mov $0x2222, %eax
	movq %rax, %xmm15
	fninit
	fldpi
	mov $0xc0000100, %ecx		/* FS base */
	mov $0x3333, %eax
	mov $0x44, %edx
	wrmsr
	mov $0xc0000102, %ecx		/* KERNEL_GS_BASE */
	mov $0x5555, %eax
	mov $0x66, %edx
	wrmsr
	mov $0xc0000082, %ecx		/* LSTAR */
	mov $0x7777, %eax
	mov $0x88, %edx
	wrmsr
	mov $0x9999, %eax
	mov %rax, %dr1
	mov $0xaaaa, %eax
	mov %rax, %cr2
	mov $0x5bbbbbbbbbbbbbbb, %r12
	mov $0x5ccccccccccccccc, %r13
	mov $0x5ddddddddddddddd, %r14
	call fill

round:
	/* get_time, then a singleshot timer */
	HYPERCALL HC_HVM_OP, 10, op
	mov $10, %ebx
	test %rax, %rax
	jnz bad
	mov op, %rax
	inc %ebx
	cmp last_time, %rax
	jb bad
	mov %rax, last_time
	add $ROUND_NS, %rax
	mov %rax, op
	movl $0, op + 8
	HYPERCALL HC_VCPU_OP, 8, 0, op
	inc %ebx
	test %rax, %rax
	jnz bad
	/* an event to itself */
	mov ipi_port, %eax
	mov %eax, op
	HYPERCALL HC_EVTCHN_OP, 4, op
	inc %ebx
	test %rax, %rax
	jnz bad
	call check
	/* Sleep until both are there. */
1:	cli
	mov timer_events, %eax
	cmp rounds, %eax
	ja 2f
	sti
	hlt
	jmp 1b
2:	mov ipi_events, %eax
	cmp rounds, %eax
	mov $20, %ebx
	jbe bad
	incl rounds
	mov rounds, %eax
	inc %ebx
	cmp timer_events, %eax
	jne bad
	inc %ebx
	cmp ipi_events, %eax
	jne bad
	mov %eax, P_ROUNDS
	call check
	call fill
	cmpl $0, P_STOP
	je round
	mov $ok, %esi
	call print
	xor %eax, %eax
	jmp shutdown

/* Write the pattern of this round. */
fill:
	mov rounds, %eax
	mov $0x9e3779b97f4a7c15, %rdx
	mul %rdx
	mov %rax, pattern
	mov $PATTERN, %edi
	mov $PATTERN_WORDS, %ecx
1:	mov %rax, (%rdi)
	add %rdx, %rax
	rol $7, %rax
	add $8, %rdi
	dec %ecx
	jnz 1b
	mov %rdx, pattern + 8
	ret

/* Compare everything with what it should be. ebx tells what was wrong. */
check:
	mov pattern, %rax
	mov pattern + 8, %rdx
	mov $PATTERN, %edi
	mov $PATTERN_WORDS, %ecx
	mov $30, %ebx
1:	cmp %rax, (%rdi)
	jne bad
	add %rdx, %rax
	rol $7, %rax
	add $8, %rdi
	dec %ecx
	jnz 1b
	inc %ebx			/* 31: xmm */
	movq %xmm3, %rax
	cmp $0x1111, %rax
	jne bad
	movq %xmm15, %rax
	cmp $0x2222, %rax
	jne bad
	inc %ebx			/* 32: x87 */
	fldpi
	fcomip %st(1), %st
	jne bad
	fnstcw op
	cmpw $0x37f, op
	jne bad
	inc %ebx			/* 33: MSRs */
	mov $0xc0000100, %ecx
	rdmsr
	cmp $0x3333, %eax
	jne bad
	cmp $0x44, %edx
	jne bad
	mov $0xc0000102, %ecx
	rdmsr
	cmp $0x5555, %eax
	jne bad
	cmp $0x66, %edx
	jne bad
	mov $0xc0000082, %ecx
	rdmsr
	cmp $0x7777, %eax
	jne bad
	mov $0xc0000080, %ecx
	rdmsr
	cmp $0xd00, %eax
	jne bad
	inc %ebx			/* 34: debug and control registers */
	mov %dr1, %rax
	cmp $0x9999, %rax
	jne bad
	mov %cr2, %rax
	cmp $0xaaaa, %rax
	jne bad
	mov %cr3, %rax
	cmp $pml4, %rax
	jne bad
	mov %cr4, %rax
	cmp $0x6a0, %rax
	jne bad
	inc %ebx			/* 35: general registers */
	mov $0x5bbbbbbbbbbbbbbb, %rax
	cmp %rax, %r12
	jne bad
	mov $0x5ccccccccccccccc, %rax
	cmp %rax, %r13
	jne bad
	mov $0x5ddddddddddddddd, %rax
	cmp %rax, %r14
	jne bad
	inc %ebx			/* 36: page tables */
	cmpl $0x200083 | 0x60, pds + 8
	ja bad
	ret

bad:
	mov %ebx, P_ERROR
	mov $not_ok, %esi
	call print
	mov $3, %eax
	jmp shutdown

/* Upcalls; anything else is an error. The events' counters go up. */
on_vector:
	cmpq $UPCALL, (%rsp)
	jne 9f
	push %rax
	push %rcx
	push %rdx
	movb $0, SHARED_INFO
	xor %eax, %eax
	xchg %rax, SHARED_INFO + 8
	xor %eax, %eax
	xchg %rax, SHARED_INFO + 0x800
	mov timer_port, %ecx
	btr %rcx, %rax
	jnc 1f
	incl timer_events
1:	mov ipi_port, %ecx
	btr %rcx, %rax
	jnc 1f
	incl ipi_events
1:	test %rax, %rax
	mov $40, %ebx
	jnz bad
	pop %rdx
	pop %rcx
	pop %rax
	add $8, %rsp
	iretq
9:	mov (%rsp), %rbx
	add $100, %ebx
	mov 16(%rsp), %rax
	mov %rax, P_ERROR + 8
	mov 8(%rsp), %rax
	mov %rax, P_ERROR + 16
	jmp bad

	.data
ok:	.asciz "OK"
not_ok:	.asciz "BAD"
	.balign 8
op:	.skip 64
pattern: .skip 16
timer_port: .long 0
ipi_port: .long 0
timer_events: .long 0
ipi_events: .long 0
rounds:	.long 0
	.balign 8
last_time: .quad 0
