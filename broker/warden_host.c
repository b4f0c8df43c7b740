// SPDX-License-Identifier: BSD-2-Clause
/* What the host does with an interface, as its kernel says. */
#include "warden_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IFAPROT_KERNEL_LL
#define IFA_PROTO 11
#define IFAPROT_KERNEL_LL 3
#endif

int host_ask(const char *name, unsigned long question, struct ifreq *request)
{
	static int fd = -1;

	if (fd < 0)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(request->ifr_name, IFNAMSIZ, "%s", name);
	return ioctl(fd, question, request) ? -errno : 0;
}

int host_index(const char *name)
{
	struct ifreq request = { 0 };
	int err = host_ask(name, SIOCGIFINDEX, &request);

	return err ? err : request.ifr_ifindex;
}

int host_look(struct host_interface *interface, const char *name)
{
	struct ifreq flags = { 0 }, address = { 0 }, mtu = { 0 };
	int index = host_index(name), err = index < 0 ? index : 0;

	if (!err)
		err = host_ask(name, SIOCGIFFLAGS, &flags);
	if (!err)
		err = host_ask(name, SIOCGIFHWADDR, &address);
	if (!err)
		err = host_ask(name, SIOCGIFMTU, &mtu);
	if (err)
		return err;
	*interface = (struct host_interface){
		.index = (unsigned)index,
		.is_up = flags.ifr_flags & IFF_UP,
		.type = address.ifr_hwaddr.sa_family,
		.mtu = (uint32_t)mtu.ifr_mtu,
	};
	memcpy(interface->mac, address.ifr_hwaddr.sa_data,
	       sizeof(interface->mac));
	return 0;
}

uint32_t host_queues(const char *name)
{
	struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq request = { .ifr_data = (char *)&channels };
	uint32_t count = 0;

	if (host_ask(name, SIOCETHTOOL, &request) == 0)
		count = channels.rx_count + channels.combined_count;
	return count ? count : 1;
}

void host_count_queues(struct config_source *source)
{
	uint32_t least = UINT32_MAX;

	if (source->backend != BACKEND_XDP || source->queue_count > 0)
		return;
	for (uint32_t i = 0; i < source->interface_count; i++) {
		uint32_t count = host_queues(source->interfaces[i]);

		if (count < least)
			least = count;
	}
	source->lanes = least;
}

/* --------------------------------------------------- what the host has there
 */

/* A question to the kernel's tables, asked of each entry. */
struct question {
	unsigned ifindex;
	char *why; /* the answer, for a person */
	size_t size;
	bool (*fits)(const struct nlmsghdr *entry,
		     const struct question *question);
};

struct request {
	struct nlmsghdr header;
	union {
		struct ifaddrmsg address;
		struct ifinfomsg link;
		struct {
			struct rtmsg route;
			struct rtattr attribute;
			uint32_t ifindex;
		} of;
	};
};

/*
 * By index, not by name: an address may have a label of its own (eth0:1, or
 * whatever somebody called it). One that the kernel itself gives to every
 * interface that is up means nothing.
 */
static bool is_address(const struct nlmsghdr *entry,
		       const struct question *question)
{
	const struct ifaddrmsg *address = NLMSG_DATA(entry);
	const struct rtattr *a = IFA_RTA(address);
	unsigned left = (unsigned)IFA_PAYLOAD(entry);
	char text[INET6_ADDRSTRLEN] = "?";
	const void *bytes = NULL;
	uint8_t origin = 0;

	if (entry->nlmsg_type != RTM_NEWADDR ||
	    address->ifa_index != question->ifindex)
		return false;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFA_LOCAL ||
		    (a->rta_type == IFA_ADDRESS && !bytes))
			bytes = RTA_DATA(a);
		else if (a->rta_type == IFA_PROTO)
			origin = *(const uint8_t *)RTA_DATA(a);
	if (origin == IFAPROT_KERNEL_LL)
		return false;
	if (bytes)
		inet_ntop(address->ifa_family, bytes, text, sizeof(text));
	snprintf(question->why, question->size, "has the address %s", text);
	return true;
}

static bool goes_through(const struct rtattr *hops, unsigned ifindex)
{
	const struct rtnexthop *hop = RTA_DATA(hops);
	int left = (int)RTA_PAYLOAD(hops);

	for (; RTNH_OK(hop, left);
	     left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
		if ((unsigned)hop->rtnh_ifindex == ifindex)
			return true;
	return false;
}

/*
 * Of any table. By a nexthop object that the kernel does not spell out: one
 * that knows of these sends only what is of the interface.
 */
static bool is_default_route(const struct nlmsghdr *entry,
			     const struct question *question)
{
	const struct rtmsg *route = NLMSG_DATA(entry);
	const struct rtattr *a = RTM_RTA(route);
	unsigned left = (unsigned)RTM_PAYLOAD(entry);
	bool found = false;

	if (entry->nlmsg_type != RTM_NEWROUTE || route->rtm_dst_len != 0 ||
	    route->rtm_type != RTN_UNICAST)
		return false;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == RTA_OIF)
			found |= *(const uint32_t *)RTA_DATA(a) ==
				 question->ifindex;
		else if (a->rta_type == RTA_MULTIPATH)
			found |= goes_through(a, question->ifindex);
		else if (a->rta_type == RTA_NH_ID)
			found = true; /* the kernel has looked which it is */
	if (found)
		snprintf(question->why, question->size,
			 "holds the default route");
	return found;
}

