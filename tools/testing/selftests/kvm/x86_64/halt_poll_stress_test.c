// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that a halted vCPU is never left asleep: each wake-up that is sent is
 * seen by the guest within a bound, while everything that decides how a halt
 * is spent changes under it.
 *
 * Several vCPUs go round by round.  In a round a vCPU asks for a wake-up from
 * some of these sources, chosen at random, and halts until it has seen all:
 *
 *   timer   its own TSC deadline, which it arms itself
 *   ipi     an IPI by whichever other vCPU comes by first
 *   irqfd   an MSI, by a host thread that writes an eventfd
 *   signal  a signal to the vCPU's thread; KVM_RUN has to return, whereupon
 *           the thread sends its vCPU an MSI and enters again
 *
 * The last wake-up of a round always comes to a vCPU that nothing else will
 * wake.  Delays are random around the length of a polling window, so that
 * wake-ups meet a vCPU that enters the halt, polls, goes to sleep, sleeps, or
 * leaves.  vCPU 0 asks for its timer in every round and for no IPI: it is the
 * one that comes by when all the others wait for an IPI.
 *
 * Meanwhile another thread flips kvm's halt-polling parameters (those that
 * this kvm has), moves vCPU threads from CPU to CPU and puts load on the CPUs;
 * now and then a guest takes polling into its own hands, by way of
 * MSR_KVM_POLL_CONTROL.
 *
 * A wake-up has a number: "asked" counts what the vCPU asked for, "sent" what
 * its source has sent, and the handler copies "sent" to "seen".
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include <asm/kvm_para.h>

#include "halt_util.h"

#define MAX_VCPUS	16
#define MAX_DELAY_NS	400000
#define WAKE_SIGNAL	SIGUSR1

enum source { TIMER, IPI, IRQFD, SIGNAL, NR_SOURCES };

static const char * const source_names[] = { "timer", "ipi", "irqfd", "signal" };

/* Each vCPU has vectors of its own: to learn which it runs on is an exit. */
#define VECTOR(vcpu, source)	(0x30 + (vcpu) * NR_SOURCES + (source))

struct wake {
	uint64_t asked;
	uint64_t sent;
	uint64_t seen;
};

/* What a vCPU shares with the host and with the other vCPUs. */
struct slot {
	struct wake wakes[NR_SOURCES];
	uint64_t ipi_wanted;
	uint64_t stop;
} __aligned(64);

/* The guest's. */
static struct slot slots[MAX_VCPUS];
static int nr_vcpus = 4;

/* The host's. */
static struct slot *shared;
static struct kvm_vm *vm;
static struct kvm_vcpu *vcpus[MAX_VCPUS];
static struct vcpu_stats stats[MAX_VCPUS];
static pthread_t threads[MAX_VCPUS];
static int eventfds[MAX_VCPUS];
static bool done, loaded, withhold;

static void guest_irq_handler(struct ex_regs *regs)
{
	int nr = regs->vector - VECTOR(0, 0);
	struct wake *wake = &slots[nr / NR_SOURCES].wakes[nr % NR_SOURCES];

	WRITE_ONCE(wake->seen, READ_ONCE(wake->sent));
	guest_end_irq(regs);
}

static uint64_t guest_delay(struct guest_random_state *rng)
{
	uint64_t ns = guest_random_u32(rng) % MAX_DELAY_NS;

	/* Some are over before the halt begins. */
	return ns_to_guest_tsc(__guest_random_bool(rng, 10) ? ns / 100 : ns);
}

/* Send the IPIs that other vCPUs wait for. */
static void guest_serve_ipis(int self)
{
	struct wake *wake;
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		if (i == self || !READ_ONCE(slots[i].ipi_wanted) ||
		    !__sync_lock_test_and_set(&slots[i].ipi_wanted, 0))
			continue;

		wake = &slots[i].wakes[IPI];
		WRITE_ONCE(wake->sent, READ_ONCE(wake->asked));
		guest_send_ipi(i, VECTOR(i, IPI));
	}
}

static int guest_choose_sources(int self, struct guest_random_state *rng)
{
	static const int weights[] = { 50, 40, 40, 15 };
	int source, chosen = 0;

	for (source = 0; source < NR_SOURCES; source++)
		if (__guest_random_bool(rng, weights[source]))
			chosen |= BIT(source);

	if (!self)
		chosen &= ~BIT(IPI);
	return self && chosen ? chosen : chosen | BIT(TIMER);
}

