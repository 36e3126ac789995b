// SPDX-License-Identifier: GPL-2.0-only
/*
 * A model of how a vCPU that sleeps is woken, on the CPU that it sleeps on or directly,
 * for spin.  `check` beside it runs it, whole, and with each thing that it rests on
 * taken out in turn.
 *
 * Theory
 * ------
 * See virt/kvm/halt_wake.c.
 *
 * The world
 * ---------
 * A vCPU halts again and again: it is known as a sleeper, looks, sleeps, and is known
 * as one no more.  WAKERS others have something for it to do, once each, and wake it.
 * An IPI runs at any time after it was sent.  In the end the vCPU is freed, if there is
 * nothing left to do, its wakers are gone, and the flush lets it.
 *
 * Memory is x86's, but for the taking of HOME_BUSY, which is no full barrier here.
 *
 * What is to be shown
 * -------------------
 * - No wake-up is lost: when nothing can go on, the vCPU has done all: sleep().
 * - The IPI is at work on no vCPU that was freed: ipi().
 *
 * What can be taken out, by -DBREAK_...
 * -------------------------------------
 *	D		the full barrier between what there is to do and the IPI
 *	SLEEP_MB	the one between being known as a sleeper and the look
 *	LOOK		that look
 *	BUSY		waking directly where an IPI is under way
 *	FLUSH		waiting for it before the vCPU is freed
 */

#define WAKERS		2

/* CPUs.  What the IPI stores is seen at once: it is followed by a lock, or by nothing. */
#define VCPU		0
#define WAKER(i)	(1 + (i))

/* Memory, and who has it */
#define SLEEPER		1	/* the vCPU */
#define TO_DO(i)	(2 + (i))

#define CPUS		(1 + WAKERS)
#define VARS		(2 + WAKERS)
#include "x86_stores.pml"

bool running = true;	/* the task's state, below its lock */
bool on_rq = true;
bool busy;
bool sent;		/* the IPI */
byte gone;		/* so many wakers */
bool freed;

/* What only the proof knows */
byte done;		/* so much */

#define ANYTHING	(LOAD(VCPU, TO_DO(0)) || LOAD(VCPU, TO_DO(1)))

/* Within an atomic step: below the task's lock */
inline wake_sleeper()
{
	if
	:: mem[SLEEPER] ->
		running = true;
		on_rq = true
	:: else
	fi
}

/* rcuwait_wake_up(), which begins with a full barrier */
inline wake_directly(cpu)
{
	atomic {
		FULL_BARRIER(cpu) ->
		wake_sleeper()
	}
}

inline sleep()
{
#ifdef BREAK_SLEEP_MB
	store(VCPU, SLEEPER, true);
#else
	store_mb(VCPU, SLEEPER, true);
#endif
	running = false;
	if
#ifndef BREAK_LOOK
	:: ANYTHING
	:: else ->
#else
	:: true ->
#endif
		/* schedule() */
		atomic {
			FULL_BARRIER(VCPU) ->
			if
			:: !running -> on_rq = false
			:: else
			fi
		}
		if
		:: on_rq
		:: timeout -> assert(done == WAKERS); goto over
		fi
	fi;
	running = true;
	/* The guest, or the next look, is behind a full barrier. */
	store_mb(VCPU, SLEEPER, false)
}

/* One after the other, so that a wake-up may find the vCPU awake, and still to halt. */
inline run_guest()
{
	atomic {
		if
		:: LOAD(VCPU, TO_DO(0)) -> mem[TO_DO(0)] = false; done++
		:: LOAD(VCPU, TO_DO(1)) -> mem[TO_DO(1)] = false; done++
		:: else
		fi
	}
}

/* kvm_halt_wake_flush() */
#ifdef BREAK_FLUSH
#define FLUSHED	true
#else
#define FLUSHED	(!busy)
#endif

inline free()
{
	atomic { gone == WAKERS && FLUSHED -> freed = true }
}

active proctype vcpu()
{
	do
	:: done < WAKERS -> sleep(); run_guest()
	:: done == WAKERS -> free(); break
	od;
over:	skip
}

/* smp_call_function_single_async() to the CPU where it slept */
inline wake_home(cpu, taken)
{
	atomic {
#ifndef BREAK_D
		FULL_BARRIER(cpu) ->
#endif
		taken = !busy;
		busy = true
	}
	if
	:: taken -> sent = true
#ifdef BREAK_BUSY
	:: else
#else
	:: else -> wake_directly(cpu)
#endif
	fi
}

proctype waker(byte i)
{
	bool taken;

	store(WAKER(i), TO_DO(i), true);
	/* What it knows of the vCPU may be old. */
	if
	:: wake_home(WAKER(i), taken)
	:: wake_directly(WAKER(i))
	fi;
	atomic { FULL_BARRIER(WAKER(i)) -> gone++ }
}

active proctype ipi()
{
end:	do
	:: sent ->
		sent = false;
		assert(!freed);
		d_step { wake_sleeper() }
		assert(!freed);
		busy = false
	od
}

init
{
	atomic {
		run waker(0);
		run waker(1)
	}
}
