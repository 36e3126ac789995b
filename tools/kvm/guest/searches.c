// SPDX-License-Identifier: GPL-2.0-only
/*
 * searches MS
 *
 * What a server does with its memory, after the load of the papers on directed yield,
 * ebizzy -M: twice as many threads as CPUs copy one of a few chunks of sorted numbers
 * into memory from malloc(), search the copy for a number, and free it, again and again
 * for MS milliseconds.  malloc() has to give it back to the kernel each time: so each
 * round takes a page fault for each page of it, and at its end a flush of all TLBs.
 * Prints how many searches it were.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNKS		10
#define CHUNK_SIZE	(512 * 1024)
#define NUMBERS		(CHUNK_SIZE / sizeof(uint64_t))

static uint64_t *chunks[CHUNKS];
static double end;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *must_malloc(size_t size)
{
	void *p = malloc(size);

	if (!p) {
		perror("searches: malloc");
		exit(1);
	}
	return p;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void *thread(void *seed)
{
	unsigned int random = (uintptr_t)seed;
	uint64_t *copy, number;
	long searches;

	for (searches = 0; now() < end; searches++) {
		copy = must_malloc(CHUNK_SIZE);
		memcpy(copy, chunks[rand_r(&random) % CHUNKS], CHUNK_SIZE);
		number = rand_r(&random) % NUMBERS;
		if (!bsearch(&number, copy, NUMBERS, sizeof(*copy), compare)) {
			fprintf(stderr, "searches: a copy lacks %lu\n", number);
			exit(1);
		}
		free(copy);
	}

	return (void *)searches;
}

int main(int argc, char *argv[])
{
	long i, n = 2 * sysconf(_SC_NPROCESSORS_ONLN), sum = 0;
	pthread_t threads[n];
	void *searches;
	size_t j;

	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: searches MS\n");
		return 2;
	}

	mallopt(M_MMAP_MAX, 0);
	for (i = 0; i < CHUNKS; i++) {
		chunks[i] = must_malloc(CHUNK_SIZE);
		for (j = 0; j < NUMBERS; j++)
			chunks[i][j] = j;
	}
	end = now() + atoi(argv[1]) / 1e3;

	for (i = 0; i < n; i++) {
		if (pthread_create(&threads[i], NULL, thread, (void *)(i + 1))) {
			perror("searches: pthread_create");
			return 1;
		}
	}
	for (i = 0; i < n; i++) {
		pthread_join(threads[i], &searches);
		sum += (long)searches;
	}

	printf("%ld\n", sum);
	return 0;
}
