// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that the exits which KVM answers early (kvm.exit_fastpath) have the effect
 * that they have on the slow path.
 *
 * A random program of writes to the local APIC and its timer, of changes of priority,
 * windows for interrupts and halts, runs twice from the same start: once with no
 * fastpath allowed, once with all of them.  What the guest can see is written down
 * each time: faults, each interrupt with its vector and where it interrupted, single
 * steps, the registers of the APIC; and what user space can: exits, all the vCPUs'
 * APICs, events and states.  The two books have to be the same.
 *
 * Every step has one outcome, whatever it costs: IPIs go to the sender or to vCPUs
 * that are in user space, deadlines are long past or never come, or are waited for
 * before anything else is done.  vCPU 0 runs the program; vCPU 1 is run now and then
 * to take what it was sent; vCPU 2 never is, so that it can be sent anything.
 *
 * IPIs to a vCPU that runs or halts are another matter: there, none may be lost or come
 * twice.  The parameter itself is tested, too, and that each handler counts what it
 * answers, when it is allowed to, and nothing otherwise.
 *
 * Bochs' SVM does not deliver a virtual interrupt where VMRUN finds V_IRQ set and
 * interrupts on, as after an exit for the host's own timer tick; only the guest's next
 * STI does.  So with "--slow MASK", before all other arguments, each window is opened
 * twice; and the fastpaths of MASK, such as HLT's, are allowed in both runs.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "kvm_test_harness.h"
#include "lapic_timer_util.h"
#include "svm_util.h"
#include "vmx.h"

#define MASK_PARAM	"exit_fastpath"
#define MASK_ALL	511

#define APIC_ESR	0x280
#define APIC_TMR	0x180
#define APIC_LDR	0xd0
#define APIC_DFR	0xe0
#define APIC_SELF_IPI	0x3f0

#define NR_VCPUS	3
#define MAX_STEPS	1024
#define MAX_ENTRIES	4096
#define MAX_DEPTH	6
/* Until a guest counts as hung. */
#define BOUND_S		5

/* For steps that wait for an interrupt. */
#define HALT_VECTOR	0x54
#define WAIT_VECTOR	0x64
/* AC pushes an error code; an interrupt of that number would not. */
#define BAD_VECTOR	17

#define EFLAGS_TF	BIT(8)
#define EFLAGS_IF	BIT(9)

/* Between these two the VMM steps through the guest. */
#define PORT_STEP_ON	0x55
#define PORT_STEP_OFF	0x56
#define MAX_DEBUG_EXITS	12

enum op {
	OP_WRITE,		/* of APIC register reg */
	OP_DEADLINE,		/* kind is in reg */
	OP_MSR,			/* raw, of an x2APIC MSR */
	OP_CR8,
	OP_WINDOW,
	OP_STI,
	OP_CLI,
	OP_CPUID,
	OP_HALT_IPI,
	OP_HALT_DEADLINE,
	OP_WAIT_DEADLINE,
	OP_DEBUG,		/* like OP_WRITE, stepped through by the VMM */
	NR_OPS,
};

static const char * const op_names[NR_OPS] = {
	"write", "deadline", "MSR", "cr8", "window", "sti", "cli", "cpuid",
	"halt, IPI", "halt, deadline", "wait, deadline", "write, debugged",
};

enum { DEADLINE_OFF, DEADLINE_ONE, DEADLINE_PAST, DEADLINE_FAR, NR_DEADLINES };

struct step {
	uint32_t op;
	uint32_t reg;
	uint64_t val;
	/* Single-step by the guest itself; look at registers; hand over to the host. */
	uint32_t tf, look, sync;
};

enum kind {
	SAW_WRITE,
	SAW_IRQ,
	SAW_NMI,
	SAW_DB,
	SAW_REG,
	SAW_LAPIC,
	SAW_EVENTS,
	SAW_STATE,
	SAW_EXIT,
	SAW_RIP,
	NR_KINDS,
};

static const char * const kind_names[NR_KINDS] = {
	"write: MSR or address, fault", "interrupt: vector, RIP", "NMI: -, RIP",
	"#DB: DR6, RIP", "register: number, value", "KVM_GET_LAPIC: vCPU|register, value",
	"KVM_GET_VCPU_EVENTS: vCPU, value", "KVM_GET_MP_STATE: vCPU, value",
	"exit: reason, detail", "RIP: vCPU, value",
};

struct entry {
	uint32_t step;
	uint32_t kind;
	uint64_t a, b;
};

/* The guest's; each VM has a copy. */
static struct step program[MAX_STEPS];
static uint64_t nr_steps;
static uint64_t xapic;
/* See lapic_timer_util.h: an emulator may deliver an interrupt again, or early. */
static uint64_t distrust;
/* How often a window is opened; see above. */
static uint64_t nr_windows = 1;

static struct entry entries[MAX_ENTRIES];
static uint64_t nr_entries;
static uint64_t now_step;

static uint64_t depth;
static uint64_t budget;
static uint64_t nr_irqs;
static uint64_t fired[256];

static noinline void saw(enum kind kind, uint64_t a, uint64_t b)
{
	uint64_t nr = READ_ONCE(nr_entries);
	struct entry *e = &entries[nr];

	if (nr == MAX_ENTRIES)
		return;

	e->step = now_step;
	e->kind = kind;
	e->a = a;
	e->b = b;
	WRITE_ONCE(nr_entries, nr + 1);
}

/*
 * An interrupt may come wherever one of these lets it in, and nowhere else: they
 * keep off the red zone of the function that they are in.  If the instruction after
 * the one in question is skipped, the fault is not 0 but the magic number's.
 */
#define BEGIN_OPEN	"lea -128(%%rsp), %%rsp\n\t"
#define END_OPEN	"lea 128(%%rsp), %%rsp\n\t"
#define SET_TF		"pushf\n\torq %[tf], (%%rsp)\n\tpopf\n\t"
#define CLEAR_TF	"pushf\n\tandq $~0x100, (%%rsp)\n\tpopf\n\t"

#define guest_open(insn, __tf, inputs...)				\
({									\
	uint64_t ign_error_code;					\
	uint8_t vector;							\
									\
	asm volatile(BEGIN_OPEN SET_TF KVM_ASM_SAFE(insn) CLEAR_TF	\
		     END_OPEN						\
		     : [vector] "=q" (vector), [error_code] "=r" (ign_error_code) \
		     : [tf] "r" ((__tf) ? EFLAGS_TF : 0), inputs \
		     : KVM_ASM_SAFE_CLOBBERS, "memory", "cc");		\
	vector;								\
})

static noinline uint8_t guest_wrmsr(uint32_t msr, uint64_t val, bool tf)
{
	return guest_open("wrmsr", tf, "a" ((uint32_t)val), "d" ((uint32_t)(val >> 32)),
			  "c" (msr));
}

static noinline uint8_t guest_mmio(uint32_t reg, uint32_t val, bool tf)
{
	return guest_open("mov %%eax, (%%rdx)", tf, "a" (val),
			  "d" (APIC_DEFAULT_GPA + reg));
}

static noinline uint8_t guest_wrmsr_debugged(uint32_t msr, uint64_t val)
{
	return guest_open("wrmsr\n\tnop\n\tnop\n\txor %%r9, %%r9\n\tout %%al, $"
			  __stringify(PORT_STEP_OFF), false, "a" ((uint32_t)val),
			  "d" ((uint32_t)(val >> 32)), "c" (msr));
}

/* Two instructions, since STI keeps interrupts back for one. */
static void guest_cli(void)
{
	asm volatile("cli" ::: "memory");
}

