// SPDX-License-Identifier: BSD-2-Clause
/*
 * A hostile broker. What it hands out at an attach or a move may be any
 * descriptors with anything in them, and its lane changes the memory under the
 * library later. Whatever comes: each batch lies in the memory that was mapped,
 * an end stays the end, every place for a lease is either free or held, and no
 * descriptor is left behind. It may also be what answers a question, what is
 * there again after the broker's death, or who wrote the line that a capture is
 * inherited by.
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

/* Behind all that this process opens: what a line of text may name. */
#define FIRST_LENT 700
#define LENT_MAX 64

struct run {
	struct input in;
	struct nr_capture *capture;
	int broker; /* its end of the connection */
	struct nr_batch batches[BATCHES_MAX];
	unsigned batch_count;
	int final;
	uint32_t next_record; /* of the lane that plays by the rules */
	int answering; /* the broker's end of a connection that was asked for */
};

static struct run *running; /* for the broker that is dialled */

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
static const struct {
	uint32_t type;
	size_t size;
} answers[] = {
	{ NR_MSG_DONE, sizeof(struct nr_msg) },
	{ NR_MSG_CHANNEL, sizeof(struct nr_msg_channel) },
	{ NR_MSG_SOURCE, sizeof(struct nr_msg_source) },
	{ NR_MSG_CHANNEL_LANE, sizeof(struct nr_msg_channel_lane) },
	{ NR_MSG_CAPTURE, sizeof(struct nr_msg_capture) },
	{ NR_MSG_BROKER, sizeof(struct nr_msg_broker) },
};
#define ANSWERS (sizeof(answers) / sizeof(answers[0]))

/* To a question; without a string that ends. */
static unsigned make_answer(union message *message, uint32_t which)
{
	memset(message, 'x', sizeof(*message));
	wire_init(&message->msg, answers[which % ANSWERS].type,
		  answers[which % ANSWERS].size, 1);
	return 0;
}

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
	case 6:
		return make_answer(message, which);
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

static void take(struct run *run, struct nr_batch *batch, int r)
{
	if (run->final)
		assert(r == run->final || r == 0);
	if (r < 0)
		run->final = r;
	if (r != 1)
		return;
	check_batch(batch);
	run->batch_count++;
}

static void next(struct run *run)
{
	struct nr_batch *batch = &run->batches[run->batch_count];

	if (run->batch_count == BATCHES_MAX)
		return;
	take(run, batch, nr_capture_next(run->capture, batch));
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

/* The calls that wait: for no time, or till a moment that is over. */
static void receive(struct run *run)
{
	struct nr_batch *batch = &run->batches[run->batch_count];
	const struct timespec long_ago = { 0, 0 };
	uint32_t what = input_byte(&run->in);

	if (run->batch_count == BATCHES_MAX)
		return;
	if (what & 1)
		nr_capture_break(run->capture);
	if (what & 2)
		run->capture->listened_ms = 0;
	take(run, batch,
	     what & 4 ? nr_capture_recv_until(run->capture, batch, &long_ago) :
			nr_capture_recv(run->capture, batch, 0));
}

static int stop(struct nr_batch *batch, void *data)
{
	(void)data;
	check_batch(batch);
	return 1;
}

static void loop(struct run *run)
{
	int r;

	nr_capture_break(run->capture); /* it would wait */
	r = nr_capture_loop(run->capture, stop, NULL);
	assert(r <= 1);
}

/* ------------------------------------------------- a broker that is dialled */

static void connect_pair(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		perror("socketpair");
		abort();
	}
}

/* In place of the library's: see CMakeLists.txt. */
int __wrap_dial_connect(const char *path);

/* It says all it has to say before it is asked. */
int __wrap_dial_connect(const char *path)
{
	struct input *in = &running->in;
	uint32_t count = input_below(in, MESSAGES_MAX);
	int pair[2];

	(void)path;
	if (running->answering >= 0)
		return -ECONNREFUSED;
	connect_pair(pair);
	while (count--)
		say(in, pair[0]);
	shutdown(pair[0], SHUT_WR);
	running->answering = pair[0];
	return pair[1];
}

