/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control protocol: what client and broker say to each other on the
 * broker's socket, an AF_UNIX SOCK_SEQPACKET. One connection is one capture
 * (or one question); its end is the capture's end.
 *
 *   client                              broker
 *   ATTACH  -------------------------->
 *           <--------------------------  ATTACHED  + return pages (1 fd)
 *           <--------------------------  LANE      + arena, ring (2 fds; 3:
 * UMEM)
 *                                        ... one for each lane
 *   ACK     -------------------------->            within a second
 *           <--------------------------  BELL      when a sleeper is woken
 *
 *           <--------------------------  MOVE, LANE ...: the channel changed
 *   ACK     -------------------------->
 *
 *   RELOAD  -------------------------->            (root)
 *           <--------------------------  DONE, or ERROR: nothing has changed
 *
 *   LIST    -------------------------->
 *           <--------------------------  CHANNEL ... DONE
 *   STAT    -------------------------->
 *           <--------------------------  BROKER, SOURCE ...
 *                                        CHANNEL_LANE ... CAPTURE ... DONE
 *
 * Instead of any answer: ERROR, and the broker hangs up.
 *
 * Every message starts with struct nr_msg and is as long as its structure;
 * a longer one is of a newer minor version, and what is known of it is read.
 * Names are padded with NUL and always end with one. A message without a
 * byte is an error.
 */
#ifndef NETRING_PROTO_H
#define NETRING_PROTO_H

#include <netring/layout.h>

#define NR_SOCKET_DEFAULT "/run/netring/broker.sock"
#define NR_SOCKET_ENV "NETRING_SOCKET"

#define NR_NAME_MAX 64	/* a name and its NUL */
#define NR_GROUP_MAX 32 /* a group's name and its NUL */
#define NR_TEXT_MAX 512 /* a message for a person and its NUL */
#define NR_LANES_MAX 16 /* lanes of a source */
#define NR_MSG_MAX 1024 /* bytes of a message */
#define NR_ALL_LANES 0xffffffffu

enum nr_msg_type {
	/* client to broker */
	NR_MSG_ATTACH = 1,
	NR_MSG_ACK = 2,
	NR_MSG_LIST = 3,
	NR_MSG_STAT = 4,
	NR_MSG_RELOAD = 5,
	/* broker to client */
	NR_MSG_ERROR = 64,
	NR_MSG_ATTACHED = 65,
	NR_MSG_LANE = 66,
	NR_MSG_BELL = 67,
	NR_MSG_DONE = 68,
	NR_MSG_CHANNEL = 69,
	NR_MSG_SOURCE = 70,
	NR_MSG_CHANNEL_LANE = 71,
	NR_MSG_CAPTURE = 72,
	NR_MSG_MOVE = 73,
	NR_MSG_BROKER = 74,
};

/* First bytes of every message. ACK, BELL, LIST, RELOAD and DONE are only this.
 */
struct nr_msg {
	uint16_t major;	 /* NR_ABI_MAJOR of the sender */
	uint16_t minor;	 /* NR_ABI_MINOR of the sender */
	uint32_t type;	 /* enum nr_msg_type */
	uint32_t length; /* bytes of the whole message */
	uint32_t id;	 /* of a request; its answers carry it */
};

struct nr_msg_attach {
	struct nr_msg msg;
	char channel[NR_NAME_MAX];
	uint32_t lane;	    /* one lane, or NR_ALL_LANES */
	uint32_t leases;    /* blocks held at once; 0: the default */
	uint32_t guarantee; /* of these, promised; 0: the default */
	uint32_t budget;    /* of the others, at most; 0: the default (all) */
	uint32_t flags;	    /* NR_ATTACH_* */
	char group[NR_GROUP_MAX]; /* share its packets; empty: get all */
	uint32_t reserved[3];
};

/* It follows a channel that changes: see NR_MSG_MOVE. */
#define NR_ATTACH_FOLLOWS 1u

/* STAT: of one channel, or of all that the asker may see. */
struct nr_msg_stat {
	struct nr_msg msg;
	char channel[NR_NAME_MAX]; /* empty: all */
};

/* Refused. What was queued before it still counts. */
struct nr_msg_error {
	struct nr_msg msg;
	uint32_t code; /* a positive errno */
	uint32_t reserved;
	char text[NR_TEXT_MAX];
};

/*
 * Also MOVE: the channel has changed and gets new memory. LANE messages follow
 * as after an attach, and are to be acknowledged within a second. Each lane
 * goes on there when it ends with NR_END_MOVED.
 *
 * Comes with one fd: lane_count return pages, struct nr_return each. */
struct nr_msg_attached {
	struct nr_msg msg;
	uint32_t capture_id;
	uint32_t lane_count; /* LANE messages that follow */
	uint32_t reserved[10];
};

/*
 * Comes with two fds: the arena, and the memory that holds the ring slice. A
 * loaned channel's with a third: the UMEM, which its records' offsets count in.
 */