static noinline void guest_sti(void)
{
	int i;

	for (i = 0; i < nr_windows; i++) {
		guest_cli();
		asm volatile(BEGIN_OPEN "sti\n\tnop\n\tnop\n\t" END_OPEN ::: "memory");
	}
}

static void guest_window(void)
{
	guest_sti();
	guest_cli();
}

/* The register of the APIC, in the mode that it is in. */
static uint8_t guest_write(uint32_t reg, uint64_t val, bool tf)
{
	if (!xapic)
		return guest_wrmsr(APIC_BASE_MSR + (reg >> 4), val, tf);

	if (reg == APIC_ICR)
		guest_mmio(APIC_ICR2, val >> 32, false);
	return guest_mmio(reg, val, tf);
}

static noinline void guest_cr8(uint64_t val)
{
	/* One emulator dies of writes to CR8 while KVM waits for a window. */
	if (distrust)
		guest_write(APIC_TASKPRI, val << 4, false);
	else
		guest_open("mov %%rax, %%cr8", false, "a" (val));
}

static uint64_t guest_read(uint32_t reg)
{
	return xapic ? xapic_read_reg(reg) : x2apic_read_reg(reg);
}

static bool guest_bit(uint32_t reg, int vector)
{
	return guest_read(reg + vector / 32 * 0x10) & BIT(vector % 32);
}

static uint64_t guest_rip(struct ex_regs *regs)
{
	/* See halt_util.h. */
	if (regs->rip == (uint64_t)guest_halt_hlt)
		regs->rip++;
	return distrust ? 0 : regs->rip;
}

static void guest_nest(void)
{
	if (READ_ONCE(depth) < MAX_DEPTH)
		guest_window();
}

/*
 * What a handler does is up to its vector: nothing special; let others nest; end
 * early, send another one, and let that nest; or leave the EOI to the program.
 *
 * Where interrupts may be delivered again, none lets others in while it is in service:
 * the APIC could not tell the second delivery from the first.
 */
static void guest_irq_handler(struct ex_regs *regs)
{
	uint64_t rip = guest_rip(regs);
	uint8_t vector = regs->vector;

	if (distrust && !guest_bit(APIC_ISR, vector))
		return;

	saw(SAW_IRQ, vector, rip);
	WRITE_ONCE(nr_irqs, nr_irqs + 1);
	WRITE_ONCE(fired[vector], fired[vector] + 1);
	WRITE_ONCE(depth, depth + 1);

	switch (distrust && vector % 4 != 2 ? 0 : vector % 4) {
	case 0:
		guest_write(APIC_EOI, 0, false);
		break;
	case 1:
		guest_nest();
		guest_write(APIC_EOI, 0, false);
		break;
	case 2:
		guest_write(APIC_EOI, 0, false);
		if (!xapic && READ_ONCE(budget)) {
			WRITE_ONCE(budget, budget - 1);
			guest_write(APIC_SELF_IPI, 32 + (vector * 7 + 13) % 224, false);
		}
		guest_nest();
		break;
	}
	WRITE_ONCE(depth, depth - 1);
}

static void guest_nmi_handler(struct ex_regs *regs)
{
	saw(SAW_NMI, 0, distrust ? 0 : regs->rip);
}

static void guest_db_handler(struct ex_regs *regs)
{
	uint64_t dr6;

	asm volatile("mov %%dr6, %0" : "=r" (dr6));
	asm volatile("mov %0, %%dr6" :: "r" (0xffff0ff0ul));
	saw(SAW_DB, dr6, regs->rip);
}

static void guest_look(void)
{
	uint64_t cr8, flags;
	int i;

	for (i = 0; i < 8; i++) {
		saw(SAW_REG, APIC_IRR + i * 16, guest_read(APIC_IRR + i * 16));
		saw(SAW_REG, APIC_ISR + i * 16, guest_read(APIC_ISR + i * 16));
		saw(SAW_REG, APIC_TMR + i * 16, guest_read(APIC_TMR + i * 16));
	}
	saw(SAW_REG, APIC_TASKPRI, guest_read(APIC_TASKPRI));
	saw(SAW_REG, APIC_PROCPRI, guest_read(APIC_PROCPRI));
	saw(SAW_REG, APIC_ICR, guest_read(APIC_ICR));
	saw(SAW_REG, APIC_LVTT, guest_read(APIC_LVTT));
	saw(SAW_REG, APIC_SPIV, guest_read(APIC_SPIV));
	saw(SAW_REG, MSR_IA32_TSC_DEADLINE, !!rdmsr(MSR_IA32_TSC_DEADLINE));

	asm volatile("mov %%cr8, %0" : "=r" (cr8));
	saw(SAW_REG, 8, cr8);
	asm volatile("lea -128(%%rsp), %%rsp\n\tpushf\n\tpop %0\n\t"
		     "lea 128(%%rsp), %%rsp" : "=r" (flags));
	saw(SAW_REG, 9, flags & EFLAGS_IF);
}

/* There are no more in service than there are classes. */
static void guest_eoi_all(void)
{
	int i;

	for (i = 0; i < 16; i++)
		guest_write(APIC_EOI, 0, false);
}

/* Nothing is pending, nothing in service, and everything would be delivered. */
static void guest_drain(void)
{
	uint64_t nr;

	guest_cli();
	guest_write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff, false);
	guest_cr8(0);
	guest_wrmsr(MSR_IA32_TSC_DEADLINE, 0, false);
	do {
		nr = READ_ONCE(nr_irqs);
		guest_eoi_all();
		guest_window();
	} while (nr != READ_ONCE(nr_irqs));
	guest_eoi_all();
}

static void guest_arm_in(uint8_t vector, uint64_t ns)
{
	guest_write(APIC_LVTT, APIC_LVT_TIMER_TSCDEADLINE | vector, false);
	guest_wrmsr(MSR_IA32_TSC_DEADLINE, rdtsc() + ns_to_guest_tsc(ns), false);
}

static void guest_halt_until(uint8_t vector, uint64_t times)
{
	while (READ_ONCE(fired[vector]) < times)
		guest_halt();
}

static void guest_halt_ipi(void)
{
	uint64_t times;

	guest_drain();
	times = fired[HALT_VECTOR] + 1;
	guest_write(APIC_ICR, APIC_DEST_SELF | APIC_INT_ASSERT | HALT_VECTOR, false);
	guest_halt_until(HALT_VECTOR, times);
}

static void guest_halt_deadline(void)
{
	uint64_t times;

	guest_drain();
	times = fired[HALT_VECTOR] + 1;
	guest_arm_in(HALT_VECTOR, 20 * US);
	guest_halt_until(HALT_VECTOR, times);
}

static void guest_wait_deadline(void)
{
	int i;

	guest_drain();
	guest_arm_in(WAIT_VECTOR, 20 * US);
	for (i = 0; i < 100000 && !guest_bit(APIC_IRR, WAIT_VECTOR); i++)
		;
	saw(SAW_REG, MSR_IA32_TSC_DEADLINE, !!rdmsr(MSR_IA32_TSC_DEADLINE));
	guest_window();
}

static void guest_deadline(struct step *s)
{
	uint64_t val = 0;

	switch (s->reg) {
	case DEADLINE_ONE:
		val = 1;
		break;
	case DEADLINE_PAST:
		val = rdtsc() - 1;
		break;
	case DEADLINE_FAR:
		val = rdtsc() + s->val;
		break;
	}
	saw(SAW_WRITE, MSR_IA32_TSC_DEADLINE,
	    guest_wrmsr(MSR_IA32_TSC_DEADLINE, val, s->tf));
}

