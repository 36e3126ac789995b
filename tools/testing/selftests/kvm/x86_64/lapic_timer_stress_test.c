// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that no race makes a LAPIC timer fire early, twice, after it was cleared,
 * or not at all.
 *
 * Several vCPUs go round by round, each with books on its timer, which
 * lapic_timer_util.h explains.  In a round a vCPU arms its timer, asks for an IPI by
 * whichever other vCPU comes by, for an MSI by a host thread that writes an eventfd,
 * or for both, and halts until all has come.  Each time that it is woken it may
 * rewrite its timer, clear it, or switch its mode.  vCPU 0 asks for no IPI: it is
 * the one that comes by when all others wait for one.
 *
 * Delays are random around the length of a polling window, so that timers meet a
 * vCPU that enters the halt, polls, goes to sleep, sleeps, or leaves.  Meanwhile
 * vCPU threads are moved from CPU to CPU, CPUs get loaded, and the parameters of
 * kvm's that decide how its timers work are flipped, those that this kvm has.
 *
 * All of that goes on twice: with halt polling, and without it.
 */
#include <pthread.h>
#include <sys/eventfd.h>

#include "lapic_timer_util.h"

/* Until a vCPU counts as stuck. */
#define BOUND_NS	(5000 * MS)
#define WINDOW_NS	(200 * US)

#define NR_VCPUS	4
#define IPI_VECTOR	(TIMER_VECTOR + MAX_VCPUS)
#define IRQFD_VECTOR	(IPI_VECTOR + MAX_VCPUS)

/* What the guest does behind its books' back, so that the test has to fail. */
enum broken { NOTHING, EARLY, LOST, STRAY };

static const char * const broken_names[] = { "nothing", "early", "lost", "stray" };

/* Its number is what counts, as interrupts may be delivered again. */
struct wake {
	uint64_t asked;
	uint64_t sent;
	uint64_t seen;
};

/* What a vCPU shares with the host and with the other vCPUs. */
struct slot {
	struct wake ipi;
	struct wake irqfd;
	uint64_t ipi_wanted;
	uint64_t stop;
} __aligned(64);

/* The guest's; each VM has a copy. */
static struct slot slots[NR_VCPUS];
static enum broken broken;

static void guest_see(struct wake *wake)
{
	WRITE_ONCE(wake->seen, READ_ONCE(wake->sent));
}

static void guest_ipi_handler(struct ex_regs *regs)
{
	guest_see(&slots[regs->vector - IPI_VECTOR].ipi);
	guest_end_irq(regs);
}

static void guest_irqfd_handler(struct ex_regs *regs)
{
	guest_see(&slots[regs->vector - IRQFD_VECTOR].irqfd);
	guest_end_irq(regs);
}

static uint32_t random_below(struct guest_random_state *rng, uint32_t limit)
{
	return guest_random_u32(rng) % limit;
}

/*
 * Around the length of a polling window.  Some are over before the halt begins, some
 * are long enough for other wake-ups to come first.
 */
static uint64_t guest_delay(struct guest_random_state *rng)
{
	uint64_t ns = 1 + random_below(rng, 400 * US);

	switch (random_below(rng, 10)) {
	case 0:
		return 1 + ns / 100;
	case 1:
	case 2:
		return ns * 5;
	default:
		return ns;
	}
}

/* As the books say, or not. */
static void guest_arm_random(struct timer *t, struct guest_random_state *rng)
{
	guest_arm(t, guest_delay(rng));

	if (broken == EARLY)
		t->deadline += ns_to_guest_tsc(400 * US);
	else if (broken == LOST && !(t->armed % 100))
		guest_timer_write(t, 0);
}

static void guest_cancel(struct timer *t)
{
	guest_clear(t);

	if (broken == STRAY)
		guest_timer_write(t, 100 * US);
}

static void guest_ask(struct slot *slot, struct guest_random_state *rng)
{
	if (slot != &slots[0] && __guest_random_bool(rng, 40)) {
		slot->ipi.asked++;
		WRITE_ONCE(slot->ipi_wanted, 1);
	}
	if (__guest_random_bool(rng, 40))
		WRITE_ONCE(slot->irqfd.asked, slot->irqfd.asked + 1);
}

