/* SPDX-License-Identifier: BSD-2-Clause */
/* The warden's AF_XDP sockets and their UMEMs. */
#ifndef NETRINGD_WARDEN_XDP_H
#define NETRINGD_WARDEN_XDP_H

#include "config.h"
#include "priv.h"
#include "region.h"
#include "warden_redirect.h"

/* One lane's socket. */
struct xdp_socket {
	int fd; /* -1: not open */
	unsigned ifindex;
	bool is_zerocopy;
	struct region umem;	 /* base NULL: not made yet */
	struct region next_umem; /* for the next socket; the same */
	/* counted over all sockets this lane has had */
	struct priv_xdp_stats counted;
};

/* Flags of asroot_xdp_open(), and what it says besides -errno. */
#define XDP_NEW_FRAMES 1u /* what asroot_xdp_umem() has made */
#define XDP_MAY_REST 2u	  /* the interface may be gone, for now */
#define XDP_ANYHOW 4u	  /* memory only, whatever the interface is like */
enum xdp_outcome { XDP_OPEN = 0, XDP_RESTS = 1 };

/*
 * Checks that such a socket can be had and makes the memory for it, which
 * asroot_xdp_open() is to take. @left: how many the engine may ask for still.
 * Lent. Returns 0 or -errno, logged.
 */
int asroot_xdp_umem(const struct config_source *source, uint32_t interface,
		    uint32_t lane, unsigned flags, struct xdp_socket *socket,
		    struct redirection *redirection, uint32_t *left,
		    struct priv_reply *reply);

/*
 * Opens the socket of lane @lane on @interface of @source, and attaches the
 * program, which gives it nothing until asroot_xdp_take(). Without
 * XDP_NEW_FRAMES, for an interface that was made anew, with the UMEM that the
 * lane has. One whose queue is not there (any more) has a UMEM, no socket, and
 * rests. Lends socket and memory. Returns 0 or -errno, logged.
 */
int asroot_xdp_open(const struct config_source *source, uint32_t interface,
		    uint32_t lane, unsigned flags, struct xdp_socket *socket,
		    struct redirection *redirection, struct priv_reply *reply);

/*
 * Takes the packets of the lane's queue, or leaves them: PRIV_TAKE_*.
 * -EADDRINUSE: the host needs them, and has them, see host_needs().
 */
int asroot_xdp_take(const struct config_source *source, uint32_t interface,
		    uint32_t lane, const struct xdp_socket *socket,
		    struct redirection *redirection, uint32_t how,
		    struct priv_reply *reply);

int asroot_xdp_stats(const struct config_source *source, uint32_t interface,
		     const struct xdp_socket *socket,
		     struct redirection *redirection, struct priv_reply *reply);

/* Follows its address, too, and lets go of one that has another name now. */
void asroot_xdp_link(const struct config_source *source, uint32_t interface,
		     const struct xdp_socket *socket,
		     struct redirection *redirection, struct priv_reply *reply);

/*
 * The memory that asroot_xdp_umem() has made is not wanted. Returns whether it
 * is free again: the engine does not hold it.
 */
bool asroot_xdp_forget(struct xdp_socket *socket);

/* Closes the socket; the memory stays. */
void asroot_xdp_release(struct xdp_socket *socket);
/* The lane is no more: its frames and what it has counted go, too. */
void asroot_xdp_close(struct xdp_socket *socket);
/*
 * The engine is no more, nor are its programs' entries: the next one counts
 * from zero, and begins with what nobody has taken out of the ring. Returns
 * how many packets that is. @drops: those of the dead one's time are added.
 */
uint32_t asroot_xdp_abandon(const struct config_source *source,
			    struct xdp_socket *socket, uint64_t *drops);

#endif
