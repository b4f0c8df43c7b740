// SPDX-License-Identifier: BSD-2-Clause
/*
 * A UMEM is a sealed memfd: written by the kernel, which has its pages pinned,
 * and mapped read-only by everybody else. The one writable mapping, which the
 * kernel wants for registering it, stays here with all rights taken off, so
 * that the same frames can be registered again when an interface was remade.
 */
#include "warden_xdp.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "warden_held.h"
#include "warden_offload.h"

#define BIND_TRIES 100	    /* 2 ms apart */
#define FRAME_SIZE_MAX 4096 /* a page: larger frames cannot be had */
#define LINK_HEADER 22	    /* Ethernet with two tags */

#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#define SO_BUSY_POLL_BUDGET 70
#endif

static int set_option(int fd, int level, int option, uint32_t value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno :
								      0;
}

/* ------------------------------------------------------------------- checks */

static int refuse_mtu(struct redirection *redirection,
		      const struct config_source *source, const char *name,
		      uint32_t mtu)
{
	uint32_t room = config_frame_room(source);
	bool larger_helps =
		mtu + LINK_HEADER <= FRAME_SIZE_MAX - CONFIG_FRAME_HEADROOM;

	redirect_refuse(
		redirection,
		"source %s: %s has an MTU of %u, so packets of up to %u "
		"bytes, and frame_size = %u has room for %u: %s the MTU to "
		"%u, or use backend = af_packet",
		source->name, name, mtu, mtu + LINK_HEADER, source->frame_size,
		room, larger_helps ? "set frame_size = 4096, lower" : "lower",
		room - LINK_HEADER);
	return -EMSGSIZE;
}

/*
 * "All" queues are those that there were when the configuration was read: with
 * fewer the lanes of the others rest, and what is more is nobody's.
 */
static uint32_t look_at_queues(struct redirection *redirection,
			       const struct config_source *source,
			       const char *name)
{
	uint32_t queues = host_queues(name);

	if (source->queue_count == 0 && queues != source->lanes &&
	    queues != redirection->queues)
		log_warn("source %s: %s has %u receive queues, and the source "
			 "%u lanes an interface: %s",
			 source->name, name, queues, source->lanes,
			 queues < source->lanes ?
				 "the others rest" :
				 "packets of the other queues are not captured "
				 "(reload the configuration, or list them: "
				 "queues = 0, 1, ...)");
	redirection->queues = queues;
	return queues;
}

static int check_queue(struct redirection *redirection,
		       const struct config_source *source, const char *name,
		       uint32_t lane)
{
	uint32_t queues = look_at_queues(redirection, source, name);
	uint32_t queue = config_queue(source, lane);

	if (queue < queues)
		return XDP_OPEN;
	if (source->queue_count == 0)
		return XDP_RESTS;
	redirect_refuse(redirection,
			"source %s: %s has %u receive queues, so no queue %u",
			source->name, name, queues, queue);
	return -ENODEV;
}

static int check(struct redirection *redirection,
		 const struct config_source *source, const char *name,
		 const struct host_interface *host, uint32_t lane)
{
	char why[128];

	if (host->type != ARPHRD_ETHER && host->type != ARPHRD_LOOPBACK) {
		redirect_refuse(redirection,
				"source %s: %s is not Ethernet: use backend = "
				"af_packet",
				source->name, name);
		return -EPROTONOSUPPORT;
	}
	if (host->mtu + LINK_HEADER > config_frame_room(source))
		return refuse_mtu(redirection, source, name, host->mtu);
	if (!source->exclusive && host_needs(name, why, sizeof(why))) {
		redirect_refuse(
			redirection,
			"source %s: %s %s: packets taken by AF_XDP are lost "
			"to the host. Set exclusive = yes if that is meant, "
			"or use backend = af_packet",
			source->name, name, why);
		return -EADDRINUSE;
	}
	return check_queue(redirection, source, name, lane);
}

/* --------------------------------------------------------------------- UMEM */

static int make_umem(struct redirection *redirection,
		     const struct config_source *source, struct region *umem)
{
	uint64_t size = (uint64_t)source->frame_count * source->frame_size;
	int err;

	size = (size + REGION_ALIGN - 1) & ~(uint64_t)(REGION_ALIGN - 1);
	err = region_new(umem, "netring-umem", size, source->small_pages);
	if (!err)
		return 0;
	*umem = (struct region){ .fd = -1 };
	if (err == REGION_NO_HUGE_PAGES) {
		redirect_refuse(
			redirection,
			"source %s: no huge pages for %llu bytes of frames; "
			"reserve some (vm.nr_hugepages) or set small_pages = "
			"yes",
			source->name, (unsigned long long)size);
		return -ENOMEM;
	}
	redirect_refuse(redirection,
			"source %s: no memory for %llu bytes of frames: %s",
			source->name, (unsigned long long)size, strerror(-err));
	return err;
}

