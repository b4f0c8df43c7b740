/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Groups: first their table alone, against a model; then members in processes
 * of their own, who enter what they get into one ledger.
 */
#include "command.h"
#include "ledger.h"
#include "traffic.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../client/wire.h"
#include "flow.h"
#include "group.h"
#include "live.h"
#include "scene.h"

#define UID 12345
#define OTHER_UID 23456

/* ---------------------------------------------------------------- the table */

static struct arena *arena;
static struct flow_group *groups;

/* A subscription, with what it borrows. */
struct one {
	struct subscription sub;
	struct nr_ring *ring;
	struct nr_return *page;
};

static struct one *one_new(void)
{
	struct one *one = calloc(1, sizeof(*one));

	one->ring = aligned_alloc(64, NR_RING_SIZE);
	one->page = aligned_alloc(64, NR_PAGE);
	memset(one->ring, 0, NR_RING_SIZE);
	memset(one->page, 0, NR_PAGE);
	subscription_init(&one->sub, one->ring, one->page, 2, 1, 1);
	return one;
}

static void one_free(struct one *one)
{
	free(one->ring);
	free(one->page);
	free(one);
}

static struct flow_group *prepare(const char *name)
{
	struct flow_group *group;

	if (!arena) {
		cr_assert_eq(region_init(), 0);
		cr_assert_eq(arena_new(&arena, 64 << 20, 128 << 10, 80, true,
				       true),
			     0);
	}
	group = group_get(&groups, name, UID);
	cr_assert(group);
	return group;
}

static struct one *join(struct flow_group *group)
{
	struct one *one = one_new();

	cr_assert_eq(group_join(group, &one->sub, arena, 1), GROUP_OK);
	group_share(group, &one->sub);
	return one;
}

static void leave(struct flow_group *group, struct one *one)
{
	group_leave(group, &one->sub);
	one_free(one);
}

/* Whose each slot is. */
static void owners(const struct flow_group *group,
		   const struct group_member **owner)
{
	for (uint32_t i = 0; i < GROUP_SLOTS; i++) {
		cr_assert_lt(group->table[i], group->member_count);
		owner[i] = group->members[group->table[i]];
	}
}

/* Every slot has a member, each has its share, all are told the epoch. */
static void check(const struct flow_group *group, uint32_t epoch)
{
	uint32_t count[GROUP_MEMBERS_MAX] = { 0 };
	uint32_t share = GROUP_SLOTS / group->member_count;

	cr_assert_eq(group->epoch, epoch);
	for (uint32_t i = 0; i < GROUP_SLOTS; i++) {
		cr_assert_lt(group->table[i], group->member_count);
		count[group->table[i]]++;
	}
	for (uint32_t i = 0; i < group->member_count; i++) {
		const struct stream *stream = &group->members[i]->stream;

		cr_assert_eq(count[i], group->members[i]->slots);
		cr_assert(count[i] == share || count[i] == share + 1,
			  "%u of %u members has %u slots", i,
			  group->member_count, count[i]);
		cr_assert_eq(stream->epoch, epoch);
		cr_assert_eq(stream->block->epoch, epoch);
		cr_assert_eq(stream->appended, 0);
	}
}

/* Something in each stream's block: it has to be closed at the next change. */
static void append_to_all(struct flow_group *group)
{
	static const uint8_t bytes[64];
	const struct packet packet = { .data = bytes, .caplen = 64 };

	for (uint32_t i = 0; i < group->member_count; i++) {
		stream_append_one(&group->members[i]->stream, &packet);
		stream_publish(&group->members[i]->stream);
		/* It keeps up. */
		subscription_drop(group->members[i]->stream.subscriptions);
	}
}

