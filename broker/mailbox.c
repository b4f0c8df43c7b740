// SPDX-License-Identifier: BSD-2-Clause
/*
 * liburcu's wait-free concurrent queue, and an eventfd for the sleeper. Both
 * ends are threads of the engine; nothing here is shared with a consumer.
 */
#include "mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *box)
{
	__cds_wfcq_init(&box->head, &box->tail);
	box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return box->fd < 0 ? -errno : 0;
}

void mailbox_deinit(struct mailbox *box)
{
	if (box->fd >= 0)
		close(box->fd);
	box->fd = -1;
}

void mailbox_put(struct mailbox *box, struct lane_command *command)
{
	const uint64_t one = 1;

	cds_wfcq_node_init(&command->node);
	cds_wfcq_enqueue(&box->head, &box->tail, &command->node);
	/* EAGAIN would mean 2^64 - 2 wake-ups are pending: impossible. */
	(void)!write(box->fd, &one, sizeof(one));
}

struct lane_command *mailbox_take(struct mailbox *box)
{
	struct cds_wfcq_node *node;

	node = __cds_wfcq_dequeue_blocking(&box->head, &box->tail);
	return node ? caa_container_of(node, struct lane_command, node) : NULL;
}

void mailbox_clear(struct mailbox *box)
{
	uint64_t count;

	(void)!read(box->fd, &count, sizeof(count));
}