static void hang_up(struct run *run)
{
	if (run->answering >= 0)
		close(run->answering);
	run->answering = -1;
}

#define ENDS(msg, type, field)                                                 \
	(memchr(((const type *)(const void *)(msg))->field, 0,                 \
		sizeof(((const type *)(const void *)(msg))->field)) != NULL)

static int check_answer(const struct nr_msg *msg, void *data)
{
	size_t i = 0;

	assert(data == running);
	while (i < ANSWERS && answers[i].type != msg->type)
		i++;
	assert(i > 0 && i < ANSWERS && msg->length >= answers[i].size);
	if (msg->type == NR_MSG_CHANNEL)
		assert(ENDS(msg, struct nr_msg_channel, channel) &&
		       ENDS(msg, struct nr_msg_channel, source) &&
		       ENDS(msg, struct nr_msg_channel, backend) &&
		       ENDS(msg, struct nr_msg_channel, filter));
	if (msg->type == NR_MSG_SOURCE)
		assert(ENDS(msg, struct nr_msg_source, source) &&
		       ENDS(msg, struct nr_msg_source, interface));
	if (msg->type == NR_MSG_CHANNEL_LANE)
		assert(ENDS(msg, struct nr_msg_channel_lane, channel));
	if (msg->type == NR_MSG_CAPTURE)
		assert(ENDS(msg, struct nr_msg_capture, channel) &&
		       ENDS(msg, struct nr_msg_capture, comm) &&
		       ENDS(msg, struct nr_msg_capture, group));
	return msg->id == 77;
}

static void ask(struct run *run)
{
	char text[16] = "";
	int err;

	switch (input_below(&run->in, 4)) {
	case 0:
		err = nr_broker_list("x", check_answer, run);
		break;
	case 1:
		err = nr_broker_stat("x", NULL, check_answer, run, text,
				     sizeof(text));
		break;
	case 2:
		err = nr_broker_stat("x", "channel", check_answer, run, text,
				     sizeof(text));
		break;
	default:
		err = nr_broker_reload("x", text, sizeof(text));
	}
	assert(err <= 1);
	assert(memchr(text, 0, sizeof(text)));
	hang_up(run);
}

/* From its first message to the last step: a capture like any other. */
static void open_anew(struct run *run)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	struct nr_batch batch;

	options.follow = 1;
	options.socket = "x";
	if (nr_capture_open("channel", &options, &capture) == 0) {
		if (nr_capture_recv(capture, &batch, 0) == 1)
			check_batch(&batch);
		for (unsigned i = 0; i < capture->lane_count; i++)
			check_lane(&capture->lanes[i]);
		nr_capture_close(capture);
	}
	hang_up(run);
}

static void reattach(struct run *run)
{
	int pair[2], err = nr_capture_reattach(run->capture, 0);

	hang_up(run);
	if (err) {
		assert(err < 0);
		return;
	}
	/* It goes on over a connection that stays. */
	run->final = 0;
	close(run->broker);
	connect_pair(pair);
	assert(dup3(pair[1], run->capture->socket, O_CLOEXEC) >= 0);
	close(pair[1]);
	run->broker = pair[0];
}

/* ---------------------------------------------------------- a line of text */

struct line {
	char text[NR_SPEC_MAX * 2];
	size_t length;
	unsigned lent;
};

static void put(struct line *line, char before, unsigned long long value)
{
	int n = snprintf(line->text + line->length,
			 sizeof(line->text) - line->length, "%c%llu", before,
			 value);

	assert(n > 0 && line->length + (size_t)n < sizeof(line->text));
	line->length += (size_t)n;
}

