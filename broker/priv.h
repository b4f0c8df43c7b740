/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the engine may ask of the warden: this table is the policy. Requests
 * and replies have one fixed size; all that a request can name is an index
 * into the configuration that the warden holds. priv_x() in the engine asks,
 * asroot_x() in the warden does.
 */
#ifndef NETRINGD_PRIV_H
#define NETRINGD_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "users.h"

#define PRIV_FDS_MAX 2
#define PRIV_WHY_MAX 256
#define PRIV_NAME_MAX 16 /* of a process: the kernel's TASK_COMM_LEN */

/*
 * Sources are named by their index in the configuration. That of the one which
 * PRIV_RELOAD has read, until PRIV_COMMIT makes it the present one, counts from
 * here.
 */
#define PRIV_NEXT 16u

/* Descriptors that the engine is started with, beside stderr; no others. */
enum priv_fd {
	PRIV_FD_WARDEN = 3,
	PRIV_FD_CONFIG,
	PRIV_FD_LISTENER,
	PRIV_FD_RINGS, /* sockets of AF_PACKET rings: ring_mapper.c */
	PRIV_FDS_GIVEN
};

enum priv_verb {
	PRIV_PACKET_OPEN = 1, /* fd: epoll; the ring's: PRIV_FD_RINGS; it
				 rejects all yet */
	PRIV_PACKET_START,    /* a source: its lanes let packets in */
	PRIV_PACKET_STATS,    /* kernel counters */
	PRIV_PACKET_ERROR,    /* clears the socket's error; the link's state */
	PRIV_XDP_UMEM,	      /* fd: a UMEM for the lane's next socket */
	PRIV_XDP_OPEN,	      /* fds: AF_XDP socket, UMEM (count 1: that one) */
	PRIV_XDP_CLOSE,	      /* an interface: its sockets and its program go */
	PRIV_XDP_TAKE,	      /* the queue's packets, or not: PRIV_TAKE_* */
	PRIV_XDP_STATS,	      /* kernel counters, since the opening */
	PRIV_XDP_LINK,	      /* the link's state */
	PRIV_RETURN_PAGES,    /* fd: a BPF array of pages */
	PRIV_REPLAY_OPEN,     /* fd: the file */
	PRIV_READY,	      /* the engine serves */
	PRIV_RELOAD,	      /* fd: the next configuration, or what is wrong */
	PRIV_COMMIT,	      /* that one is the present one from now on */
	PRIV_ABANDON,	      /* it is forgotten, and what was opened for it */
	PRIV_START,	      /* which engine this is */
	PRIV_PACKET_USERS,    /* users: whose captures are on a lane; the next
				 engine waits for them */
	PRIV_PROCESS_NAME,    /* count: a pid; what it calls itself */
	PRIV_PACKET_BROKEN,   /* a lane's ring: the next engine gets another */
	PRIV_VERBS,
};

/* How, by its count. What passes to the host meanwhile is counted. */
#define PRIV_TAKE 1u   /* take them; else don't */
#define PRIV_SETTLE 2u /* wait until no packet is under way the old way */

struct priv_request {
	uint32_t verb;
	uint32_t source;    /* index in the configuration */
	uint32_t interface; /* of the source */
	uint32_t lane;	    /* of the interface */
	uint32_t count;	    /* of pages; how; a pid */
	struct users users;
};

enum priv_link { PRIV_LINK_UP, PRIV_LINK_DOWN, PRIV_LINK_GONE, PRIV_LINK_NEW };

/* Of an AF_XDP socket. */
struct priv_xdp_stats {
	uint64_t dropped; /* for any reason but a full ring */
	uint64_t ring_full;
	uint64_t fill_empty;   /* times, not packets; those are in dropped */
	uint64_t invalid;      /* addresses in the fill ring, not packets */
	uint64_t drops_before; /* both, until the last engine had ended */
};

/* Of an AF_PACKET ring. */
struct priv_packet {
	uint64_t ring_size;
	uint32_t block_size;
	uint32_t link_type; /* LINKTYPE_ */
	uint32_t mtu;
	uint32_t is_kept;   /* an engine before this one has read from it */
	uint32_t number;    /* of those sent to PRIV_FD_RINGS */
	struct users users; /* of a kept one: whose captures it had */
};

struct priv_reply {
	uint32_t verb;		/* as asked */
	int32_t status;		/* 0 or -errno */
	char why[PRIV_WHY_MAX]; /* then: what was logged, or empty */
	union {
		struct priv_packet packet;
		struct {
			/* since the engine before this one has ended */
			uint64_t packets; /* of these, some dropped */
			uint64_t drops;
			uint64_t freezes;
			uint64_t drops_before; /* until then */
		} stats;
		struct {
			uint64_t died_ns;  /* since the epoch, the last one */
			uint32_t restarts; /* engines that have died */
		} start;
		struct {
			uint32_t is_refused; /* the fd is a text, for people */
		} reload;
		struct {
			uint64_t umem_size;
			bool rests; /* no queue for it: no socket, two UMEM */
			bool is_generic;
			bool is_zerocopy;
			uint32_t magic; /* struct redirect_meta */
		} xdp;
		struct {
			uint64_t passed; /* of the queue, to the host, ever */
		} taken;
		struct priv_xdp_stats xdp_stats;
		struct {
			int32_t error;	/* what SO_ERROR said */
			uint32_t state; /* enum priv_link */
		} link;
		char name[PRIV_NAME_MAX]; /* terminated; bytes of any value */
	};
};

/* In the engine, by the control thread only. 0 or -errno. */
int priv_packet_open(uint32_t source, uint32_t interface, uint32_t lane,
		     struct priv_reply *reply, int *epoll_fd);
int priv_packet_start(uint32_t source);
int priv_packet_stats(uint32_t source, uint32_t interface, uint32_t lane,
		      struct priv_reply *reply);
int priv_packet_users(uint32_t source, uint32_t interface, uint32_t lane,
		      const struct users *users);
int priv_packet_broken(uint32_t source, uint32_t interface, uint32_t lane);
int priv_packet_error(uint32_t source, uint32_t interface, uint32_t lane,
		      struct priv_reply *reply);
int priv_xdp_umem(uint32_t source, uint32_t interface, uint32_t lane,
		  uint64_t *size, int *fd);
int priv_xdp_open(uint32_t source, uint32_t interface, uint32_t lane,
		  bool is_new, struct priv_reply *reply, int fds[PRIV_FDS_MAX]);
int priv_xdp_close(uint32_t source, uint32_t interface);
/* @passed: NULL, or how many packets had passed when nobody took them. */
int priv_xdp_take(uint32_t source, uint32_t interface, uint32_t lane,
		  uint32_t how, uint64_t *passed);
int priv_xdp_stats(uint32_t source, uint32_t interface, uint32_t lane,
		   struct priv_reply *reply);
int priv_xdp_link(uint32_t source, uint32_t interface, uint32_t lane,
		  struct priv_reply *reply);
int priv_return_pages(uint32_t count, int *fd);
int priv_replay_open(uint32_t source, int *fd);
int priv_process_name(pid_t pid, char name[PRIV_NAME_MAX]);
int priv_start(struct priv_reply *reply);
int priv_ready(void);
int priv_reload(int *fd, bool *is_refused);
int priv_commit(void);
int priv_abandon(void);

#endif
