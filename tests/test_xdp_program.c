/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redirect.bpf.c by itself, run by the kernel on packets that are handed in:
 * its hash is that of flow.c, whatever the packet.
 */
#include <criterion/criterion.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <netring/layout.h>

#include "flow.h"
#include "frames.h"
#include "redirect.h"
#include "region.h"
#include "source_xdp.h"
#include "support.h"
#include "traffic.h"
#include "warden_xdp.h"

#define LENGTH_MIN 14 /* the kernel hands in no shorter one */
#define LENGTH_MAX 1514

static struct network network;
static struct config_source source;
static struct xdp_socket lane;
static struct redirection redirection;
static uint32_t umems_left = 1;
static int program;
static uint64_t random_state = 1;

/* Returns how many packets nobody has taken. */
static uint64_t take(uint32_t how)
{
	struct priv_reply reply;

	cr_assert_eq(asroot_xdp_take(&source, 0, 0, &lane, &redirection, how,
				     &reply),
		     0);
	return reply.taken.passed;
}

static void attach(void)
{
	struct bpf_link_info info = { 0 };
	uint32_t length = sizeof(info);
	struct priv_reply reply;

	network_make(&network);
	network_enter(&network);
	cr_assert_eq(region_init(), 0);
	config_source_init(&source, "s");
	source.backend = BACKEND_XDP;
	source.interface_count = 1;
	strcpy(source.interfaces[0], "inside");
	source.attach = ATTACH_GENERIC;
	source.small_pages = true;
	source.frame_count = 8192;
	lane.fd = -1;
	cr_assert_eq(asroot_xdp_umem(&source, 0, 0, 0, &lane, &redirection,
				     &umems_left, &reply),
		     0);
	cr_assert_eq(asroot_xdp_open(&source, 0, 0, XDP_NEW_FRAMES, &lane,
				     &redirection, &reply),
		     0);
	take(PRIV_TAKE);
	cr_assert_eq(bpf_obj_get_info_by_fd(redirection.link, &info, &length),
		     0);
	program = bpf_prog_get_fd_by_id(info.prog_id);
	cr_assert(program >= 0);
}

TestSuite(xdp_program, .init = attach, .timeout = 120);

static uint32_t random_number(uint32_t below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1;
	return (uint32_t)(random_state >> 33) % below;
}

/* Runs the program on a packet. Returns what it said. */
static uint32_t run(const uint8_t *packet, uint32_t length,
		    struct redirect_meta *meta)
{
	static uint8_t out[4096];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet,
		    .data_size_in = length, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = 1);

	cr_assert_eq(bpf_prog_test_run_opts(program, &opts), 0, "%u bytes: %s",
		     length, strerror(errno));
	if (opts.retval == XDP_REDIRECT) {
		cr_assert_eq(opts.data_size_out, length + sizeof(*meta));
		memcpy(meta, out, sizeof(*meta));
		cr_assert_eq(memcmp(out + sizeof(*meta), packet, length), 0);
	}
	return opts.retval;
}

static void check(const uint8_t *packet, uint32_t length)
{
	struct redirect_meta meta;

	cr_assert_eq(run(packet, length, &meta), XDP_REDIRECT);
	cr_assert_eq(meta.magic, redirection.magic);
	cr_assert_eq(meta.flow_hash, flow_hash(packet, length, 1),
		     "a packet of %u bytes", length);
}

static void fill_randomly(uint8_t *packet, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		packet[i] = (uint8_t)random_number(256);
}

Test(xdp_program, hashes_any_traffic_as_the_engine_does)
{
	static uint8_t packet[TRAFFIC_FRAME_MAX];

	for (uint64_t seq = 0; seq < 2000; seq++) {
		struct traffic_frame frame;
		uint32_t size;

		traffic_mix(&frame, seq, NULL);
		frame.vlan_count = (uint8_t)(seq % 3);
		size = (uint32_t)traffic_build(&frame, packet);
		check(packet, size);
		check(packet, LENGTH_MIN + random_number(size - LENGTH_MIN));
	}
}

/* Random bytes that look like something up to where they do not. */
static uint32_t make_odd(uint8_t *packet)
{
	static const uint16_t types[] = { 0x0800, 0x86dd, 0x86dd, 0x8100,
					  0x88a8, 0x9100, 0x0806 };
	static const uint8_t next[] = { 0, 43, 44, 51, 60, 6, 17, 132, 58 };
	uint32_t at = 12, length = LENGTH_MIN + random_number(300);
	uint16_t type;

	fill_randomly(packet, LENGTH_MAX);
	do {
		type = types[random_number(7)];
		packet[at] = (uint8_t)(type >> 8);
		packet[at + 1] = (uint8_t)type;
		at += type == 0x8100 || type == 0x88a8 || type == 0x9100 ? 4 :
									   2;
	} while (at < 40 &&
		 (type == 0x8100 || type == 0x88a8 || type == 0x9100));
	if (type == 0x0800) {
		packet[at] = (uint8_t)(0x40 | random_number(16));
		packet[at + 9] = next[random_number(9)];
		if (random_number(2))
			packet[at + 6] = packet[at + 7] = 0;
	} else if (type == 0x86dd) {
		packet[at] = 0x60;
		packet[at + 6] = next[random_number(9)];
		/* A chain of small headers, and sometimes the same address. */
		for (uint32_t i = 40; i < 200; i += 8) {
			packet[at + i] = next[random_number(9)];
			packet[at + i + 1] = (uint8_t)random_number(3);
			if (random_number(2))
				packet[at + i + 2] = packet[at + i + 3] = 0;
		}
		if (random_number(2))
			memcpy(packet + at + 24, packet + at + 8, 16);
	}
	return length;
}

