/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a capture is inside. Everything the hot path steps by lives here, in
 * private memory: attach.c checked it once, and it is never read from shared
 * memory again.
 */
#ifndef NETRING_CAPTURE_H
#define NETRING_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <netring.h>

#include "wire.h"

/* A block we may read, until it has been given back. */
struct held {
	uint64_t lease;
	uint32_t refs; /* batches out, and 1 while it is the current block */
};

struct left;

struct lane {
	struct left *left; /* the capture has moved on, see move.c */
	/* What each look touches. */
	const struct nr_ring *ring;
	const struct nr_block *block; /* the current one, or NULL */
	uint64_t next_seq;	      /* that the next record should have */
	uint64_t gap;		      /* lost, not told with a batch yet */
	uint64_t seq_shift;	      /* added to what is told, see move.c */
	uint64_t taken;		      /* descriptors read, ever */
	uint32_t read;		      /* records read of the current block */
	uint32_t current;	      /* its place in held[] */
	uint32_t number;	      /* in the source */
	uint16_t link_type;	      /* of the current block */
	int ended;		      /* 0, or why there will be no more */
	uint32_t news;		      /* NR_BATCH_* to tell with a batch */

	/* What records' offsets count in: the arena, or a third memory. */
	const uint8_t *region;
	uint64_t region_size;

	/* The arena. */
	const uint8_t *arena;
	uint64_t arena_size;
	uint32_t arena_id;
	uint32_t block_size;
	uint32_t block_count;
	uint32_t block_offset;
	uint32_t block_capacity; /* records that fit a block */
	uint32_t record_offset;
	uint32_t record_stride;
	uint32_t stream_offset;
	uint32_t stream_stride;
	uint32_t stream_count;
	bool has_counts;
	const struct nr_stream *stream;

	/* The ring. */
	const uint8_t *slots;
	uint32_t slot_count;
	uint32_t slot_stride;
	uint64_t base_seq;
	uint64_t base_seen;
	uint64_t base_filtered;
	uint64_t base_passed;
	bool is_in_group;

	/* The return page and what is out. */
	struct nr_return *page;
	uint64_t given; /* leases given back, ever */
	uint32_t free_count;
	uint16_t free[NR_LEASES_MAX]; /* places in held[], a stack */
	struct held held[NR_LEASES_MAX];

	/* High-water marks of what nr_capture_stats() has said. */
	uint64_t told_delivered;
	uint64_t told_lost;
	uint64_t told_retired;
	uint64_t told_others;
	uint64_t told_refusals;

	/* Kept for nr_capture_export(). */
	int arena_fd;
	int ring_fd;
	int region_fd; /* -1: the arena is the region */
	void *ring_map;
	uint64_t ring_map_offset;
	uint64_t ring_map_size;
	uint64_t ring_offset;
};

/* Lanes that the capture has moved away from, while batches of them are held.
 */
struct left {
	struct left *next;
	struct nr_capture *capture;
	struct lane *lanes;
	unsigned lane_count;
	unsigned held; /* blocks */
	int socket;    /* -1, or the connection that they are leased through */
	int return_fd;
	void *return_map;
};

struct nr_capture {
	struct lane *lanes; /* by return page */
	unsigned lane_count;
	unsigned lanes_ended;
	unsigned turn; /* the lane to look at first */
	int worst;     /* of the reasons why lanes ended */
	int final;     /* 0, or what next() says from now on */
	bool follows;
	bool broker_gone;
	struct nr_capture *moving; /* what it will move on to, first first */
	uint32_t move_id;	   /* of a capture in that list: */
	unsigned move_lanes;	   /* LANE messages it has got */
	bool is_acked;		   /* all, and said so */
	int64_t listened_ms;	   /* when it last looked for messages */
	struct left *left;
	struct nr_stats carried; /* from the lanes it has left */
	int broken;		 /* nr_capture_break(); atomic */
	int socket;
	int break_fd;
	int return_fd;
	void *return_map;
	char channel[NR_NAME_MAX];
	/* How it was attached, to do it again. */
	struct nr_msg_attach
		request; /* all zero if it was not, but inherited */
	char *path;	 /* of the socket, as given */
	int reattach_ms;
};

