/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls of a process and of all that it starts, through threads,
 * exec and sandboxes: seen one by one, and failed at will.
 */
#ifndef TESTS_CALLS_H
#define TESTS_CALLS_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "support.h"

#define CALLS_MAX 64

struct call {
	int number;
	pid_t thread;
	uint64_t args[6];
};

/*
 * Lets a call be (0), or has it fail (-errno). Called in a thread of its own,
 * while the caller is held.
 */
typedef int (*calls_fn)(const struct call *call, void *data);

struct calls {
	calls_fn fn;
	void *data;
	int numbers[CALLS_MAX];
	unsigned count; /* 0: all calls there are */
	struct calls_shared *shared;
	pthread_t thread;
};

/* Set fn, data, numbers and count before. To be called before the fork. */
void calls_watch(struct calls *calls);

/*
 * In the child that calls_watch() was made for: from here on its calls are
 * watched. Right before an exec, or a body that is to be watched.
 */
void calls_enter(struct calls *calls);

/*
 * netringd on test_path("broker.conf"), all its calls watched: calls_watch() is
 * done here. $NETRING_SOCKET leads to it. Does not wait until it serves.
 */
void calls_start_broker(struct calls *calls, struct broker *broker);

/* When all that was watched has ended. */
void calls_end(struct calls *calls);

#endif
