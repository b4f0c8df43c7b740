/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Streams and subscriptions on a real arena, without a broker: under random
 * schedules of reading, holding, refusal, attach and detach, what a consumer
 * works out from sequence numbers must be what the broker counted; and
 * whatever a return page says, nothing moves but what its capture holds.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include <netring/ring.h>

#include "random.h"
#include "region.h"
#include "stream.h"

#define CONSUMERS 8
#define REAL_STREAMS 2
#define BYTES_MAX (96u << 10)

/* Reads as client/read.c does, but keeps its own books. */
struct consumer {
	struct subscription sub;
	bool is_attached;
	uint32_t stream;
	struct nr_ring *ring; /* a whole slice */
	struct nr_return *page;
	uint32_t greed; /* percent: how seldom it gives back */
	uint64_t next_seq;
	uint64_t base_seq;
	uint64_t delivered;
	uint64_t gap;
	uint64_t taken;
	uint64_t given;
	const struct nr_block *block;
	uint64_t block_seq;
	uint32_t read;
	uint64_t lease;
	uint32_t held;
	uint64_t leases[NR_LEASES_MAX];
};

struct world {
	struct arena *arena;
	struct stream streams[REAL_STREAMS];
	struct consumer consumers[CONSUMERS];
	uint64_t records, refusals, gaps, attach_refused;
	uint32_t size_max;
};

static uint8_t bytes[BYTES_MAX];

/* Any packet is a function of its stream and its number. */
static uint64_t mix(uint64_t stream, uint64_t seq)
{
	uint64_t x = (seq << 8 | stream) * UINT64_C(0xff51afd7ed558ccd);

	return (x ^ x >> 33) * UINT64_C(0xc4ceb9fe1a85ec53) >> 16;
}

static struct packet packet_of(const struct world *world, uint32_t stream,
			       uint64_t seq)
{
	uint64_t x = mix(stream, seq);
	uint32_t caplen = (uint32_t)(x % world->size_max);

	return (struct packet){
		.data = bytes + x % (BYTES_MAX - world->size_max),
		.ts_ns = x,
		.caplen = caplen,
		.wirelen = caplen + (uint32_t)(x >> 40) % 2,
		.flow_hash = (uint32_t)seq,
		.interface = (uint16_t)stream,
	};
}

static void expect_record(const struct world *world,
			  const struct consumer *consumer,
			  const struct nr_record *record)
{
	struct packet packet =
		packet_of(world, consumer->stream, consumer->next_seq);

	cr_assert_eq(record->ts_ns, packet.ts_ns);
	cr_assert_eq(record->caplen, packet.caplen);
	cr_assert_eq(record->wirelen, packet.wirelen);
	cr_assert_eq(record->flow_hash, (uint32_t)consumer->next_seq);
	cr_assert_eq(!!(record->flags & NR_TRUNCATED),
		     packet.caplen < packet.wirelen);
	cr_assert_leq((uint64_t)record->offset + record->caplen,
		      world->arena->region.size);
	cr_assert(memcmp(world->arena->region.base + record->offset,
			 packet.data, packet.caplen) == 0);
}

static bool consumer_take(const struct world *world, struct consumer *consumer)
{
	const struct nr_descriptor *slots =
		(const struct nr_descriptor *)(const void *)(consumer->ring +
							     1);
	const struct nr_descriptor *next;

	if (nr_ring_head(consumer->ring) == consumer->taken)
		return false;
	next = &slots[consumer->taken++ & (consumer->ring->slots - 1)];
	cr_assert_eq(next->arena_id, world->arena->id);
	cr_assert_geq(next->seq, consumer->next_seq);
	consumer->gap += next->seq - consumer->next_seq;
	consumer->next_seq = next->seq;
	consumer->block = arena_block(world->arena, next->block);
	consumer->block_seq = consumer->block->seq;
	cr_assert_eq(consumer->block_seq + next->first, next->seq);
	consumer->read = next->first;
	consumer->lease = next->lease;
	return true;
}

/* Reads all there is. */
static void consumer_look(struct world *world, struct consumer *consumer)
{
	do {
		const struct nr_record *records;
		uint32_t state;

		if (!consumer->block)
			continue;
		/* What is leased is not reused. */
		cr_assert_eq(consumer->block->seq, consumer->block_seq);
		records = (const struct nr_record
				   *)(const void *)(consumer->block + 1);
		state = nr_block_state(consumer->block);
		for (; consumer->read < (state & NR_BLOCK_COUNT);
		     consumer->read++) {
			expect_record(world, consumer,
				      &records[consumer->read]);
			consumer->next_seq++;
			consumer->delivered++;
			world->records++;
		}
		if (!(state & NR_BLOCK_CLOSED))
			return;
		consumer->leases[consumer->held++] = consumer->lease;
		consumer->block = NULL;
	} while (consumer_take(world, consumer));
}

