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
#include <stdint.h>
#include <string.h>

#include "work.h"

#define CHUNKS		10
#define CHUNK_SIZE	(512 * 1024)
#define NUMBERS		(CHUNK_SIZE / sizeof(uint64_t))

static uint64_t *chunks[CHUNKS];

static void *must_malloc(size_t size)
{
	void *p = malloc(size);

	if (!p)
		error(1, errno, "malloc");
	return p;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void *thread(void *nr)
{
	unsigned int random = (uintptr_t)nr + 1;
	uint64_t *copy, number;
	long searches;

	for (searches = 0; now() < end; searches++) {
		copy = must_malloc(CHUNK_SIZE);
		memcpy(copy, chunks[rand_r(&random) % CHUNKS], CHUNK_SIZE);
		number = rand_r(&random) % NUMBERS;
		if (!bsearch(&number, copy, NUMBERS, sizeof(*copy), compare))
			error(1, 0, "a copy lacks %lu", number);
		free(copy);
	}

	return (void *)searches;
}

int main(int argc, char *argv[])
{
	double ms = work_ms(argc, argv);
	size_t i, j;

	mallopt(M_MMAP_MAX, 0);
	for (i = 0; i < CHUNKS; i++) {
		chunks[i] = must_malloc(CHUNK_SIZE);
		for (j = 0; j < NUMBERS; j++)
			chunks[i][j] = j;
	}

	end = now() + ms / 1e3;
	work(2 * sysconf(_SC_NPROCESSORS_ONLN), thread);
	return 0;
}
