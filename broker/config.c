/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A configuration as memory: what holds when nothing is said, the short forms
 * of the command line, and whether one that came from a less trusted process
 * can be believed.
 */
#include "config.h"

#include <grp.h>
#include <string.h>

#include "config_private.h"

#define MIB (1024 * 1024)

void config_init(struct config *config)
{
	const struct group *group = getgrnam("netring");

	memset(config, 0, sizeof(*config));
	memcpy(config->socket, NR_SOCKET_DEFAULT, sizeof(NR_SOCKET_DEFAULT));
	config->socket_gid_set = group;
	config->socket_gid = group ? group->gr_gid : 0;
	config->max_connections = 64;
	config->max_captures = 64;
	config->max_guaranteed = 256;
	config->max_memory = 64 * MIB;
	config->attach_rate = 20;
}

void config_source_init(struct config_source *source, const char *name)
{
	memset(source, 0, sizeof(*source));
	strncpy(source->name, name, sizeof(source->name) - 1);
	source->backend = BACKEND_PACKET;
	source->lanes = 1;
	source->fanout = FANOUT_HASH;
	source->ring_size = 64 * MIB;
	source->ring_block = MIB / 2;
	source->retire_timeout = 8;
	source->clock = CLOCK_SOFTWARE;
	source->frame_size = 2048;
	source->frame_count = 32768;
	source->fill_ring = 8192;
	source->completion_ring = 64;
	source->rx_ring = 4096;
	source->need_wakeup = true;
	source->rate_mode = RATE_MAX;
	source->wait = 1;
	source->cpu = -1;
	source->priority = -1;
}

void config_channel_init(struct config_channel *channel, const char *name)
{
	memset(channel, 0, sizeof(*channel));
	strncpy(channel->name, name, sizeof(channel->name) - 1);
	channel->arena_size = 64 * MIB;
	channel->block_size = 256 * 1024;
	channel->guaranteed = 50;
	channel->show_counts =
		true; /* without a filter they give nothing away */
}

/* ------------------------------------------------------------ short forms */

/* What is no name is made one. */
static void make_name(char *name, const char *text, size_t length)
{
	if (length >= NR_NAME_MAX)
		length = NR_NAME_MAX - 1;
	for (size_t i = 0; i < length; i++) {
		char one[2] = { text[i], '\0' };

		name[i] = '-';
		if (config_name_is_valid(one))
			name[i] = text[i];
	}
	name[length] = '\0';
}

/* A source and a channel on it; the source, or NULL after a message. */
static struct config_source *add_pair(struct config *config, const char *name,
				      bool everyone, FILE *errors)
{
	struct config_source *source;
	struct config_channel *channel;

	for (uint32_t i = 0; i < config->source_count; i++)
		if (strcmp(config->sources[i].name, name) == 0)
			goto taken;
	for (uint32_t i = 0; i < config->channel_count; i++)
		if (strcmp(config->channels[i].name, name) == 0)
			goto taken;
	if (config->source_count == CONFIG_SOURCES_MAX ||
	    config->channel_count == CONFIG_CHANNELS_MAX) {
		fprintf(errors,
			"%s: there can be at most %d sources and %d channels\n",
			name, CONFIG_SOURCES_MAX, CONFIG_CHANNELS_MAX);
		return NULL;
	}
	source = &config->sources[config->source_count];
	channel = &config->channels[config->channel_count];
	config_source_init(source, name);
	config_channel_init(channel, name);
	channel->source = config->source_count++;
	channel->allow_everyone = everyone;
	config->channel_count++;
	return source;
taken:
	fprintf(errors,
		"%s: there is a source or channel of this name already; "
		"names must differ\n",
		name);
	return NULL;
}

static int complain(FILE *errors, const char *option, const char *value,
		    const char *right)
{
	fprintf(errors, "%s %s: %s\n", option, value, right);
	return 1;
}

int config_add_interface(struct config *config, const char *spec, FILE *errors)
{
	size_t length = strcspn(spec, ":");
	struct config_source *source;
	char interface[NR_NAME_MAX] = "", name[NR_NAME_MAX];

	bool is_xdp = strcmp(spec + length, ":xdp") == 0;

	if (spec[length] && !is_xdp && strcmp(spec + length, ":af_packet") != 0)
		return complain(errors, "-i", spec,
				"must be IFACE, IFACE:af_packet or IFACE:xdp");
	if (length >= sizeof(interface))
		length = sizeof(interface) - 1;
	memcpy(interface, spec, length);
	interface[length] = '\0';
	if (!config_interface_is_valid(interface))
		return complain(errors, "-i", spec,
				"an interface's name has 1 to 15 characters, "
				"without / and blanks");
	make_name(name, interface, length);
	source = add_pair(config, name, false, errors);
	if (!source)
		return 1;
	source->backend = is_xdp ? BACKEND_XDP : BACKEND_PACKET;
	source->interface_count = 1;
	memcpy(source->interfaces[0], interface, sizeof(interface));
	return 0;
}

