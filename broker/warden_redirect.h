/* SPDX-License-Identifier: BSD-2-Clause */
/* Our program on an interface: loaded, attached, told which queues to take. */
#ifndef NETRINGD_WARDEN_REDIRECT_H
#define NETRINGD_WARDEN_REDIRECT_H

#include <stdbool.h>

#include "config.h"
#include "warden_host.h"

struct redirect;

#define REFUSAL_MAX 320

/* What hangs on one interface of a source. */
struct redirection {
	struct redirect *program; /* NULL: not attached */
	int link;
	int promiscuous; /* a socket that holds the membership, or -1 */
	unsigned ifindex;
	bool is_generic;
	bool has_warned;       /* of tags that cannot be read */
	bool has_warned_large; /* of packets that no frame holds */
	bool has_warned_front; /* of packets without room in front */
	uint32_t magic;	       /* of what this program puts in front */
	/* what has been said of the interface, so that it is said once */
	bool host_needs_it;
	uint32_t queues; /* that it has, though the source has other lanes */
	uint32_t queues_tried; /* that it had when its lanes were opened */
	char refusal[REFUSAL_MAX];
};

/* Logs why the interface is not taken, unless it was the last that was said. */
__attribute__((format(printf, 2, 3))) void
redirect_refuse(struct redirection *redirection, const char *format, ...);

/*
 * Attaches to @host, unless that is done. A program of somebody else there is
 * left alone: -EBUSY. Returns 0 or -errno, logged.
 */
int redirect_attach(struct redirection *redirection,
		    const struct config_source *source, const char *name,
		    const struct host_interface *host);
void redirect_detach(struct redirection *redirection);

/* Whether it hangs on this one: an index can be that of a new interface. */
bool redirect_is_on(const struct redirection *redirection, unsigned ifindex);

/* The interface's address, by which packets are the host's. */
void redirect_set_mac(struct redirection *redirection, const uint8_t mac[6]);

/* Gives the packets of @queue to the socket, or with -1 back to the host. */
int redirect_queue(struct redirection *redirection, uint32_t queue, int socket);

/* How many packets of @queue have passed to the host, since the attaching. */
uint64_t redirect_passed(const struct redirection *redirection, uint32_t queue);

/* Waits until no packet is treated as it was before redirect_queue(). */
void redirect_settle(void);

/*
 * Warns, once each, if packets have had tags that the driver does not tell, or
 * were larger than a frame.
 */
void redirect_look(struct redirection *redirection, const char *name);

#endif
