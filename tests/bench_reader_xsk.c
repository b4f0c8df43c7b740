/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A plain AF_XDP socket, through libxdp, with the smallest program there is.
 * As many frames and slots as netring has unless configured otherwise.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "bench_reader.h"

#define FRAMES 32768u
#define FRAME_SIZE 2048u
#define FILL_SLOTS 8192u
#define RX_SLOTS 4096u
#define BATCH 64u
/* Of who does the least: as netring's lane. */
#define BATCH_BARE 256u
#define AHEAD 24u
#define NAP_NS 200000

struct xsk {
	struct xsk_umem *umem;
	struct xsk_socket *socket;
	struct xsk_ring_prod fill;
	struct xsk_ring_cons completion, rx;
	uint8_t *frames;
	int fd;
};

static bool is_bare(const struct reading *r)
{
	return r->options->look == LOOK_TOUCH;
}

/* return bpf_redirect_map(&sockets, 0, XDP_PASS) */
static int load_program(int map)
{
	const struct bpf_insn code[] = {
		{ BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map },
		{ 0 },
		{ BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 0 },
		{ BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, XDP_PASS },
		{ BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map },
		{ BPF_JMP | BPF_EXIT, 0, 0, 0, 0 },
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "bench", "GPL", code,
			     sizeof(code) / sizeof(*code), NULL);
}

static void attach(const struct xsk *x)
{
	int map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "bench", 4, 4, 1, NULL);
	int program = map < 0 ? -1 : load_program(map);
	uint32_t queue = 0;

	if (program < 0 || bpf_map_update_elem(map, &queue, &x->fd, BPF_ANY) ||
	    bpf_link_create(program, (int)if_nametoindex("far"), BPF_XDP,
			    NULL) < 0)
		bench_die("a plain AF_XDP socket's program: %s",
			  strerror(errno));
}

static void fill(struct xsk *x, uint32_t count)
{
	uint32_t at;

	if (xsk_ring_prod__reserve(&x->fill, count, &at) != count)
		bench_die("a plain AF_XDP socket: the fill ring is short");
	for (uint32_t i = 0; i < count; i++)
		*xsk_ring_prod__fill_addr(&x->fill, at + i) =
			(uint64_t)i * FRAME_SIZE;
	xsk_ring_prod__submit(&x->fill, count);
}

static void xsk_open(struct xsk *x)
{
	const struct xsk_umem_config umem = {
		.fill_size = FILL_SLOTS,
		.comp_size = 64,
		.frame_size = FRAME_SIZE,
	};
	const struct xsk_socket_config socket = {
		.rx_size = RX_SLOTS,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_USE_NEED_WAKEUP,
	};
	size_t size = (size_t)FRAMES * FRAME_SIZE;
	int err;

	x->frames = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (x->frames == MAP_FAILED)
		bench_die("a plain AF_XDP socket: %s", strerror(errno));
	err = xsk_umem__create(&x->umem, x->frames, size, &x->fill,
			       &x->completion, &umem);
	if (!err)
		err = xsk_socket__create(&x->socket, "far", 0, x->umem, &x->rx,
					 NULL, &socket);
	if (err)
		bench_die("a plain AF_XDP socket: %s", strerror(-err));
	x->fd = xsk_socket__fd(x->socket);
	fill(x, FILL_SLOTS / 2);
	attach(x);
}

static const uint8_t *packet_at(struct xsk *x, uint32_t slot)
{
	return x->frames + xsk_ring_cons__rx_desc(&x->rx, slot)->addr;
}

/* The least that can be done with packets: one word of each, fetched early. */
static void touch(struct reading *r, struct xsk *x, uint32_t at, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (i + AHEAD < n)
			__builtin_prefetch(packet_at(x, at + i + AHEAD));
		sum += *packet_at(x, at + i);
	}
	r->sum += sum;
	r->packets += n;
}

static void look(struct reading *r, struct xsk *x, uint32_t at, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *desc =
			xsk_ring_cons__rx_desc(&x->rx, at + i);

		reading_look(r, x->frames + desc->addr, desc->len);
	}
}

/* Reads up to a batch, and gives the frames back at once. */
static uint32_t xsk_read(struct reading *r, struct xsk *x)
{
	uint32_t batch = is_bare(r) ? BATCH_BARE : BATCH;
	uint32_t at, to, n = xsk_ring_cons__peek(&x->rx, batch, &at);

	if (n == 0)
		return 0;
	if (xsk_ring_prod__reserve(&x->fill, n, &to) != n)
		bench_die("a plain AF_XDP socket: the fill ring is short");
	if (is_bare(r))
		touch(r, x, at, n);
	else
		look(r, x, at, n);
	for (uint32_t i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&x->fill, to + i) =
			xsk_ring_cons__rx_desc(&x->rx, at + i)->addr /
			FRAME_SIZE * FRAME_SIZE;
	xsk_ring_prod__submit(&x->fill, n);
	xsk_ring_cons__release(&x->rx, n);
	if (xsk_ring_prod__needs_wakeup(&x->fill))
		recvfrom(x->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	return n;
}

/* Until more has come; one that does the least lets packets gather. */
static void xsk_wait(const struct reading *r, const struct xsk *x)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	struct pollfd pfd = { .fd = x->fd, .events = POLLIN };

	if (is_bare(r) && r->packets > 0)
		nanosleep(&nap, NULL);
	else
		poll(&pfd, 1, LOOK_MS);
}

void reader_xsk(struct reading *r)
{
	struct xdp_statistics stats = { 0 };
	socklen_t length = sizeof(stats);
	struct xsk x = { 0 };

	xsk_open(&x);
	reading_is_ready(r);
	while (!reading_is_stopped(r)) {
		if (xsk_read(r, &x) == 0)
			xsk_wait(r, &x);
		reading_tell(r);
	}
	if (getsockopt(x.fd, SOL_XDP, XDP_STATISTICS, &stats, &length))
		bench_die("a plain AF_XDP socket's statistics: %s",
			  strerror(errno));
	r->reader->kernel_drops = stats.rx_dropped + stats.rx_ring_full;
	xsk_socket__delete(x.socket);
	xsk_umem__delete(x.umem);
}
