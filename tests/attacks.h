/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What hostile consumers do, each row of the trust table (design.md, section
 * 8) and some beyond: bodies that tests play one by one, and the hostile world
 * all at once.
 */
#ifndef TESTS_ATTACKS_H
#define TESTS_ATTACKS_H

#include "scene.h"

/* What a body returns besides 0 and, when a promise is broken, 1. */
#define ATTACK_REFUSED 3 /* it was not let in, so could not attack */

/* What a body is told, and says; in memory that it shares with its starter. */
struct play {
	const char *channel;
	pid_t engine;
	pid_t warden;
	uint64_t ms; /* how long; 0: until must_stop */
	uint64_t seed;
	uint64_t count;	  /* of what is done over and over; 0: no limit */
	bool has_company; /* others attack too: what holds for one alone is
			     not claimed */
	bool is_idle;	  /* attacks at the lowest priority */
	uint32_t must_stop;

	uint64_t end_ns;
	uint32_t is_ready;
	uint64_t rounds;
	uint64_t offences; /* for which it was evicted */
	uint64_t has;	   /* of what it is after */
};

/* Who attacks. */
enum attack_role {
	ROLE_CONSUMER,
	ROLE_ENGINE, /* somebody with the engine's own uid */
};

struct attack {
	const char *name;
	int (*body)(struct play *play);
	unsigned processes;  /* that do it at once */
	const char *channel; /* NULL: any */
	enum attack_role role;
};

extern const struct attack attacks[];
extern const unsigned attack_count;

/* Plays @body as the attacker, in @processes; each has to return 0. */
void attack(int (*body)(struct play *play), struct play *play,
	    unsigned processes);
/* The same for one process as @uid; returns its pid. */
pid_t attack_start(uid_t uid, int (*body)(struct play *play),
		   struct play *play);
/* A play of @ms on @channel in @scene. Shared memory, never freed. */
struct play *play_new(const struct scene *scene, const char *channel,
		      uint64_t ms);

/* ------------------------------------------------------- for the bodies */

/* One more round? Counts it. */
bool goes_on(struct play *play);
void is_ready(struct play *play);
void be_of_low_priority(void);
struct nr_capture *play_open(const struct play *play);

/* Attaches to what the play says; a body that is refused ends so. */
#define must_attach(capture, play)                                             \
	do {                                                                   \
		(capture) = play_open(play);                                   \
		if (!(capture))                                                \
			return ATTACK_REFUSED;                                 \
	} while (0)

/* attacks_memory.c */
int write_everywhere(struct play *play);
/* As root, who may open it: memory that /proc names. 0: it was not written. */
int write_by_path(const char *path);
int store_plainly(struct play *play);
int abuse_return_page(struct play *play);
int scan_finds_nothing(struct play *play);
int scan_finds_packets(struct play *play);
int open_closed_channel(struct play *play);
int attach_and_read(struct play *play);

/* attacks_process.c */
int touch_broker(struct play *play);
int be_the_engine_s_user(struct play *play);
int attach_map_close(struct play *play);
int fork_with_captures(struct play *play);
int pass_captures_on(struct play *play);

/* attacks_protocol.c */
int send_wrong_messages(struct play *play);
int send_rubbish(struct play *play);
int pass_descriptors(struct play *play);
int hold_connections(struct play *play);
int leave_descriptors_unread(struct play *play);
int never_acknowledge(struct play *play);
int ask_for_ever(struct play *play);
int have_a_name(struct play *play);
int forge_move_acks(struct play *play);
int join_and_leave_groups(struct play *play);
int take_all_there_is(struct play *play);

/* attacks_time.c */
#define FORGERIES 8
int move_pages_about(struct play *play);
int burn_cpu(struct play *play);
int forge_releases(struct play *play);
int release_in_any_order(struct play *play);
int hold_everything(struct play *play);

/* attacks_bell.c */
int arm_and_never_read(struct play *play);
int arm_and_read(struct play *play);
int poll_with_many_threads(struct play *play);
int watch_with_many_epolls(struct play *play);
int poll_at_many_places(struct play *play);
int splice_the_bell(struct play *play);
int tune_the_socket(struct play *play);
int signal_at_each_bell(struct play *play);
int hold_the_socket_s_locks(struct play *play);
int send_sockets_in_circles(struct play *play);

#endif