struct words;

/* move.c */

/* Takes a message that is no bell. */
void move_take(struct nr_capture *capture, struct wire_msg *msg);
/* All lanes have ended to go on elsewhere: goes there. False: it cannot yet. */
bool move_on(struct nr_capture *capture);
/* What move_lanes() needs, to have before all else; free(), or NULL. */
struct left *move_room(void);
/*
 * Gives the lanes of @from to @capture, whose own are kept in @left while
 * batches of them are held, and so is @socket (-1: none). It takes both.
 */
void move_lanes(struct nr_capture *capture, struct nr_capture *from,
		struct left *left, int socket);
/* Blocks of its lanes that are leased. */
unsigned move_held(const struct nr_capture *capture);
/* A block of lanes that were left was given back. */
void move_settle(struct left *left);
void move_numbers(struct lane *to, const struct lane *from);
/* Forgets what it was to move on to. */
void move_forget(struct nr_capture *capture);
void move_free(struct nr_capture *capture);

/* open.c */
struct nr_capture *capture_new(void);
void capture_free(struct nr_capture *capture);
/* Attaches once. Returns 0, or as nr_capture_open(). */
int capture_attach(struct nr_capture **capture, const char *path,
		   const struct nr_msg_attach *request,
		   const struct words *words);

/* read.c */

/* Gives back the block that it was reading, if any. */
void lane_drop_current(struct lane *lane);
/* Whether it was told to break; once. */
bool break_take(struct nr_capture *capture);
/* So that a wait for it does not end at once. */
void break_fd_clear(struct nr_capture *capture);

/* reattach.c: whether attaching again can help after this end. */
bool reattach_helps(int err);

/* attach.c: each returns 0 or -errno; what it mapped is the capture's. */

/* What is claimed about a lane: by the broker, or by the parent process. */
struct lane_claim {
	int arena_fd; /* with the others: the lane's, from the call on */
	int ring_fd;
	int region_fd; /* or -1 */
	uint32_t lane;
	uint32_t return_page;
	uint64_t ring_map_offset;
	uint64_t ring_map_size;
	uint64_t ring_offset;
};

int attach_receive(struct nr_capture *capture, const struct words *words);
int attach_return_pages(struct nr_capture *capture, int fd, uint32_t lanes);
int attach_lane(struct nr_capture *capture, const struct lane_claim *claim);
int attach_lane_message(struct nr_capture *capture, struct wire_msg *answer,
			uint32_t capture_id);
int attach_lane_base(struct lane *lane);
void lanes_free(struct lane *lanes, unsigned count, void *return_map,
		int return_fd);

/* stats.c: adds what the lanes tell to @sum. */
void stats_add(struct nr_capture *capture, struct nr_stats *sum);

/* dial.c: a connection to the broker and its answers. */

/* Where the broker's words go when it refuses. May be NULL and 0. */
struct words {
	char *text;
	size_t size;
};

int64_t dial_clock_ms(void);
void dial_sleep_ms(int ms);

/* Trying again until it works or the time is over. */
struct patience {
	int64_t started_ms;
	int wait_ms; /* -1: for ever */
	int step_ms;
};
struct patience patience_start(int wait_ms);
/*
 * Lets a while pass before the next try, less if @fd (-1: none) becomes
 * readable. False: the time was over.
 */
bool patience_wait(struct patience *patience, int fd);

/* Returns a connected socket, -ECONNREFUSED if nobody listens, or -errno. */
int dial_connect(const char *path);

/*
 * Whether to connect once more: it was hung up on without an answer. So are
 * those who waited for an engine that has died; the next has a socket by then.
 */
bool dial_again(int err);

/* Sends the question. What is wrong with it, the answer tells. */
int dial_ask(int socket, const struct nr_msg *msg);

/*
 * Waits for one message other than a bell. Returns 0, and the caller takes its
 * descriptors; -EPIPE at the end of the connection, -ETIMEDOUT, what an ERROR
 * said (and copies its text), -EPROTONOSUPPORT, -EPROTO or -errno.
 */
int dial_answer(int socket, struct wire_msg *answer, const struct words *words);

#endif
