/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library against a broker made by hand: a thread says what the test told
 * it to say, and the test plays the lane on memory of its own. So everything
 * that a broken broker could say or write can be said and written.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <netring.h>
#include <netring/ring.h>

#include "../client/capture.h"
#include "wire.h"

#define LANES 2
#define ARENA_SIZE (2u << 20)
#define BLOCK_SIZE 4096u
#define BLOCK_COUNT 8u
#define BLOCK_OFFSET 4096u
#define STREAM_OFFSET 128u
#define RING_MEMORY (8u * NR_PAGE)
#define RING_MAP_OFFSET NR_PAGE
#define RING_MAP_SIZE (7u * NR_PAGE)
#define RING_OFFSET NR_PAGE
#define SLOTS 4u
#define BASE_SEQ 100u
#define LEASE(n) (UINT64_C(0xabcd000000000000) + (n))

/* A lane's memory as the lane has it, and the descriptors to hand out. */
struct memory {
	struct nr_arena *arena;
	uint8_t *ring_memory;
	struct nr_ring *ring;
	int arena_fd, ring_fd;		   /* read-only */
	int arena_write_fd, ring_write_fd; /* not to be handed out */
};

/* What the broker sends, in order; a test may spoil any of it. */
struct said {
	union {
		struct nr_msg msg;
		struct nr_msg_attached attached;
		struct nr_msg_lane lane;
		struct nr_msg_error error;
		struct nr_msg_channel channel;
		uint8_t bytes[NR_MSG_MAX + 8];
	};
	size_t length;
	int fds[WIRE_FDS_MAX + 1];
	unsigned fd_count;
};

static struct broker {
	char dir[32];
	char path[64];
	int listener;
	int socket; /* of the last one that connected */
	pthread_t thread;
	struct wire_msg request;
	bool acknowledged;
	bool hangs_up;	   /* when it has said all */
	unsigned refusals; /* connections to answer with refusal first */
	struct said refusal;
	struct said script[LANES + 2];
	unsigned script_length;
	unsigned lanes;
	struct memory memory[LANES];
	struct nr_return *pages;
	int pages_fd;
} broker;

/* ------------------------------------------------------------ hand-made memory
 */

static int reopen_read_only(int fd)
{
	char path[64];
	int read_only;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(read_only >= 0);
	return read_only;
}

static void *memory_make(size_t size, int *write_fd, int *read_fd)
{
	void *map;

	*write_fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert(ge(int, *write_fd, 0));
	cr_assert(ftruncate(*write_fd, (off_t)size) == 0);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *write_fd,
		   0);
	cr_assert(map != MAP_FAILED);
	cr_assert(fcntl(*write_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) ==
		  0);
	*read_fd = reopen_read_only(*write_fd);
	return map;
}

static void lane_make(struct memory *memory, uint32_t number)
{
	struct nr_arena *arena = memory_make(
		ARENA_SIZE, &memory->arena_write_fd, &memory->arena_fd);
	uint8_t *rings = memory_make(RING_MEMORY, &memory->ring_write_fd,
				     &memory->ring_fd);
	struct nr_ring *ring = (void *)(rings + RING_MAP_OFFSET + RING_OFFSET);

	*arena = (struct nr_arena){ .version = NR_ABI_VERSION,
				    .magic = NR_ARENA_MAGIC,
				    .size = ARENA_SIZE,
				    .id = 70 + number,
				    .block_size = BLOCK_SIZE,
				    .block_count = BLOCK_COUNT,
				    .block_offset = BLOCK_OFFSET,
				    .record_offset = sizeof(struct nr_block),
				    .record_stride = 40, /* a newer minor's */
				    .stream_offset = STREAM_OFFSET,
				    .stream_stride = 64,
				    .stream_count = 2,
				    .flags = NR_ARENA_COUNTS,
				    .seen = 1000,
				    .filtered = 900 };
	*ring = (struct nr_ring){ .version = NR_ABI_VERSION,
				  .magic = NR_RING_MAGIC,
				  .capture_id = 5,
				  .lane = number,
				  .slots = SLOTS,
				  .slot_offset = 512,
				  .slot_stride = 48,
				  .leases = 3,
				  .stream = 1,
				  .base_seq = BASE_SEQ,
				  .base_seen = 1000,
				  .base_filtered = 900,
				  .refused_at = NR_SEQ_NONE };
	memory->arena = arena;
	memory->ring_memory = rings;
	memory->ring = ring;
}

static struct nr_stream *stream_of(struct memory *memory)
{
	return (void *)((uint8_t *)memory->arena + STREAM_OFFSET + 64);
}

static struct nr_block *block_of(struct memory *memory, uint32_t index)
{
	return (void *)((uint8_t *)memory->arena + BLOCK_OFFSET +
			index * BLOCK_SIZE);
}

/* Fills in block @index: @count packets "packet SEQ", ready to be published. */
static void block_fill(struct memory *memory, uint32_t index, uint64_t seq,
		       uint32_t count)
{
	struct nr_block *block = block_of(memory, index);
	uint8_t *data = (uint8_t *)block + BLOCK_SIZE;
	uint32_t i;

	block->seq = seq;
	block->link_type = 1;
	for (i = 0; i < count; i++) {
		struct nr_record *record =
			(void *)((uint8_t *)(block + 1) + 40 * i);
		char text[32];
		int n = snprintf(text, sizeof(text), "packet %llu",
				 (unsigned long long)(seq + i));

		data -= n;
		memcpy(data, text, (size_t)n);
		*record = (struct nr_record){
			.ts_ns = seq + i,
			.offset = (uint32_t)(data - (uint8_t *)memory->arena),
			.caplen = (uint32_t)n,
			.wirelen = (uint32_t)n,
		};
	}
}

static struct nr_descriptor *slot_of(struct memory *memory, uint64_t n)
{
	return (void *)((uint8_t *)memory->ring + 512 + n % SLOTS * 48);
}

static void lend(struct memory *memory, uint64_t lease, uint32_t block,
		 uint32_t first)
{
	uint64_t head = memory->ring->head;

	*slot_of(memory, head) = (struct nr_descriptor){
		.lease = lease,
		.seq = block_of(memory, block)->seq + first,
		.arena_id = memory->arena->id,
		.block = block,
		.first = first,
	};
	nr_ring_publish(memory->ring, head + 1);
}

/* A block with @count packets, lent, and closed or not. */
static void lend_filled(struct memory *memory, uint64_t lease, uint32_t block,
			uint64_t seq, uint32_t count, uint32_t closed)
{
	block_fill(memory, block, seq, count);
	lend(memory, lease, block, 0);
	nr_block_publish(block_of(memory, block), count, closed);
	nr_count_store(&stream_of(memory)->published, seq + count);
}

/* ------------------------------------------------------------ hand-made broker
 */

static void send_raw(int socket, const struct said *said)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(said->fds))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)said->bytes, said->length };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (said->fd_count) {
		struct cmsghdr *cmsg;

		header.msg_control = control.bytes;
		header.msg_controllen =
			CMSG_SPACE(said->fd_count * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(said->fd_count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), said->fds,
		       said->fd_count * sizeof(int));
	}
	/* a client that has seen enough hangs up: not our business */
	(void)!sendmsg(socket, &header, MSG_NOSIGNAL);
}

/* Returns what wire_recv() does, but waits for it: 0 is the end. */
static int await(int socket, struct wire_msg *msg)
{
	struct pollfd fd = { .fd = socket, .events = POLLIN };

	if (poll(&fd, 1, 10000) != 1)
		return -ETIMEDOUT;
	return wire_recv(socket, msg);
}

static void broker_hang_up(void)
{
	close(broker.socket);
	broker.socket = -1;
}

static void *broker_serve(void *unused)
{
	struct wire_msg msg;
	unsigned i;

	(void)unused;
	for (;;) {
		broker.socket =
			accept4(broker.listener, NULL, NULL, SOCK_CLOEXEC);
		if (await(broker.socket, &broker.request) != 1)
			break;
		if (!broker.refusals)
			break;
		broker.refusals--;
		send_raw(broker.socket, &broker.refusal);
		close(broker.socket);
	}
	for (i = 0; i < broker.script_length; i++)
		send_raw(broker.socket, &broker.script[i]);
	if (broker.hangs_up)
		broker_hang_up();
	else if (await(broker.socket, &msg) == 1)
		broker.acknowledged = msg.msg.type == NR_MSG_ACK;
	return unused;
}

