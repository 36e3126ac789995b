// SPDX-License-Identifier: GPL-2.0-only
/*
 * A model of the LAPIC timer's hand-over, for spin.  `check` beside it runs it,
 * whole, and with each barrier and each re-check taken out in turn.
 *
 * Theory
 * ------
 * One word says who is responsible for the vCPU's deadline: nobody (IDLE), the
 * vCPU thread (GUEST: the preemption timer, or the poll loop), the hrtimer (HOST),
 * or again the thread, as it is due and has to be delivered (EXPIRED).  The thread
 * writes the word; the hrtimer's callback only makes it EXPIRED, by cmpxchg.
 *
 * The hrtimer is lazy: host_armed says for when it is programmed, and that may be
 * earlier than the deadline, or there may be none.  What this rests on:
 *
 *	thread					callback
 *	word = new				host_armed = 0
 *	full barrier (A)			full barrier (B)
 *	does host_armed suit the word?		read the word, act on it
 *
 * Either the thread finds 0 and programs, or the callback finds the new word.
 * A callback that starts the hrtimer again acts on a word that it has read before.
 * So it says what it is about to do, and reads the word again:
 *
 *	word = new				host_armed = deadline
 *	full barrier (A)			full barrier (C)
 *	does host_armed suit the word?		has the word changed?  Start over
 *
 * A firing is useless when it finds nothing due.  The callback notes the time.  An
 * hrtimer without a deadline of its own stays only if it will fire at least GAP
 * after the noted time; if not, it is cancelled, or programmed for the deadline.
 *
 * The world
 * ---------
 * The guest does OPS operations in any order: it arms, for any deadline, earlier or
 * later than the last one, with either tag, that is with a preemption timer or
 * without; it clears; it arms on delivery, as a periodic timer does.  In between the
 * thread waits: awake, where it looks at the clock (in the guest on the preemption timer,
 * or polling), or asleep (in the guest without a preemption timer is the same here).
 * Being lazy may be switched off before any decision.  A waker sends a wake-up that
 * has nothing to do with the timer.  The clock goes on at any time.  So does the
 * callback, from the time on for which it was programmed, on a CPU other than the
 * thread's: on the same one it does what it does here while the thread pauses.
 *
 * Memory is x86's.
 *
 * All runs are finite, since operations, wake-ups and the clock are.  So a deadline
 * is delivered in the end, if none is left when nothing can go on.
 *
 * What is to be shown
 * -------------------
 * - No deadline is lost: wait_for().
 * - None is delivered early, twice, or after it was cleared or replaced: deliver().
 * - Useless firings are GAP apart: fired().  Excepted is one that hits the thread in
 *   the midst of the very operation which makes it useless: that firing disturbs
 *   neither a guest nor an idle CPU.
 * - hrtimer_set_expires() never meets an enqueued hrtimer: callback().
 *
 * What can be taken out, by -DBREAK_...
 * -------------------------------------
 *	ARM_MB		(A)
 *	CALLBACK_MB	(B)
 *	RECHECK_MB	(C)
 *	RECHECK		reading the word again after it
 *	CMPXCHG		the callback's: it reads, then writes
 *	CANCEL		hrtimer_cancel(), which waits for the callback, before programming
 *	PROGRAM		host_armed is written before hrtimer_start(); now after
 *	BLOCK		a thread that goes to sleep hands over to the hrtimer
 *	WAIT_MB		the full barrier between being known to wait and the last look
 *	LOOK		that look
 *	GAP		asking for the gap
 *	LEAVE		asking for it when no deadline, or the preemption timer's, follows
 *	NOTE		noting a firing that finds no deadline, or the preemption timer's
 */

#ifndef OPS
#define OPS		4
#endif
#ifndef GAP
#define GAP		2
#endif
#define END		4	/* of time, which begins at 1 */

/* The word */
#define IDLE		0
#define EXPIRED		1
#define GUEST		2
#define HOST		3
#define WORD(tag, d)	((d) << 2 | (tag))
#define TAG(word)	((word) & 3)
#define DEADLINE(word)	((word) >> 2)
#define DUE(word)	(TAG(word) >= GUEST && DEADLINE(word) <= now)

/* Memory, and who has it */
#define STATE		1
#define HOST_ARMED	2	/* 0: the hrtimer is not programmed, or its callback runs */
#define LAST_USELESS	3	/* 0: never */
#define WAITING		4	/* the thread is to be woken: rcuwait, halt_polling, vcpu->mode */

#define VCPU		0
#define HRTIMER		1

