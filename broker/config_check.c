/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules that are about more than one key, or about the world: each says what
 * would be right, so that the parser can tell a person, and the warden can use
 * it to believe nothing.
 */
#include "config_private.h"

#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <pcap/dlt.h>

#include "filter.h"

#define MIB (1024 * 1024)

bool config_name_is_valid(const char *name)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789_.-";
	size_t length = strnlen(name, NR_NAME_MAX);

	return length > 0 && length < NR_NAME_MAX &&
	       strspn(name, chars) == length;
}

/* As the kernel's dev_valid_name(), less what a terminal would obey. */
bool config_interface_is_valid(const char *name)
{
	size_t length = strnlen(name, IFNAMSIZ);

	if (!length || length == IFNAMSIZ || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < length; i++)
		if (strchr("/:", name[i]) || isspace((unsigned char)name[i]) ||
		    iscntrl((unsigned char)name[i]))
			return false;
	return true;
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static bool interfaces_fit(const struct config_source *source, char *right)
{
	uint32_t count = source->interface_count;

	for (uint32_t i = 0; i < count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(source->interfaces[i],
				   source->interfaces[j]) == 0) {
				snprintf(right, RIGHT_MAX,
					 "interface = %s: name each interface "
					 "once",
					 source->interfaces[i]);
				return false;
			}
	if (count * source->lanes <= NR_LANES_MAX)
		return true;
	snprintf(right, RIGHT_MAX,
		 "%s = %u: %u interfaces make %u lanes, a source has at "
		 "most %d: at most %u",
		 source->backend == BACKEND_XDP ? "queues" : "lanes",
		 source->lanes, count, count * source->lanes, NR_LANES_MAX,
		 NR_LANES_MAX / count);
	return false;
}

bool config_queues_are_sane(const struct config_source *source)
{
	if (source->queue_count > NR_LANES_MAX)
		return false;
	for (uint32_t i = 0; i < source->queue_count; i++)
		if (source->queues[i] > CONFIG_QUEUE_MAX)
			return false;
	return source->queue_count == 0 ||
	       (source->backend == BACKEND_XDP &&
		source->queue_count == source->lanes);
}

static bool queues_differ(const struct config_source *source, char *right)
{
	for (uint32_t i = 0; i < source->queue_count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (source->queues[i] == source->queues[j]) {
				snprintf(right, RIGHT_MAX,
					 "queues = %u: name each queue once",
					 source->queues[i]);
				return false;
			}
	return true;
}

/* Frames beyond what the kernel keeps: two bursts, and some to lend. */
#define FRAMES_SPARE 1536

static bool frames_fit(const struct config_source *source, char *right)
{
	const struct {
		const char *name;
		uint32_t value;
	} powers[] = {
		{ "frame_size", source->frame_size },
		{ "fill_ring", source->fill_ring },
		{ "completion_ring", source->completion_ring },
		{ "rx_ring", source->rx_ring },
	};
	uint32_t least = config_frames_kept(source) + FRAMES_SPARE;

	for (size_t i = 0; i < sizeof(powers) / sizeof(powers[0]); i++)
		if (!is_power_of_two(powers[i].value)) {
			snprintf(right, RIGHT_MAX,
				 "%s = %u: must be a power of two",
				 powers[i].name, powers[i].value);
			return false;
		}
	if (source->frame_count < least) {
		snprintf(right, RIGHT_MAX,
			 "frame_count = %u: must be %u or more, of which the "
			 "kernel gets %u (half of fill_ring = %u, at most "
			 "rx_ring = %u)",
			 source->frame_count, least, least - FRAMES_SPARE,
			 source->fill_ring, source->rx_ring);
		return false;
	}
	if ((uint64_t)source->frame_count * source->frame_size > NR_ARENA_MAX) {
		snprintf(
			right, RIGHT_MAX,
			"frame_count = %u: must be at most %llu of "
			"frame_size = %u (4G)",
			source->frame_count,
			(unsigned long long)(NR_ARENA_MAX / source->frame_size),
			source->frame_size);
		return false;
	}
	return queues_differ(source, right);
}

bool config_source_fits(const struct config_source *source, char *right)
{
	char size[32], block[32];

	if (source->backend == BACKEND_XDP)
		return frames_fit(source, right) &&
		       interfaces_fit(source, right);
	config_size_text(size, sizeof(size), source->ring_size);
	config_size_text(block, sizeof(block), source->ring_block);
	if (!is_power_of_two(source->ring_block)) {
		snprintf(right, RIGHT_MAX,
			 "ring_block = %s: must be a power of two (128K, 256K, "
			 "512K, 1M ...)",
			 block);
		return false;
	}
	if (source->ring_size % source->ring_block ||
	    source->ring_size / source->ring_block < 2) {
		snprintf(right, RIGHT_MAX,
			 "ring_size = %s: must be two or more whole blocks of "
			 "ring_block = %s",
			 size, block);
		return false;
	}
	return interfaces_fit(source, right);
}

/*
 * An arena is a multiple of 2M, so what is more than four blocks leaves room
 * for its header, too.
 */
bool config_channel_fits(const struct config_channel *channel, char *right)
{
	char arena[32], block[32];

	config_size_text(arena, sizeof(arena), channel->arena_size);
	config_size_text(block, sizeof(block), channel->block_size);
	if (channel->arena_size % (2 * MIB)) {
		snprintf(right, RIGHT_MAX,
			 "arena = %s: must be a multiple of 2M (huge pages)",
			 arena);
		return false;
	}
	if (!is_power_of_two(channel->block_size)) {
		snprintf(right, RIGHT_MAX,
			 "block_size = %s: must be a power of two (128K, 256K, "
			 "512K, 1M ...)",
			 block);
		return false;
	}
	if (channel->arena_size > UINT64_C(4) * channel->block_size)
		return true;
	snprintf(right, RIGHT_MAX,
		 "block_size = %s: must be less than a quarter of arena = %s",
		 block, arena);
	return false;
}

/*
 * This process may have fewer rights than the one that opens the file: what
 * it may not see, it does not judge.
 */
bool config_file_is_there(const char *path, char *right)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		if (errno == EACCES)
			return true;
		snprintf(right, RIGHT_MAX,
			 "cannot be read: %s; must be a pcap or pcapng file",
			 strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode))
		return true;
	snprintf(right, RIGHT_MAX,
		 "is a directory; must be a pcap or pcapng file");
	return false;
}