/* Gives back one of those it is done with, any of them. */
static void consumer_give(struct consumer *consumer)
{
	uint32_t i;

	if (consumer->held == 0)
		return;
	i = below(consumer->held);
	nr_return_give(consumer->page, consumer->given++, consumer->leases[i]);
	consumer->leases[i] = consumer->leases[--consumer->held];
}

static void world_init(struct world *world, uint32_t block_size,
		       uint32_t percent)
{
	cr_assert_eq(region_init(), 0);
	memset(world, 0, sizeof(*world));
	cr_assert_eq(arena_new(&world->arena, REGION_ALIGN, block_size, percent,
			       true, true),
		     0);
	world->size_max = world->arena->capacity / 3;
	if (world->size_max > BYTES_MAX / 2)
		world->size_max = BYTES_MAX / 2;
	for (uint32_t s = 0; s < REAL_STREAMS; s++)
		stream_init(&world->streams[s], world->arena, s);
	for (int c = 0; c < CONSUMERS; c++) {
		world->consumers[c].ring = aligned_alloc(NR_PAGE, NR_RING_SIZE);
		world->consumers[c].page =
			aligned_alloc(NR_PAGE, sizeof(struct nr_return));
		cr_assert(world->consumers[c].ring);
		cr_assert(world->consumers[c].page);
	}
	for (uint32_t i = 0; i < BYTES_MAX; i++)
		bytes[i] = (uint8_t)below(256);
}

static void world_check(const struct world *world)
{
	const struct admission *admission = &world->arena->admission;
	uint32_t leases[512] = { 0 }, pool[512] = { 0 }, pool_used = 0;
	uint32_t in_use = 0, promised = 0;

	for (int c = 0; c < CONSUMERS; c++) {
		const struct subscription *sub = &world->consumers[c].sub;
		uint32_t held = 0;

		if (!world->consumers[c].is_attached)
			continue;
		promised += sub->grant.guarantee;
		for (uint32_t i = 0; i < sub->lease_count; i++) {
			const struct lease *lease = &sub->leases[i];

			if (lease->charge == CHARGE_NONE)
				continue;
			held++;
			leases[lease->block]++;
			pool_used += lease->charge == CHARGE_POOL &&
				     pool[lease->block]++ == 0;
		}
		cr_assert_eq(sub->held, held);
		cr_assert(sub->state != SUBSCRIPTION_REFUSED ||
				  sub->grant.charged == sub->grant.guarantee,
			  "refused within its guarantee");
	}
	for (uint32_t b = 0; b < admission->block_count; b++) {
		cr_assert_eq(admission->blocks[b].leases, leases[b]);
		cr_assert_eq(admission->blocks[b].pool_leases, pool[b]);
		in_use += leases[b] || admission->blocks[b].is_open;
	}
	for (uint32_t s = 0; s < REAL_STREAMS; s++)
		promised += world->streams[s].subscription_count > 0;
	cr_assert_eq(admission->free_count, admission->block_count - in_use);
	cr_assert_gt(admission->free_count, 0);
	cr_assert_eq(admission->pool_used, pool_used);
	cr_assert_leq(pool_used, admission->pool);
	cr_assert_eq(admission->promised, promised);
}

/* Once it has read all it can, its arithmetic and the broker's agree. */
static void consumer_check(struct world *world, struct consumer *consumer)
{
	const struct stream *stream = &world->streams[consumer->stream];
	uint64_t published = stream_published_seq(stream), tail, lost;
	uint64_t shared_lost, refused_at, refusals;

	consumer_look(world, consumer);
	tail = published - consumer->next_seq;
	lost = subscription_lost(&consumer->sub);
	if (consumer->sub.state == SUBSCRIPTION_ADMITTED)
		cr_assert_eq(tail, 0);
	cr_assert_eq(consumer->gap + tail, lost);
	cr_assert_eq(consumer->delivered + lost,
		     published - consumer->base_seq);
	cr_assert_eq(nr_ring_load_loss(consumer->ring, &shared_lost,
				       &refused_at, &refusals),
		     0);
	if (refused_at != NR_SEQ_NONE)
		shared_lost += published - refused_at;
	cr_assert_eq(shared_lost, lost);
	cr_assert_eq(refusals, consumer->sub.refusals);
	cr_assert_eq(stream->shared->published, published);
}

