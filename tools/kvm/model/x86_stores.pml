// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory as x86 has it, for spin: stores are seen by others in order, but late, so that
 * a load may overtake them.  One such store a CPU is enough where no code has a load
 * overtake two.  Where a full barrier, a lock or only stores follow, being late is no
 * more than being executed late.
 *
 * Before it is included, VARS and CPUS are how many there are.  Variable 0 is none.
 * It must come before all other processes: their numbers count on from here.
 */

byte mem[VARS];
byte late_var[CPUS];		/* 0: none */
byte late_val[CPUS];

#define FULL_BARRIER(cpu)	(!late_var[cpu])
#define LOAD(cpu, v)		(late_var[cpu] == v -> late_val[cpu] : mem[v])

/* A store that loads may overtake */
inline store(cpu, v, x)
{
	atomic {
		FULL_BARRIER(cpu) ->
		late_var[cpu] = v;
		late_val[cpu] = x
	}
}

/* One that none does: a full barrier, a lock, or only stores follow */
inline store_mb(cpu, v, x)
{
	atomic { FULL_BARRIER(cpu) -> mem[v] = x }
}

/* One for each CPU, of its number */
active [CPUS] proctype store_buffer()
{
end:	do
	:: d_step {
		late_var[_pid] ->
		mem[late_var[_pid]] = late_val[_pid];
		late_var[_pid] = 0;
		late_val[_pid] = 0
	   }
	od
}
