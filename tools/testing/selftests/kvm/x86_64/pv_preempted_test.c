// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that a vCPU which gives way is reported to its guest as preempted, and that
 * the guest may make use of that.
 *
 * Two vCPUs share a CPU.  The first gives way again and again: it waits with PAUSE, and
 * leaves by PAUSE-loop exits where there are any; or it says so by a hypercall.  The
 * second thus only runs while the first does not, and looks at the first one's steal
 * time whenever it was given the CPU.  It then does what a kernel does to spare itself an
 * IPI: it changes a page table entry that the first one has in its TLB, and asks that
 * the TLB be flushed before that one runs again.  The first one must never see the old
 * page then; and as emulators may flush it anyway, the flushes are counted, too.
 */
#include <pthread.h>

#include <asm/kvm_para.h>
#include <linux/kvm_para.h>

#include "halt_util.h"
#include "kvm_test_harness.h"

/* Of struct kvm_steal_time.preempted, as the guest's kernel has them */
#define PREEMPTED	1
#define FLUSH_TLB	2

#define ROUNDS		30

#define PTE_GVA		0x40000000ull

/* The guest's */
static struct kvm_steal_time steal __aligned(64);
static uint64_t steal_gpa, *mapped, *pte, pte_of[2];
static uint64_t hypercalls, started, stop, turns;
static uint64_t looks, seen, flushes;
/* Which page is mapped; and that no flush could be asked for. */
static uint64_t current_page, flush_yourself;

static void give_way(void)
{
	uint64_t turn = READ_ONCE(turns);

	if (hypercalls)
		kvm_hypercall(KVM_HC_SCHED_YIELD, 1, 0, 0, 0);
	else
		while (READ_ONCE(turns) == turn)
			asm volatile("pause");
}

static void guest_gives_way(void)
{
	int i;

	x2apic_enable();
	wrmsr(MSR_KVM_STEAL_TIME, steal_gpa | KVM_MSR_ENABLED);
	asm volatile("sti");
	WRITE_ONCE(started, 1);
	for (i = 0; i < ROUNDS || READ_ONCE(turns) < ROUNDS; i++) {
		give_way();
		GUEST_ASSERT_EQ(READ_ONCE(steal.preempted), 0);
		if (READ_ONCE(flush_yourself)) {
			asm volatile("invlpg (%0)" :: "r"(mapped) : "memory");
			WRITE_ONCE(flush_yourself, 0);
		}
		GUEST_ASSERT_EQ(READ_ONCE(*mapped), READ_ONCE(current_page));
	}
	WRITE_ONCE(stop, 1);

	GUEST_DONE();
}

static void change_page(void)
{
	uint8_t preempted = READ_ONCE(steal.preempted);

	WRITE_ONCE(current_page, !current_page);
	WRITE_ONCE(*pte, pte_of[current_page]);
	if ((preempted & PREEMPTED) &&
	    __sync_bool_compare_and_swap(&steal.preempted, preempted, preempted | FLUSH_TLB))
		flushes += !(preempted & FLUSH_TLB);
	else
		WRITE_ONCE(flush_yourself, 1);
}

static void guest_looks(void)
{
	uint64_t now, last = rdtsc();

	x2apic_enable();
	asm volatile("sti");
	for (; !READ_ONCE(stop); last = now) {
		now = rdtsc();
		if (now - last < JUMP_TICKS || !READ_ONCE(started))
			continue;

		looks++;
		if (READ_ONCE(steal.preempted) & PREEMPTED)
			seen++;
		change_page();
		WRITE_ONCE(turns, turns + 1);
	}

	GUEST_DONE();
}

static void *vcpu_thread(void *vcpu)
{
	TEST_ASSERT_EQ(vcpu_run_sharing(vcpu, host_cpu(0)), UCALL_DONE);
	return NULL;
}

/* A page that the guest may have at either of two addresses, and its entry */
static void map_pages(struct kvm_vm *vm)
{
	vm_vaddr_t pages[3];
	uint64_t *entry;
	int i;

	for (i = 0; i < ARRAY_SIZE(pages); i++)
		pages[i] = vm_vaddr_alloc_page(vm);
	for (i = 0; i < ARRAY_SIZE(pte_of); i++) {
		*(uint64_t *)addr_gva2hva(vm, pages[i]) = i;
		pte_of[i] = *vm_get_page_table_entry(vm, pages[i]);
		write_guest_global(vm, pte_of[i], pte_of[i]);
	}

	entry = vm_get_page_table_entry(vm, pages[2]);
	*entry = pte_of[0];
	virt_pg_map(vm, PTE_GVA, addr_hva2gpa(vm, entry) & ~(getpagesize() - 1ull));
	write_guest_global(vm, mapped, (uint64_t *)pages[2]);
	write_guest_global(vm, pte, (uint64_t *)(PTE_GVA + ((uintptr_t)entry % getpagesize())));
}

static void run(bool hypercall)
{
	pthread_t threads[2];
	struct kvm_vcpu *vcpus[2];
	struct vcpu_stats stats;
	struct kvm_vm *vm;
	int i;

	vm = vm_create(2);
	vcpus[0] = vm_vcpu_add(vm, 0, guest_gives_way);
	vcpus[1] = vm_vcpu_add(vm, 1, guest_looks);
	map_pages(vm);
	write_guest_global(vm, hypercalls, (uint64_t)hypercall);
	write_guest_global(vm, steal_gpa, (uint64_t)addr_gva2gpa(vm, (vm_vaddr_t)&steal));

	for (i = 0; i < 2; i++)
		TEST_ASSERT(!pthread_create(&threads[i], NULL, vcpu_thread, vcpus[i]),
			    "pthread_create() failed");
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);

	sync_global_from_guest(vm, looks);
	sync_global_from_guest(vm, seen);
	sync_global_from_guest(vm, flushes);
	vcpu_stats_open(&stats, vcpus[0]);
	printf("# seen preempted %lu times of %lu, to flush %lu times; reported %lu, not %lu\n",
	       seen, looks, flushes, vcpu_stat(&stats, "preemption_reported"),
	       vcpu_stat(&stats, "preemption_other"));
	ASSERT_COUNT(looks, >=, ROUNDS);
	ASSERT_COUNT(10 * seen, >=, 9 * looks);
	ASSERT_COUNT(flushes, >, 0);
	/* The last one may be for a vCPU that does not run any more. */
	ASSERT_COUNT(vcpu_stat(&stats, "tlb_flush"), >=, flushes - 1);
	ASSERT_COUNT(vcpu_stat(&stats, "preemption_reported"), >, 0);
	vcpu_stats_close(&stats);
	kvm_vm_free(vm);
}

TEST(by_pause)
{
	if (!has_pause_exits())
		SKIP(return, "takes PAUSE-loop exits");
	run(false);
}

TEST(by_hypercall)
{
	if (!kvm_cpu_has(X86_FEATURE_KVM_PV_SCHED_YIELD))
		SKIP(return, "takes the hypercall");
	run(true);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_param("directed_yield"));
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_KVM_STEAL_TIME));
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_KVM_PV_TLB_FLUSH));

	return test_harness_run(argc, argv);
}