static void guest_ask(int self, int source, struct guest_random_state *rng)
{
	struct wake *wake = &slots[self].wakes[source];

	WRITE_ONCE(wake->asked, wake->asked + 1);

	switch (source) {
	case TIMER:
		WRITE_ONCE(wake->sent, wake->asked);
		guest_timer_arm(rdtsc() + guest_delay(rng));
		break;
	case IPI:
		WRITE_ONCE(slots[self].ipi_wanted, 1);
		break;
	}
}

static bool guest_seen_all(struct slot *slot)
{
	int source;

	for (source = 0; source < NR_SOURCES; source++)
		if (READ_ONCE(slot->wakes[source].seen) != slot->wakes[source].asked)
			return false;
	return true;
}

static void guest_code(int self, int has_poll_control)
{
	struct guest_random_state rng = new_guest_random_state(self + 1);
	struct slot *slot = &slots[self];
	int source, chosen;

	guest_timer_init(VECTOR(self, TIMER));

	while (!READ_ONCE(slot->stop)) {
		/* Most of the time it leaves polling to KVM. */
		if (has_poll_control && __guest_random_bool(&rng, 4))
			wrmsr(MSR_KVM_POLL_CONTROL, __guest_random_bool(&rng, 75));

		chosen = guest_choose_sources(self, &rng);
		for (source = 0; source < NR_SOURCES; source++)
			if (chosen & BIT(source))
				guest_ask(self, source, &rng);

		for (;;) {
			guest_serve_ipis(self);
			if (guest_seen_all(slot))
				break;
			guest_halt();
		}
	}

	GUEST_DONE();
}

static uint32_t random_below(struct guest_random_state *rng, uint32_t limit)
{
	return guest_random_u32(rng) % limit;
}

static void *vcpu_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	struct kvm_msi msi = {
		.address_lo = APIC_DEFAULT_GPA | vcpu->id << 12,
		.data = VECTOR(vcpu->id, SIGNAL),
	};
	struct timespec now = {};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);

	while (__vcpu_run(vcpu)) {
		TEST_ASSERT(errno == EINTR, "KVM_RUN failed, errno: %d (%s)",
			    errno, strerror(errno));
		if (sigtimedwait(&set, NULL, &now) == WAKE_SIGNAL)
			__vm_ioctl(vm, KVM_SIGNAL_MSI, &msi);
	}

	expect_ucall(vcpu, UCALL_DONE);
	return NULL;
}

static void send_irqfd(int vcpu)
{
	TEST_ASSERT(!eventfd_write(eventfds[vcpu], 1), "Writing an eventfd failed");
}

static void send_signal(int vcpu)
{
	pthread_kill(threads[vcpu], WAKE_SIGNAL);
}

struct sender {
	enum source source;
	void (*send)(int vcpu);
};

/* Sends what vCPUs ask of one source, each at a random time. */
static void *sender_thread(void *arg)
{
	struct guest_random_state rng;
	struct sender *sender = arg;
	struct wake *wake;
	uint64_t asked;
	int i;

	rng = new_guest_random_state(100 + sender->source);
	prctl(PR_SET_TIMERSLACK, 1);

	while (!READ_ONCE(done)) {
		for (i = 0; i < nr_vcpus; i++) {
			wake = &shared[i].wakes[sender->source];
			asked = READ_ONCE(wake->asked);
			if (wake->sent == asked || __guest_random_bool(&rng, 30))
				continue;

			WRITE_ONCE(wake->sent, asked);
			if (READ_ONCE(withhold) && sender->source == IRQFD)
				WRITE_ONCE(withhold, false);
			else
				sender->send(i);
		}
		sleep_ns(random_below(&rng, MAX_DELAY_NS / 2));
	}

	return NULL;
}

/* Keeps a CPU busy, and with it whatever vCPU wants to poll there. */
static void *load_thread(void *arg)
{
	while (!READ_ONCE(done)) {
		if (!READ_ONCE(loaded))
			sleep_ns(1000000);
	}

	return NULL;
}

static const struct param {
	const char *name;
	const char *values[7];
} params[] = {
	{ "halt_poll_ns", { "0", "1", "10000", "50000", "200000", "1000000",
			    "4294967295" } },
	{ "halt_poll_ns_grow", { "0", "1", "2", "10", "4294967295" } },
	{ "halt_poll_ns_grow_start", { "0", "10000", "100000", "4294967295" } },
	{ "halt_poll_ns_shrink", { "0", "1", "2", "4294967295" } },
	{ "halt_poll_governor", { "static", "grow" } },
	{ "halt_poll_steal_pct", { "0", "10", "100" } },
	{ "halt_wake_latency", { "N", "Y" } },
	{ "halt_wake_home", { "N", "Y" } },
};

