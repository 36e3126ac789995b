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
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE	4096
#define CHUNK	(16 * PAGE)

static double end;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *thread(void *unused)
{
	long chunks;
	char *chunk;
	int i;

	(void)unused;
	for (chunks = 0; now() < end; chunks++) {
		chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (chunk == MAP_FAILED) {
			perror("mmaps: mmap");
			exit(1);
		}
		for (i = 0; i < CHUNK; i += PAGE)
			__atomic_store_n(&chunk[i], 1, __ATOMIC_RELAXED);
		munmap(chunk, CHUNK);
	}

	return (void *)chunks;
}

int main(int argc, char *argv[])
{
	long i, n = sysconf(_SC_NPROCESSORS_ONLN), sum = 0;
	pthread_t threads[n];
	void *chunks;

	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: mmaps MS\n");
		return 2;
	}
	end = now() + atoi(argv[1]) / 1e3;

	for (i = 0; i < n; i++) {
		if (pthread_create(&threads[i], NULL, thread, NULL)) {
			perror("mmaps: pthread_create");
			return 1;
		}
	}
	for (i = 0; i < n; i++) {
		pthread_join(threads[i], &chunks);
		sum += (long)chunks;
	}

	printf("%ld\n", sum);
	return 0;
}