#define VARS		5
#define CPUS		2
#include "x86_stores.pml"

byte now = 1;
bool event;			/* the waker's */

/* The hrtimer, all below its base's lock */
bool queued;
bool running;
byte expires;

/* What only the proof knows */
byte wanted;			/* the deadline that the guest waits for, 0: none */
bool moving;			/* the thread is in the midst of an operation */
byte last;			/* useless firing */

active proctype clock()
{
	do
	:: now < END -> now++
	:: now == END -> break
	od
}

active proctype waker()
{
	d_step {
		event = true;
		mem[WAITING] = 0
	}
}

/* The lockless look of hrtimer_cancel() at an idle hrtimer is no barrier. */
inline hrtimer_cancel()
{
	if
	:: !queued && !running
	:: atomic { queued && !running && FULL_BARRIER(VCPU) -> queued = false }
	fi
}

inline hrtimer_start(d)
{
	atomic {
		FULL_BARRIER(VCPU) ->
		queued = true;
		expires = d
	}
}

inline program(d)
{
#ifndef BREAK_CANCEL
	hrtimer_cancel();
#endif
#ifdef BREAK_PROGRAM
	hrtimer_start(d);
	store(VCPU, HOST_ARMED, d)
#else
	store_mb(VCPU, HOST_ARMED, d);
	hrtimer_start(d)
#endif
}

/* A sum, no difference: a deadline may be in the past when it is armed. */
#ifdef BREAK_GAP
#define FAR	true
#else
#define FAR	(!useless || armed >= useless + GAP)
#endif

/* Does an hrtimer stay that has nothing to do? */
#ifdef BREAK_LEAVE
#define STAYS	true
#else
#define STAYS	(!armed || FAR)
#endif

/* The hrtimer's part, after the word was written.  A choice that is always open: not to be lazy. */
inline settle(tag, d)
{
	armed = LOAD(VCPU, HOST_ARMED);
	atomic {
		useless = LOAD(VCPU, LAST_USELESS);
		if
		:: tag == HOST && armed && armed <= d && FAR
		:: tag == HOST -> move = true
		:: tag != HOST && STAYS
		:: tag != HOST -> move = true
		fi;
		armed = 0;
		useless = 0
	}
	if
	:: move && tag == HOST -> program(d)
	:: move && tag != HOST -> hrtimer_cancel(); store_mb(VCPU, HOST_ARMED, 0)
	:: !move
	fi;
	d_step {
		move = false;
		moving = false
	}
}

/* xchg(), that is (A) */
inline write_word(tag, d)
{
	atomic {
		FULL_BARRIER(VCPU) ->
#ifdef BREAK_ARM_MB
		late_var[VCPU] = STATE;
		late_val[VCPU] = WORD(tag, d);
#else
		mem[STATE] = WORD(tag, d);
#endif
		wanted = d;
		moving = true
	}
}

inline arm()
{
	atomic {
		ops++;
		at = now;
		do
		:: at < END -> at++
		:: break
		od;
		if
		:: to = GUEST
		:: to = HOST
		fi
	}
	write_word(to, at);
	settle(to, at);
	d_step {
		at = 0;
		to = 0
	}
}

inline clear()
{
	ops++;
	write_word(IDLE, 0);
	settle(IDLE, 0)
}

/* From the word that was read; old becomes 0 when it is not there any more. */
inline cmpxchg_word(new)
{
	atomic {
		FULL_BARRIER(VCPU) ->
		if
		:: mem[STATE] == old -> mem[STATE] = new; moving = true
		:: else -> old = 0
		fi
	}
}

/* A plain store from EXPIRED to IDLE: to the callback both are the same. */
inline deliver()
{
	if
	:: atomic { LOAD(VCPU, STATE) == EXPIRED -> assert(wanted && wanted <= now) }
		if
		:: ops < OPS -> arm()
		:: atomic {
			FULL_BARRIER(VCPU) ->
			late_var[VCPU] = STATE;
			late_val[VCPU] = IDLE;
			wanted = 0;
			moving = true
		   }
			settle(IDLE, 0)
		fi
	:: atomic { else }
	fi
}

/* The poll's end, or the preemption timer's exit */
inline take()
{
	atomic {
		old = LOAD(VCPU, STATE);
		if
		:: DUE(old)
		:: else -> old = 0
		fi
	}
	if
	:: old -> cmpxchg_word(EXPIRED)
	:: else
	fi;
	old = 0
}

