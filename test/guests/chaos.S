/*
 * Random instruction bytes at CPL 0, with random registers. Whatever faults or is interrupted (the local APIC's timer ends
 * endless loops) comes to `on_vector`, which puts the processor back into order and goes on with other bytes.
 *
 * Scenario 0: 64-bit code. 1: 32-bit. 2: 16-bit. 3: code that modifies itself all the time. 4: random values to all control and
 * debug registers. 5: to MSRs. 6: real mode, on the other vCPUs, by INIT and SIPI with any vector. 7: IPIs of every kind.
 * 8: random page tables. 9: page tables in MMIO, beyond memory, in themselves. 10: random GDT, IDT and TSS. 11: rings and
 * event words full of garbage. 12: stack and code in MMIO and special pages.
 */
#include "guest.h"

	.set CODE, PLAY + 0x8000
	.set CODE_BYTES, 64
	.set TIMER_VECTOR, 0x60

	.text
	.code64
main64:
	movl $0x1ff, LAPIC_SVR
	movl $0xb, LAPIC_DIVIDE
	movl $TIMER_VECTOR, LAPIC_TIMER
	mov %cr0, %rax
	mov %rax, good_cr0
	mov %cr4, %rax
	or $0x40000, %rax		/* OSXSAVE */
	mov %rax, %cr4
	mov %rax, good_cr4
	movq %rsp, %xmm0
	/* 400 words of garbage for pointers to point at */
	mov $PLAY, %edi
	mov $1000, %ebx
1:	call random
	mov %rax, (%rdi)
	add $8, %edi
	dec %ebx
	jnz 1b
next:
	cli
	cld
	mov $stack_top, %rsp
	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	xor %eax, %eax
	mov %rax, %dr7
	mov P_ROUNDS, %eax
	cmp P_ITERATIONS, %eax
	jae finished
	incl P_ROUNDS
	movl $300, LAPIC_COUNT
	mov P_SCENARIO, %eax
	jmp *scenarios(, %rax, 8)

	.balign 8
scenarios:
	.quad code_64, code_32, code_16, modify, control, msr, real_mode, ipis, tables, odd_tables, descriptors, rings, odd_places

/* Random bytes at CODE, some more likely than others. */
fill_code:
	mov $CODE, %edi
	mov $CODE_BYTES, %ebx
1:	call random
	mov %eax, %edx
	shr $24, %edx
	and $31, %edx
	cmp $likely_end - likely, %edx
	jae 2f
	mov likely(%rdx), %al
2:	mov %al, (%rdi)
	inc %edi
	dec %ebx
	jnz 1b
	ret
likely:	.byte 0x0f, 0x0f, 0x0f, 0x66, 0xf3, 0xf2, 0x48, 0x41, 0x44, 0x0f, 0x38, 0xf0
likely_end:

/* Random registers: numbers, pointers. rsp too. */
.macro RANDOM_REGISTERS
	.irp register, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rsp
	mov $stack_top, %rsp
	call argument
	.ifc \register, rsp
	and $0xfff8, %eax
	add $PLAY + 0x10000, %rax
	.endif
	mov %rax, %\register
	.endr
.endm

code_64:
	call fill_code
	RANDOM_REGISTERS
	sti
	mov %rbp, %rax
	mov %rbx, %rdx
	jmp CODE

code_32:
	call fill_code
	RANDOM_REGISTERS
	sti
	ljmp *to32
code_16:
	call fill_code
	RANDOM_REGISTERS
	mov $DATA16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	sti
	ljmp *to16

/* A loop that overwrites itself, the next page, and pages that were code before. */
modify:
	mov $200, %ebp
1:	call random
	and $0x3fff, %eax
	lea CODE(%rax), %rdi
	movl $0xc3c0ff48, (%rdi)	/* inc rax; ret */
	call *%rdi
	movb $0xc8, 2(%rdi)
	call *%rdi
	movb $0xc3, (%rdi)
	call *%rdi
	/* across two pages */
	mov $CODE + 0x1000 - 2, %edi
	movl $0xc3c0ff48, (%rdi)
	call *%rdi
	movb $0xc8, 2(%rdi)
	call *%rdi
	/* a store to the very next instruction */
	movb $0x90, 2f
2:	nop
	movb $0xc3, 3f
	call 3f
	dec %ebp
	jnz 1b
	jmp next
3:	nop
	ret

control:
	call random
	mov %rax, %rbx
	call argument
	and $15, %ebx
	jmp *control_writes(, %rbx, 8)
	.balign 8
control_writes:
	.quad w0, w0, w2, w3, w4, w8, wd0, wd1, wd6, wd7, wxcr, wclts, wlmsw, w4, w3, w0
w0:	mov %rax, %cr0
	jmp touched
w2:	mov %rax, %cr2
	jmp touched
w3:	mov %rax, %cr3
	jmp touched
