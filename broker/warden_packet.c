// SPDX-License-Identifier: BSD-2-Clause
/*
 * Opening an AF_PACKET ring so that its first packet is the first one that
 * belongs in it: bound last, behind a filter that rejects everything, which
 * is replaced when all lanes of the source have joined their fanout group.
 */
#include "warden_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <pcap/dlt.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "warden_host.h"
#include "packet_ring.h"
#include "warden_held.h"
#include "warden_offload.h"
#include "region.h"

#define FRAME_SIZE 2048 /* cuts nothing in V3; the kernel wants one */
/* Raw IP in files and records; libpcap calls it DLT_RAW, another number. */
#define LINKTYPE_RAW 101
#define PRIV_SIZE 8 /* of each block, the engine's progress */

#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#define SO_BUSY_POLL_BUDGET 70
#endif

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno :
								      0;
}

/* What the packets of the interface start with. */
static int link_type_of(const char *interface)
{
	struct ifreq request = { 0 };
	int err = host_ask(interface, SIOCGIFHWADDR, &request);

	if (err)
		return err;
	switch (request.ifr_hwaddr.sa_family) {
	case ARPHRD_ETHER:
	case ARPHRD_LOOPBACK:
		return DLT_EN10MB;
	case ARPHRD_IEEE80211:
		return DLT_IEEE802_11;
	case ARPHRD_IEEE80211_RADIOTAP:
		return DLT_IEEE802_11_RADIO;
	default: /* tunnels: from the IP header on, see open_socket() */
		return LINKTYPE_RAW;
	}
}

static uint32_t mtu_of(const char *interface)
{
	struct ifreq request = { 0 };

	return host_ask(interface, SIOCGIFMTU, &request) ?
		       65535u :
		       (uint32_t)request.ifr_mtu;
}

static int open_socket(int link_type)
{
	/* Protocol 0: nothing arrives until bind() names one. */
	int type = link_type == LINKTYPE_RAW ? SOCK_DGRAM : SOCK_RAW;
	int fd = socket(AF_PACKET, type | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int reject_all(int fd)
{
	struct sock_filter reject = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { .len = 1, .filter = &reject };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
			  sizeof(program)) ?
		       -errno :
		       0;
}

static int request_ring(int fd, const struct config_source *source,
			uint32_t blocks)
{
	struct tpacket_req3 request = {
		.tp_block_size = source->ring_block,
		.tp_block_nr = blocks,
		.tp_frame_size = FRAME_SIZE,
		.tp_frame_nr = source->ring_block / FRAME_SIZE * blocks,
		.tp_retire_blk_tov = source->retire_timeout,
		.tp_sizeof_priv = PRIV_SIZE,
	};

	return setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request,
			  sizeof(request)) ?
		       -errno :
		       0;
}

/* Bytes that a ring may have: the rest is for arenas, and for others. */
static uint64_t ring_limit(void)
{
	return region_memory_available() / 2;
}

/* Without memory for all of it: three quarters, and again, down to a quarter.
 */
static int make_ring(int fd, const struct config_source *source,
		     struct priv_reply *reply)
{
	uint32_t wanted = (uint32_t)(source->ring_size / source->ring_block);
	uint64_t limit = ring_limit() / source->ring_block;
	uint32_t blocks = limit < wanted ? (uint32_t)limit : wanted;
	int err = blocks ? request_ring(fd, source, blocks) : -ENOMEM;

	while (err == -ENOMEM && blocks * 3 / 4 >= (wanted + 3) / 4 &&
	       blocks > 1) {
		blocks = blocks * 3 / 4;
		err = request_ring(fd, source, blocks);
	}
	if (err)
		return err;
	if (blocks < wanted)
		log_warn("source %s: memory for %u of %u ring blocks of %u "
			 "bytes only",
			 source->name, blocks, wanted, source->ring_block);
	reply->packet.block_size = source->ring_block;
	reply->packet.ring_size = (uint64_t)blocks * source->ring_block;
	return 0;
}

static int set_version(int fd, const struct config_source *source)
{
	int err = set_option(fd, SOL_PACKET, PACKET_VERSION, TPACKET_V3);

	if (!err)
		err = set_option(fd, SOL_PACKET, PACKET_RESERVE,
				 PACKET_RING_RESERVE);
	if (!err && source->ignore_outgoing)
		err = set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
	return err;
}

static int set_busy_poll(int fd, const struct config_source *source)
{
	int err = 0;

	if (source->busy_poll)
		err = set_option(fd, SOL_SOCKET, SO_BUSY_POLL,
				 (int)source->busy_poll);
	if (!err && source->prefer_busy_poll)
		err = set_option(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, 1);
	if (!err && source->busy_poll_budget)
		err = set_option(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET,
				 (int)source->busy_poll_budget);
	return err;
}