static void said_init(struct said *said, uint32_t type, size_t length)
{
	memset(said, 0, sizeof(*said));
	wire_init(&said->msg, type, length, 1);
	said->length = length;
}

static void broker_listen(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, broker.path);
	broker.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	cr_assert(bind(broker.listener, (struct sockaddr *)&address,
		       sizeof(address)) == 0);
	cr_assert(listen(broker.listener, 4) == 0);
}

static void say_all(void)
{
	unsigned i;

	said_init(&broker.script[0], NR_MSG_ATTACHED,
		  sizeof(struct nr_msg_attached));
	broker.script[0].attached.capture_id = 5;
	broker.script[0].attached.lane_count = broker.lanes;
	broker.script[0].fds[0] = broker.pages_fd;
	broker.script[0].fd_count = 1;
	broker.script_length = 1 + broker.lanes;
	for (i = 0; i < broker.lanes; i++) {
		struct said *said = &broker.script[1 + i];

		said_init(said, NR_MSG_LANE, sizeof(struct nr_msg_lane));
		said->lane.lane = i;
		said->lane.return_page = i;
		said->lane.arena_size = ARENA_SIZE;
		said->lane.ring_map_offset = RING_MAP_OFFSET;
		said->lane.ring_map_size = RING_MAP_SIZE;
		said->lane.ring_offset = RING_OFFSET;
		said->lane.arena_id = 70 + i;
		said->fds[0] = broker.memory[i].arena_fd;
		said->fds[1] = broker.memory[i].ring_fd;
		said->fd_count = 2;
	}
}

static void broker_init(unsigned lanes)
{
	unsigned i;
	int unused;

	memset(&broker, 0, sizeof(broker));
	broker.socket = -1;
	broker.lanes = lanes;
	strcpy(broker.dir, "/tmp/nr-client-XXXXXX");
	cr_assert(mkdtemp(broker.dir) != NULL);
	snprintf(broker.path, sizeof(broker.path), "%s/s", broker.dir);
	broker_listen();
	for (i = 0; i < lanes; i++)
		lane_make(&broker.memory[i], i);
	broker.pages = memory_make(LANES * NR_PAGE, &broker.pages_fd, &unused);
	close(unused);
	/* pages are used again: a new capture goes on where the last was */
	broker.pages[0].head = 1000;
	say_all();
}

static void broker_run(void)
{
	cr_assert(pthread_create(&broker.thread, NULL, broker_serve, NULL) ==
		  0);
}

static void broker_join(void)
{
	pthread_join(broker.thread, NULL);
}

static void memory_free(void *map, size_t size, int a, int b)
{
	munmap(map, size);
	close(a);
	if (b >= 0)
		close(b);
}

static void broker_deinit(void)
{
	unsigned i;

	if (broker.socket >= 0)
		broker_hang_up();
	close(broker.listener);
	for (i = 0; i < broker.lanes; i++) {
		struct memory *m = &broker.memory[i];

		memory_free(m->arena, ARENA_SIZE, m->arena_fd,
			    m->arena_write_fd);
		memory_free(m->ring_memory, RING_MEMORY, m->ring_fd,
			    m->ring_write_fd);
	}
	memory_free(broker.pages, LANES * NR_PAGE, broker.pages_fd, -1);
	unlink(broker.path);
	rmdir(broker.dir);
}

static int try_open(struct nr_capture **capture)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	int err;

	options.socket = broker.path;
	broker_run();
	err = nr_capture_open("lan", &options, capture);
	broker_join();
	return err;
}

static struct nr_capture *attached(unsigned lanes)
{
	struct nr_capture *capture = NULL;

	broker_init(lanes);
	cr_assert(eq(int, try_open(&capture), 0));
	cr_assert(broker.acknowledged);
	return capture;
}

static void done(struct nr_capture *capture)
{
	nr_capture_close(capture);
	broker_deinit();
}

/* --------------------------------------------------------------- what is held
 */

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static unsigned shared_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[4096];
	unsigned n = 0;

	while (fgets(line, sizeof(line), maps))
		n += strstr(line, "memfd:test") != NULL;
	fclose(maps);
	return n;
}

/* The batch is packets @seq to @seq + @count - 1, each with its bytes. */
static void check_batch(const struct nr_batch *batch, uint64_t seq,
			uint32_t count)
{
	uint32_t i;

	cr_assert(eq(u64, batch->seq, seq));
	cr_assert(eq(u32, batch->count, count));
	for (i = 0; i < count; i++) {
		const struct nr_record *r = nr_batch_record(batch, i);
		const uint8_t *data = nr_batch_data(batch, r);
		char text[32];
		int n = snprintf(text, sizeof(text), "packet %llu",
				 (unsigned long long)(seq + i));

		cr_assert(eq(u64, r->ts_ns, seq + i));
		cr_assert(eq(u32, r->caplen, (uint32_t)n));
		cr_assert(data && memcmp(data, text, (size_t)n) == 0);
	}
}

static void check_next(struct nr_capture *capture, struct nr_batch *batch,
		       uint64_t seq, uint32_t count)
{
	cr_assert(eq(int, nr_capture_next(capture, batch), 1));
	check_batch(batch, seq, count);
}

static void send_bell(void)
{
	struct nr_msg bell;

	wire_init(&bell, NR_MSG_BELL, sizeof(bell), 0);
	cr_assert(wire_send(broker.socket, &bell, NULL, 0) == 0);
}

static bool is_readable(const struct nr_capture *capture)
{
	struct pollfd fd = { .fd = nr_capture_fd(capture), .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

/* --------------------------------------------------------------------- reading
 */

Test(client, attaches_and_asks_for_what_the_options_say)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	struct nr_msg_attach attach;
	unsigned fds;

	broker_init(1);
	fds = open_fds();
	options.socket = broker.path;
	options.leases = 7;
	options.guarantee = 3;
	options.budget = 4;
	options.lane_plus_one = 1;
	broker_run();
	cr_assert(nr_capture_open("lan", &options, &capture) == 0);
	broker_join();
	memcpy(&attach, broker.request.bytes, sizeof(attach));
	cr_assert(eq(str, attach.channel, (char *)"lan"));
	cr_assert(eq(u32, attach.leases, 7));
	cr_assert(eq(u32, attach.guarantee, 3));
	cr_assert(eq(u32, attach.budget, 4));
	cr_assert(eq(u32, attach.lane, 0));
	cr_assert(broker.acknowledged);
	cr_assert(strcmp(nr_capture_channel(capture), "lan") == 0);
	cr_assert(eq(uint, nr_capture_lanes(capture), 1));
	nr_capture_close(capture);
	broker_hang_up();
	cr_assert(eq(uint, open_fds(), fds));
	broker_deinit();
}

Test(client, reads_two_batches_of_a_block_then_the_next_block_in_place)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_batch a, b, c;

	cr_assert(eq(int, nr_capture_next(capture, &a), 0));
	block_fill(m, 2, BASE_SEQ, 5);
	lend(m, LEASE(1), 2, 0);
	cr_assert(eq(int, nr_capture_next(capture, &a), 0));
	nr_block_publish(block_of(m, 2), 2, 0);
	check_next(capture, &a, BASE_SEQ, 2);
	cr_assert(eq(u32, a.flags, 0));
	cr_assert(eq(int, nr_capture_next(capture, &b), 0));
	nr_block_publish(block_of(m, 2), 5, NR_BLOCK_CLOSED);
	lend_filled(m, LEASE(2), 0, BASE_SEQ + 5, 3, 0);
	check_next(capture, &b, BASE_SEQ + 2, 3);
	cr_assert(eq(u32, b.flags, NR_BATCH_LAST_OF_BLOCK));
	check_next(capture, &c, BASE_SEQ + 5, 3);
	cr_assert(eq(u64, a.gap + b.gap + c.gap, 0));
	check_batch(&a, BASE_SEQ, 2);
	cr_assert(eq(u64, broker.pages[0].head, 1000));
	nr_batch_release(&b);
	cr_assert(eq(u64, broker.pages[0].head, 1000), "a is still out");
	nr_batch_release(&a);
	cr_assert(eq(u64, broker.pages[0].head, 1001));
	cr_assert(eq(u64, broker.pages[0].slots[1000 % 256], LEASE(1)));
	nr_batch_release(&c);
	cr_assert(eq(u64, broker.pages[0].head, 1001), "its block is open");
	nr_batch_release(&c);
	done(capture);
}