static void guest_debugged(struct step *s)
{
	guest_cli();
	asm volatile("out %%al, $" __stringify(PORT_STEP_ON) :: "a" (0));
	saw(SAW_WRITE, s->reg, guest_wrmsr_debugged(APIC_BASE_MSR + (s->reg >> 4), s->val));
	asm volatile("out %%al, $" __stringify(PORT_STEP_OFF) :: "a" (0));
}

/*
 * KVM does not look after the TPR threshold while the APIC is off: in x2APIC mode,
 * lowering CR8 below what it was left at ends in KVM_EXIT_FAIL_ENTRY, whatever is
 * allowed here.  So leave it at 0.
 */
static void guest_before_off(void)
{
	guest_cr8(0);
}

static void guest_step(struct step *s)
{
	uint32_t eax = 0, ebx, ecx = 0, edx;

	WRITE_ONCE(budget, 2);
	switch (s->op) {
	case OP_WRITE:
		if (s->reg == APIC_SPIV && !(s->val & APIC_SPIV_APIC_ENABLED))
			guest_before_off();
		saw(SAW_WRITE, s->reg, guest_write(s->reg, s->val, s->tf));
		break;
	case OP_DEADLINE:
		guest_deadline(s);
		break;
	case OP_MSR:
		saw(SAW_WRITE, s->reg, guest_wrmsr(s->reg, s->val, s->tf));
		break;
	case OP_CR8:
		guest_cr8(s->val);
		break;
	case OP_WINDOW:
		guest_cli();
		guest_window();
		break;
	case OP_STI:
		guest_sti();
		break;
	case OP_CLI:
		guest_cli();
		break;
	case OP_CPUID:
		__cpuid(0, 0, &eax, &ebx, &ecx, &edx);
		break;
	case OP_HALT_IPI:
		guest_halt_ipi();
		break;
	case OP_HALT_DEADLINE:
		guest_halt_deadline();
		break;
	case OP_WAIT_DEADLINE:
		guest_wait_deadline();
		break;
	case OP_DEBUG:
		guest_debugged(s);
		break;
	}
}

static void guest_apic_init(uint32_t ldr)
{
	if (xapic) {
		xapic_enable();
		xapic_write_reg(APIC_LDR, ldr << 24);
	} else {
		x2apic_enable();
	}
	guest_write(APIC_LVTT, APIC_LVT_TIMER_TSCDEADLINE | 0x40, false);
	guest_write(APIC_TDCR, 0xa, false);
}

static void guest_code(void)
{
	guest_apic_init(1);
	GUEST_SYNC(0);

	for (now_step = 0; now_step < nr_steps; now_step++) {
		struct step *s = &program[now_step];

		guest_step(s);
		if (s->look)
			guest_look();
		if (s->sync)
			GUEST_SYNC(1);
	}
	GUEST_DONE();
}

/* A hypervisor that intercepts nothing: what its guest does, is for KVM to see to. */
static void guest_run_vmx(struct vmx_pages *vmx, uint64_t *stack)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, guest_code, stack);
	GUEST_ASSERT(!vmwrite(MSR_BITMAP, vmx->msr_gpa));
	GUEST_ASSERT(!vmwrite(CPU_BASED_VM_EXEC_CONTROL,
			      vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
			      CPU_BASED_USE_MSR_BITMAPS));
	GUEST_ASSERT(!vmlaunch());
	GUEST_FAIL("VMX exit %lx", vmreadz(VM_EXIT_REASON));
}

static void guest_run_svm(struct svm_test_data *svm, uint64_t *stack)
{
	generic_svm_setup(svm, guest_code, stack);
	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_FAIL("SVM exit %x", svm->vmcb->control.exit_code);
}

static void guest_hypervisor(void *state)
{
	static uint64_t stack[2048];

	if (this_cpu_has(X86_FEATURE_VMX))
		guest_run_vmx(state, stack + ARRAY_SIZE(stack));
	else
		guest_run_svm(state, stack + ARRAY_SIZE(stack));
}

/* vCPU 1, while vCPU 0 is in user space, possibly with interrupts on. */
static void guest_target(void)
{
	guest_apic_init(2);
	for (;;) {
		GUEST_SYNC(0);
		WRITE_ONCE(budget, 2);
		guest_window();
		guest_eoi_all();
		guest_window();
	}
}

/* What programs are made of. */
struct recipe {
	uint64_t seed;
	uint64_t nr_steps;
	/* One in so many steps; 0 for none. */
	uint32_t look, sync, tf, debug, disable;
	bool xapic;
	/* An MSR filter comes and goes; what it denies exits to user space. */
	bool filter, filter_exits;
	/* vCPU 0's is a nested guest. */
	bool nested;
	int nr_vcpus;
};

static bool one_in(struct guest_random_state *rng, uint32_t n)
{
	return n && !(guest_random_u32(rng) % n);
}

static uint32_t pick(struct guest_random_state *rng, const uint32_t *from, int nr)
{
	return from[guest_random_u32(rng) % nr];
}

static uint8_t pick_vector(struct guest_random_state *rng)
{
	uint8_t vector = guest_random_u32(rng);

	if (one_in(rng, 8))
		return vector % 16;
	/* A few come again and again. */
	if (one_in(rng, 2))
		return 0x20 + vector % 12 * 18;
	return vector < 16 || vector == BAD_VECTOR ? 0x20 : vector;
}

static uint64_t pick_icr(struct guest_random_state *rng)
{
	static const uint32_t shorthands[] = {
		0, 0, 0, 0, APIC_DEST_SELF, APIC_DEST_SELF, APIC_DEST_ALLBUT,
		APIC_DEST_ALLINC,
	};
	static const uint32_t modes[] = {
		APIC_DM_FIXED, APIC_DM_FIXED, APIC_DM_FIXED, APIC_DM_FIXED,
		APIC_DM_FIXED, APIC_DM_FIXED, APIC_DM_FIXED, APIC_DM_LOWEST,
		APIC_DM_SMI, APIC_DM_REMRD, APIC_DM_NMI, APIC_DM_INIT,
		APIC_DM_STARTUP, APIC_DM_EXTINT,
	};
	static const uint32_t ids[] = { 0, 0, 1, 1, 2, 7, 200, 0xff, 0xffffffff };
	static const uint32_t sets[] = {
		0, 1, 2, 3, 4, 6, 7, 8, 0xffff, 0x10001, 0xff, 0xffffffff,
	};
	static const uint32_t victims[] = { 2, 7, 200 };
	uint32_t mode = pick(rng, modes, ARRAY_SIZE(modes));
	uint32_t low = pick_vector(rng) | mode;
	uint32_t dest;

	if (mode == APIC_DM_SMI || mode == APIC_DM_INIT || mode == APIC_DM_STARTUP) {
		dest = pick(rng, victims, ARRAY_SIZE(victims));
	} else {
		low |= pick(rng, shorthands, ARRAY_SIZE(shorthands));
		if (one_in(rng, 2)) {
			low |= APIC_DEST_LOGICAL;
			dest = pick(rng, sets, ARRAY_SIZE(sets));
		} else {
			dest = pick(rng, ids, ARRAY_SIZE(ids));
		}
	}

	if (!one_in(rng, 4))
		low |= APIC_INT_ASSERT;
	if (one_in(rng, 8))
		low |= APIC_INT_LEVELTRIG;
	if (one_in(rng, 16))
		low |= APIC_ICR_BUSY;
	/* Bits 13, 16, 17 and 20 to 31 are reserved. */
	if (one_in(rng, 10))
		low |= BIT(one_in(rng, 4) ? 13 : one_in(rng, 3) ? 16 : 20 + dest % 12);

	return (uint64_t)dest << 32 | low;
}

