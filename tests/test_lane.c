/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop of a lane, on a source that gives what the test says: when it
 * sleeps, when it lets packets gather, and what it takes of a source that
 * goes.
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <netring/ring.h>

#include "calls.h"
#include "lane.h"
#include "lane_rest.h"
#include "ledger.h"
#include "live.h"

/* Given by a source, one after the other; nothing behind the last. */
static struct {
	int what[16]; /* packets, or an outcome */
	unsigned count;
	unsigned asked; /* how often the lane has asked so far */
	pid_t thread;
	int epoll_fd;
} script;

static struct config_source config;
static struct lane lane = { .config = &config };
static struct mailbox out;

static int scripted_burst(struct source *source, struct burst *burst,
			  uint32_t max_packets, size_t max_bytes)
{
	unsigned at = __atomic_load_n(&script.asked, __ATOMIC_RELAXED);
	int n = at < script.count ? script.what[at] : SOURCE_NOTHING;

	(void)source;
	(void)max_packets;
	(void)max_bytes;
	memset(burst, 0, sizeof(*burst));
	burst->count = n > 0 ? (uint32_t)n : 0;
	burst->link_type = 1;
	script.thread = (pid_t)syscall(SYS_gettid);
	__atomic_store_n(&script.asked, at + 1, __ATOMIC_RELEASE);
	return n;
}

static void scripted_done(struct source *source)
{
	(void)source;
}

static int scripted_wait_fd(const struct source *source)
{
	(void)source;
	return script.epoll_fd;
}

static uint32_t scripted_filled(const struct source *of)
{
	(void)of;
	return 0;
}

static const struct source_ops ops = {
	.burst = scripted_burst,
	.done = scripted_done,
	.wait_fd = scripted_wait_fd,
	.filled = scripted_filled,
	.free = scripted_done,
};
/* Gathering ends so long behind the lane's waking up: longer than a turn. */
#define GATHER_NS 1000000000u
static struct source source = { .ops = &ops,
				.link_type = 1,
				.gather_ns = GATHER_NS };

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void set_up(void)
{
	lane.woke_ns = now_ns();
	config_source_init(&config, "s");
	config.backend = BACKEND_XDP;
	script.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	cr_assert_geq(script.epoll_fd, 0);
	cr_assert_eq(mailbox_init(&out), 0);
	cr_assert_eq(lane_init(&lane, &source, &out, NULL), 0);
}

static void tear_down(void)
{
	lane_deinit(&lane);
	mailbox_deinit(&out);
	close(script.epoll_fd);
}

TestSuite(lane, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---------------------------------------------------------------- gathering */

static void play(const int *what)
{
	script.count = 0;
	for (; what[script.count] != -9; script.count++)
		script.what[script.count] = what[script.count];
}

#define SCRIPT(...) play((const int[]){ __VA_ARGS__, -9 })

static void nothing_to_do(struct lane *of, struct lane_command *command)
{
	(void)of;
	(void)command;
}

/* Sleeps for as long as there are no packets: not for a time. */
static bool sleeps(void)
{
	char path[64];
	long number = -1;
	FILE *file;

	if (!__atomic_load_n(&script.asked, __ATOMIC_ACQUIRE))
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall",
		 (int)script.thread);
	file = fopen(path, "re");
	cr_assert(file, "%s", path);
	if (fscanf(file, "%ld", &number) != 1)
		number = -1; /* it runs */
	fclose(file);
#ifdef SYS_epoll_wait
	if (number == SYS_epoll_wait)
		return true;
#endif
	return number == SYS_epoll_pwait;
}

/* How often it has asked its source before it slept. */
static unsigned asked(void)
{
	eventually(sleeps());
	return script.asked;
}

static void end(void)
{
	static struct lane_command stop = { .run = lane_stop };

	lane_send(&lane, &stop);
	lane_join(&lane);
}

static unsigned asked_from_the_start(uint32_t can_wait)
{
	unsigned times;

	source.can_wait = can_wait;
	cr_assert_eq(lane_start(&lane), 0);
	times = asked();
	end();
	return times;
}

/*
 * Nothing wakes it: what the lane takes behind a "nothing", it has taken
 * because it looked again by itself.
 */
