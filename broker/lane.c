// SPDX-License-Identifier: BSD-2-Clause
/*
 * The loop of a lane: a burst from the source goes into each channel that has
 * captures, is published by one store a channel, and sleepers are woken.
 */
#include "lane.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "lane_channel.h"
#include "lane_rest.h"
#include "lane_sched.h"
#include "log.h"

/* bursts taken at most from an AF_PACKET source that is replaced */
#define DRAIN_MAX 8192
#define BELL_AGAIN_NS 1000000

/* --------------------------------------------------------------- no source */

static int none_burst(struct source *source, struct burst *burst,
		      uint32_t max_packets, size_t max_bytes)
{
	(void)source;
	(void)burst;
	(void)max_packets;
	(void)max_bytes;
	return SOURCE_NOTHING;
}

static int none_wait_fd(const struct source *source)
{
	(void)source;
	return -1;
}

static void none_free(struct source *source)
{
	(void)source;
}

/* What a lane has that has none: it is parked, and never asks. */
static const struct source_ops none_ops = { .burst = none_burst,
					    .wait_fd = none_wait_fd,
					    .free = none_free };
static struct source none = { .ops = &none_ops, .link_type = 1 };

struct source *lane_no_source(void)
{
	return &none;
}

/* --------------------------------------------------------------- starting */

static int lane_poll_source(struct lane *lane)
{
	struct epoll_event event = {
		.events = EPOLLIN,
		.data.u64 = LANE_MAILBOX_EVENT,
	};
	int fd = lane->source->ops->wait_fd(lane->source);

	if (lane->owns_epoll)
		close(lane->epoll_fd);
	lane->owns_epoll = fd < 0;
	lane->epoll_fd = fd < 0 ? epoll_create1(EPOLL_CLOEXEC) : fd;
	if (lane->epoll_fd < 0 ||
	    epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, lane->in.fd, &event))
		return -errno;
	return 0;
}

int lane_init(struct lane *lane, struct source *source, struct mailbox *out,
	      void (*failed)(struct lane_command *))
{
	int err;

	lane->source = source;
	lane->link_type = source->link_type;
	lane->out = out;
	lane->failed.done = failed;
	lane->failed.lane = lane;
	lane->epoll_fd = -1;
	lane->is_parked = source == &none;
	if (lane->is_parked)
		lane->state = NR_SOURCE_GONE;
	else
		lane->state =
			lane->wait ? NR_SOURCE_WAITING : NR_SOURCE_RUNNING;
	err = mailbox_init(&lane->in);
	if (err)
		return err;
	return lane_poll_source(lane);
}

/* ------------------------------------------------------------ the thread */

static void run_commands(struct lane *lane)
{
	struct lane_command *command;

	while ((command = mailbox_take(&lane->in))) {
		command->run(lane, command);
		mailbox_put(lane->out, command);
	}
}

static void collect_all(struct lane *lane)
{
	struct lane_channel *channel;

	for (channel = lane->channels; channel; channel = channel->next)
		lane_channel_collect(channel);
}

static void publish_all(const struct lane *lane)
{
	struct lane_channel *channel;

	for (channel = lane->channels; channel; channel = channel->next)
		lane_channel_publish(channel);
}

static void ring_all(const struct lane *lane)
{
	struct lane_channel *channel;

	for (channel = lane->channels; channel; channel = channel->next)
		lane_channel_ring(channel);
}

static void settle_all(const struct lane *lane)
{
	publish_all(lane);
	ring_all(lane);
}

/*
 * A wake-up takes the lane as long as a few hundred packets, and a consumer
 * that is faster than the lane would ask for one each burst. While many come
 * it has one in so many ns: where they gather first, they are late anyway (and
 * a bell that is not due before a nap comes behind it); and where many sleep,
 * waking them takes a part of its time and no more. Before the lane sleeps for
 * good it rings all.
 */
#define RING_EACH_NS 50000
#define RING_EACH_GATHERED_NS 200000
#define RING_EACH_MAX_NS 1000000
#define RING_PART 20 /* a twentieth, but for what the most costs */

