/* SPDX-License-Identifier: BSD-2-Clause */
/* netring, as a user types it. */
#include "command.h"
#include "support.h"
#include "trace.h"

#include <criterion/criterion.h>

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define UID 12345
#define FOREVER "rate = 5000\nloop = yes\n"

static struct broker broker;
static struct command c, reader;
static struct trace trace;
static char trace_path[128];

static void make_trace(uint32_t packets)
{
	snprintf(trace_path, sizeof(trace_path), "%s/trace.pcap", test_dir());
	trace_init(&trace, packets, 1);
	trace.is_nano = true;
	cr_assert_eq(trace_write(&trace, trace_path), 0);
}

/*
 * The channels on a trace of 1000 packets: "trace" is everyone's, and so is
 * "udp" with a filter; "closed" is for the one who runs the broker.
 */
static void serve(const char *keys)
{
	make_trace(1000);
	broker_start(&broker, NULL,
		     "[source trace]\nbackend = replay\nfile = %s\n%s"
		     "[channel trace]\nsource = trace\nallow = everyone\n"
		     "[channel udp]\nsource = trace\nallow = everyone\n"
		     "filter = udp\n"
		     "[channel closed]\nsource = trace\nallow = user:54321\n",
		     trace_path, keys);
}

static bool has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fprintf(stderr, "there is no \"%s\" in:\n%s\n", part, text);
	return strstr(text, part) != NULL;
}

/* Whether a capture of @channel is attached; for eventually(). */
static bool is_attached(const char *channel)
{
	static struct broker_stat stat;

	broker_read_stat(&stat, channel);
	return stat.captures > 0;
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : st.st_size;
}

/* --------------------------------------------------------------- list, stat */

Test(tool, list_shows_each_channel_that_the_user_may_attach_to)
{
	need_root();
	serve("");
	cr_assert_eq(command_run(&c, "netring list"), 0);
	cr_assert_eq(lines_of(c.out, NULL), 4, "%s", c.out);
	cr_assert(has(c.out, "\nclosed "));
	command_start(&c, UID, "exec netring list");
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	cr_assert_eq(lines_of(c.out, NULL), 3, "%s", c.out);
	cr_assert(has(c.out, "\nudp "));
	cr_assert_not(strstr(c.out, "closed"));
	cr_assert_eq(command_run(&c, "netring list --json"), 0);
	cr_assert(json_is_valid(c.out), "%s", c.out);
	cr_assert(has(c.out, "\"filter\": \"udp\""));
	broker_stop(&broker);
}

Test(tool, stat_shows_source_channels_and_captures)
{
	serve(FOREVER);
	command_start(&reader, geteuid(), "exec netring dump trace");
	eventually(is_attached("trace"));
	cr_assert_eq(command_run(&c, "netring stat"), 0);
	cr_assert(has(c.out, "running"));
	cr_assert(has(c.out, "\nclosed "));
	cr_assert_eq(command_run(&c, "netring stat trace"), 0);
	cr_assert_not(strstr(c.out, "closed"));
	cr_assert_eq(command_run(&c, "netring stat --captures"), 0);
	cr_assert_eq(lines_of(c.out, NULL), 2, "%s", c.out);
	kill(reader.pid, SIGTERM);
	cr_assert_eq(command_wait(&reader), 0, "%s", reader.err);
	broker_stop(&broker);
}

Test(tool, stat_as_json_is_one_document_with_exact_numbers)
{
	serve("");
	cr_assert_eq(command_run(&c, "netring dump udp"), 0);
	cr_assert_eq(command_run(&c, "netring stat --json"), 0);
	cr_assert(json_is_valid(c.out), "%s", c.out);
	cr_assert_eq(json_number_of(c.out, "captured"), 1000);
	cr_assert_eq(json_number_of(c.out, "kernel_drops"), 0);
	cr_assert(has(c.out, "\"state\": \"over\""));
	cr_assert(has(c.out, "\"captures\": []"));
	broker_stop(&broker);
}

Test(tool, stat_counts_the_bytes_of_a_capture)
{
	static struct command stat;

	serve(FOREVER);
	command_start(&reader, geteuid(), "exec netring dump trace");
	eventually(is_attached("trace"));
	eventually(command_run(&stat, "netring stat trace --json") == 0 &&
		   json_number_of(stat.out, "delivered") > 0);
	cr_assert(json_is_valid(stat.out), "%s", stat.out);
	cr_assert_geq(json_number_of(stat.out, "delivered_bytes"),
		      64 * json_number_of(stat.out, "delivered"));
	cr_assert_leq(json_number_of(stat.out, "delivered_bytes"),
		      1514 * json_number_of(stat.out, "delivered"));
	broker_stop(&broker);
	cr_assert_eq(command_wait(&reader), 0, "%s", reader.err);
}

