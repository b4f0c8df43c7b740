/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leases: what an honest capture may read is not used again before it has given
 * it back, whatever a hostile one writes; no block is lent twice to one
 * capture; who is within its guarantee is never refused; there always is a
 * block for the next burst. Models
 *
 *   broker/admission.c	all of it
 *   broker/stream.c	open_block(), close_block(), stream_turn_over(),
 *			stream_add(), stream_remove(), stream_collect()
 *   broker/subscription.c	subscription_offer(), subscription_collect(),
 *			release(), subscription_drop()
 *   client/read.c	held_drop(): in any order, each once
 *
 * One stream; capture 0 is honest, capture 1 hostile, and there is room for
 * nobody else. What the hostile one writes into its return page at any moment is
 * chosen when the lane loads it: once each word, so this is all it can do.
 * Generations are counted modulo 2, which gives it more guesses that are right.
 * Either may leave and come back at any time.
 *
 * Each of these is a mistake that the model must find:
 * mutation: NO_OWNER_CHECK	an id is looked up in everybody's table
 * mutation: NO_LEASED_CHECK	what is not lent can be given back
 * mutation: NO_GENERATION_CHECK	an old id gives a newer lease back
 * mutation: NO_DROP		who leaves keeps its leases
 * mutation: DROP_TWICE		... or gives them back twice
 * mutation: FREE_WHEN_CLOSED	a block is free when it is closed
 * mutation: NO_RESERVE		all blocks are set aside or in the pool
 * mutation: NO_POOL_LIMIT	a lease beyond the guarantee needs no place
 * mutation: POOL_LEAVES_FIRST	a block leaves the pool with its first lease
 * mutation: GUARANTEE_SHARED	what is charged is not kept for each capture
 * mutation: OPEN_NOT_PROMISED	a stream's open block is not drawn
 */
#define BLOCKS 5 /* reserve 1, set-aside 3, pool 1 */
#define SET_ASIDE 3
#define POOL 1
#define LEASES 2 /* of a capture */
#define NONE 0
#define GUARANTEE 1
#define IN_POOL 2

#ifdef NO_RESERVE
#define FREE_AT_FIRST (BLOCKS - 1)
#else
#define FREE_AT_FIRST BLOCKS
#endif

/* admission */
byte leases[BLOCKS];	  /* of a block */
byte pool_leases[BLOCKS]; /* of these, in the pool */
bit is_free[BLOCKS];
byte free_count, promised, pool_used, open_block;

/* captures: the entry of a lease is capture * LEASES + index */
byte lease_block[2 * LEASES];
byte lease_charge[2 * LEASES];
bit lease_generation[2 * LEASES];
byte granted[2], charged[2], beyond[2];
bit is_attached[2];
bit is_refused[2];
bit has_offence;

/* The honest one's: the entries it may read, and what it has given back. */
bit reads[LEASES];
chan page = [LEASES] of { byte };

#define HELD(c)                                                                \
	((lease_charge[(c) * LEASES] != NONE) +                                \
	 (lease_charge[(c) * LEASES + 1] != NONE))
#define GRANTED(c) granted[c]

#ifdef NO_LEASED_CHECK
#define IS_LENT(entry) true
#else
#define IS_LENT(entry) (lease_charge[entry] != NONE)
#endif
#ifdef NO_GENERATION_CHECK
#define IS_OF(entry, generation) true
#else
#define IS_OF(entry, generation) (lease_generation[entry] == generation)
#endif

/* ------------------------------------------------------------- admission.c */

inline free_if_unused(b)
{
	if
#ifdef FREE_WHEN_CLOSED
	:: open_block != b && !is_free[b] ->
#else
	:: open_block != b && leases[b] == 0 ->
#endif
		assert(!is_free[b]);
		is_free[b] = 1;
		free_count++
	:: else
	fi
}

inline open_one()
{
	assert(free_count > 0);
	select_free(open_block);
	is_free[open_block] = 0;
	free_count--;
	/* Not used again while it is read. */
	assert(!(reads[0] && lease_block[0] == open_block));
	assert(!(reads[1] && lease_block[1] == open_block))
}

/* The first: that it is the one freed last is a matter of speed. */
inline select_free(b)
{
	b = 0;
	do
	:: !is_free[b] -> b++
	:: else -> break
	od
}

