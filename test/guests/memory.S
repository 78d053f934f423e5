/*
 * A guest that takes memory away from under its own feet, or puts other things there, and goes on.
 */
#include "guest.h"

	.set SPARE, PLAY + 0x10000	/* a page for structures that are not to go */
	.set PAGE, PLAY + 0x20000	/* a page that goes */

/* The page at an address. */
.macro RESERVATION command, address
	movabs $(\address), %rax
	shr $12, %rax
	mov %rax, list
	movq $list, op
	movq $1, op + 8
	movq $0, op + 16
	movw $DOMID_SELF, op + 24
	HYPERCALL HC_MEMORY_OP, \command, op
.endm
.macro ADD_TO_PHYSMAP space, index, address
	movw $DOMID_SELF, op
	movw $0, op + 2
	movl $\space, op + 4
	movabs $(\index), %rax
	.if \space == 2
	shr $12, %rax
	.endif
	mov %rax, op + 8
	movabs $(\address), %rax
	shr $12, %rax
	mov %rax, op + 16
	HYPERCALL HC_MEMORY_OP, 7, op
.endm
	.set DECREASE, 1
	.set POPULATE, 6

	.text
	.code64
main64:
	mov P_SCENARIO, %eax
	jmp *scenarios(, %rax, 8)

	.balign 8
scenarios:
	.quad stale, code_page, page_table, stacks, vcpu_info, fifo, shared_over_code, shared_over_table, move_code
	.quad rings, everything, lapic, grants, runstate, acpi, refill, move_storm

/* A page that goes in a multicall must be gone for the next entry: -EFAULT. */
stale:
	incl PAGE			/* the TLB knows it */
	movq $PAGE >> 12, list
	movq $list, op
	movq $1, op + 8
	movq $0, op + 16
	movw $DOMID_SELF, op + 24
	movq $HC_MEMORY_OP, calls
	movq $DECREASE, calls + 16
	movq $op, calls + 24
	movq $HC_HVM_OP, calls + 64
	movq $10, calls + 64 + 16
	movq $PAGE, calls + 64 + 24
	HYPERCALL HC_MULTICALL, calls, 2
	cmpq $1, calls + 8
	jne not_done
	cmpq $-14, calls + 64 + 8
	jne not_done
	jmp finished

code_page:
	mov $(target - 0x100000 + PLAY), %eax
	/* A copy of this code in the play area, which is then freed from inside. */
	mov $0x100000, %esi
	mov $PLAY, %edi
	mov $0x4000, %ecx
	rep movsb
	jmp *%rax
	.balign 4096
target:
	RESERVATION DECREASE, (PLAY+target-0x100000)
	mov $aftermath, %eax
	jmp *%rax

page_table:
	RESERVATION DECREASE, pml4
	jmp aftermath

stacks:
	RESERVATION DECREASE, stack_top
	RESERVATION DECREASE, (stack_top-8)
	RESERVATION DECREASE, (fault_stack_top-8)
	push %rax
	jmp aftermath

vcpu_info:
	movq $PAGE >> 12, op
	movq $0x840, op + 8
	HYPERCALL HC_VCPU_OP, 10, 0, op
	RESERVATION DECREASE, PAGE
	RESERVATION POPULATE, PAGE
	jmp aftermath

fifo:
	movq $PAGE >> 12, op
	movl $0, op + 8
	movl $0, op + 12
	HYPERCALL HC_EVTCHN_OP, 11, op
	movq $(PAGE >> 12) + 1, op
	HYPERCALL HC_EVTCHN_OP, 12, op
	movq $(PAGE >> 12) + 1, op
	HYPERCALL HC_EVTCHN_OP, 12, op
	call garbage
	RESERVATION DECREASE, PAGE
	RESERVATION DECREASE, PAGE + 0x1000
	RESERVATION POPULATE, PAGE + 0x1000
	jmp aftermath

shared_over_code:
	ADD_TO_PHYSMAP 0, 0, aftermath
	jmp aftermath

shared_over_table:
	ADD_TO_PHYSMAP 0, 0, pds
	jmp aftermath

move_code:
	ADD_TO_PHYSMAP 2, aftermath, PAGE
	jmp aftermath

rings:
	RESERVATION DECREASE, XENSTORE_PAGE
	RESERVATION DECREASE, CONSOLE_PAGE
	/* Frames for the hypervisor's own use: event channels and grant frames. */
	call many_channels
	ADD_TO_PHYSMAP 1, 40, PAGE
	RESERVATION POPULATE, PAGE
	jmp aftermath

/* All of RAM, code last. */
everything:
	mov $PLAY + 0x80000, %edi
	xor %eax, %eax
1:	mov %rax, (%rdi, %rax, 8)
	inc %eax
	cmp $RAM_END >> 12, %eax
	jb 1b
	mov %rdi, op
	movq $RAM_END >> 12, op + 8
	movq $0, op + 16
	movw $DOMID_SELF, op + 24
	HYPERCALL HC_MEMORY_OP, DECREASE, op
	jmp aftermath

lapic:
	RESERVATION DECREASE, LAPIC
	RESERVATION POPULATE, LAPIC
	ADD_TO_PHYSMAP 0, 0, LAPIC
	ADD_TO_PHYSMAP 1, 0, LAPIC
	ADD_TO_PHYSMAP 2, PAGE, LAPIC
	ADD_TO_PHYSMAP 2, LAPIC, PAGE
	movw $DOMID_SELF, op
	movq $(LAPIC >> 12), op + 8
	HYPERCALL HC_MEMORY_OP, 15, op
	movl $0x1ff, LAPIC_SVR
	jmp aftermath

