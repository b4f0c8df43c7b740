/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every key, once: where it goes, its range, and the words for it. The parser
 * and the warden's check of the parser's result go by the same tables.
 */
#include "config_private.h"

#include <string.h>

#define KIB INT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

static const struct config_word backend_words[] = {
	{ "af_packet", BACKEND_PACKET },
	{ "xdp", BACKEND_XDP },
	{ "replay", BACKEND_REPLAY },
	{ NULL, 0 },
};
static const struct config_word fanout_words[] = {
	{ "hash", FANOUT_HASH },
	{ "lb", FANOUT_LB },
	{ "cpu", FANOUT_CPU },
	{ "rollover", FANOUT_ROLLOVER },
	{ "random", FANOUT_RANDOM },
	{ "qm", FANOUT_QM },
	{ NULL, 0 },
};
static const struct config_word attach_words[] = {
	{ "auto", ATTACH_AUTO },
	{ "driver", ATTACH_DRIVER },
	{ "generic", ATTACH_GENERIC },
	{ NULL, 0 },
};
static const struct config_word bind_words[] = {
	{ "auto", BIND_AUTO },
	{ "zerocopy", BIND_ZEROCOPY },
	{ "copy", BIND_COPY },
	{ NULL, 0 },
};
static const struct config_word clock_words[] = {
	{ "software", CLOCK_SOFTWARE },
	{ "hardware", CLOCK_HARDWARE },
	{ NULL, 0 },
};
static const struct config_word offload_words[] = {
	{ "keep", 0 },
	{ "off", 1 },
	{ NULL, 0 },
};
static const struct config_word payload_words[] = {
	{ "full", 0 },
	{ "headers", 1 },
	{ NULL, 0 },
};
static const struct config_word profile_words[] = {
	{ "default", PROFILE_DEFAULT }, { "throughput", PROFILE_THROUGHPUT },
	{ "latency", PROFILE_LATENCY }, { "memory", PROFILE_MEMORY },
	{ "jumbo", PROFILE_JUMBO },	{ NULL, 0 },
};

const char *config_backend_name(enum config_backend backend)
{
	return backend_words[backend].word;
}

/* ----------------------------------------------------------------- tables */

#define KEY(key_, structure, field, type, low, high, words_, help_, backends_) \
	{                                                                      \
		key_, &(type), offsetof(structure, field), (low), (high),      \
			(words_), (help_), (backends_)                         \
	}
/* A key that is called as its field. */
#define FIELD(structure, field, ...) KEY(#field, structure, field, __VA_ARGS__)
#define END                                                                    \
	{                                                                      \
		NULL, NULL, 0, 0, 0, NULL, NULL, 0                             \
	}

#define BROKER(field, type, low, high, help)                                   \
	FIELD(struct config, field, type, low, high, NULL, help, 0)
#define SOURCE(field, type, low, high, words, help, backends)                  \
	FIELD(struct config_source, field, type, low, high, words, help,       \
	      backends)
#define CHANNEL(field, type, low, high, help)                                  \
	FIELD(struct config_channel, field, type, low, high, NULL, help, 0)

#define PACKET ONLY(BACKEND_PACKET)
#define XDP ONLY(BACKEND_XDP)
#define REPLAY ONLY(BACKEND_REPLAY)
#define LIVE (ONLY(BACKEND_PACKET) | ONLY(BACKEND_XDP))

const struct config_key config_broker_keys[] = {
	BROKER(socket, config_type_text, 1, CONFIG_SOCKET_MAX,
	       "the path of the control socket"),
	BROKER(user, config_type_user, 0, NR_NAME_MAX - 1, "the engine's user"),
	BROKER(group, config_type_group, 0, NR_NAME_MAX - 1,
	       "the socket's group"),
	BROKER(max_connections, config_type_u32, 1, 4096,
	       "connections of one user"),
	BROKER(max_captures, config_type_u32, 1, 4096, "captures of one user"),
	BROKER(max_guaranteed, config_type_u32, 1, 1000000,
	       "blocks guaranteed to one user"),
	BROKER(max_memory, config_type_size64, 4 * MIB, 64 * GIB,
	       "ring memory and return pages of one user"),
	BROKER(attach_rate, config_type_u32, 1, 100000,
	       "attaches of one user a second"),
	END,
};