static void write_step(struct step *s, uint32_t reg, uint64_t val)
{
	s->op = OP_WRITE;
	s->reg = reg;
	s->val = val;
}

static void icr_step(struct guest_random_state *rng, const struct recipe *r,
		     struct step *s)
{
	write_step(s, APIC_ICR, pick_icr(rng));
	/* There the destination is the upper eight bits. */
	if (r->xapic)
		s->val = s->val << 24 >> 56 << 56 | (uint32_t)s->val;
}

static void lvtt_step(struct guest_random_state *rng, struct step *s)
{
	uint32_t mode = one_in(rng, 4) ? APIC_LVT_TIMER_PERIODIC : APIC_LVT_TIMER_TSCDEADLINE;

	write_step(s, APIC_LVTT, mode | pick_vector(rng) |
		   (one_in(rng, 4) ? APIC_LVT_MASKED : 0));
}

static void other_step(struct guest_random_state *rng, const struct recipe *r,
		       struct step *s)
{
	static const uint32_t regs[] = {
		APIC_ID, APIC_LVR, APIC_PROCPRI, APIC_LDR, APIC_DFR, APIC_ISR, APIC_IRR,
		APIC_ESR, APIC_ICR2, APIC_TMCCT, 0x10, 0x400,
	};
	static const uint32_t msrs[] = { APIC_EOI, APIC_SELF_IPI, APIC_LVTT, APIC_TASKPRI };

	write_step(s, pick(rng, regs, ARRAY_SIZE(regs)), guest_random_u32(rng));
	if (!r->xapic)
		return;

	/* None of them is there. */
	s->op = OP_MSR;
	s->reg = one_in(rng, 2) ? APIC_ICR : pick(rng, msrs, ARRAY_SIZE(msrs));
	s->reg = APIC_BASE_MSR + (s->reg >> 4);
}

static void spiv_step(struct guest_random_state *rng, const struct recipe *r,
		      struct step *s)
{
	bool off = one_in(rng, r->disable);

	write_step(s, APIC_SPIV, 0xff | (off ? 0 : APIC_SPIV_APIC_ENABLED));
}

static void timer_step(struct guest_random_state *rng, struct step *s)
{
	switch (guest_random_u32(rng) % 8) {
	case 0:
		lvtt_step(rng, s);
		break;
	case 1:
		write_step(s, APIC_TMICT, one_in(rng, 8) ? BIT_ULL(32) :
					  one_in(rng, 2) ? 0xf0000000 : 0);
		break;
	default:
		s->op = OP_DEADLINE;
		s->reg = guest_random_u32(rng) % NR_DEADLINES;
		s->val = BIT_ULL(40 + guest_random_u32(rng) % 20);
	}
}

static void self_step(struct guest_random_state *rng, const struct recipe *r,
		      struct step *s)
{
	uint64_t val = pick_vector(rng);

	if (r->xapic)
		write_step(s, APIC_ICR, APIC_DEST_SELF | APIC_INT_ASSERT | val);
	else
		write_step(s, APIC_SELF_IPI, one_in(rng, 10) ?
			   val | BIT_ULL(8 + guest_random_u32(rng) % 56) : val);
}

static void eoi_step(struct guest_random_state *rng, const struct recipe *r,
		     struct step *s)
{
	bool odd = !r->xapic && one_in(rng, 10);

	write_step(s, APIC_EOI, odd ? BIT_ULL(guest_random_u32(rng) % 64) : 0);
}

static void tpr_step(struct guest_random_state *rng, struct step *s)
{
	uint64_t tpr = one_in(rng, 2) ? 0 : guest_random_u32(rng) % 256;

	write_step(s, APIC_TASKPRI, tpr);
	if (one_in(rng, 2)) {
		s->op = OP_CR8;
		s->val = tpr >> 4;
	}
}

static void make_step(struct guest_random_state *rng, const struct recipe *r,
		      struct step *s)
{
	static const uint32_t plain[] = {
		OP_WINDOW, OP_WINDOW, OP_STI, OP_CLI, OP_CPUID, OP_HALT_IPI,
		OP_HALT_DEADLINE, OP_WAIT_DEADLINE,
	};
	uint32_t what = guest_random_u32(rng) % 32;

	if (what < 8)
		icr_step(rng, r, s);
	else if (what < 13)
		self_step(rng, r, s);
	else if (what < 18)
		eoi_step(rng, r, s);
	else if (what < 23)
		timer_step(rng, s);
	else if (what < 25)
		tpr_step(rng, s);
	else if (what < 26)
		other_step(rng, r, s);
	else if (what < 27)
		spiv_step(rng, r, s);
	else
		s->op = pick(rng, plain, ARRAY_SIZE(plain));

	/* That would be denied, and waited for. */
	if (r->filter && (s->op == OP_HALT_DEADLINE || s->op == OP_WAIT_DEADLINE))
		s->op = OP_HALT_IPI;
	/* On VMX, that is an exit to the hypervisor in between. */
	if (r->nested && s->op == OP_CPUID)
		s->op = OP_WINDOW;
}

/* See guest_before_off(): TPR stays as it is while the APIC is off. */
static void check_tpr(struct step *s, bool *off)
{
	if (s->op == OP_WRITE && s->reg == APIC_SPIV)
		*off = !(s->val & APIC_SPIV_APIC_ENABLED);
	else if (*off && (s->op == OP_CR8 || (s->op == OP_WRITE && s->reg == APIC_TASKPRI)))
		s->op = OP_CLI;
}

static void make_program(const struct recipe *r, struct step *steps)
{
	struct guest_random_state rng = new_guest_random_state(r->seed);
	bool off = false;
	int i;

	for (i = 0; i < r->nr_steps; i++) {
		struct step *s = &steps[i];

		memset(s, 0, sizeof(*s));
		make_step(&rng, r, s);
		check_tpr(s, &off);
		if (s->op == OP_WRITE && s->reg != APIC_SPIV && one_in(&rng, r->debug))
			s->op = OP_DEBUG;
		s->tf = one_in(&rng, r->tf);
		s->look = one_in(&rng, r->look);
		s->sync = one_in(&rng, r->sync);
	}
}

/* A VM, and what was seen of it. */
struct rig {
	const struct recipe *recipe;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[NR_VCPUS];
	uint64_t *nr_entries, *now_step;
	struct entry *entries;
	struct step *steps;
	uint64_t nr_syncs;
	int debug_exits;

	struct entry *book;
	size_t nr, size;
};

static void rig_saw(struct rig *rig, const struct entry *e)
{
	if (rig->nr == rig->size) {
		rig->size = rig->size * 2 + 4096;
		rig->book = realloc(rig->book, rig->size * sizeof(*e));
		TEST_ASSERT(rig->book, "No memory");
	}
	rig->book[rig->nr++] = *e;
}

static void rig_saw_host(struct rig *rig, enum kind kind, uint64_t a, uint64_t b)
{
	struct entry e = { *rig->now_step, kind, a, b };

	rig_saw(rig, &e);
}

/* What the guest saw goes into the book before what is seen of it. */
static void rig_collect(struct rig *rig)
{
	int i;

	TEST_ASSERT(*rig->nr_entries < MAX_ENTRIES, "Too much to write down");
	for (i = 0; i < *rig->nr_entries; i++)
		rig_saw(rig, &rig->entries[i]);
	*rig->nr_entries = 0;
}

