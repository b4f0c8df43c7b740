/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hostile world: a broker with three kinds of sources, honest consumers who
 * account for every packet, and users who attack it, all at once.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "../attacks.h"
#include "../live.h"

#define USERS_MAX 8
#define ATTACKS_MAX 64
#define WITNESSES 6
#define FIRST_UID 31000
#define LIVE_MAX (1u << 24) /* frames sent, at most */

/* Of one attack, or of the time without any. Counts are atomic. */
struct tally {
	uint64_t played;
	uint64_t refused; /* no room to attack in */
	uint64_t killed;  /* it went on, stopped or stuck, until it was ended */
	uint64_t broken;  /* it found a promise broken */
	uint64_t rounds;
	uint64_t stall_ns;   /* longest of a witness while it ran */
	uint64_t machine_ns; /* of a CPU */
};

/* What a user plays now and played before. */
struct stage {
	uint32_t attack;
	uint32_t previous;
	uint64_t start_ns;
	uint64_t previous_end_ns;
};

/* In memory that all processes share. */
struct world {
	uint64_t seed;
	unsigned users;
	unsigned
		only; /* the one attack of the random round; ATTACKS_MAX: any */
	struct stage stages[USERS_MAX];
	struct tally tallies[ATTACKS_MAX];
	struct tally alone;	     /* before the first attack */
	uint64_t machine_ns;	     /* longest that a CPU itself stood still */
	uint64_t stall_ns;	     /* the longest of all */
	uint64_t offences;	     /* evictions that attackers saw */
	uint32_t must_attack;	     /* which round */
	uint32_t done[USERS_MAX];    /* the round that a user is done with */
	uint64_t missing[WITNESSES]; /* that never reached the broker */
	uint8_t *owners; /* of live frames, by the group's members */
};

enum { ROUND_NONE, ROUND_FIRST, ROUND_RANDOM, ROUND_OVER, ROUND_LEAVE };

extern struct world *world;
extern struct scene scene; /* set before players start */

/* witness.c: the broker, its traffic, and who watches. */
struct witness {
	const char *name;
	struct honest *honest;
	uint64_t stall_ns;
};
extern struct witness witnesses[WITNESSES];

void world_start(void);
/* The configuration is read again, with another snap length for "moving". */
void world_reload(void);
/* Sends no more; whether all that was sent has arrived; says what has not. */
bool world_end(void);

/* players.c */
void players_start(void);
/* They begin with @round; and are done with it. */
void players_begin(unsigned round);
bool players_are_done(unsigned round);
void players_end(void);

#endif
