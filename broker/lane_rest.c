// SPDX-License-Identifier: BSD-2-Clause
/*
 * A lane that is woken for every few packets, or never sleeps while its
 * consumers wait for the same CPU, costs more than the packets do. Its ring is
 * there to hold them meanwhile.
 */
#include "lane_rest.h"

#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

#include "clock.h"

static void sleep_ns(uint64_t ns)
{
	const struct timespec pause = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	nanosleep(&pause, NULL);
}

/*
 * A kernel that hands over packets by the dozen would wake the lane for each
 * dozen, and that costs its CPU, and the kernel's, more than the packets.
 * Where so many come, and so often, more are on their way: the lane lets them
 * gather, for a time that its ring has room for at this rate. It costs none of
 * the packets that come one by one a delay.
 */
#define GATHER_MIN 64

bool lane_lets_gather(const struct lane *lane)
{
	return lane->awake_packets >= GATHER_MIN &&
	       lane->awake_packets <= lane->source->can_wait &&
	       lane->each_ns <= UINT64_C(2) * lane->source->gather_ns &&
	       !lane_is_idle(lane);
}

static uint64_t gather_time(const struct lane *lane, uint64_t now)
{
	uint64_t each = lane->source->gather_ns, took = now - lane->woke_ns;
	uint64_t least = each / 4;

	return took < each - least ? each - took : least;
}

static bool wait_for_events(struct lane *lane)
{
	struct epoll_event events[2];
	bool has_failed = false;
	int n = epoll_wait(lane->epoll_fd, events, 2, -1);

	for (int i = 0; i < n; i++)
		if (events[i].data.u64 == LANE_MAILBOX_EVENT)
			mailbox_clear(&lane->in);
		else
			has_failed |= events[i].events & (EPOLLERR | EPOLLHUP);
	return has_failed;
}

/* A command, or @pause is over. */
static void wait_for_command(struct lane *lane, const struct timespec *pause)
{
	struct pollfd mailbox = { .fd = lane->in.fd, .events = POLLIN };

	if (ppoll(&mailbox, 1, pause, NULL) > 0)
		mailbox_clear(&lane->in);
}

/* Until the next packet is due, or a command. */
static void wait_for_time(struct lane *lane)
{
	uint64_t ns = lane->source->ops->wait_ns(lane->source);
	const struct timespec pause = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	wait_for_command(lane, &pause);
}

bool lane_rest(struct lane *lane)
{
	const struct source_ops *ops = lane->source->ops;
	bool has_failed = false;

	if (lane_is_idle(lane))
		wait_for_command(lane, NULL);
	else if (lane->owns_epoll)
		wait_for_time(lane);
	else if (ops->poll && ops->poll(lane->source))
		;
	else if (lane_lets_gather(lane))
		sleep_ns(gather_time(lane, now_ns()));
	else
		has_failed = wait_for_events(lane);
	lane->turn_ns = now_ns();
	lane->each_ns = lane->turn_ns - lane->woke_ns;
	lane->woke_ns = lane->turn_ns;
	lane->awake_packets = lane->turn_packets = 0;
	lane->turn_filled = 100;
	return has_failed;
}

/*
 * At real-time priority a lane that has much to catch up on would give
 * consumers on its CPU more than they can hold, and no time to read it. As
 * long as its ring has room, or gets some, the packets are as well there: it
 * takes half of the CPU. Where the ring fills it takes all.
 */
#define TURN_NS 500000
/* A turn that took longer was none: the lane, or the machine, stood still, or
 * it is the lane's first. */
#define REST_MAX_NS 2000000

static bool ring_can_wait(struct lane *lane)
{
	const struct source_ops *ops = lane->source->ops;
	uint32_t filled = ops->filled ? ops->filled(lane->source) : 100;
	bool empties = filled < lane->turn_filled;

	lane->turn_filled = filled;
	return filled < 25 || (filled < 75 && empties);
}

bool lane_turn_is_over(struct lane *lane)
{
	uint64_t now = now_ns();

	lane->turn_packets = 0;
	if (now - lane->turn_ns < TURN_NS)
		return false;
	if (lane->is_realtime && ring_can_wait(lane))
		return true;
	lane->turn_ns = now;
	return false;
}

void lane_rest_after(struct lane *lane)
{
	uint64_t took = now_ns() - lane->turn_ns;

	sleep_ns(took < REST_MAX_NS ? took : REST_MAX_NS);
	lane->turn_ns = now_ns();
}