Test(client, gives_back_in_any_order_and_is_lent_no_more_than_it_may_hold)
{
	static const unsigned order[] = { 1, 2, 0 };
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_batch held[3], batch;
	unsigned i;

	for (i = 0; i < 3; i++)
		lend_filled(m, LEASE(i), i, BASE_SEQ + 2 * i, 2,
			    NR_BLOCK_CLOSED);
	for (i = 0; i < 3; i++)
		check_next(capture, &held[i], BASE_SEQ + 2 * i, 2);
	cr_assert(eq(int, nr_capture_next(capture, &batch), 0));
	for (i = 0; i < 3; i++) {
		nr_batch_release(&held[order[i]]);
		cr_assert(eq(u64, broker.pages[0].head, 1001 + i));
		cr_assert(eq(u64, broker.pages[0].slots[(1000 + i) % 256],
			     LEASE(order[i])));
	}
	/* the slots go round */
	for (i = 3; i < 20; i++) {
		lend_filled(m, LEASE(i), i % BLOCK_COUNT, BASE_SEQ + 2 * i, 2,
			    NR_BLOCK_CLOSED);
		check_next(capture, &batch, BASE_SEQ + 2 * i, 2);
		nr_batch_release(&batch);
		cr_assert(eq(u64, broker.pages[0].head, 1001 + i));
	}
	done(capture);
}

/* Its own fault, and its own loss at most. */
Test(client, gives_back_once_what_is_released_by_two_copies)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_batch batch, copy;

	lend_filled(m, LEASE(7), 0, BASE_SEQ, 2, NR_BLOCK_CLOSED);
	check_next(capture, &batch, BASE_SEQ, 2);
	copy = batch;
	nr_batch_release(&batch);
	nr_batch_release(&copy);
	cr_assert(eq(u64, broker.pages[0].head, 1001));
	lend_filled(m, LEASE(8), 1, BASE_SEQ + 2, 2, NR_BLOCK_CLOSED);
	check_next(capture, &batch, BASE_SEQ + 2, 2);
	nr_batch_release(&batch);
	cr_assert(eq(u64, broker.pages[0].head, 1002));
	cr_assert(eq(u64, broker.pages[0].slots[1001 % 256], LEASE(8)));
	done(capture);
}

Test(client, gives_back_a_block_that_closes_after_it_was_read_out)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_batch batch;

	lend_filled(m, LEASE(9), 0, BASE_SEQ, 2, 0);
	check_next(capture, &batch, BASE_SEQ, 2);
	nr_batch_release(&batch);
	cr_assert(eq(int, nr_capture_arm(capture), 0));
	nr_block_publish(block_of(m, 0), 2, NR_BLOCK_CLOSED);
	cr_assert(eq(int, nr_capture_arm(capture), 1));
	cr_assert(eq(u64, broker.pages[0].head, 1000), "arm consumes nothing");
	cr_assert(eq(int, nr_capture_next(capture, &batch), 0));
	cr_assert(eq(u64, broker.pages[0].head, 1001));
	cr_assert(eq(u64, broker.pages[0].slots[1000 % 256], LEASE(9)));
	cr_assert(eq(int, nr_capture_arm(capture), 0));
	done(capture);
}

Test(client, tells_a_gap_with_the_batch_after_it_and_in_the_statistics)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_stats stats = NR_STATS_INIT;
	struct nr_batch batch;

	lend_filled(m, LEASE(0), 0, BASE_SEQ, 4, NR_BLOCK_CLOSED);
	check_next(capture, &batch, BASE_SEQ, 4);
	nr_batch_release(&batch);
	/* refused at 104; the stream goes on to 110 */
	nr_ring_store_loss(m->ring, 0, BASE_SEQ + 4, 1);
	nr_count_store(&stream_of(m)->published, BASE_SEQ + 10);
	nr_count_store(&m->arena->seen, 1015);
	nr_count_store(&m->arena->filtered, 905);
	cr_assert(eq(int, nr_capture_stats(capture, &stats), 0));
	cr_assert(eq(u64, stats.delivered, 4));
	cr_assert(eq(u64, stats.lost[NR_LOST_NOT_ADMITTED], 6));
	cr_assert(eq(u64, stats.refusals, 1));
	cr_assert(eq(u64, stats.counts_shown, 1));
	cr_assert(eq(u64, stats.seen, 15));
	cr_assert(eq(u64, stats.filtered, 5));
	cr_assert(eq(u64, stats.seen,
		     stats.delivered + stats.filtered + nr_stats_lost(&stats)));
	/* let in at 112, in the middle of a block */
	block_fill(m, 3, BASE_SEQ + 10, 5);
	nr_count_store(&stream_of(m)->published, BASE_SEQ + 12);
	nr_ring_store_loss(m->ring, 8, NR_SEQ_NONE, 1);
	lend(m, LEASE(1), 3, 2);
	nr_block_publish(block_of(m, 3), 5, 0);
	nr_count_store(&stream_of(m)->published, BASE_SEQ + 15);
	check_next(capture, &batch, BASE_SEQ + 12, 3);
	cr_assert(eq(u64, batch.gap, 8));
	cr_assert(eq(int, nr_capture_stats(capture, &stats), 0));
	cr_assert(eq(u64, stats.delivered, 7));
	cr_assert(eq(u64, stats.lost[NR_LOST_NOT_ADMITTED], 8));
	done(capture);
}

Test(client, statistics_never_go_back_nor_hang_on_a_lane_that_was_killed)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_stats stats = NR_STATS_INIT, last = NR_STATS_INIT, diff;

	nr_count_store(&stream_of(m)->published, BASE_SEQ + 9);
	nr_capture_stats(capture, &stats);
	nr_stats_diff(&stats, &last, &diff);
	cr_assert(eq(u64, diff.delivered, 9));
	/* between two stores of the lane */
	nr_ring_store_loss(m->ring, 4, NR_SEQ_NONE, 1);
	m->ring->lock++;
	nr_capture_stats(capture, &stats);
	cr_assert(eq(u64, stats.delivered, 9));
	cr_assert(eq(u64, stats.lost[NR_LOST_NOT_ADMITTED], 0));
	m->ring->lock++;
	nr_count_store(&stream_of(m)->published, BASE_SEQ + 14);
	nr_capture_stats(capture, &stats);
	nr_stats_diff(&stats, &last, &diff);
	cr_assert(eq(u64, diff.delivered, 1));
	cr_assert(eq(u64, diff.lost[NR_LOST_NOT_ADMITTED], 4));
	cr_assert(eq(u64, diff.counts_shown, 1));
	/* an older program's structure is not written beyond its end */
	stats.size = offsetof(struct nr_stats, filtered);
	stats.filtered = 77;
	cr_assert(eq(int, nr_capture_stats(capture, &stats), 0));
	cr_assert(eq(u64, stats.filtered, 77));
	stats.size = 0;
	cr_assert(eq(int, nr_capture_stats(capture, &stats), -EINVAL));
	done(capture);
}

Test(client, believes_the_end_after_the_last_packet_and_says_it_each_time)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_batch a, b;

	lend_filled(m, LEASE(0), 0, BASE_SEQ, 4, NR_BLOCK_CLOSED);
	lend_filled(m, LEASE(1), 1, BASE_SEQ + 4, 1, 0);
	nr_ring_end(m->ring, NR_END_WORD(BASE_SEQ + 5, NR_END_SOURCE));
	cr_assert(eq(int, nr_capture_recv(capture, &a, -1), 1));
	check_batch(&a, BASE_SEQ, 4);
	check_next(capture, &b, BASE_SEQ + 4, 1);
	cr_assert(eq(int, nr_capture_next(capture, &a), -ENODATA));
	cr_assert(eq(int, nr_capture_arm(capture), 1));
	cr_assert(eq(int, nr_capture_recv(capture, &a, -1), -ENODATA));
	check_batch(&b, BASE_SEQ + 4, 1);
	nr_batch_release(&b);
	cr_assert(eq(u64, broker.pages[0].slots[1000 % 256], LEASE(1)),
		  "the end drops the open block");
	done(capture);
}

