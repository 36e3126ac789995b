// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that a LAPIC timer fires while its owner, L1, runs a guest, L2: the interrupt
 * leaves L2 with an exit, in time and never early.
 *
 * L2 runs in L1's address space.  It spins, or it halts, which L1 does not intercept;
 * its TSC may have an offset to L1's, and it may be the one that arms L1's timer.
 * L1 is the guest of lapic_timer_rig.h, and keeps its books (lapic_timer_util.h), by
 * its own TSC.
 *
 * On VMX, L1 may also have interrupts acknowledged by the exit, and use the preemption
 * timer of L2's VMCS, which KVM emulates beside its own.
 */
#include "kvm_test_harness.h"
#include "lapic_timer_rig.h"
#include "svm_util.h"
#include "vmx.h"

/* How late is late, besides what it takes to enter and leave L2. */
#define LATE_NS		(500 * US)
#define TRIES		10

#define RFLAGS_FIXED		2
#define INTR_INFO_VECTOR_MASK	0xff
#define INTR_INFO_VALID_MASK	BIT(31)

/* What L1 and L2 know of each other; the guest's. */
static struct {
	struct vmx_pages *vmx;
	struct svm_test_data *svm;
	bool launched;
	bool acks;
	/* Added to L1's TSC it is L2's. */
	int64_t offset;
	bool halts;
	/* L2 is to arm L1's timer. */
	uint64_t arm_ns;
	/* L2's TSC, as it saw it last. */
	uint64_t tsc;
	unsigned long stack[512] __aligned(16);
} l2;

enum l2_exit { L2_INTERRUPT, L2_PREEMPTION_TIMER };

/* In L2, with interrupts off: the books are by L1's TSC. */
static void l2_arm(struct timer *t, uint64_t ns)
{
	uint64_t tsc = rdtsc() - l2.offset;

	if (t->mode == DEADLINE)
		guest_arm_at(t, tsc + ns_to_guest_tsc(ns));
	else
		guest_arm_count_from(t, ns, tsc);
}

static void l2_code(void)
{
	uint64_t ns = l2.arm_ns;

	/* Where L1 does not see to it. */
	asm volatile("cli");
	l2.arm_ns = 0;
	if (ns)
		l2_arm(&timers[0], ns);

	for (;;) {
		WRITE_ONCE(l2.tsc, rdtsc());
		if (l2.halts)
			asm volatile("sti\n\t"
				     "hlt\n\t"
				     "cli" ::: "memory");
		else
			guest_spin_once();
	}
}

static void *l2_stack(void)
{
	/* As if it had been called. */
	return &l2.stack[ARRAY_SIZE(l2.stack) - 1];
}

static void l1_init_vmx(void)
{
	GUEST_ASSERT(prepare_for_vmx_operation(l2.vmx));
	GUEST_ASSERT(load_vmcs(l2.vmx));
	prepare_vmcs(l2.vmx, l2_code, l2_stack());

	vmwrite(PIN_BASED_VM_EXEC_CONTROL,
		vmreadz(PIN_BASED_VM_EXEC_CONTROL) | PIN_BASED_EXT_INTR_MASK);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL,
		(vmreadz(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_USE_MSR_BITMAPS |
		 CPU_BASED_USE_TSC_OFFSETTING) & ~CPU_BASED_HLT_EXITING);
	vmwrite(TSC_OFFSET, l2.offset);
	if (l2.acks)
		vmwrite(VM_EXIT_CONTROLS,
			vmreadz(VM_EXIT_CONTROLS) | VM_EXIT_ACK_INTR_ON_EXIT);
	l2.launched = false;
}

/* From the start, whatever it was doing. */
static enum l2_exit l1_run_vmx(void)
{
	uint64_t reason;

	vmwrite(GUEST_RIP, (uint64_t)l2_code);
	vmwrite(GUEST_RSP, (uint64_t)l2_stack());
	vmwrite(GUEST_RFLAGS, RFLAGS_FIXED);
	vmwrite(GUEST_ACTIVITY_STATE, 0);
	vmwrite(GUEST_INTERRUPTIBILITY_INFO, 0);
	GUEST_ASSERT(!(l2.launched ? vmresume() : vmlaunch()));
	l2.launched = true;

	reason = vmreadz(VM_EXIT_REASON);
	if (reason == EXIT_REASON_PREEMPTION_TIMER)
		return L2_PREEMPTION_TIMER;

	GUEST_ASSERT_EQ(reason, EXIT_REASON_EXTERNAL_INTERRUPT);
	return L2_INTERRUPT;
}

static void l1_init_svm(void)
{
	generic_svm_setup(l2.svm, l2_code, l2_stack());
	l2.svm->vmcb->control.intercept |= 1ull << INTERCEPT_INTR;
	l2.svm->vmcb->control.tsc_offset = l2.offset;
}

static enum l2_exit l1_run_svm(void)
{
	struct vmcb *vmcb = l2.svm->vmcb;

