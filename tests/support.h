/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tests are written in: a broker that is really started, a network of a
 * namespace of its own, consumers in processes of their own. All of it fails
 * the test (cr_fatal) when it cannot be had, but for what need() skips.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <netring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------- conditions */

/* Skips the test with these words unless run by root (with namespaces). */
void need_root(void);

/* Waits until @is_true(@data), at most @timeout_ms; false: it never was. */
bool wait_until(bool (*is_true)(void *data), void *data, int timeout_ms);

/* Looks at @expression until it is true, for 10 s; then the test fails. */
#define eventually(expression)                                                 \
	do {                                                                   \
		bool is_so_;                                                   \
		int ms_ = 0;                                                   \
		while (!(is_so_ = (expression)) && ms_++ < 10000)              \
			sleep_ms(1);                                           \
		cr_assert(is_so_, "never came true: %s", #expression);         \
	} while (0)
void sleep_ms(int ms); /* for the macro, and to let time pass on purpose */

/* A fresh directory for the test, removed at its end: "/tmp/netring-X". */
const char *test_dir(void);
/* test_dir()/NAME, in one of a few static buffers. */
const char *test_path(const char *name);

/* ----------------------------------------------------------------- broker */

struct broker {
	pid_t pid; /* the warden */
	char socket[108];
	char log[128]; /* its stderr goes to this file */
};

/*
 * Writes @config (printf format) behind a [broker] section with a socket in
 * test_dir(), attach_rate = 100000 and large quotas, starts netringd (from
 * the build tree) and waits until it listens. $NETRING_SOCKET is set to it.
 * netns: NULL, or where to start it.
 */
__attribute__((format(printf, 3, 4))) void
broker_start(struct broker *broker, const char *netns, const char *config, ...);

/* Whether one answers at this path (NULL: $NETRING_SOCKET). To be waited for.
 */
bool broker_answers(void *socket);

/* What broker_start() has started, and is dead: in the same place again. */
void broker_start_again(struct broker *broker, const char *netns);

/* The same from arguments of netringd ("-r FILE"); NULL ends them. */
void broker_start_args(struct broker *broker, const char *netns, ...);

/* SIGTERM; waits; the test fails unless it exits 0 and its log has no
 * sanitizer report. */
void broker_stop(struct broker *broker);
/* kill -9 of the warden (the engine follows). */
void broker_kill(struct broker *broker);
pid_t broker_engine(const struct broker *broker); /* the other process */
pid_t process_child(pid_t pid);			  /* the first, or 0 */
/* Whether its log contains this text; how often. */
bool broker_said(const struct broker *broker, const char *text);
unsigned broker_said_times(const struct broker *broker, const char *text);

/* Open descriptors, resident kB, and CPU time (ms) of a process. */
unsigned process_fds(pid_t pid);
unsigned long process_rss_kb(pid_t pid);
unsigned long process_cpu_ms(pid_t pid);
uid_t process_uid(pid_t pid);
/* SCHED_FIFO: it is not delayed by those who are not. */
void process_be_urgent(pid_t pid);
/* The first number behind @key ("Uid:") in its status file. */
uint64_t process_status(pid_t pid, const char *key, int base);

/* The broker's numbers, as `netring stat` asks for them. The functions take
 * sums over lanes; false / failing when there is no such thing. */
struct broker_stat {
	unsigned sources, channel_lanes, captures; /* entries below */
	struct nr_msg_broker broker;
	struct nr_msg_source source[64];
	struct nr_msg_channel_lane channel_lane[64];
	struct nr_msg_capture capture[512];
};
void broker_read_stat(struct broker_stat *stat, const char *channel);

/* ---------------------------------------------------------------- network */

/*
 * A namespace of this test with a veth pair, both ends in it, up, with no
 * addresses and no IPv6 (so that nothing but the test sends), removed at the
 * end however the test ends. Traffic sent on @outside arrives at @inside.
 */
struct network {
	char netns[32];
	char outside[16];
	char inside[16];
};
void network_make(struct network *network);
void network_remove(struct network *network);
/* Runs a shell command in the namespace; the test fails unless it exits 0. */
__attribute__((format(printf, 2, 3))) void
network_run(const struct network *network, const char *command, ...);
/* Moves the calling process (a child of the test, or the test) into it. */
void network_enter(const struct network *network);

/* -------------------------------------------------------------- processes */

/*
 * Runs @body(@data) in a child of its own, as @uid (and a gid of the same
 * number) without groups; 0: as it is. Its return value is its exit status
 * (0 to 255); a failed cr_assert in it does not count, so return.
 */
pid_t child_start(uid_t uid, int (*body)(void *data), void *data);
/* Its exit status; 256 + the signal that killed it. */
int child_wait(pid_t pid);

/* A page of shared memory between the test and its children, zeroed. */
void *shared_memory(size_t size);

#endif