Test(client, ends_behind_a_refused_tail_and_before_a_stream_that_goes_on)
{
	struct nr_capture *capture = attached(2);
	struct nr_stats stats = NR_STATS_INIT;
	struct memory *m = broker.memory;
	struct nr_batch batch;

	lend_filled(&m[0], LEASE(0), 0, BASE_SEQ, 4, NR_BLOCK_CLOSED);
	nr_ring_store_loss(m[0].ring, 0, BASE_SEQ + 4, 1);
	nr_count_store(&stream_of(&m[0])->published, BASE_SEQ + 50);
	nr_ring_end(m[0].ring, NR_END_WORD(BASE_SEQ + 50, NR_END_SOURCE));
	/* ended at 3, of a block that has 9 by now */
	nr_ring_end(m[1].ring, NR_END_WORD(BASE_SEQ + 3, NR_END_RETIRED));
	lend_filled(&m[1], LEASE(0), 0, BASE_SEQ, 9, 0);
	check_next(capture, &batch, BASE_SEQ, 4);
	check_next(capture, &batch, BASE_SEQ, 3);
	cr_assert(eq(u16, batch.lane, 1));
	cr_assert(eq(int, nr_capture_next(capture, &batch), -ESTALE));
	cr_assert(eq(int, nr_capture_stats(capture, &stats), 0));
	cr_assert(eq(u64, stats.delivered, 4 + 3));
	cr_assert(eq(u64, stats.lost[NR_LOST_NOT_ADMITTED], 46));
	done(capture);
}

Test(client, reads_lanes_in_turns_and_ends_when_all_have_ended)
{
	struct nr_capture *capture = attached(2);
	struct memory *m = broker.memory;
	struct nr_batch batch;
	unsigned i;

	for (i = 0; i < 3; i++) {
		lend_filled(&m[0], LEASE(i), i, BASE_SEQ + i, 1,
			    NR_BLOCK_CLOSED);
		lend_filled(&m[1], LEASE(i), i, BASE_SEQ + i, 1,
			    NR_BLOCK_CLOSED);
	}
	for (i = 0; i < 6; i++) {
		check_next(capture, &batch, BASE_SEQ + i / 2, 1);
		cr_assert(eq(u16, batch.lane, (uint16_t)(i % 2)));
		nr_batch_release(&batch);
	}
	nr_ring_end(m[0].ring, NR_END_WORD(BASE_SEQ + 3, NR_END_SOURCE));
	cr_assert(eq(int, nr_capture_arm(capture), 1));
	cr_assert(eq(int, nr_capture_next(capture, &batch), 0));
	cr_assert(eq(int, nr_capture_arm(capture), 0));
	lend_filled(&m[1], LEASE(3), 3, BASE_SEQ + 3, 1, NR_BLOCK_CLOSED);
	check_next(capture, &batch, BASE_SEQ + 3, 1);
	nr_ring_end(m[1].ring, NR_END_WORD(BASE_SEQ + 4, NR_END_SHUTDOWN));
	cr_assert(eq(int, nr_capture_next(capture, &batch), -ESHUTDOWN));
	done(capture);
}

Test(client, says_the_worst_of_what_its_lanes_ended_by)
{
	static const struct {
		unsigned why;
		int err;
	} ends[] = { /* the worst first */
		     { NR_END_EVICTED, -EPROTO },
		     { NR_END_DENIED, -EKEYREVOKED },
		     { NR_END_RETIRED, -ESTALE },
		     { NR_END_CHANNEL, -EIDRM },
		     { NR_END_SHUTDOWN, -ESHUTDOWN },
		     { NR_END_SOURCE, -ENODATA }
	};
	const size_t count = sizeof(ends) / sizeof(ends[0]);

	for (size_t i = 0; i < count * count; i++) {
		size_t first = i / count, second = i % count;
		struct nr_capture *capture = attached(2);
		struct nr_batch batch;

		nr_ring_end(broker.memory[0].ring,
			    NR_END_WORD(BASE_SEQ, ends[first].why));
		cr_assert(eq(int, nr_capture_next(capture, &batch), 0));
		nr_ring_end(broker.memory[1].ring,
			    NR_END_WORD(BASE_SEQ, ends[second].why));
		cr_expect(eq(int, nr_capture_next(capture, &batch),
			     ends[first < second ? first : second].err),
			  "%zu, %zu", first, second);
		done(capture);
	}
}

Test(client, reads_all_that_a_dead_broker_left_and_then_says_it_is_gone)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_batch batch;

	lend_filled(m, LEASE(0), 0, BASE_SEQ, 4, NR_BLOCK_CLOSED);
	lend_filled(m, LEASE(1), 1, BASE_SEQ + 4, 4, 0);
	send_bell();
	broker_hang_up();
	cr_assert(eq(int, nr_capture_arm(capture), 1));
	check_next(capture, &batch, BASE_SEQ, 4);
	cr_assert(eq(int, nr_capture_recv(capture, &batch, -1), 1));
	check_batch(&batch, BASE_SEQ + 4, 4);
	cr_assert(eq(int, nr_capture_next(capture, &batch), -EPIPE));
	cr_assert(eq(int, nr_capture_recv(capture, &batch, -1), -EPIPE));
	done(capture);
}

Test(client, prefers_the_reason_in_memory_to_the_hang_up)
{
	struct nr_capture *capture = attached(1);
	struct nr_batch batch;

	nr_ring_end(broker.memory[0].ring,
		    NR_END_WORD(BASE_SEQ, NR_END_CHANNEL));
	broker_hang_up();
	cr_assert(eq(int, nr_capture_arm(capture), 1));
	cr_assert(eq(int, nr_capture_next(capture, &batch), -EIDRM));
	done(capture);
}

/* A message that we never read makes the kernel reset the connection. */
Test(client, a_connection_that_was_reset_is_read_to_its_end)
{
	struct nr_capture *capture = attached(1);
	struct nr_batch batch;

	cr_assert(send(nr_capture_fd(capture), "x", 1, 0) == 1);
	send_bell();
	lend_filled(&broker.memory[0], LEASE(0), 0, BASE_SEQ, 1, 0);
	broker_hang_up();
	cr_assert(eq(int, nr_capture_recv(capture, &batch, 0), 1));
	cr_assert(eq(int, nr_capture_recv(capture, &batch, 0), -EPIPE));
	done(capture);
}

/* --------------------------------------------------------------------- waiting
 */

static void *lane_publishes(void *data)
{
	struct memory *m = data;
	uint64_t armed = 0;

	while (nr_return_armed(broker.pages) == armed)
		usleep(1000);
	lend_filled(m, LEASE(0), 0, BASE_SEQ, 1, 0);
	send_bell();
	return NULL;
}

Test(client, sleeps_until_the_bell)
{
	struct nr_capture *capture = attached(1);
	struct nr_batch batch;
	pthread_t lane;

	cr_assert(eq(int, nr_capture_recv(capture, &batch, 0), 0));
	cr_assert(eq(u64, broker.pages[0].armed, 0), "a poller arms nothing");
	pthread_create(&lane, NULL, lane_publishes, &broker.memory[0]);
	cr_assert(eq(int, nr_capture_recv(capture, &batch, -1), 1));
	check_batch(&batch, BASE_SEQ, 1);
	pthread_join(lane, NULL);
	cr_assert(is_readable(capture));
	cr_assert(eq(int, nr_capture_arm(capture), 0));
	cr_assert(not(is_readable(capture)));
	cr_assert(eq(u64, broker.pages[0].armed, 2));
	nr_batch_release(&batch);
	cr_assert(eq(int, nr_capture_recv(capture, &batch, 30), 0));
	done(capture);
}

/* The lane publishes when the capture touches its return page. */
static struct nr_return *touched;

static void publish_now(int signal)
{
	(void)signal;
	mprotect(touched, NR_PAGE, PROT_READ | PROT_WRITE);
	touched = NULL;
	lend_filled(&broker.memory[0], LEASE(0), 0, BASE_SEQ, 1, 0);
}

/*
 * At that moment it has not armed: the lane rings nobody. So it has to look
 * once more behind it, or sleeps on a packet.
 */
Test(client, arms_before_it_looks_for_the_last_time)
{
	struct nr_capture *capture = attached(1);
	struct nr_batch batch;

	signal(SIGSEGV, publish_now);
	touched = capture->return_map;
	cr_assert(mprotect(touched, NR_PAGE, PROT_NONE) == 0);
	cr_assert(eq(int, nr_capture_arm(capture), 1));
	cr_assert(touched == NULL);
	cr_assert(eq(u64, broker.pages[0].armed, 1));
	check_next(capture, &batch, BASE_SEQ, 1);
	nr_batch_release(&batch);
	signal(SIGSEGV, SIG_DFL);
	done(capture);
}