inline close_open()
{
	old = open_block;
	open_block = BLOCKS;
	free_if_unused(old)
}

inline take_lease(c, b, charge)
{
	if
#ifdef GUARANTEE_SHARED
	:: charged[0] + charged[1] < GRANTED(c) -> charge = GUARANTEE
#else
	:: charged[c] < GRANTED(c) -> charge = GUARANTEE
#endif
	:: else ->
		if
#ifndef NO_POOL_LIMIT
		:: pool_leases[b] == 0 && pool_used == POOL -> charge = NONE
#endif
		:: else -> charge = IN_POOL
		fi
	fi;
	if
	:: charge == GUARANTEE -> leases[b]++; charged[c]++
	:: charge == IN_POOL ->
		leases[b]++;
		beyond[c]++;
		if
		:: pool_leases[b] == 0 -> pool_used++
		:: else
		fi;
		pool_leases[b]++
	:: else
	fi
}

/* ---------------------------------------------------------- subscription.c */

/* @e: the entry; @c: whose it is. */
inline release(e, c)
{
	assert(leases[lease_block[e]] > 0);
	leases[lease_block[e]]--;
	if
	:: lease_charge[e] == GUARANTEE ->
		assert(charged[c] > 0);
		charged[c]--
	:: else ->
		assert(beyond[c] > 0 && pool_leases[lease_block[e]] > 0);
		beyond[c]--;
		pool_leases[lease_block[e]]--;
		if
#ifdef POOL_LEAVES_FIRST
		:: pool_used > 0 -> pool_used--
#else
		:: pool_leases[lease_block[e]] == 0 -> pool_used--
#endif
		:: else
		fi
	fi;
	free_if_unused(lease_block[e]);
	lease_charge[e] = NONE;
	lease_block[e] = 0; /* nobody looks: fewer states */
	if
	:: c == 1 -> lease_generation[e] = 1 - lease_generation[e]
	:: else
	fi
}

inline offer(c)
{
	/* a free entry */
	if
	:: lease_charge[c * LEASES] == NONE -> entry = c * LEASES
	:: else ->
		if
		:: lease_charge[c * LEASES + 1] == NONE ->
			entry = c * LEASES + 1
		:: else -> entry = 2 * LEASES
		fi
	fi;
	if
	:: entry == 2 * LEASES -> is_refused[c] = 1
	:: else ->
		/* never refused within its guarantee */
		within = charged[c] < GRANTED(c);
		take_lease(c, open_block, lease_charge[entry]);
		assert(!within || lease_charge[entry] != NONE);
		is_refused[c] = lease_charge[entry] == NONE;
		if
		:: !is_refused[c] ->
			/* not twice to one capture */
			assert(lease_charge[c * LEASES] == NONE ||
			       entry == c * LEASES ||
			       lease_block[c * LEASES] != open_block);
			assert(lease_charge[c * LEASES + 1] == NONE ||
			       entry == c * LEASES + 1 ||
			       lease_block[c * LEASES + 1] != open_block);
			lease_block[entry] = open_block;
			if
			:: c == 0 -> reads[entry] = 1
			:: else
			fi
		:: else
		fi
	fi;
	entry = 0
}

/* What the honest one has given back: each once, in its order. */
inline collect_honest()
{
	do
	:: nempty(page) ->
		page ? entry;
		assert(lease_charge[entry] != NONE);
		release(entry, 0)
	:: empty(page) -> break
	od;
	entry = 0
}

/* Any ids at all; up to the first that is wrong, or as many as it likes. */
inline collect_hostile()
{
	count = HELD(1);
	do
	:: !has_offence && count > 0 ->
		count--;
		if
		:: entry = LEASES
		:: entry = LEASES + 1
#ifdef NO_OWNER_CHECK
		:: entry = 0
#endif
		fi;
		if
		:: generation = 0
		:: generation = 1
		fi;
		if
		:: IS_LENT(entry) && IS_OF(entry, generation) ->
			assert(lease_generation[entry] == generation);
			release(entry, 1)
		:: else -> has_offence = 1 /* lent no more, and ended */
		fi
	:: break
	od;
	entry = 0;
	generation = 0;
	count = 0
}