struct nr_msg_lane {
	struct nr_msg msg;
	uint32_t lane;	      /* its number in the source */
	uint32_t return_page; /* index in the return pages */
	uint64_t arena_size;
	uint64_t ring_map_offset; /* what to map of the ring memory */
	uint64_t ring_map_size;
	uint64_t ring_offset; /* of the slice, in that mapping */
	uint32_t arena_id;
	uint32_t reserved_id;
	uint64_t region_size; /* of the third; 0: there is none */
	uint32_t reserved[4];
};

/* One line of `netring list`. */
struct nr_msg_channel {
	struct nr_msg msg;
	char channel[NR_NAME_MAX];
	char source[NR_NAME_MAX];
	char backend[16];
	uint32_t snaplen; /* bytes; 0: whole packets */
	uint32_t lanes;
	uint32_t captures; /* attached now */
	uint32_t link_type;
	char filter[512]; /* empty: everything; cut if longer */
};

/*
 * The broker itself: how often its engine has died and another went on. All
 * other numbers count from the start of the engine that there is.
 */
struct nr_msg_broker {
	struct nr_msg msg;
	uint64_t started_ns; /* the engine, since the epoch */
	uint64_t died_ns;    /* the one before; 0: there was none */
	uint32_t restarts;
	uint32_t reserved_restarts;
	uint64_t reserved[4];
};

enum nr_source_state {
	/* replay: for captures; else: for those of an engine that has died */
	NR_SOURCE_WAITING = 0,
	NR_SOURCE_RUNNING = 1,
	NR_SOURCE_DOWN = 2, /* the link is down */
	NR_SOURCE_GONE = 3, /* the interface is gone */
	NR_SOURCE_OVER = 4, /* the file is over */
	NR_SOURCE_FAILED = 5,
	NR_SOURCE_TO_HOST =
		6, /* xdp: the host needs the packets, and has them */
};

/*
 * A source's lane. On the ring's wire side: captured + kernel_drops + retired.
 * After a restart that is what came since the engine before has died, and what
 * its ring still held.
 */
struct nr_msg_source {
	struct nr_msg msg;
	char source[NR_NAME_MAX];
	char backend[16];
	char interface[NR_NAME_MAX]; /* or the file */
	uint32_t lane;
	uint32_t state; /* enum nr_source_state */
	uint64_t captured;
	uint64_t bytes; /* captured bytes of these */
	uint64_t kernel_drops;
	uint64_t freezes; /* how often the kernel's ring was full */
	uint64_t ring_bytes;
	uint64_t bursts;
	uint64_t bells;
	uint64_t cpu_ns; /* the lane thread's */
	/*
	 * Of backend xdp, as the kernel counts: kernel_drops = dropped +
	 * ring_full. Where the fill ring was empty is told by fill_empty, for
	 * packets that are in dropped already.
	 */
	uint64_t xdp_dropped;
	uint64_t xdp_ring_full;
	uint64_t xdp_fill_empty;
	uint64_t xdp_invalid;  /* addresses in the fill ring */
	uint32_t xdp_flags;    /* NR_XDP_* */
	uint32_t frames;       /* of the UMEM */
	uint32_t frames_free;  /* neither the kernel's nor lent */
	uint32_t frames_kept;  /* the kernel's */
	uint64_t retired;      /* went by while a reload made the memory anew */
	uint64_t drops_before; /* kernel drops until the engine before died */
};

#define NR_XDP 1u	   /* the fields above are filled in */
#define NR_XDP_GENERIC 2u  /* the program runs behind the driver, not in it */
#define NR_XDP_ZEROCOPY 4u /* the driver writes into the frames */

/* A channel on one lane, for those who may attach to it. */
struct nr_msg_channel_lane {
	struct nr_msg msg;
	char channel[NR_NAME_MAX];
	uint32_t lane;
	uint32_t captures;
	uint64_t seen; /* with filtered: 0 unless the policy shows them */
	uint64_t filtered;
	uint64_t published;
	uint64_t published_bytes;
	uint64_t arena_bytes; /* 0: nobody has attached yet */
	uint32_t block_size;
	uint32_t blocks;
	uint32_t blocks_free;
	uint32_t set_aside; /* blocks kept for guarantees and open blocks */
	uint32_t promised;  /* of these, drawn */
	uint32_t pool;	    /* blocks beyond: first come, first served */
	uint32_t pool_used;
	uint32_t counts_shown; /* 1: seen and filtered are shown */
	uint64_t reserved[8];
};

#define NR_LOST_CAUSES 4
enum nr_lost_cause {
	/* held too many blocks, or no pool was left */
	NR_LOST_NOT_ADMITTED = 0,
	/* passed by while the source's memory was made anew (a reload) */
	NR_LOST_RETIRED = 1,
};

