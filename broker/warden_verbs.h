/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the warden share: its state, and how it serves a request.
 */
#ifndef NETRINGD_WARDEN_VERBS_H
#define NETRINGD_WARDEN_VERBS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <netring/proto.h>

#include "priv.h"
#include "warden.h"
#include "warden_packet.h"
#include "warden_redirect.h"
#include "warden_xdp.h"

/* Of the present configuration, and from PRIV_NEXT on of the next. */
#define SOURCES_MAX (2 * CONFIG_SOURCES_MAX)
_Static_assert(PRIV_NEXT == CONFIG_SOURCES_MAX, "no source is in both");
#define LANES_MAX (CONFIG_INTERFACES_MAX * NR_LANES_MAX)

struct warden {
	struct warden_options *options;
	int engine_socket;
	int rings_socket;    /* to the engine's ring_mapper.c */
	uint32_t rings_sent; /* on it, to this engine or those before */
	pid_t engine;	     /* 0: none */
	int signals;
	bool was_ready;	    /* this one, or one before */
	bool reload_is_due; /* told to, and no engine has asked for it yet */
	bool is_stopping;
	bool was_told;	      /* the engine, to stop */
	uint64_t stop_ns;     /* until then it may take, CLOCK_MONOTONIC */
	uint64_t reloaded_ns; /* the last time */
	uint32_t pages_made;  /* return pages, for this engine */
	uint32_t pages_held;  /* of those before it, by somebody */
	uint32_t restarts;    /* engines that have died */
	uint64_t died_ns;     /* the last one, since the epoch */
	uint64_t ready_ns;    /* this one, CLOCK_MONOTONIC; 0: not yet */
	uint32_t pause_ms;    /* before it was started */
	uint32_t quick_left;  /* engines that served and are followed at once */
	uint32_t umems_left;  /* that this engine may ask for */
	uint32_t umems_held;  /* so many that others hold are too many */
	uint32_t rings_held;  /* so many that this engine still has, too */
	struct config last_read;   /* by a reload, whatever came of it */
	const struct config *next; /* read, and not in force yet; or NULL */
	int next_fd;
	struct packet_socket sockets[SOURCES_MAX][LANES_MAX];
	struct xdp_socket xdp_sockets[SOURCES_MAX][LANES_MAX];
	struct redirection redirections[SOURCES_MAX][CONFIG_INTERFACES_MAX];
};

/* Ends the engine and the warden: @what cannot have been asked by ours. */
__attribute__((noreturn)) void warden_surprise(const struct warden *warden,
					       const char *what);

uint64_t warden_clock_ns(clockid_t clock);

/* What a request names, if it may; else the warden ends. */
const struct config_source *
warden_requested_source(const struct warden *warden,
			const struct priv_request *request,
			enum config_backend backend);

/* Takes a request of the engine, if there is one, and answers it. */
void warden_serve_request(struct warden *warden);

/* warden_reload.c: the verbs of a reload. */
int asroot_reload(struct warden *warden, const struct priv_request *request,
		  struct priv_reply *reply, int *fds);
int asroot_commit(struct warden *warden, const struct priv_request *request,
		  struct priv_reply *reply, int *fds);
int asroot_abandon(struct warden *warden, const struct priv_request *request,
		   struct priv_reply *reply, int *fds);
/* warden_xdp_verbs.c: those of AF_XDP. */
int asroot_xumem(struct warden *warden, const struct priv_request *request,
		 struct priv_reply *reply, int *fds);
int asroot_xclose(struct warden *warden, const struct priv_request *request,
		  struct priv_reply *reply, int *fds);
int asroot_xopen(struct warden *warden, const struct priv_request *request,
		 struct priv_reply *reply, int *fds);
int asroot_xtake(struct warden *warden, const struct priv_request *request,
		 struct priv_reply *reply, int *fds);
int asroot_xstats(struct warden *warden, const struct priv_request *request,
		  struct priv_reply *reply, int *fds);
int asroot_xlink(struct warden *warden, const struct priv_request *request,
		 struct priv_reply *reply, int *fds);

/*
 * Lets the engine ask for the frames of @config: at the start, and when another
 * text was read. It may map the old ones for ever, so there has to be an end:
 * only those that nothing came of, and that it does not hold, do not count.
 */
void warden_allow_frames(struct warden *warden, const struct config *config);
/*
 * How many rings the engine may still have mapped of those that were closed:
 * of each lane, in the largest configuration that it knows, the one that it
 * reads until it has another, and one more.
 */
void warden_allow_rings(struct warden *warden, const struct config *config);
/* Forgets the next configuration, if there is one. */
void warden_abandon(struct warden *warden);
/* Closes all that is open for a source, by its index. */
void warden_close_source(struct warden *warden, uint32_t index);

#endif
