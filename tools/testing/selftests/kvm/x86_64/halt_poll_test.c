// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that halt polling does what its documentation says, as far as a user
 * can tell from parameters, stats, debugfs and tracepoints:
 *
 * - parameters take what makes sense, refuse the rest and then stay unchanged;
 * - "static" polls at every halt, for the whole window, which is the maximum;
 * - "grow" starts with no window, opens it for short halts until it fits them
 *   and no further, closes it again when halts are long, and never opens it for
 *   a guest that is idle; no value of a parameter makes it leave its range;
 * - KVM_CAP_HALT_POLL, halt_poll_ns=0 and MSR_KVM_POLL_CONTROL turn it off;
 * - a poll ends when another task wants the CPU, or with a signal, and does not
 *   count when there was no polling;
 * - a halt counts once, whatever interrupts it, and each stat is consistent
 *   with the others.
 *
 * One vCPU, pinned to a CPU, wakes itself by its TSC deadline.  Halts are in the
 * order of milliseconds, where real windows are in that of microseconds, so that
 * the costs of a halt do not count, not even in an emulator.  What depends on
 * the length of a single halt may still meet a disturbance and has a few tries.
 */
#include <pthread.h>
#include <signal.h>

#include <asm/kvm_para.h>

#include "halt_util.h"
#include "kvm_test_harness.h"

#define TIMER_VECTOR	0x30

#define US		1000ull
#define MS		1000000ull

/* Unless a test says otherwise. */
#define MAX_WINDOW	(20 * MS)
#define FIRST_WINDOW	(1 * MS)
#define SHORT_HALT	(3 * MS)	/* fits a window of 4 ms */
#define LONG_HALT	(30 * MS)
#define TRIES		10

#define DEBUGFS_KVM	"/sys/kernel/debug/kvm"

static const struct {
	const char *name;
	const char *value;
} defaults[] = {
	{ "halt_poll_governor", "grow" },
	{ "halt_poll_ns", "20000000" },
	{ "halt_poll_ns_grow", "2" },
	{ "halt_poll_ns_grow_start", "1000000" },
	{ "halt_poll_ns_shrink", "2" },
	{ "halt_poll_steal_pct", "100" },
	{ "halt_wake_latency", "Y" },
};

/* What the guest is to do, in its memory. */
static struct {
	uint64_t halts;
	uint64_t ticks;
	uint64_t set_poll_control;
	uint64_t poll_control;
} request;

static uint64_t armed, fired;

static void guest_timer_handler(struct ex_regs *regs)
{
	WRITE_ONCE(fired, READ_ONCE(armed));
	guest_end_irq(regs);
}

static void guest_code(void)
{
	uint64_t i;

	guest_timer_init(TIMER_VECTOR);

	for (;;) {
		GUEST_SYNC(0);

		if (request.set_poll_control)
			wrmsr(MSR_KVM_POLL_CONTROL, request.poll_control);

		for (i = 0; i < request.halts; i++) {
			WRITE_ONCE(armed, armed + 1);
			guest_timer_arm(rdtsc() + request.ticks);
			while (READ_ONCE(fired) != armed)
				guest_halt();
		}
	}
}

struct counts {
	uint64_t attempted, successful, success_ns, fail_ns;
	uint64_t wait_ns;
	uint64_t end_woken, end_window, end_contention, end_signal;
	uint64_t end_steal, end_guest;
	uint64_t timed, timed_ns, polled, signal, untimed;
	uint64_t signal_exits;
};

static const struct {
	const char *name;
	size_t offset;
} stats[] = {
#define STAT(name, field)	{ name, offsetof(struct counts, field) }
	STAT("halt_attempted_poll", attempted),
	STAT("halt_successful_poll", successful),
	STAT("halt_poll_success_ns", success_ns),
	STAT("halt_poll_fail_ns", fail_ns),
	STAT("halt_wait_ns", wait_ns),
	STAT("halt_poll_end_woken", end_woken),
	STAT("halt_poll_end_window", end_window),
	STAT("halt_poll_end_contention", end_contention),
	STAT("halt_poll_end_signal", end_signal),
	STAT("halt_poll_end_steal", end_steal),
	STAT("halt_poll_end_guest", end_guest),
	STAT("halt_wake_timed", timed),
	STAT("halt_wake_ns", timed_ns),
	STAT("halt_wake_polled", polled),
	STAT("halt_wake_signal", signal),
	STAT("halt_wake_untimed", untimed),
	STAT("signal_exits", signal_exits),
};