Test(lane, lets_packets_gather_that_come_by_many)
{
	SCRIPT(64, 0, 5, 0);
	cr_assert_eq(asked_from_the_start(1024), 4);
	cr_assert_eq(lane.captured, 69);
}

Test(lane, counts_all_that_came_since_it_slept)
{
	SCRIPT(10, 20, 34, 0, 5, 0);
	cr_assert_eq(asked_from_the_start(1024), 6);
}

Test(lane, lets_packets_gather_for_as_long_as_they_come_by_many)
{
	SCRIPT(64, 0, 64, 0, 100, 0, 63, 0, 5);
	cr_assert_eq(asked_from_the_start(1024), 8);
}

Test(lane, sleeps_at_once_behind_few_packets)
{
	SCRIPT(63, 0, 5);
	cr_assert_eq(asked_from_the_start(1024), 2);
}

Test(lane, takes_few_packets_again_and_again_for_few)
{
	static struct lane_command wake = { .run = nothing_to_do };

	SCRIPT(40, 0, 40, 0, 5);
	source.can_wait = 1024;
	cr_assert_eq(lane_start(&lane), 0);
	cr_assert_eq(asked(), 2);
	lane_send(&lane, &wake);
	eventually(script.asked > 2);
	cr_assert_eq(asked(), 4);
	end();
}

Test(lane, lets_as_many_packets_gather_as_its_ring_has_room_for)
{
	SCRIPT(256, 256, 256, 256, 0, 5, 0);
	cr_assert_eq(asked_from_the_start(1024), 7);
}

Test(lane, lets_none_gather_when_the_ring_may_be_full_meanwhile)
{
	SCRIPT(256, 256, 256, 256, 1, 0, 5);
	cr_assert_eq(asked_from_the_start(1024), 6);
}

Test(lane, lets_none_gather_in_a_ring_that_is_too_small)
{
	SCRIPT(64, 0, 5);
	cr_assert_eq(asked_from_the_start(0), 2);
}

/* Else a lane that is nearly always busy would be woken for each packet. */
Test(lane, lets_packets_gather_a_little_however_long_it_took)
{
	lane.woke_ns -= GATHER_NS;
	SCRIPT(64, 0, 5, 0);
	cr_assert_eq(asked_from_the_start(1024), 4);
}

/* Else who sleeps would hear of nothing as long as many packets come. */
Test(lane, wakes_who_sleeps_before_it_lets_packets_gather)
{
	static const struct config_channel of = { .block_size = 1 << 18 };
	static struct subscription sub;
	static struct stream stream = { .subscriptions = &sub,
					.subscription_count = 1,
					.has_changed = true };
	/* Retired: it is given no packets. */
	static struct lane_channel channel = { .config = &of,
					       .streams = &stream,
					       .is_retired = true };
	struct pollfd bell = { .events = POLLIN };
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	sub.stream = &stream;
	sub.bell = ends[0];
	bell.fd = ends[1];
	subscription_init(&sub, aligned_alloc(NR_PAGE, NR_RING_SIZE),
			  calloc(1, sizeof(struct nr_return)), 4, 2, 0);
	nr_return_arm((struct nr_return *)(uintptr_t)sub.page);
	lane.channels = &channel;
	source.can_wait = 1024;
	SCRIPT(64, 0, 5, 0);
	cr_assert_eq(lane_start(&lane), 0);
	cr_assert_eq(poll(&bell, 1, 10000), 1);
	cr_assert_leq(__atomic_load_n(&script.asked, __ATOMIC_ACQUIRE), 2);
	cr_assert_eq(asked(), 4);
	end();
	close(ends[0]);
	close(ends[1]);
	free(sub.ring);
	free((void *)(uintptr_t)sub.page);
}

/* ----------------------------------------------------------- bells under load
 */

#define SLEEPERS_MAX 256
#define BUSY_NS 200000000

/* Captures that sleep again as soon as they were woken. */
static struct {
	const struct config_channel config;
	struct lane_channel channel;
	struct stream stream;
	struct subscription subs[SLEEPERS_MAX];
	int ends[SLEEPERS_MAX];
	unsigned count;
	uint64_t start_ns, bursts, bells;
} busy = { .config = { .block_size = 1 << 18 } };