static void consumer_start(struct world *world, struct consumer *consumer,
			   uint32_t leases, uint32_t guarantee, uint32_t budget)
{
	struct stream *stream = &world->streams[consumer->stream];

	memset(consumer->ring, 0, NR_RING_SIZE);
	memset(consumer->page, 0, sizeof(*consumer->page));
	memset(&consumer->sub, 0, sizeof(consumer->sub));
	consumer->sub.bell = -1;
	subscription_init(&consumer->sub, consumer->ring, consumer->page,
			  leases, guarantee, budget);
	consumer->is_attached = stream_add(stream, &consumer->sub, 1);
	consumer->base_seq = consumer->next_seq = consumer->ring->base_seq;
	consumer->delivered = consumer->gap = 0;
	consumer->taken = consumer->given = 0;
	consumer->block = NULL;
	consumer->held = 0;
}

static void consumer_attach(struct world *world, struct consumer *consumer)
{
	const struct admission *admission = &world->arena->admission;
	uint32_t leases = 1 + below(24);
	uint32_t guarantee = 1 + below(leases < 3 ? leases : 3);
	bool fits;

	consumer->stream = below(REAL_STREAMS);
	consumer->greed = below(70);
	fits = admission->promised + guarantee +
		       (world->streams[consumer->stream].subscription_count ==
			0) <=
	       admission->set_aside;
	consumer_start(world, consumer, leases, guarantee,
		       below(leases - guarantee + 1));
	cr_assert_eq(consumer->is_attached, fits);
	if (fits)
		cr_assert_eq(consumer->sub.state, SUBSCRIPTION_ADMITTED,
			     "a new capture is let in");
	world->attach_refused += !fits;
}

static void consumer_detach(struct world *world, struct consumer *consumer)
{
	if (chance(50))
		consumer_check(world, consumer);
	world->refusals += consumer->sub.refusals;
	world->gaps += consumer->gap;
	stream_remove(&world->streams[consumer->stream], &consumer->sub);
	consumer->is_attached = false;
}

static void append_burst(struct world *world, uint32_t s, uint32_t count)
{
	struct stream *stream = &world->streams[s];
	const struct packet *picked[BURST_MAX];
	struct packet packets[BURST_MAX];

	cr_assert_leq(count, BURST_MAX);
	for (uint32_t i = 0; i < count; i++) {
		packets[i] = packet_of(world, s, stream_seq(stream) + i);
		picked[i] = &packets[i];
	}
	stream_append(stream, picked, count);
}

/* As a lane does it: collect, append, publish. */
static void stream_burst(struct world *world, uint32_t s, uint32_t count)
{
	struct stream *stream = &world->streams[s];

	if (stream->subscription_count == 0)
		return;
	stream_collect(stream);
	append_burst(world, s, count);
	stream_publish(stream);
}

static void world_step(struct world *world)
{
	struct consumer *consumer = &world->consumers[below(CONSUMERS)];
	uint32_t what = below(100);

	if (what < 50) {
		stream_burst(world, below(REAL_STREAMS), below(12));
	} else if (!consumer->is_attached) {
		if (what < 55)
			consumer_attach(world, consumer);
	} else if (what < 70) {
		consumer_look(world, consumer);
	} else if (what < 98) {
		for (int i = 0; i < 3 && !chance(consumer->greed); i++)
			consumer_give(consumer);
	} else if (what < 99) {
		consumer_check(world, consumer);
	} else if (chance(30)) {
		consumer_detach(world, consumer);
	}
	world_check(world);
}

static void world_end(struct world *world)
{
	for (int c = 0; c < CONSUMERS; c++) {
		struct consumer *consumer = &world->consumers[c];

		if (consumer->is_attached) {
			consumer_check(world, consumer);
			consumer_detach(world, consumer);
		}
		free(consumer->ring);
		free(consumer->page);
	}
	world_check(world);
	cr_assert_eq(world->arena->admission.free_count,
		     world->arena->admission.block_count);
	cr_assert_eq(world->arena->admission.promised, 0);
	arena_free(world->arena);
}

Test(stream, gaps_that_a_consumer_computes_are_what_it_has_lost)
{
	static const uint32_t sizes[] = { 32768, 65536, 131072, 262144 };
	static const uint32_t percents[] = { 10, 50, 90 };
	static struct world world;
	uint64_t records = 0, refusals = 0, gaps = 0, attach_refused = 0;

	for (uint32_t seed = 1; seed <= 24; seed++) {
		random_seed(seed);
		world_init(&world, sizes[seed % 4], percents[seed % 3]);
		for (int step = 0; step < 12000; step++)
			world_step(&world);
		world_end(&world);
		records += world.records;
		refusals += world.refusals;
		gaps += world.gaps;
		attach_refused += world.attach_refused;
	}
	cr_assert_gt(records, 100000);
	cr_assert_gt(refusals, 500);
	cr_assert_gt(gaps, 5000);
	cr_assert_gt(attach_refused, 10);
}

Test(stream, a_capture_that_is_ended_while_refused_counts_its_tail)
{
	static struct world world;
	struct consumer *consumer = &world.consumers[0];
	struct stream *stream = &world.streams[0];
	uint64_t end;

	random_seed(7);
	world_init(&world, 131072, 50);
	consumer_start(&world, consumer, 1, 1, 0);
	while (consumer->sub.state == SUBSCRIPTION_ADMITTED)
		stream_burst(&world, 0, 5);
	stream_burst(&world, 0, 3);
	subscription_end(&consumer->sub, NR_END_SOURCE);
	end = nr_ring_end_word(consumer->ring);
	cr_assert_eq(NR_END_WHY(end), NR_END_SOURCE);
	cr_assert_eq(NR_END_SEQ(end), stream_published_seq(stream));
	consumer_look(&world, consumer);
	cr_assert_gt(subscription_lost(&consumer->sub), 3);
	cr_assert_eq(subscription_lost(&consumer->sub),
		     NR_END_SEQ(end) - consumer->next_seq);
	/* The stream goes on without it. */
	stream_burst(&world, 0, 50);
	cr_assert_eq(NR_END_SEQ(end) - consumer->next_seq,
		     subscription_lost(&consumer->sub));
	stream_remove(stream, &consumer->sub);
	consumer->is_attached = false;
	world_end(&world);
}

/*
 * A CPU fetches ahead upwards; and of a block nothing is wasted, whatever size
 * the first packet has that does not fit.
 */
Test(stream, the_bytes_of_a_burst_lie_in_its_order_and_fill_the_block)
{
	static struct world world;
	struct consumer *consumer = &world.consumers[0];
	struct stream *stream = &world.streams[0];
	const struct nr_block *block;
	const struct nr_record *records;
	struct packet next;
	uint32_t count;

	random_seed(11);
	world_init(&world, 131072, 50);
	world.size_max = 3000;
	consumer_start(&world, consumer, 1, 1, 0);
	block = stream->block;
	records = (const struct nr_record *)(const void *)(block + 1);
	append_burst(&world, 0, BURST_MAX);
	cr_assert(nr_block_state(block) & NR_BLOCK_CLOSED, "it was filled");
	count = nr_block_state(block) & NR_BLOCK_COUNT;
	cr_assert_lt(count, BURST_MAX);
	for (uint32_t i = 1; i < count; i++)
		cr_assert_eq(records[i].offset,
			     records[i - 1].offset +
				     (records[i - 1].caplen + 15) / 16 * 16);
	next = packet_of(&world, 0, count);
	cr_assert_gt((const uint8_t *)&records[count + 1] +
			     (next.caplen + 15) / 16 * 16,
		     world.arena->region.base + records[0].offset);
	stream_publish(stream);
	stream_remove(stream, &consumer->sub);
	consumer->is_attached = false;
	arena_free(world.arena);
}

/*
 * It sleeps on a block that it has read out, and can be lent no other before it
 * has given that back: so it has to be told that this one is closed.
 */
Test(stream, a_turn_over_is_news_for_who_is_refused_the_next_block)
{
	static struct world world;
	struct consumer *consumer = &world.consumers[0];
	struct stream *stream = &world.streams[0];

	random_seed(7);
	world_init(&world, 131072, 50);
	consumer_start(&world, consumer, 1, 1, 0);
	stream_burst(&world, 0, 5);
	stream_ring(stream);
	cr_assert_not(stream->has_changed);
	stream_next_epoch(stream, 1);
	cr_assert_eq(consumer->sub.state, SUBSCRIPTION_REFUSED);
	cr_assert(stream->has_changed);
	stream_remove(stream, &consumer->sub);
	consumer->is_attached = false;
	world_end(&world);
}

/* ------------------------------------------------------- forged releases */

/* One that holds three blocks (two closed) beside one that holds three, too. */
struct victim_world {
	struct world world;
	struct consumer *attacker;
	struct consumer *honest;
	uint64_t old_lease; /* given back, taken by the lane */
};

static struct victim_world *victims_new(void)
{
	static struct victim_world v;
	struct stream *stream = &v.world.streams[0];

	random_seed(3);
	world_init(&v.world, 131072, 50);
	v.attacker = &v.world.consumers[0];
	v.honest = &v.world.consumers[1];
	consumer_start(&v.world, v.attacker, 6, 2, 4);
	consumer_start(&v.world, v.honest, 6, 2, 4);
	while (v.attacker->sub.held < 2)
		stream_burst(&v.world, 0, 1);
	consumer_look(&v.world, v.attacker);
	consumer_look(&v.world, v.honest);
	v.old_lease = v.attacker->leases[0];
	consumer_give(v.attacker);
	stream_collect(stream);
	while (v.attacker->sub.held < 3)
		stream_burst(&v.world, 0, 1);
	consumer_look(&v.world, v.attacker);
	consumer_look(&v.world, v.honest);
	cr_assert_eq(v.attacker->held, 2);
	cr_assert_eq(v.honest->held, 3);
	return &v;
}

static void give_raw(struct consumer *consumer, uint64_t lease)
{
	nr_return_give(consumer->page, consumer->given++, lease);
}

static void set_head(struct consumer *consumer, uint64_t head)
{
	__atomic_store_n(&consumer->page->head, head, __ATOMIC_RELEASE);
}

static void forge_index_beyond_table(struct victim_world *v)
{
	give_raw(v->attacker, 6);
}

static void forge_index_far_out(struct victim_world *v)
{
	give_raw(v->attacker, 0xffff);
}

static void forge_id_far_out(struct victim_world *v)
{
	give_raw(v->attacker, UINT64_MAX);
}

static void forge_unused_entry(struct victim_world *v)
{
	for (uint32_t i = 0; i < 6; i++)
		if (v->attacker->sub.leases[i].charge == CHARGE_NONE) {
			give_raw(v->attacker,
				 (uint64_t)v->attacker->sub.leases[i].generation
						 << 16 |
					 i);
			return;
		}
	cr_assert_fail("all entries are used");
}

static void forge_old_generation(struct victim_world *v)
{
	give_raw(v->attacker, v->old_lease);
}

static void forge_next_generation(struct victim_world *v)
{
	give_raw(v->attacker, v->attacker->leases[0] + (1 << 16));
}

static void forge_generation_beyond_32_bits(struct victim_world *v)
{
	give_raw(v->attacker, v->attacker->leases[0] | UINT64_C(1) << 48);
}

static void flood_one_too_many(struct victim_world *v)
{
	for (int i = 0; i < 4; i++)
		give_raw(v->attacker, v->attacker->leases[0]);
}

static void flood_head_far_ahead(struct victim_world *v)
{
	set_head(v->attacker, v->attacker->given + (UINT64_C(1) << 40));
}

static void flood_head_at_the_end(struct victim_world *v)
{
	set_head(v->attacker, UINT64_MAX);
}

static void flood_head_backwards(struct victim_world *v)
{
	set_head(v->attacker, v->attacker->given - 1);
}

/* A copy of all that a release could change, but for the offence. */
struct state {
	struct admission admission;
	struct admission_block blocks[512];
	uint32_t free[512];
	struct subscription attacker, honest;
	uint8_t rings[2][NR_RING_SIZE];
	struct nr_block block_headers[512];
};

static void state_take(struct state *state, const struct victim_world *v)
{
	const struct arena *arena = v->world.arena;
	const struct admission *admission = &arena->admission;

	memset(state, 0, sizeof(*state));
	state->admission = *admission;
	for (uint32_t b = 0; b < admission->block_count; b++) {
		state->blocks[b] = admission->blocks[b];
		state->block_headers[b] = *arena_block(arena, b);
	}
	memcpy(state->free, admission->free,
	       admission->free_count * sizeof(uint32_t));
	state->attacker = v->attacker->sub;
	state->attacker.offence = NULL;
	state->honest = v->honest->sub;
	memcpy(state->rings[0], v->attacker->ring, NR_RING_SIZE);
	memcpy(state->rings[1], v->honest->ring, NR_RING_SIZE);
}