/* A VM with its one vCPU, which runs in this thread. */
struct rig {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_stats stats;
	typeof(request) *request;
	struct counts marked;
};

static uint64_t *count_of(struct counts *counts, int stat)
{
	return (void *)counts + stats[stat].offset;
}

/* Counts from here. */
static void rig_mark(struct rig *rig)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(stats); i++)
		*count_of(&rig->marked, i) = vcpu_stat(&rig->stats, stats[i].name);
}

/* What came since the mark. */
static struct counts rig_counts(struct rig *rig)
{
	struct counts c;
	int i;

	for (i = 0; i < ARRAY_SIZE(stats); i++)
		*count_of(&c, i) = vcpu_stat(&rig->stats, stats[i].name) -
				   *count_of(&rig->marked, i);
	return c;
}

static uint64_t waits(const struct counts *c)
{
	return c->timed + c->polled + c->signal + c->untimed;
}

static void rig_run(struct rig *rig)
{
	/* Again and again if signals interrupt it. */
	vcpu_run(rig->vcpu);
	expect_ucall(rig->vcpu, UCALL_SYNC);
}

static struct counts rig_halt(struct rig *rig, uint64_t halts, uint64_t ns)
{
	rig->request->halts = halts;
	rig->request->ticks = ns_to_guest_tsc(ns);
	rig_mark(rig);
	rig_run(rig);
	rig->request->set_poll_control = 0;
	return rig_counts(rig);
}

static void rig_create(struct rig *rig)
{
	kvm_pin_this_task_to_pcpu(host_cpu(0));

	rig->vm = vm_create_with_one_vcpu(&rig->vcpu, guest_code);
	vm_install_exception_handler(rig->vm, TIMER_VECTOR, guest_timer_handler);
	vcpu_set_tsc_deadline(rig->vcpu);
	vcpu_stats_open(&rig->stats, rig->vcpu);
	rig->request = addr_gva2hva(rig->vm, (vm_vaddr_t)&request);
	rig_run(rig);
	/* What is left to do of a VM's creation is contention to its vCPU. */
	sleep_ns(20 * MS);
	rig_mark(rig);
}

static uint64_t hist_total(struct rig *rig, const char *name)
{
	uint64_t buckets[64], total = 0;
	size_t nr, i;

	nr = __vcpu_stat(&rig->stats, name, buckets, ARRAY_SIZE(buckets));
	TEST_ASSERT(nr, "No histogram '%s'", name);
	for (i = 0; i < nr; i++)
		total += buckets[i];
	return total;
}

/* Holds of all that a vCPU ever did, whatever it was. */
static void assert_consistent(struct rig *rig)
{
	struct counts c;

	memset(&rig->marked, 0, sizeof(rig->marked));
	c = rig_counts(rig);

	ASSERT_COUNT(c.attempted, <=, c.end_woken + c.end_window +
				      c.end_contention + c.end_signal);
	ASSERT_COUNT(c.end_window, <=, c.attempted);
	ASSERT_COUNT(c.successful, <=, c.attempted);
	ASSERT_COUNT(hist_total(rig, "halt_poll_success_hist"), ==, c.successful);
	ASSERT_COUNT(hist_total(rig, "halt_poll_fail_hist"), ==,
		     c.attempted - c.successful);
	ASSERT_COUNT(!c.success_ns, ==, !c.successful);
	ASSERT_COUNT(!c.fail_ns, ==, c.attempted == c.successful);
	ASSERT_COUNT(hist_total(rig, "halt_wake_hist"), ==, c.timed);
	ASSERT_COUNT(!c.timed_ns, ==, !c.timed);
	ASSERT_COUNT(c.timed_ns, <=, c.wait_ns);
}

static void rig_destroy(struct rig *rig)
{
	assert_consistent(rig);
	vcpu_stats_close(&rig->stats);
	kvm_vm_free(rig->vm);
}

static void read_line(const char *path, char *line, size_t size)
{
	FILE *f = fopen(path, "r");

	TEST_ASSERT(f && fgets(line, size, f), "Cannot read %s", path);
	fclose(f);
}

