/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Starts a Linux kernel that is not compressed.
 *
 * Unpacking Debian's vmlinuz takes Bochs as long as the boot of the kernel in
 * it. kernel.py unpacks it once instead and puts this in the decompressor's
 * place: the very same kernel, in the frame of a bzImage. A boot loader puts
 * us at 0x100000 and enters in 32-bit mode, paging off, %esi pointing to
 * boot_params. The image follows at PAYLOAD and is moved to where it is linked,
 * 16 MiB; then 4 GiB are mapped one to one and 64-bit code is entered, as
 * Documentation/arch/x86/boot.rst has it.
 */
#define PAYLOAD	0x108000
#define KERNEL	0x1000000
#define TABLES	0x102000	/* PML4, PDPT, four page directories */

	.code32
	.globl	_start
_start:
	cli
	movl	%esi, %ebx
	lgdt	gdt_pointer

	/* The last word first: the two places overlap. */
	movl	words, %ecx
	leal	PAYLOAD - 4(, %ecx, 4), %esi
	leal	KERNEL - 4(, %ecx, 4), %edi
	std
	rep movsl
	cld

	movl	$TABLES, %edi
	xorl	%eax, %eax
	movl	$6 * 1024, %ecx
	rep stosl
	movl	$TABLES + 0x1000 + 7, TABLES
	movl	$4, %ecx
	movl	$TABLES + 0x2000 + 7, %eax
	movl	$TABLES + 0x1000, %edi
1:	movl	%eax, (%edi)
	addl	$0x1000, %eax
	addl	$8, %edi
	loop	1b
	movl	$4 * 512, %ecx
	movl	$0x83, %eax		/* present, writable, 2 MiB */
	movl	$TABLES + 0x2000, %edi
2:	movl	%eax, (%edi)
	addl	$0x200000, %eax
	addl	$8, %edi
	loop	2b

	movl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$TABLES, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	btsl	$8, %eax
	wrmsr
	movl	$0x80000001, %eax	/* paging, protection */
	movl	%eax, %cr0
	ljmp	$0x10, $long_mode

	.code64
long_mode:
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%ebx, %esi
	movl	entry, %eax
	jmp	*%rax

	.balign	8
gdt:
	.quad	0, 0
	.quad	0x00af9a000000ffff	/* 0x10: 64-bit code */
	.quad	0x00cf92000000ffff	/* 0x18: data */
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.org	0xff8			/* kernel.py fills these in */
entry:	.long	0
words:	.long	0