int config_add_file(struct config *config, const char *path, bool everyone,
		    FILE *errors)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	const char *ending = strrchr(base, '.');
	struct config_source *source;
	char name[NR_NAME_MAX], right[RIGHT_MAX];
	size_t length = strlen(base);

	if (strlen(path) >= CONFIG_PATH_MAX)
		return complain(errors, "-r", path, "too long a path");
	if (!config_file_is_there(path, right))
		return complain(errors, "-r", path, right);
	if (ending && ending > base)
		length = (size_t)(ending - base);
	make_name(name, base, length);
	source = add_pair(config, name, everyone, errors);
	if (!source)
		return 1;
	source->backend = BACKEND_REPLAY;
	memcpy(source->file, path, strlen(path) + 1);
	return 0;
}

/* ----------------------------------------------------------------- sanity */

static bool flag_is_sane(const bool *flag)
{
	return *(const unsigned char *)flag <= 1;
}

static bool source_is_sane(const struct config_source *source)
{
	char right[RIGHT_MAX];

	if (!config_name_is_valid(source->name) ||
	    !config_keys_are_sane(config_source_keys, source) ||
	    source->interface_count > CONFIG_INTERFACES_MAX ||
	    source->program_length > CONFIG_PROGRAM_MAX ||
	    !config_queues_are_sane(source) || source->rate_mode > RATE_FIXED ||
	    (source->rate_mode == RATE_FIXED &&
	     (!source->rate || source->rate > CONFIG_RATE_MAX)))
		return false;
	for (uint32_t i = 0; i < source->interface_count; i++)
		if (!config_interface_is_valid(source->interfaces[i]))
			return false;
	if (source->backend == BACKEND_REPLAY)
		return *source->file && !source->interface_count;
	return source->interface_count && config_source_fits(source, right);
}

static bool channel_is_sane(const struct config *config,
			    const struct config_channel *channel)
{
	char right[RIGHT_MAX];

	if (!config_name_is_valid(channel->name) ||
	    !config_keys_are_sane(config_channel_keys, channel) ||
	    channel->source >= config->source_count ||
	    !flag_is_sane(&channel->allow_everyone) ||
	    channel->allow_count > CONFIG_ALLOW_MAX)
		return false;
	for (uint32_t i = 0; i < channel->allow_count; i++)
		if (!flag_is_sane(&channel->allow[i].is_group) ||
		    channel->allow[i].id == UINT32_MAX)
			return false;
	return config_channel_fits(channel, right);
}

/* Called when all names are known to be terminated. */
static bool names_differ(const struct config *config)
{
	for (uint32_t i = 0; i < config->source_count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(config->sources[i].name,
				   config->sources[j].name) == 0)
				return false;
	for (uint32_t i = 0; i < config->channel_count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(config->channels[i].name,
				   config->channels[j].name) == 0)
				return false;
	return true;
}

bool config_is_sane(const struct config *config)
{
	if (!config_keys_are_sane(config_broker_keys, config) ||
	    !flag_is_sane(&config->socket_gid_set) ||
	    config->source_count > CONFIG_SOURCES_MAX ||
	    config->channel_count > CONFIG_CHANNELS_MAX)
		return false;
	for (uint32_t i = 0; i < config->source_count; i++)
		if (!source_is_sane(&config->sources[i]))
			return false;
	for (uint32_t i = 0; i < config->channel_count; i++)
		if (!channel_is_sane(config, &config->channels[i]))
			return false;
	return names_differ(config);
}

bool config_source_is_same(const struct config_source *a,
			   const struct config_source *b)
{
	/* All padding is zero: both were made by config_source_init(). */
	const size_t behind =
		offsetof(struct config_source, line) + sizeof(a->line);

	return memcmp(a, b, offsetof(struct config_source, line)) == 0 &&
	       memcmp((const char *)a + behind, (const char *)b + behind,
		      sizeof(*a) - behind) == 0;
}