/* Kinds of interface that live on another's packets; a veth has a peer. */
static bool is_on_top(const struct rtattr *info)
{
	static const char *const kinds[] = { "vlan",   "macvlan", "macvtap",
					     "ipvlan", "ipvtap",  "macsec" };
	const struct rtattr *a = RTA_DATA(info);
	unsigned left = (unsigned)RTA_PAYLOAD(info);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (a->rta_type == IFLA_INFO_KIND &&
			    strncmp(RTA_DATA(a), kinds[i], RTA_PAYLOAD(a)) == 0)
				return true;
	return false;
}

/* A port of a bridge, a bond, ...; or below a VLAN, a macvlan, ... */
static bool is_carrier(const struct nlmsghdr *entry,
		       const struct question *question)
{
	const struct ifinfomsg *link = NLMSG_DATA(entry);
	const struct rtattr *a = IFLA_RTA(link);
	unsigned left = (unsigned)IFLA_PAYLOAD(entry);
	uint32_t master = 0, below = 0;
	bool is_here = true, is_upper = false;
	char name[IFNAMSIZ] = "?";

	if (entry->nlmsg_type != RTM_NEWLINK)
		return false;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFLA_MASTER)
			master = *(const uint32_t *)RTA_DATA(a);
		else if (a->rta_type == IFLA_LINK)
			below = *(const uint32_t *)RTA_DATA(a);
		else if (a->rta_type == IFLA_LINK_NETNSID)
			is_here = false; /* what is below is elsewhere */
		else if (a->rta_type == IFLA_LINKINFO)
			is_upper = is_on_top(a);
	if ((unsigned)link->ifi_index == question->ifindex && master) {
		if_indextoname(master, name);
		snprintf(question->why, question->size, "is a port of %s",
			 name);
		return true;
	}
	if (below != question->ifindex || !is_here || !is_upper)
		return false;
	if_indextoname((unsigned)link->ifi_index, name);
	snprintf(question->why, question->size, "carries %s", name);
	return true;
}

/* Reads the answer to its end. 1: an entry fits, 0: none does, or -errno. */
static int read_answer(int fd, const struct question *question)
{
	static uint8_t buffer[65536] __attribute__((aligned(NLMSG_ALIGNTO)));
	int found = 0;

	for (;;) {
		const struct nlmsghdr *entry = (void *)buffer;
		ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_TRUNC);
		unsigned left = (unsigned)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || (size_t)n > sizeof(buffer))
			return n < 0 ? -errno : -EMSGSIZE;
		for (; NLMSG_OK(entry, left); entry = NLMSG_NEXT(entry, left)) {
			const struct nlmsgerr *error = NLMSG_DATA(entry);

			if (entry->nlmsg_type == NLMSG_DONE)
				return found;
			if (entry->nlmsg_type == NLMSG_ERROR)
				return error->error ? error->error : -EPROTO;
			if (!found && question->fits(entry, question))
				found = 1;
		}
	}
}

static int ask_table(struct request *request, size_t body,
		     const struct question *question)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	const int on = 1;
	int found;

	if (fd < 0)
		return -errno;
	/* The kernel then sends what is of the interface; else everything. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on,
			 sizeof(on));
	request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
	request->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	if (send(fd, request, request->header.nlmsg_len, 0) < 0)
		found = -errno;
	else
		found = read_answer(fd, question);
	close(fd);
	return found;
}

static int has_address(int family, const struct question *question)
{
	struct request request = {
		.header.nlmsg_type = RTM_GETADDR,
		.address = { .ifa_family = (uint8_t)family,
			     .ifa_index = question->ifindex },
	};

	return ask_table(&request, sizeof(request.address), question);
}

static int has_default_route(int family, const struct question *question)
{
	struct request request = {
		.header.nlmsg_type = RTM_GETROUTE,
		.of = { .route.rtm_family = (uint8_t)family,
			.attribute = { .rta_len = RTA_LENGTH(sizeof(uint32_t)),
				       .rta_type = RTA_OIF },
			.ifindex = question->ifindex },
	};

	return ask_table(&request, sizeof(request.of), question);
}

static int carries_others(const struct question *question)
{
	struct request request = { .header.nlmsg_type = RTM_GETLINK };

	return ask_table(&request, sizeof(request.link), question);
}

bool host_needs(const char *name, char *why, size_t size)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct question question = { .why = why, .size = size };
	int found = 0, index = host_index(name);

	if (index == -ENODEV)
		return false; /* there is none to be taken */
	if (index < 0)
		found = index;
	question.ifindex = (unsigned)index;
	question.fits = is_address;
	for (int i = 0; i < 2 && found == 0; i++)
		found = has_address(families[i], &question);
	question.fits = is_default_route;
	for (int i = 0; i < 2 && found == 0; i++)
		found = has_default_route(families[i], &question);
	question.fits = is_carrier;
	if (found == 0)
		found = carries_others(&question);
	if (found < 0)
		snprintf(why, size, "may be needed by the host (%s)",
			 strerror(-found));
	return found != 0;
}
