// SPDX-License-Identifier: GPL-2.0-only
/*
 * ipis ROUNDS
 * ipis MSms
 *
 * A thread on each CPU: all of them change the protection of a page that the others
 * have in their TLBs, and ask for memory barriers on all CPUs, ROUNDS times each, or
 * for MS milliseconds. Each of these is an IPI to the others, and an answer waited for.
 * Prints how many rounds it were in all.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "work.h"

#define PAGE	4096

static long rounds;
static char *pages;

static void *thread(void *arg)
{
	long nr = (long)arg;
	char *page = pages + nr * PAGE;
	cpu_set_t set;
	long i;
	int j;

	CPU_ZERO(&set);
	CPU_SET(nr, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		error(1, errno, "sched_setaffinity");

	for (i = 0; i < rounds && (!end || now() < end); i++) {
		for (j = 0; j < sysconf(_SC_NPROCESSORS_ONLN); j++)
			__atomic_load_n(&pages[j * PAGE], __ATOMIC_RELAXED);
		if (mprotect(page, PAGE, PROT_READ) ||
		    mprotect(page, PAGE, PROT_READ | PROT_WRITE))
			error(1, errno, "mprotect");
		if (syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
			error(1, errno, "membarrier");
		__atomic_store_n(page, i, __ATOMIC_RELAXED);
	}

	return (void *)i;
}

int main(int argc, char *argv[])
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	char *unit = "";

	rounds = argc > 1 ? strtol(argv[1], &unit, 10) : 1000;
	pages = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (pages == MAP_FAILED)
		error(1, errno, "mmap");
	if (syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		error(1, errno, "membarrier");

	if (!strcmp(unit, "ms")) {
		end = now() + rounds / 1e3;
		rounds = LONG_MAX;
	}
	work(n, thread);
	return 0;
}