/* Behind each burst there is something for all of them, and all are asleep. */
static int busy_burst(struct source *of, struct burst *burst,
		      uint32_t max_packets, size_t max_bytes)
{
	char bell[64];

	(void)of;
	(void)max_packets;
	(void)max_bytes;
	if (now_ns() - busy.start_ns > BUSY_NS)
		return SOURCE_IS_OVER;
	for (unsigned i = 0; i < busy.count; i++) {
		while (recv(busy.ends[i], bell, sizeof(bell), MSG_DONTWAIT) > 0)
			busy.bells++;
		nr_return_arm((struct nr_return *)(uintptr_t)busy.subs[i].page);
	}
	busy.stream.has_changed = true;
	busy.bursts++;
	burst->count = 1;
	burst->link_type = 1;
	return 1;
}

/* How often each was woken. */
static double bells_of_busy_lane(unsigned sleepers)
{
	static struct source_ops endless;
	int ends[2];

	for (unsigned i = 0; i < sleepers; i++) {
		struct subscription *sub = &busy.subs[i];

		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
		sub->stream = &busy.stream;
		sub->bell = ends[0];
		busy.ends[i] = ends[1];
		subscription_init(sub, aligned_alloc(NR_PAGE, NR_RING_SIZE),
				  calloc(1, sizeof(struct nr_return)), 4, 2, 0);
		sub->next = i ? &busy.subs[i - 1] : NULL;
	}
	busy.count = sleepers;
	busy.stream.subscriptions = &busy.subs[sleepers - 1];
	busy.stream.subscription_count = sleepers;
	busy.channel.config = &busy.config;
	busy.channel.streams = &busy.stream;
	busy.channel.is_retired = true; /* it is given no packets */
	lane.channels = &busy.channel;
	endless = ops;
	endless.burst = busy_burst;
	source.ops = &endless;
	source.gather_ns = 0;
	busy.start_ns = now_ns();
	cr_assert_eq(lane_start(&lane), 0);
	eventually(__atomic_load_n(&lane.state, __ATOMIC_RELAXED) ==
		   NR_SOURCE_OVER);
	end();
	return (double)busy.bells / sleepers;
}

Test(lane, wakes_who_sleeps_now_and_then_while_it_is_busy)
{
	double bells = bells_of_busy_lane(1);

	cr_assert_gt(busy.bursts, 2 * BUSY_NS / 50000);
	cr_assert_leq(bells, BUSY_NS / 50000 + 1, "%g", bells);
	cr_assert_geq(bells, 1);
}

/* To wake so many takes it longer than a twentieth of a millisecond. */
Test(lane, wakes_many_the_less_often)
{
	double bells = bells_of_busy_lane(SLEEPERS_MAX);

	cr_assert_leq(bells, BUSY_NS / 1000000 + 1, "%g", bells);
	cr_assert_geq(bells, 1);
}

/* Stopped for hours, or at its first turn ever: the clock began at 0. */
Test(lane, rests_no_longer_than_a_turn_takes)
{
	const uint64_t start = now_ns();

	lane.is_realtime = true;
	lane.turn_ns = 0;
	lane_rest_after(&lane);
	cr_assert_geq(lane.turn_ns, start);
	cr_assert_lt(now_ns() - start, UINT64_C(10000000000));
}

/* ------------------------------------------------------- a source that goes */

static uint64_t given;

/* One that never runs dry. */
static int endless_burst(struct source *of, struct burst *burst,
			 uint32_t max_packets, size_t max_bytes)
{
	(void)of;
	(void)max_bytes;
	given += max_packets;
	memset(burst, 0, sizeof(*burst));
	burst->count = max_packets;
	burst->link_type = 1;
	return (int)max_packets;
}

static void close_source(void)
{
	struct close_command closing;

	cr_assert_eq(sem_init(&closing.is_closed, 0, 0), 0);
	lane_close_source(&lane, &closing.base);
	cr_assert_eq(sem_trywait(&closing.is_closed), 0);
	cr_assert_eq(lane.state, NR_SOURCE_GONE);
}

/* A ring holds so many; more comes from one who has not stopped sending. */
Test(lane, takes_what_a_ring_can_hold_of_a_source_that_goes_and_no_more)
{
	static struct source_ops endless;

	endless = ops;
	endless.burst = endless_burst;
	source.ops = &endless;
	close_source();
	cr_assert_eq(given, config.rx_ring);
}

