/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where every packet went, by arithmetic on words the lane keeps anyway.
 *
 * What was published and what of it was lost change at different moments. Read
 * in either order alone, one would run ahead of the other: `published` older
 * than the losses gives too little delivered, newer gives too much and has to
 * take it back. So the losses are read on both sides of `published`, until they
 * are the same (each refusal counts up, so the same means unchanged): then the
 * capture was either let in or refused all the while, and the difference is
 * true of that moment.
 */
#include "capture.h"

#include <errno.h>
#include <string.h>

#include <netring/ring.h>

/* A lane killed while it changed its losses leaves the lock odd for ever. */
#define TRIES_MAX 1000

struct losses {
	uint64_t lost;
	uint64_t refused_at;
	uint64_t refusals;
};

static bool losses_load(const struct nr_ring *ring, struct losses *losses)
{
	return nr_ring_load_loss(ring, &losses->lost, &losses->refused_at,
				 &losses->refusals) == 0;
}

/*
 * How far the stream is, for us: not beyond the end. Acquire, so that what is
 * loaded after it (end word, losses again) is not older; and the end word after
 * it, as an evicted capture's stream goes on.
 */
static uint64_t published_load(const struct lane *lane)
{
	uint64_t published =
		__atomic_load_n(&lane->stream->published, __ATOMIC_ACQUIRE);
	uint64_t end = nr_ring_end_word(lane->ring);

	return end && NR_END_SEQ(end) < published ? NR_END_SEQ(end) : published;
}

static bool snapshot(const struct lane *lane, uint64_t *published,
		     struct losses *losses)
{
	struct losses again;
	int i;

	for (i = 0; i < TRIES_MAX; i++) {
		if (!losses_load(lane->ring, losses))
			continue;
		*published = published_load(lane);
		if (losses_load(lane->ring, &again) &&
		    again.lost == losses->lost &&
		    again.refused_at == losses->refused_at &&
		    again.refusals == losses->refusals)
			return true;
	}
	return false;
}

/* @a less @b, and nothing less than nothing: the lane stores them in turns. */
static uint64_t above(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void raise_to(uint64_t *mark, uint64_t value)
{
	if (value > *mark)
		*mark = value;
}

/* The channel counts on when we have ended. */
static uint64_t now_or_end(const struct lane *lane, const uint64_t *now,
			   const uint64_t *at_end)
{
	/* Acquire: an end that is seen behind it takes none of it back. */
	uint64_t count = __atomic_load_n(now, __ATOMIC_ACQUIRE);

	return nr_ring_end_word(lane->ring) ? nr_count_load(at_end) : count;
}

/*
 * Of what passed the filter, what other members of the group were given: less
 * our share of what was retired, which the lane stores before it counts it in.
 */
static uint64_t others_load(const struct lane *lane, uint64_t published)
{
	const struct nr_arena *arena = (const void *)lane->arena;
	uint64_t passed =
		now_or_end(lane, &arena->passed, &lane->ring->end_passed);

	return above(above(passed, lane->base_passed),
		     above(published, lane->base_seq) +
			     nr_count_load(&lane->ring->retired));
}

/* What was said once is never taken back: hence the marks. */
static void lane_look(struct lane *lane)
{
	struct losses losses;
	uint64_t published, lost;

	if (!snapshot(lane, &published, &losses))
		return;
	lost = losses.lost;
	if (losses.refused_at != NR_SEQ_NONE)
		lost += above(published, losses.refused_at);
	raise_to(&lane->told_lost, lost);
	raise_to(&lane->told_delivered,
		 above(above(published, lane->base_seq), lost));
	raise_to(&lane->told_refusals, losses.refusals);
	raise_to(&lane->told_retired, nr_count_load(&lane->ring->retired));
	if (lane->is_in_group)
		raise_to(&lane->told_others, others_load(lane, published));
}

static void lane_add(struct lane *lane, struct nr_stats *sum)
{
	const struct nr_arena *arena = (const void *)lane->arena;

	lane_look(lane);
	sum->delivered += lane->told_delivered;
	sum->to_others += lane->told_others;
	sum->lost[NR_LOST_NOT_ADMITTED] += lane->told_lost;
	sum->lost[NR_LOST_RETIRED] += lane->told_retired;
	sum->refusals += lane->told_refusals;
	if (!lane->has_counts) {
		sum->counts_shown = 0;
		return;
	}
	sum->seen +=
		above(now_or_end(lane, &arena->seen, &lane->ring->end_seen),
		      lane->base_seen);
	sum->filtered += above(now_or_end(lane, &arena->filtered,
					  &lane->ring->end_filtered),
			       lane->base_filtered);
}

/* The caller's structure may be shorter (older) or longer (newer) than ours. */
static size_t common_size(size_t size)
{
	return size < sizeof(struct nr_stats) ? size : sizeof(struct nr_stats);
}

void stats_add(struct nr_capture *capture, struct nr_stats *sum)
{
	unsigned i;

	for (i = 0; i < capture->lane_count; i++)
		lane_add(&capture->lanes[i], sum);
}

int nr_capture_stats(struct nr_capture *capture, struct nr_stats *stats)
{
	struct nr_stats sum = capture->carried;
	size_t size = stats->size;

	if (size < sizeof(size))
		return -EINVAL;
	stats_add(capture, &sum);
	if (!sum.counts_shown) {
		sum.seen = 0;
		sum.filtered = 0;
	}
	memset(stats, 0, size);
	memcpy(stats, &sum, common_size(size));
	stats->size = size;
	return 0;
}

void nr_stats_diff(const struct nr_stats *now, struct nr_stats *last,
		   struct nr_stats *diff)
{
	struct nr_stats a = { .size = 0 }, b = { .size = 0 }, d;
	size_t i;

	memcpy(&a, now, common_size(now->size));
	memcpy(&b, last, common_size(last->size));
	d = a;
	d.seen -= b.seen;
	d.delivered -= b.delivered;
	d.filtered -= b.filtered;
	d.to_others -= b.to_others;
	for (i = 0; i < NR_LOST_CAUSES; i++)
		d.lost[i] -= b.lost[i];
	d.refusals -= b.refusals;
	/* all three are the caller's, of one size */
	memcpy(diff, &d, common_size(now->size));
	memcpy(last, &a, common_size(now->size));
}

uint64_t nr_stats_lost(const struct nr_stats *stats)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < NR_LOST_CAUSES; i++)
		sum += stats->lost[i];
	return sum;
}