Test(group, who_joins_takes_one_share_and_nothing_else_moves)
{
	static const struct group_member *before[GROUP_SLOTS],
		*after[GROUP_SLOTS];
	struct flow_group *group = prepare("g");

	join(group);
	for (uint32_t n = 2; n <= GROUP_MEMBERS_MAX; n++) {
		uint32_t moved = 0;

		owners(group, before);
		join(group);
		owners(group, after);
		for (uint32_t i = 0; i < GROUP_SLOTS; i++) {
			if (before[i] == after[i])
				continue;
			moved++;
			cr_assert_eq(after[i], group->members[n - 1]);
		}
		cr_assert_eq(moved, GROUP_SLOTS / n);
		check(group, n);
	}
}

Test(group, who_leaves_gives_its_share_and_nothing_else_moves)
{
	static const struct group_member *before[GROUP_SLOTS],
		*after[GROUP_SLOTS];
	struct flow_group *group = prepare("g");
	struct one *ones[GROUP_MEMBERS_MAX];

	for (uint32_t i = 0; i < GROUP_MEMBERS_MAX; i++)
		ones[i] = join(group);
	for (uint32_t n = GROUP_MEMBERS_MAX; n > 1; n--) {
		uint32_t which = n / 2;
		const struct group_member *gone =
			(const void *)ones[which]->sub.stream;
		uint32_t share = gone->slots, moved = 0;

		owners(group, before);
		leave(group, ones[which]);
		ones[which] = ones[n - 1];
		owners(group, after);
		for (uint32_t i = 0; i < GROUP_SLOTS; i++) {
			if (before[i] == after[i])
				continue;
			moved++;
			cr_assert_eq(before[i], gone);
		}
		cr_assert_eq(moved, share);
		check(group, GROUP_MEMBERS_MAX + GROUP_MEMBERS_MAX - n + 1);
	}
}

Test(group, stays_even_and_whole_in_any_schedule)
{
	struct flow_group *group = prepare("g");
	struct one *ones[GROUP_MEMBERS_MAX];
	uint32_t count = 0, epoch = 0;

	srandom(4);
	for (unsigned step = 0; step < 20000; step++) {
		bool joins = count < 2 ||
			     (count < GROUP_MEMBERS_MAX && random() % 2);
		uint32_t which = count ? (uint32_t)random() % count : 0;

		append_to_all(group);
		epoch++;
		if (joins) {
			ones[count++] = join(group);
		} else {
			leave(group, ones[which]);
			ones[which] = ones[--count];
		}
		check(group, epoch);
		cr_assert_eq(group->member_count, count);
	}
	while (count > 0)
		leave(group, ones[--count]);
	/* All that was drawn is back. */
	cr_assert_eq(arena->admission.promised, 0);
	cr_assert_eq(arena->admission.free_count, arena->admission.block_count);
	group_put(&groups, group);
	cr_assert_null(groups);
}

Test(group, who_has_no_share_gets_only_what_nobody_else_would)
{
	struct flow_group *group = prepare("g");
	struct one *ones[4];

	for (unsigned i = 0; i < 4; i++) {
		ones[i] = one_new();
		cr_assert_eq(group_join(group, &ones[i]->sub, arena, 1),
			     GROUP_OK);
		cr_assert_eq(group->members[0]->slots, GROUP_SLOTS);
	}
	cr_assert_eq(group->epoch, 1);
	group_share(group, &ones[2]->sub);
	cr_assert_eq(group->members[2]->slots, GROUP_SLOTS);
	group_share(group, &ones[0]->sub);
	cr_assert_eq(group->members[0]->slots, GROUP_SLOTS / 2);
	cr_assert_eq(group->members[2]->slots, GROUP_SLOTS / 2);
	cr_assert_eq(group->epoch, 3);
	/* Who goes without a share changes nothing. */
	leave(group, ones[1]);
	cr_assert_eq(group->epoch, 3);
	leave(group, ones[0]);
	leave(group, ones[2]);
	cr_assert_eq(group->member_count, 1);
	check(group, 5);
	group_share(group, &ones[3]->sub);
	check(group, 5);
}

/* @from's members but the one at @stays, in another order, in a new group. */
static struct flow_group *go_elsewhere(struct flow_group *from, uint32_t stays)
{
	struct flow_group *to = prepare("to");

