/*
 * What every micro-guest starts from: the PVH note, the 32-bit entry, a switch to long mode over identity page tables for
 * the first 4 GiB, descriptor tables with a stub for each vector, and helpers.
 *
 * The guest defines `main64` (long mode, interrupts off, rsp at stack_top) and `on_vector` (reached from every exception
 * and interrupt; the vector is at (%rsp), and what the processor pushed is above it).
 *
 * Results: characters to port 0xE9. Parameters: the page at PARAMS, written by the test before the start.
 */
	.set PARAMS, 0x1000
	.set P_SCENARIO, PARAMS
	.set P_ITERATIONS, PARAMS + 4
	.set P_SEED, PARAMS + 8
	.set P_STOP, PARAMS + 16	/* set by the test when the guest should come to its end */
	.set P_ROUNDS, PARAMS + 20	/* progress of the guest */
	.set P_ERROR, PARAMS + 24	/* why it gave up */

	.set LAPIC, 0xfee00000
	.set LAPIC_SVR, LAPIC + 0xf0 - (1 << 32)
	.set LAPIC_EOI, LAPIC + 0xb0 - (1 << 32)
	.set LAPIC_ICR, LAPIC + 0x300 - (1 << 32)
	.set LAPIC_ICR_HIGH, LAPIC + 0x310 - (1 << 32)
	.set LAPIC_DIVIDE, LAPIC + 0x3e0 - (1 << 32)
	.set LAPIC_TIMER, LAPIC + 0x320 - (1 << 32)
	.set LAPIC_COUNT, LAPIC + 0x380 - (1 << 32)

	.set RAM_END, 0x800000		/* GUEST_BYTES of harness.ts */
	.set PLAY, 0x400000		/* a MiB that a guest may do with as it likes */
	.set PLAY_BYTES, 0x100000
	.set ACPI, 0xfc001000
	.set XENSTORE_PAGE, 0xfeffc000
	.set CONSOLE_PAGE, 0xfefff000
	.set SHARED_INFO, 0x700000

	.set CODE64, 0x08
	.set DATA, 0x10
	.set CODE32, 0x18
	.set CODE16, 0x20
	.set DATA16, 0x28
	.set TSS, 0x30

	.set HC_MEMORY_OP, 12
	.set HC_MULTICALL, 13
	.set HC_SET_TIMER, 15
	.set HC_CONSOLE_IO, 18
	.set HC_GRANT_OP, 20
	.set HC_VCPU_OP, 24
	.set HC_SCHED_OP, 29
	.set HC_EVTCHN_OP, 32
	.set HC_HVM_OP, 34
	.set DOMID_SELF, 0x7ff0

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long entry32

	.bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pds:	.skip 4096 * 4
pdpt_high:
	.skip 4096
idt:	.skip 4096
	.skip 16384
stack_top:
	.skip 8192
fault_stack_top:
tss:	.skip 128
rng:	.skip 8

	.data
	.balign 16
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* CODE64 */
	.quad 0x00cf93000000ffff	/* DATA */
	.quad 0x00cf9b000000ffff	/* CODE32 */
	.quad 0x008f9b000000ffff	/* CODE16, limit 4 GiB */
	.quad 0x00cf93000000ffff	/* DATA16 */
	.quad 0x0000890000000067	/* TSS, base filled in */
	.quad 0
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
idt_pointer:
	.word 4095
	.quad idt

	.text
	.code32
	.globl entry32
entry32:
	cld
	mov $stack_top, %esp
	call map_low
	mov $0x6a0, %eax		/* PAE, PGE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x900, %eax			/* LME, NXE */
	wrmsr
	mov $0x80000023, %eax		/* PG, NE, MP, PE */
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $CODE64, $entry64

/*
 * Fill the page tables: 4 GiB of 2 MiB pages, one to one, and the same again at the end of the address space, where
 * absolute addresses of the upper 2 GiB reach by sign extension.
 */
map_low:
	mov $pml4, %edi
	mov $(4096 * 7 / 4), %ecx
	xor %eax, %eax
	rep stosl
	movl $pdpt + 7, pml4
	movl $pdpt_high + 7, pml4 + 511 * 8
	mov $pds + 7, %eax
	xor %ecx, %ecx
1:	mov %eax, pdpt(, %ecx, 8)
	mov %eax, pdpt_high + 508 * 8(, %ecx, 8)
	add $4096, %eax
	inc %ecx
	cmp $4, %ecx
	jb 1b
	mov $0x83, %eax
	mov $pds, %edi
	mov $2048, %ecx
1:	mov %eax, (%edi)
	add $0x200000, %eax
	add $8, %edi
	dec %ecx
	jnz 1b
	ret

	.code64
