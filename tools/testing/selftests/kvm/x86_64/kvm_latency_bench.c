// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest pays, in ticks of its own TSC, for the actions that KVM's
 * latency paths serve.  Proves nothing; it measures, so that two KVMs, or one
 * KVM with two settings, can be compared on one machine.
 *
 * Each row is measured in a VM of its own, its vCPU threads pinned to a CPU
 * each.  "polled" and "off" say what KVM_CAP_HALT_POLL is set to in that VM,
 * so that no module parameter needs to be touched.  The first rounds of a row
 * are not counted: caches warm up, and a halt-polling window grows.
 *
 *   cpuid                an exit that KVM completes in the kernel, for scale
 *   halt_ipi_*           vCPU 1 halts; 50 us later vCPU 0 sends it an IPI.
 *                        From before the write to the ICR to after the HLT.
 *   halt_timer_30us_*    a vCPU sets its TSC deadline 30 us ahead and halts.
 *                        From the deadline to after the HLT.
 *   halt_timer_10ms      the same, 10 ms ahead: too far for any polling.
 *   pingpong_*           two vCPUs wake each other by IPI and halt.  The round
 *                        trip, from before the write to the ICR to after HLT.
 *
 * "After the HLT" includes the handler and its EOI.  Guests that wait for each
 * other spin without PAUSE, lest they leave by PAUSE-loop exits.  Output, a line each:
 *
 *   tsc_khz <frequency>
 *   row <name> min <ticks> median <ticks> avg <ticks> p99 <ticks> n <number>
 *   stat <name> <KVM stat> <value> ...      all rounds, all vCPUs of the row
 *   samples <name> <ticks> ...              with -s: as they came
 */
#include <pthread.h>

#include "halt_util.h"

#define WAKE_VECTOR	0x30
#define MAX_VCPUS	2
#define MAX_ROUNDS	10000
#define WARM_UP		50

#define POLL_NS		200000
#define IPI_DELAY_NS	50000

struct row {
	void (*guest[MAX_VCPUS])(void);
	const char *name;
	/* KVM_CAP_HALT_POLL */
	uint64_t poll_ns;
	/* Until the wake-up. */
	uint64_t delay_ns;
};

/* The guest's; each VM has a copy. */
static uint64_t rounds, delay;
static int64_t samples[MAX_ROUNDS];
/* Which wake-up was sent last, and which was seen last. */
static uint64_t posted[MAX_VCPUS], woken[MAX_VCPUS];
static uint64_t halting, awake, awake_tsc;

/* What KVM's stats say of a row; a KVM that lacks one leaves it out. */
static const char * const stat_names[] = {
	"exits",
	"halt_exits",
	"halt_attempted_poll",
	"halt_successful_poll",
	"halt_poll_success_ns",
	"halt_poll_fail_ns",
	"halt_wakeup",
	"halt_wait_ns",
	"halt_wake_timed",
	"halt_wake_ns",
};

/* A vector each: to learn which vCPU it runs on could cost an exit. */
static void guest_wake_handler(struct ex_regs *regs)
{
	int vcpu = regs->vector - WAKE_VECTOR;

	WRITE_ONCE(woken[vcpu], READ_ONCE(posted[vcpu]));
	guest_end_irq(regs);
}

/* Halts until woken for the nth time; interrupts are off, before and after. */
static void guest_wait(int vcpu, uint64_t nth)
{
	while (READ_ONCE(woken[vcpu]) != nth)
		guest_halt();
}

static void guest_wake(int vcpu, uint64_t nth)
{
	WRITE_ONCE(posted[vcpu], nth);
	guest_send_ipi(vcpu, WAKE_VECTOR + vcpu);
}

static void guest_cpuid(void)
{
	uint32_t eax, ebx, ecx, edx;
	uint64_t start;
	int i;

	for (i = 0; i < rounds; i++) {
		start = rdtsc();
		cpuid(0, &eax, &ebx, &ecx, &edx);
		samples[i] = rdtsc() - start;
	}

	GUEST_DONE();
}