static int register_umem(const struct config_source *source, int fd,
			 const struct region *umem)
{
	struct xdp_umem_reg request = {
		.addr = (uintptr_t)umem->base,
		.len = umem->size,
		.chunk_size = source->frame_size,
		.headroom = CONFIG_FRAME_OFFSET,
	};
	int err = 0;

	if (mprotect(umem->base, umem->size, PROT_READ | PROT_WRITE))
		return -errno;
	if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &request, sizeof(request)))
		err = -errno;
	if (mprotect(umem->base, umem->size, PROT_NONE) && !err)
		err = -errno;
	return err;
}

/* ------------------------------------------------------------------ opening */

/* The completion ring is the kernel's wish: nothing is ever sent. */
static int make_rings(const struct config_source *source, int fd)
{
	int err =
		set_option(fd, SOL_XDP, XDP_UMEM_FILL_RING, source->fill_ring);

	if (!err)
		err = set_option(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING,
				 source->completion_ring);
	if (!err)
		err = set_option(fd, SOL_XDP, XDP_RX_RING, source->rx_ring);
	return err;
}

static int set_busy_poll(const struct config_source *source, int fd)
{
	int err = 0;

	if (source->prefer_busy_poll)
		err = set_option(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, 1);
	if (!err && source->busy_poll)
		err = set_option(fd, SOL_SOCKET, SO_BUSY_POLL,
				 source->busy_poll);
	if (!err && source->busy_poll_budget)
		err = set_option(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET,
				 source->busy_poll_budget);
	return err;
}

/* Without a word about copying the kernel tries zero-copy first. */
static int bind_to(const struct config_source *source, int fd, unsigned ifindex,
		   uint32_t queue, bool is_generic)
{
	struct sockaddr_xdp address = {
		.sxdp_family = AF_XDP,
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
	};

	if (source->bind == BIND_ZEROCOPY)
		address.sxdp_flags = XDP_ZEROCOPY;
	else if (source->bind == BIND_COPY || is_generic)
		address.sxdp_flags = XDP_COPY;
	if (source->need_wakeup)
		address.sxdp_flags |= XDP_USE_NEED_WAKEUP;
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno :
									0;
}

/* A socket that was just closed keeps its queue until the kernel gets to it. */
static int bind_patiently(const struct config_source *source, int fd,
			  unsigned ifindex, uint32_t queue, bool is_generic)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	int err = bind_to(source, fd, ifindex, queue, is_generic);

	for (int i = 0; i < BIND_TRIES && err == -EBUSY; i++) {
		nanosleep(&pause, NULL);
		err = bind_to(source, fd, ifindex, queue, is_generic);
	}
	return err;
}

static bool is_zerocopy(int fd)
{
	struct xdp_options options = { 0 };
	socklen_t length = sizeof(options);

	return getsockopt(fd, SOL_XDP, XDP_OPTIONS, &options, &length) == 0 &&
	       options.flags & XDP_OPTIONS_ZEROCOPY;
}

static int open_socket(const struct config_source *source, unsigned ifindex,
		       uint32_t queue, const struct region *umem,
		       bool is_generic)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = register_umem(source, fd, umem);
	if (!err)
		err = make_rings(source, fd);
	if (!err)
		err = set_busy_poll(source, fd);
	if (!err)
		err = bind_patiently(source, fd, ifindex, queue, is_generic);
	if (!err)
		return fd;
	close(fd);
	return err;
}

static void count(struct xdp_socket *socket);

static void close_socket(struct xdp_socket *socket)
{
	if (socket->fd < 0)
		return;
	count(socket);
	close(socket->fd);
	socket->fd = -1;
}

static const char *hint(const struct config_source *source, int err)
{
	if (err == -EBUSY)
		return " (another AF_XDP socket may have it)";
	return source->bind == BIND_ZEROCOPY ? " (bind = zerocopy)" : "";
}

static int open_lane(const struct config_source *source, const char *name,
		     uint32_t lane, const struct host_interface *host,
		     struct xdp_socket *socket, struct redirection *redirection)
{
	uint32_t queue = config_queue(source, lane);
	int fd = open_socket(source, host->index, queue, &socket->umem,
			     redirection->is_generic);

	if (fd < 0) {
		redirect_refuse(redirection,
				"source %s: lane %u on %s, queue %u: %s%s",
				source->name, lane, name, queue, strerror(-fd),
				hint(source, fd));
		return fd;
	}
	socket->fd = fd;
	socket->ifindex = host->index;
	socket->is_zerocopy = is_zerocopy(fd);
	if (redirection->refusal[0])
		return 0; /* tried again and again, and a lane is refused */
	log_info("source %s: lane %u on %s, queue %u: AF_XDP, %s mode, %s",
		 source->name, lane, name, queue,
		 redirection->is_generic ? "generic" : "driver",
		 socket->is_zerocopy ? "zero-copy" : "copy");
	return 0;
}