const struct config_key config_source_keys[] = {
	SOURCE(backend, config_type_choice, 0, 0, backend_words,
	       "where its packets come from", 0),
	KEY("interface", struct config_source, interfaces,
	    config_type_interfaces, 0, 0, NULL, "interfaces", LIVE),
	SOURCE(lanes, config_type_u32, 1, NR_LANES_MAX, NULL,
	       "lanes of each interface", PACKET),
	SOURCE(fanout, config_type_choice, 0, 0, fanout_words,
	       "how packets are spread over lanes", PACKET),
	SOURCE(fanout_defrag, config_type_bool, 0, 1, NULL,
	       "put fragments together before spreading", PACKET),
	SOURCE(fanout_rollover, config_type_bool, 0, 1, NULL,
	       "go on in another lane when one is full", PACKET),
	SOURCE(ring_size, config_type_size64, 256 * KIB, 16 * GIB, NULL,
	       "of a lane's kernel ring", PACKET),
	SOURCE(ring_block, config_type_size32, 128 * KIB, 64 * MIB, NULL,
	       "of a block of the kernel ring", PACKET),
	SOURCE(retire_timeout, config_type_u32, 1, 1000, NULL,
	       "ms after which a block is handed over though not full", PACKET),
	SOURCE(promiscuous, config_type_bool, 0, 1, NULL,
	       "take frames for other hosts too", LIVE),
	SOURCE(ignore_outgoing, config_type_bool, 0, 1, NULL,
	       "leave out what this host sends", PACKET),
	KEY("offloads", struct config_source, offloads_off, config_type_switch,
	    0, 1, offload_words, "whether GRO, LRO and VLAN stripping stay on",
	    LIVE),
	SOURCE(busy_poll, config_type_u32, 0, 100000, NULL,
	       "us to poll the driver; 0: off", LIVE),
	SOURCE(prefer_busy_poll, config_type_bool, 0, 1, NULL,
	       "keep the driver's interrupts off while polling", LIVE),
	SOURCE(busy_poll_budget, config_type_u32, 0, 65535, NULL,
	       "packets of one poll; 0: the kernel's choice", LIVE),
	KEY("timestamp", struct config_source, clock, config_type_choice, 0, 0,
	    clock_words, "which clock stamps packets", LIVE),
	SOURCE(snaplen, config_type_u32, 0, 262144, NULL,
	       "bytes the kernel keeps of a packet; 0: all", PACKET),
	KEY("filter", struct config_source, program, config_type_kernel_filter,
	    0, CONFIG_FILTER_MAX - 1, NULL, "a pcap filter", PACKET),
	KEY("profile", struct config_source, ring_size, config_type_profile, 0,
	    0, profile_words, "what the kernel ring is good for", PACKET),
	KEY("queues", struct config_source, queues, config_type_queues, 0,
	    CONFIG_QUEUE_MAX, NULL, "the receive queues to take packets from",
	    XDP),
	SOURCE(frame_size, config_type_size32, 2 * KIB, 4 * KIB, NULL,
	       "of a frame, with 280 bytes of headroom", XDP),
	SOURCE(frame_count, config_type_u32, 2048, 2 * MIB, NULL,
	       "frames of a lane", XDP),
	SOURCE(fill_ring, config_type_u32, 64, 64 * KIB, NULL,
	       "slots of the fill ring", XDP),
	SOURCE(completion_ring, config_type_u32, 1, 64 * KIB, NULL,
	       "slots of the completion ring, which nothing uses", XDP),
	SOURCE(rx_ring, config_type_u32, 64, 64 * KIB, NULL,
	       "slots of the receive ring", XDP),
	SOURCE(need_wakeup, config_type_bool, 0, 1, NULL,
	       "let the driver sleep until it is called", XDP),
	KEY("mode", struct config_source, attach, config_type_choice, 0, 0,
	    attach_words, "where the program runs", XDP),
	SOURCE(bind, config_type_choice, 0, 0, bind_words,
	       "whether the driver writes into the frames", XDP),
	SOURCE(exclusive, config_type_bool, 0, 1, NULL,
	       "take packets even where the host needs them", XDP),
	SOURCE(file, config_type_file, 0, CONFIG_PATH_MAX - 1, NULL,
	       "a capture file", REPLAY),
	SOURCE(rate, config_type_rate, 1, CONFIG_RATE_MAX, NULL,
	       "how fast the file is played", REPLAY),
	SOURCE(wait, config_type_u32, 1, 1024, NULL,
	       "captures to wait for before the first packet", REPLAY),
	SOURCE(preload, config_type_bool, 0, 1, NULL,
	       "read the whole file before playing it", REPLAY),
	SOURCE(loop, config_type_bool, 0, 1, NULL, "play it again and again",
	       REPLAY),
	SOURCE(small_pages, config_type_bool, 0, 1, NULL,
	       "do without huge pages if there are none", 0),
	SOURCE(cpu, config_type_i32, -1, 1023, NULL,
	       "CPU of the first lane; -1: any", 0),
	SOURCE(priority, config_type_i32, -1, 99, NULL,
	       "SCHED_FIFO priority; 0: normal, -1: 1 where allowed", 0),
	END,
};

const struct config_key config_channel_keys[] = {
	CHANNEL(source, config_type_source_ref, 1, NR_NAME_MAX - 1,
		"the name of a source"),
	CHANNEL(filter, config_type_text, 0, CONFIG_FILTER_MAX - 1,
		"a pcap filter"),
	CHANNEL(snaplen, config_type_u32, 0, 262144,
		"bytes given of a packet; 0: all"),
	CHANNEL(allow, config_type_allow, 0, 0,
		"everyone, or a list of user:NAME and group:NAME"),
	KEY("arena", struct config_channel, arena_size, config_type_size64,
	    4 * MIB, 4 * GIB, NULL, "of the channel's memory on a lane", 0),
	CHANNEL(block_size, config_type_size32, 128 * KIB, 16 * MIB,
		"of a block of the arena"),
	CHANNEL(guaranteed, config_type_u32, 1, 99,
		"percent of the blocks set aside for guarantees"),
	KEY("payload", struct config_channel, headers_only, config_type_switch,
	    0, 1, payload_words, "whether packets go on behind their headers",
	    0),
	KEY("counts", struct config_channel, show_counts, config_type_bool, 0,
	    1, NULL, "show consumers how much they do not see", 0),
	END,
};

_Static_assert(sizeof(config_source_keys) / sizeof(config_source_keys[0]) <=
		       KEYS_MAX,
	       "KEYS_MAX");

const struct config_key *config_key_find(const struct config_key *keys,
					 const char *name, size_t length)
{
	for (; keys->name; keys++)
		if (strlen(keys->name) == length &&
		    memcmp(keys->name, name, length) == 0)
			return keys;
	return NULL;
}

bool config_keys_are_sane(const struct config_key *keys, const void *target)
{
	for (; keys->name; keys++)
		if (keys->type->is_sane &&
		    !keys->type->is_sane(keys,
					 (const char *)target + keys->offset))
			return false;
	return true;
}