static void vm_debugfs_path(struct rig *rig, const char *file, char *path,
			    size_t size)
{
	snprintf(path, size, DEBUGFS_KVM "/%d-%d/%s", getpid(), rig->vm->fd, file);
}

static uint64_t vm_debugfs_read(struct rig *rig, const char *file)
{
	char path[256], line[64];

	vm_debugfs_path(rig, file, path, sizeof(path));
	read_line(path, line, sizeof(line));
	return strtoull(line, NULL, 0);
}

static uint64_t window(struct rig *rig)
{
	return vm_debugfs_read(rig, "vcpu0/halt_poll_window_ns");
}

static void set_defaults(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(defaults); i++)
		kvm_param_write(defaults[i].name, defaults[i].value);
}

FIXTURE(halt_poll) {
	struct rig rig;
};

FIXTURE_SETUP(halt_poll)
{
	set_defaults();
	rig_create(&self->rig);
}

FIXTURE_TEARDOWN(halt_poll)
{
	rig_destroy(&self->rig);
}

/* A new VM, for another try. */
static void rig_renew(struct rig *rig)
{
	rig_destroy(rig);
	rig_create(rig);
}

static void assert_param(const char *name, const char *want)
{
	char val[64];

	kvm_param_read(name, val, sizeof(val));
	TEST_ASSERT(!strcmp(val, want), "kvm.%s is '%s', wanted '%s'", name, val,
		    want);
}

static void assert_refused(const char *name, const char *val)
{
	char before[64];
	int err;

	kvm_param_read(name, before, sizeof(before));
	err = __kvm_param_write(name, val);
	TEST_ASSERT(err == EINVAL, "kvm.%s='%s': errno %d, wanted EINVAL", name,
		    val, err);
	assert_param(name, before);
}

TEST_F(halt_poll, governor_names)
{
	static const char * const names[] = { "static", "grow" };
	int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		kvm_param_write("halt_poll_governor", names[i]);
		assert_param("halt_poll_governor", names[i]);

		assert_refused("halt_poll_governor", "teo");
		assert_refused("halt_poll_governor", "\n");
		assert_refused("halt_poll_governor", "stat");
		assert_refused("halt_poll_governor", "staticgrow");
		assert_refused("halt_poll_governor", "Static");
	}

	kvm_param_write("halt_poll_governor", "static\n");
	assert_param("halt_poll_governor", "static");
}

TEST_F(halt_poll, steal_pct_range)
{
	kvm_param_write("halt_poll_steal_pct", "0");
	assert_param("halt_poll_steal_pct", "0");
	kvm_param_write("halt_poll_steal_pct", "100\n");
	assert_param("halt_poll_steal_pct", "100");

	assert_refused("halt_poll_steal_pct", "101");
	assert_refused("halt_poll_steal_pct", "4294967295");
	assert_refused("halt_poll_steal_pct", "-1");
	assert_refused("halt_poll_steal_pct", "ten");
	assert_refused("halt_poll_steal_pct", "\n");
}

/* Stock's parameters take any 32-bit number, as they always did. */
TEST_F(halt_poll, stock_params)
{
	static const char * const names[] = {
		"halt_poll_ns", "halt_poll_ns_grow", "halt_poll_ns_grow_start",
		"halt_poll_ns_shrink",
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		kvm_param_write(names[i], "0");
		assert_param(names[i], "0");
		kvm_param_write(names[i], "4294967295");
		assert_param(names[i], "4294967295");
		assert_refused(names[i], "some");
	}
}

TEST_F(halt_poll, stats_in_debugfs)
{
	int i;

	rig_halt(&self->rig, 5, SHORT_HALT);

	for (i = 0; i < ARRAY_SIZE(stats); i++)
		ASSERT_COUNT(vm_debugfs_read(&self->rig, stats[i].name), ==,
			     vcpu_stat(&self->rig.stats, stats[i].name));
}