w4:	mov %rax, %cr4
	jmp touched
w8:	mov %rax, %cr8
	mov %cr8, %rax
	xor %eax, %eax
	mov %rax, %cr8
	jmp next
wd0:	mov %rax, %dr0
	jmp next
wd1:	mov %rax, %dr1
	jmp next
wd6:	mov %rax, %dr6
	jmp next
wd7:	mov %rax, %dr7
	jmp next
wxcr:	call random
	mov %eax, %edx
	call argument
	mov %rax, %rbx
	call argument
	mov %ebx, %ecx
	and $1, %ecx
	xsetbv
	jmp next
wclts:	clts
	jmp next
wlmsw:	lmsw %ax
	jmp touched
/* Still here: memory is, too. */
touched:
	mov PLAY, %rax
	mov good_cr0, %rax
	mov %rax, %cr0
	mov good_cr4, %rax
	mov %rax, %cr4
	mov $pml4, %eax
	mov %rax, %cr3
	jmp next

msr:
	call random
	mov %eax, %ebx
	and $7, %ebx
	shr $32, %rax
	and msr_masks(, %rbx, 4), %eax
	or msr_bases(, %rbx, 4), %eax
	mov %eax, %esi
	call argument
	mov %rax, %rdi
	mov %esi, %ecx
	/* The page tables are to stay in 64-bit form. */
	cmp $0xc0000080, %ecx
	je next
	mov %edi, %eax
	mov %rdi, %rdx
	shr $32, %rdx
	test $1, %ebx
	jz 1f
	rdmsr
1:	wrmsr
	rdmsr
	jmp next
	.balign 4
msr_masks: .long 0xffff, 0x3ff, 0xff, 0xfff, 0xffff, 0xffffffff, 0x1f, 0x3ff
msr_bases: .long 0, 0x800, 0, 0xc0000000, 0xc0010000, 0, 0x40000000, 0x800

/* Random code for all pages that a start-up IPI can name, then INIT and SIPI to all others. */
real_mode:
	mov $0x10000, %edi
	mov $0x400, %ebx
1:	call random
	mov %rax, (%rdi)
	add $64, %edi
	dec %ebx
	jnz 1b
	movl $0x000c4500, LAPIC_ICR
	call random
	mov %eax, %ebx
	and $0xff, %eax
	or $0x000c4600, %eax
	mov %eax, LAPIC_ICR
	test $1 << 16, %ebx
	jz 2f
	mov %eax, LAPIC_ICR
2:	and $0xfff, %ebx
3:	pause
	dec %ebx
	jns 3b
	jmp next

ipis:
	call random
	mov %eax, LAPIC_ICR_HIGH
	shr $32, %rax
	and $0xcffff, %eax
	/* No INIT and no SIPI to oneself: only the others, by shorthand. */
	mov %eax, %ecx
	and $0x700, %ecx
	cmp $0x500, %ecx
	je 1f
	cmp $0x600, %ecx
	jne 2f
1:	or $0xc0000, %eax
2:	mov %eax, LAPIC_ICR
	sti
	nop
	jmp next

/* Random words in a copy of the page directory; the way back is in the tables of the start. */
tables:
	mov $PLAY + 0x40000, %edi
	mov $512 * 4, %ebx
1:	call random
	mov %rax, %rsi
	call argument
	test $1, %sil
	jz 2f
	and $~0xfff, %rax
	or $0x67, %rax
2:	test $2, %sil
	jz 3f
	mov $PLAY + 0x40067, %eax	/* into themselves */
	and $0x3000, %esi
	or %rsi, %rax
3:	mov %rax, (%rdi)
	add $8, %edi
	dec %ebx
	jnz 1b
	/* Its first entry lets this code run. */
	mov pml4, %rax
	mov %rax, PLAY + 0x40000
	mov $PLAY + 0x40000, %eax
	mov %rax, %cr3
	mov $20, %ebp
4:	call random
	mov $47, %ecx
	shl $16, %rax
	sar $16, %rax
	mov (%rax), %rbx
	mov %rbx, (%rax)
	dec %ebp
	jnz 4b
	jmp back
back:	mov $pml4, %eax
	mov %rax, %cr3
	jmp next

/* An entry of the top level for 512 GiB at half way, that leads somewhere odd. */
odd_tables:
	mov $pml4, %edi
	call random
	and $7, %eax
	mov odd_entries(, %rax, 8), %rax
	mov %rax, pml4 + 256 * 8
	mov %cr3, %rax
	mov %rax, %cr3
	call random
	shl $17, %rax
	shr $25, %rax
	bts $63, %rax
	mov $0xffff8000, %ecx
	shl $32, %rcx
	or %rcx, %rax
	btr $39, %rax
	btr $40, %rax
	mov %rax, %rdi
	test $1, %ah
	jz 1f
	jmp *%rdi
