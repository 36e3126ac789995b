/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of halts share: a guest that halts and is woken, and a host
 * that sets module parameters and reads one vCPU's stats.
 *
 * A guest halts in guest_halt() alone, with a wake-up armed or expected, and
 * each of its interrupt handlers ends in guest_end_irq().  An interrupt that
 * comes between STI and HLT would leave the guest halted with nothing to wake
 * it.  Processors keep such an interrupt back for one instruction, but not
 * every emulator does, so the handler steps over a HLT that it interrupted.
 * Emulators have been seen to deliver an interrupt again, too: count wake-ups
 * by a sequence number that the waker writes, not by interrupts.
 */
#ifndef SELFTEST_KVM_HALT_UTIL_H
#define SELFTEST_KVM_HALT_UTIL_H

#include <sched.h>
#include <sys/stat.h>
#include <time.h>

#include "apic.h"
#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

extern const char guest_halt_hlt[];

/* A copy of it would be a second label: naked functions are never inlined. */
static noinline __maybe_unused __attribute__((naked)) void guest_halt(void)
{
	asm volatile("sti\n"
		     "guest_halt_hlt:\n\t"
		     "hlt\n\t"
		     "cli\n\t"
		     "ret");
}

static inline void guest_end_irq(struct ex_regs *regs)
{
	wrmsr(APIC_BASE_MSR + (APIC_EOI >> 4), 0);

	if (regs->rip == (uint64_t)guest_halt_hlt)
		regs->rip++;
}

/* Own LAPIC timer in TSC-deadline mode; see vcpu_set_tsc_deadline(). */
static inline void guest_timer_init(uint8_t vector)
{
	x2apic_enable();
	x2apic_write_reg(APIC_LVTT, APIC_LVT_TIMER_TSCDEADLINE | vector);
}

static inline void guest_timer_arm(uint64_t deadline)
{
	wrmsr(MSR_IA32_TSC_DEADLINE, deadline);
}

static inline void guest_send_ipi(uint32_t apic_id, uint8_t vector)
{
	wrmsr(APIC_BASE_MSR + (APIC_ICR >> 4),
	      (uint64_t)apic_id << 32 | APIC_INT_ASSERT | vector);
}

/* KVM leaves it to user space to say that a guest has the TSC deadline. */
static inline void vcpu_set_tsc_deadline(struct kvm_vcpu *vcpu)
{
	vcpu_set_cpuid_feature(vcpu, X86_FEATURE_TSC_DEADLINE_TIMER);
}

static inline uint64_t ns_to_guest_tsc(uint64_t ns)
{
	return ns * guest_tsc_khz / 1000000;
}

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return timespec_to_ns(ts);
}

static inline void sleep_ns(uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = ns / NSEC_PER_SEC,
		.tv_nsec = ns % NSEC_PER_SEC,
	};

	nanosleep(&ts, NULL);
}

/*
 * A clock for who waits for others to get on: the time that watch_sleep() slept.  When
 * the whole machine stood still, as an emulator's may, it did so for nobody.
 */
static uint64_t watched_ns;

static inline void watch_sleep(uint64_t ns)
{
	uint64_t start = now_ns();

	sleep_ns(ns);
	watched_ns += min(now_ns() - start, 2 * ns);
}

/* The CPUs that the test was started on, before it pinned anything. */
static cpu_set_t host_cpus;

static void __attribute__((constructor)) host_cpus_init(void)
{
	sched_getaffinity(0, sizeof(host_cpus), &host_cpus);
}

/* Counted from the last, which has the least to do with interrupts. */
static inline int host_cpu(int nth)
{
	int nr = CPU_COUNT(&host_cpus);
	int cpu;

	nth = nr - 1 - nth % nr;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &host_cpus) && !nth--)
			return cpu;

	TEST_FAIL("No CPU to run on");
}

