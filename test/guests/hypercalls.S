/*
 * Hypercalls with anything for arguments. Each iteration fills a structure with likely and unlikely values, picks number,
 * command and arguments, and issues the call by VMCALL or VMMCALL; a timer of the local APIC ends calls that block.
 *
 * Scenario 0: numbers 0 to 71 and large ones. 1: only calls that exist, with commands that exist. 2: as 1, in multicalls
 * (a list that lies anywhere). 3: as 1, also the guest's own memory may go (XENMEM with any frame). 4: as 1, from 32-bit code.
 */
#include "guest.h"

	.set TIMER_VECTOR, 0x60
	.set BLOCKED_BUS_CYCLES, 3000

	.text
	.code64
main64:
	/* The local APIC on, its timer one-shot. */
	movl $0x1ff, LAPIC_SVR
	movl $0xb, LAPIC_DIVIDE
	movl $TIMER_VECTOR, LAPIC_TIMER
next:
	mov $stack_top, %rsp
	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov P_ROUNDS, %eax
	cmp P_ITERATIONS, %eax
	jae finished
	incl P_ROUNDS
	call fill_structure
	call choose
	movl $BLOCKED_BUS_CYCLES, LAPIC_COUNT
	cmpl $2, P_SCENARIO
	je many
	cmpl $4, P_SCENARIO
	je from32
	mov call_args, %rdi
	mov call_args + 8, %rsi
	mov call_args + 16, %rdx
	mov call_args + 24, %r10
	mov call_args + 32, %r8
	mov call_args + 40, %r9
	mov call_number, %rax
	sti
	testl $1, P_ROUNDS
	jz 1f
	vmcall
	jmp called
1:	vmmcall
called:
	cli
	/* Count the errors by kind, for the test's interest. */
	test %rax, %rax
	jns 1f
	incl P_ERROR
1:	jmp next

/* Sixteen words from `argument` at a place in the play area, sometimes across two pages. */
fill_structure:
	call random
	and $(PLAY_BYTES - 1) & ~7, %eax
	add $PLAY - 64, %eax
	cmp $PLAY, %eax
	jae 1f
	mov $PLAY, %eax
1:	mov %rax, structure
	mov %rax, %rdi
	mov $16, %ebx
	call random
	mov %rax, %rbp
1:	call argument
	mov %rax, (%rdi)
	/* Half of the words are two 32-bit values, and a quarter four 16-bit ones. */
	shr $1, %rbp
	jnc 2f
	call argument
	mov %eax, 4(%rdi)
	test $1, %rbp
	jz 2f
	call argument
	mov %ax, 2(%rdi)
2:	/* A domain id at the start is usually one's own. */
	add $8, %rdi
	dec %ebx
	jnz 1b
	call random
	test $3, %al
	jz 1f
	mov structure, %rdi
	movw $DOMID_SELF, (%rdi)
	test $4, %al
	jz 1f
	movw $DOMID_SELF, 24(%rdi)
1:	ret

/* Number and arguments of the next call. */
choose:
	xor %ebx, %ebx
1:	call argument
	mov %rax, call_args(, %rbx, 8)
	inc %ebx
	cmp $6, %ebx
	jb 1b
	cmpl $0, P_SCENARIO
	jne known
	call random
	mov %eax, %ecx
	shr $32, %rax
	and $7, %ecx
	jz 2f
	xor %edx, %edx
	mov $72, %ecx
	div %ecx
	mov %edx, %eax
	jmp 3f
2:	call argument
3:	mov %rax, call_number
	jmp point

known:
	call random
	xor %edx, %edx
	shr $8, %rax
	mov $(operations_end - operations) / 8, %ecx
	div %rcx
	mov operations(, %rdx, 8), %eax
	mov operations + 4(, %rdx, 8), %ecx
	mov %rax, call_number
	/* a command below the limit */
	call random_below
	mov %rax, call_args
	/* The structure's address where a pointer belongs: mostly the second argument. */
point:
	call random
	mov structure, %rdx
	test $15, %al
	jz 1f
	mov call_number, %rcx
	mov $1, %ebx
	cmp $HC_VCPU_OP, %rcx
	je 2f
	cmp $HC_CONSOLE_IO, %rcx
	jne 3f
