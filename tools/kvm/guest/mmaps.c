// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmaps MS
 *
 * A thread for each CPU maps a chunk of memory, touches each page of it and unmaps it,
 * again and again for MS milliseconds, all in one address space: they contend for its
 * lock, for those of the page allocator, and flush each other's TLBs.  Prints how many
 * chunks it were.
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "work.h"

#define PAGE	4096
#define CHUNK	(16 * PAGE)

static void *thread(void *unused)
{
	long chunks;
	char *chunk;
	int i;

	(void)unused;
	for (chunks = 0; now() < end; chunks++) {
		chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (chunk == MAP_FAILED)
			error(1, errno, "mmap");
		for (i = 0; i < CHUNK; i += PAGE)
			__atomic_store_n(&chunk[i], 1, __ATOMIC_RELAXED);
		munmap(chunk, CHUNK);
	}

	return (void *)chunks;
}

int main(int argc, char *argv[])
{
	double ms = work_ms(argc, argv);

	end = now() + ms / 1e3;
	work(sysconf(_SC_NPROCESSORS_ONLN), thread);
	return 0;
}