/* All grant frames, full of garbage, used by grant operations of all kinds. */
grants:
	xor %ebx, %ebx
1:	movw $DOMID_SELF, op
	movl $1, op + 4
	mov %rbx, op + 8
	lea (PLAY >> 12) + 0x40(%rbx), %rax
	mov %rax, op + 16
	HYPERCALL HC_MEMORY_OP, 7, op
	inc %ebx
	cmp $64, %ebx
	jb 1b
	mov $3000, %ebp
2:	/* some entries anew: flags, domid, frame */
	call random
	mov %eax, %edi
	and $0x3fff8, %edi
	call argument
	mov %ax, PLAY + 0x40000(%rdi)
	call argument
	mov %ax, PLAY + 0x40002(%rdi)
	call argument
	mov %eax, PLAY + 0x40004(%rdi)
	/* structure */
	xor %ebx, %ebx
3:	call argument
	mov %rax, SPARE(, %rbx, 8)
	inc %ebx
	cmp $16, %ebx
	jb 3b
	shr $3, %edi
	testl $1, %ebp
	jz 4f
	mov %edi, SPARE
	movw $DOMID_SELF, SPARE + 8
	mov %edi, SPARE + 16
	movw $DOMID_SELF, SPARE + 24
4:	call random
	xor %edx, %edx
	shr $4, %rax
	mov $13, %ecx
	div %rcx
	mov %rdx, %rdi
	mov $SPARE, %esi
	mov %ebp, %edx
	and $3, %edx
	mov $HC_GRANT_OP, %eax
	vmcall
	dec %ebp
	jnz 2b
	RESERVATION DECREASE, PLAY + 0x40000
	jmp aftermath

/* Areas that the hypervisor writes to on every entry. */
runstate:
	movq $PAGE + 0xff8, op
	HYPERCALL HC_VCPU_OP, 5, 0, op
	movq $PAGE + 0x100, op
	HYPERCALL HC_VCPU_OP, 13, 0, op
	HYPERCALL 21, 0, 5
	RESERVATION DECREASE, PAGE
	RESERVATION DECREASE, PAGE + 0x1000
	call many_channels
	HYPERCALL HC_SCHED_OP, 0
	jmp aftermath

acpi:
	RESERVATION DECREASE, ACPI
	ADD_TO_PHYSMAP 0, 0, ACPI
	mov $ACPI, %eax
	jmp *%rax

/* Down and up again, many times. */
refill:
	mov $2000, %ebp
1:	RESERVATION DECREASE, PAGE
	RESERVATION POPULATE, PAGE
	movw $0x9090, PAGE
	movb $0xc3, PAGE + 2
	mov $PAGE, %eax
	call *%rax
	dec %ebp
	jnz 1b
	jmp aftermath

move_storm:
	mov $3000, %ebp
1:	movw $DOMID_SELF, op
	call random
	and $3, %eax
	mov %eax, op + 4
	shr $32, %rax
	call random
	mov %al, op + 2
	and $0xff, %eax
	add $PLAY >> 12, %eax
	mov %rax, op + 8
	call random
	and $0xff, %eax
	add $PLAY >> 12, %eax
	mov %rax, op + 16
	HYPERCALL HC_MEMORY_OP, 7, op
	dec %ebp
	jnz 1b
	jmp aftermath

/* Event channels until there are no more. */
many_channels:
	mov $1100, %ebp
1:	movw $DOMID_SELF, op
	movw $0, op + 2
	HYPERCALL HC_EVTCHN_OP, 6, op
	dec %ebp
	jnz 1b
	ret

/* Random words into PAGE and the page behind it. */
garbage:
	mov $PAGE, %edi
	mov $0x2000 / 8, %ebp
1:	call random
	mov %rax, (%rdi)
	add $8, %edi
	dec %ebp
	jnz 1b
	ret

	.balign 4096
/* Events, timers, backends, memory: what makes the hypervisor touch what the guest has given it. */
aftermath:
	mov $stack_top, %rsp
	movq $0, op
	HYPERCALL HC_EVTCHN_OP, 1, op
	movl $0, op
	HYPERCALL HC_EVTCHN_OP, 7, op
	mov op + 4, %r15d
	mov $200, %ebp
1:	mov %r15d, op
	HYPERCALL HC_EVTCHN_OP, 4, op
	HYPERCALL HC_SET_TIMER, 1000
	movl $1, op
	HYPERCALL HC_EVTCHN_OP, 4, op
	movl $2, op
	HYPERCALL HC_EVTCHN_OP, 4, op
	mov %r15d, op
	HYPERCALL HC_EVTCHN_OP, 9, op
	movl $17, PAGE
	HYPERCALL HC_SCHED_OP, 0
	incl P_ROUNDS
	dec %ebp
	jnz 1b
finished:
	mov $done, %esi
	call print
	xor %eax, %eax
	jmp shutdown
not_done:
	mov $wrong, %esi
	call print
	xor %eax, %eax
	jmp shutdown

on_vector:
	mov (%rsp), %rax
	mov %eax, P_ERROR
	mov $faulted, %esi
	call print
	mov $3, %eax
	jmp shutdown

	.data
	.balign 4096
done:	.asciz "DONE"
wrong:	.asciz "WRONG"
faulted: .asciz "FAULT"
	.balign 8
list:	.quad 0
op:	.skip 64
calls:	.skip 128