static void guest_timer(void)
{
	uint64_t deadline;
	int i;

	guest_timer_init(WAKE_VECTOR);

	for (i = 0; i < rounds; i++) {
		deadline = rdtsc() + delay;
		WRITE_ONCE(posted[0], i + 1);
		guest_timer_arm(deadline);
		guest_wait(0, i + 1);
		samples[i] = rdtsc() - deadline;
	}

	GUEST_DONE();
}

/*
 * Who spins has interrupts on: Bochs does not end the guest for a host interrupt
 * while they are off, and a host CPU may be waiting for this one to answer.
 */
static void guest_ipi_sender(void)
{
	uint64_t start;
	int i;

	x2apic_enable();
	asm volatile("sti");

	for (i = 0; i < rounds; i++) {
		while (READ_ONCE(halting) != i + 1)
			;

		start = rdtsc();
		while (rdtsc() - start < delay)
			;

		start = rdtsc();
		guest_wake(1, i + 1);

		while (READ_ONCE(awake) != i + 1)
			;
		samples[i] = READ_ONCE(awake_tsc) - start;
	}

	GUEST_DONE();
}

static void guest_ipi_halter(void)
{
	int i;

	x2apic_enable();

	for (i = 0; i < rounds; i++) {
		WRITE_ONCE(halting, i + 1);
		guest_wait(1, i + 1);
		WRITE_ONCE(awake_tsc, rdtsc());
		WRITE_ONCE(awake, i + 1);
	}

	GUEST_DONE();
}

static void guest_ping(void)
{
	uint64_t start;
	int i;

	x2apic_enable();
	asm volatile("sti");
	while (!READ_ONCE(halting))
		;
	asm volatile("cli");

	for (i = 0; i < rounds; i++) {
		start = rdtsc();
		guest_wake(1, i + 1);
		guest_wait(0, i + 1);
		samples[i] = rdtsc() - start;
	}

	GUEST_DONE();
}

static void guest_pong(void)
{
	int i;

	x2apic_enable();
	WRITE_ONCE(halting, 1);

	for (i = 0; i < rounds; i++) {
		guest_wait(1, i + 1);
		guest_wake(0, i + 1);
	}

	GUEST_DONE();
}

static const struct row rows[] = {
	{ { guest_cpuid }, "cpuid" },
	{ { guest_ipi_sender, guest_ipi_halter }, "halt_ipi_polled",
	  POLL_NS, IPI_DELAY_NS },
	{ { guest_ipi_sender, guest_ipi_halter }, "halt_ipi_off",
	  0, IPI_DELAY_NS },
	{ { guest_timer }, "halt_timer_30us_polled", POLL_NS, 30000 },
	{ { guest_timer }, "halt_timer_30us_off", 0, 30000 },
	{ { guest_timer }, "halt_timer_10ms", POLL_NS, 10000000 },
	{ { guest_ping, guest_pong }, "pingpong_polled", POLL_NS },
	{ { guest_ping, guest_pong }, "pingpong_off", 0 },
};

static int row_vcpus(const struct row *row)
{
	return row->guest[1] ? 2 : 1;
}

static void *vcpu_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	struct ucall uc;

	kvm_pin_this_task_to_pcpu(host_cpu(vcpu->id));
	vcpu_run(vcpu);

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		TEST_FAIL("Unexpected exit of vCPU %u: %s", vcpu->id,
			  exit_reason_str(vcpu->run->exit_reason));
	}

	return NULL;
}