/* The lane ends when the capture looks whether it has. */
static void *looked_at;

static void end_now(int signal)
{
	struct memory *m = &broker.memory[0];

	(void)signal;
	mprotect(looked_at, NR_PAGE, PROT_READ);
	looked_at = NULL;
	nr_block_publish(block_of(m, 0), 2, 0);
	nr_ring_end(m->ring, NR_END_WORD(BASE_SEQ + 2, NR_END_SOURCE));
}

/*
 * With a last packet in front of the end: who had looked for packets before,
 * would believe the end without it.
 */
Test(client, looks_for_the_end_before_it_looks_for_packets)
{
	struct nr_capture *capture = attached(1);
	struct nr_batch a, b;

	block_fill(&broker.memory[0], 0, BASE_SEQ, 2);
	lend(&broker.memory[0], LEASE(0), 0, 0);
	nr_block_publish(block_of(&broker.memory[0], 0), 1, 0);
	check_next(capture, &a, BASE_SEQ, 1);
	signal(SIGSEGV, end_now);
	looked_at = (void *)(uintptr_t)capture->lanes[0].ring;
	cr_assert(mprotect(looked_at, NR_PAGE, PROT_NONE) == 0);
	check_next(capture, &b, BASE_SEQ + 1, 1);
	cr_assert(looked_at == NULL);
	signal(SIGSEGV, SIG_DFL);
	nr_batch_release(&a);
	nr_batch_release(&b);
	cr_assert(eq(int, nr_capture_next(capture, &a), -ENODATA));
	done(capture);
}

/* Only root may have as many lie in a socket. */
Test(client, does_not_read_bells_for_ever)
{
	const int room = 64 << 20;
	struct nr_capture *capture;
	struct nr_batch batch;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	capture = attached(1);
	cr_assert(setsockopt(broker.socket, SOL_SOCKET, SO_SNDBUFFORCE, &room,
			     sizeof(room)) == 0);
	for (int i = 0; i < 5000; i++)
		send_bell();
	cr_assert(eq(int, nr_capture_recv(capture, &batch, 0), 0));
	cr_assert(is_readable(capture));
	/* But in the end it has. */
	for (int i = 0; i < 10 && is_readable(capture); i++)
		cr_assert(eq(int, nr_capture_recv(capture, &batch, 0), 0));
	cr_assert(not(is_readable(capture)));
	done(capture);
}

static struct nr_capture *to_break;

static void on_alarm(int signal)
{
	(void)signal;
	nr_capture_break(to_break);
}

static int stop_after_three(struct nr_batch *batch, void *data)
{
	unsigned *sum = data;

	*sum += batch->count;
	if (*sum == 3)
		nr_capture_break(batch->capture);
	return *sum == 5 ? 42 : 0;
}

Test(client, break_ends_one_recv_or_loop_and_loses_nothing)
{
	struct nr_capture *capture = attached(1);
	struct nr_batch batch;
	unsigned sum = 0, i;

	to_break = capture;
	signal(SIGALRM, on_alarm);
	ualarm(20000, 0);
	cr_assert(eq(int, nr_capture_recv(capture, &batch, -1), 0));
	nr_capture_break(capture);
	nr_capture_break(capture);
	lend_filled(&broker.memory[0], LEASE(0), 0, BASE_SEQ, 3,
		    NR_BLOCK_CLOSED);
	cr_assert(eq(int, nr_capture_recv(capture, &batch, -1), 0));
	cr_assert(eq(int, nr_capture_loop(capture, stop_after_three, &sum), 0));
	cr_assert(eq(uint, sum, 3));
	for (i = 0; i < 2; i++)
		lend_filled(&broker.memory[0], LEASE(1 + i), 1 + i,
			    BASE_SEQ + 3 + i, 1, NR_BLOCK_CLOSED);
	cr_assert(
		eq(int, nr_capture_loop(capture, stop_after_three, &sum), 42));
	cr_assert(eq(u64, broker.pages[0].head, 1003), "all released");
	done(capture);
}

Test(client, a_copy_outlives_the_capture)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_owned *owned;
	struct nr_batch batch;
	struct nr_record *bad;

	lend_filled(m, LEASE(0), 0, BASE_SEQ, 4, 0);
	bad = (void *)((uint8_t *)(block_of(m, 0) + 1) + 40 * 3);
	bad->offset = ARENA_SIZE - 4;
	cr_assert(eq(int, nr_capture_next(capture, &batch), 1));
	cr_assert(nr_batch_data(&batch, nr_batch_record(&batch, 3)) == NULL);
	cr_assert(eq(int, nr_batch_copy(&batch, &owned), 0));
	done(capture);
	cr_assert(nr_batch_data(&owned->batch,
				nr_batch_record(&owned->batch, 3)) == NULL);
	owned->batch.count = 3;
	check_batch(&owned->batch, BASE_SEQ, 3);
	nr_owned_free(owned);
}

/* ---------------------------------------------------------------- changing
 * hands */

Test(client, a_child_takes_over_what_its_parent_exported)
{
	struct nr_capture *capture = attached(2), *heir;
	char spec[NR_SPEC_MAX];
	struct nr_batch batch;
	int status;
	pid_t child;

	cr_assert(eq(int, nr_capture_export(capture, spec, 30), -ENOSPC));
	cr_assert(fcntl(nr_capture_fd(capture), F_GETFD) == FD_CLOEXEC);
	cr_assert(eq(int, nr_capture_export(capture, spec, sizeof(spec)), 0));
	cr_assert(fcntl(nr_capture_fd(capture), F_GETFD) == 0);
	lend_filled(&broker.memory[1], LEASE(7), 0, BASE_SEQ + 2, 3,
		    NR_BLOCK_CLOSED);
	child = fork();
	if (child == 0) {
		setenv(NR_CAPTURE_ENV, spec, 1);
		if (nr_capture_open_inherited(NULL, &heir) ||
		    nr_capture_lanes(heir) != 2 ||
		    nr_capture_fd(heir) != nr_capture_fd(capture) ||
		    fcntl(nr_capture_fd(heir), F_GETFD) != FD_CLOEXEC ||
		    strcmp(nr_capture_channel(heir),
			   nr_capture_channel(capture)) != 0)
			_exit(1);
		if (nr_capture_recv(heir, &batch, -1) != 1 || batch.gap != 2 ||
		    batch.lane != 1 || batch.count != 3)
			_exit(2);
		nr_batch_release(&batch);
		nr_capture_close(heir);
		_exit(0);
	}
	nr_capture_close(capture);
	waitpid(child, &status, 0);
	cr_assert(eq(int, status, 0));
	cr_assert(eq(u64, broker.pages[1].head, 1));
	cr_assert(eq(u64, broker.pages[1].slots[0], LEASE(7)));
	broker_deinit();
}

Test(client, does_not_export_what_was_read)
{
	struct nr_capture *capture = attached(1);
	char spec[NR_SPEC_MAX];
	struct nr_batch batch;

	lend_filled(&broker.memory[0], LEASE(0), 0, BASE_SEQ, 1, 0);
	check_next(capture, &batch, BASE_SEQ, 1);
	cr_assert(eq(int, nr_capture_export(capture, spec, sizeof(spec)),
		     -EBUSY));
	done(capture);
}

