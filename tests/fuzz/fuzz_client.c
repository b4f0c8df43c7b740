// SPDX-License-Identifier: BSD-2-Clause
/*
 * A hostile broker. What it hands out at an attach or a move may be any
 * descriptors with anything in them, and its lane changes the memory under the
 * library later. Whatever comes: each batch lies in the memory that was mapped,
 * an end stays the end, every place for a lease is either free or held, and no
 * descriptor is left behind.
 * Input: changes to good memory; messages; then steps of lane and consumer.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netring/ring.h>

#include "capture.h"

#define ARENA_SIZE 65536u
#define REGION_SIZE 16384u
#define LANES 3u
#define SLICES (2 * LANES) /* those of a move behind those of the attach */
#define RINGS_SIZE (SLICES * NR_RING_SIZE)
#define PAGES_SIZE (SLICES * NR_PAGE)
#define BLOCK_SIZE 4096u
#define BLOCK_OFFSET 4096u
#define BLOCKS 8u
#define SLOTS 4u
#define BASE_SEQ 100u
#define MESSAGES_MAX 24
#define BATCHES_MAX 32

/* As the lane has them. */
static uint8_t *arena, *rings, *region, *pages;
static uint8_t arena_good[ARENA_SIZE], rings_good[RINGS_SIZE];

/* What can be sent along. */
enum { ARENA, RINGS, PAGES, REGION, WRITABLE, UNSEALED, SHORT, PIPE, ROOT };
#define FDS 9
static int fds[FDS];

struct run {
	struct input in;
	struct nr_capture *capture;
	int broker; /* its end of the connection */
	struct nr_batch batches[BATCHES_MAX];
	unsigned batch_count;
	int final;
	uint32_t next_record; /* of the lane that plays by the rules */
};

/* ------------------------------------------------------------- good memory */

static int make(uint8_t **map, size_t size, int seals, int *write_fd)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char path[64];
	int read_only;

	assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert(*map != MAP_FAILED);
	assert(!seals || fcntl(fd, F_ADD_SEALS, seals) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	assert(read_only >= 0);
	*write_fd = fd;
	return read_only;
}

static void make_good(void)
{
	struct nr_arena header = { .version = NR_ABI_VERSION,
				   .magic = NR_ARENA_MAGIC,
				   .size = ARENA_SIZE,
				   .id = 7,
				   .block_size = BLOCK_SIZE,
				   .block_count = BLOCKS,
				   .block_offset = BLOCK_OFFSET,
				   .record_offset = sizeof(struct nr_block),
				   .record_stride = sizeof(struct nr_record),
				   .stream_offset = sizeof(struct nr_arena),
				   .stream_stride = sizeof(struct nr_stream),
				   .stream_count = 2,
				   .flags = NR_ARENA_COUNTS };

	memcpy(arena_good, &header, sizeof(header));
	for (uint32_t s = 0; s < SLICES; s++) {
		struct nr_ring ring = { .version = NR_ABI_VERSION,
					.magic = NR_RING_MAGIC,
					.capture_id = 3,
					.lane = s % LANES,
					.slots = SLOTS,
					.slot_offset = sizeof(struct nr_ring),
					.slot_stride =
						sizeof(struct nr_descriptor),
					.leases = SLOTS,
					.base_seq = BASE_SEQ,
					.refused_at = NR_SEQ_NONE };

		memcpy(rings_good + s * NR_RING_SIZE, &ring, sizeof(ring));
	}
}

static void init(void)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	int write_fd, pair[2];
	uint8_t *map;

	fds[ARENA] = make(&arena, ARENA_SIZE, seals, &fds[WRITABLE]);
	fds[RINGS] = make(&rings, RINGS_SIZE, seals, &write_fd);
	fds[REGION] = make(&region, REGION_SIZE, seals, &write_fd);
	make(&pages, PAGES_SIZE, seals, &fds[PAGES]);
	fds[UNSEALED] = make(&map, ARENA_SIZE, 0, &write_fd);
	fds[SHORT] = make(&map, 100, seals, &write_fd);
	assert(pipe(pair) == 0);
	fds[PIPE] = pair[0];
	fds[ROOT] = open("/", O_RDONLY);
	make_good();
}

/* A word of what the library maps becomes another. */
static void change_memory(struct input *in)
{
	static const uint32_t sizes[] = { ARENA_SIZE, RINGS_SIZE, PAGES_SIZE,
					  ARENA_SIZE };
	uint32_t what = input_byte(in);
	uint8_t *memory[] = { arena, rings, pages, arena };
	uint32_t size = sizes[what & 3], offset = input_byte(in) * 4u;
	uint32_t value = input_byte(in);

	/* A header, of the arena, a slice, or a block. */
	if ((what & 3) == 3)
		offset = BLOCK_OFFSET + (what >> 4 & 7) * BLOCK_SIZE +
			 offset % 256;
	else if ((what & 3) == 1)
		offset += (what >> 4) % SLICES * NR_RING_SIZE;
	if (what & 4)
		value = input_u32(in);
	else if (what & 8)
		value = value << 24 | value;
	memcpy(memory[what & 3] + offset % size, &value, sizeof(value));
}

