/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a ring may cost the lane, and what becomes of a capture whose rings
 * cost more. send() and the clocks are the test's (ld --wrap), so that all of
 * it is exact: a ring takes what the test says.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include <netring/ring.h>

#include "stream.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
/* What the lane calls slow begins behind 0.2 ms. */
#define QUICK (MS / 5)

/* A sanitizer's library takes them for its own, too. */
#define VISIBLE __attribute__((visibility("default")))
VISIBLE ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags);
VISIBLE int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_clock_gettime(clockid_t clock, struct timespec *now);

/* By the clock on the wall, and of this thread alone. */
struct cost {
	uint64_t wall_ns;
	uint64_t cpu_ns;
};

static struct {
	bool is_on;
	struct cost now;
	struct cost first, second; /* of the sends of one ring */
	unsigned sends;
	unsigned calls; /* of a clock that needs the kernel */
} fake;

static struct stream stream;
static struct subscription sub;

ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags)
{
	const struct cost *cost = fake.sends++ ? &fake.second : &fake.first;

	cr_assert_eq(fd, 99);
	cr_assert_eq(((const struct nr_msg *)bytes)->type, NR_MSG_BELL);
	cr_assert_eq(flags, MSG_DONTWAIT | MSG_NOSIGNAL);
	fake.now.wall_ns += cost->wall_ns;
	fake.now.cpu_ns += cost->cpu_ns;
	return (ssize_t)size;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	uint64_t ns = fake.now.wall_ns;

	if (!fake.is_on)
		return __real_clock_gettime(clock, now);
	if (clock == CLOCK_THREAD_CPUTIME_ID) {
		ns = fake.now.cpu_ns;
		fake.calls++;
	} else {
		cr_assert_eq(clock, CLOCK_MONOTONIC);
	}
	now->tv_sec = (time_t)(ns / SECOND);
	now->tv_nsec = (long)(ns % SECOND);
	return 0;
}

static void set_up(void)
{
	fake.now.wall_ns = 1000 * SECOND;
	sub.stream = &stream;
	sub.bell = 99;
	subscription_init(&sub, aligned_alloc(NR_PAGE, NR_RING_SIZE),
			  calloc(1, sizeof(struct nr_return)), 4, 2, 0);
}

TestSuite(bell, .init = set_up);

/* Looks as a lane does. Returns how many bells that sent. */
static unsigned look(void)
{
	fake.sends = 0;
	fake.is_on = true;
	subscription_ring(&sub);
	fake.is_on = false;
	return fake.sends;
}

/* The capture goes to sleep; a ring costs this, and once again that. */
static unsigned wake(struct cost first, struct cost second)
{
	nr_return_arm((struct nr_return *)(uintptr_t)sub.page);
	fake.first = first;
	fake.second = second;
	return look();
}

static struct cost both(uint64_t ns)
{
	return (struct cost){ ns, ns };
}

/* Slow once by the clock on the wall: from here on its rings are timed. */
static void be_slow_once(void)
{
	cr_assert_eq(wake((struct cost){ 500 * MS, 0 }, both(0)), 2);
	cr_assert_eq(sub.offence, NULL);
}

/* Rings at this cost until it is an offence; how many that took. */
static unsigned rings_until_offence(struct cost first, struct cost second,
				    uint64_t pause_ns, unsigned most)
{
	unsigned rings = 0;

	while (!sub.offence && rings < most) {
		wake(first, second);
		fake.now.wall_ns += pause_ns;
		rings++;
	}
	return sub.offence ? rings : 0;
}

Test(bell, is_one_call_a_wake_up_and_none_for_who_is_awake)
{
	cr_assert_eq(look(), 0); /* never armed */
	for (unsigned i = 1; i <= 1000; i++) {
		cr_assert_eq(wake(both(QUICK), both(0)), 1);
		cr_assert_eq(look(), 0);
		cr_assert_eq(sub.bells, i);
	}
	/* The clock that was looked at takes no call. */
	cr_assert_eq(fake.calls, 0);
	cr_assert_eq(sub.offence, NULL);
}

Test(bell, that_is_slow_is_tried_again_at_once_and_once)
{
	cr_assert_eq(wake(both(QUICK + 1), both(0)), 2);
	cr_assert_eq(fake.calls, 2);
	/* Time of the thread counts from here on: it costs two calls more. */
	cr_assert_eq(wake(both(0), both(0)), 1);
	cr_assert_eq(fake.calls, 4);
}

Test(bell, that_was_slow_by_the_wall_alone_is_nobody_s_fault)
{
	be_slow_once();
	/* Preempted each time: the lane is away, but no ring took long. */
	cr_assert_eq(rings_until_offence((struct cost){ 30 * MS, QUICK },
					 both(0), 0, 1000),
		     0);
	cr_assert_eq(fake.sends, 1);
}

Test(bell, that_is_slow_each_time_may_cost_50_ms)
{
	be_slow_once();
	/* 25 and 25: as much as it may. */
	wake((struct cost){ 0, 25 * MS }, (struct cost){ 0, 25 * MS });
	cr_assert_eq(sub.offence, NULL);
	wake((struct cost){ 0, QUICK + 1 }, (struct cost){ 0, QUICK + 1 });
	cr_assert_str_eq(sub.offence, "makes its doorbell slow");
}

/* From its first ring on, timed or not: a crowd of watchers is one at once. */
Test(bell, that_is_slow_from_the_first_is_paid_for_from_the_first)
{
	/* A pardon of 0.2 ms for the 20 ms that each pair took. */
	cr_assert_eq(rings_until_offence(both(10 * MS), both(10 * MS), 0, 10),
		     3);
}

Test(bell, that_is_slow_is_forgiven_at_a_hundredth_of_the_time)
{
	const struct cost ten = { 0, 10 * MS };

	be_slow_once();
	/* 20 ms every 2 s is a hundredth. */
	cr_assert_eq(rings_until_offence(ten, ten, 2 * SECOND, 1000), 0);
}

Test(bell, that_is_slow_too_often_is_ended_when_it_owes_too_much)
{
	const struct cost ten = { 0, 10 * MS };

	be_slow_once();
	/* 20, 30, 40, 50, 60 */
	cr_assert_eq(rings_until_offence(ten, ten, SECOND, 1000), 5);
}

Test(bell, that_was_slow_by_chance_costs_5_ms_at_most)
{
	be_slow_once();
	cr_assert_eq(rings_until_offence((struct cost){ 0, 40 * MS }, both(0),
					 0, 100),
		     11);
}

Test(bell, that_was_slow_by_chance_costs_no_more_than_it_took)
{
	be_slow_once();
	cr_assert_eq(rings_until_offence((struct cost){ 0, MS }, both(QUICK), 0,
					 100),
		     51);
}

Test(bell, that_was_slow_for_the_first_time_is_free)
{
	wake(both(400 * MS), both(0));
	cr_assert_eq(sub.ring_debt_ns, 0);
	cr_assert_eq(sub.offence, NULL);
}