TEST_F(halt_poll, static_always_polls)
{
	struct rig *rig = &self->rig;
	struct counts c;
	int try;

	kvm_param_write("halt_poll_governor", "static");

	/* From the first one on. */
	for (try = 1; try <= TRIES; try++) {
		c = rig_halt(rig, 1, SHORT_HALT);
		if (c.attempted)
			break;
		rig_renew(rig);
	}
	ASSERT_COUNT(c.attempted, ==, 1);
	ASSERT_COUNT(window(rig), ==, MAX_WINDOW);

	/* Also for a guest that is idle: that is what it is for. */
	c = rig_halt(rig, 5, LONG_HALT);
	ASSERT_COUNT(window(rig), ==, MAX_WINDOW);
	ASSERT_COUNT(c.attempted, >, 0);
	ASSERT_COUNT(c.end_woken + c.end_window + c.end_contention, >=, waits(&c));

	kvm_param_write("halt_poll_ns", "5000000");
	rig_halt(rig, 5, SHORT_HALT);
	ASSERT_COUNT(window(rig), ==, 5 * MS);
}

TEST_F(halt_poll, static_poll_lengths)
{
	struct rig *rig = &self->rig;
	struct counts c;
	int try;

	kvm_param_write("halt_poll_governor", "static");

	/* Woken: the poll took as long as the halt, less the costs. */
	for (try = 1; try <= TRIES; try++) {
		c = rig_halt(rig, 5, 10 * MS);
		if (c.end_woken == 5)
			break;
	}
	ASSERT_COUNT(c.end_woken, ==, 5);
	ASSERT_COUNT(c.successful, ==, 5);
	ASSERT_COUNT(c.polled, ==, 5);
	ASSERT_COUNT(c.success_ns, >, 5 * 5 * MS);
	ASSERT_COUNT(c.success_ns, <, 5 * MAX_WINDOW);

	/* Not woken: it took the window, and sleep the rest. */
	for (try = 1; try <= TRIES; try++) {
		c = rig_halt(rig, 5, 2 * MAX_WINDOW);
		if (c.end_window == 5)
			break;
	}
	ASSERT_COUNT(c.end_window, ==, 5);
	ASSERT_COUNT(c.attempted, ==, 5);
	ASSERT_COUNT(c.successful, ==, 0);
	ASSERT_COUNT(c.polled, ==, 0);
	ASSERT_COUNT(c.fail_ns, >=, 5 * MAX_WINDOW);
	ASSERT_COUNT(c.fail_ns, <, 5 * MAX_WINDOW * 3 / 2);
	ASSERT_COUNT(c.wait_ns, >, 5 * MAX_WINDOW / 2);
}

static bool trace_start(void)
{
	char pid[16];

	if (!trace_create())
		return false;

	snprintf(pid, sizeof(pid), "%d", getpid());
	trace_write("set_event_pid", pid);
	trace_write("events/kvm/kvm_halt/enable", "1");
	trace_write("events/kvm/kvm_vcpu_wakeup/enable", "1");
	return true;
}

struct traced {
	uint64_t halts, wakeups, polls, timed;
	struct {
		uint64_t window_ns, halt_ns;
	} halt[64];
};

static void trace_add(struct traced *t, const char *halt)
{
	unsigned long long window_ns, poll_ns, halt_ns, wake_ns;
	char outcome[16], wake[16];
	unsigned int vcpu;
	int nr;

	nr = sscanf(halt,
		    "vcpu %u: window %llu ns, poll %15s %llu ns, halt %llu ns, wake %15s %llu ns",
		    &vcpu, &window_ns, outcome, &poll_ns, &halt_ns, wake, &wake_ns);
	TEST_ASSERT(nr == 7 && !vcpu, "Cannot make sense of '%s'", halt);
	TEST_ASSERT(poll_ns <= halt_ns, "Polled longer than halted: '%s'", halt);

	TEST_ASSERT(t->halts < ARRAY_SIZE(t->halt), "More halts than asked for");
	t->halt[t->halts].window_ns = window_ns;
	t->halt[t->halts].halt_ns = halt_ns;
	t->halts++;
	t->polls += !!poll_ns;
	t->timed += !!wake_ns;
}

static struct traced trace_stop(void)
{
	static const char event[] = " kvm_halt: ";
	struct traced t = {};
	char line[512];
	char *found;
	FILE *f;

	f = trace_open();
	while (fgets(line, sizeof(line), f)) {
		found = strstr(line, event);
		if (found)
			trace_add(&t, found + strlen(event));
		if (strstr(line, " kvm_vcpu_wakeup: "))
			t.wakeups++;
	}
	fclose(f);
	trace_remove();
	return t;
}

