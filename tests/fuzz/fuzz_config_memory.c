// SPDX-License-Identifier: BSD-2-Clause
/*
 * A configuration as memory, as the unprivileged parser may have left it for
 * the warden: what config_is_sane() accepts is in range in each field that the
 * warden and the engine go by.
 * Input: changes to a good one: field (2 bytes of where), value.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>

#include "config.h"

static void make_good(struct config *config)
{
	config_init(config);
	assert(config_add_interface(config, "lan", stderr) == 0);
	assert(config_add_interface(config, "wan:xdp", stderr) == 0);
	assert(config_add_file(config, "/proc/self/exe", true, stderr) == 0);
	config->sources[1].lanes = 2;
	config->sources[1].queue_count = 2;
	config->sources[1].queues[1] = 5;
	memcpy(config->channels[1].filter, "udp", 4);
	config->channels[1].allow_count = 1;
}

/*
 * Most of the memory is text and programs. What an input can change is picked
 * from the words around them, and now and then from all of it.
 */
static size_t where(struct input *in)
{
	uint32_t kind = input_byte(in), offset = input_byte(in);
	size_t start = 0, size = offsetof(struct config, sources);

	switch (kind & 7) {
	case 0:
	case 1:
		start = offsetof(struct config, sources[kind >> 3 & 3]);
		size = offsetof(struct config_source, program);
		break;
	case 2:
		start = offsetof(struct config, sources[kind >> 3 & 3]) +
			offsetof(struct config_source, queue_count);
		size = sizeof(struct config_source) -
		       offsetof(struct config_source, queue_count);
		break;
	case 3:
	case 4:
		start = offsetof(struct config, channels[kind >> 3 & 3]) +
			offsetof(struct config_channel, snaplen);
		size = sizeof(struct config_channel) -
		       offsetof(struct config_channel, snaplen);
		break;
	case 5:
		start = offsetof(struct config, channels[kind >> 3 & 3]);
		size = sizeof(struct config_channel);
		break;
	case 6:
		break;
	default:
		size = sizeof(struct config);
	}
	offset = offset << 8 | input_byte(in);
	return start + offset * 4u % size / 4 * 4;
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, '\0', size);
}

static void check_source(const struct config_source *source)
{
	assert(ends(source->name, sizeof(source->name)) && source->name[0]);
	assert(source->backend <= BACKEND_REPLAY);
	assert(source->interface_count <= CONFIG_INTERFACES_MAX);
	for (uint32_t i = 0; i < source->interface_count; i++)
		assert(strnlen(source->interfaces[i], NR_NAME_MAX) < 16);
	assert(source->lanes >= 1 && source->lanes <= NR_LANES_MAX);
	assert(source->program_length <= CONFIG_PROGRAM_MAX);
	assert(source->queue_count <= NR_LANES_MAX);
	assert(ends(source->file, sizeof(source->file)));
	assert(source->rate_mode <= RATE_FIXED);
	if (source->backend == BACKEND_PACKET)
		assert(source->ring_block && source->ring_size &&
		       source->ring_block <= source->ring_size);
	if (source->backend == BACKEND_XDP && source->queue_count)
		assert(source->lanes <= NR_LANES_MAX);
	if (source->rate_mode == RATE_FIXED)
		assert(source->rate > 0);
}

static void check_channel(const struct config *config,
			  const struct config_channel *channel)
{
	assert(ends(channel->name, sizeof(channel->name)) && channel->name[0]);
	assert(channel->source < config->source_count);
	assert(ends(channel->filter, sizeof(channel->filter)));
	assert(channel->allow_count <= CONFIG_ALLOW_MAX);
	assert(channel->block_size >= 128 << 10);
	assert(channel->arena_size <= NR_ARENA_MAX);
	assert(channel->arena_size / channel->block_size >= 4);
	assert(channel->guaranteed >= 1 && channel->guaranteed <= 99);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config *good;
	struct input in = { data, size };
	struct config *config = malloc(sizeof(*config));

	if (!good) {
		good = malloc(sizeof(*good));
		assert(good);
		make_good(good);
		assert(config_is_sane(good));
	}
	assert(config);
	memcpy(config, good, sizeof(*config));
	for (int i = 0; i < 64 && in.left; i++) {
		size_t offset = where(&in);
		uint32_t value = input_u32(&in);

		memcpy((char *)config + offset, &value, sizeof(value));
	}
	if (config_is_sane(config)) {
		assert(ends(config->socket, sizeof(config->socket)));
		assert(ends(config->user, sizeof(config->user)));
		assert(ends(config->group, sizeof(config->group)));
		assert(config->attach_rate > 0);
		for (uint32_t i = 0; i < config->source_count; i++)
			check_source(&config->sources[i]);
		for (uint32_t i = 0; i < config->channel_count; i++)
			check_channel(config, &config->channels[i]);
	}
	free(config);
	return 0;
}