/* Send the IPIs that other vCPUs wait for. */
static void guest_serve(struct slot *self)
{
	struct slot *slot;
	int i;

	for (i = 0; i < NR_VCPUS; i++) {
		slot = &slots[i];
		if (slot == self || !READ_ONCE(slot->ipi_wanted) ||
		    !__sync_lock_test_and_set(&slot->ipi_wanted, 0))
			continue;

		WRITE_ONCE(slot->ipi.sent, READ_ONCE(slot->ipi.asked));
		guest_send_ipi(i, IPI_VECTOR + i);
	}
}

static bool guest_seen_all(struct timer *t, struct slot *slot)
{
	return !READ_ONCE(t->deadline) &&
	       READ_ONCE(slot->ipi.seen) == slot->ipi.asked &&
	       READ_ONCE(slot->irqfd.seen) == slot->irqfd.asked;
}

/* From the counter to the deadline or back disarms. */
static void guest_switch(struct timer *t)
{
	bool was = guest_book(t, 0, 0);

	guest_timer_switch(t, t->mode == DEADLINE ? ONESHOT : DEADLINE, 0);
	guest_book_stale(t, was);
}

static void guest_change(struct timer *t, struct guest_random_state *rng)
{
	/* Into the deadline, or not. */
	if (guest_random_bool(rng))
		guest_spin(random_below(rng, 400 * US));

	switch (random_below(rng, 6)) {
	case 0:
		guest_cancel(t);
		break;
	case 1:
		guest_switch(t);
		break;
	default:
		guest_arm_random(t, rng);
		break;
	}

	/* Long enough for the old deadline to pass. */
	if (!t->deadline && guest_random_bool(rng))
		guest_spin(random_below(rng, 400 * US));
}

static void guest_storm(int vcpu)
{
	struct guest_random_state rng = new_guest_random_state(vcpu + 1);
	struct timer *t = &timers[vcpu];
	struct slot *slot = &slots[vcpu];
	int changes;

	guest_init(t, vcpu, DEADLINE);

	while (!READ_ONCE(slot->stop)) {
		if (__guest_random_bool(&rng, 10))
			guest_switch(t);
		guest_ask(slot, &rng);
		guest_arm_random(t, &rng);

		changes = random_below(&rng, 4);
		for (;;) {
			/* Just armed, or just woken. */
			if (changes && t->deadline && guest_random_bool(&rng)) {
				guest_change(t, &rng);
				changes--;
			}
			guest_serve(slot);
			if (guest_seen_all(t, slot))
				break;
			guest_halt();
		}
	}

	GUEST_DONE();
}

struct storm {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[NR_VCPUS];
	pthread_t threads[NR_VCPUS];
	int eventfds[NR_VCPUS];
	struct timer *timers;
	struct slot *slots;
	bool ended[NR_VCPUS];
	bool loaded;
	bool done;
};

static void *storm_vcpu_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	vcpu_run(vcpu);
	expect_ucall(vcpu, UCALL_DONE);
	return NULL;
}

/* Sends what vCPUs ask of the irqfd, each at a random time. */
static void *storm_irqfd_thread(void *arg)
{
	struct guest_random_state rng = new_guest_random_state(100);
	struct storm *storm = arg;
	struct wake *wake;
	uint64_t asked;
	int i;

	while (!READ_ONCE(storm->done)) {
		for (i = 0; i < NR_VCPUS; i++) {
			wake = &storm->slots[i].irqfd;
			asked = READ_ONCE(wake->asked);
			if (wake->sent == asked || __guest_random_bool(&rng, 30))
				continue;

			WRITE_ONCE(wake->sent, asked);
			TEST_ASSERT(!eventfd_write(storm->eventfds[i], 1),
				    "Writing an eventfd failed");
		}
		sleep_ns(random_below(&rng, 200 * US));
	}

	return NULL;
}

/* Keeps a CPU busy, and with it whatever vCPU wants to poll there. */
static void *storm_load_thread(void *arg)
{
	struct storm *storm = arg;

	while (!READ_ONCE(storm->done)) {
		if (!READ_ONCE(storm->loaded))
			sleep_ns(1 * MS);
	}

	return NULL;
}