Test(client, refuses_a_spec_that_is_none_and_closes_nothing)
{
	static const char *const bad[] = {
		"",
		"v1",
		"v2:3,4,5:0,6,7,0,4096,0=x",
		"v1:3,4,5=x",
		"v1:3,4,5:=x",
		"v1:3,4:0,6,7,0,4096,0=x",
		"v1:3,4,5:0,6,7,0,4096=x",
		"v1:3,4,5:0,6,7,0,4096,0,=x",
		"v1:3,4,5:0,6,7,0,4096,0,7=x",
		"v1:3,4,5:0,6,7,0,4096,0,8,9=x",
		"v1:3,4,5:0,6,7,0,4096,0:=x",
		"v1:3,4,5:0,6,7,0,4096,0 =x",
		"v1:-3,4,5:0,6,7,0,4096,0=x",
		"v1: 3,4,5:0,6,7,0,4096,0=x",
		"v1:3,4,5:0,6,7,0x0,4096,0=x",
		"v1:4294967299,4,5:0,6,7,0,4096,0=x",
		"v1:3,4,5:0,6,7,0,18446744073709551616,0=x",
		"v1:3,4,5:0,6,6,0,4096,0=x",
		"v1:3,4,5:0,6,7,0,4096,0:1,6,8,0,4096,0=x",
		"v1:3,4,5:0,6,7,0,4096,0",
		"v1:3,4,5=x",
		/* a name of 64 characters */
		"v1:3,4,5:0,6,7,0,4096,0=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	struct nr_capture *capture = NULL;
	unsigned fds = open_fds(), i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(eq(int, nr_capture_open_inherited(bad[i], &capture),
			     -EINVAL),
			  "%s", bad[i]);
	cr_assert(eq(int,
		     nr_capture_open_inherited(
			     "v1:903,904,905:0,906,907,0,4096,0=x", &capture),
		     -EBADF));
	cr_assert(eq(int,
		     nr_capture_open_inherited("v1:0,904,905:0,906,907,0,1,0=x",
					       &capture),
		     -EBADF));
	unsetenv(NR_CAPTURE_ENV);
	cr_assert(eq(int, nr_capture_open_inherited(NULL, &capture), -ENOENT));
	cr_assert(eq(uint, open_fds(), fds));
	cr_assert(capture == NULL);
}

Test(client, checks_what_it_inherits_as_it_checks_a_broker)
{
	struct nr_capture *capture = attached(1), *heir = NULL;
	char spec[NR_SPEC_MAX], swapped[NR_SPEC_MAX];
	int socket, pages, wake, arena, ring;
	unsigned fds;

	nr_capture_export(capture, spec, sizeof(spec));
	cr_assert(sscanf(spec, "v1:%d,%d,%d:0,%d,%d,", &socket, &pages, &wake,
			 &arena, &ring) == 5);
	fds = open_fds();
	snprintf(swapped, sizeof(swapped), "v1:%d,%d,%d:0,%d,%d,%u,%u,%u=x",
		 socket, pages, wake, ring, arena, RING_MAP_OFFSET,
		 RING_MAP_SIZE, RING_OFFSET);
	cr_assert(eq(int, nr_capture_open_inherited(swapped, &heir), -EPROTO));
	snprintf(swapped, sizeof(swapped), "v1:%d,%d,%d:0,%d,%d,%u,%u,%u=x",
		 wake, pages, socket, arena, ring, RING_MAP_OFFSET,
		 RING_MAP_SIZE, RING_OFFSET);
	cr_assert(eq(int, nr_capture_open_inherited(swapped, &heir), -EPROTO));
	cr_assert(eq(uint, open_fds(), fds));
	done(capture);
}

/* ---------------------------------------------------------------------
 * refusals */

Test(client, hands_on_the_words_and_the_code_of_a_refusal)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	char text[16];

	broker_init(1);
	said_init(&broker.script[0], NR_MSG_ERROR, sizeof(struct nr_msg_error));
	broker.script[0].error.code = EACCES;
	strcpy(broker.script[0].error.text, "not for you, but for others");
	broker.script_length = 1;
	options.socket = broker.path;
	options.error_text = text;
	options.error_text_size = sizeof(text);
	broker_run();
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture), -EACCES));
	broker_join();
	cr_assert(strcmp(text, "not for you, bu") == 0);
	broker.script[0].error.msg.major = 9;
	broker_hang_up();
	broker_run();
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture),
		     -EPROTONOSUPPORT));
	broker_join();
	broker_deinit();
}

Test(client, waits_for_the_channel_but_no_longer_than_asked)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	broker_init(1);
	options.socket = broker.path;
	options.wait_ms = 10000;
	said_init(&broker.refusal, NR_MSG_ERROR, sizeof(struct nr_msg_error));
	broker.refusal.error.code = ENOENT;
	broker.refusals = 3;
	broker_run();
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture), 0));
	broker_join();
	nr_capture_close(capture);
	options.wait_ms = 60;
	options.socket = "/nonexistent/socket";
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture),
		     -ECONNREFUSED));
	broker_deinit();
}

static void *listens_later(void *unused)
{
	usleep(50000);
	broker_listen();
	return broker_serve(unused);
}

Test(client, waits_for_the_broker)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	broker_init(1);
	close(broker.listener);
	unlink(broker.path);
	setenv(NR_SOCKET_ENV, broker.path, 1);
	options.wait_ms = -1;
	pthread_create(&broker.thread, NULL, listens_later, NULL);
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture), 0));
	broker_join();
	done(capture);
}

Test(client, refuses_arguments_that_are_wrong)
{
	struct {
		struct nr_open_options options;
		uint64_t newer;
	} longer = { .options = NR_OPEN_OPTIONS_INIT, .newer = 0 };
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	char name[NR_NAME_MAX + 1];

	memset(name, 'n', NR_NAME_MAX);
	name[NR_NAME_MAX] = '\0';
	options.socket = "/nonexistent/socket";
	cr_assert(eq(int, nr_capture_open(name, &options, &capture), -EINVAL));
	cr_assert(eq(int, nr_capture_open("", &options, &capture), -EINVAL));
	cr_assert(eq(int, nr_capture_open(NULL, &options, &capture), -EINVAL));
	cr_assert(eq(int, nr_capture_open("lan", &options, NULL), -EINVAL));
	options.leases = 257;
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture), -EINVAL));
	options.leases = 3;
	options.guarantee = 4;
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture), -EINVAL));
	/* an older program: leases and guarantee are beyond its structure */
	options.size = offsetof(struct nr_open_options, leases);
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture),
		     -ECONNREFUSED));
	options.size = 0;
	cr_assert(eq(int, nr_capture_open("lan", &options, &capture), -EINVAL));
	longer.options.socket = options.socket;
	longer.options.size = sizeof(longer);
	cr_assert(eq(int, nr_capture_open("lan", &longer.options, &capture),
		     -ECONNREFUSED));
	longer.newer = 1;
	cr_assert(eq(int, nr_capture_open("lan", &longer.options, &capture),
		     -EINVAL));
}

static int collect(const struct nr_msg *msg, void *data)
{
	const struct nr_msg_channel *channel = (const void *)msg;
	unsigned *count = data;

	cr_assert(eq(u32, msg->type, NR_MSG_CHANNEL));
	cr_assert(eq(sz, strnlen(channel->channel, 100), NR_NAME_MAX - 1));
	return ++*count == 3 ? 42 : 0;
}

Test(client, a_query_ends_strings_and_passes_over_what_it_does_not_know)
{
	unsigned count = 0, i;

	broker_init(1);
	for (i = 0; i < 3; i++) {
		said_init(&broker.script[i], NR_MSG_CHANNEL,
			  sizeof(struct nr_msg_channel));
		memset(broker.script[i].channel.channel, 'x', NR_NAME_MAX);
	}
	broker.script[1].msg.type = 99;
	said_init(&broker.script[3], NR_MSG_DONE, sizeof(struct nr_msg));
	broker.script_length = 4;
	broker_run();
	cr_assert(eq(int, nr_broker_list(broker.path, collect, &count), 0));
	broker_join();
	cr_assert(eq(uint, count, 2));
	cr_assert(eq(u32, broker.request.msg.type, NR_MSG_LIST));
	broker_hang_up();
	broker_run();
	cr_assert(
		eq(int,
		   nr_broker_stat(broker.path, "lan", collect, &count, NULL, 0),
		   42));
	broker_join();
	cr_assert(eq(u32, broker.request.msg.type, NR_MSG_STAT));
	/* shorter than its structure */
	broker_hang_up();
	count = 0;
	broker.script[0].length = 100;
	broker.script[0].msg.length = 100;
	broker_run();
	cr_assert(
		eq(int, nr_broker_list(broker.path, collect, &count), -EPROTO));
	broker_join();
	broker_deinit();
}

Test(client, every_error_and_cause_has_words)
{
	cr_assert(eq(str, (char *)nr_strerror(-EPIPE),
		     (char *)"the broker is gone"));
	cr_assert(eq(str, (char *)nr_strerror(EPIPE),
		     (char *)"the broker is gone"));
	cr_assert(nr_strerror(-123456) != NULL);
	cr_assert(eq(str, (char *)nr_lost_name(NR_LOST_NOT_ADMITTED),
		     (char *)"not admitted"));
	cr_assert(nr_lost_name(99) != NULL);
	cr_assert(eq(str, (char *)nr_version(), (char *)NR_VERSION_STRING));
}

/* ------------------------------------------------------- what cannot be true
 */

