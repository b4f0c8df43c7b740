/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where attacks happen: a broker with default quotas and steady traffic, an
 * honest consumer that checks every byte of it, and attackers who are another
 * user.
 */
#ifndef TESTS_SCENE_H
#define TESTS_SCENE_H

#include "support.h"

#include "../client/capture.h"

#define ATTACKER_UID 12345
#define HONEST_UID 23456

/* Packets: these bytes in front, and behind SCENE_HEAD bytes nothing else. */
#define SCENE_HEAD 64
#define SCENE_MARK "netring's secret"
#define SCENE_PACKETS 1000u
#define SCENE_RATE 10000 /* packets/s, some 7.5 MB/s */

/*
 * No lane may stand still longer, whatever attackers do: as consumers see it,
 * who get CPU as the scheduler likes, on two CPUs, under sanitizers. The
 * attacks that this is about were seen to stall a broker without defences for
 * 500 to 1800 ms, and each goes on for longer than a second.
 */
#define SCENE_STALL_MAX_MS 400

/* In memory that it shares with the test. */
struct honest {
	/* set before its start */
	uid_t uid;
	const char *channel;
	const char *group;
	bool follows;
	bool is_urgent; /* SCHED_FIFO: its own delays count for nothing */
	unsigned guarantee;
	/* Whether packet @index of @batch is what comes next. */
	bool (*check)(struct honest *honest, const struct nr_batch *batch,
		      uint32_t index);
	/* Told of each time without packets, NULL: nobody is. */
	void (*stalled)(uint64_t from_ns, uint64_t to_ns);

	pid_t pid;
	uint32_t is_ready;
	uint32_t must_stop;
	uint32_t is_wrong; /* a packet was not what was sent */
	uint64_t next;	   /* the number to come; UINT64_MAX: any */
	uint64_t stall_ns; /* longest time without a packet, since reset */
	uint64_t delivered;
	uint64_t lost;
	int result;
};

struct scene {
	struct broker broker;
	pid_t engine;
	struct honest *honest;
};

/*
 * Starts all of it. @config: lines for [broker], NULL for none. The channels:
 *	all	everything, everyone
 *	none	everyone, with a filter that nothing passes
 *	short	everyone, snaplen SCENE_HEAD
 *	closed	nobody but root
 */
void scene_start(struct scene *scene, const char *config);

/* Parts of that, for worlds of their own: the file; a consumer like this. */
void scene_write_trace(const char *path);
struct honest *honest_new(const char *channel, uid_t uid);
void honest_start(struct honest *honest); /* attached when it returns */
void honest_stop(struct honest *honest);
/* Its check, of the packets of that file. They may be cut. */
bool honest_check_trace(struct honest *honest, const struct nr_batch *batch,
			uint32_t index);

/* The honest one has lost nothing, the broker ends without a complaint. */
void scene_end(struct scene *scene);

/* The longest time the honest one was without packets since this was called
 * before, in ms. */
double scene_stall_ms(struct scene *scene);

/* In a body: says what is not as it must be, and returns 1. */
#define must(condition)                                                        \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__,  \
				__LINE__, #condition, strerror(errno));        \
			return 1;                                              \
		}                                                              \
	} while (0)

uint64_t scene_now_ns(void);

/* A capture of @channel, by default settings; NULL after a message. */
struct nr_capture *scene_open(const char *channel);

/* A bare connection; a message on it; ATTACH to a channel. */
int raw_connect(void);
int raw_send(int socket, uint32_t type, size_t length);
int raw_attach(int socket, const char *channel);
/* Whether the broker hangs up within @ms; reads nothing. */
bool raw_ends(int socket, int ms);

/* Sends @size bytes and, with them, one descriptor. Returns whether it could.
 */
bool send_with_fd(int socket, const void *bytes, size_t size, int fd);

#endif
