/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot for people and for programs. Both show the same numbers; rates,
 * being differences, are for people only.
 */
#include <inttypes.h>
#include <stdio.h>

#include "common.h"
#include "json.h"
#include "snapshot.h"
#include "table.h"

/* Columns that are there only when there is a snapshot to compare with. */
#define RATES ">packets/s", ">Mbit/s"

static const char *const source_headings[] = {
	"source",    ">lane",	      "backend",  "interface", "state",
	">captured", ">kernel drops", ">freezes", ">retired",  NULL
};
static const char *const source_rate_headings[] = {
	"source",    ">lane",	      "backend",  "interface", "state",
	">captured", ">kernel drops", ">freezes", ">retired",  RATES,
	NULL
};
static const char *const lane_headings[] = {
	"channel", ">lane",	 ">captures", ">seen", ">published", ">blocks",
	">free",   ">set aside", ">promised", ">pool", ">pool used", NULL
};
static const char *const lane_rate_headings[] = {
	"channel",    ">lane", ">captures",  ">seen",	  ">published",
	">blocks",    ">free", ">set aside", ">promised", ">pool",
	">pool used", RATES,   NULL
};
#define CAPTURE                                                                \
	"channel", "group", ">lane", ">uid", ">pid", "command", ">age",        \
		">seen", ">delivered", ">filtered", ">others", ">held",        \
		">backlog", ">highest", ">oldest", ">bells"
#define CAPTURE_END "lost", "state", NULL
static const char *const capture_headings[] = { CAPTURE, CAPTURE_END };
static const char *const capture_rate_headings[] = { CAPTURE, RATES,
						     CAPTURE_END };
static const char *const short_headings[] = { "channel", ">pid",       ">uid",
					      "command", ">delivered", "lost",
					      NULL };
static const char *const short_rate_headings[] = {
	"channel", ">pid", ">uid", "command", RATES, ">delivered", "lost", NULL
};

/* A rate cell: 0 for what is new, or has started anew. */
static void rate_cell(struct table *table, const struct snapshot *now,
		      const struct snapshot *last, uint64_t value,
		      uint64_t before, double unit)
{
	double seconds = (double)(now->monotonic_ns - last->monotonic_ns) / 1e9;
	double rate = 0;

	if (value > before && seconds > 0)
		rate = (double)(value - before) / seconds;
	table_cell(table, "%.*f", unit > 1 ? 2 : 0, rate / unit);
}

/* "xdp driver copy": what AF_XDP could be had. */
static void backend_cell(struct table *table, const struct nr_msg_source *s)
{
	if (!(s->xdp_flags & NR_XDP))
		table_text(table, s->backend, sizeof(s->backend));
	else
		table_cell(table, "xdp %s %s",
			   s->xdp_flags & NR_XDP_GENERIC ? "generic" : "driver",
			   s->xdp_flags & NR_XDP_ZEROCOPY ? "zerocopy" :
							    "copy");
}

/* "12", or of AF_XDP with the causes: "12: 4 ring full, 8 dropped". */
static void drops_cell(struct table *table, const struct nr_msg_source *s)
{
	char ring_full[48] = "", empty[48] = "";

	if (!(s->xdp_flags & NR_XDP) || !s->kernel_drops) {
		table_number(table, s->kernel_drops);
		return;
	}
	if (s->xdp_ring_full)
		snprintf(ring_full, sizeof(ring_full),
			 "%" PRIu64 " ring full%s", s->xdp_ring_full,
			 s->xdp_dropped ? ", " : "");
	if (s->xdp_fill_empty)
		snprintf(empty, sizeof(empty),
			 " (fill ring empty: %" PRIu64 ")", s->xdp_fill_empty);
	if (s->xdp_dropped)
		table_cell(table, "%" PRIu64 ": %s%" PRIu64 " dropped%s",
			   s->kernel_drops, ring_full, s->xdp_dropped, empty);
	else
		table_cell(table, "%" PRIu64 ": %s%s", s->kernel_drops,
			   ring_full, empty);
}

