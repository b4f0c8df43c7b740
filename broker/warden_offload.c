// SPDX-License-Identifier: BSD-2-Clause
/*
 * What we change of an interface while a source wants that, and put back then:
 * the NIC's and the stack's habit of merging packets and hiding their VLAN
 * tags, and which packets the NIC stamps.
 */
#include "warden_offload.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/net_tstamp.h>
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
#include "warden_host.h"

#define SAVED_MAX (CONFIG_SOURCES_MAX * CONFIG_INTERFACES_MAX)
#define MERGING_FLAGS (ETH_FLAG_LRO | ETH_FLAG_RXVLAN)

static struct saved {
	char interface[IFNAMSIZ];
	uint32_t gro;
	uint32_t flags; /* of MERGING_FLAGS, those that were on */
	bool has_clock;
	struct hwtstamp_config clock; /* as it was */
} saved[SAVED_MAX];
static unsigned saved_count;

static int ethtool(const char *interface, uint32_t command, uint32_t *value)
{
	struct ethtool_value request = { .cmd = command, .data = *value };
	struct ifreq ifr = { .ifr_data = (char *)&request };
	int err = host_ask(interface, SIOCETHTOOL, &ifr);

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
	saved[saved_count] = (struct saved){ .gro = 0 };
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

static int clock_ioctl(const char *interface, unsigned long request,
		       struct hwtstamp_config *clock)
{
	struct ifreq ifr = { .ifr_data = (char *)clock };

	return host_ask(interface, request, &ifr);
}

int offload_stamp(const char *interface)
{
	struct hwtstamp_config before = { 0 }, clock;
	struct saved *s = find(interface);
	bool is_known = clock_ioctl(interface, SIOCGHWTSTAMP, &before) == 0;
	int err;

	if (is_known && before.rx_filter == HWTSTAMP_FILTER_ALL)
		return 0;
	clock = before; /* what is sent is stamped as somebody wants it */
	clock.rx_filter = HWTSTAMP_FILTER_ALL;
	err = clock_ioctl(interface, SIOCSHWTSTAMP, &clock);
	if (!err && s && is_known && !s->has_clock) {
		s->has_clock = true;
		s->clock = before;
	}
	return err;
}

bool offload_strips_tags(const char *interface)
{
	uint32_t flags = 0;

	return ethtool(interface, ETHTOOL_GFLAGS, &flags) == 0 &&
	       flags & ETH_FLAG_RXVLAN;
}

static void put_clock_back(struct saved *s)
{
	int err = clock_ioctl(s->interface, SIOCSHWTSTAMP, &s->clock);

	if (err)
		log_warn("%s: cannot put its time stamps back: %s",
			 s->interface, strerror(-err));
}

static void put_offloads_back(const struct saved *s)
{
	uint32_t flags = 0;

	if (s->gro)
		change(s->interface, ETHTOOL_SGRO, 1, "GRO");
	if (s->flags && ethtool(s->interface, ETHTOOL_GFLAGS, &flags) == 0)
		change(s->interface, ETHTOOL_SFLAGS, flags | s->flags,
		       "LRO and VLAN stripping");
}

/* What a source wants of an interface. */
struct wish {
	bool offloads_off;
	bool clock;
};

static struct wish wish_for(const struct config *config, const char *interface)
{
	struct wish wish = { false, false };

	for (uint32_t s = 0; s < config->source_count; s++) {
		const struct config_source *source = &config->sources[s];

		for (uint32_t i = 0; i < source->interface_count; i++) {
			if (strcmp(source->interfaces[i], interface) != 0)
				continue;
			wish.offloads_off |= source->offloads_off;
			wish.clock |= source->clock == CLOCK_HARDWARE;
		}
	}
	return wish;
}

/* Returns whether there is nothing left to put back. */
static bool restore(struct saved *s, const struct wish *wish)
{
	if (host_index(s->interface) == -ENODEV)
		return !wish->offloads_off && !wish->clock;
	if (!wish->offloads_off) {
		put_offloads_back(s);
		s->gro = s->flags = 0;
	}
	if (!wish->clock && s->has_clock) {
		put_clock_back(s);
		s->has_clock = false;
	}
	return !s->gro && !s->flags && !s->has_clock;
}

void offload_restore_others(const struct config *config)
{
	for (unsigned i = saved_count; i-- > 0;) {
		struct wish wish = wish_for(config, saved[i].interface);

		if (restore(&saved[i], &wish))
			saved[i] = saved[--saved_count];
	}
}

void offload_restore(void)
{
	const struct wish none = { false, false };

	while (saved_count > 0)
		restore(&saved[--saved_count], &none);
}