	to->epoch = from->epoch;
	for (uint32_t i = from->member_count; i-- > 0;) {
		struct subscription *sub =
			from->members[i]->stream.subscriptions;
		struct one *one = one_new();

		if (i == stays)
			continue;
		cr_assert_eq(group_join(to, &one->sub, arena, 1), GROUP_OK);
		one->sub.group = to;
		sub->after = &one->sub;
	}
	group_follow(from);
	return to;
}

static void go_on(uint32_t members, uint32_t stays)
{
	struct flow_group *from = prepare("from"), *to;
	uint32_t moved = 0;

	for (uint32_t i = 0; i < members; i++)
		join(from);
	to = go_elsewhere(from, stays);
	check(to, members + 1);
	for (uint32_t i = 0; i < GROUP_SLOTS; i++) {
		const struct subscription *after =
			from->members[from->table[i]]
				->stream.subscriptions->after;

		if (after)
			cr_assert_eq(&to->members[to->table[i]]->stream,
				     after->stream);
		moved += !after;
	}
	cr_assert_eq(moved, stays < members ? from->members[stays]->slots : 0);
}

Test(group, two_go_on_elsewhere_with_the_flows_they_had)
{
	go_on(2, GROUP_MEMBERS_MAX);
}

Test(group, three_go_on_elsewhere_with_the_flows_they_had)
{
	go_on(3, GROUP_MEMBERS_MAX);
}

Test(group, four_go_on_elsewhere_with_the_flows_they_had)
{
	go_on(4, GROUP_MEMBERS_MAX);
}

Test(group, who_does_not_go_on_leaves_its_flows_and_no_others_move)
{
	go_on(3, 1);
}

Test(group, spreads_random_flows_within_5_percent)
{
	struct flow_group *group = prepare("g");
	uint8_t frame[64] = { [12] = 8, [14] = 0x45, [23] = 6 };

	srandom(5);
	for (uint32_t n = 1; n <= 8; n++) {
		unsigned count[8] = { 0 };

		join(group);
		for (unsigned i = 0; i < 100000; i++) {
			uint32_t hash;

			for (unsigned b = 26; b < 38; b++)
				frame[b] = (uint8_t)(random() >> 8);
			hash = flow_hash(frame, sizeof(frame), 1);
			for (uint32_t m = 0; m < n; m++)
				count[m] += group_owner(group, hash) == m;
		}
		for (uint32_t m = 0; m < n; m++)
			cr_assert(count[m] * n > 95000 && count[m] * n < 105000,
				  "%u of %u: %u", m, n, count[m]);
	}
}

Test(group, has_a_name_and_a_user)
{
	struct flow_group *a = prepare("a"), *b = prepare("b");

	cr_assert_neq(a, b);
	cr_assert_eq(group_get(&groups, "a", UID), a);
	cr_assert_neq(group_get(&groups, "a", OTHER_UID), a);
}

Test(group, is_full_with_64_members_or_without_a_block)
{
	struct flow_group *group = prepare("g");
	struct one *one = one_new();
	uint32_t promised;

	for (unsigned i = 0; i < GROUP_MEMBERS_MAX; i++)
		join(group);
	promised = arena->admission.promised;
	cr_assert_eq(promised, 2 * GROUP_MEMBERS_MAX);
	cr_assert_eq(group_join(group, &one->sub, arena, 1), GROUP_FULL);
	cr_assert_eq(arena->admission.promised, promised);
	group = prepare("other");
	cr_assert(admission_promise(&arena->admission,
				    arena->admission.set_aside - promised - 1));
	cr_assert_eq(group_join(group, &one->sub, arena, 1), GROUP_FULL);
	cr_assert_eq(group->member_count, 0);
	admission_unpromise(&arena->admission, 1);
	cr_assert_eq(group_join(group, &one->sub, arena, 1), GROUP_OK);
}

/* --------------------------------------------------------------- end to end */

static struct broker broker;
static struct trace trace;
static struct broker_stat stat_now;
static struct command c;