Test(tool, stat_watches_for_as_long_as_it_is_told)
{
	serve(FOREVER);
	command_start(&reader, geteuid(), "exec netring dump trace");
	eventually(is_attached("trace"));
	cr_assert_eq(command_run(&c, "netring stat --captures --watch=0.1 "
				     "--for 0.35"),
		     0);
	/* at 0, 0.1, 0.2, 0.3 and 0.4 s, if the machine is not busy */
	cr_assert_geq(lines_of(c.out, "Mbit/s"), 2, "%s", c.out);
	cr_assert_leq(lines_of(c.out, "Mbit/s"), 5, "%s", c.out);
	cr_assert_eq(lines_of(c.out, "trace "), lines_of(c.out, "Mbit/s"));
	cr_assert_eq(command_run(&c, "netring stat --json --watch=0.1 "
				     "--for 0.1 | head -n 1"),
		     0);
	cr_assert(json_is_valid(c.out), "%s", c.out);
	broker_stop(&broker);
	cr_assert_eq(command_wait(&reader), 0, "%s", reader.err);
}

Test(tool, stat_watches_until_interrupted_and_that_is_no_failure)
{
	serve("");
	command_start(&c, geteuid(), "exec netring stat --watch=0.1");
	eventually((command_look(&c), lines_of(c.out, "captured") >= 2));
	kill(c.pid, SIGINT);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	broker_stop(&broker);
}

/* --------------------------------------------------------------------- dump */

Test(tool, dump_writes_a_line_a_packet_and_ends_with_the_file)
{
	serve("");
	cr_assert_eq(command_run(&c, "netring dump trace"), 0, "%s", c.err);
	cr_assert_eq(lines_of(c.out, NULL), 1000);
	cr_assert_eq(lines_of(c.out, " IP"), 1000);
	cr_assert_str_eq(c.err,
			 "netring: 1000 packets dumped, 1000 delivered, "
			 "0 filtered by the channel, 0 lost, of 1000 seen\n");
	broker_stop(&broker);
}

Test(tool, dump_writes_the_file_again_that_was_replayed)
{
	const char *copy = test_path("copy.pcap");

	serve("");
	cr_assert_eq(command_run(&c, "netring dump trace -q -w %s", copy), 0,
		     "%d: %s", c.status, c.err);
	cr_assert_str_eq(c.err, "");
	/* Their headers may differ in the snap length. */
	cr_assert_eq(command_run(&c, "cmp -i 24 %s %s", trace_path, copy), 0,
		     "%s", c.out);
	cr_assert_eq(command_run(&c, "cmp -n 16 %s %s", trace_path, copy), 0,
		     "%s", c.out);
	broker_stop(&broker);
}

Test(tool, dump_to_a_pipe_is_what_tcpdump_reads)
{
	serve("wait = 2\n");
	command_start(&reader, geteuid(),
		      "netring dump trace -w - | tcpdump -nr -");
	command_start(&c, geteuid(),
		      "netring dump trace -w - tcp | tcpdump -nr - tcp");
	cr_assert_eq(command_wait(&reader), 0, "%s", reader.err);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	cr_assert_eq(lines_of(reader.out, NULL), 1000);
	cr_assert(has(c.err, "1000 delivered"));
	cr_assert_eq(command_run(&reader, "tcpdump -nr - tcp <%s", trace_path),
		     0, "%s", reader.err);
	cr_assert_str_eq(c.out, reader.out, "a filter chose others");
	broker_stop(&broker);
}

Test(tool, dump_stops_after_as_many_packets_as_are_asked_for)
{
	serve(FOREVER);
	cr_assert_eq(command_run(&c, "netring dump trace -c 3"), 0);
	cr_assert_eq(lines_of(c.out, NULL), 3);
	cr_assert(has(c.err, "netring: 3 packets dumped"));
	cr_assert_eq(command_run(&c, "netring dump trace -c 5 -w - udp | "
				     "tcpdump -nr -"),
		     0);
	cr_assert_eq(lines_of(c.out, NULL), 5, "%s", c.out);
	broker_stop(&broker);
}