/*
 * As the engine will compile it, which has no file to look a name up in: so
 * that there are none for this either.
 */
static int compile_without_files(const char *text, int link_type, char *error)
{
	struct rlimit files, none;
	struct filter *filter;
	int err;

	(void)getrlimit(RLIMIT_NOFILE, &files); /* fails for bad pointers */
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = files.rlim_max };
	(void)setrlimit(RLIMIT_NOFILE, &none); /* down: anybody may */
	err = filter_new(&filter, text, link_type, error);
	filter_free(filter);
	(void)setrlimit(RLIMIT_NOFILE, &files); /* up to where it was */
	return err;
}

/*
 * A file's link type is known when it is opened: here it is enough that some
 * usual one takes the filter. The reason given is Ethernet's.
 */
bool config_channel_filter_compiles(const struct config_channel *channel,
				    const struct config_source *source,
				    char *right)
{
	static const int link_types[] = { DLT_EN10MB, DLT_RAW, DLT_LINUX_SLL,
					  DLT_NULL, DLT_IEEE802_11 };
	size_t count = source->backend == BACKEND_REPLAY ?
			       sizeof(link_types) / sizeof(link_types[0]) :
			       1;
	char error[256], first[256] = "";

	for (size_t i = 0; i < count; i++) {
		if (compile_without_files(channel->filter, link_types[i],
					  error) == 0)
			return true;
		if (!*first)
			memcpy(first, error, sizeof(first));
	}
	snprintf(right, RIGHT_MAX,
		 "%s; must be a pcap filter, see pcap-filter(7), with numbers: "
		 "names are not looked up",
		 first);
	return false;
}
