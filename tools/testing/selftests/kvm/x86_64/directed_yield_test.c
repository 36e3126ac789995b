// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that a vCPU which spins, or says by a hypercall for whom it waits, gives way
 * to the right one:
 *
 * - a lock holder that was preempted; the target of its IPI, before all others; one
 *   with an interrupt, whoever sent it; the vCPU that it kicks; and nobody of whom
 *   kvm.directed_yield does not approve;
 * - never to one that runs, sleeps or polls in a halt;
 * - each of many in its turn, be they hundreds;
 * - before it sleeps, to one that waits on another CPU, unless one waits on its own, or a
 *   stranger of its control group would get its share;
 * - and that one which sleeps is woken where it does, if others want that CPU;
 * - rarely, when that is of no use, as far as kvm.directed_yield_backoff has it;
 * - and that nothing breaks when vCPUs are added, change their thread and their CPU,
 *   and go, while others yield to them; with "--yields N", before all other arguments,
 *   until they have done so N times.
 *
 * vCPUs that are to be preempted share a CPU: what one waits for cannot come before
 * the other one runs.  Without a yield that takes until the end of a time slice.  A guest
 * that waits in the way of a lock uses PAUSE, and leaves by PAUSE-loop exits where there
 * are any, with VMX; other guests spin without.  Hypercalls are tested everywhere.
 */
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <asm/kvm_para.h>
#include <linux/kvm_para.h>

#include "halt_util.h"
#include "kvm_test_harness.h"

#define RANK_PARAM	"directed_yield"
#define BACKOFF_PARAM	"directed_yield_backoff"
#define HALT_PARAM	"directed_yield_halt"
#define HOME_PARAM	"halt_wake_home"

#define IPI_VECTOR	0x30
#define TIMER_VECTOR	0x40
#define MAX_VCPUS	200
#define ROUNDS		20

/* Bits of kvm.directed_yield */
#define IPI_TARGET	1
#define INTERRUPT	2
#define LOCK_HOLDER	4
#define QUEUE_HEAD	8
#define OTHER		16
#define ALL		31

#define MS		1000000ull

static uint64_t min_yields;

/* The guest's */
static uint64_t stop, rounds, work_ticks, released, sent, answered, halting, woken;
/* Who of the others was the first to run; who should have been, and was. */
static uint64_t first_runner, first_right;
static uint64_t all_turns, nr_vcpus, started, bursts;
static uint64_t hypercall_bad;

/* On one CPU, a store of one's own says that one runs. */
static void guest_note_run(uint64_t id)
{
	if (!READ_ONCE(first_runner))
		WRITE_ONCE(first_runner, id + 1);
}

static void guest_ipi_handler(struct ex_regs *regs)
{
	guest_note_run(1);
	WRITE_ONCE(answered, READ_ONCE(sent));
	guest_end_irq(regs);
}

/* Holds its lock for a while, again and again; never pauses. */
static void guest_holder(uint64_t id)
{
	uint64_t until;

	x2apic_enable();
	__atomic_fetch_add(&started, 1, __ATOMIC_RELAXED);
	asm volatile("sti");
	while (!READ_ONCE(stop)) {
		for (until = rdtsc() + work_ticks; rdtsc() < until && !READ_ONCE(stop);)
			guest_note_run(id);
		WRITE_ONCE(released, released + 1);
	}

	GUEST_DONE();
}

/* For so many rounds from now on: the other one may have begun long before. */
static void guest_wait_for_lock(uint64_t id)
{
	uint64_t last = READ_ONCE(released) + rounds;

	x2apic_enable();
	asm volatile("sti");
	while (READ_ONCE(released) < last)
		asm volatile("pause");
	WRITE_ONCE(stop, 1);

	GUEST_DONE();
}

/* Halts, and is woken but for the answer. */
static void guest_answerer(uint64_t id)
{
	x2apic_enable();
	__atomic_fetch_add(&started, 1, __ATOMIC_RELAXED);
	WRITE_ONCE(halting, 1);
	while (READ_ONCE(answered) < rounds)
		guest_halt();

	GUEST_DONE();
}

/* Sends to vCPU 1, whose APIC is on when all have started, and waits for the answer. */
static void guest_sender(uint64_t id)
{
	uint64_t i, until;

	x2apic_enable();
	asm volatile("sti");
	while (READ_ONCE(started) < nr_vcpus)
		;
	for (i = 1; i <= rounds; i++) {
		for (until = rdtsc() + work_ticks; rdtsc() < until;)
			;
		WRITE_ONCE(first_runner, 0);
		WRITE_ONCE(sent, i);
		guest_send_ipi(1, IPI_VECTOR);
		while (READ_ONCE(answered) != i)
			asm volatile("pause");
		if (READ_ONCE(first_runner) == 2)
			first_right++;
	}
	WRITE_ONCE(stop, 1);

	GUEST_DONE();
}

