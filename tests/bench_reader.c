/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers: each a process that reads every header and checks the sequence
 * number in it, from a plain TPACKET_V3 socket or from netring. Both do the
 * same with a packet, and both sleep when there is none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <netring.h>

#include "bench.h"
#include "traffic.h"

#define MARK (14 + 20 + 8) /* behind Ethernet, IPv4 and UDP */
#define LOOK_MS 50	   /* how often a reader looks whether to stop */
#define NOBODY 65534

/* What a reader knows of its packets; told to the others once a block. */
struct progress {
	uint64_t packets, next, missing, misordered, foreign;
};

static inline void look(struct progress *p, const uint8_t *data,
			uint32_t caplen)
{
	struct traffic_mark mark;
	uint64_t seq;

	if (caplen < MARK + sizeof(mark)) {
		p->foreign++;
		return;
	}
	memcpy(&mark, data + MARK, sizeof(mark));
	if (mark.magic != htonl(TRAFFIC_MAGIC) || data[12] != 8 ||
	    data[23] != 17) {
		p->foreign++;
		return;
	}
	seq = __builtin_bswap64(mark.seq); /* the CPU is little-endian */
	if (seq < p->next) {
		p->misordered++;
	} else {
		p->missing += seq - p->next;
		p->next = seq + 1;
	}
	p->packets++;
}

static void tell(struct reader *reader, const struct progress *p)
{
	__atomic_store_n(&reader->packets, p->packets, __ATOMIC_RELAXED);
	__atomic_store_n(&reader->missing, p->missing, __ATOMIC_RELAXED);
	__atomic_store_n(&reader->misordered, p->misordered, __ATOMIC_RELAXED);
	__atomic_store_n(&reader->foreign, p->foreign, __ATOMIC_RELAXED);
}

static bool is_stopped(const struct readers *readers)
{
	return __atomic_load_n(&readers->stop, __ATOMIC_ACQUIRE);
}

static void say_ready(struct reader *reader)
{
	__atomic_store_n(&reader->is_ready, 1, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------- plain */

static uint8_t *plain_open(const struct reader_options *options, int *fd)
{
	struct tpacket_req3 req = {
		.tp_block_size = options->ring_block,
		.tp_block_nr = options->ring_size / options->ring_block,
		.tp_frame_size = 2048,
		.tp_frame_nr = options->ring_size / 2048,
		.tp_retire_blk_tov = options->retire_ms,
	};
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL) };
	int version = TPACKET_V3;
	uint8_t *ring;

	*fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (*fd < 0 ||
	    setsockopt(*fd, SOL_PACKET, PACKET_VERSION, &version,
		       sizeof(version)) ||
	    setsockopt(*fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)))
		bench_die("a plain socket: %s", strerror(errno));
	ring = mmap(NULL, options->ring_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, *fd, 0);
	if (ring == MAP_FAILED)
		bench_die("a plain socket's ring: %s", strerror(errno));
	address.sll_ifindex = (int)if_nametoindex("far");
	if (bind(*fd, (struct sockaddr *)&address, sizeof(address)))
		bench_die("a plain socket: bind: %s", strerror(errno));
	return ring;
}

static void plain_read_block(struct progress *p, const uint8_t *block)
{
	const struct tpacket_hdr_v1 *header =
		&((const struct tpacket_block_desc *)(const void *)block)
			 ->hdr.bh1;
	const uint8_t *at = block + header->offset_to_first_pkt;

	for (uint32_t i = 0; i < header->num_pkts; i++) {
		const struct tpacket3_hdr *packet = (const void *)at;

		look(p, at + packet->tp_mac, packet->tp_snaplen);
		at += packet->tp_next_offset;
	}
}

static void plain_read(const struct reader_options *options,
		       struct readers *readers, struct reader *reader)
{
	uint32_t blocks = options->ring_size / options->ring_block, next = 0;
	struct tpacket_stats_v3 stats;
	socklen_t length = sizeof(stats);
	struct progress p = { 0 };
	struct pollfd pfd = { .events = POLLIN };
	uint8_t *ring = plain_open(options, &pfd.fd);

