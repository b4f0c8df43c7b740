/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Brokers that die, and captures that attach again: they go on, what they hold
 * stays, and the place where nobody knows what is missing is marked.
 */
#include "command.h"
#include "ledger.h"
#include "live.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UID 12345
#define PATIENCE_MS 20000

TestSuite(reattach, .timeout = 120);

static struct command c, dump;
static struct command daemons[2]; /* one after the other, on one socket */
static char socket_path[128];
static struct trace trace;

static bool has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fprintf(stderr, "there is no \"%s\" in:\n%s\n", part, text);
	return strstr(text, part) != NULL;
}

/* "trace", for ever, with these keys; nobody serves it yet. */
static void configure(const char *keys)
{
	if (!trace.packets) {
		trace_init(&trace, 1000, 1);
		cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
		snprintf(socket_path, sizeof(socket_path), "%s",
			 test_path("broker.sock"));
		setenv(NR_SOCKET_ENV, socket_path, 1);
	}
	config_write("[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 5000\nloop = yes\n"
		     "[channel trace]\nsource = trace\n%s",
		     test_path("trace.pcap"), keys);
}

static void daemon_start(struct command *daemon)
{
	command_start(daemon, geteuid(), "exec netringd --socket %s -c %s",
		      socket_path, test_path("broker.conf"));
	eventually(command_run(&c, "netring list") == 0);
}

static void daemon_end(struct command *daemon, int number)
{
	kill(daemon->pid, number);
	cr_assert_eq(command_wait(daemon),
		     number == SIGKILL ? 256 + SIGKILL : 0, "%s", daemon->err);
}

static pid_t engine_of(const struct command *daemon)
{
	const struct broker broker = { .pid = daemon->pid };

	return broker_engine(&broker);
}

static void serve(const char *keys)
{
	configure(keys);
	daemon_start(&daemons[0]);
}

/* Lines of packets that it has written, so far; or behind the last mark. */
static unsigned packets_dumped(void)
{
	command_look(&dump);
	return lines_of(dump.out, " IP");
}

static const char *behind_mark(void)
{
	const char *mark = NULL, *at = dump.out;

	while ((at = strstr(at, "-- attached again")))
		mark = at++;
	return mark ? mark : "";
}

static unsigned packets_behind_mark(void)
{
	command_look(&dump);
	return lines_of(behind_mark(), " IP");
}

/* Whether the broker has given its only capture so many. */
static bool has_delivered(unsigned long long count)
{
	return command_run(&c, "netring stat trace --json") == 0 &&
	       strstr(c.out, "\"delivered\"") &&
	       json_number_of(c.out, "delivered") >= count;
}

static void dump_start(const char *options)
{
	command_start(&dump, geteuid(), "exec netring dump trace %s", options);
	eventually(packets_dumped() > 0);
}

/* ------------------------------------------------------------- netring dump */

Test(reattach, dump_goes_on_when_the_engine_was_killed)
{
	serve("");
	dump_start("--reattach");
	kill(engine_of(&daemons[0]), SIGKILL);
	eventually(packets_behind_mark() > 1000);
	kill(dump.pid, SIGINT);
	cr_assert_eq(command_wait(&dump), 0, "%s", dump.err);
	cr_assert_eq(lines_of(dump.out, "-- attached again"), 1);
	cr_assert(has(dump.err, "the broker is gone: waiting"));
	cr_assert(has(dump.err, "attached again 1 times"));
	daemon_end(&daemons[0], SIGTERM);
}

