// SPDX-License-Identifier: BSD-2-Clause
/* What the host does with an interface, as its kernel says. */
#include "warden_host.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool ask(const char *name, unsigned long question, struct ifreq *request)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool is_answered;

	if (fd < 0)
		return false;
	snprintf(request->ifr_name, IFNAMSIZ, "%s", name);
	is_answered = ioctl(fd, question, request) == 0;
	close(fd);
	return is_answered;
}

void host_look(struct host_interface *interface, const char *name)
{
	struct ifreq request = { 0 };

	*interface = (struct host_interface){
		.index = if_nametoindex(name),
	};
	if (interface->index == 0)
		return;
	if (ask(name, SIOCGIFFLAGS, &request))
		interface->is_up = request.ifr_flags & IFF_UP;
	if (ask(name, SIOCGIFHWADDR, &request)) {
		interface->type = request.ifr_hwaddr.sa_family;
		memcpy(interface->mac, request.ifr_hwaddr.sa_data,
		       sizeof(interface->mac));
	}
	if (ask(name, SIOCGIFMTU, &request))
		interface->mtu = (uint32_t)request.ifr_mtu;
}

uint32_t host_queues(const char *name)
{
	struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq request = { .ifr_data = (char *)&channels };
	uint32_t count = 0;

	if (ask(name, SIOCETHTOOL, &request))
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

static bool is_link_local(const struct sockaddr *address)
{
	const struct sockaddr_in6 *in6 = (const void *)address;

	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr);
}

static bool has_address(const char *name, char *why, size_t size)
{
	struct ifaddrs *all, *one;
	char text[INET6_ADDRSTRLEN] = "";
	bool found = false;

	if (getifaddrs(&all))
		return false;
	for (one = all; one && !found; one = one->ifa_next) {
		const void *bytes;

		if (!one->ifa_addr || strcmp(one->ifa_name, name) != 0)
			continue;
		if (one->ifa_addr->sa_family == AF_INET)
			bytes = &((struct sockaddr_in *)(void *)one->ifa_addr)
					 ->sin_addr;
		else if (one->ifa_addr->sa_family == AF_INET6 &&
			 !is_link_local(one->ifa_addr))
			bytes = &((struct sockaddr_in6 *)(void *)one->ifa_addr)
					 ->sin6_addr;
		else
			continue;
		inet_ntop(one->ifa_addr->sa_family, bytes, text, sizeof(text));
		found = true;
	}
	freeifaddrs(all);
	if (found)
		snprintf(why, size, "has the address %s", text);
	return found;
}

/*
 * Lines of the kernel's: "IFACE DESTINATION ..." for IPv4, with MASK in the
 * eighth column; "DESTINATION LENGTH ... IFACE" for IPv6.
 */
static bool has_default_route(const char *name, char *why, size_t size)
{
	char line[256], interface[32];
	unsigned long destination, mask;
	unsigned length;
	bool found = false;
	FILE *file = fopen("/proc/net/route", "re");

	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%31s %lx %*x %*x %*d %*d %*d %lx",
			       interface, &destination, &mask) == 3 &&
			destination == 0 && mask == 0 &&
			strcmp(interface, name) == 0;
	if (file)
		fclose(file);
	file = found ? NULL : fopen("/proc/net/ipv6_route", "re");
	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line,
			       "%*32s %x %*s %*s %*s %*s %*s %*s %*s %31s",
			       &length, interface) == 2 &&
			length == 0 && strspn(line, "0") >= 32 &&
			strcmp(interface, name) == 0;
	if (file)
		fclose(file);
	if (found)
		snprintf(why, size, "holds the default route");
	return found;
}

bool host_needs(const char *name, char *why, size_t size)
{
	return has_address(name, why, size) ||
	       has_default_route(name, why, size);
}