/* What "grow" is documented to make of a window, at the default factors. */
static uint64_t next_window(uint64_t window_ns, uint64_t halt_ns)
{
	if (halt_ns > MAX_WINDOW)
		return window_ns / 2 < FIRST_WINDOW ? 0 : window_ns / 2;
	if (halt_ns > window_ns)
		return min_t(uint64_t, MAX_WINDOW, max_t(uint64_t, FIRST_WINDOW, window_ns * 2));
	return window_ns;
}

TEST_F(halt_poll, grow_from_zero_to_the_need)
{
	struct rig *rig = &self->rig;
	uint64_t want = 0, longest = 0;
	struct traced traced;
	int i;

	if (!trace_start())
		SKIP(return, "takes tracefs at " TRACEFS);

	ASSERT_COUNT(window(rig), ==, 0);
	rig_halt(rig, 30, SHORT_HALT);
	traced = trace_stop();

	/* Some may have been held up for long, so each is judged by its length. */
	ASSERT_COUNT(traced.halts, >, 0);
	for (i = 0; i < traced.halts; i++) {
		ASSERT_COUNT(traced.halt[i].window_ns, ==, want);
		want = next_window(want, traced.halt[i].halt_ns);
		longest = max(longest, traced.halt[i].halt_ns);
	}
	ASSERT_COUNT(window(rig), ==, want);

	/* Less than twice what was ever needed, where the maximum is more. */
	ASSERT_COUNT(want, <, 2 * longest);
}

TEST_F(halt_poll, grow_leaves_an_idle_guest_alone)
{
	struct rig *rig = &self->rig;
	struct counts c;

	c = rig_halt(rig, 10, LONG_HALT);
	ASSERT_COUNT(window(rig), ==, 0);
	ASSERT_COUNT(c.attempted, ==, 0);
	ASSERT_COUNT(c.success_ns + c.fail_ns, ==, 0);
	ASSERT_COUNT(waits(&c), >, 0);
}

/* Some tries, since a disturbance may make a short halt long. */
static void open_window(struct rig *rig)
{
	int try;

	for (try = 0; window(rig) < 4 * MS && try < TRIES; try++)
		rig_halt(rig, 4, SHORT_HALT);
	ASSERT_COUNT(window(rig), >=, 4 * MS);
}

TEST_F(halt_poll, shrink)
{
	struct rig *rig = &self->rig;
	uint64_t w;

	open_window(rig);
	for (w = window(rig); w; w = w / 2 < FIRST_WINDOW ? 0 : w / 2) {
		ASSERT_COUNT(window(rig), ==, w);
		rig_halt(rig, 1, LONG_HALT);
	}
	ASSERT_COUNT(window(rig), ==, 0);
}

TEST_F(halt_poll, shrink_0_closes)
{
	struct rig *rig = &self->rig;

	open_window(rig);
	kvm_param_write("halt_poll_ns_shrink", "0");
	rig_halt(rig, 1, LONG_HALT);
	ASSERT_COUNT(window(rig), ==, 0);
}

TEST_F(halt_poll, grow_0_keeps)
{
	struct rig *rig = &self->rig;

	kvm_param_write("halt_poll_ns_grow", "0");
	rig_halt(rig, 10, SHORT_HALT);
	ASSERT_COUNT(window(rig), ==, 0);
}

/* The largest factor and the largest step end at the maximum, not beyond 0. */
TEST_F(halt_poll, grow_does_not_overflow)
{
	struct rig *rig = &self->rig;
	int try;

	kvm_param_write("halt_poll_ns_grow", "4294967295");
	for (try = 1; window(rig) != MAX_WINDOW && try <= 2 * TRIES; try++) {
		ASSERT_COUNT(window(rig), <=, FIRST_WINDOW);
		rig_halt(rig, 1, SHORT_HALT);
	}
	ASSERT_COUNT(window(rig), ==, MAX_WINDOW);

	rig_renew(rig);
	kvm_param_write("halt_poll_ns_grow", "2");
	kvm_param_write("halt_poll_ns_grow_start", "4294967295");
	for (try = 1; window(rig) != MAX_WINDOW && try <= TRIES; try++)
		rig_halt(rig, 1, SHORT_HALT);
	ASSERT_COUNT(window(rig), ==, MAX_WINDOW);

	/* The longest window of all. */
	kvm_param_write("halt_poll_ns", "4294967295");
	kvm_param_write("halt_poll_governor", "static");
	rig_halt(rig, 5, SHORT_HALT);
	ASSERT_COUNT(window(rig), ==, UINT32_MAX);
}