Test(reattach, dump_goes_on_in_its_file_and_counts_all_of_it)
{
	const char *counts;

	serve("");
	command_start(&dump, geteuid(),
		      "exec netring dump trace --reattach "
		      "-w %s",
		      test_path("out.pcap"));
	eventually(has_delivered(1));
	kill(engine_of(&daemons[0]), SIGKILL);
	eventually((command_look(&dump), strstr(dump.err, "attached again")));
	eventually(has_delivered(1000));
	kill(dump.pid, SIGTERM);
	cr_assert_eq(command_wait(&dump), 0, "%s", dump.err);
	cr_assert_eq(command_run(&c, "tcpdump -nr %s", test_path("out.pcap")),
		     0, "%s", c.err);
	counts = strstr(dump.err, "may come twice\nnetring: ");
	cr_assert(counts, "%s", dump.err);
	cr_assert_eq(lines_of(c.out, NULL),
		     strtoul(counts + strlen("may come twice\nnetring: "), NULL,
			     10));
	daemon_end(&daemons[0], SIGTERM);
}

Test(reattach, dump_goes_on_with_another_broker_on_that_socket)
{
	serve("");
	dump_start("--reattach=20");
	daemon_end(&daemons[0], SIGKILL);
	eventually((command_look(&dump), strstr(dump.err, "waiting")));
	daemon_start(&daemons[1]);
	eventually(packets_behind_mark() > 1000);
	kill(dump.pid, SIGINT);
	cr_assert_eq(command_wait(&dump), 0, "%s", dump.err);
	daemon_end(&daemons[1], SIGTERM);
}

Test(reattach, dump_goes_on_when_the_broker_is_started_again)
{
	serve("");
	dump_start("--reattach");
	daemon_end(&daemons[0], SIGTERM);
	eventually((command_look(&dump), strstr(dump.err, "has ended: wait")));
	daemon_start(&daemons[1]);
	eventually(packets_behind_mark() > 1000);
	kill(dump.pid, SIGINT);
	cr_assert_eq(command_wait(&dump), 0, "%s", dump.err);
	daemon_end(&daemons[1], SIGTERM);
}

Test(reattach, dump_waits_no_longer_than_it_was_told)
{
	serve("");
	dump_start("--reattach=0.5");
	daemon_end(&daemons[0], SIGKILL);
	cr_assert_eq(command_wait(&dump), 1, "%s", dump.err);
	cr_assert(has(dump.err, "netring: the broker is gone\n"));
}

Test(reattach, dump_that_waits_can_be_interrupted)
{
	serve("");
	dump_start("--reattach");
	daemon_end(&daemons[0], SIGKILL);
	eventually((command_look(&dump), strstr(dump.err, "waiting")));
	kill(dump.pid, SIGINT);
	cr_assert_eq(command_wait(&dump), 0, "%s", dump.err);
	cr_assert(has(dump.err, " packets dumped"));
}

/* The next broker decides anew who may attach. */
Test(reattach, is_refused_to_who_may_not_any_more)
{
	need_root();
	serve("allow = everyone\n");
	command_start(&dump, UID, "exec netring dump trace --reattach");
	eventually(packets_dumped() > 0);
	daemon_end(&daemons[0], SIGKILL);
	configure("allow = user:root\n");
	daemon_start(&daemons[1]);
	cr_assert_eq(command_wait(&dump), 1, "%s", dump.err);
	cr_assert(has(dump.err, "may not attach"));
	daemon_end(&daemons[1], SIGTERM);
}

/* -------------------------------------------------------------- the library */

static struct nr_capture *attach(int reattach_ms)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	options.reattach_ms = reattach_ms;
	cr_assert_eq(nr_capture_open("trace", &options, &capture), 0);
	return capture;
}

static void take(struct nr_capture *capture, struct nr_batch *batch)
{
	int r = nr_capture_recv(capture, batch, PATIENCE_MS);

	cr_assert_eq(r, 1, "%s", nr_strerror(r));
}

/* Reads until it ends; returns why, and which number would have come next. */
static int read_out(struct nr_capture *capture, uint64_t *next)
{
	struct nr_batch batch;
	int r;

	while ((r = nr_capture_recv(capture, &batch, PATIENCE_MS)) > 0) {
		*next = batch.seq + batch.count;
		nr_batch_release(&batch);
	}
	return r;
}

