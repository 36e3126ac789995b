/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of LAPIC timers share: a VM with one vCPU, which keeps the books of
 * lapic_timer_util.h and does what it is told, one function after the other; and
 * a host that runs it in this thread, for as long as it likes.
 */
#ifndef SELFTEST_KVM_LAPIC_TIMER_RIG_H
#define SELFTEST_KVM_LAPIC_TIMER_RIG_H

#include <signal.h>
#include <sys/time.h>

#include "lapic_timer_util.h"

/* Until an interrupt counts as lost. */
#define BOUND_NS	(5000 * MS)
/* A halt is polled for so long, where it is polled at all. */
#define WINDOW_NS	(20 * MS)
/* How long to look for interrupts that must not come. */
#define LINGER_NS	(300 * US)

#define KICK_VECTOR	0x40

/* What the one vCPU of most tests is to do, and how. */
static struct {
	void (*fn)(struct timer *t);
	enum timer_mode mode;
	bool halts;
	uint64_t kicked;
	/* Arguments and results of some. */
	uint64_t nr;
	uint64_t ns;
	uint64_t step_ns;
} request;

/* What the guest asks of the host by GUEST_SYNC(). */
enum stage {
	/* It has done what it was told. */
	STAGE_DONE,
	/* To be woken in a while by something that is no timer. */
	STAGE_KICK,
	/* The host's turn, while the timer runs. */
	STAGE_HOST,
	/* Not asked for: time is up. */
	STAGE_INTERRUPTED,
};

static inline void guest_kick_handler(struct ex_regs *regs)
{
	WRITE_ONCE(request.kicked, 1);
	guest_end_irq(regs);
}

static inline void guest_wait(void)
{
	if (request.halts) {
		guest_note_step();
		guest_halt();
	} else {
		guest_spin_once();
	}
}

/* Waits for nothing to happen, halted if that is how this guest waits. */
static inline void guest_linger(void)
{
	if (!request.halts) {
		guest_spin(LINGER_NS);
		return;
	}

	request.kicked = 0;
	GUEST_SYNC(STAGE_KICK);
	while (!READ_ONCE(request.kicked))
		guest_halt();
}

static inline void guest_wait_fired(struct timer *t, uint64_t times)
{
	uint64_t nr = t->fired + times;

	while (READ_ONCE(t->deadline) && READ_ONCE(t->fired) < nr)
		guest_wait();
	/* More than that only if it goes on and on. */
	GUEST_ASSERT(t->fired == nr || (t->fired > nr && t->mode == PERIODIC));
}

/* An armed timer fires once, or on and on; leaves it cleared. */
static inline void guest_expect(struct timer *t)
{
	if (t->mode != PERIODIC) {
		guest_wait_fired(t, 1);
		GUEST_ASSERT_EQ(t->deadline, 0);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_TSC_DEADLINE), 0);
	} else {
		guest_wait_fired(t, 3);
		guest_clear(t);
	}
}

static inline void guest_loop(void)
{
	for (;;) {
		GUEST_SYNC(STAGE_DONE);
		request.fn(&timers[0]);
	}
}

static inline void guest_code(void)
{
	guest_init(&timers[0], 0, request.mode);
	guest_loop();
}

static const struct {
	const char *name;
	const char *value;
} params[] = {
	{ "halt_poll_governor", "static" },
	{ "halt_poll_ns_grow_start", "20000000" },
	{ "lapic_timer_lazy", "Y" },
	{ "lapic_timer_poll", "Y" },
};

static bool param_known[ARRAY_SIZE(params)];

static inline void set_params(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(params); i++)
		if (param_known[i])
			kvm_param_write(params[i].name, params[i].value);
}

/* A VM with its one vCPU, which runs in this thread. */
struct rig {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_stats stats;
	typeof(request) *request;
	uint64_t poll_ns;
};

static struct kvm_run *alarmed;

/* Before KVM_RUN or in it: either way it returns. */
static inline void on_alarm(int nr)
{
	if (alarmed)
		WRITE_ONCE(alarmed->immediate_exit, 1);
}

static inline void set_alarm(uint64_t ns)
{
	struct itimerval it = {
		.it_value.tv_sec = ns / NSEC_PER_SEC,
		.it_value.tv_usec = ns % NSEC_PER_SEC / 1000,
	};

	TEST_ASSERT(!setitimer(ITIMER_REAL, &it, NULL), "setitimer() failed");
}

static inline enum stage rig_stage(struct rig *rig)
{
	return expect_ucall(rig->vcpu, UCALL_SYNC);
}

/* Runs the vCPU until it asks for something, and for so long at most. */
static inline enum stage rig_run_for(struct rig *rig, uint64_t ns)
{
	int r;

	alarmed = rig->vcpu->run;
	alarmed->immediate_exit = 0;
	set_alarm(ns);
	r = __vcpu_run(rig->vcpu);
	TEST_ASSERT(!r || errno == EINTR, "KVM_RUN failed, errno: %d (%s)",
		    errno, strerror(errno));
	set_alarm(0);
	alarmed = NULL;
	rig->vcpu->run->immediate_exit = 0;

	return r ? STAGE_INTERRUPTED : rig_stage(rig);
}