TEST_F(halt_poll, halt_poll_ns_0_is_off)
{
	static const char * const governors[] = { "static", "grow" };
	struct rig *rig = &self->rig;
	struct counts c;
	int i;

	for (i = 0; i < ARRAY_SIZE(governors); i++) {
		kvm_param_write("halt_poll_governor", governors[i]);
		kvm_param_write("halt_poll_ns", "20000000");
		open_window(rig);

		kvm_param_write("halt_poll_ns", "0");
		c = rig_halt(rig, 5, SHORT_HALT);
		ASSERT_COUNT(window(rig), ==, 0);
		ASSERT_COUNT(c.attempted, ==, 0);
		ASSERT_COUNT(c.end_woken + c.end_window + c.end_contention +
			     c.end_signal + c.end_steal + c.end_guest, ==, 0);
	}
}

TEST_F(halt_poll, cap_overrides_per_vm)
{
	struct rig *rig = &self->rig, other;
	struct counts c;

	kvm_param_write("halt_poll_governor", "static");

	vm_enable_cap(rig->vm, KVM_CAP_HALT_POLL, 0);
	c = rig_halt(rig, 5, SHORT_HALT);
	ASSERT_COUNT(window(rig), ==, 0);
	ASSERT_COUNT(c.attempted, ==, 0);

	/* It is this VM's only. */
	rig_create(&other);
	rig_halt(&other, 5, SHORT_HALT);
	ASSERT_COUNT(window(&other), ==, MAX_WINDOW);
	rig_destroy(&other);

	/* It may be changed, and beats the parameter in either direction. */
	kvm_param_write("halt_poll_ns", "0");
	vm_enable_cap(rig->vm, KVM_CAP_HALT_POLL, 10 * MS);
	c = rig_halt(rig, 5, SHORT_HALT);
	ASSERT_COUNT(window(rig), ==, 10 * MS);
	ASSERT_COUNT(c.attempted, >, 0);

	vm_enable_cap(rig->vm, KVM_CAP_HALT_POLL, UINT32_MAX);
	rig_halt(rig, 5, SHORT_HALT);
	ASSERT_COUNT(window(rig), ==, UINT32_MAX);
}

TEST_F(halt_poll, guest_polls_for_itself)
{
	struct rig *rig = &self->rig;
	struct counts c;

	kvm_param_write("halt_poll_governor", "static");

	rig->request->set_poll_control = 1;
	rig->request->poll_control = 0;
	c = rig_halt(rig, 5, SHORT_HALT);
	ASSERT_COUNT(c.attempted, ==, 0);
	ASSERT_COUNT(c.end_guest, >, 0);
	ASSERT_COUNT(c.end_guest, ==, waits(&c));
	ASSERT_COUNT(c.polled, ==, 0);

	/* That is no reason where there is no polling to withhold. */
	kvm_param_write("halt_poll_ns", "0");
	c = rig_halt(rig, 5, SHORT_HALT);
	ASSERT_COUNT(c.end_guest, ==, 0);

	kvm_param_write("halt_poll_ns", "20000000");
	rig->request->set_poll_control = 1;
	rig->request->poll_control = 1;
	c = rig_halt(rig, 5, SHORT_HALT);
	ASSERT_COUNT(c.end_guest, ==, 0);
	ASSERT_COUNT(c.attempted, >, 0);
}

static bool thread_ready;

/* A thread begins on the CPU of its creator, and is in the way until it says. */
static void thread_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	WRITE_ONCE(thread_ready, false);
	TEST_ASSERT(!pthread_create(thread, NULL, fn, arg),
		    "pthread_create() failed");
	while (!READ_ONCE(thread_ready))
		sleep_ns(1 * MS);
}

static void thread_pin(int nth)
{
	kvm_pin_this_task_to_pcpu(host_cpu(nth));
	WRITE_ONCE(thread_ready, true);
}