/* As written to the trace; the first packet is a multiple of its length. */
static bool bytes_are_right(const struct nr_batch *batch, uint64_t number)
{
	static struct trace_packet must;

	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *r = nr_batch_record(batch, i);

		trace_packet(&trace, (uint32_t)((number + i) % trace.packets),
			     &must);
		if (r->caplen != must.caplen ||
		    memcmp(nr_batch_data(batch, r), must.data, must.caplen))
			return false;
	}
	return true;
}

Test(reattach, keeps_what_is_held_and_goes_on_counting)
{
	struct nr_stats stats = NR_STATS_INIT;
	struct nr_capture *capture;
	struct nr_batch held, batch;
	uint64_t next, delivered;
	int fd;

	serve("");
	capture = attach(0);
	fd = nr_capture_fd(capture);
	take(capture, &held);
	cr_assert_eq(held.seq, 0);
	next = held.count;
	kill(engine_of(&daemons[0]), SIGKILL);
	cr_assert_eq(read_out(capture, &next), -EPIPE);
	cr_assert_eq(nr_capture_stats(capture, &stats), 0);
	delivered = stats.delivered;
	cr_assert_eq(nr_capture_reattach(capture, PATIENCE_MS), 0);
	cr_assert_eq(nr_capture_fd(capture), fd);
	take(capture, &batch);
	cr_assert(batch.flags & NR_BATCH_REATTACHED);
	cr_assert_eq(batch.seq, next + batch.gap);
	/* The next engine plays the file from its beginning. */
	cr_assert(bytes_are_right(&batch, 0));
	cr_assert(bytes_are_right(&held, 0));
	next = batch.seq + batch.count;
	nr_batch_release(&batch);
	nr_batch_release(&held);
	take(capture, &batch);
	cr_assert_not(batch.flags & NR_BATCH_REATTACHED);
	cr_assert_eq(batch.seq, next);
	nr_batch_release(&batch);
	cr_assert_eq(nr_capture_stats(capture, &stats), 0);
	cr_assert_gt(stats.delivered, delivered);
	nr_capture_close(capture);
	daemon_end(&daemons[0], SIGTERM);
}

/* The broker lives: what is held is leased until it is released. */
Test(reattach, after_a_reload_keeps_what_is_held)
{
	struct nr_capture *capture;
	struct nr_batch held, batch;
	uint64_t next = 0;

	need_root();
	serve("filter = ip or ip6\n");
	capture = attach(0);
	take(capture, &held);
	configure("snaplen = 100\n");
	command_reload();
	cr_assert_eq(read_out(capture, &next), -ESTALE);
	cr_assert_eq(nr_capture_reattach(capture, 0), 0);
	for (unsigned i = 0; i < 100; i++) {
		take(capture, &batch);
		cr_assert_eq(!!(batch.flags & NR_BATCH_REATTACHED), i == 0);
		cr_assert_leq(nr_batch_record(&batch, 0)->caplen, 100);
		nr_batch_release(&batch);
	}
	cr_assert(bytes_are_right(&held, held.seq));
	nr_batch_release(&held);
	nr_capture_close(capture);
	daemon_end(&daemons[0], SIGTERM);
}

Test(reattach, is_for_what_has_ended)
{
	struct nr_capture *capture;
	uint64_t next;

	serve("");
	capture = attach(0);
	cr_assert_eq(nr_capture_reattach(capture, 0), -EINVAL);
	daemon_end(&daemons[0], SIGKILL);
	cr_assert_eq(read_out(capture, &next), -EPIPE);
	/* It fails, and the capture is what it was. */
	cr_assert_eq(nr_capture_reattach(capture, 0), -EPIPE);
	cr_assert_eq(nr_capture_reattach(capture, 100), -EPIPE);
	cr_assert_eq(read_out(capture, &next), -EPIPE);
	daemon_start(&daemons[1]);
	cr_assert_eq(nr_capture_reattach(capture, 0), 0);
	nr_capture_close(capture);
	daemon_end(&daemons[1], SIGTERM);
}