static void lend(struct line *line, char before, int fd)
{
	int lent = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_LENT);

	assert(lent >= FIRST_LENT && line->lent++ < LENT_MAX);
	put(line, before, (unsigned)lent);
}

/* A good line, of which the input may choose each descriptor. */
static void write_line(struct line *line, struct input *in, int socket)
{
	uint32_t what = input_byte(in), lanes = 1 + what % LANES;
	bool chooses = what & 0x80;

	memcpy(line->text, "v1", 3);
	line->length = 2;
	lend(line, ':', chooses ? fds[input_below(in, FDS)] : socket);
	lend(line, ',', fds[chooses ? input_below(in, FDS) : PAGES]);
	lend(line, ',', fds[PIPE]);
	for (uint32_t l = 0; l < lanes; l++) {
		put(line, ':', what & 0x40 ? input_byte(in) : l);
		lend(line, ',', fds[chooses ? input_below(in, FDS) : ARENA]);
		lend(line, ',', fds[chooses ? input_below(in, FDS) : RINGS]);
		put(line, ',', l * NR_RING_SIZE);
		put(line, ',', what & 0x20 ? input_u32(in) : NR_RING_SIZE);
		put(line, ',', what & 0x20 ? input_u32(in) : 0);
		if (what & 0x10)
			lend(line, ',', fds[REGION]);
	}
	memcpy(line->text + line->length, "=channel", 9);
	line->length += 8;
	/* No comma, no 0: a number of fewer digits would name what is ours. */
	for (uint32_t n = what >> 2 & 3; n > 0; n--)
		line->text[input_u32(in) % line->length] =
			"123456789x- +v\0"[input_byte(in) % 15];
}

static void inherit(struct run *run)
{
	struct line line = { .lent = 0 };
	struct nr_capture *capture;
	int pair[2], open = 0;

	connect_pair(pair);
	write_line(&line, &run->in, pair[0]);
	if (nr_capture_open_inherited(line.text, &capture) == 0) {
		for (unsigned i = 0; i < capture->lane_count; i++)
			check_lane(&capture->lanes[i]);
		for (unsigned i = 0; i < 2; i++) {
			struct nr_batch batch;

			if (nr_capture_next(capture, &batch) == 1)
				check_batch(&batch);
		}
		nr_capture_close(capture);
	} else { /* all of it is ours still */
		open = (int)line.lent;
	}
	for (unsigned i = 0; i < line.lent; i++)
		open -= close(FIRST_LENT + (int)i) == 0;
	assert(open <= 0);
	close(pair[0]);
	close(pair[1]);
}

static void hand_on(struct run *run)
{
	char text[NR_SPEC_MAX];
	int err = nr_capture_export(run->capture, text, sizeof(text));

	assert(err == 0 || err == -EBUSY || err == -ENOSPC);
}

static void step(struct run *run)
{
	switch (input_byte(&run->in) % 18) {
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
	case 10:
	case 11:
		receive(run);
		break;
	case 12:
		loop(run);
		break;
	case 13:
		ask(run);
		break;
	case 14:
		open_anew(run);
		break;
	case 15:
		reattach(run);
		break;
	case 16:
		inherit(run);
		break;
	case 17:
		hand_on(run);
		break;
	default:
		statistics(run);
	}
	for (unsigned i = 0; i < run->capture->lane_count; i++)
		check_lane(&run->capture->lanes[i]);
}

/* Reads what it was told, then goes on over a connection that stays. */
static int attach(struct run *run)
{
	struct nr_capture *capture = run->capture;
	char text[64];
	const struct words words = { text, sizeof(text) };
	uint32_t what = input_byte(&run->in), count = what % MESSAGES_MAX;
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
	capture->follows = what < 192; /* else there are only bells */
	wire_init(&capture->request.msg, NR_MSG_ATTACH,
		  sizeof(capture->request), 1);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run = { .in = { data, size }, .answering = -1 };
	unsigned before;

	if (!arena)
		init();
	running = &run;
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