/* Returns an outcome, or -errno. */
static int look(const struct config_source *source, const char *name,
		uint32_t lane, unsigned flags, struct host_interface *host,
		struct redirection *redirection)
{
	int err = host_look(host, name);

	if (err == 0)
		return check(redirection, source, name, host, lane);
	return err == -ENODEV && flags & XDP_MAY_REST ? XDP_RESTS : err;
}

int asroot_xdp_umem(const struct config_source *source, uint32_t interface,
		    uint32_t lane, unsigned flags, struct xdp_socket *socket,
		    struct redirection *redirection, uint32_t *left,
		    struct priv_reply *reply)
{
	const char *name = source->interfaces[interface];
	struct host_interface host;
	int err = flags & XDP_ANYHOW ?
			  XDP_OPEN :
			  look(source, name, lane, flags, &host, redirection);

	if (err < 0)
		return err;
	if (*left == 0) {
		log_error("source %s: the engine asks for frames too often",
			  source->name);
		return -ENOSPC;
	}
	held_let_go(&socket->next_umem);
	err = make_umem(redirection, source, &socket->next_umem);
	if (err)
		return err;
	--*left;
	reply->xdp.umem_size = socket->next_umem.size;
	return 0;
}

int asroot_xdp_open(const struct config_source *source, uint32_t interface,
		    uint32_t lane, unsigned flags, struct xdp_socket *socket,
		    struct redirection *redirection, struct priv_reply *reply)
{
	const char *name = source->interfaces[interface];
	struct host_interface host;
	int err;

	close_socket(socket);
	if (flags & XDP_NEW_FRAMES && socket->next_umem.base) {
		held_let_go(&socket->umem);
		socket->umem = socket->next_umem;
		socket->next_umem = (struct region){ .fd = -1 };
	}
	if (!socket->umem.base)
		return -ENOMEM;
	err = look(source, name, lane, flags, &host, redirection);
	redirection->queues_tried = redirection->queues;
	if (err == XDP_OPEN)
		err = redirect_attach(redirection, source, name, &host);
	if (err == XDP_OPEN)
		err = open_lane(source, name, lane, &host, socket, redirection);
	if (err < 0)
		return err;
	if (lane + 1 == source->lanes)
		redirection->refusal[0] = '\0'; /* nothing is refused */
	reply->xdp.umem_size = socket->umem.size;
	reply->xdp.rests = err == XDP_RESTS;
	reply->xdp.is_generic = redirection->is_generic;
	reply->xdp.is_zerocopy = socket->is_zerocopy;
	reply->xdp.magic = redirection->magic;
	return 0;
}

/*
 * Whether the host needs it has to be asked again when something has changed:
 * an address that came after the start means that it has its packets back.
 */
static bool is_needed(const struct config_source *source, const char *name,
		      struct redirection *redirection)
{
	char why[128];
	bool is_it = !source->exclusive && host_needs(name, why, sizeof(why));

	if (is_it && !redirection->host_needs_it)
		log_error("source %s: %s %s: its packets are left to the host, "
			  "and no capture gets them. Set exclusive = yes if "
			  "captures are to have them, or take that away",
			  source->name, name, why);
	else if (redirection->host_needs_it && !is_it)
		log_info("source %s: %s: the host does not need its packets "
			 "any more",
			 source->name, name);
	redirection->host_needs_it = is_it;
	return is_it;
}

int asroot_xdp_take(const struct config_source *source, uint32_t interface,
		    uint32_t lane, const struct xdp_socket *socket,
		    struct redirection *redirection, uint32_t how,
		    struct priv_reply *reply)
{
	const char *name = source->interfaces[interface];
	uint32_t queue = config_queue(source, lane);
	bool takes = how & PRIV_TAKE;
	int err;

	if (takes && socket->fd < 0)
		return -ENODEV; /* taken when it is open again */
	if (takes && is_needed(source, name, redirection)) {
		redirect_queue(redirection, queue, -1);
		return -EADDRINUSE;
	}
	/* Counted while nobody takes them: before that, and after it. */
	reply->taken.passed = redirect_passed(redirection, queue);
	err = redirect_queue(redirection, queue, takes ? socket->fd : -1);
	if (err || !(how & PRIV_SETTLE))
		return err;
	redirect_settle();
	if (takes)
		reply->taken.passed = redirect_passed(redirection, queue);
	return 0;
}

/* ----------------------------------------------------------------- counters */