/* Sends to vCPU 1, each time when that has gone to sleep. */
static void guest_waker(uint64_t id)
{
	uint64_t i, until;

	x2apic_enable();
	asm volatile("sti");
	while (!READ_ONCE(halting))
		;
	for (i = 1; i <= rounds; i++) {
		for (until = rdtsc() + 32 * work_ticks; rdtsc() < until;)
			;
		WRITE_ONCE(sent, i);
		guest_send_ipi(1, IPI_VECTOR);
		while (READ_ONCE(answered) != i)
			;
	}

	GUEST_DONE();
}

/* With interrupts off: the kick ends the halt by itself. */
static void guest_kicked(uint64_t id)
{
	uint64_t i;

	x2apic_enable();
	for (i = 1; i <= rounds; i++) {
		WRITE_ONCE(halting, i);
		asm volatile("hlt");
		WRITE_ONCE(woken, i);
	}

	GUEST_DONE();
}

static void guest_kicker(uint64_t id)
{
	uint64_t i;

	x2apic_enable();
	asm volatile("sti");
	for (i = 1; i <= rounds; i++) {
		while (READ_ONCE(halting) != i)
			;
		/* It has the CPU until it sleeps. */
		kvm_hypercall(KVM_HC_KICK_CPU, 0, 1, 0, 0);
		if (READ_ONCE(woken) == i)
			first_right++;
		while (READ_ONCE(woken) != i)
			;
	}

	GUEST_DONE();
}

/* The scheduler runs one whose share is not used up: this one uses some of its own. */
static void guest_yielder(uint64_t id)
{
	uint64_t i, until;

	x2apic_enable();
	asm volatile("sti");
	while (!READ_ONCE(started))
		;
	for (i = 1; i <= rounds; i++) {
		for (until = rdtsc() + 4 * work_ticks; rdtsc() < until;)
			;
		WRITE_ONCE(first_runner, 0);
		hypercall_bad += kvm_hypercall(KVM_HC_SCHED_YIELD, 1, 0, 0, 0) != 0;
		if (READ_ONCE(first_runner) == 2)
			first_right++;
	}
	WRITE_ONCE(stop, 1);

	GUEST_DONE();
}

/* To nobody: itself, one that is not there, one that sleeps */
static void guest_yielder_to_nobody(uint64_t id)
{
	static const uint64_t targets[] = { 0, 77, 1u << 20, ~0ull, 1 };
	int i;

	x2apic_enable();
	asm volatile("sti");
	while (!READ_ONCE(halting))
		;
	for (i = 0; i < ARRAY_SIZE(targets); i++)
		hypercall_bad += kvm_hypercall(KVM_HC_SCHED_YIELD, targets[i], 0, 0, 0) != 0;
	guest_send_ipi(1, IPI_VECTOR);

	GUEST_DONE();
}

static void guest_sleeper(uint64_t id)
{
	x2apic_enable();
	WRITE_ONCE(sent, 1);
	WRITE_ONCE(halting, 1);
	while (!READ_ONCE(answered))
		guest_halt();

	GUEST_DONE();
}

/* Spins; when all do, counts how often it, or another one, is given the CPU. */
static void guest_turns(uint64_t id)
{
	uint64_t now, last = rdtsc();

	x2apic_enable();
	__atomic_fetch_add(&started, 1, __ATOMIC_RELAXED);
	asm volatile("sti");
	while (READ_ONCE(all_turns) < rounds) {
		now = rdtsc();
		if (now - last > JUMP_TICKS && READ_ONCE(started) >= nr_vcpus)
			__atomic_fetch_add(&all_turns, 1, __ATOMIC_RELAXED);
		last = now;
		asm volatile("pause");
	}

	GUEST_DONE();
}

static void guest_timer_handler(struct ex_regs *regs)
{
	WRITE_ONCE(answered, answered + 1);
	guest_end_irq(regs);
}