static void ring_now_and_then(struct lane *lane)
{
	uint64_t now = now_ns(), each = RING_EACH_NS;

	if (lane->source->gather_ns)
		each = RING_EACH_GATHERED_NS;
	if (each < lane->ringing_ns * RING_PART)
		each = lane->ringing_ns * RING_PART;
	if (each > RING_EACH_MAX_NS)
		each = RING_EACH_MAX_NS;
	if (now - lane->rang_ns < each)
		return;
	ring_all(lane);
	lane->rang_ns = now_ns();
	lane->ringing_ns = lane->rang_ns - now;
}

static bool all_have_room(const struct lane *lane, const struct burst *burst)
{
	const struct lane_channel *channel;

	for (channel = lane->channels; channel; channel = channel->next)
		if (!lane_channel_has_room(channel, burst))
			return false;
	return true;
}

/*
 * Lossless: waits until @burst fits into all channels without refusing
 * anybody. Before the first has got any of it: a command may add, remove and
 * replace channels, and a burst is one side of it or the other. Polls: what a
 * consumer gives back rings no bell.
 */
static void wait_for_room(struct lane *lane, const struct burst *burst)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	while (!all_have_room(lane, burst) && !lane->must_stop) {
		settle_all(lane);
		nanosleep(&pause, NULL);
		run_commands(lane);
		collect_all(lane);
	}
}

static void give_burst(struct lane *lane, const struct burst *burst)
{
	struct lane_channel *channel;

	collect_all(lane);
	if (lane->source->is_lossless)
		wait_for_room(lane, burst);
	if (lane->must_stop)
		return;
	for (channel = lane->channels; channel; channel = channel->next)
		lane_channel_append(channel, burst, lane->frames);
	/* Only now: a wake-up may cost a microsecond, the others wait. */
	publish_all(lane);
	ring_now_and_then(lane);
}

static void count_burst(struct lane *lane, const struct burst *burst)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < burst->count; i++)
		bytes += burst->packets[i].caplen;
	lane->captured += burst->count;
	lane->awake_packets += burst->count;
	lane->turn_packets += burst->count;
	lane->bytes += bytes;
	lane->bursts++;
}

/* So that a burst fits a fresh block of every channel. */
static size_t burst_bytes_max(const struct lane *lane)
{
	const struct lane_channel *channel;
	size_t max = SIZE_MAX;

	for (channel = lane->channels; channel; channel = channel->next) {
		size_t block = channel->config->block_size;

		if (block / 2 < max)
			max = block / 2;
	}
	return max;
}

static void end_channels(struct lane *lane, unsigned why)
{
	struct lane_channel *channel;

	for (channel = lane->channels; channel; channel = channel->next)
		lane_channel_end(channel, why);
}

static void source_is_over(struct lane *lane)
{
	lane->state = NR_SOURCE_OVER;
	end_channels(lane, NR_END_SOURCE);
}

/* The control thread finds out why, and answers with lane_resume(). */
static void source_has_failed(struct lane *lane, bool ring_is_broken)
{
	if (lane->is_parked || lane->is_draining)
		return;
	lane->is_parked = true;
	lane->ring_is_broken = ring_is_broken;
	mailbox_put(lane->out, &lane->failed);
}

/* Takes one burst. Returns whether there may be more at once. */
static bool take_burst(struct lane *lane)
{
	const struct source_ops *ops = lane->source->ops;
	int n;

	if (lane_is_idle(lane))
		return false;
	n = ops->burst(lane->source, &lane->burst, BURST_MAX,
		       burst_bytes_max(lane));
	if (n > 0) {
		count_burst(lane, &lane->burst);
		give_burst(lane, &lane->burst);
		ops->done(lane->source);
		return true;
	}
	if (n == SOURCE_IS_OVER)
		source_is_over(lane);
	else if (n == SOURCE_HAS_FAILED || n == SOURCE_IS_BROKEN)
		source_has_failed(lane, n == SOURCE_IS_BROKEN);
	return false;
}

static void rest_between(struct lane *lane)
{
	/* packets: not worth a look at the clock before */
	if (lane->turn_packets < 1024 || !lane_turn_is_over(lane))
		return;
	ring_all(lane);
	lane_rest_after(lane);
}