static void serve(const char *keys)
{
	trace.is_nano = true;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	broker_start(&broker, NULL,
		     "[source trace]\nbackend = replay\nfile = %s\n%s"
		     "[channel trace]\nsource = trace\nallow = everyone\n",
		     test_path("trace.pcap"), keys);
}

/* Each flow has one member: a list of who had it, by the flow's number. */
static void check_flows(const struct ledger *ledger)
{
	static struct trace_packet packet;
	uint8_t *member = calloc(trace.flows, 1);

	for (uint32_t i = 0; i < trace.packets; i++) {
		trace_packet(&trace, i, &packet);
		if (!member[packet.flow])
			member[packet.flow] = ledger->owner[i];
		cr_assert_eq(ledger->owner[i], member[packet.flow],
			     "packet %u of flow %u", i, packet.flow);
	}
	free(member);
}

/* Members @from to @to - 1 shared all packets, in order, and evenly. */
static void end_group(struct reader *readers, unsigned from, unsigned to)
{
	uint64_t sum = 0;

	for (unsigned i = from; i < to; i++) {
		const struct nr_stats *s = &readers[i].stats;

		reader_end(&readers[i], -ENODATA);
		reader_check_sum(&readers[i]);
		cr_assert(s->counts_shown);
		cr_assert_eq(s->seen, trace.packets);
		cr_assert_eq(nr_stats_lost(s), 0);
		cr_assert_eq(s->to_others, trace.packets - readers[i].count);
		sum += readers[i].count;
	}
	cr_assert_eq(sum, trace.packets);
	cr_assert_eq(ledger_missing(readers[from].ledger), 0);
	check_flows(readers[from].ledger);
}

Test(groups, and_broadcast_captures_share_a_channel, .timeout = 120)
{
	struct reader *readers;

	need_root();
	trace_init(&trace, 100000, 1);
	trace.flows = 20000;
	trace.vlan_percent = 20;
	serve("wait = 7\n");
	readers = readers_new(ledger_new(&trace), 7, "trace");
	for (unsigned i = 0; i < 7; i++) {
		if (i == 4)
			readers[i].ledger = ledger_new(&trace);
		if (i > 4)
			readers[i].ledger =
				i == 5 ? ledger_new(&trace) : readers[5].ledger;
		readers[i].group = i < 4 ? "ids" : i > 4 ? "meters" : NULL;
		/* Slow ones: the lane has to wait for each of the streams. */
		readers[i].pause_us = i == 1 || i == 5 ? 500 : 0;
		readers[i].leases = i == 2 ? 3 : 0;
		reader_start(&readers[i], UID);
	}
	end_group(readers, 0, 4);
	reader_end(&readers[4], -ENODATA);
	cr_assert_eq(ledger_missing(readers[4].ledger), 0);
	cr_assert_eq(readers[4].stats.to_others, 0);
	end_group(readers, 5, 7);
	for (unsigned i = 0; i < 4; i++)
		cr_assert(readers[i].count > 23000 && readers[i].count < 27000,
			  "%llu", (unsigned long long)readers[i].count);
	broker_stop(&broker);
}

Test(groups, of_two_users_do_not_mix_though_they_have_one_name, .timeout = 60)
{
	struct reader *readers;

	need_root();
	trace_init(&trace, 20000, 2);
	serve("wait = 4\n");
	readers = readers_new(ledger_new(&trace), 4, "trace");
	readers[2].ledger = readers[3].ledger = ledger_new(&trace);
	for (unsigned i = 0; i < 4; i++) {
		readers[i].group = "ids";
		reader_start(&readers[i], i < 2 ? UID : OTHER_UID);
	}
	end_group(readers, 0, 2);
	end_group(readers, 2, 4);
	broker_stop(&broker);
}

/* A member that was killed, and the packets that it can have been given. */
struct victim {
	uint32_t first; /* behind the last that it has read */
	uint64_t end;	/* what the source had captured when it was gone */
};

static bool was_given(const struct victim *victims, unsigned count, uint32_t n)
{
	for (unsigned i = 0; i < count; i++)
		if (n >= victims[i].first && n < victims[i].end)
			return true;
	return false;
}

