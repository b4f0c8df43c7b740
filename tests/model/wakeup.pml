/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wake-up: no capture sleeps while something is there to read, and the end
 * is believed only when all before it has been read. Models
 *
 *   lane      broker/stream.c	stream_publish(), stream_turn_over(),
 *				stream_ring()
 *             broker/subscription.c	queue_descriptor(), subscription_end(),
 *				subscription_ring(), send_bell()
 *   consumer  client/read.c	lane_next(), block_next(), lane_take(),
 *				nr_capture_arm(), lane_has_news(), sleep_until()
 *   memory    netring/ring.h	its letters: A to H
 *
 * Memory. A store that is not sequentially consistent goes into the buffer of
 * its process and reaches memory later: a release store behind all that was
 * stored before it, any other whenever it likes. A sequentially consistent one
 * is a release store that has reached memory before the process goes on.
 * Loads take place in the order of the program, as all that matter are
 * sequentially consistent or acquire.
 *
 * A block has two records, and blocks are not reused: lease.pml is about that.
 * The lane falls silent for ever wherever it may: what sleeps then must have
 * nothing to read.
 *
 * Each of these is a mistake that the model must find:
 * mutation: NO_SECOND_LOOK	the consumer arms and sleeps
 * mutation: LOOK_THEN_ARM	it looks before it arms
 * mutation: DRAIN_AFTER_ARM	it reads away the bell it has asked for
 * mutation: ARM_RELAXED	H without sequential consistency
 * mutation: STORE_RELEASE	A, C and E are only release stores
 * mutation: STORE_RELAXED	... or not even that
 * mutation: RING_THEN_STORE	the lane does G, then A
 * mutation: END_FIRST		the end word is believed before block and ring
 * mutation: END_LOADED_LAST	... or loaded after them
 * mutation: NO_NEWS_OF_CLOSED	a block that was closed is no news
 * mutation: BELL_ONCE		the lane rings only the first time
 */
#define BLOCKS 2
#define RECORDS 2 /* of a block */

#define END 3	  /* words 0 and 1: the states of the blocks */
#define HEAD 4
#define WRITTEN 5 /* records whose bytes are in memory */
#define SLOTS 6	  /* descriptors that are in memory */
#define ARMED 7
#define WORDS 8

#define CLOSED 8
#define COUNT(state) (state % CLOSED)

byte memory[WORDS];
chan lane_buffer = [6] of { byte, byte, bit }; /* word, value, is release */
chan own_buffer = [4] of { byte, byte, bit };  /* the consumer's */
byte bells;

/* the consumer's, for the claim */
bool sleeps, has_block, has_ended;
byte block, count_read, taken, records_read;

inline store_plain(word, value)
{
	lane_buffer ! word, value, 0
}

inline store(word, value) /* A, C, E */
{
#ifdef STORE_RELAXED
	lane_buffer ! word, value, 0
#else
#ifdef STORE_RELEASE
	lane_buffer ! word, value, 1
#else
	atomic {
		empty(lane_buffer);
		memory[word] = value
	}
#endif
#endif
}

/* What is in a buffer reaches memory: what is first, or was not released. */
#define REACHES(word)                                                          \
	:: atomic { lane_buffer ?? word, value, 0 -> memory[word] = value }

proctype lane_memory()
{
	byte word, value;

end:	do
	:: atomic { lane_buffer ? word, value, _; memory[word] = value }
	REACHES(0)
	REACHES(1)
	REACHES(END)
	REACHES(HEAD)
	REACHES(WRITTEN)
	REACHES(SLOTS)
	od
}

proctype own_memory()
{
	byte value;

end:	do
	:: atomic { own_buffer ? _, value, _; memory[ARMED] = value }
	od
}

/* ------------------------------------------------------------------- lane */

byte rung, armed, open, appended, published, written;
bool has_changed; /* a store since the last ring */

inline ring() /* stream_ring() */
{
	if
	:: has_changed -> has_changed = false; ring_one()
	:: else
	fi
}

inline ring_one() /* subscription_ring() */
{
	armed = memory[ARMED]; /* G */
#ifdef BELL_ONCE
	if
	:: armed != rung && rung == 0 ->
#else
	if
	:: armed != rung ->
#endif
		rung = armed;
		/* EAGAIN: one that waits is enough */
		bells = 1
	:: else
	fi
}