static void print_stats(const struct row *row, struct vcpu_stats *stats)
{
	uint64_t val, sum;
	int i, v;

	printf("stat %s", row->name);

	for (i = 0; i < ARRAY_SIZE(stat_names); i++) {
		sum = 0;
		for (v = 0; v < row_vcpus(row); v++) {
			if (!__vcpu_stat(&stats[v], stat_names[i], &val, 1))
				break;
			sum += val;
		}
		if (v == row_vcpus(row))
			printf(" %s %lu", stat_names[i], sum);
	}

	printf("\n");
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void print_row(const struct row *row, int64_t *s, int n)
{
	int64_t sum = 0;
	int i;

	qsort(s, n, sizeof(*s), compare);
	for (i = 0; i < n; i++)
		sum += s[i];

	printf("row %s min %ld median %ld avg %ld p99 %ld n %d\n", row->name,
	       s[0], s[n / 2], sum / n, s[(n - 1) * 99 / 100], n);
}

static void run_row(const struct row *row, int n, bool raw)
{
	struct kvm_vcpu *vcpus[MAX_VCPUS], *vcpu;
	struct vcpu_stats stats[MAX_VCPUS];
	pthread_t threads[MAX_VCPUS];
	struct kvm_vm *vm;
	int i;

	vm = vm_create(MAX_VCPUS);
	vm_enable_cap(vm, KVM_CAP_HALT_POLL, row->poll_ns);
	for (i = 0; i < MAX_VCPUS; i++)
		vm_install_exception_handler(vm, WAKE_VECTOR + i, guest_wake_handler);
	write_guest_global(vm, rounds, (uint64_t)WARM_UP + n);
	write_guest_global(vm, delay, ns_to_guest_tsc(row->delay_ns));

	for (i = 0; i < row_vcpus(row); i++) {
		vcpu = vm_vcpu_add(vm, i, row->guest[i]);
		vcpu_set_tsc_deadline(vcpu);
		vcpu_stats_open(&stats[i], vcpu);
		vcpus[i] = vcpu;
	}

	/* Only now: a vCPU that spins keeps the rest of the set-up waiting. */
	for (i = 0; i < row_vcpus(row); i++)
		TEST_ASSERT(!pthread_create(&threads[i], NULL, vcpu_thread, vcpus[i]),
			    "pthread_create() failed");

	for (i = 0; i < row_vcpus(row); i++)
		pthread_join(threads[i], NULL);

	sync_global_from_guest(vm, samples);
	if (raw) {
		printf("samples %s", row->name);
		for (i = 0; i < n; i++)
			printf(" %ld", samples[WARM_UP + i]);
		printf("\n");
	}
	print_row(row, samples + WARM_UP, n);
	print_stats(row, stats);

	for (i = 0; i < row_vcpus(row); i++)
		vcpu_stats_close(&stats[i]);
	kvm_vm_free(vm);
}

static void help(char *name)
{
	int i;

	printf("usage: %s [-h] [-n samples] [-r row] [-s]\n\n", name);
	printf("-n: How many samples a row takes (default 300, at most %d).\n",
	       MAX_ROUNDS - WARM_UP);
	printf("-r: Measure this row only; one of:\n");
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		printf("    %s\n", rows[i].name);
	printf("-s: Print the samples too.\n");
}

int main(int argc, char *argv[])
{
	const char *only = NULL;
	bool raw = false, found = false;
	int opt, i, n = 300;

	while ((opt = getopt(argc, argv, "hn:r:s")) != -1) {
		switch (opt) {
		case 'n':
			n = atoi_positive("Number of samples", optarg);
			TEST_ASSERT(n <= MAX_ROUNDS - WARM_UP,
				    "At most %d samples", MAX_ROUNDS - WARM_UP);
			break;
		case 'r':
			only = optarg;
			break;
		case 's':
			raw = true;
			break;
		case 'h':
		default:
			help(argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HALT_POLL));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_DEADLINE_TIMER));

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		if (only && strcmp(only, rows[i].name))
			continue;

		if (!found) {
			struct kvm_vm *vm = vm_create(1);

			printf("tsc_khz %lu\n", guest_tsc_khz);
			kvm_vm_free(vm);
		}
		found = true;

		if (row_vcpus(&rows[i]) > CPU_COUNT(&host_cpus)) {
			printf("# row %s left out: it takes 2 CPUs\n", rows[i].name);
			continue;
		}
		run_row(&rows[i], n, raw);
	}

	if (!found) {
		fprintf(stderr, "%s: no row '%s'; -h lists them\n", argv[0], only);
		return KSFT_FAIL;
	}

	return 0;
}