/*
 * What nobody has read was given to one who was killed. And where a flow goes
 * from one member to another, the second's epoch is later.
 */
static void check_changes(const struct ledger *ledger,
			  const struct victim *victims, unsigned count)
{
	static struct trace_packet packet;
	uint32_t *last = calloc(trace.flows, sizeof(*last));
	unsigned moves = 0;

	for (uint32_t i = 0; i < trace.packets; i++) {
		uint8_t owner = ledger->owner[i];
		uint32_t before;

		trace_packet(&trace, i, &packet);
		before = last[packet.flow];
		if (owner)
			last[packet.flow] = i + 1;
		if (!owner)
			cr_assert(was_given(victims, count, i),
				  "packet %u of reader %u's flow is lost", i,
				  before ? ledger->owner[before - 1] : 0);
		if (!before-- || !owner)
			continue;
		if (owner != ledger->owner[before]) {
			moves++;
			cr_assert_gt(ledger->epoch[i], ledger->epoch[before]);
		} else {
			cr_assert_geq(ledger->epoch[i], ledger->epoch[before]);
		}
	}
	cr_assert_gt(moves, 1000);
	free(last);
}

/* Packets the source has captured when no more than @captures are left. */
static uint64_t captured_when_there_are(unsigned captures)
{
	do
		broker_read_stat(&stat_now, "trace");
	while (stat_now.captures > captures);
	return stat_now.source[0].captured;
}

#define STAYERS 3
#define COMERS 60

Test(groups, lose_nothing_when_members_come_and_go_and_are_killed,
     .timeout = 120)
{
	static struct victim victims[COMERS];
	unsigned killed = 0;
	struct ledger *ledger, *all;
	struct reader *readers, *broadcast;
	uint64_t lost = 0;

	need_root();
	trace_init(&trace, 150000, 3);
	trace.flows = 400;
	trace.size_max = 300;
	serve("rate = 40000\n");
	ledger = ledger_new(&trace);
	all = ledger_new(&trace);
	broadcast = readers_new(all, 1, "trace");
	readers = readers_new(ledger, STAYERS + COMERS, "trace");
	for (unsigned i = 0; i < STAYERS + COMERS; i++)
		readers[i].group = "ids";
	/* Before the first packet; so all packets have a group to go to. */
	reader_start(&readers[0], UID);
	reader_start(broadcast, UID);
	for (unsigned i = 1; i < STAYERS; i++)
		reader_start(&readers[i], UID);
	for (unsigned i = STAYERS; i < STAYERS + COMERS; i++) {
		struct reader *r = &readers[i];
		uint64_t born = captured_when_there_are(STAYERS + 1);

		reader_start(r, UID);
		sleep_ms((int)(i % 4) * 10);
		if (readers[0].last > trace.packets - 40000)
			break;
		kill(r->pid, i % 2 ? SIGKILL : SIGSTOP);
		if (i % 2 == 0) {
			sleep_ms(10);
			kill(r->pid, SIGKILL);
		}
		cr_assert_eq(child_wait(r->pid), 256 + SIGKILL);
		victims[killed].first = r->count ? r->last + 1 : (uint32_t)born;
		victims[killed++].end = captured_when_there_are(STAYERS + 1);
		r->pid = 0;
		cr_assert_eq(r->twice + r->disorder + r->strange, 0);
	}
	for (unsigned i = 0; i < STAYERS + COMERS; i++) {
		if (!readers[i].pid)
			continue;
		reader_end(&readers[i], -ENODATA);
		reader_check_sum(&readers[i]);
		lost += nr_stats_lost(&readers[i].stats);
		cr_assert_eq(readers[i].backwards, 0);
		if (i < STAYERS)
			cr_assert_gt(readers[i].epochs, 20, "%u",
				     readers[i].epochs);
	}
	reader_end(broadcast, -ENODATA);
	cr_assert_eq(lost + nr_stats_lost(&broadcast->stats), 0,
		     "they kept up");
	cr_assert_leq(trace.packets - broadcast->count, 40000);
	cr_assert_gt(killed, 20);
	check_changes(ledger, victims, killed);
	broker_stop(&broker);
}

