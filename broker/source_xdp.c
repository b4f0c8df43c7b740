// SPDX-License-Identifier: BSD-2-Clause
/*
 * AF_XDP: the kernel takes frames from the fill ring and gives them back, each
 * with a packet, in the receive ring. A burst is held while channels look at
 * it; what no block has named by then goes round again.
 */
#include "source_xdp.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <pcap/dlt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include <netring/layout.h>

#include "clock.h"
#include "flow.h"
#include "redirect.h"

/*
 * A lane lets packets gather for as long as its ring has room for, at ten
 * million packets a second; and no longer than this.
 */
#define GATHER_NS_A_SLOT 100
#define GATHER_MAX_NS 400000

_Static_assert(REDIRECT_TO_HOST == NR_TO_HOST &&
		       REDIRECT_BROADCAST == NR_BROADCAST &&
		       REDIRECT_MULTICAST == NR_MULTICAST &&
		       REDIRECT_OTHER_HOST == NR_OTHER_HOST &&
		       REDIRECT_DIRECTION_UNKNOWN == NR_DIRECTION_UNKNOWN &&
		       REDIRECT_CLOCK_HARDWARE == NR_CLOCK_HARDWARE &&
		       REDIRECT_VLAN == NR_VLAN &&
		       REDIRECT_VLAN_IN_BAND == NR_VLAN_IN_BAND,
	       "redirect.h has the flags of layout.h");
_Static_assert(sizeof(struct redirect_meta) == CONFIG_FRAME_OFFSET,
	       "as the program writes it");

struct xdp_source {
	struct source source;
	struct frames *frames;
	int socket;
	int epoll_fd;
	uint16_t interface;
	uint32_t magic; /* of what the program puts in front */
	bool has_started;
	uint64_t busy_poll_ns;
	uint32_t in_kernel; /* frames in the fill ring, or taken from it */
	struct xsk_ring_cons rx;
	struct xsk_ring_prod fill;
	void *rx_map;
	size_t rx_map_size;
	void *fill_map;
	size_t fill_map_size;
	uint32_t prefetched; /* slots of rx */
	uint32_t burst_count;
	uint32_t burst_frames[BURST_MAX];
};

/* --------------------------------------------------------------- the kernel */

/* As many as it is to have; there always are so many, see frames.h. */
static void fill_up(struct xdp_source *s)
{
	struct frames *frames = s->frames;
	uint32_t count = frames->kept - s->in_kernel, slots, at;

	if (count > frames->free_count)
		count = frames->free_count;
	/* What the kernel has taken it may not have said yet. */
	slots = xsk_prod_nb_free(&s->fill, count);
	if (count > slots)
		count = slots;
	if (count == 0 || xsk_ring_prod__reserve(&s->fill, count, &at) == 0)
		return;
	for (uint32_t i = 0; i < count; i++)
		*xsk_ring_prod__fill_addr(&s->fill, at + i) =
			(uint64_t)frames->free[--frames->free_count] *
			frames->frame_size;
	xsk_ring_prod__submit(&s->fill, count);
	s->in_kernel += count;
}

