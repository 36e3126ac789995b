// SPDX-License-Identifier: GPL-2.0-only
/*
 * A tick for a tickless guest.
 *
 * What an idle guest with a 250 Hz tick costs its host is one timer interrupt
 * every 4 ms on each vCPU, with nothing to do until the next.  This program
 * brings about the same halts in a guest whose kernel stops its tick when
 * idle, so that one boot shows both: a thread pinned to each CPU sleeps from
 * one multiple of the period to the next.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CPUS_MAX	64
#define PERIOD_NS	4000000L
#define SEC_NS		1000000000L

static long ticks;

static void *tick(void *arg)
{
	struct timespec next;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((long)arg, &set);
	sched_setaffinity(0, sizeof(set), &set);

	clock_gettime(CLOCK_MONOTONIC, &next);
	next.tv_nsec -= next.tv_nsec % PERIOD_NS;
	for (long i = 0; i < ticks; i++) {
		next.tv_nsec += PERIOD_NS;
		if (next.tv_nsec >= SEC_NS) {
			next.tv_nsec -= SEC_NS;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread[CPUS_MAX];

	ticks = argc == 2 ? atol(argv[1]) : 0;
	if (ticks <= 0 || cpus > CPUS_MAX) {
		fprintf(stderr, "usage: tick TICKS (4 ms each, up to %d CPUs)\n", CPUS_MAX);
		return 2;
	}
	for (long i = 0; i < cpus; i++) {
		if (pthread_create(&thread[i], NULL, tick, (void *)i)) {
			perror("tick: pthread_create");
			return 1;
		}
	}
	for (long i = 0; i < cpus; i++)
		pthread_join(thread[i], NULL);
	return 0;
}
