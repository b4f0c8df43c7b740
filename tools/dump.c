/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netring dump: the packets of a channel, as text or as a pcap file. Output is
 * buffered while there are packets to read, and written out as soon as there
 * are none, so that a file costs few calls and a pipe is live.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pcap/pcap.h>

#include "match.h"
#include "packet_line.h"
#include "savefile.h"
#include "verbs.h"

#define LINK_ETHERNET 1
#define TEXT_BUFFER (1u << 20)

struct values {
	uint64_t count;
	const char *write;
	bool quiet;
	uint64_t lane; /* LANE_ALL: all */
	uint64_t wait_ms;
	uint64_t leases;
	uint64_t budget;
	const char *group;
	bool follow;
	uint64_t reattach_ms; /* OPTION_NOT_GIVEN, OPTION_FOR_EVER */
};

#define LANE_ALL UINT64_MAX
#define AT(field) offsetof(struct values, field)

static const struct option_spec options[] = {
	{ "count", 'c', OPTION_NUMBER, AT(count), 1, UINT64_MAX, "N",
	  "stop after N packets" },
	{ "write", 'w', OPTION_STRING, AT(write), 0, 0, "FILE",
	  "write a pcap file with nanoseconds; -: to stdout" },
	{ "quiet", 'q', OPTION_FLAG, AT(quiet), 0, 0, NULL,
	  "no counts and notes on stderr, only errors" },
	{ "lane", 0, OPTION_NUMBER, AT(lane), 0, NR_LANES_MAX - 1, "N",
	  "read this lane only; default all" },
	{ "wait", 0, OPTION_SECONDS, AT(wait_ms), 0, 86400000, "SECONDS",
	  "wait for broker and channel to appear" },
	{ "leases", 0, OPTION_NUMBER, AT(leases), 1, NR_LEASES_MAX, "N",
	  "blocks held at once on a lane; default 64" },
	{ "budget", 0, OPTION_NUMBER, AT(budget), 1, NR_LEASES_MAX, "N",
	  "of these beyond the guarantee; default all" },
	{ "group", 0, OPTION_STRING, AT(group), 0, 0, "NAME",
	  "share the packets with others of this user and group" },
	{ "follow", 0, OPTION_FLAG, AT(follow), 0, 0, NULL,
	  "go on when the channel is changed by a reload" },
	{ "reattach", 0, OPTION_LIMIT, AT(reattach_ms), 0, 86400000, "SECONDS",
	  "attach again when the broker has gone; default for ever" },
	{ 0 },
};

struct dump {
	struct values values;
	const char *socket;
	const char *channel;
	char *filter; /* NULL: everything */

	struct nr_capture *capture;
	struct match *match;
	struct savefile file; /* with --write */
	uint16_t link_type;   /* of match and file */
	bool has_packets;     /* the link type is that of packets */
	uint64_t dumped;
	uint64_t gaps;
	uint64_t lost_in_gaps;
	uint64_t reattached;

	bool is_over;
	enum status status; /* when it is */
};

/* What the signal handler may touch. */
static struct nr_capture *volatile running;
static volatile sig_atomic_t is_interrupted;

static void interrupt(int number)
{
	(void)number;
	is_interrupted = 1;
	nr_capture_break(running);
}

/* The second signal finds the default action, should the output be stuck. */
static void interrupt_arm(struct nr_capture *capture)
{
	struct sigaction action = {
		.sa_handler = interrupt,
		.sa_flags = (int)(SA_RESTART | SA_RESETHAND),
	};

	running = capture;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static void interrupt_disarm(void)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	running = NULL;
}

/* The first failure counts. */
static void dump_end(struct dump *dump, enum status status)
{
	if (dump->status == STATUS_OK)
		dump->status = status;
	dump->is_over = true;
}