static bool has_stopped(const struct reader *reader)
{
	return __atomic_load_n(&reader->has_hung_up, __ATOMIC_ACQUIRE) ||
	       reader->result;
}

/* Whether the broker lists a capture of this process. */
static bool is_listed(pid_t pid)
{
	static struct broker_stat now;

	broker_read_stat(&now, NULL);
	for (unsigned i = 0; i < now.captures; i++)
		if (now.capture[i].pid == (uint32_t)pid)
			return true;
	return false;
}

/*
 * A member that leaves in silence has been delivered what was published to it
 * until the lane let go of it, read or not: with that, nothing is missing. All
 * attach before the first packet, so that nobody gets the memory of who left.
 */
Test(groups, lose_nothing_when_a_member_leaves_in_a_lossless_channel,
     .timeout = 120)
{
	struct reader *readers;
	uint64_t sum = 0;
	unsigned left = 0;

	need_root();
	trace_init(&trace, 200000, 4);
	trace.size_max = 1400;
	serve("wait = 32\n");
	readers = readers_new(ledger_new(&trace), 32, "trace");
	for (unsigned i = 0; i < 32; i++) {
		readers[i].group = "ids";
		readers[i].leases = 4;
		readers[i].pause_us = 30000;
		readers[i].lingers = true;
		reader_start(&readers[i], UID);
		cr_assert(readers[i].is_ready, "%s", readers[i].text);
	}
	/* These stop, one after another, before the end of the file. */
	for (unsigned i = 1; i < 16; i++) {
		eventually(readers[i].count > 10 * i || readers[i].result);
		readers[i].must_stop = 1;
		eventually(has_stopped(&readers[i]));
		eventually(!is_listed(readers[i].pid));
		readers[i].may_end = 1;
		left += readers[i].result == 0;
	}
	cr_assert_gt(left, 5);
	for (unsigned i = 0; i < 32; i++) {
		cr_assert_eq(child_wait(readers[i].pid), 0);
		cr_assert(!readers[i].result || readers[i].result == -ENODATA);
		cr_assert_eq(readers[i].twice + readers[i].disorder +
				     readers[i].strange,
			     0);
		cr_assert_eq(nr_stats_lost(&readers[i].stats), 0);
		sum += readers[i].stats.delivered;
	}
	cr_assert_eq(sum, trace.packets);
	broker_stop(&broker);
}

static struct live live;

static void describe(struct traffic_frame *frame, uint64_t seq,
		     const void *data)
{
	(void)data;
	*frame = (struct traffic_frame){
		.seq = seq,
		.flow = seq / 2 % 500,
		.is_reply = seq % 2,
		.protocol = IPPROTO_TCP,
		.port = 80,
	};
}

/* On each lane, of as many members as there are: each began an epoch. */
static bool have_all_shares(uint32_t members)
{
	broker_read_stat(&stat_now, NULL);
	for (unsigned i = 0; i < stat_now.captures; i++)
		if (stat_now.capture[i].epoch < members)
			return false;
	return true;
}

Test(groups, share_each_of_several_lanes, .timeout = 120)
{
	struct traffic_plan plan = { .describe = describe,
				     .count = 40000,
				     .rate = 40000 };
	struct ledger *ledger;
	struct reader *readers;
	uint64_t sent, sum = 0;

	need_root();
	live_network(&live);
	live_broker(&live, "[source s]\ninterface = inside\nlanes = 2\n"
			   "[channel all]\nsource = s\nallow = everyone\n");
	ledger = ledger_of_sent(40000);
	readers = readers_new(ledger, 3, "all");
	for (unsigned i = 0; i < 3; i++) {
		readers[i].group = "ids";
		readers[i].lanes = 2;
		reader_start(&readers[i], UID);
	}
	eventually(have_all_shares(3));
	cr_assert_eq(traffic_send(live.traffic, &plan, &sent), 0);
	cr_assert_eq(sent, 40000);
	eventually(ledger_missing(ledger) == 0);
	for (unsigned i = 0; i < 3; i++) {
		reader_stop(&readers[i]);
		reader_check_sum(&readers[i]);
		cr_assert_eq(readers[i].stats.seen, 40000);
		sum += readers[i].count;
	}
	cr_assert_eq(sum, 40000);
	for (uint32_t i = 0; i < 40000; i++)
		cr_assert_eq(ledger->owner[i], ledger->owner[i % 1000]);
	live_stop(&live);
}