static bool param_known[ARRAY_SIZE(params)];

static void keep_all_params(void)
{
	int i, known = 0;

	for (i = 0; i < ARRAY_SIZE(params); i++) {
		param_known[i] = kvm_param_keep(params[i].name);
		known += param_known[i];
		if (!param_known[i])
			ksft_print_msg("kvm has no parameter %s; left out\n",
				       params[i].name);
	}

	TEST_ASSERT(known, "Found none of the parameters of module kvm");
}

static void flip_param(struct guest_random_state *rng)
{
	int i = random_below(rng, ARRAY_SIZE(params));
	int n = 0;

	if (!param_known[i])
		return;

	while (n < ARRAY_SIZE(params[i].values) && params[i].values[n])
		n++;
	kvm_param_write(params[i].name, params[i].values[random_below(rng, n)]);
}

static void move_vcpu(struct guest_random_state *rng)
{
	cpu_set_t mask = host_cpus;

	if (guest_random_bool(rng)) {
		CPU_ZERO(&mask);
		CPU_SET(host_cpu(random_below(rng, CPU_COUNT(&host_cpus))), &mask);
	}

	pthread_setaffinity_np(threads[random_below(rng, nr_vcpus)],
			       sizeof(mask), &mask);
}

/* Changes whatever may change while guests run. */
static void *flip_thread(void *arg)
{
	struct guest_random_state rng = new_guest_random_state(200);

	while (!READ_ONCE(done)) {
		switch (random_below(&rng, 4)) {
		case 0:
			WRITE_ONCE(loaded, __guest_random_bool(&rng, 25));
			break;
		case 1:
			move_vcpu(&rng);
			break;
		default:
			flip_param(&rng);
			break;
		}
		sleep_ns(1000000 + random_below(&rng, 5000000));
	}

	return NULL;
}

static void start_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	TEST_ASSERT(!pthread_create(thread, NULL, fn, arg),
		    "pthread_create() failed");
}

static void create_vm(void)
{
	bool poll_control = kvm_cpu_has(X86_FEATURE_KVM_POLL_CONTROL);
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	int vector, i;

	vm = vm_create(nr_vcpus);
	for (vector = VECTOR(0, 0); vector < VECTOR(nr_vcpus, 0); vector++)
		vm_install_exception_handler(vm, vector, guest_irq_handler);
	sync_global_to_guest(vm, nr_vcpus);
	shared = addr_gva2hva(vm, (vm_vaddr_t)slots);

	for (i = 0; i < nr_vcpus; i++) {
		vcpus[i] = vm_vcpu_add(vm, i, guest_code);
		vcpu_args_set(vcpus[i], 2, i, poll_control);
		vcpu_set_tsc_deadline(vcpus[i]);
		vcpu_stats_open(&stats[i], vcpus[i]);

		routing->entries[routing->nr++] = (struct kvm_irq_routing_entry) {
			.gsi = 32 + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi.address_lo = APIC_DEFAULT_GPA | i << 12,
			.u.msi.data = VECTOR(i, IRQFD),
		};
	}
	kvm_gsi_routing_write(vm, routing);

	for (i = 0; i < nr_vcpus; i++) {
		struct kvm_irqfd irqfd = { .gsi = 32 + i };

		eventfds[i] = eventfd(0, EFD_CLOEXEC);
		TEST_ASSERT(eventfds[i] >= 0, "eventfd() failed");
		irqfd.fd = eventfds[i];
		vm_ioctl(vm, KVM_IRQFD, &irqfd);
	}
}

/* The signal stays blocked but in KVM_RUN, so that none goes unnoticed. */
static void mask_signal(void)
{
	struct {
		struct kvm_signal_mask head;
		uint64_t set;
	} __packed mask = { .head.len = sizeof(mask.set) };
	sigset_t set;
	int i;

	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &set, NULL);

	for (i = 0; i < nr_vcpus; i++)
		vcpu_ioctl(vcpus[i], KVM_SET_SIGNAL_MASK, &mask.head);
}

static uint64_t count_seen(uint64_t by_source[NR_SOURCES])
{
	uint64_t total = 0;
	int i, source;

	for (source = 0; source < NR_SOURCES; source++) {
		by_source[source] = 0;
		for (i = 0; i < nr_vcpus; i++)
			by_source[source] += READ_ONCE(shared[i].wakes[source].seen);
		total += by_source[source];
	}

	return total;
}