/* Another task on the vCPU's CPU: it sleeps for a while, and then spins. */
struct rival {
	uint64_t sleep_ns;
	uint64_t spin_ns;
};

static void *rival_thread(void *arg)
{
	struct rival *rival = arg;
	uint64_t end;

	thread_pin(0);
	if (rival->sleep_ns)
		sleep_ns(rival->sleep_ns);
	end = now_ns() + rival->spin_ns;
	while (now_ns() < end)
		;
	return NULL;
}

TEST_F(halt_poll, contention_ends_a_poll)
{
	struct rival rival = { .sleep_ns = 20 * MS, .spin_ns = 20 * MS };
	struct rig *rig = &self->rig;
	pthread_t thread;
	struct counts c;
	int try;

	kvm_param_write("halt_poll_governor", "static");
	kvm_param_write("halt_poll_ns", "1000000000");

	for (try = 1; try <= TRIES; try++) {
		thread_start(&thread, rival_thread, &rival);
		c = rig_halt(rig, 1, 100 * MS);
		pthread_join(thread, NULL);
		/* Something else may have cut it short. */
		if (c.fail_ns > 5 * MS)
			break;
	}

	ASSERT_COUNT(c.end_contention, >, 0);
	ASSERT_COUNT(c.attempted, ==, 1);
	ASSERT_COUNT(c.successful, ==, 0);
	ASSERT_COUNT(c.fail_ns, >, 5 * MS);
	ASSERT_COUNT(c.fail_ns, <, 60 * MS);
}

TEST_F(halt_poll, contention_prevents_a_poll)
{
	struct rival rival = { .spin_ns = 200 * MS };
	struct rig *rig = &self->rig;
	pthread_t thread;
	struct counts c;

	kvm_param_write("halt_poll_governor", "static");

	thread_start(&thread, rival_thread, &rival);
	c = rig_halt(rig, 3, LONG_HALT);
	pthread_join(thread, NULL);

	ASSERT_COUNT(waits(&c), >, 0);
	ASSERT_COUNT(c.end_contention, >=, waits(&c));
	ASSERT_COUNT(c.end_woken + c.end_window, ==, 0);
	ASSERT_COUNT(c.attempted, ==, 0);
	ASSERT_COUNT(c.success_ns + c.fail_ns, ==, 0);
}

static void on_signal(int nr)
{
}

struct signaller {
	pthread_t target;
	int nr;
	uint64_t every_ns;
};

static void *signaller_thread(void *arg)
{
	struct signaller *signaller = arg;
	int i;

	thread_pin(1);
	for (i = 0; i < signaller->nr; i++) {
		sleep_ns(signaller->every_ns);
		pthread_kill(signaller->target, SIGUSR1);
	}
	return NULL;
}

/* While it polls, and while it sleeps: three signals, and then the timer. */
TEST_F(halt_poll, halt_with_signals_counts_once)
{
	struct signaller signaller = {
		.target = pthread_self(), .nr = 3, .every_ns = 4 * MS,
	};
	struct sigaction action = { .sa_handler = on_signal };
	static const char * const max_ns[] = { "1000000000", "0" };
	struct rig *rig = &self->rig;
	struct traced traced;
	pthread_t thread;
	struct counts c;
	int i, try;

	if (host_cpu(0) == host_cpu(1))
		SKIP(return, "takes 2 CPUs");

	sigaction(SIGUSR1, &action, NULL);
	kvm_param_write("halt_poll_governor", "static");

	for (i = 0; i < ARRAY_SIZE(max_ns); i++) {
		kvm_param_write("halt_poll_ns", max_ns[i]);

		for (try = 1; try <= 3 * TRIES; try++) {
			if (!trace_start())
				SKIP(return, "takes tracefs at " TRACEFS);
			thread_start(&thread, signaller_thread, &signaller);
			c = rig_halt(rig, 1, 40 * MS);
			pthread_join(thread, NULL);
			traced = trace_stop();

			/* Another task may have come before the signals did. */
			if (c.signal == 3 && (i || c.end_signal))
				break;
		}

		ASSERT_COUNT(c.signal, ==, 3);
		ASSERT_COUNT(c.signal_exits, ==, 3);
		ASSERT_COUNT(waits(&c), ==, 4);
		ASSERT_COUNT(traced.halts, ==, 1);
		ASSERT_COUNT(traced.wakeups, ==, 1);
		ASSERT_COUNT(c.success_ns + c.fail_ns + c.wait_ns, >, 15 * MS);
		if (!i) {
			ASSERT_COUNT(c.end_signal, >, 0);
			ASSERT_COUNT(c.attempted, ==, 1);
		} else {
			ASSERT_COUNT(c.end_signal, ==, 0);
			ASSERT_COUNT(c.attempted, ==, 0);
		}
	}
}