/* Who sleeps and could not be woken might sleep for ever, if nothing came. */
static bool owes_bell(const struct lane *lane)
{
	const struct lane_channel *channel;

	for (channel = lane->channels; channel; channel = channel->next)
		if (lane_channel_owes_bell(channel))
			return true;
	return false;
}

static void ring_again(struct lane *lane)
{
	const struct timespec pause = { .tv_nsec = BELL_AGAIN_NS };

	nanosleep(&pause, NULL);
	settle_all(lane);
}

static void *lane_thread(void *arg)
{
	struct lane *lane = arg;

	lane_sched_start(lane);
	while (!lane->must_stop) {
		run_commands(lane);
		if (lane->must_stop)
			break;
		/* Commands between bursts, without a call on the eventfd. */
		while (take_burst(lane) && !lane->must_stop) {
			lane_sched_check(lane);
			rest_between(lane);
			run_commands(lane);
		}
		if (lane->must_stop)
			break;
		if (lane_lets_gather(lane))
			ring_now_and_then(lane);
		else
			ring_all(lane);
		if (owes_bell(lane) && !lane_lets_gather(lane))
			ring_again(lane);
		else if (lane_rest(lane))
			source_has_failed(lane, false);
	}
	lane_sched_end(lane);
	return NULL;
}

int lane_start(struct lane *lane)
{
	int err = pthread_create(&lane->thread, NULL, lane_thread, lane);

	lane->has_thread = err == 0;
	return -err;
}

void lane_join(struct lane *lane)
{
	if (lane->has_thread)
		pthread_join(lane->thread, NULL);
	lane->has_thread = false;
}

void lane_deinit(struct lane *lane)
{
	if (lane->owns_epoll && lane->epoll_fd >= 0)
		close(lane->epoll_fd);
	if (lane->source)
		lane->source->ops->free(lane->source);
	mailbox_deinit(&lane->in);
}

/* ----------------------------------------------------------- the commands */

void lane_add_channel(struct lane *lane, struct lane_command *command)
{
	struct channel_command *add = (struct channel_command *)command;

	add->channel->next = lane->channels;
	lane->channels = add->channel;
}

void lane_remove_channel(struct lane *lane, struct lane_command *command)
{
	struct channel_command *remove = (struct channel_command *)command;
	struct lane_channel **link = &lane->channels;

	while (*link != remove->channel)
		link = &(*link)->next;
	*link = remove->channel->next;
}

void lane_end_channel(struct lane *lane, struct lane_command *command)
{
	struct channel_command *end = (struct channel_command *)command;

	(void)lane;
	end->channel->is_retired = true;
	lane_channel_end(end->channel, end->why);
}

void lane_move(struct lane *lane, struct lane_command *command)
{
	struct move_command *move = (struct move_command *)command;

	lane_channel_miss(move->from, move->missed);
	for (uint32_t i = 0; i < move->pair_count; i++)
		lane_channel_move(move->from, move->to, &move->pairs[i],
				  move->arena, lane->source);
	lane_channel_follow(move->from);
	lane_channel_end(move->from, NR_END_RETIRED);
	move->from->is_retired = true;
	if (lane->state == NR_SOURCE_OVER)
		lane_channel_end(move->to, NR_END_SOURCE);
}

void lane_attach(struct lane *lane, struct lane_command *command)
{
	struct attach_command *attach = (struct attach_command *)command;
	struct lane_channel *channel = attach->channel;

	attach->is_refused =
		!lane_channel_add(channel, attach->sub, &attach->membership,
				  attach->arena, lane->source);
	attach->set_aside = channel->arena->admission.account->set_aside;
	attach->promised = channel->arena->admission.account->promised;
	if (!attach->is_refused && lane->state == NR_SOURCE_OVER)
		lane_channel_end(channel, NR_END_SOURCE);
}