1:	mov (%rdi), %rax
	mov %rax, (%rdi)
	mov %rdi, %rsp
	push %rax
	jmp next
	.balign 8
odd_entries:
	.quad LAPIC + 7, 0x7fffffff007, RAM_END + 7, pml4 + 7, 0x000ffffffffff007, ACPI + 7, XENSTORE_PAGE + 7, 0x80000000fee00067

descriptors:
	/* Copies of GDT, IDT and TSS with random words in them, used for a while. */
	mov $PLAY + 0x50000, %edi
	mov $512, %ebx
1:	call random
	mov %rax, (%rdi)
	add $8, %edi
	dec %ebx
	jnz 1b
	lgdt wild_gdt
	call random
	and $0xfff8, %eax
	mov %ax, %ds
	call random
	mov %ax, %fs
	call random
	and $0xfff8, %eax
	ltr %ax
	call random
	lldt %ax
	lidt wild_idt
	lidt idt_pointer
	call random
	mov %rax, wild_far
	lcall *wild_far
	jmp next

/* The pages shared with the backends and the hypervisor. */
rings:
	movw $DOMID_SELF, op
	movw $0, op + 2
	movl $0, op + 4
	movq $0, op + 8
	movq $(SHARED_INFO >> 12), op + 16
	HYPERCALL HC_MEMORY_OP, 7, op
	mov $SHARED_INFO, %edi
	call scribble
	mov $XENSTORE_PAGE, %edi
	call scribble
	mov $CONSOLE_PAGE, %edi
	call scribble
	call random
	test $3, %al
	jz 1f
	/* Plausible ring indices: a little more produced than consumed. */
	mov $XENSTORE_PAGE, %edi
	mov 0x800(%rdi), %ecx
	and $0x3ff, %eax
	add %ecx, %eax
	mov %eax, 0x804(%rdi)
	mov $CONSOLE_PAGE, %edi
	mov 0xc08(%rdi), %ecx
	call random
	and $0x7ff, %eax
	add 0xc08(%rdi), %eax
	mov %eax, 0xc0c(%rdi)
	/* A message header that is almost right. */
	mov $XENSTORE_PAGE, %edi
	mov 0x800(%rdi), %ecx
	and $0x3f0, %ecx
	call argument
	and $31, %eax
	mov $XENSTORE_PAGE, %edi
	mov 0x800(%rdi), %ecx
	and $0x3f0, %ecx
	mov %eax, (%rdi, %rcx)
	call random
	and $0x1f, %eax
	mov $XENSTORE_PAGE, %edi
	mov 0x800(%rdi), %ecx
	and $0x3f0, %ecx
	mov %eax, 12(%rdi, %rcx)
1:	movl $1, op
	HYPERCALL HC_EVTCHN_OP, 4, op
	movl $2, op
	HYPERCALL HC_EVTCHN_OP, 4, op
	call random
	and $3, %eax
	mov %eax, op
	HYPERCALL HC_EVTCHN_OP, 9, op
	HYPERCALL HC_SCHED_OP, 0
	jmp next

/* Some random words of the page at rdi. */
scribble:
	mov $40, %ebx
1:	call random
	mov %rax, %rdx
	shr $40, %rdx
	and $0xff8, %edx
	mov %rax, (%rdi, %rdx)
	call random
	and $0x1f, %eax
	dec %ebx
	jnz 1b
	ret

odd_places:
	call random
	and $7, %eax
	mov places(, %rax, 8), %rdi
	testl $1, P_ROUNDS
	jz 1f
	jmp *%rdi
1:	mov %rdi, %rsp
	testl $2, P_ROUNDS
	jz 2f
	push %rax
	int3
	ret
2:	sti
	lock incl (%rdi)
	fxsave (%rdi)
	rep movsb
	jmp next
	.balign 8
places:	.quad LAPIC, LAPIC + 0xffe, ACPI, XENSTORE_PAGE, CONSOLE_PAGE + 0xffc, RAM_END + 0x10, 0xfffffff0, PLAY + 3

finished:
	mov $done, %esi
	call print
	xor %eax, %eax
	jmp shutdown

on_vector:
	mov good_cr0, %rax
	mov %rax, %cr0
	mov good_cr4, %rax
	mov %rax, %cr4
	mov $pml4, %eax
	mov %rax, %cr3
	movl $0, LAPIC_EOI
	lgdt gdt_pointer
	lidt idt_pointer
	movb $0x89, gdt + TSS + 5
	mov $TSS, %eax
	ltr %ax
	incl P_ERROR
	fninit
	jmp next

	.data
done:	.asciz "DONE"
	.balign 8
good_cr0: .quad 0
good_cr4: .quad 0
to32:	.long CODE, CODE32
to16:	.long CODE, CODE16
wild_far: .quad 0
op:	.skip 64
wild_gdt: .word 0xfff
	.quad PLAY + 0x50000
wild_idt: .word 0xfff
	.quad PLAY + 0x50000
