/* SPDX-License-Identifier: BSD-2-Clause */
/* The warden's AF_PACKET sockets: it opens, keeps and closes them. */
#ifndef NETRINGD_WARDEN_PACKET_H
#define NETRINGD_WARDEN_PACKET_H

#include "config.h"
#include "priv.h"

/* One lane's socket. */
struct packet_socket {
	int fd; /* -1: not open */
	int epoll_fd;
	int said;	 /* the error that was logged last */
	bool is_started; /* it has its filter, which may be locked */
	bool is_kept;	/* an engine has died: the next goes on with its ring */
	bool is_lent;	/* to this engine */
	bool is_broken; /* this engine says: the next gets another ring */
	struct priv_packet ring;
	struct users users;  /* captures on it, as the engine says */
	struct users wanted; /* as those before said: the next waits for */
	/* counted over all sockets this lane has had */
	struct packet_counts {
		uint64_t packets;
		uint64_t drops;
		uint64_t freezes;
	} counts, before; /* this engine */
};

/*
 * Opens the ring of lane @lane on @interface of @source, closed to all packets
 * until asroot_packet_start(). A lane that is open is closed first. @first:
 * the interface's lane 0, whose fanout group the others join. Lends both
 * descriptors. Returns 0 or -errno, logged.
 */
int asroot_packet_open(const struct config_source *source, uint32_t interface,
		       uint32_t lane, struct packet_socket *socket,
		       const struct packet_socket *first,
		       struct priv_reply *reply);

/*
 * An engine has died; of @source all lanes of all interfaces: decides which
 * rings the next one goes on with. Those of an interface are kept together, as
 * they share a fanout group, or are closed. @has_served: it served so long that
 * all captures it was to have had come.
 */
void asroot_packet_keep(const struct config_source *source,
			struct packet_socket *sockets, bool has_served);

/*
 * Lends a ring that was kept, to be waited for on a new epoll description: the
 * engine may have written to the other. Returns 0, or -ENODEV: its interface
 * is another one now; or -errno.
 */
int asroot_packet_lend(const struct config_source *source, uint32_t interface,
		       struct packet_socket *socket, struct priv_reply *reply);

/* Whether it is bound to the interface that has the name now. */
bool asroot_packet_is_bound(const struct config_source *source,
			    uint32_t interface,
			    const struct packet_socket *socket);

/* Lets packets in: the configured filter, for good. 0 or -errno, logged. */
int asroot_packet_start(const struct config_source *source,
			struct packet_socket *socket);

/* Adds what the kernel has counted since the last time. */
int asroot_packet_stats(struct packet_socket *socket);

/* Reads and clears the socket's error, and looks at the link. */
void asroot_packet_error(const struct config_source *source, uint32_t interface,
			 const struct packet_socket *socket,
			 struct priv_reply *reply);

void asroot_packet_close(struct packet_socket *socket);

#endif