static void fails_while_it_goes(int outcome)
{
	SCRIPT(5, outcome);
	close_source();
	cr_assert_eq(lane.captured, 5);
	/* Nobody would know what the note is about: the source is no more. */
	cr_assert_eq(mailbox_take(&out), NULL);
	cr_assert(lane.is_parked);
}

Test(lane, tells_no_error_of_a_source_that_goes)
{
	fails_while_it_goes(SOURCE_HAS_FAILED);
}

Test(lane, tells_of_no_broken_ring_of_a_source_that_goes)
{
	fails_while_it_goes(SOURCE_IS_BROKEN);
}

/* The one that it had before: of the next one, errors are told. */
Test(lane, tells_errors_of_the_source_that_it_goes_on_with)
{
	static struct source next = { .ops = &ops, .link_type = 1 };
	struct resume_command resume = { .source = &next,
					 .state = NR_SOURCE_RUNNING };

	SCRIPT(5, SOURCE_HAS_FAILED, 7, SOURCE_HAS_FAILED);
	close(script.epoll_fd);
	script.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	lane_resume(&lane, &resume.base);
	cr_assert_eq(lane.captured, 5);
	cr_assert_eq(mailbox_take(&out), NULL);
	cr_assert_not(lane.is_parked);
	cr_assert_eq(lane_start(&lane), 0);
	eventually(mailbox_take(&out) == &lane.failed);
	cr_assert_eq(lane.captured, 12);
	end();
}

/* --------------------------------------------------- which sources are waited
 * for
 */

/* Naps of the broker; once it serves, those of a lane that lets packets gather.
 */
static struct naps {
	struct calls calls;
	unsigned count; /* the deciding thread's */
} naps;

static int count_nap(const struct call *call, void *data)
{
	(void)call;
	(void)data;
	__atomic_add_fetch(&naps.count, 1, __ATOMIC_RELAXED);
	return 0;
}

static unsigned naps_so_far(void)
{
	return __atomic_load_n(&naps.count, __ATOMIC_RELAXED);
}

static struct live live;
static struct taker taker;
static uint64_t sent;

static void serve(const char *keys)
{
	live_network(&live);
	config_write("[source s]\nbackend = xdp\ninterface = inside\n"
		     "small_pages = yes\n%s[channel all]\nsource = s\n",
		     keys);
	naps.calls.fn = count_nap;
	naps.calls.numbers[naps.calls.count++] = SYS_clock_nanosleep;
	calls_start_broker(&naps.calls, &live.broker);
	cr_assert(wait_until(broker_answers, NULL, 20000));
	taker_open(&taker, "all", 0);
}

static void stop(void)
{
	taker_close(&taker);
	live_stop(&live);
	calls_end(&naps.calls);
}

/* Many are there at once: the lane was not there when they came. */
static void send_frames(uint64_t count)
{
	const struct traffic_frame frame = { .seq = sent };
	pid_t engine = broker_engine(&live.broker);

	if (count > 1)
		kill(engine, SIGSTOP);
	cr_assert_eq(traffic_send_like(live.traffic, &frame, count, 0), 0);
	if (count > 1)
		kill(engine, SIGCONT);
	sent += count;
	eventually(live_count().captured + live_count().drops >= sent);
	taker_take(&taker);
}

TestSuite(gathering, .timeout = 120);

Test(gathering,
     is_what_a_large_ring_of_af_xdp_allows_and_only_fast_traffic_makes)
{
	unsigned before;

	serve("rx_ring = 4096\n");
	before = naps_so_far();
	for (int i = 0; i < 200; i++)
		send_frames(1);
	cr_assert_eq(naps_so_far(), before);
	cr_assert_eq(taker.count, 200);
	for (int i = 0; i < 200 && naps_so_far() == before; i++)
		send_frames(300);
	cr_assert_gt(naps_so_far(), before);
	stop();
}

Test(gathering, is_not_for_a_lane_that_polls)
{
	unsigned before;

	serve("rx_ring = 4096\nbusy_poll = 50\n");
	before =
		naps_so_far(); /* the warden's, which has waited for a parser */
	for (int i = 0; i < 100; i++)
		send_frames(400); /* fewer than a quarter of the ring */
	cr_assert_eq(naps_so_far(), before);
	stop();
}