Test(tool, dump_ends_in_silence_when_its_reader_has_left)
{
	serve(FOREVER);
	cr_assert_eq(command_run(&c, "{ netring dump trace -q; echo $? >&2; } "
				     "| head -n 1"),
		     0);
	cr_assert_str_eq(c.err, "0\n");
	broker_stop(&broker);
}

/* The number in front of " packets dumped". */
static unsigned dumped(const struct command *command)
{
	unsigned count;

	cr_assert_eq(sscanf(command->err, "netring: %u packets dumped,",
			    &count),
		     1, "%s", command->err);
	return count;
}

static void check_interrupted(int number)
{
	char *path = strdup(test_path("live.pcap"));

	serve(FOREVER);
	command_start(&reader, geteuid(), "exec netring dump trace -w %s",
		      path);
	eventually(size_of(path) > 100000);
	kill(reader.pid, number);
	cr_assert_eq(command_wait(&reader), 0, "%s", reader.err);
	cr_assert_eq(command_run(&c, "tcpdump -nr %s", path), 0, "%s", c.err);
	cr_assert_not(strstr(c.err, "truncated"), "%s", c.err);
	cr_assert_eq(lines_of(c.out, NULL), dumped(&reader));
	free(path);
	broker_stop(&broker);
}

Test(tool, dump_interrupted_leaves_a_whole_file_and_tells_its_counts)
{
	check_interrupted(SIGINT);
}

Test(tool, dump_terminated_leaves_a_whole_file_and_tells_its_counts)
{
	check_interrupted(SIGTERM);
}

Test(tool, dump_to_a_full_disk_leaves_whole_packets_and_fails)
{
	char *dir = strdup(test_path("small"));

	need_root();
	serve("");
	cr_assert(unshare(CLONE_NEWNS) == 0 &&
		  mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		  mkdir(dir, 0755) == 0 &&
		  mount("small", dir, "tmpfs", 0, "size=64k") == 0);
	cr_assert_eq(command_run(&reader, "netring dump trace -w %s/x", dir),
		     1);
	cr_assert(has(reader.err, "No space left on device"));
	cr_assert_eq(command_run(&c, "tcpdump -nr %s/x", dir), 0, "%s", c.err);
	cr_assert_not(strstr(c.err, "truncated"), "%s", c.err);
	cr_assert_gt(lines_of(c.out, NULL), 10);
	cr_assert(has(reader.err, "packets dumped"));
	cr_assert_eq(lines_of(c.out, NULL),
		     (unsigned)atoi(strstr(reader.err, "device\nnetring: ") +
				    strlen("device\nnetring: ")));
	free(dir);
	broker_stop(&broker);
}

Test(tool, dump_of_a_broker_that_ends_in_good_order_succeeds)
{
	serve(FOREVER);
	command_start(&reader, geteuid(), "exec netring dump trace");
	eventually(is_attached("trace"));
	broker_stop(&broker);
	cr_assert_eq(command_wait(&reader), 0, "%s", reader.err);
	cr_assert(has(reader.err, "the broker has ended"));
}

Test(tool, dump_of_a_broker_that_dies_fails_and_keeps_what_it_read)
{
	serve(FOREVER);
	command_start(&reader, geteuid(), "exec netring dump trace");
	eventually((command_look(&reader), lines_of(reader.out, NULL) > 0));
	kill(broker_engine(&broker), SIGKILL);
	cr_assert_eq(command_wait(&reader), 1, "%s", reader.err);
	cr_assert(has(reader.err, "the broker is gone"));
	cr_assert_eq(lines_of(reader.out, NULL),
		     (unsigned)atoi(strstr(reader.err, "gone\nnetring: ") +
				    strlen("gone\nnetring: ")));
	eventually(broker_said_times(&broker, "serving") == 2);
	broker_stop(&broker);
}

/* -------------------------------------------------------------- exit status */

Test(tool, no_broker_is_status_3)
{
	static const char *const verbs[] = { "list", "stat", "dump x",
					     "list --json", "stat --json" };

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		cr_assert_eq(command_run(&c, "netring --socket %s %s",
					 test_path("none"), verbs[i]),
			     3);
		cr_assert(has(c.err, "there is no broker on that socket"));
		cr_assert_str_eq(c.out, "");
	}
}