inline append()
{
	appended++;
	written++;
	store_plain(WRITTEN, written)
}

inline publish()
{
	if
	:: appended != published ->
		published = appended;
		has_changed = true;
#ifdef RING_THEN_STORE
		ring();
#endif
		store(open, appended) /* A */
	:: else
	fi
}

inline turn_over()
{
	store(open, appended + CLOSED); /* A */
	open++;
	appended = 0;
	published = 0;
	store_plain(SLOTS, open + 1);
	store(HEAD, open + 1); /* C */
	has_changed = true
}

proctype lane()
{
	do
	:: true -> /* a burst */
		do
		:: appended < RECORDS -> append()
		:: appended == RECORDS && open + 1 < BLOCKS -> turn_over()
		:: appended + open > 0 -> break
		od;
		publish();
		ring()
	:: true -> /* nothing, ever */
		break
	:: true -> /* the source is over */
		store(END, written + 1); /* E */
		has_changed = true;
		ring();
		break
	od
}

/* --------------------------------------------------------------- consumer */

byte end_word, state, head;

inline look_again() /* lane_has_news() */
{
	has_news = memory[END] != 0; /* F */
	if
	:: !has_news && !has_block ->
		has_news = memory[HEAD] != taken /* D */
	:: !has_news && has_block ->
		state = memory[block]; /* B */
#ifdef NO_NEWS_OF_CLOSED
		has_news = COUNT(state) > count_read
#else
		has_news = state >= CLOSED || COUNT(state) > count_read
#endif
	:: else
	fi
}

inline arm() /* H */
{
#ifdef ARM_RELAXED
	own_buffer ! ARMED, arms + 1, 0;
#else
	memory[ARMED] = arms + 1;
#endif
	arms++
}

proctype consumer()
{
	byte arms;
	bool has_news;

next:	/* lane_next() */
#ifndef END_LOADED_LAST
	end_word = memory[END]; /* F */
#endif
#ifdef END_FIRST
	if
	:: end_word -> goto ended
	:: else
	fi;
#endif
	do
	:: has_block ->
		state = memory[block]; /* B */
		if
		:: COUNT(state) > count_read ->
			atomic {
				records_read = records_read + COUNT(state) -
					       count_read;
				count_read = COUNT(state);
				/* their bytes are there */
				assert(memory[WRITTEN] >= records_read)
			}
			goto next
		:: else ->
			if
			:: state >= CLOSED -> has_block = false
			:: else -> break
			fi
		fi
	:: !has_block ->
		head = memory[HEAD]; /* D */
		if
		:: head != taken ->
			atomic {
				assert(memory[SLOTS] > taken);
				block = taken;
				taken++;
				count_read = 0;
				has_block = true
			}
		:: else -> break
		fi
	od;
#ifdef END_LOADED_LAST
	end_word = memory[END];
#endif
	if
	:: end_word -> goto ended
	:: else
	fi;

	/* nr_capture_arm() */
#ifdef LOOK_THEN_ARM
	bells = 0;
	look_again();
	arm();
#else
#ifndef DRAIN_AFTER_ARM
	bells = 0;
#endif
	arm();
#ifdef NO_SECOND_LOOK
	has_news = false;
#else
	look_again();
#endif
#ifdef DRAIN_AFTER_ARM
	bells = 0;
#endif
#endif
	if
	:: has_news -> goto next
	:: else
	fi;

	sleeps = true; /* ppoll() */
end:	bells > 0;
	sleeps = false;
	goto next;

ended:	assert(records_read == end_word - 1);
	has_ended = true
}

/* When nothing can move any more. */
proctype monitor()
{
end:	timeout;
	assert(has_ended || sleeps);
	assert(has_ended || memory[END] == 0);
	assert(!sleeps || has_block || memory[HEAD] == taken);
	assert(!sleeps || !has_block || memory[block] == count_read)
}

/* The capture is attached: the first block is open and lent to it. */
init {
	atomic {
		memory[HEAD] = 1;
		memory[SLOTS] = 1;
		run lane_memory();
		run own_memory();
		run lane();
		run consumer();
		run monitor()
	}
}