static int inherit(void *spec)
{
	struct nr_capture *capture;
	uint64_t next;

	if (nr_capture_open_inherited(spec, &capture) ||
	    read_out(capture, &next) != -EPIPE ||
	    nr_capture_reattach(capture, 0) != -EINVAL)
		return 1;
	nr_capture_close(capture);
	return 0;
}

Test(reattach, is_not_for_who_has_inherited)
{
	struct nr_capture *capture;
	char spec[NR_SPEC_MAX];
	pid_t heir;

	serve("");
	capture = attach(0);
	cr_assert_eq(nr_capture_export(capture, spec, sizeof(spec)), 0);
	heir = child_start(0, inherit, spec);
	nr_capture_close(capture);
	daemon_end(&daemons[0], SIGKILL);
	cr_assert_eq(child_wait(heir), 0);
}

static int count_batch(struct nr_batch *batch, void *data)
{
	uint32_t *count = data;

	__atomic_fetch_add(count, batch->count, __ATOMIC_RELAXED);
	return 0;
}

static uint32_t looped;

static void *run_loop(void *capture)
{
	return (void *)(intptr_t)nr_capture_loop(capture, count_batch, &looped);
}

Test(reattach, of_the_loop_ends_when_it_is_told_to_break)
{
	struct nr_capture *capture;
	pthread_t thread;
	void *result;

	serve("");
	capture = attach(-1);
	cr_assert_eq(pthread_create(&thread, NULL, run_loop, capture), 0);
	eventually(__atomic_load_n(&looped, __ATOMIC_RELAXED) > 0);
	daemon_end(&daemons[0], SIGKILL);
	/* Nobody can see that it waits; broken earlier, it ends as well. */
	sleep_ms(300);
	nr_capture_break(capture);
	pthread_join(thread, &result);
	cr_assert_eq((intptr_t)result, 0);
	nr_capture_close(capture);
}

/* -------------------------------------------------------------------- live */

static struct live live;

struct watched {
	uint64_t packets;  /* since the last mark */
	uint64_t last;	   /* number of the frame before */
	uint64_t next_seq; /* that the batch should have */
	unsigned marks;
	unsigned jumps; /* where no mark was */
};

/* The engine dies twice; the third time enough has come it ends. */
static int watch(struct nr_batch *batch, void *data)
{
	struct watched *watched = data;

	if (batch->flags & NR_BATCH_REATTACHED) {
		watched->marks++;
		watched->packets = 0;
	}
	if (batch->seq != watched->next_seq + batch->gap)
		watched->jumps++;
	watched->next_seq = batch->seq + batch->count;
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *r = nr_batch_record(batch, i);
		uint64_t number;

		if (!traffic_seq(nr_batch_data(batch, r), r->caplen, &number))
			return -EBADMSG;
		if (watched->packets++ && number != watched->last + 1)
			watched->jumps++;
		watched->last = number;
	}
	if (watched->packets < 2000)
		return 0;
	if (watched->marks == 2)
		return 1;
	kill(broker_engine(&live.broker), SIGKILL);
	return 0;
}

/* Between two marks each frame comes, once and in order; at one, who knows. */
Test(reattach, of_the_loop_goes_on_with_live_traffic)
{
	struct stream_of_frames frames = { .interface = "outside",
					   .describe = traffic_mix,
					   .rate = 5000,
					   .cpu = -1 };
	struct watched watched = { 0 };
	struct nr_capture *capture;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;

	live_network(&live);
	live_broker(&live, "[source s]\ninterface = inside\n"
			   "[channel all]\nsource = s\n");
	options.reattach_ms = PATIENCE_MS;
	cr_assert_eq(nr_capture_open("all", &options, &capture), 0);
	frames_start(&frames);
	cr_assert_eq(nr_capture_loop(capture, watch, &watched), 1);
	cr_assert_eq(watched.marks, 2);
	cr_assert_eq(watched.jumps, 0);
	nr_capture_close(capture);
	frames_stop(&frames);
	live_stop(&live);
}