Test(tool, an_unknown_channel_is_status_4_and_lists_what_there_is)
{
	static const char *const verbs[] = { "stat", "dump" };

	serve("");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		cr_assert_eq(command_run(&c, "netring %s trance", verbs[i]), 4);
		cr_assert(has(c.err, "'trance'"));
		cr_assert(has(c.err, "trace, udp, closed"));
	}
	cr_assert_eq(command_run(&c, "netring dump trace --lane 7"), 4);
	broker_stop(&broker);
}

Test(tool, not_allowed_is_status_5_and_names_channel_and_user)
{
	need_root();
	serve("");
	command_start(&c, UID, "exec netring dump closed");
	cr_assert_eq(command_wait(&c), 5, "%s", c.err);
	cr_assert(has(c.err, "'closed'"));
	cr_assert(has(c.err, "user 12345"));
	command_start(&c, UID, "exec netring stat closed");
	cr_assert_eq(command_wait(&c), 5, "%s", c.err);
	broker_stop(&broker);
}

Test(tool, a_full_channel_is_status_6_and_says_what_is_taken)
{
	struct nr_capture *capture[64];
	unsigned count = 0;

	make_trace(10);
	broker_start(&broker, NULL,
		     "[source s]\nbackend = replay\nfile = %s\nwait = 1000\n"
		     "[channel small]\nsource = s\narena = 4M\n"
		     "block_size = 512K\n",
		     trace_path);
	while (count < 64 &&
	       nr_capture_open("small", NULL, &capture[count]) == 0)
		count++;
	cr_assert(count > 0 && count < 64);
	cr_assert_eq(command_run(&c, "netring dump small"), 6, "%s", c.err);
	cr_assert(has(c.err, "blocks"));
	/* What never was attached is not detached. */
	eventually(broker_said(&broker, "close uid 0"));
	cr_assert_not(broker_said(&broker, "detach uid 0"));
	while (count)
		nr_capture_close(capture[--count]);
	broker_stop(&broker);
}

Test(tool, wrong_usage_is_status_2_and_says_what_is_right)
{
	static const struct {
		const char *arguments, *words;
	} wrong[] = {
		{ "", "a verb is missing" },
		{ "look", "there are list, stat, dump, run and reload" },
		{ "--frobnicate", "--help" },
		{ "list x", "list takes no argument" },
		{ "stat a b", "one channel" },
		{ "stat --watch=0", "from 0.1" },
		{ "stat --for", "--help" },
		{ "stat --for x", "seconds" },
		{ "stat --json --captures", "--captures" },
		{ "dump", "which channel?" },
		{ "dump trace -c 0", "from 1" },
		{ "dump trace -c 3x", "number" },
		{ "dump trace --leases 257", "from 1 to 256" },
		{ "dump trace 'no such filter'", "filter:" },
	};

	serve("");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cr_assert_eq(command_run(&c, "netring %s", wrong[i].arguments),
			     2, "netring %s: %d", wrong[i].arguments, c.status);
		cr_assert(has(c.err, wrong[i].words));
		cr_assert_str_eq(c.out, "");
	}
	broker_stop(&broker);
}

Test(tool, output_that_cannot_be_written_is_status_1)
{
	static const char *const verbs[] = { "list",
					     "stat",
					     "stat --json",
					     "dump trace",
					     "dump trace -w -",
					     "--help",
					     "--version" };

	serve("");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		cr_assert_eq(command_run(&c, "netring %s >/dev/full", verbs[i]),
			     1, "%s: %d, %s", verbs[i], c.status, c.err);
		cr_assert(has(c.err, "No space left"));
	}
	cr_assert_eq(command_run(&c, "netring dump trace -w /nonesuch/x"), 1);
	cr_assert(has(c.err, "/nonesuch/x: No such file"));
	broker_stop(&broker);
}

Test(tool, every_program_tells_its_version_and_explains_itself)
{
	static const char *const programs[] = {
		"netring",	   "netring list", "netring stat",
		"netring dump",	   "netring run",  "netringd",
		"netring-traffic",
	};

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		cr_assert_eq(command_run(&c, "%s --help", programs[i]), 0);
		cr_assert(has(c.out, programs[i]));
		cr_assert(has(c.out, "sage: "));
		cr_assert_str_eq(c.err, "");
	}
	cr_assert_eq(command_run(&c, "netring --version"), 0);
	cr_assert_str_eq(c.out, "netring " NR_VERSION_STRING "\n");
	cr_assert_eq(command_run(&c, "netringd --version"), 0);
	cr_assert_str_eq(c.out, "netringd " NR_VERSION_STRING "\n");
}