/* Sleeps for a while, again and again, and so many times when all others are there. */
static void guest_napper(uint64_t id)
{
	uint64_t i, left = rounds;

	x2apic_enable();
	guest_timer_init(TIMER_VECTOR);
	for (i = 1; left; i++) {
		guest_timer_arm(rdtsc() + 32 * work_ticks);
		while (READ_ONCE(answered) != i)
			guest_halt();
		left -= READ_ONCE(started) >= nr_vcpus;
	}
	WRITE_ONCE(stop, 1);

	GUEST_DONE();
}

/* Spins on, and nothing but that changes. */
static void guest_stuck(uint64_t id)
{
	asm volatile("sti");
	while (!READ_ONCE(stop))
		asm volatile("pause");

	GUEST_DONE();
}

/* Is done with one wait after the other. */
static void guest_moving(uint64_t id)
{
	uint64_t i, until;

	asm volatile("sti");
	for (i = 0; !READ_ONCE(stop); i++)
		for (until = rdtsc() + 5000; rdtsc() < until;)
			asm volatile("pause");

	GUEST_DONE();
}

/* All at once, some of it, and a word to the host. */
static void guest_busy(uint64_t id)
{
	uint64_t i = id, j, until, nr = nr_vcpus;

	x2apic_enable();
	for (;;) {
		asm volatile("sti");
		for (j = 0; j < bursts; j++, i++) {
			guest_send_ipi((id + i) % nr, IPI_VECTOR);
			until = rdtsc() + 20000;
			while (rdtsc() < until)
				asm volatile("pause");
			kvm_hypercall(KVM_HC_SCHED_YIELD, (id + i + 1) % nr, 0, 0, 0);
			kvm_hypercall(KVM_HC_KICK_CPU, 0, (id + i + 2) % nr, 0, 0);
		}
		asm volatile("cli");
		GUEST_SYNC(i);
	}
}

static const char * const stat_names[] = {
	"directed_yield_ipi_target",
	"directed_yield_interrupt",
	"directed_yield_lock_holder",
	"directed_yield_queue_head",
	"directed_yield_other",
	"directed_yield_no_candidate",
	"directed_yield_target_ran",
	"directed_yield_declined",
	"directed_yield_backed_off",
	"directed_yield_halts",
	"directed_yield_attempted",
	"directed_yield_successful",
};

struct counts {
	uint64_t ipi_target, interrupt, lock_holder, queue_head, other;
	uint64_t no_candidate, ran, declined, backed_off, halts;
	uint64_t attempted, successful;
};

static_assert(sizeof(struct counts) == ARRAY_SIZE(stat_names) * sizeof(uint64_t));

static struct counts counts_of(struct kvm_vcpu *vcpu)
{
	struct vcpu_stats stats;
	struct counts counts;
	int i;

	vcpu_stats_open(&stats, vcpu);
	for (i = 0; i < ARRAY_SIZE(stat_names); i++)
		((uint64_t *)&counts)[i] = vcpu_stat(&stats, stat_names[i]);
	vcpu_stats_close(&stats);
	return counts;
}

/* Holds of whatever a vCPU has done. */
static void assert_consistent(const struct counts *c)
{
	ASSERT_COUNT(c->ipi_target + c->interrupt + c->lock_holder + c->queue_head +
		     c->other, ==, c->ran + c->declined);
	ASSERT_COUNT(c->halts, <=, c->ran + c->declined);
	ASSERT_COUNT(c->successful, <=, c->attempted);
	ASSERT_COUNT(c->successful, <=, c->ran);
}

struct member {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	int cpu;
};

/* A VM, and its vCPUs with a thread each. */
struct rig {
	struct kvm_vm *vm;
	struct member members[MAX_VCPUS];
	int nr;
};

static void set_ranks(unsigned int mask)
{
	char val[16];

	snprintf(val, sizeof(val), "%u", mask);
	kvm_param_write(RANK_PARAM, val);
}

static void rig_create(struct rig *rig, uint64_t nr_rounds)
{
	rig->vm = vm_create(MAX_VCPUS);
	rig->nr = 0;
	vm_enable_cap(rig->vm, KVM_CAP_HALT_POLL, 0);
	vm_install_exception_handler(rig->vm, IPI_VECTOR, guest_ipi_handler);
	write_guest_global(rig->vm, rounds, nr_rounds);
	write_guest_global(rig->vm, work_ticks, ns_to_guest_tsc(MS / 4));
}

/* On the nth CPU of the test's */
static struct kvm_vcpu *rig_add(struct rig *rig, void *guest, int cpu)
{
	struct member *member = &rig->members[rig->nr];

	member->cpu = host_cpu(cpu);
	member->vcpu = vm_vcpu_add(rig->vm, rig->nr, guest);
	vcpu_args_set(member->vcpu, 1, (uint64_t)rig->nr++);
	return member->vcpu;
}