static void victims_end(struct victim_world *v)
{
	struct stream *stream = &v->world.streams[0];
	uint64_t delivered = v->honest->delivered;

	/* The honest one reads on and loses nothing; the attacker nothing. */
	while (v->honest->held)
		consumer_give(v->honest);
	for (int i = 0; i < 30; i++) {
		stream_burst(&v->world, 0, 3);
		consumer_look(&v->world, v->honest);
		while (v->honest->held)
			consumer_give(v->honest);
	}
	cr_assert_eq(v->honest->delivered, delivered + 90);
	cr_assert_eq(v->honest->gap, 0);
	stream_remove(stream, &v->attacker->sub);
	v->attacker->is_attached = false;
	world_end(&v->world);
}

Test(subscription,
     a_forged_or_flooded_release_is_an_offence_and_changes_nothing)
{
	static const struct {
		const char *name;
		void (*forge)(struct victim_world *v);
	} table[] = {
		{ "index beyond the table", forge_index_beyond_table },
		{ "index far out", forge_index_far_out },
		{ "id far out", forge_id_far_out },
		{ "unused entry", forge_unused_entry },
		{ "old generation", forge_old_generation },
		{ "next generation", forge_next_generation },
		{ "generation of 33 bits", forge_generation_beyond_32_bits },
		{ "one too many", flood_one_too_many },
		{ "head far ahead", flood_head_far_ahead },
		{ "head at the end", flood_head_at_the_end },
		{ "head backwards", flood_head_backwards },
	};
	static struct state before, after;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct victim_world *v = victims_new();

		table[i].forge(v);
		state_take(&before, v);
		subscription_collect(&v->attacker->sub);
		cr_assert_neq(v->attacker->sub.offence, NULL, "%s",
			      table[i].name);
		state_take(&after, v);
		cr_assert(memcmp(&before, &after, sizeof(before)) == 0, "%s",
			  table[i].name);
		/* Whatever it writes from here on is not looked at. */
		set_head(v->attacker, v->attacker->sub.tail + 1);
		subscription_collect(&v->attacker->sub);
		state_take(&after, v);
		cr_assert(memcmp(&before, &after, sizeof(before)) == 0, "%s",
			  table[i].name);
		victims_end(v);
	}
}

Test(subscription, a_doubled_release_counts_once_and_is_an_offence)
{
	struct victim_world *v = victims_new();
	uint32_t block =
		v->attacker->sub.leases[v->attacker->leases[0] & 0xffff].block;
	uint32_t leases = v->world.arena->admission.blocks[block].leases;

	give_raw(v->attacker, v->attacker->leases[0]);
	give_raw(v->attacker, v->attacker->leases[0]);
	subscription_collect(&v->attacker->sub);
	cr_assert_neq(v->attacker->sub.offence, NULL);
	cr_assert_eq(v->attacker->sub.held, 2);
	cr_assert_eq(v->world.arena->admission.blocks[block].leases,
		     leases - 1);
	cr_assert_eq(leases, 2, "the honest one holds it still");
	victims_end(v);
}

Test(subscription, releases_in_any_order_are_no_offence)
{
	struct victim_world *v = victims_new();

	/* Also of the block that is still open: its own loss. */
	give_raw(v->attacker, v->attacker->lease);
	give_raw(v->attacker, v->attacker->leases[1]);
	give_raw(v->attacker, v->attacker->leases[0]);
	subscription_collect(&v->attacker->sub);
	cr_assert_eq(v->attacker->sub.offence, NULL);
	cr_assert_eq(v->attacker->sub.held, 0);
	victims_end(v);
}

/* Many rounds of rubbish: nothing but offences, and all comes back. */
Test(subscription, random_rubbish_in_the_return_page_hurts_nobody)
{
	for (uint32_t seed = 1; seed <= 200; seed++) {
		struct victim_world *v = victims_new();

		random_seed(seed);
		for (int round = 0; round < 20; round++) {
			uint64_t *words = (uint64_t *)v->attacker->page;
			uint64_t held = v->attacker->sub.held;

			for (uint32_t i = 0; i < sizeof(struct nr_return) / 8;
			     i++)
				if (chance(20))
					words[i] =
						chance(70) ?
							below(8) |
								below(3) << 16 :
							mix(seed, i);
			set_head(v->attacker, v->attacker->sub.tail + below(4));
			subscription_collect(&v->attacker->sub);
			cr_assert_leq(v->attacker->sub.held, held);
			world_check(&v->world);
			stream_burst(&v->world, 0, 2);
			consumer_look(&v->world, v->honest);
			while (v->honest->held)
				consumer_give(v->honest);
		}
		victims_end(v);
	}
}