/* The driver sleeps until it is told that there are frames again. */
static void wake_driver(const struct xdp_source *s)
{
	/* Relaxed: a hint, looked at again before each sleep. */
	if (__atomic_load_n(s->fill.flags, __ATOMIC_RELAXED) &
	    XDP_RING_NEED_WAKEUP)
		(void)recvfrom(s->socket, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* --------------------------------------------------------------- the packets
 */

/* The program's clock is TAI: whole seconds away from ours. */
static uint64_t tai_offset(void)
{
	uint64_t tai = clock_ns(CLOCK_TAI), real = clock_ns(CLOCK_REALTIME);

	return (tai - real + NS_PER_S / 2) / NS_PER_S * NS_PER_S;
}

static uint16_t get16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* From a driver that leaves no room in front of a frame. */
static void decode_bytes(struct packet *packet)
{
	uint16_t type = packet->caplen >= 16 ? get16(packet->data + 12) : 0;

	packet->ts_ns = clock_ns(CLOCK_REALTIME);
	packet->flags = NR_DIRECTION_UNKNOWN | NR_CLOCK_BROKER;
	packet->vlan_tci = 0;
	packet->vlan_tpid = 0;
	if (type == 0x8100 || type == 0x88a8) {
		packet->vlan_tpid = type;
		packet->vlan_tci = get16(packet->data + 14);
		packet->flags |= NR_VLAN | NR_VLAN_IN_BAND;
	}
	packet->flow_hash = flow_hash(packet->data, packet->caplen, DLT_EN10MB);
}

static void decode(const struct xdp_source *s, const struct xdp_desc *desc,
		   uint64_t offset, struct packet *packet)
{
	struct redirect_meta meta;

	packet->data = s->frames->base + desc->addr;
	packet->caplen = desc->len;
	packet->wirelen = desc->len;
	packet->interface = s->interface;
	memcpy(&meta, packet->data - sizeof(meta), sizeof(meta));
	if (meta.magic != s->magic) {
		decode_bytes(packet);
		return;
	}
	packet->ts_ns = meta.ts_ns;
	if (!(meta.flags & NR_CLOCK_HARDWARE))
		packet->ts_ns -= offset;
	packet->flow_hash = meta.flow_hash;
	packet->vlan_tci = meta.vlan_tci;
	packet->vlan_tpid = meta.vlan_tpid;
	packet->flags = meta.flags;
}

#define PREFETCH 24

/*
 * What the program has put in front of the packets up to @end, if they are
 * there: another CPU wrote it.
 */
static void prefetch(struct xdp_source *s, uint32_t end)
{
	uint32_t known = s->rx.cached_prod, at = s->prefetched;

	if ((int32_t)(end - known) > 0)
		end = known;
	for (; (int32_t)(end - at) > 0; at++)
		__builtin_prefetch(s->frames->base +
				   xsk_ring_cons__rx_desc(&s->rx, at)->addr -
				   1);
	s->prefetched = at;
}

static void take(struct xdp_source *s, struct burst *burst, uint32_t count,
		 uint32_t at)
{
	uint64_t offset = tai_offset();

	if ((int32_t)(at - s->prefetched) > 0)
		s->prefetched = at;
	for (uint32_t i = 0; i < count; i++) {
		const struct xdp_desc *desc =
			xsk_ring_cons__rx_desc(&s->rx, at + i);
		uint32_t frame = frames_at(s->frames, desc->addr);

		prefetch(s, at + i + PREFETCH);
		frames_hold(s->frames, frame);
		s->burst_frames[i] = frame;
		decode(s, desc, offset, &burst->packets[i]);
	}
	s->in_kernel -= count;
	s->burst_count = count;
}

void source_xdp_start(struct source *source)
{
	struct xdp_source *s = (struct xdp_source *)source;

	s->has_started = true;
	frames_reclaim(s->frames);
	fill_up(s);
}

static int xdp_burst(struct source *source, struct burst *burst,
		     uint32_t max_packets, size_t max_bytes)
{
	struct xdp_source *s = (struct xdp_source *)source;
	uint32_t at, n;

	(void)max_bytes; /* only a lossless source has to heed it */
	if (!s->has_started)
		source_xdp_start(source);
	n = xsk_ring_cons__peek(&s->rx, max_packets, &at);
	if (n == 0) {
		fill_up(s);
		wake_driver(s);
		return SOURCE_NOTHING;
	}
	take(s, burst, n, at);
	burst->count = n;
	burst->link_type = source->link_type;
	return (int)n;
}

static void xdp_done(struct source *source)
{
	struct xdp_source *s = (struct xdp_source *)source;

	/* Only now: what an engine had in hand that dies is still in its ring.
	 */
	xsk_ring_cons__release(&s->rx, s->burst_count);
	/* Backwards: the first is the next to be filled. */
	while (s->burst_count > 0)
		frames_drop(s->frames, s->burst_frames[--s->burst_count]);
	fill_up(s);
	wake_driver(s);
}

/* Polls the driver from here, for a little while at most. */
static bool xdp_poll(struct source *source)
{
	struct xdp_source *s = (struct xdp_source *)source;
	uint64_t end;

	if (!s->busy_poll_ns)
		return false;
	end = now_ns() + s->busy_poll_ns;
	do {
		(void)recvfrom(s->socket, NULL, 0, MSG_DONTWAIT, NULL, NULL);
		if (xsk_cons_nb_avail(&s->rx, 1))
			return true;
	} while (now_ns() < end);
	return false;
}

static int xdp_wait_fd(const struct source *source)
{
	return ((const struct xdp_source *)source)->epoll_fd;
}

static uint32_t xdp_filled(const struct source *source)
{
	const struct xdp_source *s = (const struct xdp_source *)source;
	/* Relaxed: only how many. */
	uint32_t count = __atomic_load_n(s->rx.producer, __ATOMIC_RELAXED) -
			 s->rx.cached_cons;

	return (uint32_t)((uint64_t)count * 100 / s->rx.size);
}

/* --------------------------------------------------------------- opening */

static void xdp_free(struct source *source)
{
	struct xdp_source *s = (struct xdp_source *)source;

	if (s->rx_map)
		munmap(s->rx_map, s->rx_map_size);
	if (s->fill_map)
		munmap(s->fill_map, s->fill_map_size);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	close(s->socket);
	free(s);
}

static const struct source_ops xdp_ops = {
	.burst = xdp_burst,
	.done = xdp_done,
	.poll = xdp_poll,
	.wait_fd = xdp_wait_fd,
	.filled = xdp_filled,
	.free = xdp_free,
};

static void *map_ring(int socket, size_t size, uint64_t which)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, socket, (off_t)which);

	return map == MAP_FAILED ? NULL : map;
}