static void *member_thread(void *arg)
{
	struct member *member = arg;
	uint64_t cmd = vcpu_run_sharing(member->vcpu, member->cpu);

	TEST_ASSERT(cmd == UCALL_DONE || cmd == UCALL_SYNC, "Unexpected exit of vCPU %u: %s",
		    member->vcpu->id, exit_reason_str(member->vcpu->run->exit_reason));
	return NULL;
}

static void member_start(struct member *member)
{
	TEST_ASSERT(!pthread_create(&member->thread, NULL, member_thread, member),
		    "pthread_create() failed");
}

/* The last one first: the others can get preempted then, before vCPU 0 waits. */
static void rig_start(struct rig *rig)
{
	int i;

	for (i = rig->nr - 1; i >= 0; i--)
		member_start(&rig->members[i]);
}

static void rig_join(struct rig *rig)
{
	int i;

	for (i = 0; i < rig->nr; i++)
		pthread_join(rig->members[i].thread, NULL);
}

static void rig_run(struct rig *rig)
{
	rig_start(rig);
	rig_join(rig);
}

static uint64_t rig_first_right(struct rig *rig)
{
	sync_global_from_guest(rig->vm, first_right);
	return first_right;
}

static struct counts rig_finish(struct rig *rig)
{
	struct counts counts = counts_of(rig->members[0].vcpu);

	assert_consistent(&counts);
	kvm_vm_free(rig->vm);
	return counts;
}

static struct counts run_pair(void *guest, void *other, unsigned int ranks,
			      uint64_t *right)
{
	struct rig rig;

	set_ranks(ranks);
	rig_create(&rig, ROUNDS);
	rig_add(&rig, guest, 0);
	rig_add(&rig, other, 0);
	rig_run(&rig);
	*right = rig_first_right(&rig);
	return rig_finish(&rig);
}

TEST(lock_holder)
{
	struct counts c;
	uint64_t right;

	if (!has_pause_exits())
		SKIP(return, "takes PAUSE-loop exits");

	c = run_pair(guest_wait_for_lock, guest_holder, ALL, &right);
	ASSERT_COUNT(c.lock_holder, >, 0);
	ASSERT_COUNT(c.lock_holder, >=, c.interrupt + c.other);
	ASSERT_COUNT(c.ran, >, 0);

	c = run_pair(guest_wait_for_lock, guest_holder, ALL & ~LOCK_HOLDER, &right);
	ASSERT_COUNT(c.lock_holder, ==, 0);
	ASSERT_COUNT(c.no_candidate, >, 0);
}

/*
 * Others that might hold a lock are preempted, too, and are not asked first.  The
 * target was preempted itself, or it was woken and may not preempt anybody.
 */
static void run_ipi_target(bool woken)
{
	static const unsigned int ranks[] = {
		ALL, ALL & ~IPI_TARGET, ALL & ~(IPI_TARGET | INTERRUPT), 0,
	};
	struct counts c;
	struct rig rig;
	uint64_t right;
	int i;

	for (i = 0; i < ARRAY_SIZE(ranks); i++) {
		set_ranks(ranks[i]);
		rig_create(&rig, ROUNDS);
		rig_add(&rig, guest_sender, 0);
		rig_add(&rig, woken ? guest_answerer : guest_holder, 0);
		rig_add(&rig, guest_holder, 0);
		rig_add(&rig, guest_holder, 0);
		write_guest_global(rig.vm, nr_vcpus, (uint64_t)3);
		rig_run(&rig);
		right = rig_first_right(&rig);
		c = rig_finish(&rig);
		printf("# ranks %u: right %lu, reasons %lu %lu %lu %lu\n", ranks[i],
		       right, c.ipi_target, c.interrupt, c.lock_holder, c.other);

		ASSERT_COUNT(!c.ipi_target, ==, !(ranks[i] & IPI_TARGET));
		if (ranks[i] & IPI_TARGET) {
			ASSERT_COUNT(c.ipi_target, >=, ROUNDS / 2);
			ASSERT_COUNT(c.lock_holder, <, c.ipi_target / 2);
		} else if (ranks[i] & INTERRUPT) {
			ASSERT_COUNT(c.interrupt, >=, ROUNDS / 2);
			ASSERT_COUNT(c.lock_holder, <, c.interrupt / 2);
		} else if (ranks[i]) {
			ASSERT_COUNT(c.interrupt, ==, 0);
			ASSERT_COUNT(c.lock_holder, >, 0);
		} else {
			ASSERT_COUNT(c.ran + c.declined, ==, 0);
			ASSERT_COUNT(c.no_candidate, >, 0);
		}
	}
}