static void rig_look_lapic(struct rig *rig, int nr)
{
	static const uint32_t regs[] = {
		APIC_ID, APIC_TASKPRI, APIC_LDR, APIC_SPIV, APIC_ESR, APIC_ICR, APIC_ICR2,
		APIC_LVTT, APIC_TMICT,
	};
	struct kvm_lapic_state s;
	int i;

	vcpu_ioctl(rig->vcpus[nr], KVM_GET_LAPIC, &s);
	/* ISR, TMR and IRR, one after the other */
	for (i = APIC_ISR; i < APIC_ESR; i += 0x10)
		rig_saw_host(rig, SAW_LAPIC, nr << 16 | i, *(uint32_t *)&s.regs[i]);
	for (i = 0; i < ARRAY_SIZE(regs); i++)
		rig_saw_host(rig, SAW_LAPIC, nr << 16 | regs[i],
			     *(uint32_t *)&s.regs[regs[i]]);
}

static void rig_look(struct rig *rig, int nr)
{
	struct kvm_vcpu_events ev;
	struct kvm_mp_state mp;
	struct kvm_regs regs;

	rig_look_lapic(rig, nr);
	vcpu_events_get(rig->vcpus[nr], &ev);
	rig_saw_host(rig, SAW_EVENTS, nr, ev.exception.injected | ev.interrupt.injected << 8 |
		     ev.interrupt.shadow << 16 | (uint64_t)ev.nmi.injected << 24 |
		     (uint64_t)ev.nmi.pending << 32 | (uint64_t)ev.nmi.masked << 40 |
		     (uint64_t)ev.smi.pending << 48);
	rig_saw_host(rig, SAW_EVENTS, nr, ev.sipi_vector);
	vcpu_mp_state_get(rig->vcpus[nr], &mp);
	rig_saw_host(rig, SAW_STATE, nr, mp.mp_state);
	vcpu_regs_get(rig->vcpus[nr], &regs);
	rig_saw_host(rig, SAW_RIP, nr, regs.rip);
}

static void rig_step(struct rig *rig, bool on)
{
	struct kvm_guest_debug debug = {
		.control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP : 0,
	};

	rig->debug_exits = 0;
	vcpu_guest_debug_set(rig->vcpus[0], &debug);
}

static void rig_on_debug(struct rig *rig, struct kvm_run *run)
{
	struct kvm_debug_exit_arch *arch = &run->debug.arch;

	rig_saw_host(rig, SAW_EXIT, run->exit_reason, arch->exception);
	rig_saw_host(rig, SAW_EXIT, arch->dr6, arch->pc);
	if (++rig->debug_exits == MAX_DEBUG_EXITS)
		rig_step(rig, false);
}

static void rig_on_wrmsr(struct rig *rig, struct kvm_run *run)
{
	rig_saw_host(rig, SAW_EXIT, run->exit_reason,
		     run->msr.index | (uint64_t)run->msr.reason << 32);
	/* Some user space emulates it, some has it fault. */
	run->msr.error = *rig->now_step % 2;
}

/* Is it an exit of the program, and no ucall? */
static bool rig_handle(struct rig *rig, struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_DEBUG:
		rig_collect(rig);
		rig_on_debug(rig, run);
		return true;
	case KVM_EXIT_X86_WRMSR:
		rig_collect(rig);
		rig_on_wrmsr(rig, run);
		return true;
	case KVM_EXIT_IO:
		if (run->io.port != PORT_STEP_ON && run->io.port != PORT_STEP_OFF)
			return false;
		rig_step(rig, run->io.port == PORT_STEP_ON);
		return true;
	}

	return false;
}

static void print_entry(const char *who, const struct rig *rig, size_t i)
{
	const struct entry *e = &rig->book[i];

	if (i >= rig->nr)
		return;
	ksft_print_msg("  %s: step %u, %s: %lx, %lx\n", who, e->step, kind_names[e->kind],
		       e->a, e->b);
}

static struct kvm_run *alarmed;

static void on_alarm(int nr)
{
	WRITE_ONCE(alarmed->immediate_exit, 1);
}

/* A guest that hangs is to be found out where it does. */
static void rig_enter(struct rig *rig, struct kvm_vcpu *vcpu)
{
	struct itimerval it = { .it_value.tv_sec = BOUND_S };
	struct kvm_regs regs;
	int i;

	alarmed = vcpu->run;
	setitimer(ITIMER_REAL, &it, NULL);
	if (!__vcpu_run(vcpu))
		return;

	TEST_ASSERT(errno == EINTR, "KVM_RUN failed, errno: %d (%s)", errno,
		    strerror(errno));
	vcpu_regs_get(vcpu, &regs);
	rig_collect(rig);
	rig_look(rig, vcpu->id);
	for (i = max(0, (int)rig->nr - 80); i < rig->nr; i++)
		print_entry("last", rig, i);
	TEST_FAIL("vCPU %u hangs at RIP %llx, in step %lu, %s", vcpu->id, regs.rip,
		  *rig->now_step, op_names[rig->steps[*rig->now_step].op]);
}

static uint64_t rig_run(struct rig *rig, int nr)
{
	struct kvm_vcpu *vcpu = rig->vcpus[nr];
	struct ucall uc;
	int i;

	do {
		rig_enter(rig, vcpu);
	} while (rig_handle(rig, vcpu->run));

	rig_collect(rig);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	case UCALL_SYNC:
	case UCALL_DONE:
		break;
	default:
		for (i = max(0, (int)rig->nr - 12); i < rig->nr; i++)
			print_entry("last", rig, i);
		TEST_FAIL("vCPU %u: unexpected exit %s (%llx), in step %lu, %s", vcpu->id,
			  exit_reason_str(vcpu->run->exit_reason),
			  vcpu->run->fail_entry.hardware_entry_failure_reason,
			  *rig->now_step, op_names[rig->steps[*rig->now_step].op]);
	}

	return uc.cmd;
}

/* Denies the deadline, and x2APIC's registers, where KVM is to ignore that. */
static void rig_filter(struct rig *rig, bool on)
{
	uint8_t none[32] = {};
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges = {
			{
				.flags = KVM_MSR_FILTER_WRITE,
				.base = MSR_IA32_TSC_DEADLINE,
				.nmsrs = 1,
				.bitmap = none,
			}, {
				.flags = KVM_MSR_FILTER_WRITE,
				.base = APIC_BASE_MSR,
				.nmsrs = 256,
				.bitmap = none,
			},
		},
	};

	if (!on)
		memset(filter.ranges, 0, sizeof(filter.ranges));
	vm_ioctl(rig->vm, KVM_X86_SET_MSR_FILTER, &filter);
}

static void rig_sync(struct rig *rig)
{
	int i;

	for (i = 0; i < rig->recipe->nr_vcpus; i++)
		rig_look(rig, i);
	if (rig->recipe->nr_vcpus > 1)
		rig_run(rig, 1);
	if (rig->recipe->filter)
		rig_filter(rig, ++rig->nr_syncs % 2);
}

/* Does an emulator take the place of a processor that does it right? */
static bool host_is_odd(void)
{
	return host_cpu_is_amd && !this_cpu_has(X86_FEATURE_NRIPS);
}

static void rig_init_handlers(struct rig *rig)
{
	int i;

	for (i = 16; i < 256; i++)
		if (i != BAD_VECTOR)
			vm_install_exception_handler(rig->vm, i, guest_irq_handler);
	vm_install_exception_handler(rig->vm, DB_VECTOR, guest_db_handler);
	vm_install_exception_handler(rig->vm, NMI_VECTOR, guest_nmi_handler);
}

/* vCPU 2 does not run, but its APIC is as on. */
static void rig_init_dead(struct rig *rig)
{
	struct kvm_lapic_state lapic;
	struct kvm_sregs sregs;

	vcpu_sregs_get(rig->vcpus[2], &sregs);
	if (!rig->recipe->xapic)
		sregs.apic_base |= X2APIC_ENABLE;
	vcpu_sregs_set(rig->vcpus[2], &sregs);
	vcpu_ioctl(rig->vcpus[2], KVM_GET_LAPIC, &lapic);
	*(uint32_t *)&lapic.regs[APIC_SPIV] = APIC_SPIV_APIC_ENABLED | 0xff;
	vcpu_ioctl(rig->vcpus[2], KVM_SET_LAPIC, &lapic);
}