static void storm_move_vcpu(struct storm *storm, struct guest_random_state *rng)
{
	cpu_set_t mask = host_cpus;

	if (__guest_random_bool(rng, 70)) {
		CPU_ZERO(&mask);
		CPU_SET(host_cpu(random_below(rng, CPU_COUNT(&host_cpus))), &mask);
	}

	pthread_setaffinity_np(storm->threads[random_below(rng, NR_VCPUS)],
			       sizeof(mask), &mask);
}

static void storm_flip_param(const char *name, struct guest_random_state *rng)
{
	if (kvm_has_param(name))
		kvm_param_write(name, guest_random_bool(rng) ? "Y" : "N");
}

static void *storm_move_thread(void *arg)
{
	struct guest_random_state rng = new_guest_random_state(200);
	struct storm *storm = arg;

	while (!READ_ONCE(storm->done)) {
		switch (random_below(&rng, 16)) {
		case 0:
			WRITE_ONCE(storm->loaded, __guest_random_bool(&rng, 25));
			break;
		case 1:
			storm_flip_param("lapic_timer_lazy", &rng);
			break;
		case 2:
			storm_flip_param("lapic_timer_poll", &rng);
			break;
		default:
			storm_move_vcpu(storm, &rng);
			break;
		}
		sleep_ns(random_below(&rng, 500 * US));
	}

	return NULL;
}

static void start_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	TEST_ASSERT(!pthread_create(thread, NULL, fn, arg),
		    "pthread_create() failed");
}

static void storm_add_irqfd(struct storm *storm, int vcpu)
{
	struct kvm_irqfd irqfd = { .gsi = 32 + vcpu };

	storm->eventfds[vcpu] = eventfd(0, EFD_CLOEXEC);
	TEST_ASSERT(storm->eventfds[vcpu] >= 0, "eventfd() failed");
	irqfd.fd = storm->eventfds[vcpu];
	vm_ioctl(storm->vm, KVM_IRQFD, &irqfd);
}

static void storm_add_vcpu(struct storm *storm, int i)
{
	vm_install_exception_handler(storm->vm, TIMER_VECTOR + i, guest_timer_handler);
	vm_install_exception_handler(storm->vm, IPI_VECTOR + i, guest_ipi_handler);
	vm_install_exception_handler(storm->vm, IRQFD_VECTOR + i, guest_irqfd_handler);

	storm->vcpus[i] = vm_vcpu_add(storm->vm, i, guest_storm);
	vcpu_args_set(storm->vcpus[i], 1, i);
	vcpu_set_tsc_deadline(storm->vcpus[i]);
}

static void storm_create(struct storm *storm, uint64_t poll_ns)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	int i;

	memset(storm, 0, sizeof(*storm));
	storm->vm = vm_create(NR_VCPUS);
	vm_enable_cap(storm->vm, KVM_CAP_HALT_POLL, poll_ns);
	sync_global_to_guest(storm->vm, broken);
	storm->timers = addr_gva2hva(storm->vm, (vm_vaddr_t)timers);
	storm->slots = addr_gva2hva(storm->vm, (vm_vaddr_t)slots);

	for (i = 0; i < NR_VCPUS; i++) {
		storm_add_vcpu(storm, i);
		routing->entries[routing->nr++] = (struct kvm_irq_routing_entry) {
			.gsi = 32 + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi.address_lo = APIC_DEFAULT_GPA | i << 12,
			.u.msi.data = IRQFD_VECTOR + i,
		};
	}
	kvm_gsi_routing_write(storm->vm, routing);

	for (i = 0; i < NR_VCPUS; i++)
		storm_add_irqfd(storm, i);
}

static void storm_print(struct storm *storm)
{
	struct timer *t;
	struct slot *s;
	int i;

	for (i = 0; i < NR_VCPUS; i++) {
		t = &storm->timers[i];
		s = &storm->slots[i];
		ksft_print_msg("vCPU %d: armed %lu, fired %lu, delivered again %lu, due at %lu\n",
			       i, t->armed, t->fired, t->phantoms, t->deadline);
		ksft_print_msg("        IPIs asked %lu, seen %lu; irqfd asked %lu, seen %lu\n",
			       s->ipi.asked, s->ipi.seen, s->irqfd.asked, s->irqfd.seen);
	}
}