TEST(ipi_target)
{
	if (!has_pause_exits())
		SKIP(return, "takes PAUSE-loop exits");
	run_ipi_target(false);
	run_ipi_target(true);
}

TEST(kick_hypercall)
{
	struct counts c;
	uint64_t right;

	if (!kvm_cpu_has(X86_FEATURE_KVM_PV_UNHALT))
		SKIP(return, "takes the hypercall");

	c = run_pair(guest_kicker, guest_kicked, ALL, &right);
	printf("# right %lu, queue heads %lu of %lu\n", right, c.queue_head, c.attempted);
	ASSERT_COUNT(c.attempted, ==, ROUNDS);
	ASSERT_COUNT(c.queue_head, >=, ROUNDS / 2);
	ASSERT_COUNT(c.successful, >=, ROUNDS / 2);
	ASSERT_COUNT(right, >=, ROUNDS / 2);

	c = run_pair(guest_kicker, guest_kicked, ALL & ~QUEUE_HEAD, &right);
	ASSERT_COUNT(c.attempted, ==, ROUNDS);
	ASSERT_COUNT(c.successful, ==, 0);
	ASSERT_COUNT(c.queue_head, ==, 0);
}

TEST(yield_hypercall)
{
	struct counts c;
	uint64_t right;

	if (!kvm_cpu_has(X86_FEATURE_KVM_PV_SCHED_YIELD))
		SKIP(return, "takes the hypercall");

	c = run_pair(guest_yielder, guest_holder, ALL, &right);
	printf("# right %lu, IPI targets %lu of %lu\n", right, c.ipi_target, c.attempted);
	ASSERT_COUNT(c.attempted, ==, ROUNDS);
	ASSERT_COUNT(c.ipi_target, >=, ROUNDS / 2);
	ASSERT_COUNT(c.successful, >=, ROUNDS / 2);
	/* The scheduler agrees, and still prefers the one that has had less. */
	ASSERT_COUNT(right, >, 0);

	c = run_pair(guest_yielder, guest_holder, ALL & ~IPI_TARGET, &right);
	ASSERT_COUNT(c.attempted, ==, ROUNDS);
	ASSERT_COUNT(c.successful + c.ran, ==, 0);
}

TEST(yield_hypercall_to_nobody)
{
	struct counts c;
	struct rig rig;

	if (!kvm_cpu_has(X86_FEATURE_KVM_PV_SCHED_YIELD))
		SKIP(return, "takes the hypercall");

	set_ranks(ALL);
	rig_create(&rig, 0);
	rig_add(&rig, guest_yielder_to_nobody, 0);
	rig_add(&rig, guest_sleeper, 0);
	rig_run(&rig);
	sync_global_from_guest(rig.vm, hypercall_bad);
	ASSERT_COUNT(hypercall_bad, ==, 0);
	c = rig_finish(&rig);
	ASSERT_COUNT(c.attempted, ==, 5);
	/* It may have been preempted on its way to sleep. */
	ASSERT_COUNT(c.ran + c.declined, <=, 1);
}

/* The other one has a CPU of its own.  Now and then a task of the host's takes it. */
static void run_apart(uint64_t poll_ns, void *guest, void *other)
{
	struct counts c;
	struct rig rig;

	rig_create(&rig, 100);
	vm_enable_cap(rig.vm, KVM_CAP_HALT_POLL, poll_ns);
	rig_add(&rig, guest, 0);
	rig_add(&rig, other, 1);
	rig_run(&rig);
	c = rig_finish(&rig);
	ASSERT_COUNT(c.no_candidate, >, 0);
	ASSERT_COUNT(10 * (c.ran + c.declined), <=, c.no_candidate);
}

/* For a while, then ends the other one's halt. */
static void guest_spin_then_send(uint64_t id)
{
	uint64_t until;

	x2apic_enable();
	asm volatile("sti");
	while (!READ_ONCE(halting))
		;
	for (until = rdtsc() + 100 * work_ticks; rdtsc() < until;)
		asm volatile("pause");
	guest_send_ipi(1, IPI_VECTOR);

	GUEST_DONE();
}

TEST(never_to_one_that_runs)
{
	if (!has_pause_exits())
		SKIP(return, "takes PAUSE-loop exits");
	if (host_cpu(0) == host_cpu(1))
		SKIP(return, "takes 2 CPUs");

	set_ranks(ALL);
	run_apart(0, guest_wait_for_lock, guest_holder);
}

