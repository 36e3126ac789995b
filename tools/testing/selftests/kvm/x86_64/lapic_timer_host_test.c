// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that a guest's LAPIC timer survives what happens to its host: the CPU that the
 * vCPU's thread runs on is taken offline and comes back, and the host is suspended.
 *
 * The guest of lapic_timer_rig.h arms its timer over and over, in each mode, and waits
 * for it in each way, while a thread of the host does that to it.  None may be early,
 * by the guest's TSC, and none lost.
 *
 * The host's clock stands still while it is suspended; so may a guest's timer.  It
 * has to fire soon after the guest goes on; never early by the TSC if it is a deadline.
 */
#include <pthread.h>
#include <sys/timerfd.h>

#include "kvm_test_harness.h"
#include "lapic_timer_rig.h"

/* Until the guest counts as stuck. */
#define STUCK_NS	(4000 * MS)
/* Of each: offline and online again; suspended, which takes seconds. */
#define CPU_ROUNDS	3
#define SUSPEND_ROUNDS	1
/* After which the host wakes up; less than two seconds are refused. */
#define SUSPEND_S	4

/* What a test takes away, to be put back at the end, whatever that is. */
static int offline = -1;

static bool cpu_set_online(int cpu, bool online)
{
	char path[64];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;

	done = write(fd, online ? "1" : "0", 1) == 1;
	close(fd);
	return done;
}

static void restore_cpu(void)
{
	if (offline >= 0)
		cpu_set_online(offline, true);
}

/* Which one the vCPU's thread is on; can it be taken away? */
static bool cpu_goes_offline(int cpu)
{
	if (CPU_COUNT(&host_cpus) < 2 || !cpu_set_online(cpu, false))
		return false;

	return cpu_set_online(cpu, true);
}

/*
 * Short ones and long ones, until the host has seen enough.  A counter's clock is not
 * the TSC, which a suspend may set back: books in the TSC are of no use then.
 */
static void guest_goes_on(struct timer *t)
{
	struct guest_random_state rng = new_guest_random_state(1);

	while (!READ_ONCE(request.nr)) {
		guest_arm(t, (20 + guest_random_u32(&rng) % 5000) * US);
		if (request.step_ns && t->mode != DEADLINE) {
			t->deadline = 1;
			t->period = !!t->period;
		}
		guest_expect(t);
	}
}

struct outage {
	struct rig *rig;
	struct timer *timer;
	pthread_t vcpu;
	int cpu;
	const char *(*round)(struct outage *o);
	int rounds;
	/* What failed. */
	const char *error;
};

static void outage_pin(struct outage *o, int cpu)
{
	cpu_set_t mask;

	CPU_ZERO(&mask);
	CPU_SET(cpu, &mask);
	pthread_setaffinity_np(o->vcpu, sizeof(mask), &mask);
}

/* Some more interrupts come. */
static bool outage_goes_on(struct outage *o)
{
	uint64_t fired = READ_ONCE(o->timer->fired), end = now_ns() + STUCK_NS;

	while (READ_ONCE(o->timer->fired) < fired + 8) {
		if (now_ns() > end)
			return false;
		sleep_ns(1 * MS);
	}

	return true;
}

static const char *outage_cpu(struct outage *o)
{
	outage_pin(o, o->cpu);
	if (!outage_goes_on(o))
		return "lost on its CPU";
	if (!cpu_set_online(o->cpu, false))
		return "its CPU could be taken offline before";
	if (!outage_goes_on(o))
		return "lost while its CPU was offline";
	if (!cpu_set_online(o->cpu, true))
		return "no CPU that is online again";
	return outage_goes_on(o) ? NULL : "lost when its CPU was online again";
}

/* To RAM, where that is what "mem" means; others may not wake up by a clock. */
static bool can_suspend(void)
{
	char modes[64] = "";
	FILE *f;
	int fd;

	f = fopen("/sys/power/mem_sleep", "r");
	if (!f)
		return false;
	if (!fgets(modes, sizeof(modes), f))
		modes[0] = '\0';
	fclose(f);

	fd = timerfd_create(CLOCK_BOOTTIME_ALARM, 0);
	if (fd >= 0)
		close(fd);
	return fd >= 0 && strstr(modes, "[deep]");
}