/* ---------------------------------------------------------------- messages */

union message {
	struct nr_msg msg;
	struct nr_msg_attached attached;
	struct nr_msg_lane lane;
	struct nr_msg_error error;
	uint8_t bytes[NR_MSG_MAX];
};

static void send_message(int socket, const union message *message,
			 size_t length, const int *list, unsigned count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)message, length };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count) {
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.align), list, count * sizeof(int));
	}
	(void)sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The good message of a kind, and what goes with it. */
static unsigned make_message(union message *message, uint32_t kind,
			     uint32_t which, int *list)
{
	uint32_t slice = which % SLICES;

	memset(message, 0, sizeof(*message));
	switch (kind) {
	case 0:
	case 1:
		wire_init(&message->msg, kind ? NR_MSG_MOVE : NR_MSG_ATTACHED,
			  sizeof(message->attached), 1);
		message->attached.capture_id = 3;
		message->attached.lane_count = 1 + which % LANES;
		list[0] = fds[PAGES];
		return 1;
	case 2:
	case 3:
		wire_init(&message->msg, NR_MSG_LANE, sizeof(message->lane), 1);
		message->lane.lane = slice % LANES;
		message->lane.return_page = slice % LANES;
		message->lane.arena_size = ARENA_SIZE;
		message->lane.ring_map_offset = slice * NR_RING_SIZE;
		message->lane.ring_map_size = NR_RING_SIZE;
		message->lane.arena_id = 7;
		message->lane.region_size = kind == 3 ? REGION_SIZE : 0;
		list[0] = fds[ARENA];
		list[1] = fds[RINGS];
		list[2] = fds[REGION];
		return kind;
	case 4:
		wire_init(&message->msg, NR_MSG_ERROR, sizeof(message->error),
			  1);
		message->error.code = which;
		memset(message->error.text, 'x', sizeof(message->error.text));
		return 0;
	default:
		wire_init(&message->msg, NR_MSG_BELL, sizeof(message->msg), 0);
		return 0;
	}
}

/* A good message; or one that was changed, with other descriptors. */
static void say(struct input *in, int socket)
{
	uint32_t kind = input_byte(in), changes = kind >> 4 & 3;
	union message message;
	int list[8] = { 0 };
	unsigned count = make_message(&message, kind % 8, input_byte(in), list);
	size_t length = message.msg.length;

	while (changes--) {
		uint32_t offset = input_byte(in) * 4u % NR_MSG_MAX;
		uint32_t value = input_u32(in);

		memcpy(message.bytes + offset, &value, sizeof(value));
	}
	if (kind & 0x40) {
		count = input_below(in, 7);
		for (unsigned i = 0; i < count; i++)
			list[i] = fds[input_below(in, FDS)];
	}
	if (kind & 0x80)
		length = input_byte(in) * 4u;
	send_message(socket, &message, length, list, count);
}

/* ------------------------------------------------------------------ checks */

static void check_lane(const struct lane *lane)
{
	uint32_t held = 0;

	for (uint32_t i = 0; i < lane->slot_count; i++)
		held += lane->held[i].refs > 0;
	assert(held + lane->free_count == lane->slot_count);
	for (uint32_t i = 0; i < lane->free_count; i++) {
		assert(lane->free[i] < lane->slot_count);
		assert(lane->held[lane->free[i]].refs == 0);
		for (uint32_t j = 0; j < i; j++)
			assert(lane->free[i] != lane->free[j]);
	}
}

static void check_batch(const struct nr_batch *batch)
{
	const struct lane *lane = batch->lane_state;
	const uint8_t *end = batch->records + batch->count * batch->stride;

	assert(batch->count >= 1 && batch->count <= lane->block_capacity);
	assert(batch->records >= lane->arena + sizeof(struct nr_arena));
	assert(end <= lane->arena + lane->arena_size);
	assert(batch->seq + batch->count == lane->next_seq + lane->seq_shift);
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *record = nr_batch_record(batch, i);
		const uint8_t *data = nr_batch_data(batch, record);

		assert(!data || (data >= lane->region &&
				 data + record->caplen <=
					 lane->region + lane->region_size));
		if (data && record->caplen)
			*(volatile const uint8_t *)(data + record->caplen - 1);
	}
}

/* ------------------------------------------------------------------- steps */