/* Before a sleep */
inline block()
{
	atomic {
		old = LOAD(VCPU, STATE);
		at = (TAG(old) == GUEST -> DEADLINE(old) : 0)
	}
	if
	:: at ->
		cmpxchg_word(WORD(HOST, at));
		if
		:: old -> settle(HOST, at)
		:: else
		fi
	:: else
	fi;
	d_step {
		old = 0;
		at = 0
	}
}

/* After it, where there is a preemption timer */
inline unblock()
{
	atomic {
		old = LOAD(VCPU, STATE);
		at = (TAG(old) == HOST -> DEADLINE(old) : 0)
	}
	if
	:: at ->
		cmpxchg_word(WORD(GUEST, at));
		if
		:: old -> settle(GUEST, 0)
		:: else
		fi
	:: true
	fi;
	d_step {
		old = 0;
		at = 0
	}
}

/* Wait for a call, or for the time, when that is what the thread looks at */
inline wait_for(looking)
{
#ifdef BREAK_WAIT_MB
	store(VCPU, WAITING, 1);
#else
	store_mb(VCPU, WAITING, 1);
#endif
	if
#ifndef BREAK_LOOK
	:: LOAD(VCPU, STATE) == EXPIRED || event
	:: else ->
#else
	:: true ->
#endif
		if
		:: FULL_BARRIER(VCPU) && !mem[WAITING]
		:: looking && DUE(LOAD(VCPU, STATE))
		:: timeout -> assert(!wanted); goto over
		fi
	fi;
	atomic {
		FULL_BARRIER(VCPU) ->
		mem[WAITING] = 0;
		event = false
	}
}

inline awake()
{
	wait_for(true)
}

inline asleep()
{
#ifndef BREAK_BLOCK
	block();
#endif
	wait_for(false);
	unblock()
}

active proctype vcpu()
{
	byte ops, old, armed, useless, at, to;
	bool move;

	do
	:: ops < OPS -> arm()
	:: ops < OPS -> clear()
	:: awake(); take(); deliver()
	:: asleep(); take(); deliver()
	od;
over:	skip
}

/* A firing begins.  None is to blame while a deadline is due, or the thread in an operation. */
inline fire()
{
	atomic {
		queued && expires <= now ->
		queued = false;
		running = true;
		began = now;
		blamed = !moving && !(wanted && wanted <= now)
	}
}

inline fired()
{
	if
	:: blamed ->
		assert(!last || began >= last + GAP);
		last = time;
		blamed = false
	:: else
	fi
}

inline wake()
{
	mem[WAITING] = 0
}

active proctype callback()
{
	byte word, time, began;
	bool blamed, restart;

end:	do
	:: fire();
again:
#ifdef BREAK_CALLBACK_MB
	   store(HRTIMER, HOST_ARMED, 0);
#else
	   store_mb(HRTIMER, HOST_ARMED, 0);
#endif
	   d_step {
		word = LOAD(HRTIMER, STATE);
		time = now;
		if
		:: !DUE(word) -> fired()
		:: else
		fi
	   }
	   if
	   :: TAG(word) >= GUEST && DEADLINE(word) <= time ->
#ifdef BREAK_CMPXCHG
		if
		:: mem[STATE] == word -> mem[STATE] = EXPIRED
		:: else -> goto again
		fi;
#else
		atomic {
			FULL_BARRIER(HRTIMER) ->
			if
			:: mem[STATE] == word -> mem[STATE] = EXPIRED
			:: else -> goto again
			fi
		}
#endif
		wake()
	   :: TAG(word) == HOST && DEADLINE(word) > time ->
		store_mb(HRTIMER, LAST_USELESS, time);
#ifdef BREAK_RECHECK_MB
		store(HRTIMER, HOST_ARMED, DEADLINE(word));
#else
		store_mb(HRTIMER, HOST_ARMED, DEADLINE(word));
#endif
		atomic {
#ifndef BREAK_RECHECK
			if
			:: LOAD(HRTIMER, STATE) != word -> goto again
			:: else
			fi;
#endif
			assert(!queued);
			expires = DEADLINE(word);
			restart = true
		}
	   :: TAG(word) < GUEST || (TAG(word) == GUEST && DEADLINE(word) > time) ->
#ifndef BREAK_NOTE
		store_mb(HRTIMER, LAST_USELESS, time)
#else
		skip
#endif
	   fi;
	   atomic {
		FULL_BARRIER(HRTIMER) ->
		if
		:: restart -> queued = true
		:: else
		fi;
		running = false;
		restart = false;
		blamed = false;
		word = 0;
		time = 0;
		began = 0
	   }
	od
}