/* Returns when it is awake again. */
static bool host_suspend(void)
{
	struct itimerspec it = { .it_value.tv_sec = SUSPEND_S };
	int alarm, fd;
	bool done;

	alarm = timerfd_create(CLOCK_BOOTTIME_ALARM, 0);
	fd = open("/sys/power/state", O_WRONLY);
	done = alarm >= 0 && fd >= 0 && !timerfd_settime(alarm, 0, &it, NULL) &&
	       write(fd, "mem", 3) == 3;
	close(fd);
	close(alarm);
	return done;
}

/* There is always a timer armed, or one that has just fired. */
static const char *outage_suspend(struct outage *o)
{
	outage_pin(o, o->cpu);
	if (!outage_goes_on(o))
		return "lost on its CPU";
	if (!host_suspend())
		return "the host was not suspended";
	return outage_goes_on(o) ? NULL : "lost in a suspend of the host";
}

static void *outage_thread(void *arg)
{
	struct outage *o = arg;
	int i;

	for (i = 0; i < o->rounds && !o->error; i++)
		o->error = o->round(o);
	WRITE_ONCE(o->rig->request->nr, 1);
	return NULL;
}

/* As rig_run(), for longer than one timer takes; a suspend interrupts it, too. */
static void rig_run_outages(struct rig *rig)
{
	uint64_t end = now_ns() + 10 * STUCK_NS;

	while (now_ns() < end)
		if (rig_run_for(rig, BOUND_NS) == STAGE_DONE)
			return;
	rig_report(rig);
}

static void rig_endure(struct rig *rig, const char *(*round)(struct outage *o), int rounds)
{
	struct outage o = {
		.rig = rig,
		.timer = addr_gva2hva(rig->vm, (vm_vaddr_t)&timers[0]),
		.vcpu = pthread_self(),
		.cpu = host_cpu(0),
		.round = round,
		.rounds = rounds,
	};
	pthread_t thread;
	cpu_set_t mask;

	rig->request->nr = 0;
	/* Is the TSC to be set back? */
	rig->request->step_ns = round == outage_suspend;
	rig_start(rig, guest_goes_on);
	TEST_ASSERT(!pthread_create(&thread, NULL, outage_thread, &o), "pthread_create() failed");
	/* Not beside the vCPU, which spins. */
	CPU_ZERO(&mask);
	CPU_SET(host_cpu(1), &mask);
	pthread_setaffinity_np(thread, sizeof(mask), &mask);

	rig_run_outages(rig);
	pthread_join(thread, NULL);
	outage_pin(&o, o.cpu);
	TEST_ASSERT(!o.error, "A timer: %s", o.error);
}

FIXTURE(host) {
	struct rig rig;
};

FIXTURE_VARIANT(host) {
	enum timer_mode mode;
	bool halts;
	uint64_t poll_ns;
};

FIXTURE_VARIANT_ADD(host, oneshot_spin) { ONESHOT };
FIXTURE_VARIANT_ADD(host, oneshot_poll) { ONESHOT, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(host, oneshot_sleep) { ONESHOT, true };
FIXTURE_VARIANT_ADD(host, periodic_spin) { PERIODIC };
FIXTURE_VARIANT_ADD(host, periodic_poll) { PERIODIC, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(host, periodic_sleep) { PERIODIC, true };
FIXTURE_VARIANT_ADD(host, deadline_spin) { DEADLINE };
FIXTURE_VARIANT_ADD(host, deadline_poll) { DEADLINE, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(host, deadline_sleep) { DEADLINE, true };

FIXTURE_SETUP(host)
{
	rig_create(&self->rig, variant->mode, variant->halts, variant->poll_ns);
}

FIXTURE_TEARDOWN(host)
{
	rig_destroy(&self->rig);
}

TEST_F(host, cpu_offline)
{
	if (!cpu_goes_offline(host_cpu(0)))
		SKIP(return, "takes two CPUs, and one that can be taken offline");

	offline = host_cpu(0);
	rig_endure(&self->rig, outage_cpu, CPU_ROUNDS);
}

TEST_F(host, suspended)
{
	if (!can_suspend())
		SKIP(return, "takes a suspend to RAM, and a clock that ends it");

	rig_endure(&self->rig, outage_suspend, SUSPEND_ROUNDS);
}

int main(int argc, char *argv[])
{
	rig_require();
	atexit(restore_cpu);

	return test_harness_run(argc, argv);
}
