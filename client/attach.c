/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The code that believes nothing. What the broker, or a parent process, says
 * about a capture becomes values that are checked against the kernel (fstat,
 * access mode, seals) and against each other; what passes is copied into
 * struct lane, and the rest of the library never looks at a header again.
 */
#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <stdlib.h>

#define HUGE_PAGE (UINT64_C(2) << 20)

/* Whether @count pieces of @size bytes from @offset on end within @limit. */
static bool fits(uint64_t offset, uint64_t count, uint64_t size, uint64_t limit)
{
	/* count and size have 32 bits: the product cannot wrap */
	return offset <= limit && count * size <= limit - offset;
}

static bool is_aligned(uint64_t value, uint64_t to)
{
	return value % to == 0;
}

/* A file that cannot be mapped as it was described was described wrongly. */
static int map_errno(int err)
{
	return err == ENOMEM || err == EAGAIN || err == ENFILE ? -err : -EPROTO;
}

/*
 * An address where a shared mapping of @size could start on a huge page's
 * boundary, so that the kernel can map huge pages as such. Only a hint: if
 * somebody is faster, the mapping lands elsewhere.
 */
static void *huge_hint(uint64_t size)
{
	void *free_space =
		mmap(NULL, size + HUGE_PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (free_space == MAP_FAILED)
		return NULL;
	munmap(free_space, size + HUGE_PAGE);
	return (void *)(((uintptr_t)free_space + HUGE_PAGE - 1) &
			~(uintptr_t)(HUGE_PAGE - 1));
}

/*
 * The broker's memory has to be a regular file that we could not write and
 * that nobody can shorten (or reading it would be a SIGBUS).
 */
static int file_check(int fd, uint64_t *size)
{
	struct stat st;
	int flags, seals;

	if (fstat(fd, &st))
		return -errno;
	flags = fcntl(fd, F_GETFL);
	seals = fcntl(fd, F_GET_SEALS);
	if (!S_ISREG(st.st_mode) || flags < 0 || (flags & O_PATH) ||
	    (flags & O_ACCMODE) != O_RDONLY || seals < 0 ||
	    !(seals & F_SEAL_SHRINK) || st.st_size <= 0)
		return -EPROTO;
	*size = (uint64_t)st.st_size;
	return 0;
}

/*
 * The version word is stored last, so it is read first (acquire): what it
 * covers is complete.
 */
static int version_check(const uint32_t *version, const uint32_t *magic,
			 uint32_t expected)
{
	uint32_t found = __atomic_load_n(version, __ATOMIC_ACQUIRE);

	if (found == 0 || *magic != expected)
		return -EPROTO;
	if (found >> 16 != NR_ABI_MAJOR)
		return -EPROTONOSUPPORT;
	return 0;
}

/* --------------------------------------------------------------- the arena */

static bool blocks_are_sane(const struct nr_arena *header)
{
	return is_aligned(header->block_offset, NR_CACHE_LINE) &&
	       is_aligned(header->block_size, NR_CACHE_LINE) &&
	       header->block_offset >= sizeof(*header) &&
	       header->block_count > 0 &&
	       fits(header->block_offset, header->block_count,
		    header->block_size, header->size) &&
	       header->record_stride >= sizeof(struct nr_record) &&
	       is_aligned(header->record_stride, sizeof(uint64_t)) &&
	       header->record_offset >= sizeof(struct nr_block) &&
	       is_aligned(header->record_offset, sizeof(uint64_t)) &&
	       fits(header->record_offset, 1, header->record_stride,
		    header->block_size);
}

static bool streams_are_sane(const struct nr_arena *header)
{
	return header->stream_count > 0 &&
	       header->stream_offset >= sizeof(*header) &&
	       is_aligned(header->stream_offset, sizeof(uint64_t)) &&
	       header->stream_stride >= sizeof(struct nr_stream) &&
	       is_aligned(header->stream_stride, sizeof(uint64_t)) &&
	       fits(header->stream_offset, header->stream_count,
		    header->stream_stride, header->size);
}

/* Maps memory with packets in it: so long that 32 bits count it. */
static int packets_map(int fd, const uint8_t **map, uint64_t *length)
{
	uint64_t size;
	void *memory;
	int err = file_check(fd, &size);

	if (err)
		return err;
	if (size > NR_ARENA_MAX)
		return -EPROTO;
	memory = mmap(huge_hint(size), size, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return map_errno(errno);
	*map = memory;
	*length = size;
	return 0;
}

static int arena_map(struct lane *lane)
{
	int err = packets_map(lane->arena_fd, &lane->arena, &lane->arena_size);

	if (err)
		return err;
	return lane->arena_size < sizeof(struct nr_arena) ? -EPROTO : 0;
}

/* A loaned channel has its packets elsewhere; no more is known of that. */
static int region_map(struct lane *lane)
{
	if (lane->region_fd >= 0)
		return packets_map(lane->region_fd, &lane->region,
				   &lane->region_size);
	lane->region = lane->arena;
	lane->region_size = lane->arena_size;
	return 0;
}

/* Takes the constant part; the counters behind it change. */
static int arena_check(struct lane *lane)
{
	const struct nr_arena *shared = (const void *)lane->arena;
	struct nr_arena copy = { .flags = 0 }, *header = &copy;
	int err =
		version_check(&shared->version, &shared->magic, NR_ARENA_MAGIC);

	if (err)
		return err;
	memcpy(header, shared, offsetof(struct nr_arena, seen));
	if (header->size != lane->arena_size || !blocks_are_sane(header) ||
	    !streams_are_sane(header))
		return -EPROTO;
	lane->arena_id = header->id;
	lane->block_size = header->block_size;
	lane->block_count = header->block_count;
	lane->block_offset = header->block_offset;
	lane->record_offset = header->record_offset;
	lane->record_stride = header->record_stride;
	lane->block_capacity = (header->block_size - header->record_offset) /
			       header->record_stride;
	lane->stream_offset = header->stream_offset;
	lane->stream_stride = header->stream_stride;
	lane->stream_count = header->stream_count;
	lane->has_counts = header->flags & NR_ARENA_COUNTS;
	return 0;
}

/* ---------------------------------------------------------------- the ring */

static int ring_map(struct lane *lane, const struct lane_claim *claim)
{
	uint64_t size;
	void *map;
	int err = file_check(lane->ring_fd, &size);

	if (err)
		return err;
	if (claim->ring_map_offset > size || claim->ring_map_size == 0 ||
	    claim->ring_map_size > size - claim->ring_map_offset ||
	    !is_aligned(claim->ring_map_offset, NR_PAGE) ||
	    !is_aligned(claim->ring_map_size, NR_PAGE) ||
	    !is_aligned(claim->ring_offset, NR_CACHE_LINE) ||
	    !fits(claim->ring_offset, 1, sizeof(struct nr_ring),
		  claim->ring_map_size))
		return -EPROTO;
	map = mmap(NULL, claim->ring_map_size, PROT_READ, MAP_SHARED,
		   lane->ring_fd, (off_t)claim->ring_map_offset);
	if (map == MAP_FAILED)
		return map_errno(errno);
	lane->ring_map = map;
	lane->ring_map_offset = claim->ring_map_offset;
	lane->ring_map_size = claim->ring_map_size;
	lane->ring_offset = claim->ring_offset;
	return 0;
}

static bool slots_are_sane(const struct nr_ring *header, uint64_t room)
{
	return header->slots > 0 && header->slots <= NR_LEASES_MAX &&
	       (header->slots & (header->slots - 1)) == 0 &&
	       header->leases > 0 && header->leases <= header->slots &&
	       header->slot_offset >= sizeof(*header) &&
	       is_aligned(header->slot_offset, sizeof(uint64_t)) &&
	       header->slot_stride >= sizeof(struct nr_descriptor) &&
	       is_aligned(header->slot_stride, sizeof(uint64_t)) &&
	       fits(header->slot_offset, header->slots, header->slot_stride,
		    room);
}

/*
 * Which stream it reads, and where the counting starts. Of a capture that moves
 * the lane writes this when it moves: what stood there before means nothing.
 */
int attach_lane_base(struct lane *lane)
{
	struct nr_ring header;

	memcpy(&header, lane->ring, offsetof(struct nr_ring, head));
	if (header.stream >= lane->stream_count)
		return -EPROTO;
	lane->base_seq = header.base_seq;
	lane->base_seen = header.base_seen;
	lane->base_filtered = header.base_filtered;
	lane->base_passed = header.base_passed;
	lane->is_in_group = header.flags & NR_RING_GROUP;
	lane->next_seq = header.base_seq;
	lane->stream =
		(const void *)(lane->arena + lane->stream_offset +
			       (uint64_t)header.stream * lane->stream_stride);
	return 0;
}

static int ring_check(struct lane *lane, const struct lane_claim *claim)
{
	const uint8_t *slice = (uint8_t *)lane->ring_map + lane->ring_offset;
	const struct nr_ring *shared = (const void *)slice;
	struct nr_ring header;
	int err =
		version_check(&shared->version, &shared->magic, NR_RING_MAGIC);

	if (err)
		return err;
	memset(&header, 0, sizeof(header));
	memcpy(&header, shared, offsetof(struct nr_ring, head));
	if (header.lane != claim->lane ||
	    !slots_are_sane(&header, lane->ring_map_size - lane->ring_offset))
		return -EPROTO;
	lane->ring = shared;
	lane->slots = slice + header.slot_offset;
	lane->slot_count = header.slots;
	lane->slot_stride = header.slot_stride;
	return attach_lane_base(lane);
}

/* ---------------------------------------------------------------- together */

/*
 * A BPF array says no size, but refuses to be mapped beyond its end. A file
 * that says none would be mapped, and kill us at the first touch.
 */
int attach_return_pages(struct nr_capture *capture, int fd, uint32_t lanes)
{
	size_t size = (size_t)lanes * NR_PAGE;
	struct stat st;
	uint32_t i;
	void *map;

	capture->return_fd = fd;
	if (lanes == 0 || lanes > NR_LANES_MAX)
		return -EPROTO;
	if (fstat(fd, &st))
		return -errno;
	if ((S_ISREG(st.st_mode) || st.st_size) && st.st_size < (off_t)size)
		return -EPROTO;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return map_errno(errno);
	capture->return_map = map;
	capture->lane_count = lanes;
	capture->lanes = calloc(lanes, sizeof(*capture->lanes));
	if (!capture->lanes)
		return -ENOMEM;
	for (i = 0; i < lanes; i++) {
		capture->lanes[i].arena_fd = -1;
		capture->lanes[i].ring_fd = -1;
		capture->lanes[i].region_fd = -1;
	}
	return 0;
}

/* All that starts from nothing, but for the page: it may have been used. */
static void lane_start(struct lane *lane, struct nr_return *page)
{
	uint32_t i;

	lane->page = page;
	lane->given = __atomic_load_n(&page->head, __ATOMIC_RELAXED);
	lane->free_count = lane->slot_count;
	for (i = 0; i < lane->free_count; i++)
		lane->free[i] = (uint16_t)(lane->free_count - 1 - i);
}

int attach_lane(struct nr_capture *capture, const struct lane_claim *claim)
{
	struct lane *lane = &capture->lanes[claim->return_page];
	int err;

	lane->arena_fd = claim->arena_fd;
	lane->ring_fd = claim->ring_fd;
	lane->region_fd = claim->region_fd;
	lane->number = claim->lane;
	if (claim->lane > UINT16_MAX)
		return -EPROTO;
	err = arena_map(lane);
	if (!err)
		err = arena_check(lane);
	if (!err)
		err = region_map(lane);
	if (!err)
		err = ring_map(lane, claim);
	if (!err)
		err = ring_check(lane, claim);
	if (!err)
		lane_start(lane, (struct nr_return *)capture->return_map +
					 claim->return_page);
	return err;
}

/* One message of a known kind, with as many descriptors as it may have. */
static int receive(struct nr_capture *capture, const struct words *words,
		   struct wire_msg *answer, uint32_t type, size_t length,
		   unsigned fds_min, unsigned fds_max)
{
	int err = dial_answer(capture->socket, answer, words);

	if (err)
		return err;
	if (answer->msg.type == type && answer->length >= length &&
	    answer->fd_count >= fds_min && answer->fd_count <= fds_max)
		return 0;
	wire_close_fds(answer);
	return -EPROTO;
}

/* A LANE message with its two or three descriptors, which are taken. */
int attach_lane_message(struct nr_capture *capture, struct wire_msg *answer,
			uint32_t capture_id)
{
	struct nr_msg_lane msg;
	struct lane_claim claim;
	struct lane *lane;
	int err;

	memcpy(&msg, answer->bytes, sizeof(msg));
	if (msg.return_page >= capture->lane_count ||
	    capture->lanes[msg.return_page].arena_fd >= 0 ||
	    (msg.region_size != 0) != (answer->fd_count == 3)) {
		wire_close_fds(answer);
		return -EPROTO;
	}
	claim = (struct lane_claim){ .arena_fd = answer->fds[0],
				     .ring_fd = answer->fds[1],
				     .region_fd = msg.region_size ?
							  answer->fds[2] :
							  -1,
				     .lane = msg.lane,
				     .return_page = msg.return_page,
				     .ring_map_offset = msg.ring_map_offset,
				     .ring_map_size = msg.ring_map_size,
				     .ring_offset = msg.ring_offset };
	answer->fd_count = 0; /* the lane's now */
	err = attach_lane(capture, &claim);
	if (err)
		return err;
	lane = &capture->lanes[msg.return_page];
	if (lane->arena_size != msg.arena_size ||
	    lane->arena_id != msg.arena_id ||
	    (msg.region_size && lane->region_size != msg.region_size) ||
	    lane->ring->capture_id != capture_id)
		return -EPROTO;
	return 0;
}

static int receive_lane(struct nr_capture *capture, const struct words *words,
			uint32_t capture_id)
{
	struct wire_msg answer;
	int err = receive(capture, words, &answer, NR_MSG_LANE,
			  sizeof(struct nr_msg_lane), 2, 3);

	return err ? err : attach_lane_message(capture, &answer, capture_id);
}

int attach_receive(struct nr_capture *capture, const struct words *words)
{
	struct wire_msg answer;
	struct nr_msg_attached msg;
	unsigned i;
	int err = receive(capture, words, &answer, NR_MSG_ATTACHED, sizeof(msg),
			  1, 1);

	if (err)
		return err;
	memcpy(&msg, answer.bytes, sizeof(msg));
	err = attach_return_pages(capture, answer.fds[0], msg.lane_count);
	for (i = 0; !err && i < msg.lane_count; i++)
		err = receive_lane(capture, words, msg.capture_id);
	return err;
}