static void rig_nest(struct rig *rig)
{
	vm_vaddr_t state;

	if (kvm_cpu_has(X86_FEATURE_VMX))
		vcpu_alloc_vmx(rig->vm, &state);
	else
		vcpu_alloc_svm(rig->vm, &state);
	vcpu_arch_set_entry_point(rig->vcpus[0], guest_hypervisor);
	vcpu_args_set(rig->vcpus[0], 1, state);
}

static void rig_create(struct rig *rig, const struct recipe *recipe)
{
	int i;

	memset(rig, 0, sizeof(*rig));
	rig->recipe = recipe;
	rig->vm = vm_create(recipe->nr_vcpus);
	for (i = 0; i < recipe->nr_vcpus; i++) {
		rig->vcpus[i] = vm_vcpu_add(rig->vm, i, i ? guest_target : guest_code);
		vcpu_set_tsc_deadline(rig->vcpus[i]);
	}
	if (recipe->nested)
		rig_nest(rig);
	rig_init_handlers(rig);
	virt_pg_map(rig->vm, APIC_DEFAULT_GPA, APIC_DEFAULT_GPA);

	rig->nr_entries = addr_gva2hva(rig->vm, (vm_vaddr_t)&nr_entries);
	rig->now_step = addr_gva2hva(rig->vm, (vm_vaddr_t)&now_step);
	rig->steps = addr_gva2hva(rig->vm, (vm_vaddr_t)program);
	rig->entries = addr_gva2hva(rig->vm, (vm_vaddr_t)entries);
	write_guest_global(rig->vm, nr_steps, recipe->nr_steps);
	write_guest_global(rig->vm, xapic, recipe->xapic);
	write_guest_global(rig->vm, distrust, host_is_odd());
	write_guest_global(rig->vm, nr_windows, nr_windows);
}

static void rig_destroy(struct rig *rig)
{
	free(rig->book);
	kvm_vm_free(rig->vm);
}

static void set_mask(unsigned int mask)
{
	char val[16];

	snprintf(val, sizeof(val), "%u", mask);
	kvm_param_write(MASK_PARAM, val);
}

static const char * const stats[] = {
	"fastpath_icr", "fastpath_deadline", "fastpath_expired", "fastpath_hlt",
	"fastpath_eoi", "fastpath_self_ipi", "fastpath_event", "fastpath_lvtt",
	"fastpath_tmict", "fastpath_declined",
};

#define NR_HANDLERS	9
#define DECLINED	NR_HANDLERS

static void read_counts(struct kvm_vcpu *vcpu, uint64_t *counts)
{
	struct vcpu_stats s;
	int i;

	vcpu_stats_open(&s, vcpu);
	for (i = 0; i < ARRAY_SIZE(stats); i++)
		counts[i] = vcpu_stat(&s, stats[i]);
	vcpu_stats_close(&s);
}

static void print_counts(const char *what, const uint64_t *counts)
{
	int i;

	ksft_print_msg("%s:", what);
	for (i = 0; i < ARRAY_SIZE(stats); i++)
		printf(" %s %lu", stats[i] + strlen("fastpath_"), counts[i]);
	printf("\n");
}

/* Runs the program from the start to the end; the book is what is left of it. */
static void rig_run_program(struct rig *rig, const struct recipe *recipe,
			    unsigned int mask)
{
	uint64_t counts[ARRAY_SIZE(stats)];
	uint64_t start = now_ns();
	int i;

	set_mask(mask);
	rig_create(rig, recipe);
	make_program(recipe, rig->steps);
	if (recipe->filter_exits)
		vm_enable_cap(rig->vm, KVM_CAP_X86_USER_SPACE_MSR,
			      KVM_MSR_EXIT_REASON_FILTER);
	if (recipe->nr_vcpus > 2)
		rig_init_dead(rig);
	if (recipe->nr_vcpus > 1)
		rig_run(rig, 1);

	while (rig_run(rig, 0) == UCALL_SYNC)
		rig_sync(rig);
	rig_sync(rig);

	read_counts(rig->vcpus[0], counts);
	ksft_print_msg("mask %u: %zu things seen, %lu ms\n", mask, rig->nr,
		       (now_ns() - start) / 1000000);
	print_counts("counts", counts);
	for (i = 0; i < ARRAY_SIZE(stats); i++)
		TEST_ASSERT(!recipe->nested || !counts[i],
			    "A fastpath for an exit of a nested guest: %s", stats[i]);
}

static void print_step(struct rig *rig, int i)
{
	struct step *s = &rig->steps[i];

	if (i >= 0 && i < rig->recipe->nr_steps)
		ksft_print_msg("  step %d: %s %x %lx%s%s%s\n", i, op_names[s->op], s->reg,
			       s->val, s->tf ? ", TF" : "", s->look ? ", look" : "",
			       s->sync ? ", sync" : "");
}

/* Where the two part, and how they came there. */
static void print_difference(struct rig *slow, struct rig *fast, size_t i)
{
	uint32_t step = i < slow->nr ? slow->book[i].step : *slow->now_step;
	int j;

	ksft_print_msg("They differ at entry %zu, of step %u:\n", i, step);
	for (j = -12; j <= 1; j++)
		print_step(slow, (int)step + j);
	for (j = i < 12 ? -(int)i : -12; j < 0; j++)
		print_entry("both", slow, i + j);
	for (j = 0; j < 6; j++) {
		print_entry("slow", slow, i + j);
		print_entry("fast", fast, i + j);
	}
}

/* Where the two part; -1 for nowhere. */
static ssize_t difference(struct rig *slow, struct rig *fast)
{
	size_t i, nr = min(slow->nr, fast->nr);

	for (i = 0; i < nr; i++)
		if (memcmp(&slow->book[i], &fast->book[i], sizeof(struct entry)))
			return i;

	return slow->nr == fast->nr ? -1 : nr;
}

FIXTURE(fastpath_program) {
};

FIXTURE_VARIANT(fastpath_program) {
	struct recipe recipe;
};

/* Looking and handing over takes time off the fastpaths: mostly, both are rare. */
FIXTURE_VARIANT_ADD(fastpath_program, alone) {
	{ .seed = 1, .nr_steps = 1024, .nr_vcpus = 1, .look = 6, .sync = 12 }
};

FIXTURE_VARIANT_ADD(fastpath_program, two_vcpus) {
	{ .seed = 2, .nr_steps = 1024, .nr_vcpus = 2, .look = 6, .sync = 12 }
};

FIXTURE_VARIANT_ADD(fastpath_program, three_vcpus) {
	{ .seed = 3, .nr_steps = 1024, .nr_vcpus = 3, .look = 20, .sync = 30 }
};

FIXTURE_VARIANT_ADD(fastpath_program, looked_at) {
	{ .seed = 4, .nr_steps = 600, .nr_vcpus = 3, .look = 1, .sync = 2 }
};

FIXTURE_VARIANT_ADD(fastpath_program, disabled) {
	{ .seed = 5, .nr_steps = 1024, .nr_vcpus = 3, .look = 6, .sync = 12, .disable = 2 }
};

FIXTURE_VARIANT_ADD(fastpath_program, xapic) {
	{
		.seed = 6, .nr_steps = 600, .nr_vcpus = 3, .look = 6, .sync = 12,
		.disable = 4, .xapic = true,
	}
};