/* Asks to join a group, and never says that it has got what it is sent. */
static int join_in_silence(const char *channel, const char *group)
{
	struct nr_msg_attach attach = { .lane = NR_ALL_LANES };
	int peer = raw_connect();

	strcpy(attach.channel, channel);
	strcpy(attach.group, group);
	wire_init(&attach.msg, NR_MSG_ATTACH, sizeof(attach), 1);
	cr_assert_eq(wire_send(peer, &attach.msg, NULL, 0), 0);
	return peer;
}

/* All that was sent has come, and the reader has read what it was given. */
static bool has_read_all(const struct reader *reader, uint64_t sent)
{
	struct live_counts counts = live_count();
	uint64_t delivered = 0;

	broker_read_stat(&stat_now, "all");
	for (unsigned i = 0; i < stat_now.captures; i++)
		if (stat_now.capture[i].pid == (uint32_t)reader->pid)
			delivered += stat_now.capture[i].delivered;
	return counts.captured + counts.drops == sent &&
	       reader->count == delivered;
}

Test(groups, lose_nothing_to_who_is_refused_or_never_reads, .timeout = 120)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct stream_of_frames frames = { .describe = describe,
					   .rate = 50000,
					   .cpu = -1 };
	struct nr_capture *large, *capture;
	struct reader *reader;
	struct wire_msg msg;
	uint64_t sent;
	int silent;

	need_root();
	live_network(&live);
	live_broker(&live, "[source s]\ninterface = inside\nlanes = 2\n"
			   "[channel all]\nsource = s\nallow = everyone\n"
			   "block_size = 128K\narena = 8M\n");
	reader = readers_new(ledger_of_sent(10000000), 1, "all");
	reader->group = options.group = "ids";
	reader->lanes = 2;
	reader_start(reader, geteuid()); /* whose group it is, too */
	strcpy(frames.interface, live.network.outside);
	frames_start(&frames);
	eventually(reader->count > 1000);
	options.lane_plus_one = 2;
	options.group = NULL;
	options.guarantee = options.leases = 8;
	cr_assert_eq(nr_capture_open("all", &options, &large), 0);
	options.guarantee = options.leases = 1;
	/* All that lane 1 has set aside. */
	while (nr_capture_open("all", &options, &capture) == 0)
		;
	options.lane_plus_one = 0;
	options.group = "ids";
	for (unsigned i = 0; i < 200; i++)
		cr_assert_eq(nr_capture_open("all", &options, &capture),
			     -ENOSPC);
	nr_capture_close(large);
	silent = join_in_silence("all", "ids");
	cr_assert(raw_ends(silent, 5000));
	cr_assert_gt(wire_recv(silent, &msg), 0);
	cr_assert_eq(msg.msg.type, NR_MSG_ATTACHED);
	wire_close_fds(&msg);
	close(silent);
	sent = frames_stop(&frames);
	eventually(has_read_all(reader, sent));
	reader_stop(reader);
	reader_check_sum(reader);
	cr_assert_gt(reader->stats.seen, 10000);
	cr_assert_eq(reader->stats.to_others, 0);
	live_stop(&live);
}

/* ------------------------------------------------------------------- limits */

static int open_group(const char *group, unsigned guarantee, char *text,
		      struct nr_capture **capture)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;

	options.group = group;
	options.guarantee = guarantee;
	options.error_text = text;
	options.error_text_size = NR_TEXT_MAX;
	return nr_capture_open("small", &options, capture);
}