2:	mov $2, %ebx
3:	cmp $HC_MULTICALL, %rcx
	je 4f
	cmp $35, %rcx
	je 4f
	cmp $36, %rcx
	jne 5f
4:	xor %ebx, %ebx
5:	mov %rdx, call_args(, %rbx, 8)
	/* Grant operations have their count in the third argument. */
	cmp $HC_GRANT_OP, %rcx
	jne 1f
	shr $8, %rax
	and $3, %eax
	mov %rax, call_args + 16
1:	/* Not the end of the test: no shutdown, no vCPU down. */
	mov call_number, %ecx
	mov call_args, %eax
	cmp $HC_SCHED_OP, %ecx
	jne 1f
	cmp $2, %eax
	je replace
1:	cmp $HC_VCPU_OP, %ecx
	jne 1f
	cmp $2, %eax
	je replace
1:	cmpl $3, P_SCENARIO
	je 2f
	/* Memory operations get frames of the play area only. */
	cmp $HC_MEMORY_OP, %ecx
	jne 2f
	and $63, %eax
	cmp $1, %eax
	je replace
	cmp $7, %eax
	je replace
	cmp $11, %eax
	je replace
	cmp $15, %eax
	je replace
	cmp $23, %eax
	je replace
2:	ret
replace:
	movq $17, call_number
	ret

/* Random number below ecx, in rax. */
random_below:
	push %rcx
	call random
	shr $5, %rax
	pop %rcx
	xor %edx, %edx
	div %rcx
	mov %rdx, %rax
	ret

/* A list of up to 100 calls. */
many:
	call random
	xor %edx, %edx
	shr $3, %rax
	mov $100, %ecx
	div %rcx
	mov %rdx, %r14
	mov $PLAY + PLAY_BYTES - 100 * 64, %r12d
	mov %r12, %r13
	inc %edx
	mov %edx, %r11d
1:	call choose
	mov call_number, %rax
	mov %rax, (%r13)
	mov call_args, %rax
	mov %rax, 16(%r13)
	mov call_args + 8, %rax
	mov %rax, 24(%r13)
	mov call_args + 16, %rax
	mov %rax, 32(%r13)
	mov call_args + 24, %rax
	mov %rax, 40(%r13)
	add $64, %r13
	dec %r11d
	jnz 1b
	mov %r12, %rdi
	lea 1(%r14), %rsi
	call random
	test $15, %al
	jnz 1f
	mov %rax, %rsi
1:	mov $HC_MULTICALL, %eax
	sti
	vmcall
	jmp called

/* The call from 32-bit code, whose arguments are in ebx, ecx, edx, esi, edi. */
from32:
	mov call_args, %ebx
	mov call_args + 16, %edx
	mov call_args + 24, %esi
	mov call_args + 32, %edi
	mov call_number, %eax
	mov call_args + 8, %ecx
	sti
	ljmp *to32
	.code32
code32:
	vmcall
	ljmp $CODE64, $called
	.code64

finished:
	mov $done, %esi
	call print
	mov $0, %eax
	jmp shutdown

on_vector:
	cmpq $32, (%rsp)
	jae 1f
	incl faults
1:	movl $0, LAPIC_EOI
	jmp next

	.data
done:	.asciz "DONE"
	.balign 8
to32:	.long code32, CODE32
structure: .quad 0
call_number: .quad 0
call_args: .skip 48
faults:	.long 0
	.balign 8
/* Number, and how many commands. */
operations:
	.long HC_MEMORY_OP, 30, HC_MEMORY_OP, 64, HC_SET_TIMER, 1, 17, 13, HC_CONSOLE_IO, 2, HC_GRANT_OP, 14, HC_GRANT_OP, 14
	.long 21, 8, HC_VCPU_OP, 15, HC_VCPU_OP, 15, HC_SCHED_OP, 9, HC_EVTCHN_OP, 15, HC_EVTCHN_OP, 15, HC_EVTCHN_OP, 15
	.long HC_HVM_OP, 26, HC_HVM_OP, 2, 35, 4, 36, 4, HC_MULTICALL, 4, 26, 4, 33, 4, 40, 4, 41, 4, 42, 4
operations_end:
