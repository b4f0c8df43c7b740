// SPDX-License-Identifier: BSD-2-Clause
/*
 * The return page. Two hostile captures write what they like into theirs,
 * whenever they like; two honest ones read the same stream. After each step the
 * admission's sums are computed anew from all lease tables; what an honest
 * capture holds never changes; the one that keeps up never loses a packet,
 * the other accounts for each. Time is the input's, and so is what a bell
 * costs. Input: steps, a byte each, with what they need behind them.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "arena.h"
#include "stream.h"

#define CAPTURES 4
#define PROMPT 0 /* reads all and gives back all before each burst */
#define LAZY 1	 /* honest, but slow */
#define BLOCK_SIZE (128u << 10)
#define PACKET_MAX (60u << 10)

struct capture {
	struct subscription sub;
	_Alignas(64) struct nr_return page;
	bool is_attached;
	uint64_t bell_ns; /* what waking it costs; nothing, of an honest one */

	/* of an honest one */
	uint64_t taken;	   /* descriptors */
	uint64_t given;	   /* leases */
	uint64_t next_seq; /* it will read */
	uint64_t delivered;
	uint64_t gaps;
	uint32_t holds;
	struct nr_descriptor held[NR_LEASES_MAX];
	uint32_t read[NR_LEASES_MAX]; /* records of it */
	uint64_t hash[NR_LEASES_MAX]; /* of those */
};

static struct arena *arena;
static struct stream stream;
static struct capture captures[CAPTURES];
static uint8_t *rings;
static uint8_t bytes[PACKET_MAX];
static uint64_t now_ns = UINT64_C(1) << 40;

/* In place of libc's: see CMakeLists.txt. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
ssize_t __wrap_send(int fd, const void *buffer, size_t size, int flags);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	now_ns += 100;
	now->tv_sec = (time_t)(now_ns / 1000000000);
	now->tv_nsec = (long)(now_ns % 1000000000);
	return 0;
}

ssize_t __wrap_send(int fd, const void *buffer, size_t size, int flags)
{
	(void)buffer;
	(void)flags;
	now_ns += captures[fd].bell_ns;
	return (ssize_t)size;
}

static struct nr_ring *ring_of(const struct capture *capture)
{
	return (struct nr_ring *)(void *)(rings + (size_t)(capture - captures) *
							  NR_RING_SIZE);
}

/* ---------------------------------------------------- the sums, done anew */

static void check_capture(const struct capture *capture, uint32_t *leases,
			  uint32_t *pool_leases)
{
	const struct subscription *sub = &capture->sub;
	uint32_t charged = 0, beyond = 0, free_leases = 0;

	for (uint32_t i = 0; i < sub->lease_count; i++) {
		const struct lease *lease = &sub->leases[i];

		if (lease->charge == CHARGE_NONE)
			continue;
		leases[lease->block]++;
		pool_leases[lease->block] += lease->charge == CHARGE_POOL;
		charged += lease->charge == CHARGE_GUARANTEE;
		beyond += lease->charge == CHARGE_POOL;
	}
	for (uint32_t i = sub->free_lease; i != UINT32_MAX;
	     i = sub->leases[i].next_free) {
		assert(sub->leases[i].charge == CHARGE_NONE);
		assert(++free_leases <= sub->lease_count);
	}
	assert(charged == sub->grant.charged && beyond == sub->grant.beyond);
	assert(charged <= sub->grant.guarantee && beyond <= sub->grant.budget);
	assert(charged + beyond == sub->held);
	assert(free_leases + sub->held == sub->lease_count);
}

static void check_sums(void)
{
	const struct admission *admission = &arena->admission;
	uint32_t leases[64] = { 0 }, pool_leases[64] = { 0 };
	uint32_t promised = 0, pool_used = 0, unused = 0;
	bool is_free[64] = { false };

	assert(admission->block_count <= 64);
	for (int c = 0; c < CAPTURES; c++) {
		if (!captures[c].is_attached)
			continue;
		check_capture(&captures[c], leases, pool_leases);
		promised += captures[c].sub.grant.guarantee;
	}
	promised += stream.subscription_count > 0;
	for (uint32_t i = 0; i < admission->free_count; i++) {
		assert(!is_free[admission->free[i]]);
		is_free[admission->free[i]] = true;
	}
	for (uint32_t b = 0; b < admission->block_count; b++) {
		const struct admission_block *block = &admission->blocks[b];

		assert(block->leases == leases[b]);
		assert(block->pool_leases == pool_leases[b]);
		assert(is_free[b] == (!block->is_open && !leases[b]));
		assert(block->is_open ==
		       (stream.block && b == stream.block_index));
		pool_used += pool_leases[b] > 0;
		unused += is_free[b];
	}
	assert(promised == admission->promised);
	assert(promised <= admission->set_aside);
	assert(pool_used == admission->pool_used);
	assert(pool_used <= admission->pool);
	assert(unused >= 1); /* the reserve */
}

/* --------------------------------------------------------- honest captures */

static const struct nr_block *block_of(const struct nr_descriptor *descriptor)
{
	assert(descriptor->arena_id == arena->id);
	assert(descriptor->block < arena->admission.block_count);
	return arena_block(arena, descriptor->block);
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
	return hash ^ hash >> 32;
}

/* Of a record and both ends of its bytes. */
static uint64_t mix_record(uint64_t hash, const struct nr_record *record)
{
	const uint8_t *data = arena->region.base + record->offset;

	hash = mix(hash, record->ts_ns);
	hash = mix(hash, (uint64_t)record->offset << 32 | record->caplen);
	if (record->caplen)
		hash = mix(hash,
			   (uint64_t)data[0] << 8 | data[record->caplen - 1]);
	return hash;
}

/* What it has read of a block it holds is still what it read. */
static void check_unchanged(const struct capture *capture, uint32_t i)
{
	const struct nr_descriptor *held = &capture->held[i];
	const struct nr_record *records = (const void *)(block_of(held) + 1);
	uint64_t hash = 1;

	for (uint32_t r = 0; r < capture->read[i]; r++)
		hash = mix_record(hash, &records[held->first + r]);
	assert(hash == capture->hash[i]);
}

static void read_block(struct capture *capture, uint32_t i)
{
	const struct nr_descriptor *held = &capture->held[i];
	const struct nr_block *block = block_of(held);
	const struct nr_record *records = (const void *)(block + 1);
	uint32_t count = nr_block_state(block) & NR_BLOCK_COUNT;

	while (held->first + capture->read[i] < count) {
		const struct nr_record *record =
			&records[held->first + capture->read[i]];

		/* A packet is its number. */
		assert(record->ts_ns == capture->next_seq);
		capture->hash[i] = mix_record(capture->hash[i], record);
		capture->read[i]++;
		capture->next_seq++;
		capture->delivered++;
	}
}

static void read_all(struct capture *capture)
{
	const struct nr_ring *ring = ring_of(capture);
	const struct nr_descriptor *slots = (const void *)(ring + 1);

	for (;;) {
		struct nr_descriptor *held;

		if (capture->holds)
			read_block(capture, capture->holds - 1);
		if (capture->taken == nr_ring_head(ring))
			return;
		assert(capture->holds < capture->sub.lease_count);
		held = &capture->held[capture->holds];
		*held = slots[capture->taken++ & (ring->slots - 1)];
		for (uint32_t i = 0; i < capture->holds; i++)
			assert(capture->held[i].lease != held->lease);
		assert(held->seq == block_of(held)->seq + held->first);
		assert(held->seq >= capture->next_seq);
		capture->gaps += held->seq - capture->next_seq;
		capture->next_seq = held->seq;
		capture->read[capture->holds] = 0;
		capture->hash[capture->holds] = 1;
		capture->holds++;
	}
}

static void give_back(struct capture *capture, uint32_t i)
{
	check_unchanged(capture, i);
	nr_return_give(&capture->page, capture->given++,
		       capture->held[i].lease);
	capture->holds--;
	memmove(&capture->held[i], &capture->held[i + 1],
		(capture->holds - i) * sizeof(capture->held[0]));
	memmove(&capture->read[i], &capture->read[i + 1],
		(capture->holds - i) * sizeof(capture->read[0]));
	memmove(&capture->hash[i], &capture->hash[i + 1],
		(capture->holds - i) * sizeof(capture->hash[0]));
}

/* It is still needed as long as more may come in it. */
static bool may_give_back(const struct capture *capture, uint32_t i)
{
	uint32_t state = nr_block_state(block_of(&capture->held[i]));

	return (state & NR_BLOCK_CLOSED) &&
	       capture->held[i].first + capture->read[i] >=
		       (state & NR_BLOCK_COUNT);
}

static void keep_up(struct capture *capture)
{
	read_all(capture);
	while (capture->holds && may_give_back(capture, 0))
		give_back(capture, 0);
}

static void check_honest(struct capture *capture)
{
	const struct subscription *sub = &capture->sub;
	uint64_t published = stream_published_seq(&stream);

	assert(!sub->offence);
	for (uint32_t i = 0; i < capture->holds; i++)
		check_unchanged(capture, i);
	read_all(capture);
	/* delivered + lost = seen; a gap at the end is not told yet */
	assert(capture->delivered + subscription_lost(sub) ==
	       published - ring_of(capture)->base_seq);
	assert(capture->gaps + (published - capture->next_seq) ==
	       subscription_lost(sub));
	assert(ring_of(capture)->retired == 0);
	if (capture == &captures[PROMPT])
		assert(sub->refusals == 0 && subscription_lost(sub) == 0);
}

/* -------------------------------------------------------------- the steps */

static void detach(struct capture *capture)
{
	if (!capture->is_attached)
		return;
	stream_remove(&stream, &capture->sub);
	capture->is_attached = false;
}

static void attach(struct capture *capture, struct input *in)
{
	uint32_t leases = 1 + input_byte(in), guarantee = 2;
	struct nr_ring *ring = ring_of(capture);

	if (capture->is_attached)
		return;
	if (capture != &captures[PROMPT])
		guarantee = 1 + input_below(in, 4);
	if (leases < guarantee)
		leases = guarantee;
	memset(capture, 0, sizeof(*capture));
	memset(ring, 0, NR_RING_SIZE);
	capture->sub.bell = (int)(capture - captures);
	subscription_init(&capture->sub, ring, &capture->page, leases,
			  guarantee, leases - guarantee);
	if (!stream_add(&stream, &capture->sub, 1))
		return;
	capture->is_attached = true;
	capture->next_seq = ring->base_seq;
}

/*
 * Whether what is in the page is wrong: more than it holds, what it does not
 * hold now (an old or a guessed id), or one twice.
 */
static bool breaks_rules(const struct capture *capture)
{
	const struct subscription *sub = &capture->sub;
	uint64_t count = capture->page.head - sub->tail;
	bool is_given[NR_LEASES_MAX] = { false };

	if (count > sub->held)
		return true;
	for (uint64_t n = 0; n < count; n++) {
		uint64_t id =
			capture->page.slots[(sub->tail + n) % NR_LEASES_MAX];
		uint32_t i = 0;

		while (i < sub->lease_count &&
		       (is_given[i] || sub->leases[i].charge == CHARGE_NONE ||
			((uint64_t)sub->leases[i].generation << 16 | i) != id))
			i++;
		if (i == sub->lease_count)
			return true;
		is_given[i] = true;
	}
	return false;
}

/* Who breaks the rules is seen to, at once, and nobody else. */
static void collect(void)
{
	bool expected[CAPTURES];

	for (int c = 0; c < CAPTURES; c++)
		expected[c] =
			captures[c].sub.offence ||
			(captures[c].is_attached && breaks_rules(&captures[c]));
	stream_collect(&stream);
	for (int c = 0; c < CAPTURES; c++)
		assert(!captures[c].is_attached ||
		       expected[c] == !!captures[c].sub.offence);
}

/* Never more than one block: between two the prompt one has its turn. */
static void burst(struct input *in)
{
	uint32_t count = 1 + input_below(in, 8), block = stream.block_index;
	uint32_t size = input_byte(in) * (PACKET_MAX / 255);

	if (captures[PROMPT].is_attached)
		keep_up(&captures[PROMPT]);
	collect();
	while (count-- && stream.block && stream.block_index == block) {
		const struct packet packet = { .data = bytes,
					       .ts_ns = stream_seq(&stream),
					       .caplen = size,
					       .wirelen = size };

		stream_append_one(&stream, &packet);
	}
	stream_publish(&stream);
	stream_ring(&stream);
	for (int c = 0; c < CAPTURES; c++)
		if (captures[c].is_attached && captures[c].sub.offence) {
			subscription_end(&captures[c].sub, NR_END_EVICTED);
			if (input_byte(in) & 1)
				detach(&captures[c]);
		}
}

/* What is told of each, at any time. */
static void look(struct input *in)
{
	for (int c = 0; c < CAPTURES; c++) {
		const struct subscription *sub = &captures[c].sub;
		struct nr_msg_capture told = { .is_stalled = 0 };

		if (!captures[c].is_attached)
			continue;
		subscription_stat_backlog(sub, &told);
		assert(told.backlog <= told.backlog_high);
		assert(told.backlog <= stream_published_seq(&stream) -
					       ring_of(&captures[c])->base_seq);
		assert(sub->held || (!told.backlog && !told.is_stalled));
		if (told.is_stalled)
			assert(told.oldest_ns > UINT64_C(1000000000));
		assert(subscription_delivered_bytes(sub) <= stream.bytes);
	}
	now_ns += input_byte(in) * UINT64_C(20000000);
}

/*
 * As a lane without loss does it: where there is room, and no other stream to
 * share the pool with, a new block refuses nobody.
 */
static void turn_over(void)
{
	const struct admission *admission = &arena->admission;
	uint64_t refusals[CAPTURES];
	uint32_t pool = 0;
	bool has_room;

	if (captures[PROMPT].is_attached)
		keep_up(&captures[PROMPT]);
	collect();
	has_room = stream_has_room(&stream, &pool) &&
		   pool <= admission->pool - admission->pool_used;
	if (!has_room && stream_fits(&stream, 1, 0))
		return; /* a packet without bytes can still be had */
	for (int c = 0; c < CAPTURES; c++)
		refusals[c] = captures[c].sub.refusals;
	stream_turn_over(&stream, 1);
	for (int c = 0; c < CAPTURES && has_room; c++)
		assert(!captures[c].is_attached ||
		       refusals[c] == captures[c].sub.refusals);
	stream_ring(&stream);
}

/* The source has missed some, and so the stream ends: each is told how many. */
static void miss(struct input *in)
{
	uint64_t count = 1 + input_byte(in);

	if (captures[PROMPT].is_attached)
		keep_up(&captures[PROMPT]);
	collect();
	stream_miss(&stream, count);
	for (int c = 0; c < CAPTURES; c++) {
		struct capture *capture = &captures[c];
		bool is_honest = c <= LAZY && capture->is_attached;

		if (!capture->is_attached)
			continue;
		subscription_end(&capture->sub, NR_END_RETIRED);
		assert(ring_of(capture)->end);
		if (is_honest && !capture->sub.offence) {
			read_all(capture);
			assert(NR_END_SEQ(ring_of(capture)->end) ==
			       stream_published_seq(&stream));
			assert(ring_of(capture)->retired == count);
			assert(capture->delivered +
				       subscription_lost(&capture->sub) +
				       count ==
			       stream_published_seq(&stream) -
				       ring_of(capture)->base_seq);
		}
		detach(capture);
	}
}

/* A lease id: one that it holds, held, or another holds, or anything. */
static uint64_t some_lease(struct capture *capture, struct input *in)
{
	uint32_t kind = input_byte(in);
	const struct capture *of =
		kind & 1 ? &captures[kind >> 1 & 3] : capture;
	const struct nr_descriptor *slots = (const void *)(ring_of(of) + 1);
	uint64_t lease = slots[input_byte(in)].lease;

	if (kind & 8)
		lease += (uint64_t)input_byte(in) << 16;
	return (kind & 0xf0) == 0xf0 ? input_u64(in) : lease;
}

static void attack(struct capture *capture, uint32_t how, struct input *in)
{
	struct nr_return *page = &capture->page;

	switch (how) {
	case 0:
		page->armed = input_u64(in);
		break;
	case 1:
		page->head = input_u64(in);
		break;
	case 2:
		page->head += input_byte(in);
		break;
	case 3:
		page->slots[input_byte(in)] = input_u64(in);
		break;
	case 4:
		input_bytes(in, page, input_byte(in) * 8u);
		break;
	case 6: /* a crowd that waits for its bell */
		capture->bell_ns = input_byte(in) * UINT64_C(100000);
		break;
	default: /* as an honest one would, but for the lease */
		nr_return_give(page, page->head, some_lease(capture, in));
	}
}

static void give_one(struct capture *capture, struct input *in)
{
	uint32_t i = capture->holds ? input_below(in, capture->holds) : 0;

	if (i < capture->holds && may_give_back(capture, i))
		give_back(capture, i);
}

static void step(struct input *in)
{
	uint32_t what = input_byte(in);
	struct capture *capture = &captures[what >> 4 & 3];
	bool is_honest = capture <= &captures[LAZY];

	switch (what & 15) {
	case 0:
		attach(capture, in);
		return;
	case 1:
		detach(capture);
		return;
	case 2:
		if (stream.subscription_count)
			burst(in);
		return;
	case 3:
		look(in);
		return;
	case 4:
		if (stream.subscription_count)
			(what >> 4 == 15 ? miss(in) : turn_over());
		return;
	default:
		break;
	}
	if (!capture->is_attached)
		return;
	if (!is_honest)
		attack(capture, what & 7, in);
	else if ((what & 15) == 5)
		read_all(capture);
	else if ((what & 15) == 6)
		give_one(capture, in);
	else
		nr_return_arm(&capture->page);
}

static void init(void)
{
	assert(region_init() == 0);
	assert(arena_new(&arena, REGION_ALIGN, BLOCK_SIZE, 70, true, true) ==
	       0);
	rings = aligned_alloc(64, (size_t)CAPTURES * NR_RING_SIZE);
	assert(rings);
	memset(rings, 0, (size_t)CAPTURES * NR_RING_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!arena)
		init();
	stream_init(&stream, arena, 0);
	while (in.left) {
		step(&in);
		check_sums();
		for (int c = PROMPT; c <= LAZY; c++)
			if (captures[c].is_attached)
				check_honest(&captures[c]);
	}
	for (int c = 0; c < CAPTURES; c++)
		detach(&captures[c]);
	assert(arena->admission.free_count == arena->admission.block_count);
	assert(arena->admission.promised == 0);
	assert(arena->admission.pool_used == 0);
	return 0;
}
