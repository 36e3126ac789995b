// SPDX-License-Identifier: GPL-2.0-only
/*
 * ipis ROUNDS
 *
 * A thread on each CPU: all of them change the protection of a page that the others
 * have in their TLBs, and ask for memory barriers on all CPUs, ROUNDS times each. Each
 * of these is an IPI to the others, and an answer waited for.
 */
#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE	4096

static int rounds;
static char *pages;

static int die(const char *what)
{
	perror(what);
	exit(1);
}

static void *thread(void *arg)
{
	long nr = (long)arg;
	char *page = pages + nr * PAGE;
	cpu_set_t set;
	int i, j;

	CPU_ZERO(&set);
	CPU_SET(nr, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");

	for (i = 0; i < rounds; i++) {
		for (j = 0; j < sysconf(_SC_NPROCESSORS_ONLN); j++)
			__atomic_load_n(&pages[j * PAGE], __ATOMIC_RELAXED);
		if (mprotect(page, PAGE, PROT_READ) ||
		    mprotect(page, PAGE, PROT_READ | PROT_WRITE))
			die("mprotect");
		if (syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
			die("membarrier");
		__atomic_store_n(page, i, __ATOMIC_RELAXED);
	}

	return NULL;
}

int main(int argc, char *argv[])
{
	long i, n = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[n];

	rounds = argc > 1 ? atoi(argv[1]) : 1000;
	pages = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (pages == MAP_FAILED)
		die("mmap");
	if (syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		die("membarrier");

	for (i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, thread, (void *)i))
			die("pthread_create");
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);

	return 0;
}