void lane_enter(struct lane *lane, struct lane_command *command)
{
	struct enter_command *enter = (struct enter_command *)command;

	if (enter->sub->state == SUBSCRIPTION_ENDED)
		return;
	lane_channel_enter(enter->sub);
	enter->sub->is_counted = true;
	lane->capture_count++;
	if (lane->state == NR_SOURCE_WAITING &&
	    lane->capture_count >= lane->wait)
		lane->state = NR_SOURCE_RUNNING;
}

void lane_detach(struct lane *lane, struct lane_command *command)
{
	struct detach_command *detach = (struct detach_command *)command;

	lane->bells_gone += detach->sub->bells;
	lane->capture_count -= detach->sub->is_counted;
	lane_channel_remove(detach->channel, detach->sub);
}

static void stat_source(const struct lane *lane, struct nr_msg_source *msg)
{
	const struct lane_channel *channel;

	msg->lane = lane->number;
	msg->state = lane->state;
	msg->captured = lane->captured;
	msg->bytes = lane->bytes;
	msg->bursts = lane->bursts;
	msg->bells = lane->bells_gone;
	msg->retired = lane->retired;
	for (channel = lane->channels; channel; channel = channel->next)
		msg->bells += lane_channel_bells(channel);
	msg->cpu_ns = lane_sched_cpu_ns();
	if (lane->frames) {
		msg->frames = lane->frames->count;
		msg->frames_free = lane->frames->free_count;
		msg->frames_kept = lane->frames->kept;
	}
}

void lane_stat(struct lane *lane, struct lane_command *command)
{
	struct stat_command *stat = (struct stat_command *)command;
	uint32_t i;

	collect_all(lane);
	settle_all(lane);
	for (i = 0; i < stat->channel_count; i++) {
		lane_channel_stat(stat->channels[i].channel,
				  &stat->channels[i].msg);
		stat->channels[i].msg.lane = lane->number;
	}
	if (stat->source)
		stat_source(lane, stat->source);
	for (i = 0; i < stat->entry_count; i++)
		lane_channel_stat_capture(stat->entries[i].channel,
					  stat->entries[i].sub,
					  stat->entries[i].msg);
}

/* What a ring holds, and no more: a source that goes on does not hold us. */
static void drain(struct lane *lane)
{
	bool is_xdp = lane->config->backend == BACKEND_XDP;
	uint64_t most = is_xdp ? lane->config->rx_ring :
				 (uint64_t)DRAIN_MAX * BURST_MAX;
	uint64_t end = lane->captured + most;

	/* The note of an error may be on its way still: it is sent once. */
	lane->is_draining = true;
	lane->is_parked = false;
	while (lane->captured < end && take_burst(lane))
		;
	lane->is_draining = false;
}

void lane_resume(struct lane *lane, struct lane_command *command)
{
	struct resume_command *resume = (struct resume_command *)command;

	if (resume->source) {
		drain(lane);
		lane->source->ops->free(lane->source);
		lane->source = resume->source;
		lane->frames = resume->frames;
		lane->retired += resume->missed;
		__atomic_store_n(&lane->link_type, lane->source->link_type,
				 __ATOMIC_RELAXED);
		resume->source = NULL;
		if (lane_poll_source(lane))
			log_error("lane %u of %s cannot wait for its source",
				  lane->number, lane->config->name);
	}
	lane->is_parked = lane->source == &none;
	lane->state = lane->is_parked ? NR_SOURCE_GONE : resume->state;
}

void lane_drop_source(struct lane *lane)
{
	lane->source->ops->free(lane->source);
	lane->source = &none;
	lane->state = NR_SOURCE_GONE;
	lane->is_parked = true;
}

void lane_close_source(struct lane *lane, struct lane_command *command)
{
	struct close_command *closing = (struct close_command *)command;

	drain(lane);
	lane_drop_source(lane);
	sem_post(&closing->is_closed);
}

void lane_wait_no_more(struct lane *lane, struct lane_command *command)
{
	(void)command;
	if (lane->state == NR_SOURCE_WAITING)
		lane->state = NR_SOURCE_RUNNING;
}

void lane_stop(struct lane *lane, struct lane_command *command)
{
	(void)command;
	end_channels(lane, NR_END_SHUTDOWN);
	lane->must_stop = true;
}
