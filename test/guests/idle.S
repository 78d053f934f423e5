/*
 * Guests that give little work and much trouble: endless loops, shutdown by fault, vCPUs that are switched off.
 */
#include "guest.h"

	.text
	.code64
main64:
	mov P_SCENARIO, %eax
	cmp $scenarios_end - scenarios, %eax
	jae 1f
	jmp *scenarios(, %rax, 8)
1:	ud2

	.balign 8
scenarios:
	.quad loop_cli, loop_sti, triple_fault, hlt_cli, hlt_sti, pause_storm, yield_storm, jump_to_self_in_page_fault
scenarios_end:

loop_cli:
	cli
1:	incl P_ROUNDS
	jmp 1b

loop_sti:
	sti
1:	jmp 1b

triple_fault:
	lidt no_idt
	ud2

hlt_cli:
	cli
	hlt

hlt_sti:
	sti
1:	hlt
	jmp 1b

pause_storm:
	pause
	jmp pause_storm

yield_storm:
	HYPERCALL HC_SCHED_OP, 0
	jmp yield_storm

/* A page fault whose handler is not mapped either, for ever: the handler's fault is a double fault with a handler. */
jump_to_self_in_page_fault:
	xor %eax, %eax
	mov %rax, %cr3
	jmp jump_to_self_in_page_fault

on_vector:
	mov (%rsp), %rax
	mov %eax, P_ERROR
	mov $3, %eax
	jmp shutdown

	.data
no_idt:	.word 0
	.quad 0