FIXTURE_VARIANT_ADD(fastpath_program, stepping) {
	{ .seed = 7, .nr_steps = 600, .nr_vcpus = 3, .look = 6, .sync = 12, .tf = 2 }
};

FIXTURE_VARIANT_ADD(fastpath_program, debugged) {
	{ .seed = 8, .nr_steps = 600, .nr_vcpus = 3, .look = 6, .sync = 12, .debug = 3 }
};

FIXTURE_VARIANT_ADD(fastpath_program, filter) {
	{ .seed = 9, .nr_steps = 600, .nr_vcpus = 3, .look = 6, .sync = 12, .filter = true }
};

FIXTURE_VARIANT_ADD(fastpath_program, filter_exits) {
	{
		.seed = 10, .nr_steps = 600, .nr_vcpus = 3, .look = 6, .sync = 12,
		.filter = true, .filter_exits = true,
	}
};

FIXTURE_VARIANT_ADD(fastpath_program, nested) {
	{
		.seed = 11, .nr_steps = 600, .nr_vcpus = 3, .look = 6, .sync = 12,
		.nested = true,
	}
};

FIXTURE_VARIANT_ADD(fastpath_program, nested_xapic) {
	{
		.seed = 12, .nr_steps = 300, .nr_vcpus = 3, .look = 6, .sync = 12,
		.disable = 4, .xapic = true, .nested = true,
	}
};

FIXTURE_SETUP(fastpath_program)
{
	struct sigaction action = { .sa_handler = on_alarm };

	if (variant->recipe.nested && !kvm_cpu_has(X86_FEATURE_VMX) &&
	    !kvm_cpu_has(X86_FEATURE_SVM))
		SKIP(return, "takes nested virtualization");

	sigaction(SIGALRM, &action, NULL);
	kvm_pin_this_task_to_pcpu(host_cpu(0));
}

FIXTURE_TEARDOWN(fastpath_program)
{
}

/* See --slow. */
static unsigned int slow_mask;

TEST_F(fastpath_program, same)
{
	struct rig slow, fast;
	ssize_t where;

	rig_run_program(&slow, &variant->recipe, slow_mask);
	rig_run_program(&fast, &variant->recipe, MASK_ALL);
	where = difference(&slow, &fast);
	if (where >= 0) {
		print_difference(&slow, &fast, where);
		TEST_FAIL("A fastpath does what the slow path does not");
	}
	rig_destroy(&slow);
	rig_destroy(&fast);
}

/* One handler after the other, alone: the guest does what it is for, so often. */
#define REPEAT		50

static void guest_do_icr(void)
{
	guest_write(APIC_ICR, APIC_INT_ASSERT | HALT_VECTOR, false);
}

static void guest_do_deadline(void)
{
	guest_wrmsr(MSR_IA32_TSC_DEADLINE, rdtsc() + BIT_ULL(40), false);
}

/* So far ahead that it is not over before it is armed. */
static void guest_do_expire(void)
{
	guest_drain();
	guest_arm_in(WAIT_VECTOR, MS);
	while (!guest_bit(APIC_IRR, WAIT_VECTOR))
		;
	guest_window();
}

/* Another vector. */
static void guest_do_lvtt(void)
{
	guest_write(APIC_LVTT, APIC_LVT_TIMER_TSCDEADLINE | HALT_VECTOR, false);
}

/* Its mode is another one, where such a count has no effect but on the register. */
static void guest_do_tmict(void)
{
	guest_write(APIC_TMICT, 0, false);
}

static void guest_do_eoi(void)
{
	guest_do_icr();
	guest_window();
}

static void guest_do_self_ipi(void)
{
	guest_write(APIC_SELF_IPI, HALT_VECTOR, false);
}

static void guest_do_event(void)
{
	guest_sti();
	guest_do_self_ipi();
	guest_cli();
}

/* There are no such interrupts. */
static void guest_do_illegal(void)
{
	guest_write(APIC_SELF_IPI, 5, false);
}

static void guest_loop(void (*fn)(void))
{
	int i;

	guest_apic_init(1);
	guest_drain();
	GUEST_SYNC(0);
	for (i = 0; i < REPEAT; i++)
		fn();
	GUEST_DONE();
}

/* What came of fn, by statistic. */
static void count_with(unsigned int mask, void (*fn)(void), uint64_t *counts)
{
	static const struct recipe recipe = { .nr_vcpus = 1 };
	uint64_t before[ARRAY_SIZE(stats)];
	struct rig rig;
	int i;

	set_mask(mask);
	rig_create(&rig, &recipe);
	vcpu_arch_set_entry_point(rig.vcpus[0], guest_loop);
	vcpu_args_set(rig.vcpus[0], 1, fn);

	TEST_ASSERT_EQ(rig_run(&rig, 0), UCALL_SYNC);
	read_counts(rig.vcpus[0], before);
	TEST_ASSERT_EQ(rig_run(&rig, 0), UCALL_DONE);
	read_counts(rig.vcpus[0], counts);
	for (i = 0; i < ARRAY_SIZE(stats); i++)
		counts[i] -= before[i];
	rig_destroy(&rig);

	ksft_print_msg("mask %u\n", mask);
	print_counts("counts", counts);
}

/* With APICv the processor does itself what would be an exit. */
static bool has_apicv(void)
{
	return host_cpu_is_intel ? get_kvm_intel_param_bool("enable_apicv") :
				   get_kvm_amd_param_bool("avic");
}

static bool has_preemption_timer(void)
{
	return host_cpu_is_intel && get_kvm_intel_param_bool("preemption_timer");
}

/* Without NRIP save, SVM has no fastpaths. */
static bool has_fastpaths(void)
{
	return !host_cpu_is_amd || (this_cpu_has(X86_FEATURE_NRIPS) &&
				    get_kvm_amd_param_integer("nrips"));
}

FIXTURE(fastpath_handler) {
};

FIXTURE_VARIANT(fastpath_handler) {
	void (*fn)(void);
	int nr;
	/* The other handlers that it takes. */
	unsigned int with;
	/* The processor may be in the way, or not up to it. */
	bool no_apicv, preemption_timer;
};

FIXTURE_VARIANT_ADD(fastpath_handler, icr) { guest_do_icr, 0, 0, true };

FIXTURE_VARIANT_ADD(fastpath_handler, deadline) { guest_do_deadline, 1 };

FIXTURE_VARIANT_ADD(fastpath_handler, expired) {
	guest_do_expire, 2, .preemption_timer = true
};

FIXTURE_VARIANT_ADD(fastpath_handler, hlt) { guest_halt_ipi, 3 };

FIXTURE_VARIANT_ADD(fastpath_handler, eoi) { guest_do_eoi, 4, 0, true };

FIXTURE_VARIANT_ADD(fastpath_handler, self_ipi) { guest_do_self_ipi, 5, 0, true };

FIXTURE_VARIANT_ADD(fastpath_handler, lvtt) { guest_do_lvtt, 7 };

FIXTURE_VARIANT_ADD(fastpath_handler, tmict) { guest_do_tmict, 8 };

FIXTURE_VARIANT_ADD(fastpath_handler, event) { guest_do_event, 6, BIT(5), true };

FIXTURE_SETUP(fastpath_handler)
{
	struct sigaction action = { .sa_handler = on_alarm };

	if (!has_fastpaths())
		SKIP(return, "KVM has no fastpaths on this processor");
	if (variant->no_apicv && has_apicv())
		SKIP(return, "takes a processor without APICv, or KVM not to use it");
	if (variant->preemption_timer && !has_preemption_timer())
		SKIP(return, "takes a preemption timer");

	sigaction(SIGALRM, &action, NULL);
	kvm_pin_this_task_to_pcpu(host_cpu(0));
}

