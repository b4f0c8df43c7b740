/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an engine goes on in a ring that another one has left, as the blocks'
 * numbers say, which wrap around; and that nothing is read beyond a block.
 */
#include <criterion/criterion.h>

#include <linux/if_packet.h>
#include <pthread.h>
#include <string.h>

#include "packet_ring.h"

#define BLOCKS 4u
#define BLOCK_SIZE 4096u
#define DONE (UINT64_C(0xffffffff) << 32)

static _Alignas(64) uint8_t memory[BLOCKS * BLOCK_SIZE];
static struct packet_ring ring;

static void set_up(void)
{
	ring = (struct packet_ring){ .base = memory,
				     .size = sizeof(memory),
				     .block_size = BLOCK_SIZE,
				     .block_count = BLOCKS };
}

TestSuite(packet_ring, .init = set_up);

static struct tpacket_block_desc *block_at(uint32_t index)
{
	return (void *)(memory + index * BLOCK_SIZE);
}

static void fill(uint32_t index, uint32_t number, bool is_ours, uint64_t done)
{
	struct tpacket_block_desc *block = block_at(index);

	block->hdr.bh1.seq_num = number;
	block->hdr.bh1.block_status =
		is_ours ? TP_STATUS_USER : TP_STATUS_KERNEL;
	memcpy(block + 1, &done, sizeof(done));
}

static void expect_to_go_on_at(uint32_t block, uint32_t number)
{
	packet_ring_take_over(&ring);
	cr_assert_eq(ring.block, block);
	cr_assert_eq(ring.expected, number);
	cr_assert_eq(ring.inherited, BLOCKS);
}

Test(packet_ring, is_taken_over_at_its_oldest_block)
{
	fill(0, 9, true, 0);
	fill(1, 10, true, 0);
	fill(2, 7, false, DONE | 7);
	fill(3, 8, true, 0);
	expect_to_go_on_at(3, 8);
}

Test(packet_ring, is_taken_over_at_its_oldest_block_when_numbers_wrap)
{
	fill(0, 0, true, 0);
	fill(1, 1, true, 0);
	fill(2, UINT32_MAX - 1, true, 0);
	fill(3, UINT32_MAX, true, 0);
	expect_to_go_on_at(2, UINT32_MAX - 1);
}

Test(packet_ring, is_taken_over_where_the_kernel_is)
{
	fill(0, 8, false, DONE | 8);
	fill(1, 9, false, 0);
	fill(2, 6, false, DONE | 6);
	fill(3, 7, false, DONE | 7);
	expect_to_go_on_at(1, 9);
}

Test(packet_ring, is_taken_over_where_the_kernel_is_when_numbers_wrap)
{
	fill(0, 0, false, 0);
	fill(1, UINT32_MAX - 2, false, DONE | (UINT32_MAX - 2));
	fill(2, UINT32_MAX - 1, false, DONE | (UINT32_MAX - 1));
	fill(3, UINT32_MAX, false, DONE | UINT32_MAX);
	expect_to_go_on_at(0, 0);
}

/* It has given back the last, and the kernel has not opened the next. */
Test(packet_ring, is_taken_over_behind_what_was_given_back)
{
	fill(0, 8, false, DONE | 8);
	fill(1, 9, false, DONE | 9);
	fill(2, 6, false, DONE | 6);
	fill(3, 7, false, DONE | 7);
	expect_to_go_on_at(2, 10);
}

/* What an engine noted in an earlier filling of the block means nothing. */
Test(packet_ring, believes_no_note_of_an_earlier_filling)
{
	fill(0, 8, false, DONE | 8);
	fill(1, 9, false, DONE | 5);
	fill(2, 6, false, DONE | 6);
	fill(3, 7, false, DONE | 7);
	expect_to_go_on_at(1, 9);
}

/* ---------------------------------------------------------------- reading */

/* A header, and the address behind it. */
#define HEADERS 68u
#define MAC (HEADERS + PACKET_RING_RESERVE)
#define FIRST 64u
#define STEP 256u

static struct tpacket3_hdr *packet_at(uint32_t block, uint32_t n)
{
	return (void *)(memory + block * BLOCK_SIZE + FIRST + n * STEP);
}

/* With @count packets of 100 bytes, as the kernel would. */
static void fill_with(uint32_t block, uint32_t number, uint32_t count)
{
	struct tpacket_hdr_v1 *header = &block_at(block)->hdr.bh1;

	fill(block, number, true, 0);
	header->num_pkts = count;
	header->offset_to_first_pkt = FIRST;
	for (uint32_t i = 0; i < count; i++)
		*packet_at(block, i) = (struct tpacket3_hdr){
			.tp_next_offset = STEP, .tp_mac = MAC, .tp_snaplen = 100
		};
}

static void expect_packet(uint32_t block, uint32_t n)
{
	struct ring_packet packet;

	cr_assert_eq(packet_ring_next(&ring, &packet), PACKET_RING_OK);
	cr_assert_eq((const void *)packet.header, packet_at(block, n));
	cr_assert_eq(packet.caplen, 100);
}