	vmcb->save.rip = (uint64_t)l2_code;
	vmcb->save.rsp = (uint64_t)l2_stack();
	vmcb->control.int_state = 0;
	run_guest(vmcb, l2.svm->vmcb_gpa);
	asm volatile("stgi");
	GUEST_ASSERT_EQ(vmcb->control.exit_code, SVM_EXIT_INTR);
	return L2_INTERRUPT;
}

static enum l2_exit l1_run(void)
{
	return l2.vmx ? l1_run_vmx() : l1_run_svm();
}

static void l1_init(void)
{
	if (l2.vmx)
		l1_init_vmx();
	else
		l1_init_svm();
}

static void l1_end(void)
{
	/* The next one makes a VMCS of its own. */
	if (l2.vmx)
		asm volatile("vmxoff");
}

/* The exit has taken the interrupt, which then has no handler. */
static void l1_acked(struct timer *t, uint64_t now)
{
	uint64_t info = vmreadz(VM_EXIT_INTR_INFO);

	GUEST_ASSERT_EQ(info & INTR_INFO_VECTOR_MASK, t->vector);
	GUEST_ASSERT(info & INTR_INFO_VALID_MASK);
	guest_timer_fired(t, now);
	x2apic_write_reg(APIC_EOI, 0);
}

/* L2 until the timer's interrupt; how long after the deadline L1 knows. */
static uint64_t l1_run_until_fired(struct timer *t)
{
	uint64_t fired = t->fired, deadline, now;

	do {
		GUEST_ASSERT_EQ(l1_run(), L2_INTERRUPT);
		now = rdtsc();
		/* By now, if L2 armed it. */
		deadline = t->deadline;
		if (l2.acks)
			l1_acked(t, now);
		else
			guest_spin_once();
	} while (t->fired == fired);

	return now - min(now, deadline);
}

/* What it takes to learn in L1 of a timer that is due when L2 is entered. */
static uint64_t l1_cost(struct timer *t)
{
	uint64_t start, cost = 0;
	int i;

	for (i = 0; i < TRIES; i++) {
		guest_arm(t, 1 * US);
		start = rdtsc();
		l1_run_until_fired(t);
		cost = max(cost, rdtsc() - start);
		guest_clear(t);
		guest_spin(10 * US);
	}

	return cost;
}

/* Most of them are in time; something else may be in the way, so not all. */
static void l1_expect(struct timer *t)
{
	static const uint64_t delays[] = { 100 * US, 3 * MS, 500 * US, 7 * MS };
	uint64_t bound = l1_cost(t) + ns_to_guest_tsc(LATE_NS);
	uint64_t tsc, late;
	int i, j, in_time = 0;

	for (i = 0; i < TRIES; i++) {
		if (request.nr)
			l2.arm_ns = delays[i % ARRAY_SIZE(delays)];
		else
			guest_arm(t, delays[i % ARRAY_SIZE(delays)]);

		tsc = rdtsc();
		l2.tsc = 0;
		late = l1_run_until_fired(t);
		in_time += late < bound;
		/* L2 may not have got to run. */
		if (l2.tsc) {
			GUEST_ASSERT(l2.tsc - l2.offset >= tsc);
			GUEST_ASSERT(l2.tsc - l2.offset <= rdtsc());
		}

		if (t->mode == PERIODIC) {
			for (j = 0; j < 2 && t->deadline; j++)
				l1_run_until_fired(t);
			guest_clear(t);
		} else {
			GUEST_ASSERT_EQ(t->deadline, 0);
		}
		guest_spin(10 * US);
	}

	__GUEST_ASSERT(in_time >= TRIES / 2, "Only %d of %d were in time", in_time, TRIES);
}

static void l1_code(struct timer *t)
{
	l1_init();
	l1_expect(t);
	l1_end();
	guest_linger();

	/* It is still L1's alone. */
	guest_arm(t, 200 * US);
	guest_expect(t);
	guest_linger();
}

FIXTURE(nested) {
	struct rig rig;
	typeof(l2) *l2;
};

FIXTURE_VARIANT(nested) {
	enum timer_mode mode;
	bool halts;
	uint64_t poll_ns;
};