#define ATTACHED (broker.script[0])
#define LANE_MSG (broker.script[1])
#define ARENA (broker.memory[0].arena)
#define RING (broker.memory[0].ring)

/* One lie each. What it spoils is made anew for the next. */
#define LIE(name, action)                                                      \
	static void name(void)                                                 \
	{                                                                      \
		action;                                                        \
	}

LIE(arena_magic, ARENA->magic = NR_RING_MAGIC)
LIE(arena_major, ARENA->version = 2u << 16)
LIE(arena_not_yet, ARENA->version = 0)
LIE(arena_size_small, ARENA->size = ARENA_SIZE - 4096)
LIE(arena_size_large, ARENA->size = UINT64_C(1) << 40)
LIE(arena_size_said, LANE_MSG.lane.arena_size = 4096)
LIE(arena_id, ARENA->id = 1)
LIE(blocks_none, ARENA->block_count = 0)
LIE(blocks_many, ARENA->block_count = UINT32_MAX)
LIE(blocks_one_more, ARENA->block_count = ARENA_SIZE / BLOCK_SIZE)
LIE(block_empty, ARENA->block_size = 0)
LIE(block_small, ARENA->block_size = 64)
LIE(block_odd, ARENA->block_size = 4095)
LIE(block_offset_odd, ARENA->block_offset = 4097)
LIE(block_offset_far, ARENA->block_offset = 0xffffffc0u)
LIE(block_on_header, ARENA->block_offset = 0)
LIE(stride_0, ARENA->record_stride = 0)
LIE(stride_small, ARENA->record_stride = 24)
LIE(stride_odd, ARENA->record_stride = 33)
LIE(stride_large, ARENA->record_stride = BLOCK_SIZE)
LIE(records_far, ARENA->record_offset = 0xfffffff8u)
LIE(records_on_header, ARENA->record_offset = 8)
LIE(streams_none, ARENA->stream_count = 0)
LIE(streams_many, ARENA->stream_count = UINT32_MAX)
LIE(stream_stride_0, ARENA->stream_stride = 0)
LIE(stream_far, ARENA->stream_offset = ARENA_SIZE - 64)
LIE(ring_magic, RING->magic = 0)
LIE(ring_major, RING->version = 9u << 16)
LIE(ring_not_yet, RING->version = 0)
LIE(ring_lane, RING->lane = 1)
LIE(ring_capture, RING->capture_id = 6)
LIE(ring_stream, RING->stream = 2)
LIE(slots_0, RING->slots = 0)
LIE(slots_3, RING->slots = 3)
LIE(slots_512, RING->slots = 512)
LIE(leases_0, RING->leases = 0)
LIE(leases_many, RING->leases = SLOTS + 1)
LIE(slot_stride_0, RING->slot_stride = 0)
LIE(slot_stride_far, RING->slot_stride = 0xfffffff8u)
LIE(slot_offset_far, RING->slot_offset = 6 * NR_PAGE - 184)
LIE(slot_on_header, RING->slot_offset = 128)
LIE(map_beyond, LANE_MSG.lane.ring_map_size = RING_MEMORY)
LIE(map_far, LANE_MSG.lane.ring_map_offset = UINT64_MAX - 4095)
LIE(map_odd, LANE_MSG.lane.ring_map_offset = 2048)
LIE(map_empty, LANE_MSG.lane.ring_map_size = 0)
LIE(slice_beyond, LANE_MSG.lane.ring_offset = RING_MAP_SIZE - 128)
LIE(slice_far, LANE_MSG.lane.ring_offset = UINT64_MAX - 63)
LIE(slice_odd, LANE_MSG.lane.ring_offset = RING_OFFSET + 8)
LIE(arena_writable, LANE_MSG.fds[0] = broker.memory[0].arena_write_fd)
LIE(ring_writable, LANE_MSG.fds[1] = broker.memory[0].ring_write_fd)
LIE(arena_is_socket, LANE_MSG.fds[0] = broker.listener)
LIE(swapped, LANE_MSG.fds[0] = broker.memory[0].ring_fd)
LIE(pages_few, ATTACHED.attached.lane_count = LANES + 1)
LIE(lanes_0, ATTACHED.attached.lane_count = 0)
LIE(lanes_many, ATTACHED.attached.lane_count = NR_LANES_MAX + 1)
LIE(page_beyond, LANE_MSG.lane.return_page = 2)
LIE(page_twice, broker.script[2].lane.return_page = 0)
LIE(lane_number, LANE_MSG.lane.lane = 65536; RING->lane = 65536)
LIE(attached_cut, ATTACHED.length = ATTACHED.msg.length = 63)
LIE(lane_cut, LANE_MSG.length = LANE_MSG.msg.length = 80)
LIE(lane_cut_header, LANE_MSG.length = 8)
LIE(length_lies, LANE_MSG.msg.length = 80)
LIE(too_long, LANE_MSG.length = LANE_MSG.msg.length = NR_MSG_MAX + 8)
LIE(empty, LANE_MSG.length = 0; LANE_MSG.fd_count = 0)
LIE(wrong_type, LANE_MSG.msg.type = NR_MSG_CHANNEL)
LIE(too_early, LANE_MSG.msg.type = NR_MSG_DONE)
LIE(no_pages, ATTACHED.fd_count = 0)
LIE(no_ring, LANE_MSG.fd_count = 1)
LIE(no_fd, LANE_MSG.fd_count = 0)
LIE(attached_2_fds, ATTACHED.fds[1] = broker.pages_fd; ATTACHED.fd_count = 2)
LIE(lane_3_fds, LANE_MSG.fds[2] = broker.pages_fd; LANE_MSG.fd_count = 3)
/* Two of which one is the arena, again: it is there, but not of that size. */
LIE(region_size_said, LANE_MSG.fds[2] = broker.memory[0].arena_fd;
    LANE_MSG.fd_count = 3; LANE_MSG.lane.region_size = ARENA_SIZE - NR_PAGE)
LIE(region_none, LANE_MSG.lane.region_size = ARENA_SIZE)
LIE(lane_5_fds,
    LANE_MSG.fds[2] = LANE_MSG.fds[3] = LANE_MSG.fds[4] = broker.pages_fd;
    LANE_MSG.fd_count = 5)
LIE(message_major, LANE_MSG.msg.major = 2)
LIE(error_0, said_init(&ATTACHED, NR_MSG_ERROR, sizeof(ATTACHED.error)))
LIE(error_short, said_init(&ATTACHED, NR_MSG_ERROR, sizeof(struct nr_msg)))

static int made_fd; /* by a lie, for the broker's side only */

static void pages_empty(void)
{
	made_fd = memfd_create("empty", MFD_CLOEXEC);
	ATTACHED.fds[0] = made_fd;
}

static void pages_read_only(void)
{
	made_fd = reopen_read_only(broker.pages_fd);
	ATTACHED.fds[0] = made_fd;
}

/* All is well with it, but that it could be truncated under us. */
static void arena_unsealed(void)
{
	char buffer[4096];
	int fd = memfd_create("unsealed", MFD_CLOEXEC);

	cr_assert(ftruncate(fd, ARENA_SIZE) == 0);
	memcpy(buffer, ARENA, sizeof(buffer));
	cr_assert(pwrite(fd, buffer, sizeof(buffer), 0) == sizeof(buffer));
	made_fd = reopen_read_only(fd);
	close(fd);
	LANE_MSG.fds[0] = made_fd;
}