Test(packet_ring, is_read_block_by_block_and_around)
{
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_NOTHING);
	for (uint32_t b = 0; b <= BLOCKS; b++) {
		uint32_t block = b % BLOCKS;

		fill_with(block, b, 3);
		cr_assert_eq(packet_ring_open(&ring), PACKET_RING_OK);
		for (uint32_t n = 0; n < 3; n++)
			expect_packet(block, n);
		cr_assert_eq(ring.left, 0);
		packet_ring_done(&ring);
		cr_assert_eq(block_at(block)->hdr.bh1.block_status,
			     TP_STATUS_KERNEL);
		cr_assert_eq(packet_ring_open(&ring), PACKET_RING_NOTHING);
	}
	cr_assert_eq(ring.block, 1);
}

Test(packet_ring, is_gone_on_with_behind_what_was_done)
{
	fill_with(0, 7, 3);
	packet_ring_take_over(&ring);
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_OK);
	expect_packet(0, 0);
	expect_packet(0, 1);
	packet_ring_done(&ring);
	cr_assert_eq(ring.block, 0);
	cr_assert_eq(block_at(0)->hdr.bh1.block_status, TP_STATUS_USER);
	packet_ring_take_over(&ring);
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_OK);
	cr_assert_eq(ring.left, 1);
	expect_packet(0, 2);
	packet_ring_done(&ring);
	cr_assert_eq(ring.inherited, BLOCKS - 1);
	cr_assert_eq(ring.expected, 8);
}

/* A note of more packets than there are is none. */
Test(packet_ring, is_begun_again_where_the_note_cannot_be_true)
{
	fill_with(0, 7, 3);
	fill(0, 7, true, UINT64_C(4) << 32 | 7);
	packet_ring_take_over(&ring);
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_OK);
	cr_assert_eq(ring.left, 3);
	fill(0, 7, true, DONE | 7);
	packet_ring_take_over(&ring);
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_OK);
	cr_assert_eq(ring.left, 0);
}

static int opened_with(uint32_t count, uint32_t first)
{
	fill_with(0, 0, 1);
	block_at(0)->hdr.bh1.num_pkts = count;
	block_at(0)->hdr.bh1.offset_to_first_pkt = first;
	return packet_ring_open(&ring);
}

Test(packet_ring, of_blocks_that_no_kernel_wrote_is_broken)
{
	uint32_t last = (BLOCK_SIZE - HEADERS) / 8 * 8;

	cr_assert_eq(opened_with(1, FIRST), PACKET_RING_OK);
	cr_assert_eq(opened_with(1, FIRST + 4), PACKET_RING_IS_BROKEN);
	cr_assert_eq(opened_with(1, last), PACKET_RING_OK);
	cr_assert_eq(opened_with(1, last + 8), PACKET_RING_IS_BROKEN);
	cr_assert_eq(opened_with(1, UINT32_MAX - 7), PACKET_RING_IS_BROKEN);
	cr_assert_eq(opened_with(0, 1), PACKET_RING_OK);
	cr_assert_eq(opened_with(BLOCK_SIZE / HEADERS, FIRST), PACKET_RING_OK);
	cr_assert_eq(opened_with(BLOCK_SIZE / HEADERS + 1, FIRST),
		     PACKET_RING_IS_BROKEN);
}

/* The first of two packets. */
static int read_with(uint32_t mac, uint32_t caplen, uint32_t next)
{
	struct ring_packet packet;

	fill_with(0, 0, 2);
	*packet_at(0, 0) = (struct tpacket3_hdr){ .tp_next_offset = next,
						  .tp_mac = (uint16_t)mac,
						  .tp_snaplen = caplen };
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_OK);
	return packet_ring_next(&ring, &packet);
}

Test(packet_ring, of_packets_that_no_kernel_wrote_is_broken)
{
	uint32_t most = BLOCK_SIZE - FIRST - MAC;
	uint32_t last = (BLOCK_SIZE - HEADERS) / 8 * 8 - FIRST;

	cr_assert_eq(read_with(MAC, 100, STEP), PACKET_RING_OK);
	cr_assert_eq(read_with(MAC - 1, 100, STEP), PACKET_RING_IS_BROKEN);
	cr_assert_eq(read_with(MAC, most, STEP), PACKET_RING_OK);
	cr_assert_eq(read_with(MAC, most + 1, STEP), PACKET_RING_IS_BROKEN);
	cr_assert_eq(read_with(MAC, UINT32_MAX, STEP), PACKET_RING_IS_BROKEN);
	cr_assert_eq(read_with(MAC, 100, 72), PACKET_RING_OK);
	cr_assert_eq(read_with(MAC, 100, 64), PACKET_RING_IS_BROKEN);
	cr_assert_eq(read_with(MAC, 100, 76), PACKET_RING_IS_BROKEN);
	cr_assert_eq(read_with(MAC, 100, last), PACKET_RING_OK);
	cr_assert_eq(read_with(MAC, 100, last + 8), PACKET_RING_IS_BROKEN);
	cr_assert_eq(read_with(MAC, 100, UINT32_MAX - 63),
		     PACKET_RING_IS_BROKEN);
}