TEST(never_to_one_that_halts)
{
	if (!has_pause_exits())
		SKIP(return, "takes PAUSE-loop exits");
	if (host_cpu(0) == host_cpu(1))
		SKIP(return, "takes 2 CPUs");

	set_ranks(ALL);
	run_apart(0, guest_spin_then_send, guest_sleeper);
	run_apart(1000 * MS, guest_spin_then_send, guest_sleeper);
}

/* Another process, which wants the nth CPU; end_stranger() ends it. */
static pid_t start_stranger(int cpu)
{
	pid_t pid = fork();

	TEST_ASSERT(pid >= 0, "fork() failed");
	if (pid)
		return pid;
	/* A test that fails does not leave it behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	kvm_pin_this_task_to_pcpu(host_cpu(cpu));
	for (;;)
		;
}

static void end_stranger(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Two that share a CPU, so that one of them always waits, and one that naps */
static struct counts run_nap(const char *halt, unsigned int ranks, int cpu, bool stranger)
{
	struct counts c;
	struct rig rig;
	pid_t pid = 0;

	kvm_param_write(HALT_PARAM, halt);
	set_ranks(ranks);
	rig_create(&rig, ROUNDS);
	vm_install_exception_handler(rig.vm, TIMER_VECTOR, guest_timer_handler);
	vcpu_set_tsc_deadline(rig_add(&rig, guest_napper, 0));
	rig_add(&rig, guest_holder, cpu);
	rig_add(&rig, guest_holder, cpu);
	write_guest_global(rig.vm, nr_vcpus, (uint64_t)2);
	if (stranger)
		pid = start_stranger(0);
	rig_run(&rig);
	if (stranger)
		end_stranger(pid);
	c = rig_finish(&rig);
	printf("# halt %s, ranks %u, CPU %d, stranger %d: gave way at %lu halts, %lu ran\n",
	       halt, ranks, cpu, stranger, c.halts, c.ran);
	return c;
}

TEST(before_a_sleep)
{
	struct counts c;

	if (host_cpu(0) == host_cpu(1))
		SKIP(return, "takes 2 CPUs");

	c = run_nap("Y", ALL, 1, false);
	ASSERT_COUNT(c.halts, >=, ROUNDS / 2);
	ASSERT_COUNT(c.ran, >=, ROUNDS / 2);
	ASSERT_COUNT(c.lock_holder, >=, ROUNDS / 2);

	c = run_nap("N", ALL, 1, false);
	ASSERT_COUNT(c.halts, ==, 0);
	c = run_nap("Y", 0, 1, false);
	ASSERT_COUNT(c.halts, ==, 0);

	/* The scheduler runs those of its own CPU by itself. */
	c = run_nap("Y", ALL, 0, false);
	ASSERT_COUNT(c.halts, <=, ROUNDS / 4);

	/* The first time nobody knows yet. */
	c = run_nap("Y", ALL, 1, true);
	ASSERT_COUNT(c.halts, <=, ROUNDS / 4);
}

/* How often one that sleeps was woken by its own CPU, which a stranger wants, or none */
static uint64_t run_waker(const char *home, bool stranger)
{
	struct vcpu_stats stats;
	struct kvm_vcpu *vcpu;
	struct rig rig;
	pid_t pid = 0;
	uint64_t nr;

	kvm_param_write(HOME_PARAM, home);
	rig_create(&rig, ROUNDS);
	rig_add(&rig, guest_waker, 1);
	vcpu = rig_add(&rig, guest_answerer, 0);
	if (stranger)
		pid = start_stranger(0);
	rig_run(&rig);
	if (stranger)
		end_stranger(pid);

	vcpu_stats_open(&stats, vcpu);
	nr = vcpu_stat(&stats, "halt_wake_home");
	vcpu_stats_close(&stats);
	rig_finish(&rig);
	printf("# home %s, stranger %d: woken by its own CPU %lu times of %d\n", home, stranger,
	       nr, ROUNDS);
	return nr;
}

TEST(woken_at_home)
{
	uint64_t nr;

	if (host_cpu(0) == host_cpu(1))
		SKIP(return, "takes 2 CPUs");

	nr = run_waker("Y", true);
	ASSERT_COUNT(nr, >=, ROUNDS / 2);
	nr = run_waker("N", true);
	ASSERT_COUNT(nr, ==, 0);
	/* A task of the kernel's may be waiting, too. */
	nr = run_waker("Y", false);
	ASSERT_COUNT(nr, <, ROUNDS / 2);
}

static bool trace_start(void)
{
	if (!trace_create())
		return false;

	trace_write("tracing_on", "0");
	trace_write("events/kvm/kvm_directed_yield/enable", "1");
	return true;
}

/* How often each one was yielded to, and how often in all */
static uint64_t trace_stop(uint64_t *chosen, int nr)
{
	static const char event[] = " kvm_directed_yield: ";
	char line[512], reason[16], outcome[16];
	uint64_t total = 0;
	int from, to;
	char *found;
	FILE *f;

	trace_write("tracing_on", "0");
	f = trace_open();
	while ((found = trace_next(f, line, sizeof(line), event))) {
		TEST_ASSERT(sscanf(found, "vcpu %d to %d, reason %15[^:]: %15s",
				   &from, &to, reason, outcome) == 4,
			    "What does this mean? %s", line);
		if (to < 0) {
			TEST_ASSERT(!strcmp(reason, "none"), "No reason: %s", line);
			continue;
		}
		TEST_ASSERT(from != to && to < nr, "To whom? %s", line);
		chosen[to]++;
		total++;
	}
	fclose(f);
	trace_remove();
	return total;
}

/*
 * All wait for each other, so all but those that run are candidates, all the time.
 * Whom the scheduler then runs is not the question.
 */
static void run_turns(int nr, int cpus)
{
	uint64_t chosen[MAX_VCPUS] = {}, total, sum = 0, least = UINT64_MAX, most = 0;
	uint64_t *nr_started;
	struct counts c;
	struct rig rig;
	int i;

	set_ranks(ALL);
	kvm_param_write(BACKOFF_PARAM, "0");
	TEST_ASSERT(trace_start(), "No trace instance at " TRACEFS);
	rig_create(&rig, 8 * nr);
	for (i = 0; i < nr; i++)
		rig_add(&rig, guest_turns, i % cpus);
	write_guest_global(rig.vm, nr_vcpus, (uint64_t)nr + 1);
	nr_started = addr_gva2hva(rig.vm, (vm_vaddr_t)&started);

	rig_start(&rig);
	while (READ_ONCE(*nr_started) < nr)
		sleep_ns(MS);
	trace_write("tracing_on", "1");
	/* Only now, lest the turns are over. */
	__atomic_fetch_add(nr_started, 1, __ATOMIC_RELAXED);
	rig_join(&rig);
	total = trace_stop(chosen, nr);

	for (i = 0; i < nr; i++) {
		c = counts_of(rig.members[i].vcpu);
		assert_consistent(&c);
		sum += c.ran + c.declined;
		least = min(least, chosen[i]);
		most = max(most, chosen[i]);
	}
	printf("# %d vCPUs: %lu to %lu times each, of %lu\n", nr, least, most, total);
	ASSERT_COUNT(total, <=, sum);
	ASSERT_COUNT(total, >=, 3 * nr);
	ASSERT_COUNT(3 * nr * least, >=, total);
	rig_finish(&rig);
}

TEST(each_in_its_turn)
{
	if (!has_pause_exits())
		SKIP(return, "takes PAUSE-loop exits");
	if (access("/sys/kernel/tracing/instances", W_OK))
		SKIP(return, "takes tracefs");

	run_turns(8, 1);
	run_turns(70, 1);
}

TEST(hundreds)
{
	if (!has_pause_exits())
		SKIP(return, "takes PAUSE-loop exits");
	if (access("/sys/kernel/tracing/instances", W_OK))
		SKIP(return, "takes tracefs");

	run_turns(MAX_VCPUS, 2);
}

/* Both wait for somebody else, for 200 ms. */
static uint64_t run_backoff(const char *max, void *guest)
{
	struct counts c, d;
	struct rig rig;

	set_ranks(ALL);
	kvm_param_write(BACKOFF_PARAM, max);
	rig_create(&rig, UINT64_MAX);
	rig_add(&rig, guest, 0);
	rig_add(&rig, guest, 0);
	rig_start(&rig);
	sleep_ns(200 * MS);
	write_guest_global(rig.vm, stop, 1ull);
	rig_join(&rig);

	d = counts_of(rig.members[1].vcpu);
	assert_consistent(&d);
	c = rig_finish(&rig);
	printf("# at most %s: backed off %lu + %lu times, yielded %lu + %lu times\n", max,
	       c.backed_off, d.backed_off, c.ran, d.ran);
	ASSERT_COUNT(c.ran + d.ran, >, 0);
	return c.backed_off + d.backed_off;
}

TEST(backoff)
{
	if (!has_pause_exits())
		SKIP(return, "takes PAUSE-loop exits");

	ASSERT_COUNT(run_backoff("0", guest_stuck), ==, 0);
	ASSERT_COUNT(run_backoff("8", guest_stuck), >, 0);
	ASSERT_COUNT(run_backoff("8", guest_moving), ==, 0);
}

/* A vCPU by many threads and on any CPU, others by others at the same time */
static void *stints_thread(void *arg)
{
	struct member *member = arg;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		member->cpu = host_cpu(i + member->vcpu->id);
		member_start(member);
		pthread_join(member->thread, NULL);
	}

	return NULL;
}