Test(groups, have_names_of_letters_digits_and_little_else)
{
	static const char *const wrong[] = { "a b", "a/b", "\x1b[31m",
					     "\xc3\xa4" };
	struct nr_capture *capture;
	char text[NR_TEXT_MAX];

	trace_init(&trace, 10, 5);
	trace.is_nano = true;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	broker_start(&broker, NULL,
		     "[source s]\nbackend = replay\nfile = %s\nwait = 999\n"
		     "[channel small]\nsource = s\n",
		     test_path("trace.pcap"));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cr_assert_eq(open_group(wrong[i], 0, text, &capture), -EINVAL);
		cr_assert(strstr(text, "a group's name has up to 31 letters"),
			  "%s", text);
	}
	cr_assert_eq(open_group("a2345678901234567890123456789012", 0, text,
				&capture),
		     -EINVAL);
	cr_assert_eq(open_group("a234567890123456789012345678901", 0, text,
				&capture),
		     0);
	nr_capture_close(capture);
	cr_assert_eq(command_run(&c, "netring dump small --group 'a b'"), 2,
		     "%d", c.status);
	cr_assert(strstr(c.err, "a group's name"), "%s", c.err);
	broker_stop(&broker);
}

Test(groups, have_64_members_at_most_and_a_place_in_the_set_aside)
{
	static struct nr_capture *captures[65];
	struct nr_capture *capture;
	char text[NR_TEXT_MAX];
	int err;

	trace_init(&trace, 10, 5);
	trace.is_nano = true;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	broker_start(&broker, NULL,
		     "[source s]\nbackend = replay\nfile = %s\nwait = 999\n"
		     "[channel small]\nsource = s\nblock_size = 128K\n"
		     "arena = 40M\n",
		     test_path("trace.pcap"));
	for (unsigned i = 0; i < 64; i++) {
		err = open_group("g", 1, text, &captures[i]);
		cr_assert_eq(err, 0, "%u: %s", i, text);
	}
	err = open_group("g", 1, text, &capture);
	cr_assert_eq(err, -ENOSPC);
	cr_assert(strstr(text, "at most 64 members"), "%s", text);
	/* Another group has room until the set-aside is drawn. */
	cr_assert_eq(open_group("h", 1, text, &captures[64]), 0);
	err = open_group("h", 200, text, &capture);
	cr_assert_eq(err, -EINVAL);
	err = open_group("h", 40, text, &capture);
	cr_assert_eq(err, -ENOSPC);
	cr_assert(strstr(text, "130 of the 159 blocks set aside"), "%s", text);
	/* One that left leaves a place. */
	nr_capture_close(captures[7]);
	do
		err = open_group("g", 1, text, &captures[7]);
	while (err == -ENOSPC);
	cr_assert_eq(err, 0);
	for (unsigned i = 0; i < 65; i++)
		nr_capture_close(captures[i]);
	broker_read_stat(&stat_now, "small");
	broker_stop(&broker);
}

Test(groups, can_be_joined_by_netring_dump, .timeout = 60)
{
	static struct command other;
	unsigned lines;

	trace_init(&trace, 8000, 6);
	serve("wait = 2\n");
	command_start(&other, geteuid(), "exec netring dump trace --group ids");
	cr_assert_eq(command_run(&c,
				 "netring dump trace --group=ids --follow "
				 "-w %s",
				 test_path("part.pcap")),
		     0);
	cr_assert(strstr(c.err, "to others of the group"), "%s", c.err);
	cr_assert_eq(command_wait(&other), 0);
	lines = lines_of(other.out, NULL);
	cr_assert(lines > 0 && lines < 8000);
	cr_assert_eq(command_run(&c, "tcpdump -nr %s 2>/dev/null | wc -l",
				 test_path("part.pcap")),
		     0);
	cr_assert_eq(strtoul(c.out, NULL, 10) + lines, 8000, "%s and %u", c.out,
		     lines);
	cr_assert_eq(command_run(&c, "netring dump trace --group "
				     "a2345678901234567890123456789012"),
		     2);
	broker_stop(&broker);
}