/* It has left the guest for this, UCALL_SYNC or UCALL_DONE; returns the former's stage. */
static inline uint64_t expect_ucall(struct kvm_vcpu *vcpu, uint64_t cmd)
{
	struct ucall uc;
	uint64_t got = get_ucall(vcpu, &uc);

	if (got == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_ASSERT(got == cmd, "Unexpected exit of vCPU %u: %s", vcpu->id,
		    exit_reason_str(vcpu->run->exit_reason));
	return uc.args[1];
}

/* What takes a guest so many ticks was no two instructions, but a time off the CPU. */
#define JUMP_TICKS	3000

/* On a CPU that it shares with others; returns what it ended with. */
static inline uint64_t vcpu_run_sharing(struct kvm_vcpu *vcpu, int cpu)
{
	struct sched_param param = {};
	struct ucall uc;

	kvm_pin_this_task_to_pcpu(cpu);
	/* Who is woken waits until the other one gives way, or its time is up. */
	TEST_ASSERT(!sched_setscheduler(0, SCHED_BATCH, &param),
		    "sched_setscheduler() failed, errno %d", errno);
	vcpu_run(vcpu);
	if (get_ucall(vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	return uc.cmd;
}

/* Parameters of module kvm. */
static inline int kvm_param_open(const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/kvm/parameters/%s", name);
	return open(path, flags);
}

static inline bool kvm_has_param(const char *name)
{
	int fd = kvm_param_open(name, O_RDONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Returns 0, or the errno of the write that failed. */
static inline int __kvm_param_write(const char *name, const char *val)
{
	int fd = kvm_param_open(name, O_WRONLY);
	int err = 0;

	TEST_ASSERT(fd >= 0, "Cannot open parameter '%s' of module kvm", name);
	if (write(fd, val, strlen(val)) < 0)
		err = errno;
	close(fd);
	return err;
}

static inline void kvm_param_write(const char *name, const char *val)
{
	int err = __kvm_param_write(name, val);

	TEST_ASSERT(!err, "Writing '%s' to kvm.%s failed, errno: %d (%s)",
		    val, name, err, strerror(err));
}

/* Without the newline that sysfs adds. */
static inline void kvm_param_read(const char *name, char *val, size_t size)
{
	int fd = kvm_param_open(name, O_RDONLY);
	ssize_t r;

	TEST_ASSERT(fd >= 0, "Cannot open parameter '%s' of module kvm", name);
	r = read(fd, val, size - 1);
	TEST_ASSERT(r > 0, "Reading kvm.%s returned %ld", name, r);
	close(fd);

	val[r] = '\0';
	val[strcspn(val, "\n")] = '\0';
}

/* What a parameter was, for the end of the test */
static struct {
	const char *name;
	char val[32];
} kept_params[8];

static inline void kept_params_restore(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(kept_params) && kept_params[i].name; i++)
		__kvm_param_write(kept_params[i].name, kept_params[i].val);
}

/* Has a parameter set back when the test ends; false when kvm does not know it. */
static inline bool kvm_param_keep(const char *name)
{
	int i = 0;

	if (!kvm_has_param(name))
		return false;

	while (kept_params[i].name)
		TEST_ASSERT(++i < ARRAY_SIZE(kept_params), "No room for parameter '%s'", name);
	/* The harness does not return to main(). */
	if (!i)
		TEST_ASSERT(!atexit(kept_params_restore), "atexit() failed");
	kvm_param_read(name, kept_params[i].val, sizeof(kept_params[i].val));
	kept_params[i].name = name;
	return true;
}

/* Does a guest that spins leave by PAUSE-loop exits?  Those of SVM go unused here. */
static inline bool has_pause_exits(void)
{
	unsigned int gap = 0;
	FILE *file = fopen("/sys/module/kvm_intel/parameters/ple_gap", "r");

	if (file) {
		if (fscanf(file, "%u", &gap) != 1)
			gap = 0;
		fclose(file);
	}

	return gap;
}

/* Tells both sides. */
#define ASSERT_COUNT(a, op, b)						\
do {									\
	uint64_t __a = (a), __b = (b);					\
									\
	TEST_ASSERT(__a op __b, "%s is %lu, %s is %lu", #a, __a, #b, __b); \
} while (0)

#define TRACEFS		"/sys/kernel/tracing"

/* Of a trace instance named like the program: who else traces is not disturbed. */
static inline void trace_path(char *path, size_t size, const char *file)
{
	snprintf(path, size, TRACEFS "/instances/%s/%s", program_invocation_short_name, file);
}

static inline void trace_write(const char *file, const char *val)
{
	char path[128];
	int fd;

	trace_path(path, sizeof(path), file);
	fd = open(path, O_WRONLY);
	TEST_ASSERT(fd >= 0, "Cannot open %s", path);
	test_write(fd, val, strlen(val));
	close(fd);
}

static inline FILE *trace_open(void)
{
	char path[128];
	FILE *f;

	trace_path(path, sizeof(path), "trace");
	f = fopen(path, "r");
	TEST_ASSERT(f, "Cannot read %s", path);
	return f;
}

/* The next time that the event was traced, to its end; NULL when there is none. */
static inline char *trace_next(FILE *f, char *line, size_t size, const char *event)
{
	char *found;

	while (fgets(line, size, f)) {
		found = strstr(line, event);
		if (found)
			return found + strlen(event);
	}

	return NULL;
}

static inline void trace_remove(void)
{
	char path[128];

	trace_path(path, sizeof(path), "");
	rmdir(path);
}

/* Anew, if an earlier run left it; false where there is no tracefs. */
static inline bool trace_create(void)
{
	char path[128];

	trace_remove();
	trace_path(path, sizeof(path), "");
	return !mkdir(path, 0700);
}

/* A vCPU's stats, by way of KVM_GET_STATS_FD. */
struct vcpu_stats {
	int fd;
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
};

static inline void vcpu_stats_open(struct vcpu_stats *s, struct kvm_vcpu *vcpu)
{
	s->fd = vcpu_get_stats_fd(vcpu);
	read_stats_header(s->fd, &s->header);
	s->desc = read_stats_descriptors(s->fd, &s->header);
}

static inline void vcpu_stats_close(struct vcpu_stats *s)
{
	free(s->desc);
	close(s->fd);
}

/* Returns how many elements the stat has, 0 when KVM does not know it. */
static inline size_t __vcpu_stat(struct vcpu_stats *s, const char *name,
				 uint64_t *data, size_t max)
{
	struct kvm_stats_desc *desc;
	int i;

	for (i = 0; i < s->header.num_desc; i++) {
		desc = get_stats_descriptor(s->desc, i, &s->header);
		if (strcmp(desc->name, name))
			continue;

		read_stat_data(s->fd, &s->header, desc, data, max);
		return min_t(size_t, desc->size, max);
	}

	return 0;
}

static inline uint64_t vcpu_stat(struct vcpu_stats *s, const char *name)
{
	uint64_t val;

	TEST_ASSERT(__vcpu_stat(s, name, &val, 1), "No stat '%s'", name);
	return val;
}

#endif /* SELFTEST_KVM_HALT_UTIL_H */