static void print_stats(int vcpu)
{
	static const char * const names[] = {
		"exits", "halt_exits", "halt_attempted_poll",
		"halt_successful_poll", "halt_wakeup", "blocking",
		"halt_poll_end_woken", "halt_poll_end_window",
		"halt_poll_end_contention", "halt_poll_end_signal",
		"halt_poll_end_steal", "halt_poll_end_guest",
		"halt_wake_timed", "halt_wake_polled", "halt_wake_signal",
		"halt_wake_untimed", "signal_exits",
	};
	uint64_t val;
	int i;

	ksft_print_msg("vCPU %d:", vcpu);
	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (__vcpu_stat(&stats[vcpu], names[i], &val, 1))
			printf(" %s %lu", names[i], val);
	printf("\n");
}

/* Says which wake-ups were asked for and not seen; returns how many. */
static int report_pending(void)
{
	struct wake *wake;
	int i, source, pending = 0;

	for (i = 0; i < nr_vcpus; i++) {
		for (source = 0; source < NR_SOURCES; source++) {
			wake = &shared[i].wakes[source];
			if (wake->seen == wake->asked)
				continue;
			ksft_print_msg("vCPU %d, %s: asked %lu, sent %lu, seen %lu\n",
				       i, source_names[source], wake->asked,
				       wake->sent, wake->seen);
			print_stats(i);
			pending++;
		}
	}

	return pending;
}

/* One that has been asked for, and not been seen, for longer than bound */
static struct wake *overdue(uint64_t bound)
{
	static struct {
		uint64_t asked, since;
	} last[MAX_VCPUS][NR_SOURCES];
	uint64_t asked, seen;
	int i, source;

	for (i = 0; i < nr_vcpus; i++) {
		for (source = 0; source < NR_SOURCES; source++) {
			/* In this order: then it is safe to say they differ. */
			seen = READ_ONCE(shared[i].wakes[source].seen);
			asked = READ_ONCE(shared[i].wakes[source].asked);

			if (seen == asked || asked != last[i][source].asked) {
				last[i][source].asked = asked;
				last[i][source].since = watched_ns;
			} else if (watched_ns - last[i][source].since > bound) {
				return &shared[i].wakes[source];
			}
		}
	}

	return NULL;
}

static void print_params(void)
{
	char val[32];
	int i;

	for (i = 0; i < ARRAY_SIZE(params); i++) {
		if (!param_known[i])
			continue;
		kvm_param_read(params[i].name, val, sizeof(val));
		ksft_print_msg("%s=%s\n", params[i].name, val);
	}
}

/* Halts may take whatever course: each has one end, and counts for one. */
static bool stats_consistent(int vcpu)
{
	uint64_t attempted, woken, window, contention, signal, halts, waits;
	uint64_t timed, timed_ns, waited_ns, polled, interrupted, untimed;
	struct vcpu_stats *s = &stats[vcpu];

	if (!__vcpu_stat(s, "halt_poll_end_window", &window, 1))
		return true;

	attempted = vcpu_stat(s, "halt_attempted_poll");
	woken = vcpu_stat(s, "halt_poll_end_woken");
	contention = vcpu_stat(s, "halt_poll_end_contention");
	signal = vcpu_stat(s, "halt_poll_end_signal");
	halts = vcpu_stat(s, "halt_exits");
	timed = vcpu_stat(s, "halt_wake_timed");
	timed_ns = vcpu_stat(s, "halt_wake_ns");
	waited_ns = vcpu_stat(s, "halt_wait_ns");
	polled = vcpu_stat(s, "halt_wake_polled");
	interrupted = vcpu_stat(s, "halt_wake_signal");
	untimed = vcpu_stat(s, "halt_wake_untimed");
	waits = timed + polled + interrupted + untimed;

	return attempted <= woken + window + contention + signal &&
	       attempted >= window && attempted <= halts &&
	       waits <= halts + vcpu_stat(s, "signal_exits") &&
	       signal <= interrupted && timed_ns <= waited_ns;
}

/* Says whether it is late or lost. */
static void fail_overdue(struct wake *wake, uint64_t bound)
{
	uint64_t start = now_ns(), asked = wake->asked;

	report_pending();
	print_params();
	while (READ_ONCE(wake->seen) < asked && now_ns() - start < 2 * bound)
		sleep_ns(1000000);

	if (READ_ONCE(wake->seen) >= asked)
		ksft_print_msg("It came after %lu ms more\n",
			       (now_ns() - start) / 1000000);
	else
		report_pending();
	ksft_test_result_fail("every wake-up is seen within %lu ms\n",
			      bound / 1000000);
	ksft_exit_fail();
}