static void print_sources(const struct snapshot *now,
			  const struct snapshot *last, FILE *out)
{
	struct table t;

	table_init(&t, last ? source_rate_headings : source_headings);
	for (size_t i = 0; i < now->source_count; i++) {
		const struct nr_msg_source *s = &now->sources[i];
		const struct nr_msg_source *b = snapshot_source(last, s);

		table_text(&t, s->source, sizeof(s->source));
		table_number(&t, s->lane);
		backend_cell(&t, s);
		table_text(&t, s->interface, sizeof(s->interface));
		table_cell(&t, "%s", snapshot_state(s->state));
		table_number(&t, s->captured);
		drops_cell(&t, s);
		table_number(&t, s->freezes);
		table_number(&t, s->retired);
		if (!last)
			continue;
		b = b ? b : s;
		rate_cell(&t, now, last, s->captured, b->captured, 1);
		rate_cell(&t, now, last, s->bytes, b->bytes, 1e6 / 8);
	}
	table_print(&t, out);
	table_deinit(&t);
}

static void print_lanes(const struct snapshot *now, const struct snapshot *last,
			FILE *out)
{
	struct table t;

	table_init(&t, last ? lane_rate_headings : lane_headings);
	for (size_t i = 0; i < now->lane_count; i++) {
		const struct nr_msg_channel_lane *l = &now->lanes[i];
		const struct nr_msg_channel_lane *b = snapshot_lane(last, l);

		table_text(&t, l->channel, sizeof(l->channel));
		table_number(&t, l->lane);
		table_number(&t, l->captures);
		if (l->counts_shown)
			table_number(&t, l->seen);
		else
			table_cell(&t, "-");
		table_number(&t, l->published);
		table_number(&t, l->blocks);
		table_number(&t, l->blocks_free);
		table_number(&t, l->set_aside);
		table_number(&t, l->promised);
		table_number(&t, l->pool);
		table_number(&t, l->pool_used);
		if (!last)
			continue;
		b = b ? b : l;
		rate_cell(&t, now, last, l->published, b->published, 1);
		rate_cell(&t, now, last, l->published_bytes, b->published_bytes,
			  1e6 / 8);
	}
	table_print(&t, out);
	table_deinit(&t);
}