/* A vCPU that neither arms its timer nor sees it fire waits for one that is lost. */
static void storm_check(struct storm *storm, uint64_t start)
{
	static struct {
		uint64_t armed, fired, since;
	} last[NR_VCPUS];
	uint64_t armed, fired;
	int i;

	for (i = 0; i < NR_VCPUS; i++) {
		armed = READ_ONCE(storm->timers[i].armed);
		fired = READ_ONCE(storm->timers[i].fired);
		if (armed != last[i].armed || fired != last[i].fired) {
			last[i].armed = armed;
			last[i].fired = fired;
			last[i].since = watched_ns;
		} else if (!storm->ended[i] &&
			   watched_ns - max(start, last[i].since) > BOUND_NS) {
			storm_print(storm);
			ksft_test_result_fail("vCPU %d waits for %llu ms\n", i,
					      BOUND_NS / MS);
			ksft_exit_fail();
		}
	}
}

static uint64_t storm_fired(struct storm *storm)
{
	uint64_t fired = 0;
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		fired += READ_ONCE(storm->timers[i].fired);
	return fired;
}

/* vCPU 0 goes last, as it sends the IPIs that nobody else is left to send. */
static void storm_stop_vcpus(struct storm *storm, uint64_t start)
{
	int i, v;

	for (i = 1; i <= NR_VCPUS; i++) {
		v = i % NR_VCPUS;
		WRITE_ONCE(storm->slots[v].stop, 1);
		while (pthread_tryjoin_np(storm->threads[v], NULL)) {
			watch_sleep(1 * MS);
			storm_check(storm, start);
		}
		storm->ended[v] = true;
	}
}

static void storm_run(struct storm *storm, uint64_t firings)
{
	pthread_t irqfd, load, move;
	uint64_t start = watched_ns;
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		start_thread(&storm->threads[i], storm_vcpu_thread, storm->vcpus[i]);
	start_thread(&irqfd, storm_irqfd_thread, storm);
	start_thread(&load, storm_load_thread, storm);
	start_thread(&move, storm_move_thread, storm);

	while (storm_fired(storm) < firings) {
		watch_sleep(20 * MS);
		storm_check(storm, start);
	}
	storm_stop_vcpus(storm, start);

	WRITE_ONCE(storm->done, true);
	pthread_join(irqfd, NULL);
	pthread_join(load, NULL);
	pthread_join(move, NULL);
}

static void storm_destroy(struct storm *storm)
{
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		close(storm->eventfds[i]);
	kvm_vm_free(storm->vm);
}

/* Whatever is wrong ends the test at once. */
static void test_storm(const char *name, uint64_t poll_ns, uint64_t firings)
{
	struct storm storm;

	storm_create(&storm, poll_ns);
	storm_run(&storm, firings);
	storm_print(&storm);
	ksft_test_result_pass("%lu firings, %s\n", storm_fired(&storm), name);
	storm_destroy(&storm);
}

static enum broken broken_by_name(const char *name)
{
	enum broken b;

	for (b = EARLY; b <= STRAY; b++)
		if (!strcmp(name, broken_names[b]))
			return b;

	TEST_FAIL("-b takes early, lost or stray, not '%s'", name);
}

static void help(char *name)
{
	printf("usage: %s [-h] [-b early|lost|stray] [-n firings]\n\n", name);
	printf("-b: Break it: have timers fire early, get lost, or fire after they were\n"
	       "    cleared.  The test has to fail then.\n");
	printf("-n: How many firings, half of them with halt polling (default 8000).\n");
}

int main(int argc, char *argv[])
{
	uint64_t firings = 8000;
	int opt;

	while ((opt = getopt(argc, argv, "hb:n:")) != -1) {
		switch (opt) {
		case 'b':
			broken = broken_by_name(optarg);
			break;
		case 'n':
			firings = atoi_positive("Number of firings", optarg);
			break;
		case 'h':
		default:
			help(argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HALT_POLL));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_IRQFD));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_DEADLINE_TIMER));

	ksft_print_header();
	ksft_set_plan(2);

	kvm_param_keep("lapic_timer_lazy");
	kvm_param_keep("lapic_timer_poll");

	test_storm("halts polled", WINDOW_NS, firings / 2);
	test_storm("halts not polled", 0, firings / 2);

	ksft_finished();
}