static inline void rig_send_msi(struct rig *rig, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = APIC_DEFAULT_GPA,
		.data = data,
	};

	TEST_ASSERT(__vm_ioctl(rig->vm, KVM_SIGNAL_MSI, &msi) > 0,
		    "KVM_SIGNAL_MSI failed, errno: %d (%s)", errno, strerror(errno));
}

static inline void rig_report(struct rig *rig)
{
	struct timer *t = addr_gva2hva(rig->vm, (vm_vaddr_t)&timers[0]);

	TEST_FAIL("The timer was lost: armed %lu times, fired %lu, now due at %lu",
		  t->armed, t->fired, t->deadline);
}

/* Until it is the host's turn, or the guest is done. */
static inline enum stage rig_run(struct rig *rig)
{
	enum stage stage = rig_run_for(rig, BOUND_NS);

	while (stage == STAGE_KICK) {
		stage = rig_run_for(rig, LINGER_NS);
		if (stage == STAGE_INTERRUPTED) {
			rig_send_msi(rig, KICK_VECTOR);
			stage = rig_run_for(rig, BOUND_NS);
		}
	}
	if (stage == STAGE_INTERRUPTED)
		rig_report(rig);
	return stage;
}

static inline void rig_start(struct rig *rig, void (*fn)(struct timer *t))
{
	rig->request->fn = fn;
}

static inline void rig_finish(struct rig *rig)
{
	TEST_ASSERT_EQ(rig_run(rig), STAGE_DONE);
}

static inline void rig_do(struct rig *rig, void (*fn)(struct timer *t))
{
	rig_start(rig, fn);
	rig_finish(rig);
}

/* The guest is to be found waiting for its timer. */
static inline void rig_run_until_armed(struct rig *rig)
{
	TEST_ASSERT_EQ(rig_run(rig), STAGE_HOST);
	TEST_ASSERT_EQ(rig_run_for(rig, 1 * MS), STAGE_INTERRUPTED);
}

static inline void rig_vcpu_init(struct rig *rig)
{
	vcpu_set_tsc_deadline(rig->vcpu);
	if (kvm_cpu_has(X86_FEATURE_TSC_ADJUST))
		vcpu_set_cpuid_feature(rig->vcpu, X86_FEATURE_TSC_ADJUST);
	vcpu_stats_open(&rig->stats, rig->vcpu);
	vm_enable_cap(rig->vm, KVM_CAP_HALT_POLL, rig->poll_ns);
}

/* A halt that opens the window, where that is up to KVM. */
static inline void guest_warm_up(struct timer *t)
{
	guest_arm(t, 1 * MS);
	guest_expect(t);
}

static inline void rig_create(struct rig *rig, enum timer_mode mode, bool halts,
			      uint64_t poll_ns)
{
	struct sigaction action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &action, NULL);
	set_params();
	kvm_pin_this_task_to_pcpu(host_cpu(0));

	rig->poll_ns = poll_ns;
	rig->vm = vm_create(1);
	/* Its vCPU is not the one that boots: after an INIT it waits for a SIPI. */
	vm_ioctl(rig->vm, KVM_SET_BOOT_CPU_ID, (void *)1);
	rig->vcpu = vm_vcpu_add(rig->vm, 0, guest_code);
	rig_vcpu_init(rig);
	vm_install_exception_handler(rig->vm, TIMER_VECTOR, guest_timer_handler);
	vm_install_exception_handler(rig->vm, KICK_VECTOR, guest_kick_handler);

	rig->request = addr_gva2hva(rig->vm, (vm_vaddr_t)&request);
	rig->request->mode = mode;
	rig->request->halts = halts;
	rig_finish(rig);
	rig_do(rig, guest_warm_up);
}

static inline void rig_destroy(struct rig *rig)
{
	struct timer *t = addr_gva2hva(rig->vm, (vm_vaddr_t)&timers[0]);

	if (t->phantoms)
		ksft_print_msg("%lu interrupts were delivered again\n", t->phantoms);
	vcpu_stats_close(&rig->stats);
	kvm_vm_free(rig->vm);
}

/* Does this KVM tell what its timers do? */
static inline bool rig_has_stats(struct rig *rig)
{
	uint64_t val;

	return __vcpu_stat(&rig->stats, "lapic_timer_hv_arms", &val, 1);
}

/* What main() does before anything else. */
static inline void rig_require(void)
{
	int i;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HALT_POLL));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_SIGNAL_MSI));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_DEADLINE_TIMER));

	for (i = 0; i < ARRAY_SIZE(params); i++)
		param_known[i] = kvm_param_keep(params[i].name);
}

#endif /* SELFTEST_KVM_LAPIC_TIMER_RIG_H */