/* Asks the NIC to stamp; one that cannot leaves it to the kernel. */
static int set_clock(int fd, const struct config_source *source,
		     const char *interface)
{
	int err;

	if (source->clock != CLOCK_HARDWARE)
		return 0;
	err = offload_stamp(interface);
	if (err) {
		log_warn("source %s: %s has no hardware time stamps (%s): the "
			 "kernel stamps",
			 source->name, interface, strerror(-err));
		return 0;
	}
	return set_option(fd, SOL_PACKET, PACKET_TIMESTAMP,
			  SOF_TIMESTAMPING_RAW_HARDWARE);
}

static int set_promiscuous(int fd, unsigned ifindex)
{
	struct packet_mreq request = {
		.mr_ifindex = (int)ifindex,
		.mr_type = PACKET_MR_PROMISC,
	};

	return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request,
			  sizeof(request)) ?
		       -errno :
		       0;
}

static int bind_to(int fd, unsigned ifindex)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)ifindex,
	};

	return bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno :
									0;
}

static int join_fanout(int fd, const struct config_source *source,
		       const struct packet_socket *first)
{
	static const int modes[] = {
		[FANOUT_HASH] = PACKET_FANOUT_HASH,
		[FANOUT_LB] = PACKET_FANOUT_LB,
		[FANOUT_CPU] = PACKET_FANOUT_CPU,
		[FANOUT_ROLLOVER] = PACKET_FANOUT_ROLLOVER,
		[FANOUT_RANDOM] = PACKET_FANOUT_RND,
		[FANOUT_QM] = PACKET_FANOUT_QM,
	};
	int mode = modes[source->fanout], group = 0;
	socklen_t length = sizeof(group);

	if (source->fanout_defrag)
		mode |= PACKET_FANOUT_FLAG_DEFRAG;
	if (source->fanout_rollover)
		mode |= PACKET_FANOUT_FLAG_ROLLOVER;
	if (first->fd < 0)
		mode |= PACKET_FANOUT_FLAG_UNIQUEID;
	else if (getsockopt(first->fd, SOL_PACKET, PACKET_FANOUT, &group,
			    &length))
		return -errno;
	return set_option(fd, SOL_PACKET, PACKET_FANOUT,
			  (group & 0xffff) | mode << 16);
}

static int make_epoll(int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 1 };
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_fd < 0)
		return -errno;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		close(epoll_fd);
		return -errno;
	}
	return epoll_fd;
}

static int set_up(const struct config_source *source, const char *interface,
		  int fd, unsigned ifindex, const struct packet_socket *first,
		  struct priv_reply *reply)
{
	int err = set_version(fd, source);

	if (!err)
		err = reject_all(fd);
	if (!err)
		err = make_ring(fd, source, reply);
	if (!err)
		err = set_busy_poll(fd, source);
	if (!err)
		err = set_clock(fd, source, interface);
	if (!err && source->promiscuous)
		err = set_promiscuous(fd, ifindex);
	if (!err)
		err = bind_to(fd, ifindex);
	if (!err && source->lanes > 1)
		err = join_fanout(fd, source, first);
	return err ? err : make_epoll(fd);
}

/*
 * The configured filter was compiled for Ethernet: elsewhere it would read the
 * wrong bytes. (One instruction is no filter, only a snap length.)
 */
static bool filter_fits(const struct config_source *source, int link_type)
{
	return link_type == DLT_EN10MB || source->program_length <= 1;
}

/* One that stays the same is said once, though it is tried again and again. */
static void say_error(const struct config_source *source, const char *interface,
		      uint32_t lane, struct packet_socket *socket, int err)
{
	if (socket->said != err)
		log_error("source %s: lane %u on %s: %s%s", source->name, lane,
			  interface, strerror(-err),
			  err != -EMEDIUMTYPE ?
				  "" :
				  ": the filter of a source is for Ethernet, "
				  "which this interface is not: use it in the "
				  "channel instead");
	socket->said = err;
}

int asroot_packet_open(const struct config_source *source, uint32_t interface,
		       uint32_t lane, struct packet_socket *socket,
		       const struct packet_socket *first,
		       struct priv_reply *reply)
{
	const char *name = source->interfaces[interface];
	int ifindex = host_index(name);
	int link_type = ifindex < 0 ? ifindex : link_type_of(name);
	int fd, epoll_fd;

	asroot_packet_close(socket);
	fd = link_type < 0 ? link_type : open_socket(link_type);
	if (fd < 0)
		return fd;
	reply->packet.link_type = (uint32_t)link_type;
	reply->packet.mtu = mtu_of(name);
	epoll_fd = filter_fits(source, link_type) ?
			   set_up(source, name, fd, (unsigned)ifindex, first,
				  reply) :
			   -EMEDIUMTYPE;
	if (epoll_fd < 0) {
		say_error(source, name, lane, socket, epoll_fd);
		close(fd);
		return epoll_fd;
	}
	socket->fd = fd;
	socket->epoll_fd = epoll_fd;
	socket->is_started = false;
	socket->ring = reply->packet;
	return 0;
}

static bool can_be_kept(const struct packet_socket *socket)
{
	return socket->fd >= 0 && socket->is_started && !socket->is_broken;
}