/* A capture on one lane: seen = delivered + filtered + to_others + lost. */
struct nr_msg_capture {
	struct nr_msg msg;
	char channel[NR_NAME_MAX];
	char comm[16]; /* of the process that attached, as it was then */
	uint32_t capture_id;
	uint32_t lane;
	uint32_t uid;
	uint32_t pid;
	uint64_t seen; /* with filtered: 0 unless the policy shows them */
	uint64_t delivered;
	uint64_t filtered;
	uint64_t to_others;
	uint64_t lost[NR_LOST_CAUSES]; /* enum nr_lost_cause */
	uint64_t refusals;
	uint64_t bells; /* times it was woken */
	uint32_t leases;
	uint32_t guarantee;
	uint32_t held;		  /* blocks leased now */
	uint32_t held_high;	  /* most ever */
	uint64_t attached_ns;	  /* since the epoch */
	uint64_t delivered_bytes; /* captured bytes of what was delivered */
	char group[NR_GROUP_MAX]; /* empty: none */
	uint64_t backlog;	  /* records in the blocks it holds, at most */
	uint64_t backlog_high;	  /* most ever, as of when a block was lent */
	uint64_t oldest_ns;  /* since it was lent the oldest block it holds */
	uint32_t is_stalled; /* gives nothing back, or does not wake */
	uint32_t epoch;	     /* of its group */
	uint64_t reserved[6];
};

NR_ASSERT(sizeof(struct nr_msg) == 16, "struct nr_msg");
NR_AT(struct nr_msg, type, 4);
NR_AT(struct nr_msg, length, 8);
NR_AT(struct nr_msg, id, 12);
NR_ASSERT(sizeof(struct nr_msg_attach) == 144, "struct nr_msg_attach");
NR_AT(struct nr_msg_attach, channel, 16);
NR_AT(struct nr_msg_attach, lane, 80);
NR_AT(struct nr_msg_attach, leases, 84);
NR_AT(struct nr_msg_attach, guarantee, 88);
NR_AT(struct nr_msg_attach, budget, 92);
NR_AT(struct nr_msg_attach, flags, 96);
NR_AT(struct nr_msg_attach, group, 100);
NR_ASSERT(sizeof(struct nr_msg_stat) == 80, "struct nr_msg_stat");
NR_ASSERT(sizeof(struct nr_msg_error) == 536, "struct nr_msg_error");
NR_AT(struct nr_msg_error, code, 16);
NR_AT(struct nr_msg_error, text, 24);
NR_ASSERT(sizeof(struct nr_msg_attached) == 64, "struct nr_msg_attached");
NR_AT(struct nr_msg_attached, capture_id, 16);
NR_AT(struct nr_msg_attached, lane_count, 20);
NR_ASSERT(sizeof(struct nr_msg_lane) == 88, "struct nr_msg_lane");
NR_AT(struct nr_msg_lane, lane, 16);
NR_AT(struct nr_msg_lane, return_page, 20);
NR_AT(struct nr_msg_lane, arena_size, 24);
NR_AT(struct nr_msg_lane, ring_map_offset, 32);
NR_AT(struct nr_msg_lane, ring_map_size, 40);
NR_AT(struct nr_msg_lane, ring_offset, 48);
NR_AT(struct nr_msg_lane, arena_id, 56);
NR_AT(struct nr_msg_lane, region_size, 64);
NR_ASSERT(sizeof(struct nr_msg_broker) == 72, "struct nr_msg_broker");
NR_AT(struct nr_msg_broker, restarts, 32);
NR_ASSERT(sizeof(struct nr_msg_channel) == 688, "struct nr_msg_channel");
NR_AT(struct nr_msg_channel, source, 80);
NR_AT(struct nr_msg_channel, snaplen, 160);
NR_AT(struct nr_msg_channel, filter, 176);
NR_ASSERT(sizeof(struct nr_msg_source) == 296, "struct nr_msg_source");
NR_AT(struct nr_msg_source, lane, 160);
NR_AT(struct nr_msg_source, captured, 168);
NR_AT(struct nr_msg_source, kernel_drops, 184);
NR_AT(struct nr_msg_source, xdp_dropped, 232);
NR_AT(struct nr_msg_source, xdp_flags, 264);
NR_AT(struct nr_msg_source, retired, 280);
NR_AT(struct nr_msg_source, drops_before, 288);
NR_ASSERT(sizeof(struct nr_msg_channel_lane) == 224,
	  "struct nr_msg_channel_lane");
NR_AT(struct nr_msg_channel_lane, seen, 88);
NR_AT(struct nr_msg_channel_lane, block_size, 128);
NR_ASSERT(sizeof(struct nr_msg_capture) == 336, "struct nr_msg_capture");
NR_AT(struct nr_msg_capture, capture_id, 96);
NR_AT(struct nr_msg_capture, seen, 112);
NR_AT(struct nr_msg_capture, lost, 144);
NR_AT(struct nr_msg_capture, leases, 192);
NR_AT(struct nr_msg_capture, attached_ns, 208);
NR_AT(struct nr_msg_capture, delivered_bytes, 216);
NR_AT(struct nr_msg_capture, group, 224);
NR_AT(struct nr_msg_capture, backlog, 256);
NR_AT(struct nr_msg_capture, is_stalled, 280);

#endif