__attribute__((format(printf, 2, 3))) static void note(const struct dump *dump,
						       const char *format, ...)
{
	va_list args;

	if (dump->values.quiet)
		return;
	va_start(args, format);
	fputs("netring: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

/* ------------------------------------------------------------- filter */

static int filter_compile(struct dump *dump, uint16_t link_type)
{
	char error[PCAP_ERRBUF_SIZE];
	char words[ESCAPED(PCAP_ERRBUF_SIZE)];

	match_free(dump->match);
	dump->match = NULL;
	if (!dump->filter)
		return 0;
	dump->match = match_new(dump->filter, link_type, error);
	if (dump->match)
		return 0;
	complain("filter: %s",
		 escape(words, sizeof(words), error, sizeof(error)));
	return -EINVAL;
}

/* The words of a filter are one expression, as in tcpdump. */
static int filter_join(struct dump *dump, char **words, int count)
{
	size_t size = 1;

	if (count <= 0)
		return 0;
	for (int i = 0; i < count; i++)
		size += strlen(words[i]) + 1;
	dump->filter = calloc(1, size);
	if (!dump->filter) {
		complain("out of memory");
		return -ENOMEM;
	}
	for (int i = 0; i < count; i++) {
		if (i)
			strcat(dump->filter, " ");
		strcat(dump->filter, words[i]);
	}
	return 0;
}

static int channel_link_type(const struct nr_msg *msg, void *data)
{
	const struct nr_msg_channel *channel = (const void *)msg;
	struct dump *dump = data;

	if (msg->type == NR_MSG_CHANNEL &&
	    strcmp(channel->channel, dump->channel) == 0)
		dump->link_type = (uint16_t)channel->link_type;
	return 0;
}

/* ------------------------------------------------------------- output */

static const char *output_name(const struct dump *dump)
{
	const char *path = dump->values.write;

	return !path || strcmp(path, "-") == 0 ? "standard output" : path;
}

/* A write that failed ends it; the reader of a pipe may leave when it likes. */
static void output_failed(struct dump *dump, int err)
{
	if (err == -EPIPE) {
		dump_end(dump, STATUS_OK);
		return;
	}
	complain("%s: %s", output_name(dump), strerror(-err));
	dump_end(dump, STATUS_FAILED);
}

static void output_flush(struct dump *dump)
{
	int err = 0;

	if (dump->values.write)
		err = savefile_flush(&dump->file);
	else if (fflush(stdout) != 0)
		err = -errno;
	if (err)
		output_failed(dump, err);
}

static void output_text(struct dump *dump, const struct nr_batch *batch,
			const struct nr_record *record, const uint8_t *data)
{
	char line[PACKET_LINE_MAX];
	size_t length =
		packet_line(line, sizeof(line), record, data, batch->link_type);

	if (fwrite(line, 1, length, stdout) == length)
		dump->dumped++;
	else
		output_failed(dump, -errno);
}

static void output_file(struct dump *dump, const struct nr_record *record,
			const uint8_t *data)
{
	int err = savefile_add(&dump->file, record, data);

	if (err)
		output_failed(dump, err);
	else
		dump->dumped++;
}

static void gap_note(struct dump *dump, uint64_t lost)
{
	dump->gaps++;
	dump->lost_in_gaps += lost;
	if (!dump->values.write)
		printf("-- gap: %" PRIu64 " packets lost here --\n", lost);
}

/* How many were lost, the broker that died knew; it may also give some twice.
 */
static void reattached_note(const struct dump *dump)
{
	if (!dump->values.write)
		printf("-- attached again: packets before may be missing, or "
		       "come twice --\n");
}

/* ------------------------------------------------------------ packets */

/* The first batch, and any after it that is of another link type. */
static void link_type_change(struct dump *dump, uint16_t link_type)
{
	if (dump->values.write && dump->has_packets) {
		complain(
			"the link type changes from %u to %u: a pcap file has one, so it ends here",
			dump->link_type, link_type);
		dump_end(dump, STATUS_FAILED);
		return;
	}
	if (link_type != dump->link_type && filter_compile(dump, link_type)) {
		dump_end(dump, STATUS_USAGE);
		return;
	}
	dump->link_type = link_type;
	dump->has_packets = true;
	if (dump->values.write)
		savefile_begin(&dump->file, link_type);
}

static void packet_take(struct dump *dump, const struct nr_batch *batch,
			const struct nr_record *record)
{
	const uint8_t *data = nr_batch_data(batch, record);

	if (!data) {
		complain("the broker gave a packet outside of its memory");
		dump_end(dump, STATUS_FAILED);
		return;
	}
	if (dump->match &&
	    !match_passes(dump->match, data, record->caplen, record->wirelen))
		return;
	if (dump->values.write)
		output_file(dump, record, data);
	else
		output_text(dump, batch, record, data);
	if (dump->dumped == dump->values.count)
		dump_end(dump, STATUS_OK);
}

static void batch_take(struct dump *dump, const struct nr_batch *batch)
{
	if (batch->flags & NR_BATCH_REATTACHED)
		reattached_note(dump);
	if (batch->gap)
		gap_note(dump, batch->gap);
	if (!dump->has_packets || batch->link_type != dump->link_type)
		link_type_change(dump, batch->link_type);
	for (uint32_t i = 0; i < batch->count && !dump->is_over; i++)
		packet_take(dump, batch, nr_batch_record(batch, i));
}

/* Why there are no more packets. */
static void capture_ended(struct dump *dump, int err)
{
	if (err == -ENODATA) {
		dump_end(dump, STATUS_OK);
	} else if (err == -ESHUTDOWN) {
		note(dump, "%s", nr_strerror(err));
		dump_end(dump, STATUS_OK);
	} else {
		complain("%s", nr_strerror(err));
		dump_end(dump, STATUS_FAILED);
	}
}

/* Returns 0 if it goes on, or what ends it. */
static int reattach(struct dump *dump, int err)
{
	uint64_t ms = dump->values.reattach_ms;

	if (ms == OPTION_NOT_GIVEN ||
	    (err != -EPIPE && err != -ESHUTDOWN && err != -ESTALE))
		return err;
	note(dump, "%s: waiting to attach again", nr_strerror(err));
	output_flush(dump);
	if (dump->is_over)
		return 0;
	err = nr_capture_reattach(dump->capture,
				  ms == OPTION_FOR_EVER ? -1 : (int)ms);
	if (err)
		return err == -EINTR ? 0 : err;
	dump->reattached++;
	note(dump, "attached again: what came in between is missing, and some "
		   "may come twice");
	return 0;
}

static void dump_read(struct dump *dump)
{
	struct nr_batch batch;

	while (!dump->is_over && !is_interrupted) {
		int n = nr_capture_next(dump->capture, &batch);

		if (n == 0) {
			output_flush(dump);
			if (dump->is_over)
				break;
			n = nr_capture_recv(dump->capture, &batch, -1);
		}
		if (n < 0)
			n = reattach(dump, n);
		if (n < 0)
			capture_ended(dump, n);
		if (n <= 0)
			continue;
		batch_take(dump, &batch);
		nr_batch_release(&batch);
	}
}

/* ---------------------------------------------------- start and finish */

static enum status dump_attach(struct dump *dump)
{
	char text[NR_TEXT_MAX] = "";
	struct nr_open_options open = NR_OPEN_OPTIONS_INIT;
	int err;

	open.socket = dump->socket;
	open.leases = (unsigned)dump->values.leases;
	open.budget = (unsigned)dump->values.budget;
	open.wait_ms = (int)dump->values.wait_ms;
	open.group = dump->values.group;
	open.follow = dump->values.follow;
	open.error_text = text;
	open.error_text_size = sizeof(text);
	if (dump->values.lane != LANE_ALL)
		open.lane_plus_one = (unsigned)dump->values.lane + 1;
	err = nr_capture_open(dump->channel, &open, &dump->capture);
	return err ? complain_refused(err, text) : STATUS_OK;
}

static enum status output_open(struct dump *dump)
{
	int err;

	if (!dump->values.write) {
		setvbuf(stdout, NULL, _IOFBF, TEXT_BUFFER);
		return STATUS_OK;
	}
	err = savefile_open(&dump->file, dump->values.write);
	if (!err)
		return STATUS_OK;
	complain("%s: %s", output_name(dump), strerror(-err));
	return STATUS_FAILED;
}

static void output_close(struct dump *dump)
{
	int err;

	if (!dump->values.write) {
		if (!ferror(stdout))
			output_flush(dump);
		return;
	}
	if (!dump->file.has_begun)
		savefile_begin(&dump->file, dump->link_type);
	err = savefile_close(&dump->file);
	dump->dumped = dump->file.packets;
	if (err)
		output_failed(dump, err);
}

static void dump_counts(struct dump *dump)
{
	struct nr_stats stats = NR_STATS_INIT;
	const char *before = " (";

	if (dump->values.quiet || nr_capture_stats(dump->capture, &stats))
		return;
	fprintf(stderr,
		"netring: %" PRIu64 " packets dumped, %" PRIu64 " delivered, ",
		dump->dumped, stats.delivered);
	if (stats.counts_shown)
		fprintf(stderr, "%" PRIu64 " filtered by the channel, ",
			stats.filtered);
	if (dump->values.group)
		fprintf(stderr, "%" PRIu64 " to others of the group, ",
			stats.to_others);
	fprintf(stderr, "%" PRIu64 " lost", nr_stats_lost(&stats));
	for (unsigned i = 0; i < NR_LOST_CAUSES; i++) {
		if (!stats.lost[i])
			continue;
		fprintf(stderr, "%s%s %" PRIu64, before, nr_lost_name(i),
			stats.lost[i]);
		before = ", ";
	}
	fputs(before[0] == ',' ? ")" : "", stderr);
	if (stats.counts_shown)
		fprintf(stderr, ", of %" PRIu64 " seen", stats.seen);
	fputc('\n', stderr);
	if (dump->reattached)
		note(dump,
		     "attached again %" PRIu64 " times: what came in between "
		     "is in no count",
		     dump->reattached);
	if (dump->values.write && dump->gaps)
		note(dump,
		     "%" PRIu64 " gaps between these, %" PRIu64
		     " packets lost in them",
		     dump->gaps, dump->lost_in_gaps);
}

static enum status dump_channel(struct dump *dump)
{
	enum status status;

	dump->link_type = LINK_ETHERNET;
	if (dump->filter || dump->values.write)
		nr_broker_list(dump->socket, channel_link_type, dump);
	if (filter_compile(dump, dump->link_type))
		return STATUS_USAGE;
	status = dump_attach(dump);
	if (status)
		return status;
	status = output_open(dump);
	if (status == STATUS_OK) {
		interrupt_arm(dump->capture);
		dump_read(dump);
		output_close(dump);
		dump_counts(dump);
		interrupt_disarm();
		status = dump->status;
	}
	nr_capture_close(dump->capture);
	return status;
}

static enum status dump_run(const struct verb *verb, int argc, char **argv,
			    const char *socket)
{
	struct arguments arguments = { .socket = socket };
	struct dump dump = { .values = { .lane = LANE_ALL,
					 .reattach_ms = OPTION_NOT_GIVEN } };
	enum status status;

	switch (options_parse(verb, argc, argv, &dump.values, &arguments)) {
	case OPTIONS_HELP:
		return finish_stdout();
	case OPTIONS_WRONG:
		return STATUS_USAGE;
	case OPTIONS_OK:
		break;
	}
	if (!arguments.channel)
		return options_wrong(verb, "dump: which channel?");
	if (dump.values.group && strlen(dump.values.group) >= NR_GROUP_MAX)
		return options_wrong(verb,
				     "--group: a name has up to %d characters",
				     NR_GROUP_MAX - 1);
	if (dump.values.write && strcmp(dump.values.write, "-") == 0 &&
	    isatty(STDOUT_FILENO))
		return options_wrong(verb,
				     "-w -: a pcap file is not for a terminal");
	if (filter_join(&dump, argv + arguments.rest, argc - arguments.rest))
		return STATUS_FAILED;
	dump.socket = arguments.socket;
	dump.channel = arguments.channel;
	status = dump_channel(&dump);
	match_free(dump.match);
	free(dump.filter);
	return status;
}

const struct verb dump_verb = {
	.name = "dump",
	.arguments = "CHANNEL [-c N] [-w FILE|-] [OPTIONS] [FILTER]",
	.summary =
		"Shows the packets of a channel, or writes them to a pcap file.",
	.options = options,
	.notes =
		"FILTER is an expression of pcap-filter(7), applied here to what the\n"
		"channel lets through: netring dump lan -w - port 53 | tcpdump -nr -\n"
		"A line: time, captured bytes (/ bytes on the wire, if cut), direction,\n"
		"and what is in it. Lost packets are marked where they are missing.\n"
		"SIGINT and SIGTERM end it, with what was written intact, and counts on\n"
		"stderr; so does the end of a replayed file or of the broker: status 0.\n"
		"With --reattach the end of the broker ends nothing until SECONDS have gone\n"
		"by without another. What comes in between is missing and counted by\n"
		"nobody, and what a broker had in hand when it died may come twice: the\n"
		"place is marked.\n"
		"netring --help lists the others.\n",
	.takes_channel = true,
	.run = dump_run,
};