entry64:
	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $stack_top, %rsp
	mov P_SEED, %rax
	mov %rax, rng
	call set_up_tables
	jmp main64

/* IDT, TSS with IST1 at fault_stack_top, task register. */
set_up_tables:
	mov $idt, %edi
	mov $stubs, %eax
	mov $256, %ecx
1:	mov %ax, (%rdi)
	movw $CODE64, 2(%rdi)
	movw $0x8e01, 4(%rdi)		/* interrupt gate, IST 1 */
	mov %eax, %edx
	shr $16, %edx
	mov %dx, 6(%rdi)
	movq $0, 8(%rdi)
	add $16, %edi
	add $16, %eax
	dec %ecx
	jnz 1b
	movq $fault_stack_top, tss + 36
	movq $stack_top, tss + 4
	mov $tss, %eax
	mov %ax, gdt + TSS + 2
	shr $16, %eax
	mov %al, gdt + TSS + 4
	movb $0x89, gdt + TSS + 5
	mov %ah, gdt + TSS + 7
	lgdt gdt_pointer
	lidt idt_pointer
	mov $TSS, %eax
	ltr %ax
	ret

	.balign 16
stubs:
	.set vector, 0
	.rept 256
	.balign 16
	pushq $vector
	jmp on_vector
	.set vector, vector + 1
	.endr

/* The next number of xorshift64 in rax; rcx is lost. */
random:
	mov rng, %rax
	mov %rax, %rcx
	shl $13, %rcx
	xor %rcx, %rax
	mov %rax, %rcx
	shr $7, %rcx
	xor %rcx, %rax
	mov %rax, %rcx
	shl $17, %rcx
	xor %rcx, %rax
	mov %rax, rng
	ret

/* A number that is more likely than others to be a hypercall's business, in rax; rcx and rdx are lost. */
argument:
	call random
	mov %rax, %rdx
	shr $32, %rdx
	and $31, %eax
	jmp *argument_kinds(, %rax, 8)
	.balign 8
argument_kinds:
	.quad a_zero, a_small, a_small, a_small, a_small, a_random, a_random32, a_play
	.quad a_play, a_play, a_play, a_play_end, a_ones, a_self, a_ones32, a_constant
	.quad a_constant, a_constant, a_frame, a_frame, a_frame, a_small, a_small, a_play
	.quad a_play, a_zero, a_one, a_one, a_power, a_power, a_small, a_small
a_zero:	xor %eax, %eax
	ret
a_one:	mov $1, %eax
	ret
a_small:
	mov %edx, %eax
	and $63, %eax
	ret
a_random:
	jmp random
a_random32:
	mov %edx, %eax
	ret
a_play:	mov %edx, %eax
	and $(PLAY_BYTES - 1) & ~7, %eax
	add $PLAY, %eax
	ret
a_play_end:				/* across the end of a page, or of the play area */
	mov %edx, %eax
	and $(PLAY_BYTES - 1) & ~0xfff, %eax
	add $PLAY + 0x1000, %eax
	shr $28, %edx
	sub %rdx, %rax
	ret
a_ones:	mov $-1, %rax
	ret
a_ones32:
	mov $0xffffffff, %eax
	ret
a_self:	mov $DOMID_SELF, %eax
	ret
a_frame:				/* number of a frame of the play area */
	mov %edx, %eax
	and $0xff, %eax
	add $PLAY >> 12, %eax
	ret
a_power:
	mov %edx, %ecx
	mov $1, %eax
	shl %cl, %rax
	test $64, %edx
	jz 1f
	dec %rax
1:	ret
a_constant:
	and $15, %edx
	mov constants(, %rdx, 8), %rax
	ret
	.balign 8
constants:
	.quad 0x8000000000000000, 0x7fffffffffffffff, 0x800000000000, 0x7ffffffff000, 0xffff800000000000, RAM_END - 8
	.quad RAM_END, LAPIC, LAPIC + 0x300, ACPI, XENSTORE_PAGE, CONSOLE_PAGE + 0xff8, 0xfffffffffffffff8, 0x100000000
	.quad SHARED_INFO, 0x7ff2

/* The string behind rsi to port 0xE9. */
print:
	lodsb
	test %al, %al
	jz 1f
	out %al, $0xe9
	jmp print
1:	ret

/* The domain shuts down; the reason is in eax. */
shutdown:
	mov %eax, shutdown_reason
	mov $HC_SCHED_OP, %eax
	mov $2, %edi
	mov $shutdown_reason, %esi
	vmcall
	hlt
	jmp shutdown
	.balign 8
shutdown_reason:
	.quad 0

.macro HYPERCALL number, a=0, b=0, c=0, d=0
	mov $\a, %edi
	mov $\b, %rsi
	mov $\c, %rdx
	mov $\d, %r10
	mov $\number, %eax
	vmcall
.endm
