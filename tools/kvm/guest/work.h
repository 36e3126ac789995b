/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What programs share whose threads do the same work again and again, until it is
 * time to end, and count how often they did.
 */
#ifndef WORK_H
#define WORK_H

#include <errno.h>
#include <error.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* When to end, by now() */
static double end;

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* The one argument of a program that works for so many ms */
static inline double work_ms(int argc, char *argv[])
{
	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: %s MS\n", program_invocation_short_name);
		exit(2);
	}
	return atoi(argv[1]);
}

/* Runs N threads, each with its number, and prints the sum of what they return. */
static inline void work(long n, void *(*thread)(void *nr))
{
	pthread_t threads[n];
	long i, sum = 0;
	void *done;
	int err;

	for (i = 0; i < n; i++) {
		err = pthread_create(&threads[i], NULL, thread, (void *)i);
		if (err)
			error(1, err, "pthread_create");
	}
	for (i = 0; i < n; i++) {
		pthread_join(threads[i], &done);
		sum += (long)done;
	}

	printf("%ld\n", sum);
}

#endif