static uint32_t *word(void *map, uint64_t offset)
{
	return (uint32_t *)(void *)((uint8_t *)map + offset);
}

static int map_rx(struct xdp_source *s, const struct xdp_ring_offset *offset,
		  uint32_t slots)
{
	s->rx_map_size = offset->desc + slots * sizeof(struct xdp_desc);
	s->rx_map = map_ring(s->socket, s->rx_map_size, XDP_PGOFF_RX_RING);
	if (!s->rx_map)
		return -errno;
	s->rx = (struct xsk_ring_cons){
		.mask = slots - 1,
		.size = slots,
		.producer = word(s->rx_map, offset->producer),
		.consumer = word(s->rx_map, offset->consumer),
		.ring = word(s->rx_map, offset->desc),
		.flags = word(s->rx_map, offset->flags),
	};
	return 0;
}

static int map_fill(struct xdp_source *s, const struct xdp_ring_offset *offset,
		    uint32_t slots)
{
	s->fill_map_size = offset->desc + slots * sizeof(uint64_t);
	s->fill_map =
		map_ring(s->socket, s->fill_map_size, XDP_UMEM_PGOFF_FILL_RING);
	if (!s->fill_map)
		return -errno;
	s->fill = (struct xsk_ring_prod){
		.mask = slots - 1,
		.size = slots,
		.cached_cons = slots, /* as xsk_prod_nb_free() wants it */
		.producer = word(s->fill_map, offset->producer),
		.consumer = word(s->fill_map, offset->consumer),
		.ring = word(s->fill_map, offset->desc),
		.flags = word(s->fill_map, offset->flags),
	};
	return 0;
}

static int map_rings(struct xdp_source *s, const struct config_source *config)
{
	struct xdp_mmap_offsets offsets;
	socklen_t length = sizeof(offsets);
	int err;

	if (getsockopt(s->socket, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length))
		return -errno;
	if (length != sizeof(offsets))
		return -EOPNOTSUPP; /* before 5.4: without flags */
	err = map_rx(s, &offsets.rx, config->rx_ring);
	return err ? err : map_fill(s, &offsets.fr, config->fill_ring);
}

static int watch(struct xdp_source *s)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 1 };

	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0 ||
	    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->socket, &event))
		return -errno;
	return 0;
}

static uint32_t gather_ns(const struct config_source *config)
{
	uint64_t ns = (uint64_t)config->rx_ring * GATHER_NS_A_SLOT;

	return ns < GATHER_MAX_NS ? (uint32_t)ns : GATHER_MAX_NS;
}

int source_xdp_new(struct source **source, const struct config_source *config,
		   int socket, struct frames *frames, uint32_t interface,
		   uint32_t magic)
{
	struct xdp_source *s = calloc(1, sizeof(*s));
	int err;

	if (!s) {
		close(socket);
		return -ENOMEM;
	}
	s->source.ops = &xdp_ops;
	s->source.link_type = DLT_EN10MB;
	if (!config->busy_poll)
		s->source.can_wait = config->rx_ring / 2;
	s->source.gather_ns = gather_ns(config);
	s->frames = frames;
	s->socket = socket;
	s->epoll_fd = -1;
	s->interface = (uint16_t)interface;
	s->magic = magic;
	s->busy_poll_ns = config->busy_poll * UINT64_C(1000);
	err = map_rings(s, config);
	if (!err)
		err = watch(s);
	if (err) {
		xdp_free(&s->source);
		return err;
	}
	*source = &s->source;
	return 0;
}