Test(xdp_program, hashes_what_is_odd_as_the_engine_does)
{
	static uint8_t packet[LENGTH_MAX];

	for (int i = 0; i < 20000; i++)
		check(packet, make_odd(packet));
	for (int i = 0; i < 2000; i++) {
		fill_randomly(packet, LENGTH_MAX);
		check(packet, LENGTH_MIN + random_number(1500));
	}
}

Test(xdp_program, passes_the_packets_of_a_queue_that_nobody_wants)
{
	static uint8_t packet[64];
	struct redirect_meta meta;

	cr_assert_eq(run(packet, 60, &meta), XDP_REDIRECT);
	take(0);
	cr_assert_eq(run(packet, 60, &meta), XDP_PASS);
}

Test(xdp_program, counts_the_packets_that_pass)
{
	static uint8_t packet[64];
	struct redirect_meta meta;
	uint64_t before = take(PRIV_SETTLE);

	for (int i = 0; i < 7; i++)
		cr_assert_eq(run(packet, 60, &meta), XDP_PASS);
	cr_assert_eq(take(PRIV_TAKE | PRIV_SETTLE) - before, 7);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(run(packet, 60, &meta), XDP_REDIRECT);
	cr_assert_eq(take(PRIV_SETTLE) - before, 7);
}

/* ------------------------------------------------------------------- limits */

Test(xdp_program, frames_are_not_made_without_end)
{
	struct priv_reply reply;
	int made = 0;

	umems_left = 4;
	while (made < 100 &&
	       asroot_xdp_umem(&source, 0, 0, 0, &lane, &redirection,
			       &umems_left, &reply) == 0)
		made++;
	cr_assert_eq(made, 4);
	cr_assert_eq(asroot_xdp_umem(&source, 0, 0, 0, &lane, &redirection,
				     &umems_left, &reply),
		     -ENOSPC);
}

/* The engine may hold what it was lent, or have mapped it. */
Test(xdp_program, frames_are_free_again_when_nobody_holds_them)
{
	struct priv_reply reply;
	void *map;
	int fd;

	umems_left = 3;
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(asroot_xdp_umem(&source, 0, 0, 0, &lane,
					     &redirection, &umems_left, &reply),
			     0);
		fd = i == 1 ? dup(lane.next_umem.fd) : -1;
		map = i != 2 ? NULL :
			       mmap(NULL, lane.next_umem.size, PROT_READ,
				    MAP_SHARED, lane.next_umem.fd, 0);
		cr_assert(map != MAP_FAILED);
		cr_assert_eq(asroot_xdp_forget(&lane), i == 0);
		cr_assert(!asroot_xdp_forget(&lane));
		cr_assert_eq(lane.next_umem.fd, -1);
		close(fd);
	}
}

/* ------------------------------------------------- what is left in a frame */

static int take_burst(struct source *xdp, struct burst *burst, int count)
{
	int n = 0;

	for (int ms = 0; ms < 10000 && n < count; ms++, sleep_ms(1))
		n = xdp->ops->burst(xdp, burst, BURST_MAX, SIZE_MAX);
	return n;
}

/*
 * Frames outlive the program that has written in front of them: what does not
 * have the number of the present one is not believed.
 */
Test(xdp_program, words_of_another_program_are_not_believed)
{
	static struct burst burst;
	struct traffic_frame frame = { .vlan_count = 1,
				       .vlan = { { 0, 0x123 } } };
	static uint8_t bytes[TRAFFIC_FRAME_MAX];
	uint32_t size = (uint32_t)traffic_build(&frame, bytes);
	struct traffic *traffic;
	struct frames *frames;
	struct source *xdp;

	cr_assert_eq(frames_new(&frames, dup(lane.umem.fd), lane.umem.size,
				source.frame_size, config_frames_kept(&source),
				50),
		     0);
	cr_assert_eq(source_xdp_new(&xdp, &source, dup(lane.fd), frames, 0,
				    redirection.magic ^ 2),
		     0);
	cr_assert_eq(xdp->ops->burst(xdp, &burst, BURST_MAX, SIZE_MAX), 0);
	cr_assert_eq(traffic_open(&traffic, "outside"), 0);
	cr_assert_eq(traffic_send_like(traffic, &frame, 1, 0), 0);
	cr_assert_eq(take_burst(xdp, &burst, 1), 1);
	cr_assert_eq(burst.packets[0].flags, NR_DIRECTION_UNKNOWN |
						     NR_CLOCK_BROKER | NR_VLAN |
						     NR_VLAN_IN_BAND);
	cr_assert_eq(burst.packets[0].vlan_tci, 0x123);
	cr_assert_eq(burst.packets[0].caplen, size);
	cr_assert_eq(burst.packets[0].flow_hash, flow_hash(bytes, size, 1));
	cr_assert_eq(memcmp(burst.packets[0].data, bytes, size), 0);
	xdp->ops->done(xdp);
	xdp->ops->free(xdp);
	frames_free(frames);
	traffic_close(traffic);
}
