/* SPDX-License-Identifier: BSD-2-Clause */
/* What people read packets with today, on AF_PACKET: recv, a ring, libpcap. */
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench_reader.h"

static void plain_bind(int fd)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL) };

	address.sll_ifindex = (int)if_nametoindex("far");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		bench_die("a plain socket: bind: %s", strerror(errno));
}

static void plain_count_drops(struct reading *r, int fd)
{
	struct tpacket_stats_v3 stats = { 0 };
	socklen_t length = sizeof(stats);

	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length))
		bench_die("a plain socket's statistics: %s", strerror(errno));
	r->reader->kernel_drops = stats.tp_drops;
}

/* -------------------------------------------------------------------- recv */

void reader_recv(struct reading *r)
{
	const struct timeval pause = { .tv_usec = LOOK_MS * 1000 };
	int size = (int)r->options->ring_size;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	uint8_t frame[4096];
	ssize_t length;

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof(pause)))
		bench_die("a plain socket: %s", strerror(errno));
	plain_bind(fd);
	reading_is_ready(r);
	while (!reading_is_stopped(r)) {
		length = recv(fd, frame, sizeof(frame), 0);
		if (length < 0)
			continue;
		reading_look(r, frame, (uint32_t)length);
		reading_tell(r);
	}
	plain_count_drops(r, fd);
}

/* -------------------------------------------------------------------- ring */

static uint8_t *ring_open(const struct reader_options *options, int *fd)
{
	struct tpacket_req3 req = {
		.tp_block_size = options->ring_block,
		.tp_block_nr = options->ring_size / options->ring_block,
		.tp_frame_size = 2048,
		.tp_frame_nr = options->ring_size / 2048,
		.tp_retire_blk_tov = options->retire_ms,
	};
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
	plain_bind(*fd);
	return ring;
}

static void ring_read_block(struct reading *r, const uint8_t *block)
{
	const struct tpacket_hdr_v1 *header =
		&((const struct tpacket_block_desc *)(const void *)block)
			 ->hdr.bh1;
	const uint8_t *at = block + header->offset_to_first_pkt;

	for (uint32_t i = 0; i < header->num_pkts; i++) {
		const struct tpacket3_hdr *packet = (const void *)at;

		reading_look(r, at + packet->tp_mac, packet->tp_snaplen);
		at += packet->tp_next_offset;
	}
}

void reader_ring(struct reading *r)
{
	const struct reader_options *options = r->options;
	uint32_t blocks = options->ring_size / options->ring_block, next = 0;
	struct pollfd pfd = { .events = POLLIN };
	uint8_t *ring = ring_open(options, &pfd.fd);

	reading_is_ready(r);
	while (!reading_is_stopped(r)) {
		uint8_t *block = ring + (size_t)next * options->ring_block;
		struct tpacket_block_desc *desc = (void *)block;
		uint32_t *status = &desc->hdr.bh1.block_status;

		if (!(__atomic_load_n(status, __ATOMIC_ACQUIRE) &
		      TP_STATUS_USER)) {
			poll(&pfd, 1, LOOK_MS);
			continue;
		}
		ring_read_block(r, block);
		__atomic_store_n(status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		reading_tell(r);
		next = (next + 1) % blocks;
	}
	plain_count_drops(r, pfd.fd);
}

/* -------------------------------------------------------------------- pcap */

static void pcap_look(u_char *user, const struct pcap_pkthdr *header,
		      const u_char *data)
{
	reading_look((struct reading *)(void *)user, data, header->caplen);
}

/* As tcpdump -B does, but for the time-out (there a second). */
static pcap_t *pcap_start(const struct reader_options *options)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_create("far", error);

	if (!pcap)
		bench_die("libpcap: %s", error);
	if (pcap_set_snaplen(pcap, 262144) || pcap_set_promisc(pcap, 1) ||
	    pcap_set_timeout(pcap, (int)options->retire_ms) ||
	    pcap_set_buffer_size(pcap, (int)options->ring_size) ||
	    pcap_activate(pcap) < 0 || pcap_setnonblock(pcap, 1, error))
		bench_die("libpcap: %s", pcap_geterr(pcap));
	return pcap;
}

void reader_pcap(struct reading *r)
{
	pcap_t *pcap = pcap_start(r->options);
	struct pollfd pfd = { .fd = pcap_get_selectable_fd(pcap),
			      .events = POLLIN };
	struct pcap_stat stats;
	int n;

	reading_is_ready(r);
	while (!reading_is_stopped(r)) {
		n = pcap_dispatch(pcap, -1, pcap_look, (u_char *)r);
		if (n < 0)
			bench_die("libpcap: %s", pcap_geterr(pcap));
		if (n == 0)
			poll(&pfd, 1, LOOK_MS);
		reading_tell(r);
	}
	if (pcap_stats(pcap, &stats))
		bench_die("libpcap: %s", pcap_geterr(pcap));
	r->reader->kernel_drops = stats.ps_drop;
	pcap_close(pcap);
}
