// SPDX-License-Identifier: GPL-2.0-only
/*
 * Wake-up ping-pong between CPU 0 and CPU 1.
 *
 * Two threads, each pinned to a CPU of its own, hand a token to and fro and
 * sleep while the other one has it.  In a guest with no other work a round
 * trip is therefore: IPI, a halted vCPU wakes, IPI back, the other one wakes.
 * A pause before each round, in which CPU 0 stays busy, sees to it that CPU 1
 * has really halted.  Prints each round trip's nanoseconds, one a line.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NS	50000

static atomic_int token;	/* the CPU whose turn it is */
static long rounds;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void run_on(int cpu)
{
	struct sched_param rt = { .sched_priority = 80 };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("pingpong: two CPUs are needed: sched_setaffinity");
	if (sched_setscheduler(0, SCHED_FIFO, &rt))
		die("pingpong: root is needed: sched_setscheduler");
}

static void await(int me)
{
	while (atomic_load(&token) != me)
		syscall(SYS_futex, &token, FUTEX_WAIT_PRIVATE, !me, NULL, NULL, 0);
}

static void pass_to(int other)
{
	atomic_store(&token, other);
	syscall(SYS_futex, &token, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *answer(void *unused)
{
	(void)unused;
	run_on(1);
	for (long i = 0; i < rounds; i++) {
		await(1);
		pass_to(0);
	}
	return NULL;
}

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

int main(int argc, char **argv)
{
	pthread_t other;
	long *took;

	rounds = argc == 2 ? atol(argv[1]) : 0;
	if (rounds <= 0) {
		fprintf(stderr, "usage: pingpong ROUNDS\n");
		return 2;
	}
	took = malloc(rounds * sizeof(*took));
	if (!took)
		die("pingpong: malloc");
	run_on(0);
	if (pthread_create(&other, NULL, answer, NULL))
		die("pingpong: pthread_create");

	for (long i = 0; i < rounds; i++) {
		long pause = now(), start;

		do {
			start = now();
		} while (start - pause < PAUSE_NS);
		pass_to(1);
		await(0);
		took[i] = now() - start;
	}
	pthread_join(other, NULL);
	for (long i = 0; i < rounds; i++)
		printf("%ld\n", took[i]);
	return 0;
}