FIXTURE(come_and_go) {
};

FIXTURE_SETUP(come_and_go)
{
	(void)self;
}

FIXTURE_TEARDOWN(come_and_go)
{
}

/* With a million yields, this is long. */
TEST_F_TIMEOUT(come_and_go, busy, 3600)
{
	const int nr = 8, vms = 10;
	uint64_t yields = 0;
	pthread_t drivers[8];
	struct rig rig;
	int i, vm;

	set_ranks(ALL);
	for (vm = 0; vm < vms || yields < min_yields; vm++) {
		rig_create(&rig, 0);
		write_guest_global(rig.vm, nr_vcpus, (uint64_t)nr);
		write_guest_global(rig.vm, bursts, min_yields ? 100ull : 1ull);
		for (i = 0; i < nr; i++) {
			rig_add(&rig, guest_busy, 0);
			/* The first ones run while the next ones are added. */
			TEST_ASSERT(!pthread_create(&drivers[i], NULL, stints_thread,
						    &rig.members[i]),
				    "pthread_create() failed");
		}
		for (i = 0; i < nr; i++)
			pthread_join(drivers[i], NULL);
		for (i = 0; i < nr; i++) {
			struct counts c = counts_of(rig.members[i].vcpu);

			assert_consistent(&c);
			ASSERT_COUNT(c.attempted, >=, ROUNDS);
			yields += c.ran;
		}
		kvm_vm_free(rig.vm);
	}
	printf("# %d VMs, %lu yields\n", vm, yields);
}