FIXTURE_TEARDOWN(fastpath_handler)
{
}

/* It counts when it is allowed to, and then it alone. */
TEST_F(fastpath_handler, alone)
{
	uint64_t counts[ARRAY_SIZE(stats)];
	int i;

	count_with(BIT(variant->nr) | variant->with, variant->fn, counts);
	TEST_ASSERT(counts[variant->nr] >= REPEAT, "%s is %lu after %u times",
		    stats[variant->nr], counts[variant->nr], REPEAT);
	for (i = 0; i < NR_HANDLERS; i++)
		if (i != variant->nr && !(variant->with & BIT(i)))
			TEST_ASSERT(!counts[i], "%s is %lu, and should be 0", stats[i],
				    counts[i]);
}

/* All the others do not do its work. */
TEST_F(fastpath_handler, forbidden)
{
	uint64_t counts[ARRAY_SIZE(stats)];

	count_with(MASK_ALL & ~BIT(variant->nr), variant->fn, counts);
	TEST_ASSERT(!counts[variant->nr], "%s is %lu, and should be 0",
		    stats[variant->nr], counts[variant->nr]);
}

TEST_F(fastpath_handler, none)
{
	uint64_t counts[ARRAY_SIZE(stats)];
	int i;

	count_with(0, variant->fn, counts);
	for (i = 0; i < ARRAY_SIZE(stats); i++)
		TEST_ASSERT(!counts[i], "%s is %lu, and should be 0", stats[i], counts[i]);
}

/* What is tried and left to the slow path is counted, too. */
TEST(declined)
{
	uint64_t counts[ARRAY_SIZE(stats)];

	if (!has_fastpaths() || has_apicv())
		SKIP(return, "takes fastpaths, and no APICv");

	count_with(BIT(5), guest_do_illegal, counts);
	TEST_ASSERT_EQ(counts[5], 0);
	TEST_ASSERT_EQ(counts[DECLINED], REPEAT);

	count_with(MASK_ALL & ~BIT(5), guest_do_illegal, counts);
	TEST_ASSERT_EQ(counts[DECLINED], 0);
}

/*
 * To a vCPU that runs, halts, or is about to do either: none of the IPIs is lost, and
 * none comes twice.
 */
#define IPI_VECTOR	0x90
#define NR_IPIS		300

static uint64_t received;
static uint64_t halts;

static void guest_ipi_handler(struct ex_regs *regs)
{
	guest_rip(regs);
	if (distrust && !guest_bit(APIC_ISR, IPI_VECTOR))
		return;

	WRITE_ONCE(received, received + 1);
	guest_write(APIC_EOI, 0, false);
}

static void guest_receiver(void)
{
	guest_apic_init(2);
	GUEST_SYNC(0);
	while (READ_ONCE(received) < NR_IPIS) {
		if (halts)
			guest_halt();
		else
			guest_window();
	}
	GUEST_DONE();
}

static void guest_sender(void)
{
	static const uint64_t icrs[] = {
		1ull << 32 | IPI_VECTOR,
		2ull << 32 | APIC_DEST_LOGICAL | IPI_VECTOR,
		6ull << 32 | APIC_DEST_LOGICAL | APIC_INT_ASSERT | IPI_VECTOR,
		APIC_DEST_ALLBUT | IPI_VECTOR,
	};
	uint64_t until;
	int i;

	guest_apic_init(1);
	/* While it spins; see guest_await_halter() of kvm_latency_bench. */
	asm volatile("sti");
	for (i = 0; i < NR_IPIS; i++) {
		/* At all the points of the other's way into a halt, and out of it. */
		for (until = rdtsc() + i * 37 % 8000; rdtsc() < until;)
			;
		guest_write(APIC_ICR, icrs[i % ARRAY_SIZE(icrs)], false);
		while (READ_ONCE(received) != i + 1)
			cpu_relax();
	}
	GUEST_DONE();
}

static void *run_receiver(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	struct ucall uc;

	kvm_pin_this_task_to_pcpu(host_cpu(1));
	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_DONE);
	return NULL;
}

FIXTURE(fastpath_ipi) {
};

FIXTURE_VARIANT(fastpath_ipi) {
	unsigned int mask;
	bool halts;
};

FIXTURE_VARIANT_ADD(fastpath_ipi, runs_slow) { 0 };

FIXTURE_VARIANT_ADD(fastpath_ipi, runs_fast) { MASK_ALL };

FIXTURE_VARIANT_ADD(fastpath_ipi, halts_slow) { 0, true };

FIXTURE_VARIANT_ADD(fastpath_ipi, halts_fast) { MASK_ALL, true };

FIXTURE_SETUP(fastpath_ipi)
{
	struct sigaction action = { .sa_handler = on_alarm };

	if (CPU_COUNT(&host_cpus) < 2)
		SKIP(return, "takes two CPUs");

	sigaction(SIGALRM, &action, NULL);
	kvm_pin_this_task_to_pcpu(host_cpu(0));
}

FIXTURE_TEARDOWN(fastpath_ipi)
{
}

TEST_F(fastpath_ipi, received)
{
	static const struct recipe recipe = { .nr_vcpus = 2 };
	uint64_t counts[ARRAY_SIZE(stats)];
	pthread_t thread;
	struct rig rig;
	uint64_t got;

	set_mask(variant->mask);
	rig_create(&rig, &recipe);
	vm_install_exception_handler(rig.vm, IPI_VECTOR, guest_ipi_handler);
	vcpu_arch_set_entry_point(rig.vcpus[0], guest_sender);
	vcpu_arch_set_entry_point(rig.vcpus[1], guest_receiver);
	write_guest_global(rig.vm, halts, variant->halts);

	TEST_ASSERT_EQ(rig_run(&rig, 1), UCALL_SYNC);
	pthread_create(&thread, NULL, run_receiver, rig.vcpus[1]);
	TEST_ASSERT_EQ(rig_run(&rig, 0), UCALL_DONE);
	pthread_join(thread, NULL);

	sync_global_from_guest(rig.vm, received);
	got = received;
	TEST_ASSERT_EQ(got, NR_IPIS);
	read_counts(rig.vcpus[0], counts);
	print_counts("sender", counts);
	read_counts(rig.vcpus[1], counts);
	print_counts("receiver", counts);
	rig_destroy(&rig);
}

/* Whatever makes sense can be read back; the rest is refused and changes nothing. */
TEST(parameter)
{
	static const char * const bad[] = { "512", "1023", "4294967296", "-1", "x" };
	char val[16], back[16];
	int i;

	for (i = 0; i <= MASK_ALL; i++) {
		snprintf(val, sizeof(val), "%d", i);
		kvm_param_write(MASK_PARAM, val);
		kvm_param_read(MASK_PARAM, back, sizeof(back));
		ASSERT_STREQ(val, back);
	}

	kvm_param_write(MASK_PARAM, "42");
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_NE(0, __kvm_param_write(MASK_PARAM, bad[i]));
		kvm_param_read(MASK_PARAM, back, sizeof(back));
		EXPECT_STREQ("42", back);
	}
	EXPECT_EQ(EINVAL, __kvm_param_write(MASK_PARAM, "512"));
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_param_keep(MASK_PARAM));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_DEADLINE_TIMER));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_X86_USER_SPACE_MSR));

	if (argc > 2 && !strcmp(argv[1], "--slow")) {
		slow_mask = atoi_non_negative("Mask", argv[2]);
		nr_windows = 2;
		argc -= 2;
		argv += 2;
	}

	return test_harness_run(argc, argv);
}