TEST_F(halt_poll, trace_tells_each_halt)
{
	struct rig *rig = &self->rig;
	struct traced traced;
	struct counts c, d;

	if (!trace_start())
		SKIP(return, "takes tracefs at " TRACEFS);

	c = rig_halt(rig, 10, SHORT_HALT);
	d = rig_halt(rig, 5, LONG_HALT);
	traced = trace_stop();

	ASSERT_COUNT(traced.halts, >, 0);
	ASSERT_COUNT(traced.wakeups, ==, traced.halts);
	ASSERT_COUNT(waits(&c) + waits(&d), ==, traced.halts);
	/* The time that it took to see that another task waits is told, too. */
	ASSERT_COUNT(traced.polls, >=, c.attempted + d.attempted);
	ASSERT_COUNT(traced.polls, <=, c.attempted + c.end_contention +
				       d.attempted + d.end_contention);
	ASSERT_COUNT(traced.timed, ==, c.timed + d.timed);
}

TEST_F(halt_poll, wake_latency)
{
	struct rig *rig = &self->rig;
	struct counts c;

	c = rig_halt(rig, 5, LONG_HALT);
	ASSERT_COUNT(c.timed, >, 0);
	ASSERT_COUNT(c.timed, ==, waits(&c));
	ASSERT_COUNT(hist_total(rig, "halt_wake_hist"), ==, c.timed);
	ASSERT_COUNT(c.timed_ns, <, 5 * LONG_HALT);

	kvm_param_write("halt_wake_latency", "N");
	c = rig_halt(rig, 5, LONG_HALT);
	ASSERT_COUNT(c.timed, ==, 0);
	ASSERT_COUNT(c.timed_ns, ==, 0);
	ASSERT_COUNT(c.untimed, >, 0);
	ASSERT_COUNT(c.untimed, ==, waits(&c));
}

static void *change_thread(void *arg)
{
	thread_pin(1);
	sleep_ns(5 * MS);
	kvm_param_write("halt_poll_ns", "0");
	kvm_param_write("halt_poll_governor", "grow");
	kvm_param_write("halt_wake_latency", "N");
	return NULL;
}

/* What changes in the middle of a halt counts from the next one on. */
TEST_F(halt_poll, change_in_mid_halt)
{
	struct rig *rig = &self->rig;
	struct counts c;
	pthread_t thread;
	int try;

	if (host_cpu(0) == host_cpu(1))
		SKIP(return, "takes 2 CPUs");

	for (try = 1; try <= TRIES; try++) {
		kvm_param_write("halt_poll_governor", "static");
		kvm_param_write("halt_poll_ns", "1000000000");

		thread_start(&thread, change_thread, NULL);
		c = rig_halt(rig, 1, 40 * MS);
		pthread_join(thread, NULL);
		if (c.attempted)
			break;
	}
	ASSERT_COUNT(waits(&c), ==, 1);
	ASSERT_COUNT(c.attempted, ==, 1);

	c = rig_halt(rig, 3, SHORT_HALT);
	ASSERT_COUNT(c.attempted, ==, 0);
	ASSERT_COUNT(c.timed, ==, 0);
	ASSERT_COUNT(window(rig), ==, 0);
}

int main(int argc, char *argv[])
{
	int i;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HALT_POLL));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_DEADLINE_TIMER));
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_KVM_POLL_CONTROL));
	for (i = 0; i < ARRAY_SIZE(defaults); i++)
		__TEST_REQUIRE(kvm_param_keep(defaults[i].name),
			       "kvm has no parameter %s", defaults[i].name);
	__TEST_REQUIRE(!access(DEBUGFS_KVM, R_OK), "takes debugfs at %s",
		       DEBUGFS_KVM);

	return test_harness_run(argc, argv);
}
