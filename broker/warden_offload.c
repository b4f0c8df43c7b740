// SPDX-License-Identifier: BSD-2-Clause
/*
 * The NIC's and the stack's habit of merging packets and hiding their VLAN
 * tags: turned off by ethtool's ioctl while we capture, and put back at the
 * end.
 */
#include "warden_offload.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "log.h"

#define SAVED_MAX (CONFIG_SOURCES_MAX * CONFIG_INTERFACES_MAX)
#define MERGING_FLAGS (ETH_FLAG_LRO | ETH_FLAG_RXVLAN)

static struct saved {
	char interface[IFNAMSIZ];
	uint32_t gro;
	uint32_t flags; /* of MERGING_FLAGS, those that were on */
} saved[SAVED_MAX];
static unsigned saved_count;

static int ethtool(const char *interface, uint32_t command, uint32_t *value)
{
	struct ethtool_value request = { .cmd = command, .data = *value };
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", interface);
	ifr.ifr_data = (char *)&request;
	err = ioctl(fd, SIOCETHTOOL, &ifr) ? -errno : 0;
	close(fd);
	*value = request.data;
	return err;
}

static void change(const char *interface, uint32_t command, uint32_t value,
		   const char *what)
{
	int err = ethtool(interface, command, &value);

	if (err)
		log_warn("%s: cannot change %s: %s", interface, what,
			 strerror(-err));
}

static struct saved *find(const char *interface)
{
	for (unsigned i = 0; i < saved_count; i++)
		if (strcmp(saved[i].interface, interface) == 0)
			return &saved[i];
	if (saved_count == SAVED_MAX)
		return NULL;
	snprintf(saved[saved_count].interface, IFNAMSIZ, "%s", interface);
	return &saved[saved_count++];
}

void offload_off(const char *interface)
{
	struct saved *s = find(interface);
	uint32_t gro = 0, flags = 0;

	if (!s)
		return;
	if (ethtool(interface, ETHTOOL_GGRO, &gro) == 0 && gro) {
		s->gro = gro;
		change(interface, ETHTOOL_SGRO, 0, "GRO");
	}
	if (ethtool(interface, ETHTOOL_GFLAGS, &flags) == 0 &&
	    flags & MERGING_FLAGS) {
		s->flags |= flags & MERGING_FLAGS;
		change(interface, ETHTOOL_SFLAGS,
		       flags & ~(uint32_t)MERGING_FLAGS,
		       "LRO and VLAN stripping");
	}
}

bool offload_strips_tags(const char *interface)
{
	uint32_t flags = 0;

	return ethtool(interface, ETHTOOL_GFLAGS, &flags) == 0 &&
	       flags & ETH_FLAG_RXVLAN;
}

void offload_restore(void)
{
	uint32_t flags;

	for (unsigned i = 0; i < saved_count; i++) {
		struct saved *s = &saved[i];

		flags = 0;
		if (!if_nametoindex(s->interface))
			continue;
		if (s->gro)
			change(s->interface, ETHTOOL_SGRO, 1, "GRO");
		if (s->flags &&
		    ethtool(s->interface, ETHTOOL_GFLAGS, &flags) == 0)
			change(s->interface, ETHTOOL_SFLAGS, flags | s->flags,
			       "LRO and VLAN stripping");
	}
	saved_count = 0;
}
