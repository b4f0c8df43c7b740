/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a sensor may be left with: after the attach, ppoll, recv, munmap and
 * close are all that reading to the end and leaving needs. Any other call kills
 * the reader.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <seccomp.h>
#include <unistd.h>

#include "support.h"
#include "trace.h"

#define PACKETS 5000u

static const int calls[] = {
	SCMP_SYS(ppoll),
	SCMP_SYS(recvfrom),
	SCMP_SYS(munmap),
	SCMP_SYS(close),
	SCMP_SYS(exit_group),
	SCMP_SYS(brk), /* libc's free() gives memory back */
#ifdef __SANITIZE_ADDRESS__
	SCMP_SYS(mmap),
	SCMP_SYS(madvise),
	SCMP_SYS(futex),
	SCMP_SYS(write),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(getpid),
#endif
};

static bool lock_in(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err = filter ? 0 : -ENOMEM;

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls) && !err; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	if (!err)
		err = seccomp_load(filter);
	return err == 0;
}

/* 0, or which step went wrong. */
static int read_in_jail(void *data)
{
	struct nr_stats stats = NR_STATS_INIT;
	struct nr_capture *capture;
	struct nr_batch batch;
	uint64_t count = 0;
	int r;

	(void)data;
	if (nr_capture_open("trace", NULL, &capture))
		return 1;
	if (!lock_in())
		return 2;
	while ((r = nr_capture_recv(capture, &batch, 10000)) > 0) {
		count += batch.count;
		nr_batch_release(&batch);
	}
	if (r != -ENODATA || count != PACKETS)
		return 3;
	if (nr_capture_stats(capture, &stats) || stats.delivered != PACKETS)
		return 4;
	nr_capture_close(capture);
	return 0;
}

Test(jail, is_no_hindrance_to_reading_sleeping_and_leaving, .timeout = 60)
{
	struct broker broker;
	struct trace trace;

	need_root();
	trace_init(&trace, PACKETS, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	/* Slow enough that the reader sleeps most of the time. */
	broker_start(&broker, NULL,
		     "[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 5000\n[channel trace]\nsource = trace\n"
		     "allow = everyone\n",
		     test_path("trace.pcap"));
	cr_assert_eq(child_wait(child_start(12345, read_in_jail, NULL)), 0);
	broker_stop(&broker);
}