static void check_param(const char *name, unsigned int max)
{
	char val[16], back[16], bad[16];
	const char * const others[] = { bad, "-1", "x", "4294967296" };
	unsigned int i;

	for (i = 0; i <= max; i++) {
		snprintf(val, sizeof(val), "%u", i);
		kvm_param_write(name, val);
		kvm_param_read(name, back, sizeof(back));
		TEST_ASSERT(!strcmp(val, back), "kvm.%s is '%s', not '%s'", name, back, val);
	}

	snprintf(bad, sizeof(bad), "%u", max + 1);
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		TEST_ASSERT(__kvm_param_write(name, others[i]), "kvm.%s takes '%s'",
			    name, others[i]);
		kvm_param_read(name, back, sizeof(back));
		TEST_ASSERT(!strcmp(val, back), "kvm.%s was changed by '%s'",
			    name, others[i]);
	}
	TEST_ASSERT_EQ(__kvm_param_write(name, bad), EINVAL);
}

TEST(parameters)
{
	check_param(RANK_PARAM, ALL);
	check_param(BACKOFF_PARAM, 128);

	kvm_param_write(HALT_PARAM, "N");
	TEST_ASSERT_EQ(__kvm_param_write(HALT_PARAM, "x"), EINVAL);
	kvm_param_write(HALT_PARAM, "Y");
	TEST_ASSERT_EQ(__kvm_param_write(HOME_PARAM, "x"), EINVAL);
}

int main(int argc, char *argv[])
{
	struct rlimit files = { 4 * MAX_VCPUS, 4 * MAX_VCPUS };

	TEST_REQUIRE(kvm_param_keep(RANK_PARAM));
	TEST_REQUIRE(kvm_param_keep(BACKOFF_PARAM));
	TEST_REQUIRE(kvm_param_keep(HALT_PARAM));
	TEST_REQUIRE(kvm_param_keep(HOME_PARAM));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HALT_POLL));

	if (argc > 2 && !strcmp(argv[1], "--yields")) {
		min_yields = atoi_positive("Yields", argv[2]);
		argc -= 2;
		argv += 2;
	}

	setrlimit(RLIMIT_NOFILE, &files);

	return test_harness_run(argc, argv);
}
