/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attacks on a lane's time and on its blocks: what is done to pages that it
 * writes, what it finds in return pages, how what was lent is held.
 */
#include "attacks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netring/ring.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* -------------------------------------------------------------------- pages */

static void advise_all(const struct lane *lane, int advice)
{
	madvise((void *)(uintptr_t)lane->arena, lane->arena_size, advice);
	madvise(lane->ring_map, lane->ring_map_size, advice);
}

/* Whatever of it exists; what it returns is its own affair. */
int move_pages_about(struct play *play)
{
	static const int advices[] = { MADV_COLLAPSE, MADV_PAGEOUT,
				       MADV_COLD,     MADV_NOHUGEPAGE,
				       MADV_HUGEPAGE, MADV_DONTNEED,
				       MADV_WILLNEED, MADV_MERGEABLE,
				       MADV_RANDOM };
	struct nr_capture *capture;
	const struct lane *lane;
	void *whole;

	must_attach(capture, play);
	be_of_low_priority();
	lane = &capture->lanes[0];
	/* The ring's file is longer than the slice: huge pages need it all. */
	whole = mmap(NULL, (size_t)2 << 20, PROT_READ, MAP_SHARED,
		     lane->ring_fd, 0);
	while (goes_on(play))
		for (size_t i = 0; i < sizeof(advices) / sizeof(*advices);
		     i++) {
			advise_all(lane, advices[i]);
			madvise(whole, (size_t)2 << 20, advices[i]);
			(void)!mlock(lane->arena, NR_PAGE * 16);
			munlock(lane->arena, NR_PAGE * 16);
			/* Split what is mapped huge. */
			mprotect((void *)(uintptr_t)(lane->arena + NR_PAGE),
				 NR_PAGE, PROT_NONE);
			mprotect((void *)(uintptr_t)(lane->arena + NR_PAGE),
				 NR_PAGE, PROT_READ);
		}
	return 0;
}

int burn_cpu(struct play *play)
{
	struct nr_capture *capture;

	must_attach(capture, play);
	be_of_low_priority();
	while (goes_on(play))
		getppid();
	return 0;
}

/* ----------------------------------------------------------------- releases */

static uint64_t lease_of(const struct nr_capture *capture,
			 const struct nr_batch *batch)
{
	return capture->lanes[0].held[batch->lease_slot].lease;
}

/* Reads until it holds @count blocks, or there are no more; how many it has. */
static int hold(struct nr_capture *capture, struct nr_batch *held, int count)
{
	int n = 0;

	while (n < count && nr_capture_recv(capture, &held[n], 2000) == 1)
		if (n && lease_of(capture, &held[n]) ==
				 lease_of(capture, &held[n - 1]))
			nr_batch_release(&held[n]);
		else
			n++;
	return n;
}

/* Each gets a capture with two leases held besides the open one. */
static void forge(struct nr_capture *capture, struct nr_batch *held, int number)
{
	struct lane *lane = &capture->lanes[0];
	struct nr_return *page = lane->page;
	uint64_t first = lease_of(capture, &held[0]);
	uint64_t second = lease_of(capture, &held[1]);

	switch (number) {
	case 0: /* forged */
		nr_return_give(page, lane->given, 0xdead0007);
		break;
	case 1: /* beyond the table */
		nr_return_give(page, lane->given, first | 0xffff);
		break;
	case 2: /* doubled */
		nr_return_give(page, lane->given, first);
		nr_return_give(page, lane->given + 1, first);
		break;
	case 3: /* of an older generation */
		nr_return_give(page, lane->given, second - (1 << 16));
		break;
	case 4: /* flooded */
		for (uint64_t i = 0; i < 1000; i++)
			nr_return_give(page, lane->given + i, first);
		break;
	case 5: /* a head far off */
		__atomic_store_n(&page->head, UINT64_MAX / 2, __ATOMIC_RELEASE);
		break;
	case 6: /* a head that goes back */
		__atomic_store_n(&page->head, lane->given - 1,
				 __ATOMIC_RELEASE);
		break;
	default: /* all of the page */
		for (size_t i = 0; i < sizeof(*page) / 8; i++)
			__atomic_store_n((uint64_t *)page + i,
					 (i + 1) * 0x10001, __ATOMIC_RELAXED);
	}
}

#define FORGERIES 8

/* The channel goes on; what has ended counts no further, and adds up. */
static int adds_up_at_its_end(struct nr_capture *capture)
{
	struct nr_stats stats = { .size = sizeof(stats) };

	sleep_ms(20);
	must(nr_capture_stats(capture, &stats) == 0);
	must(!stats.counts_shown || stats.seen > 0);
	must(!stats.counts_shown ||
	     stats.seen == stats.delivered + nr_stats_lost(&stats));
	return 0;
}

/* A reload may have come first, and some time is up first. */
static int is_evicted(struct nr_capture *capture, struct play *play)
{
	struct nr_batch batch;
	int r;

	while ((r = nr_capture_recv(capture, &batch, 5000)) == 1)
		continue; /* gives nothing back any more */
	must(r == -EPROTO || r == -EPIPE ||
	     (play->has_company && r == -ESTALE));
	__atomic_add_fetch(&play->offences, r == -EPROTO, __ATOMIC_RELAXED);
	return adds_up_at_its_end(capture);
}

int forge_releases(struct play *play)
{
	struct nr_batch held[2];

	for (uint64_t i = 0; i < FORGERIES && (i == 0 || goes_on(play)); i++) {
		struct nr_capture *capture;
		uint64_t number = (play->seed + i) % FORGERIES;

		must_attach(capture, play);
		if (hold(capture, held, 2) < 2 && play->has_company)
			return ATTACK_REFUSED;
		forge(capture, held, (int)number);
		must(is_evicted(capture, play) == 0);
		nr_capture_close(capture);
	}
	return 0;
}

int release_in_any_order(struct play *play)
{
	struct nr_capture *capture;
	struct nr_batch held[12];
	unsigned seed = (unsigned)play->seed + 1;

	must_attach(capture, play);
	for (int round = 0; round < 4 && goes_on(play); round++) {
		int n = hold(capture, held, 12);

		must(n == 12 || play->has_company);
		while (n) {
			int i = rand_r(&seed) % n;

			nr_batch_release(&held[i]);
			held[i] = held[--n];
		}
	}
	nr_capture_close(capture);
	return 0;
}

/* Stops with all it can have; is killed then. */
int hold_everything(struct play *play)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	static struct nr_batch held[256];
	struct nr_capture *capture;

	options.leases = 256;
	if (nr_capture_open(play->channel, &options, &capture))
		return ATTACK_REFUSED;
	__atomic_store_n(&play->has, hold(capture, held, 256),
			 __ATOMIC_RELEASE);
	raise(SIGSTOP);
	return 1;
}
