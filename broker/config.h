/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the broker is to do: one flat structure without a pointer, so that a
 * short-lived unprivileged child can parse the text and hand the result to the
 * warden, and the warden to each engine, as plain memory.
 */
#ifndef NETRINGD_CONFIG_H
#define NETRINGD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <linux/filter.h>

#include <netring/proto.h>

#define CONFIG_SOURCES_MAX 16
#define CONFIG_CHANNELS_MAX 64
#define CONFIG_ALLOW_MAX 32
#define CONFIG_INTERFACES_MAX 8
#define CONFIG_FILTER_MAX 4096
#define CONFIG_PROGRAM_MAX 4096 /* BPF_MAXINSNS of the kernel */
#define CONFIG_PATH_MAX 4096

enum config_backend { BACKEND_PACKET, BACKEND_XDP, BACKEND_REPLAY };
const char *config_backend_name(enum config_backend backend);

/* PACKET_FANOUT_* of the same name */
enum config_fanout {
	FANOUT_HASH,
	FANOUT_LB,
	FANOUT_CPU,
	FANOUT_ROLLOVER,
	FANOUT_RANDOM,
	FANOUT_QM,
};

enum config_clock { CLOCK_SOFTWARE, CLOCK_HARDWARE };

/* Of a socket's path, and what is put behind it while another is made. */
#define CONFIG_SOCKET_MAX 103
#define CONFIG_SOCKET_NEXT ".new"

/* How the program hangs on the interface, and the socket on its queue. */
enum config_attach { ATTACH_AUTO, ATTACH_DRIVER, ATTACH_GENERIC };
enum config_bind { BIND_AUTO, BIND_ZEROCOPY, BIND_COPY };

enum config_rate { RATE_MAX, RATE_RECORDED, RATE_FIXED };

struct config_source {
	char name[NR_NAME_MAX];
	uint32_t line;	  /* where its section starts */
	uint32_t backend; /* enum config_backend */
	uint32_t interface_count;
	char interfaces[CONFIG_INTERFACES_MAX][NR_NAME_MAX];

	/*
	 * Of each interface, 1 to NR_LANES_MAX. For xdp: the queues that there
	 * are, or that are listed; filled in by the warden at the start.
	 */
	uint32_t lanes;

	/* af_packet */
	uint32_t fanout; /* enum config_fanout */
	bool fanout_defrag;
	bool fanout_rollover;
	uint64_t ring_size;	 /* bytes of a lane's kernel ring */
	uint32_t ring_block;	 /* bytes of a block of it */
	uint32_t retire_timeout; /* ms */
	bool promiscuous;
	bool ignore_outgoing;
	bool offloads_off;
	uint32_t busy_poll; /* us; 0: off */
	bool prefer_busy_poll;
	uint32_t busy_poll_budget; /* packets; 0: the kernel's */
	uint32_t clock;		   /* enum config_clock */
	uint32_t snaplen;	   /* in the kernel; 0: whole packets */
	uint32_t program_length;   /* kernel filter; 0: none */
	struct sock_filter program[CONFIG_PROGRAM_MAX];

	/* xdp */
	uint32_t queue_count; /* 0: all */
	uint32_t queues[NR_LANES_MAX];
	uint32_t frame_size;  /* bytes, 2048 or 4096 */
	uint32_t frame_count; /* of a lane's UMEM */
	uint32_t fill_ring;   /* slots; half of them are kept filled */
	uint32_t completion_ring;
	uint32_t rx_ring;
	uint32_t attach; /* enum config_attach */
	uint32_t bind;	 /* enum config_bind */
	bool need_wakeup;
	bool exclusive; /* the host may lose the interface's packets */

	/* replay */
	char file[CONFIG_PATH_MAX];
	uint32_t rate_mode; /* enum config_rate */
	uint64_t rate;	    /* packets/s, for RATE_FIXED */
	uint32_t wait;	    /* captures to wait for before the first packet */
	bool preload;
	bool loop;

	/* any */
	bool small_pages;
	int32_t cpu; /* first lane's CPU, the next lane the next; -1: any */
	int32_t priority; /* SCHED_FIFO 1..99; 0: normal; -1: 1 if possible */
};