/* Until target wake-ups have been seen, or one is overdue. */
static void watch(uint64_t target, uint64_t bound)
{
	uint64_t by_source[NR_SOURCES], seen, now;
	uint64_t start = now_ns(), said = start;
	struct wake *wake;

	while ((seen = count_seen(by_source)) < target) {
		watch_sleep(50000000);
		wake = overdue(bound);
		if (wake)
			fail_overdue(wake, bound);

		now = now_ns();
		if (now - said >= 10ull * NSEC_PER_SEC) {
			said = now;
			ksft_print_msg("%lu of %lu wake-ups, %lu s\n", seen,
				       target, (now - start) / NSEC_PER_SEC);
		}
	}
}

/* vCPU 0 goes last, as it sends the IPIs that nobody else is left to send. */
static void stop_vcpus(uint64_t bound)
{
	uint64_t start;
	int i, v;

	for (v = 1; v < nr_vcpus; v++)
		WRITE_ONCE(shared[v].stop, 1);

	for (i = 1; i <= nr_vcpus; i++) {
		v = i % nr_vcpus;
		WRITE_ONCE(shared[v].stop, 1);

		start = watched_ns;
		while (pthread_tryjoin_np(threads[v], NULL)) {
			watch_sleep(1000000);
			if (watched_ns - start <= bound)
				continue;
			report_pending();
			print_params();
			ksft_test_result_fail("vCPU %d sees its last wake-ups within %lu ms\n",
					      v, bound / 1000000);
			ksft_exit_fail();
		}
	}
}

static void help(char *name)
{
	printf("usage: %s [-h] [-b] [-n vcpus] [-t ms] [-w wakes]\n\n", name);
	printf("-b: Break it: withhold one wake-up. The test has to fail then.\n");
	printf("-n: Number of vCPUs (default 4, at most %d).\n", MAX_VCPUS);
	printf("-t: Time until a wake-up counts as lost, in ms (default 2000).\n");
	printf("-w: Number of wake-ups (default 100000).\n");
}

int main(int argc, char *argv[])
{
	struct sender irqfd = { IRQFD, send_irqfd };
	struct sender signal = { SIGNAL, send_signal };
	uint64_t by_source[NR_SOURCES], total, bound = 2000;
	uint64_t target = 100000;
	pthread_t senders[2], load, flip;
	bool broken = false, consistent = true;
	int opt, i, source;

	while ((opt = getopt(argc, argv, "hbn:t:w:")) != -1) {
		switch (opt) {
		case 'b':
			broken = true;
			break;
		case 'n':
			nr_vcpus = atoi_positive("Number of vCPUs", optarg);
			TEST_ASSERT(nr_vcpus > 1 && nr_vcpus <= MAX_VCPUS,
				    "2 to %d vCPUs", MAX_VCPUS);
			break;
		case 't':
			bound = atoi_positive("Time limit", optarg);
			break;
		case 'w':
			target = atoi_positive("Number of wake-ups", optarg);
			break;
		case 'h':
		default:
			help(argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
	bound *= 1000000;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_IRQFD));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_SIGNAL_MSI));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_DEADLINE_TIMER));

	ksft_print_header();
	ksft_set_plan(3);

	create_vm();
	keep_all_params();
	mask_signal();

	for (i = 0; i < nr_vcpus; i++)
		start_thread(&threads[i], vcpu_thread, vcpus[i]);
	start_thread(&senders[0], sender_thread, &irqfd);
	start_thread(&senders[1], sender_thread, &signal);
	start_thread(&load, load_thread, NULL);
	start_thread(&flip, flip_thread, NULL);

	watch(target / 2, bound);
	WRITE_ONCE(withhold, broken);
	watch(target, bound);
	stop_vcpus(bound);

	WRITE_ONCE(done, true);
	pthread_join(senders[0], NULL);
	pthread_join(senders[1], NULL);
	pthread_join(load, NULL);
	pthread_join(flip, NULL);

	for (i = 0; i < nr_vcpus; i++) {
		print_stats(i);
		consistent &= stats_consistent(i);
	}

	total = count_seen(by_source);
	ksft_print_msg("seen:");
	for (source = 0; source < NR_SOURCES; source++)
		printf(" %s %lu", source_names[source], by_source[source]);
	printf("\n");
	ksft_test_result_pass("each of %lu wake-ups was seen within %lu ms\n",
			      total, bound / 1000000);
	ksft_test_result(!report_pending(), "none is left pending\n");
	ksft_test_result(consistent, "the stats are consistent\n");

	kvm_vm_free(vm);
	ksft_finished();
}
