/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an engine goes on in a ring that another one has left, as the blocks'
 * numbers say, which wrap around.
 */
#include <criterion/criterion.h>

#include <linux/if_packet.h>
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