static void next(struct run *run)
{
	struct nr_batch *batch = &run->batches[run->batch_count];
	int r;

	if (run->batch_count == BATCHES_MAX)
		return;
	r = nr_capture_next(run->capture, batch);
	if (run->final)
		assert(r == run->final);
	if (r < 0)
		run->final = r;
	if (r != 1)
		return;
	check_batch(batch);
	run->batch_count++;
}

static void release(struct run *run)
{
	unsigned i;

	if (run->batch_count == 0)
		return;
	i = input_byte(&run->in) % run->batch_count;
	nr_batch_release(&run->batches[i]);
	run->batches[i] = run->batches[--run->batch_count];
}

static void copy(struct run *run)
{
	struct nr_owned *owned;
	unsigned i;

	if (run->batch_count == 0)
		return;
	i = input_byte(&run->in) % run->batch_count;
	if (nr_batch_copy(&run->batches[i], &owned))
		return;
	for (uint32_t r = 0; r < owned->batch.count; r++)
		nr_batch_data(&owned->batch, nr_batch_record(&owned->batch, r));
	nr_owned_free(owned);
}

/* What a lane does by the rules: a block handed over, with some records. */
static void hand_over(struct run *run)
{
	uint32_t what = input_byte(&run->in), index = what % BLOCKS;
	struct nr_ring *ring =
		(void *)(rings + (what >> 3) % SLICES * NR_RING_SIZE);
	struct nr_block *block =
		(void *)(arena + BLOCK_OFFSET + index * BLOCK_SIZE);
	struct nr_descriptor *slots = (void *)(ring + 1);
	uint32_t count = input_below(&run->in, 8);

	block->seq = BASE_SEQ + run->next_record;
	slots[ring->head % SLOTS] = (struct nr_descriptor){
		.lease = what, .seq = block->seq, .arena_id = 7, .block = index
	};
	for (uint32_t i = 0; i < count; i++) {
		struct nr_record *record = (struct nr_record *)(block + 1) + i;

		record->offset = input_byte(&run->in) * 64u;
		record->caplen = input_byte(&run->in);
	}
	run->next_record += count;
	nr_block_publish(block, count, NR_BLOCK_CLOSED);
	nr_ring_publish(ring, ring->head + 1);
}

static void end(struct run *run)
{
	uint32_t what = input_byte(&run->in);
	struct nr_ring *ring =
		(void *)(rings + (what >> 4) % SLICES * NR_RING_SIZE);

	nr_ring_end(ring, NR_END_WORD(BASE_SEQ + run->next_record, what & 15));
}

static void statistics(struct run *run)
{
	struct nr_stats stats = NR_STATS_INIT;

	assert(nr_capture_stats(run->capture, &stats) == 0);
}

static void step(struct run *run)
{
	switch (input_byte(&run->in) % 10) {
	case 0:
		change_memory(&run->in);
		break;
	case 1:
		say(&run->in, run->broker);
		break;
	case 2:
		hand_over(run);
		break;
	case 3:
		end(run);
		break;
	case 4:
	case 5:
		next(run);
		break;
	case 6:
		nr_capture_arm(run->capture);
		break;
	case 7:
		release(run);
		break;
	case 8:
		copy(run);
		break;
	default:
		statistics(run);
	}
	for (unsigned i = 0; i < run->capture->lane_count; i++)
		check_lane(&run->capture->lanes[i]);
}

static void connect_pair(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		perror("socketpair");
		abort();
	}
}

/* Reads what it was told, then goes on over a connection that stays. */
static int attach(struct run *run)
{
	struct nr_capture *capture = run->capture;
	char text[64];
	const struct words words = { text, sizeof(text) };
	uint32_t count = input_below(&run->in, MESSAGES_MAX);
	int pair[2], err;

	connect_pair(pair);
	while (count--)
		say(&run->in, pair[0]);
	close(pair[0]);
	capture->socket = pair[1];
	capture->break_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = attach_receive(capture, &words);
	assert(err <= 0);
	if (err)
		return err;
	close(capture->socket);
	connect_pair(pair);
	run->broker = pair[0];
	capture->socket = pair[1];
	capture->follows = true;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run = { .in = { data, size } };
	unsigned before;

	if (!arena)
		init();
	memcpy(arena, arena_good, ARENA_SIZE);
	memcpy(rings, rings_good, RINGS_SIZE);
	memset(pages, 0, PAGES_SIZE);
	before = open_descriptors();
	for (uint32_t n = input_below(&run.in, 16); n > 0; n--)
		change_memory(&run.in);
	run.capture = capture_new();
	assert(run.capture);
	if (attach(&run) == 0) {
		while (run.in.left)
			step(&run);
		close(run.broker);
	}
	nr_capture_close(run.capture);
	assert(open_descriptors() == before);
	return 0;
}
