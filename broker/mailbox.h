/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands between the control thread and the lanes: wait-free to send. */
#ifndef NETRINGD_MAILBOX_H
#define NETRINGD_MAILBOX_H

#include <urcu/wfcqueue.h>

struct lane;

/*
 * Runs in the lane, then comes back to the control thread. Also the form in
 * which a lane tells the control thread something by itself (run is NULL).
 */
struct lane_command {
	struct cds_wfcq_node node;
	void (*run)(struct lane *lane, struct lane_command *command);
	void (*done)(struct lane_command *command);
	struct lane *lane;
	void *owner; /* for done() */
};

/* Commands on their way to one thread, which sleeps on an eventfd. */
struct mailbox {
	struct __cds_wfcq_head head;
	struct cds_wfcq_tail tail;
	int fd;
};

int mailbox_init(struct mailbox *box);
void mailbox_deinit(struct mailbox *box);
void mailbox_put(struct mailbox *box, struct lane_command *command);
/* The next command or NULL. Only by the owning thread. */
struct lane_command *mailbox_take(struct mailbox *box);
/* Clears the eventfd; to be called before taking, after waking up. */
void mailbox_clear(struct mailbox *box);

#endif