static void add(struct priv_xdp_stats *sum, const struct xdp_statistics *now)
{
	sum->dropped += now->rx_dropped;
	sum->ring_full += now->rx_ring_full;
	sum->fill_empty += now->rx_fill_ring_empty_descs;
	sum->invalid += now->rx_invalid_descs;
}

/* Unlike AF_PACKET's they do not start anew when they are read. */
static int read_counters(const struct xdp_socket *socket,
			 struct xdp_statistics *now)
{
	socklen_t length = sizeof(*now);

	memset(now, 0, sizeof(*now));
	if (socket->fd < 0)
		return 0;
	return getsockopt(socket->fd, SOL_XDP, XDP_STATISTICS, now, &length) ?
		       -errno :
		       0;
}

/* Keeps what a socket has counted that is about to be closed. */
static void count(struct xdp_socket *socket)
{
	struct xdp_statistics now;

	if (read_counters(socket, &now) == 0)
		add(&socket->counted, &now);
}

int asroot_xdp_stats(const struct config_source *source, uint32_t interface,
		     const struct xdp_socket *socket,
		     struct redirection *redirection, struct priv_reply *reply)
{
	const char *name = source->interfaces[interface];
	struct xdp_statistics now;
	int err = read_counters(socket, &now);

	reply->xdp_stats = socket->counted;
	add(&reply->xdp_stats, &now);
	redirect_look(redirection, name);
	if (socket->fd >= 0)
		look_at_queues(redirection, source, name);
	return err;
}

/* Whether there are queues by now whose lanes rest. */
static bool can_open_more(struct redirection *redirection,
			  const struct config_source *source, const char *name)
{
	uint32_t queues = look_at_queues(redirection, source, name);

	return source->queue_count == 0 &&
	       redirection->queues_tried < source->lanes &&
	       queues > redirection->queues_tried;
}

void asroot_xdp_link(const struct config_source *source, uint32_t interface,
		     const struct xdp_socket *socket,
		     struct redirection *redirection, struct priv_reply *reply)
{
	const char *name = source->interfaces[interface];
	struct host_interface host;
	int err = host_look(&host, name);

	reply->link.error = 0;
	if (err == -ENODEV) {
		/* If it has another name now, the host has its packets back. */
		redirect_detach(redirection);
		reply->link.state = PRIV_LINK_GONE;
		return;
	}
	if (err) { /* nothing is known against it */
		reply->link.state = PRIV_LINK_UP;
		return;
	}
	redirect_set_mac(redirection, host.mac);
	if (socket->fd < 0 || host.index != socket->ifindex ||
	    !redirect_is_on(redirection, host.index) ||
	    can_open_more(redirection, source, name))
		reply->link.state = PRIV_LINK_NEW;
	else
		reply->link.state = host.is_up ? PRIV_LINK_UP : PRIV_LINK_DOWN;
}

bool asroot_xdp_forget(struct xdp_socket *socket)
{
	return held_let_go(&socket->next_umem);
}

void asroot_xdp_release(struct xdp_socket *socket)
{
	close_socket(socket);
}

void asroot_xdp_close(struct xdp_socket *socket)
{
	close_socket(socket);
	held_let_go(&socket->umem);
	held_let_go(&socket->next_umem);
	memset(&socket->counted, 0, sizeof(socket->counted));
}

/* What lies in the receive ring: how many packets, at most @slots. */
static uint32_t ring_holds(int fd, uint32_t slots)
{
	struct xdp_mmap_offsets offsets;
	socklen_t length = sizeof(offsets);
	const uint8_t *map;
	uint32_t count;
	size_t size;

	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length) ||
	    length != sizeof(offsets))
		return 0;
	size = offsets.rx.desc + slots * sizeof(struct xdp_desc);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd,
		   XDP_PGOFF_RX_RING);
	if (map == MAP_FAILED)
		return 0;
	/* The one who wrote `consumer` is dead, and may have been hostile. */
	count = *(const uint32_t *)(const void *)(map + offsets.rx.producer) -
		*(const uint32_t *)(const void *)(map + offsets.rx.consumer);
	munmap((void *)(uintptr_t)map, size);
	return count <= slots ? count : slots;
}

uint32_t asroot_xdp_abandon(const struct config_source *source,
			    struct xdp_socket *socket, uint64_t *drops)
{
	struct priv_xdp_stats *counted = &socket->counted;
	uint32_t left = 0;
	uint64_t before;

	if (socket->fd >= 0)
		left = ring_holds(socket->fd, source->rx_ring);
	asroot_xdp_release(socket);
	*drops += counted->dropped + counted->ring_full;
	before = counted->drops_before + counted->dropped + counted->ring_full;
	asroot_xdp_close(socket);
	counted->dropped = left;
	counted->drops_before = before;
	return left;
}