static void age_cell(struct table *table, uint64_t now_ns, uint64_t since_ns)
{
	uint64_t s = now_ns > since_ns ? (now_ns - since_ns) / 1000000000u : 0;

	if (s < 60)
		table_cell(table, "%" PRIu64 "s", s);
	else if (s < 3600)
		table_cell(table, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		table_cell(table, "%" PRIu64 "h%02" PRIu64 "m", s / 3600,
			   s / 60 % 60);
	else
		table_cell(table, "%" PRIu64 "d%02" PRIu64 "h", s / 86400,
			   s / 3600 % 24);
}

/* "0", or "12 not admitted, 3 retired". */
static void lost_cell(struct table *table, const uint64_t *lost)
{
	char text[256] = "0";
	size_t used = 0;

	for (unsigned i = 0; i < NR_LOST_CAUSES && used < sizeof(text); i++)
		if (lost[i])
			used += (size_t)snprintf(text + used,
						 sizeof(text) - used,
						 "%s%" PRIu64 " %s",
						 used ? ", " : "", lost[i],
						 nr_lost_name(i));
	table_cell(table, "%s", text);
}

static void capture_counts(struct table *t, const struct snapshot *now,
			   const struct nr_msg_capture *c)
{
	bool are_shown = snapshot_shows_counts(now, c);

	if (are_shown)
		table_number(t, c->seen);
	else
		table_cell(t, "-");
	table_number(t, c->delivered);
	if (are_shown)
		table_number(t, c->filtered);
	else
		table_cell(t, "-");
	table_number(t, c->to_others);
}

/* What it holds now, how much that is, and for how long it has had it. */
static void capture_backlog(struct table *t, const struct nr_msg_capture *c)
{
	table_cell(t, "%" PRIu32 "/%" PRIu32, c->held, c->leases);
	table_number(t, c->backlog);
	table_number(t, c->backlog_high);
	if (c->held)
		table_cell(t, "%.1fs", (double)c->oldest_ns / 1e9);
	else
		table_cell(t, "-");
}

static void capture_rates(struct table *t, const struct snapshot *now,
			  const struct snapshot *last,
			  const struct nr_msg_capture *c,
			  const struct nr_msg_capture *before)
{
	rate_cell(t, now, last, c->delivered, before->delivered, 1);
	rate_cell(t, now, last, c->delivered_bytes, before->delivered_bytes,
		  1e6 / 8);
}

static void print_captures(const struct snapshot *now,
			   const struct snapshot *last, FILE *out)
{
	struct table t;

	table_init(&t, last ? capture_rate_headings : capture_headings);
	for (size_t i = 0; i < now->capture_count; i++) {
		const struct nr_msg_capture *c = &now->captures[i];
		const struct nr_msg_capture *b = snapshot_capture(last, c);

		table_text(&t, c->channel, sizeof(c->channel));
		if (c->group[0])
			table_text(&t, c->group, sizeof(c->group));
		else
			table_cell(&t, "-");
		table_number(&t, c->lane);
		table_number(&t, c->uid);
		table_number(&t, c->pid);
		table_text(&t, c->comm, sizeof(c->comm));
		age_cell(&t, now->time_ns, c->attached_ns);
		capture_counts(&t, now, c);
		capture_backlog(&t, c);
		table_number(&t, c->bells);
		if (last)
			capture_rates(&t, now, last, c, b ? b : c);
		lost_cell(&t, c->lost);
		table_cell(&t, c->is_stalled ? "stalled" : "ok");
	}
	table_print(&t, out);
	table_deinit(&t);
}

void snapshot_print_captures(const struct snapshot *now,
			     const struct snapshot *last, FILE *out)
{
	struct table t;

	table_init(&t, last ? short_rate_headings : short_headings);
	for (size_t i = 0; i < now->capture_count; i++) {
		const struct nr_msg_capture *c = &now->captures[i];
		struct nr_msg_capture sum, before;
		bool is_new = !snapshot_sum(last, c->capture_id, &before);

		if (!snapshot_is_first_lane(now, i))
			continue;
		snapshot_sum(now, c->capture_id, &sum);
		table_text(&t, c->channel, sizeof(c->channel));
		table_number(&t, c->pid);
		table_number(&t, c->uid);
		table_text(&t, c->comm, sizeof(c->comm));
		if (last)
			capture_rates(&t, now, last, &sum,
				      is_new ? &sum : &before);
		table_number(&t, sum.delivered);
		lost_cell(&t, sum.lost);
	}
	table_print(&t, out);
	table_deinit(&t);
}

size_t snapshot_capture_lines(const struct snapshot *snapshot)
{
	size_t lines = snapshot->capture_count ? 1 : 0;

	for (size_t i = 0; i < snapshot->capture_count; i++)
		lines += snapshot_is_first_lane(snapshot, i);
	return lines;
}

/* A broker whose engine dies again and again is to be seen here. */
static void print_broker(const struct snapshot *now, FILE *out)
{
	const struct nr_msg_broker *b = &now->broker;

	if (b->restarts)
		fprintf(out,
			"engine restarted %" PRIu32 " time%s, last %" PRIu64
			" s ago\n\n",
			b->restarts, b->restarts == 1 ? "" : "s",
			now->time_ns < b->died_ns ?
				0 :
				(now->time_ns - b->died_ns) / 1000000000);
}

void snapshot_print(const struct snapshot *now, const struct snapshot *last,
		    FILE *out)
{
	print_broker(now, out);
	print_sources(now, last, out);
	if (now->lane_count)
		fputc('\n', out);
	print_lanes(now, last, out);
	if (now->capture_count)
		fputc('\n', out);
	print_captures(now, last, out);
}

static void xdp_json(struct json *json, const struct nr_msg_source *s)
{
	json_string(json, "xdp_mode",
		    s->xdp_flags & NR_XDP_GENERIC ? "generic" : "driver",
		    SIZE_MAX);
	json_string(json, "xdp_bind",
		    s->xdp_flags & NR_XDP_ZEROCOPY ? "zerocopy" : "copy",
		    SIZE_MAX);
	json_number(json, "xdp_dropped", s->xdp_dropped);
	json_number(json, "xdp_ring_full", s->xdp_ring_full);
	json_number(json, "xdp_fill_empty", s->xdp_fill_empty);
	json_number(json, "xdp_invalid", s->xdp_invalid);
	json_number(json, "frames", s->frames);
	json_number(json, "frames_free", s->frames_free);
	json_number(json, "frames_kept", s->frames_kept);
}

static void broker_json(struct json *json, const struct nr_msg_broker *b)
{
	json_object(json, "engine");
	json_number(json, "started_ns", b->started_ns);
	json_number(json, "restarts", b->restarts);
	json_number(json, "died_ns", b->died_ns);
	json_object_end(json);
}

static void source_json(struct json *json, const struct nr_msg_source *s)
{
	const char *state = snapshot_state(s->state);

	json_object(json, NULL);
	json_string(json, "source", s->source, sizeof(s->source));
	json_number(json, "lane", s->lane);
	json_string(json, "backend", s->backend, sizeof(s->backend));
	json_string(json, "interface", s->interface, sizeof(s->interface));
	json_string(json, "state", state, SIZE_MAX);
	json_number(json, "captured", s->captured);
	json_number(json, "bytes", s->bytes);
	json_number(json, "kernel_drops", s->kernel_drops);
	json_number(json, "drops_before", s->drops_before);
	json_number(json, "freezes", s->freezes);
	json_number(json, "retired", s->retired);
	json_number(json, "ring_bytes", s->ring_bytes);
	json_number(json, "bursts", s->bursts);
	json_number(json, "bells", s->bells);
	json_number(json, "cpu_ns", s->cpu_ns);
	if (s->xdp_flags & NR_XDP)
		xdp_json(json, s);
	json_object_end(json);
}

/* seen or filtered: null where the channel's policy does not show it. */
static void count_json(struct json *json, const char *key, uint64_t value,
		       bool is_shown)
{
	if (is_shown)
		json_number(json, key, value);
	else
		json_null(json, key);
}

static void lane_json(struct json *json, const struct nr_msg_channel_lane *l)
{
	json_object(json, NULL);
	json_string(json, "channel", l->channel, sizeof(l->channel));
	json_number(json, "lane", l->lane);
	json_number(json, "captures", l->captures);
	count_json(json, "seen", l->seen, l->counts_shown);
	count_json(json, "filtered", l->filtered, l->counts_shown);
	json_number(json, "published", l->published);
	json_number(json, "published_bytes", l->published_bytes);
	json_number(json, "arena_bytes", l->arena_bytes);
	json_number(json, "block_size", l->block_size);
	json_number(json, "blocks", l->blocks);
	json_number(json, "blocks_free", l->blocks_free);
	json_number(json, "set_aside", l->set_aside);
	json_number(json, "promised", l->promised);
	json_number(json, "pool", l->pool);
	json_number(json, "pool_used", l->pool_used);
	json_object_end(json);
}

static void capture_json(struct json *json, const struct nr_msg_capture *c,
			 bool counts_are_shown)
{
	json_object(json, NULL);
	json_string(json, "channel", c->channel, sizeof(c->channel));
	json_string(json, "group", c->group, sizeof(c->group));
	json_number(json, "lane", c->lane);
	json_number(json, "capture_id", c->capture_id);
	json_number(json, "uid", c->uid);
	json_number(json, "pid", c->pid);
	json_string(json, "comm", c->comm, sizeof(c->comm));
	json_number(json, "attached_ns", c->attached_ns);
	count_json(json, "seen", c->seen, counts_are_shown);
	json_number(json, "delivered", c->delivered);
	json_number(json, "delivered_bytes", c->delivered_bytes);
	count_json(json, "filtered", c->filtered, counts_are_shown);
	json_number(json, "to_others", c->to_others);
	json_object(json, "lost");
	json_number(json, "not_admitted", c->lost[NR_LOST_NOT_ADMITTED]);
	json_number(json, "retired", c->lost[NR_LOST_RETIRED]);
	json_object_end(json);
	json_number(json, "refusals", c->refusals);
	json_number(json, "bells", c->bells);
	json_number(json, "leases", c->leases);
	json_number(json, "guarantee", c->guarantee);
	json_number(json, "held", c->held);
	json_number(json, "held_high", c->held_high);
	json_number(json, "backlog", c->backlog);
	json_number(json, "backlog_high", c->backlog_high);
	json_number(json, "oldest_ns", c->oldest_ns);
	json_number(json, "stalled", c->is_stalled);
	json_number(json, "epoch", c->epoch);
	json_object_end(json);
}

void snapshot_print_json(const struct snapshot *now, bool is_compact, FILE *out)
{
	struct json json;

	json_init(&json, out, is_compact);
	json_object(&json, NULL);
	json_number(&json, "time_ns", now->time_ns);
	broker_json(&json, &now->broker);
	json_array(&json, "sources");
	for (size_t i = 0; i < now->source_count; i++)
		source_json(&json, &now->sources[i]);
	json_array_end(&json);
	json_array(&json, "channels");
	for (size_t i = 0; i < now->lane_count; i++)
		lane_json(&json, &now->lanes[i]);
	json_array_end(&json);
	json_array(&json, "captures");
	for (size_t i = 0; i < now->capture_count; i++)
		capture_json(&json, &now->captures[i],
			     snapshot_shows_counts(now, &now->captures[i]));
	json_array_end(&json);
	json_object_end(&json);
}