FIXTURE_VARIANT_ADD(nested, oneshot_spin) { ONESHOT };
FIXTURE_VARIANT_ADD(nested, oneshot_poll) { ONESHOT, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(nested, oneshot_sleep) { ONESHOT, true };
FIXTURE_VARIANT_ADD(nested, periodic_spin) { PERIODIC };
FIXTURE_VARIANT_ADD(nested, periodic_poll) { PERIODIC, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(nested, periodic_sleep) { PERIODIC, true };
FIXTURE_VARIANT_ADD(nested, deadline_spin) { DEADLINE };
FIXTURE_VARIANT_ADD(nested, deadline_poll) { DEADLINE, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(nested, deadline_sleep) { DEADLINE, true };

FIXTURE_SETUP(nested)
{
	struct rig *rig = &self->rig;
	vm_vaddr_t gva;

	rig_create(rig, variant->mode, variant->halts, variant->poll_ns);
	self->l2 = addr_gva2hva(rig->vm, (vm_vaddr_t)&l2);
	self->l2->halts = variant->halts;
	if (kvm_cpu_has(X86_FEATURE_VMX)) {
		vcpu_alloc_vmx(rig->vm, &gva);
		self->l2->vmx = (void *)gva;
	} else {
		vcpu_alloc_svm(rig->vm, &gva);
		self->l2->svm = (void *)gva;
	}
}

FIXTURE_TEARDOWN(nested)
{
	rig_destroy(&self->rig);
}

TEST_F(nested, l1_arms)
{
	rig_do(&self->rig, l1_code);
}

TEST_F(nested, l1_arms_acks)
{
	if (!self->l2->vmx)
		SKIP(return, "takes VMX");

	self->l2->acks = true;
	rig_do(&self->rig, l1_code);
}

TEST_F(nested, l2_arms)
{
	self->rig.request->nr = 1;
	rig_do(&self->rig, l1_code);
}

/* In either direction, by more than any deadline here. */
TEST_F(nested, tsc_offset)
{
	static const int64_t offsets[] = { 1ll << 40, -(1ll << 50) };
	int i;

	for (i = 0; i < 2 * ARRAY_SIZE(offsets); i++) {
		self->l2->offset = offsets[i / 2];
		self->rig.request->nr = i % 2;
		rig_do(&self->rig, l1_code);
	}
}

/* TSC ticks in one of the preemption timer's of L2's VMCS. */
static uint64_t l1_preemption_rate(void)
{
	return 1ull << (rdmsr(MSR_IA32_VMX_MISC) & 0x1f);
}

static void l1_set_preemption_timer(uint64_t ns)
{
	uint64_t pin = vmreadz(PIN_BASED_VM_EXEC_CONTROL);

	vmwrite(VMX_PREEMPTION_TIMER_VALUE, ns_to_guest_tsc(ns) / l1_preemption_rate());
	vmwrite(PIN_BASED_VM_EXEC_CONTROL, ns ? pin | PIN_BASED_VMX_PREEMPTION_TIMER :
						pin & ~PIN_BASED_VMX_PREEMPTION_TIMER);
}

/*
 * Two timers, each with an exit of its own, both not early.  Returns whether they came
 * in order.  KVM counts the one of the VMCS by the host's clock, as it does a LAPIC's
 * initial count.
 */
static bool l1_two_timers(struct timer *t, uint64_t lapic_ns, uint64_t vmcs_ns)
{
	uint64_t ticks = ns_to_guest_tsc(vmcs_ns - vmcs_ns / 1000 - 1 * US);
	uint64_t fired = t->fired, start, late;
	bool preempted = false, in_order = false;

	guest_arm(t, lapic_ns);
	l1_set_preemption_timer(vmcs_ns);

	while (t->fired == fired || !preempted) {
		/* The VMCS's starts anew with each entry. */
		start = rdtsc();
		if (l1_run() == L2_PREEMPTION_TIMER) {
			late = rdtsc() - start;
			GUEST_ASSERT(!preempted);
			__GUEST_ASSERT(late >= ticks, "Only %lu of %lu ticks", late, ticks);
			preempted = true;
			in_order |= t->fired == fired && vmcs_ns < lapic_ns;
			l1_set_preemption_timer(0);
		} else {
			guest_spin_once();
			in_order |= !preempted && lapic_ns < vmcs_ns;
			if (t->mode == PERIODIC && t->fired != fired)
				guest_clear(t);
		}
	}
	guest_spin(10 * US);
	return in_order;
}

static void l1_preempts(struct timer *t)
{
	int i, in_order = 0;

	l1_init();
	for (i = 0; i < TRIES / 2; i++) {
		in_order += l1_two_timers(t, 5 * MS, 1 * MS);
		in_order += l1_two_timers(t, 1 * MS, 5 * MS);
	}
	__GUEST_ASSERT(in_order >= TRIES / 2 + 1, "Only %d of %d were in order", in_order, TRIES);
	l1_end();
	guest_linger();
}

static bool has_nested_preemption_timer(void)
{
	return kvm_get_feature_msr(MSR_IA32_VMX_TRUE_PINBASED_CTLS) >> 32 &
	       PIN_BASED_VMX_PREEMPTION_TIMER;
}

TEST_F(nested, l1_preemption_timer)
{
	if (!self->l2->vmx || !has_nested_preemption_timer())
		SKIP(return, "takes a preemption timer for nested guests");

	rig_do(&self->rig, l1_preempts);
}

int main(int argc, char *argv[])
{
	rig_require();
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_VMX) || kvm_cpu_has(X86_FEATURE_SVM));

	return test_harness_run(argc, argv);
}