	say_ready(reader);
	while (!is_stopped(readers)) {
		uint8_t *block = ring + (size_t)next * options->ring_block;
		struct tpacket_block_desc *desc = (void *)block;
		uint32_t *status = &desc->hdr.bh1.block_status;

		if (!(__atomic_load_n(status, __ATOMIC_ACQUIRE) &
		      TP_STATUS_USER)) {
			poll(&pfd, 1, LOOK_MS);
			continue;
		}
		plain_read_block(&p, block);
		__atomic_store_n(status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		tell(reader, &p);
		next = (next + 1) % blocks;
	}
	if (getsockopt(pfd.fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length))
		bench_die("a plain socket's statistics: %s", strerror(errno));
	reader->kernel_drops = stats.tp_drops;
}

/* ----------------------------------------------------------------- netring */

static void drop_privilege(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		bench_die("cannot become nobody: %s", strerror(errno));
}

static void netring_read(const struct reader_options *options,
			 struct readers *readers, struct reader *reader)
{
	struct nr_open_options open = NR_OPEN_OPTIONS_INIT;
	struct nr_stats stats = NR_STATS_INIT;
	char text[NR_TEXT_MAX] = "";
	struct nr_capture *capture;
	struct nr_batch batch;
	struct progress p = { 0 };
	int err;

	drop_privilege();
	open.socket = options->socket;
	open.wait_ms = 10000;
	open.error_text = text;
	open.error_text_size = sizeof(text);
	err = nr_capture_open(options->channel, &open, &capture);
	if (err)
		bench_die("attach to %s: %s %s", options->channel,
			  nr_strerror(err), text);
	say_ready(reader);
	while (!is_stopped(readers)) {
		err = nr_capture_recv(capture, &batch, LOOK_MS);
		if (err < 0)
			bench_die("a capture has ended: %s", nr_strerror(err));
		if (err == 0)
			continue;
		for (uint32_t i = 0; i < batch.count; i++) {
			const struct nr_record *r = nr_batch_record(&batch, i);

			look(&p, nr_batch_data(&batch, r), r->caplen);
		}
		nr_batch_release(&batch);
		tell(reader, &p);
	}
	nr_capture_stats(capture, &stats);
	reader->lost = nr_stats_lost(&stats);
	nr_capture_close(capture);
}

/* ------------------------------------------------------------ all of them */

static void check_alive(const struct readers *readers)
{
	for (unsigned i = 0; i < readers->count; i++) {
		pid_t pid = readers->reader[i].pid;

		if (pid && waitpid(pid, NULL, WNOHANG) == pid)
			bench_die("a reader has ended by itself");
	}
}

static void wait_ready(const struct readers *readers)
{
	uint64_t deadline = bench_now_ns() + UINT64_C(30000000000);

	for (unsigned i = 0; i < readers->count; i++) {
		while (!__atomic_load_n(&readers->reader[i].is_ready,
					__ATOMIC_ACQUIRE)) {
			check_alive(readers);
			if (bench_now_ns() > deadline)
				bench_die("a reader does not become ready");
			usleep(2000);
		}
	}
}

static size_t shared_size(unsigned count)
{
	return sizeof(struct reader) * (count + 1);
}

struct readers *readers_start(const struct reader_options *options,
			      unsigned count)
{
	struct readers *readers =
		mmap(NULL, shared_size(count), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (readers == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	readers->count = count;
	readers->reader = (struct reader *)(void *)readers + 1;
	for (unsigned i = 0; i < count; i++) {
		struct reader *reader = &readers->reader[i];
		pid_t pid = stage_fork(BENCH_RECEIVE_CPU);

		if (pid == 0) {
			if (options->is_plain)
				plain_read(options, readers, reader);
			else
				netring_read(options, readers, reader);
			_exit(0);
		}
		reader->pid = pid;
	}
	wait_ready(readers);
	return readers;
}

static uint64_t sum_of_packets(const struct readers *readers)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < readers->count; i++)
		sum += __atomic_load_n(&readers->reader[i].packets,
				       __ATOMIC_RELAXED);
	return sum;
}

void readers_stop(struct readers *readers)
{
	uint64_t before, now = sum_of_packets(readers);

	/* Longer than any ring holds a block back, and than a reader sleeps. */
	do {
		before = now;
		usleep(300000);
		now = sum_of_packets(readers);
	} while (now != before);
	check_alive(readers);
	__atomic_store_n(&readers->stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < readers->count; i++)
		stage_reap(readers->reader[i].pid);
}

void readers_free(struct readers *readers)
{
	if (readers)
		munmap(readers, shared_size(readers->count));
}