static void keep_lane(struct packet_socket *socket, bool has_served)
{
	/* What the engine has not reported any more is of its time. */
	asroot_packet_stats(socket);
	socket->before = socket->counts;
	/* Killed while its captures came back, it knew of some only. */
	if (has_served)
		socket->wanted = socket->users;
	else
		users_raise(&socket->wanted, &socket->users);
	memset(&socket->users, 0, sizeof(socket->users));
	socket->is_broken = false;
}

void asroot_packet_keep(const struct config_source *source,
			struct packet_socket *sockets, bool has_served)
{
	for (uint32_t i = 0; i < source->interface_count; i++) {
		struct packet_socket *lanes = sockets + i * source->lanes;
		bool are_kept = true;

		for (uint32_t l = 0; l < source->lanes; l++) {
			are_kept &= can_be_kept(&lanes[l]);
			keep_lane(&lanes[l], has_served);
		}
		for (uint32_t l = 0; l < source->lanes; l++) {
			lanes[l].is_kept = are_kept;
			if (!are_kept)
				asroot_packet_close(&lanes[l]);
		}
	}
}

static bool is_bound_to(const struct packet_socket *socket, unsigned ifindex)
{
	struct sockaddr_ll bound = { 0 };
	socklen_t length = sizeof(bound);

	return getsockname(socket->fd, (struct sockaddr *)&bound, &length) ==
		       0 &&
	       bound.sll_ifindex == (int)ifindex;
}

bool asroot_packet_is_bound(const struct config_source *source,
			    uint32_t interface,
			    const struct packet_socket *socket)
{
	int ifindex = host_index(source->interfaces[interface]);

	return ifindex > 0 && is_bound_to(socket, (unsigned)ifindex);
}

int asroot_packet_lend(const struct config_source *source, uint32_t interface,
		       struct packet_socket *socket, struct priv_reply *reply)
{
	int epoll_fd;

	if (!asroot_packet_is_bound(source, interface, socket))
		return -ENODEV;
	epoll_fd = make_epoll(socket->fd);
	if (epoll_fd < 0)
		return epoll_fd;
	close(socket->epoll_fd);
	socket->epoll_fd = epoll_fd;
	socket->is_kept = false;
	reply->packet = socket->ring;
	reply->packet.is_kept = 1;
	reply->packet.users = socket->wanted;
	return 0;
}

static int set_filter(const struct config_source *source, int fd)
{
	struct sock_fprog program = {
		.len = (unsigned short)source->program_length,
		/* The kernel copies it; its type lacks the const. */
		.filter = (struct sock_filter *)(uintptr_t)source->program,
	};

	if (program.len == 0)
		return set_option(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
		       sizeof(program)))
		return -errno;
	return set_option(fd, SOL_SOCKET, SO_LOCK_FILTER, 1);
}

int asroot_packet_start(const struct config_source *source,
			struct packet_socket *socket)
{
	int err = socket->is_started ? 0 : set_filter(source, socket->fd);

	if (err && socket->said != err)
		log_error("source %s: its filter cannot be set: %s",
			  source->name, strerror(-err));
	socket->said = err;
	socket->is_started = err == 0;
	return err;
}

int asroot_packet_stats(struct packet_socket *socket)
{
	struct tpacket_stats_v3 stats;
	socklen_t length = sizeof(stats);

	if (socket->fd < 0)
		return 0;
	if (getsockopt(socket->fd, SOL_PACKET, PACKET_STATISTICS, &stats,
		       &length))
		return -errno;
	/* The call resets them. */
	socket->counts.packets += stats.tp_packets;
	socket->counts.drops += stats.tp_drops;
	socket->counts.freezes += stats.tp_freeze_q_cnt;
	return 0;
}

void asroot_packet_error(const struct config_source *source, uint32_t interface,
			 const struct packet_socket *socket,
			 struct priv_reply *reply)
{
	const char *name = source->interfaces[interface];
	struct ifreq request = { 0 };
	int ifindex = host_index(name);
	socklen_t length = sizeof(int);
	int error = 0;

	getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &error, &length);
	reply->link.error = error;
	if (ifindex == -ENODEV)
		reply->link.state = PRIV_LINK_GONE;
	/* One that went and came back may have its old index. */
	else if (ifindex > 0 && !is_bound_to(socket, (unsigned)ifindex))
		reply->link.state = PRIV_LINK_NEW;
	else if (host_ask(name, SIOCGIFFLAGS, &request) == 0 &&
		 !(request.ifr_flags & IFF_UP))
		reply->link.state = PRIV_LINK_DOWN;
	else
		reply->link.state = PRIV_LINK_UP;
}

void asroot_packet_close(struct packet_socket *socket)
{
	if (socket->fd < 0)
		return;
	asroot_packet_stats(socket);
	close(socket->epoll_fd);
	held_ring_let_go(socket->fd);
	socket->fd = -1;
	socket->is_kept = false;
}