/* All is well with it, but that 32 bits do not count its bytes. */
static void arena_too_large(void)
{
	const uint64_t size = NR_ARENA_MAX + NR_PAGE;
	int fd = memfd_create("large", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char buffer[4096];

	ARENA->size = size;
	memcpy(buffer, ARENA, sizeof(buffer));
	cr_assert(ftruncate(fd, (off_t)size) == 0);
	cr_assert(pwrite(fd, buffer, sizeof(buffer), 0) == sizeof(buffer));
	cr_assert(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	made_fd = reopen_read_only(fd);
	close(fd);
	LANE_MSG.fds[0] = made_fd;
	LANE_MSG.lane.arena_size = size;
}

static const struct lie {
	const char *name;
	void (*tell)(void);
	int err;
} lies[] = {
#define ROW(name, err)                                                         \
	{                                                                      \
#name, name, err                                               \
	}
	ROW(arena_magic, -EPROTO),
	ROW(arena_major, -EPROTONOSUPPORT),
	ROW(arena_not_yet, -EPROTO),
	ROW(arena_size_small, -EPROTO),
	ROW(arena_size_large, -EPROTO),
	ROW(arena_size_said, -EPROTO),
	ROW(arena_id, -EPROTO),
	ROW(blocks_none, -EPROTO),
	ROW(blocks_many, -EPROTO),
	ROW(blocks_one_more, -EPROTO),
	ROW(block_empty, -EPROTO),
	ROW(block_small, -EPROTO),
	ROW(block_odd, -EPROTO),
	ROW(block_offset_odd, -EPROTO),
	ROW(block_offset_far, -EPROTO),
	ROW(block_on_header, -EPROTO),
	ROW(stride_0, -EPROTO),
	ROW(stride_small, -EPROTO),
	ROW(stride_odd, -EPROTO),
	ROW(stride_large, -EPROTO),
	ROW(records_far, -EPROTO),
	ROW(records_on_header, -EPROTO),
	ROW(streams_none, -EPROTO),
	ROW(streams_many, -EPROTO),
	ROW(stream_stride_0, -EPROTO),
	ROW(stream_far, -EPROTO),
	ROW(ring_magic, -EPROTO),
	ROW(ring_major, -EPROTONOSUPPORT),
	ROW(ring_not_yet, -EPROTO),
	ROW(ring_lane, -EPROTO),
	ROW(ring_capture, -EPROTO),
	ROW(ring_stream, -EPROTO),
	ROW(slots_0, -EPROTO),
	ROW(slots_3, -EPROTO),
	ROW(slots_512, -EPROTO),
	ROW(leases_0, -EPROTO),
	ROW(leases_many, -EPROTO),
	ROW(slot_stride_0, -EPROTO),
	ROW(slot_stride_far, -EPROTO),
	ROW(slot_offset_far, -EPROTO),
	ROW(slot_on_header, -EPROTO),
	ROW(map_beyond, -EPROTO),
	ROW(map_far, -EPROTO),
	ROW(map_odd, -EPROTO),
	ROW(map_empty, -EPROTO),
	ROW(slice_beyond, -EPROTO),
	ROW(slice_far, -EPROTO),
	ROW(slice_odd, -EPROTO),
	ROW(arena_writable, -EPROTO),
	ROW(ring_writable, -EPROTO),
	ROW(arena_is_socket, -EPROTO),
	ROW(arena_unsealed, -EPROTO),
	ROW(arena_too_large, -EPROTO),
	ROW(swapped, -EPROTO),
	ROW(pages_few, -EPROTO),
	ROW(pages_empty, -EPROTO),
	ROW(pages_read_only, -EPROTO),
	ROW(lanes_0, -EPROTO),
	ROW(lanes_many, -EPROTO),
	ROW(page_beyond, -EPROTO),
	ROW(page_twice, -EPROTO),
	ROW(lane_number, -EPROTO),
	ROW(attached_cut, -EPROTO),
	ROW(lane_cut, -EPROTO),
	ROW(lane_cut_header, -EPROTO),
	ROW(length_lies, -EPROTO),
	ROW(too_long, -EPROTO),
	ROW(empty, -EPROTO),
	ROW(wrong_type, -EPROTO),
	ROW(too_early, -EPROTO),
	ROW(no_pages, -EPROTO),
	ROW(no_ring, -EPROTO),
	ROW(no_fd, -EPROTO),
	ROW(attached_2_fds, -EPROTO),
	ROW(lane_3_fds, -EPROTO),
	ROW(region_size_said, -EPROTO),
	ROW(region_none, -EPROTO),
	ROW(lane_5_fds, -EPROTO),
	ROW(message_major, -EPROTONOSUPPORT),
	ROW(error_0, -EPROTO),
	ROW(error_short, -EPROTO),
};

Test(client, attaches_to_nothing_that_cannot_be_true_and_keeps_nothing_of_it)
{
	size_t i;

	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct nr_capture *capture = NULL;
		unsigned fds, mappings;

		broker_init(LANES);
		made_fd = -1;
		lies[i].tell();
		fds = open_fds();
		mappings = shared_mappings();
		cr_expect(eq(int, try_open(&capture), lies[i].err), "%s",
			  lies[i].name);
		cr_expect(not(broker.acknowledged), "%s", lies[i].name);
		broker_hang_up();
		cr_expect(eq(uint, open_fds(), fds), "%s", lies[i].name);
		cr_expect(eq(uint, shared_mappings(), mappings), "%s",
			  lies[i].name);
		if (made_fd >= 0)
			close(made_fd);
		broker_deinit();
	}
}

Test(client, says_that_the_broker_hung_up_before_it_had_said_all)
{
	struct nr_capture *capture = NULL;
	unsigned fds;

	broker_init(LANES);
	fds = open_fds();
	/* the second LANE is missing: the broker ends behind the first */
	broker.script_length = 2;
	broker.hangs_up = true;
	cr_assert(eq(int, try_open(&capture), -EPIPE));
	cr_assert(eq(uint, open_fds(), fds));
	broker_deinit();
}

/* What a lane could lie about, once attached: it ends the capture for good. */
static void descriptor_block(struct memory *m)
{
	slot_of(m, 0)->block = BLOCK_COUNT;
}

static void descriptor_first(struct memory *m)
{
	slot_of(m, 0)->first = (BLOCK_SIZE - 64) / 40 + 1;
}

static void descriptor_arena(struct memory *m)
{
	slot_of(m, 0)->arena_id = 71;
}

static void descriptor_seq(struct memory *m)
{
	slot_of(m, 0)->seq = BASE_SEQ - 1;
}

static void descriptors_many(struct memory *m)
{
	nr_ring_publish(m->ring, SLOTS + 1);
}

static void descriptors_back(struct memory *m)
{
	nr_ring_publish(m->ring, UINT64_MAX);
}

static void count_large(struct memory *m)
{
	nr_block_publish(block_of(m, 0), (BLOCK_SIZE - 64) / 40 + 1, 0);
}

static void count_huge(struct memory *m)
{
	nr_block_publish(block_of(m, 0), NR_BLOCK_COUNT, NR_BLOCK_CLOSED);
}

static void evicted(struct memory *m)
{
	nr_ring_end(m->ring, NR_END_WORD(BASE_SEQ, NR_END_EVICTED));
}

Test(client, a_lane_that_lies_ends_the_capture_for_good)
{
	static void (*const tell[])(struct memory *) = {
		descriptor_block, descriptor_first, descriptor_arena,
		descriptor_seq,	  descriptors_many, descriptors_back,
		count_large,	  count_huge,	    evicted,
	};
	size_t i;

	for (i = 0; i < sizeof(tell) / sizeof(tell[0]); i++) {
		struct nr_capture *capture = attached(1);
		struct memory *m = &broker.memory[0];
		struct nr_batch batch;

		lend_filled(m, LEASE(0), 0, BASE_SEQ, 1, 0);
		tell[i](m);
		cr_expect(eq(int, nr_capture_next(capture, &batch), -EPROTO),
			  "lie %zu", i);
		cr_expect(eq(int, nr_capture_recv(capture, &batch, 1000),
			     -EPROTO),
			  "lie %zu", i);
		cr_expect(eq(int, nr_capture_arm(capture), 1), "lie %zu", i);
		done(capture);
	}
}

Test(client, a_lane_that_lends_more_than_there_is_room_for_ends_the_capture)
{
	struct nr_capture *capture = attached(1);
	struct memory *m = &broker.memory[0];
	struct nr_batch held[SLOTS], batch;

	for (unsigned i = 0; i <= SLOTS; i++) {
		lend_filled(m, LEASE(i), i, BASE_SEQ + i, 1, NR_BLOCK_CLOSED);
		if (i < SLOTS)
			check_next(capture, &held[i], BASE_SEQ + i, 1);
	}
	cr_assert(eq(int, nr_capture_next(capture, &batch), -EPROTO));
	for (unsigned i = 0; i < SLOTS; i++)
		check_batch(&held[i], BASE_SEQ + i, 1);
	done(capture);
}

Test(client, nobody_can_write_what_was_attached, .signal = SIGSEGV)
{
	struct nr_capture *capture = attached(1);
	struct nr_batch batch;

	lend_filled(&broker.memory[0], LEASE(0), 0, BASE_SEQ, 1, 0);
	check_next(capture, &batch, BASE_SEQ, 1);
	unlink(broker.path);
	rmdir(broker.dir);
	*(volatile uint8_t *)(uintptr_t)batch.records = 1;
}