inline drop_one(e, c)
{
	if
	:: lease_charge[e] != NONE ->
		release(e, c)
#ifdef DROP_TWICE
		;
		lease_charge[e] = GUARANTEE;
		release(e, c)
#endif
	:: else
	fi
}

/* --------------------------------------------------------------- stream.c */

#ifdef OPEN_NOT_PROMISED
#define OPEN 0
#else
#define OPEN 1
#endif

/* It asks for as much as it can get: 1, or up to 2 for the hostile one. */
inline attach(c)
{
	if
	:: !is_attached[0] && !is_attached[1] ->
		promised = promised + OPEN;
		open_one()
	:: else
	fi;
	granted[c] = 1;
	do
	:: c == 1 && granted[c] < LEASES && promised + granted[c] < SET_ASIDE ->
		granted[c]++
	:: else -> break
	od;
	promised = promised + granted[c];
	if
	:: promised > SET_ASIDE -> /* refused */
		promised = promised - granted[c];
		granted[c] = 0;
		if
		:: !is_attached[0] && !is_attached[1] ->
			promised = promised - OPEN;
			close_open()
		:: else
		fi
	:: else ->
		is_attached[c] = 1;
		offer(c)
	fi
}

inline detach(c)
{
#ifndef NO_DROP
	drop_one(c * LEASES, c);
	drop_one(c * LEASES + 1, c);
#endif
	/* A new one's entries start anew. */
	lease_charge[c * LEASES] = NONE;
	lease_charge[c * LEASES + 1] = NONE;
	lease_generation[c * LEASES] = 0;
	lease_generation[c * LEASES + 1] = 0;
	is_attached[c] = 0;
	is_refused[c] = 0;
	charged[c] = 0;
	beyond[c] = 0;
	promised = promised - granted[c];
	granted[c] = 0;
	if
	:: c == 1 -> has_offence = 0
	:: else ->
		do
		:: nempty(page) -> page ? _
		:: empty(page) -> break
		od
	fi;
	if
	:: !is_attached[0] && !is_attached[1] ->
		promised = promised - OPEN;
		close_open()
	:: else
	fi
}

inline turn_over()
{
	close_open();
	open_one();
	if
	:: is_attached[0] -> offer(0)
	:: else
	fi;
	if
	:: is_attached[1] && !has_offence -> offer(1)
	:: else
	fi
}

/* The start of a burst. */
inline collect()
{
	if
	:: is_attached[0] ->
		collect_honest();
		if
		:: is_refused[0] -> offer(0)
		:: else
		fi
	:: else
	fi;
	if
	:: is_attached[1] ->
		collect_hostile();
		if
		:: is_refused[1] && !has_offence -> offer(1)
		:: else
		fi
	:: else
	fi
}

inline check()
{
	assert(free_count >= 1); /* the reserve */
	assert(pool_used <= POOL);
	assert(charged[0] <= GRANTED(0) && charged[1] <= GRANTED(1));
	assert(charged[0] + beyond[0] == HELD(0));
	assert(charged[1] + beyond[1] == HELD(1));
	assert(!(reads[0] && (lease_charge[0] == NONE)));
	assert(!(reads[1] && (lease_charge[1] == NONE)))
}

active proctype lane()
{
	byte entry, old, count;
	bit generation, within;

	atomic {
		open_block = BLOCKS;
		do
		:: free_count < FREE_AT_FIRST ->
			is_free[free_count] = 1;
			free_count++
		:: else -> break
		od
	}
end:	do
	:: atomic { !is_attached[0] -> attach(0); check() }
	:: atomic { !is_attached[1] -> attach(1); check() }
	:: atomic {
		is_attached[0] ->
		reads[0] = 0; /* it is gone */
		reads[1] = 0;
		detach(0);
		check()
	}
	:: atomic { is_attached[1] -> detach(1); check() }
	:: atomic { is_attached[0] || is_attached[1] -> collect(); check() }
	:: atomic { is_attached[0] || is_attached[1] -> turn_over(); check() }
	od
}

/* It reads what it has, and gives it back in any order, at any time. */
active proctype honest()
{
end:	do
	:: atomic { reads[0] -> reads[0] = 0; page ! 0 }
	:: atomic { reads[1] -> reads[1] = 0; page ! 1 }
	od
}