Test(packet_ring, that_another_engine_has_left_may_wait_but_not_elsewhere)
{
	fill(0, 8, false, DONE | 8);
	fill(1, 9, false, 9);
	fill(2, 6, false, DONE | 6);
	fill(3, 7, false, DONE | 7);
	packet_ring_take_over(&ring);
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_NOTHING);
	fill_with(3, 11, 1);
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_IS_BROKEN);
	ring.inherited = 0;
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_NOTHING);
	ring.inherited = 1;
	fill_with(1, 10, 1); /* it was to be 9 */
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_IS_BROKEN);
	fill_with(1, 9, 1);
	cr_assert_eq(packet_ring_open(&ring), PACKET_RING_OK);
}

/* ------------------------------------- taken over while the kernel goes on */

#define RACE_BLOCKS 64u
#define RACE_HANDED 24u /* each time */
#define RACES 4000u

/* A kernel that hands over blocks of one packet, up to a number. */
struct kernel {
	uint32_t up_to; /* atomic */
	bool must_end;	/* atomic */
	uint8_t *base;
};

static void hand_over(const struct kernel *kernel, uint32_t number)
{
	uint8_t *at = kernel->base + number % RACE_BLOCKS * BLOCK_SIZE;
	struct tpacket_block_desc *block = (void *)at;
	struct tpacket3_hdr *packet = (void *)(at + FIRST);

	__atomic_store_n(&block->hdr.bh1.seq_num, number, __ATOMIC_RELAXED);
	block->hdr.bh1.num_pkts = 1;
	block->hdr.bh1.offset_to_first_pkt = FIRST;
	packet->tp_mac = MAC;
	packet->tp_snaplen = 100;
	__atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_USER,
			 __ATOMIC_RELEASE);
}

static void *run_kernel(void *arg)
{
	struct kernel *kernel = arg;
	uint32_t next = RACE_BLOCKS;

	while (!__atomic_load_n(&kernel->must_end, __ATOMIC_RELAXED)) {
		uint32_t up_to =
			__atomic_load_n(&kernel->up_to, __ATOMIC_ACQUIRE);

		while (next != up_to)
			hand_over(kernel, next++);
	}
	return NULL;
}

static void read_block(struct packet_ring *left, uint32_t number)
{
	struct ring_packet packet;
	int r;

	do
		r = packet_ring_open(left);
	while (r == PACKET_RING_NOTHING);
	cr_assert_eq(r, PACKET_RING_OK);
	cr_assert_eq(left->number, number);
	cr_assert_eq(packet_ring_next(left, &packet), PACKET_RING_OK);
	packet_ring_done(left);
}

/* It hands them over in order: none is passed over, none thought missing. */
Test(packet_ring, is_taken_over_while_the_kernel_goes_on, .timeout = 60)
{
	static _Alignas(64) uint8_t blocks[RACE_BLOCKS * BLOCK_SIZE];
	struct kernel kernel = { .up_to = RACE_BLOCKS, .base = blocks };
	uint32_t number = RACE_BLOCKS;
	pthread_t thread;

	for (uint32_t i = 0; i < RACE_BLOCKS; i++) {
		uint64_t done = DONE | i;

		((struct tpacket_block_desc *)(void *)(blocks + i * BLOCK_SIZE))
			->hdr.bh1.seq_num = i;
		memcpy(blocks + i * BLOCK_SIZE +
			       sizeof(struct tpacket_block_desc),
		       &done, sizeof(done));
	}
	cr_assert_eq(pthread_create(&thread, NULL, run_kernel, &kernel), 0);
	for (uint32_t race = 0; race < RACES; race++) {
		struct packet_ring left = { .base = blocks,
					    .size = sizeof(blocks),
					    .block_size = BLOCK_SIZE,
					    .block_count = RACE_BLOCKS };

		__atomic_store_n(&kernel.up_to, number + RACE_HANDED,
				 __ATOMIC_RELEASE);
		packet_ring_take_over(&left);
		cr_assert_eq(left.expected, number);
		cr_assert_eq(left.block, number % RACE_BLOCKS);
		for (uint32_t i = 0; i < RACE_HANDED; i++)
			read_block(&left, number++);
	}
	__atomic_store_n(&kernel.must_end, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

Test(packet_ring, says_how_full_it_is_from_where_it_is_read)
{
	ring.block = 3;
	cr_assert_eq(packet_ring_filled(&ring), 0);
	for (uint32_t n = 0; n < BLOCKS; n++) {
		fill((3 + n) % BLOCKS, n, true, 0);
		cr_assert_eq(packet_ring_filled(&ring), (n + 1) * 25);
	}
}