struct config_allow {
	bool is_group;
	uint32_t id; /* uid or gid */
};

struct config_channel {
	char name[NR_NAME_MAX];
	uint32_t line;
	uint32_t source; /* index of its source */
	char filter[CONFIG_FILTER_MAX];
	uint32_t snaplen; /* 0: whole packets */
	bool allow_everyone;
	uint32_t allow_count;
	struct config_allow allow[CONFIG_ALLOW_MAX];
	uint64_t arena_size; /* bytes, multiple of 2 MiB */
	uint32_t block_size; /* bytes, a power of two, >= 128 KiB */
	uint32_t guaranteed; /* percent of the blocks set aside, 1 to 99 */
	bool headers_only;   /* cut behind the transport header */
	bool show_counts;    /* seen and filtered are shown to consumers */
};

struct config {
	char socket[108];	  /* sun_path, at most CONFIG_SOCKET_MAX */
	char user[NR_NAME_MAX];	  /* of the engine; empty: a free uid */
	char group[NR_NAME_MAX];  /* of the socket; empty: see socket_gid */
	uint32_t socket_gid;	  /* default channels let its members in */
	bool socket_gid_set;	  /* false: there is no such group */
	uint32_t max_connections; /* of one uid */
	uint32_t max_captures;	  /* of one uid */
	uint32_t max_guaranteed;  /* blocks of one uid, all lanes */
	uint64_t max_memory;  /* bytes of one uid's rings and return pages */
	uint32_t attach_rate; /* attaches of one uid a second */
	uint32_t source_count;
	uint32_t channel_count;
	struct config_source sources[CONFIG_SOURCES_MAX];
	struct config_channel channels[CONFIG_CHANNELS_MAX];
};

/* Fills in what holds when the text says nothing. */
void config_init(struct config *config);
void config_source_init(struct config_source *source, const char *name);
void config_channel_init(struct config_channel *channel, const char *name);

/*
 * Reads a configuration file into @config, which config_init() has made.
 * @name is what messages call the file. Messages go to
 * @errors, one a line, "NAME:LINE: what is wrong and what would be right";
 * reading goes on after an error so that one run shows all of them.
 * Returns 0, or the number of errors.
 */
int config_parse(struct config *config, FILE *file, const char *name,
		 FILE *errors);

/*
 * The short forms. @spec: "IFACE", "IFACE:xdp" (-i) or a file (-r): adds a
 * source and a channel of the same name (of a file: its base name without
 * ending). As -i and -r are typed by whoever starts the broker, the channel
 * of -r lets everyone in where @everyone is set.
 * Returns 0, or 1 after a message on @errors.
 */
int config_add_interface(struct config *config, const char *spec, FILE *errors);
int config_add_file(struct config *config, const char *path, bool everyone,
		    FILE *errors);

/*
 * Whether every count, index, enum and terminator is in range: the warden
 * believes nothing that the child wrote.
 */
bool config_is_sane(const struct config *config);

/* Whether two sources are the same, but for where they stand in the text. */
bool config_source_is_same(const struct config_source *a,
			   const struct config_source *b);

/* Whether a channel shows every packet, and all of it. */
static inline bool config_channel_is_whole(const struct config_channel *channel)
{
	return !channel->filter[0] && channel->snaplen == 0 &&
	       !channel->headers_only;
}

/* Frames that the kernel is given to receive into, of a lane's frame_count. */
static inline uint32_t config_frames_kept(const struct config_source *source)
{
	uint32_t half = source->fill_ring / 2;

	return half < source->rx_ring ? half : source->rx_ring;
}

/*
 * In front of the packet in each frame: the kernel's headroom, and so much of
 * ours that what the program says of a packet, which is that long, is in one
 * cache line with its headers.
 */
#define CONFIG_FRAME_OFFSET 24u
#define CONFIG_FRAME_HEADROOM (256u + CONFIG_FRAME_OFFSET)
static inline uint32_t config_frame_room(const struct config_source *source)
{
	return source->frame_size - CONFIG_FRAME_HEADROOM;
}

/* The queue of each interface that lane @lane of it serves. */
static inline uint32_t config_queue(const struct config_source *source,
				    uint32_t lane)
{
	return source->queue_count ? source->queues[lane] : lane;
}

#endif
