/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-fanout: what it costs to give one packet to k consumers. In each round,
 * one after the other under the same load: no consumer at all, one plain
 * TPACKET_V3 socket, k of them, and k consumers of netring.
 *
 * The veth receives on the sender's CPU, inside the sender's call. So whatever
 * a tap costs in the kernel slows the sender down, and shows as ns a
 * frame, before it shows as loss.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <libgen.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <netring.h>

#include "bench.h"

#define SOCKET "/run/netring/broker.sock"
#define CONFIG "/run/bench.conf"
#define LOG "/run/netringd.log"
#define COUNTS_MAX 16
#define ROUNDS_MAX 100
#define CONSUMERS_MAX 256
#define WARM_UP_MS 300
#define RING_BLOCK (1u << 20)
#define RETIRE_MS 8

static const char usage[] =
	"usage: bench-fanout [OPTION...]\n"
	"\n"
	"  --rounds N          (5)\n"
	"  --seconds N         measured for so long each time (2)\n"
	"  --size N|imix       bytes of a frame (60)\n"
	"  --consumers K,...   how many (1,8,32)\n"
	"  --ring-mib N        each kernel ring, of plain sockets too (64)\n"
	"  --priority N        SCHED_FIFO of the lane; 0: normal (the broker's\n"
	"                      default)\n"
	"  --netringd PATH     (beside the build of this program)\n"
	"  --generator PATH    bench_generate (beside this program)\n"
	"  --json FILE         all single results\n";

enum mode { NO_TAP, PLAIN, NETRING };
static const char *const mode_names[] = { "no tap", "TPACKET_V3", "netring" };

struct options {
	unsigned rounds, seconds, ring_mib;
	unsigned counts[COUNTS_MAX], count_count;
	int priority; /* -2: not given */
	const char *size;
	char netringd[PATH_MAX], generator[PATH_MAX];
	FILE *json;
};

/* One measurement. Rates are of the window, counts of the whole run. */
struct result {
	enum mode mode;
	unsigned k, round;
	double hop_ns;	  /* the worse of before and after */
	double frame_pps; /* frames that came out of the veth */
	double min_pps, median_pps, max_pps; /* of the consumers */
	double broker_cpu, consumer_cpu;     /* CPUs busy: 1 is one whole */
	double lane_ns;			     /* of lane CPU a packet captured */
	unsigned lane_priority;
	/* Loss, by place; the last three summed over the consumers. */
	uint64_t sent, veth_lost, ring_lost, not_admitted, missing;
	/* Frames that no counter explains, misordered ones counted. */
	uint64_t unexplained;
};

/* ------------------------------------------------------------------ broker */

static void write_config(const struct options *options)
{
	FILE *file = fopen(CONFIG, "we");

	if (!file)
		bench_die("%s: %s", CONFIG, strerror(errno));
	fprintf(file,
		"[broker]\nsocket = " SOCKET "\nmax_connections = 1024\n"
		"max_captures = 1024\nmax_guaranteed = 4096\n"
		"attach_rate = 100000\n"
		"[source lan]\nbackend = af_packet\ninterface = far\n"
		"ring_size = %uM\nring_block = %u\nretire_timeout = %u\n"
		"cpu = %u\n",
		options->ring_mib, RING_BLOCK, RETIRE_MS, BENCH_RECEIVE_CPU);
	if (options->priority >= -1)
		fprintf(file, "priority = %d\n", options->priority);
	fprintf(file, "[channel lan]\nsource = lan\nallow = everyone\n");
	if (fclose(file))
		bench_die("%s: %s", CONFIG, strerror(errno));
}

static pid_t broker_start(const struct options *options)
{
	pid_t pid;

	write_config(options);
	pid = stage_fork(BENCH_RECEIVE_CPU);
	if (pid == 0) {
		int fd = open(LOG, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, STDERR_FILENO);
		execl(options->netringd, options->netringd, "-c", CONFIG,
		      (char *)NULL);
		fprintf(stderr, "%s: %s (--netringd names another)\n",
			options->netringd, strerror(errno));
		_exit(1);
	}
	return pid;
}

/* At the end of this program, if a broker was not seen through to its end. */
static void broker_log(void)
{
	FILE *file = getpid() == 1 ? fopen(LOG, "re") : NULL;
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		fputs(line, stderr);
	if (file)
		fclose(file);
}

struct lane_counts {
	uint64_t captured, drops, cpu_ns;
};

static int add_source(const struct nr_msg *msg, void *data)
{
	struct lane_counts *counts = data;
	const struct nr_msg_source *source = (const void *)msg;

	if (msg->type != NR_MSG_SOURCE)
		return 0;
	counts->captured += source->captured;
	counts->drops += source->kernel_drops;
	counts->cpu_ns += source->cpu_ns;
	return 0;
}

static struct lane_counts ask_broker(void)
{
	struct lane_counts counts = { 0 };
	char text[NR_TEXT_MAX] = "";
	int err = nr_broker_stat(SOCKET, NULL, add_source, &counts, text,
				 sizeof(text));

	if (err)
		bench_die("the broker's statistics: %s %s", nr_strerror(err),
			  text);
	return counts;
}

/* ------------------------------------------------------------- measurement */

/* All that is looked at when the window opens and when it closes. */
struct look {
	uint64_t time_ns, frames, packets[CONSUMERS_MAX];
	uint64_t broker_ns, consumers_ns;
	struct lane_counts lane;
};

static void look_at(struct look *look, const struct readers *readers,
		    pid_t broker)
{
	unsigned count = readers ? readers->count : 0;

	memset(look, 0, sizeof(*look));
	look->time_ns = bench_now_ns();
	look->frames = stage_received();
	for (unsigned i = 0; i < count; i++)
		look->packets[i] = __atomic_load_n(&readers->reader[i].packets,
						   __ATOMIC_RELAXED);
	for (unsigned i = 0; i < count; i++)
		look->consumers_ns += bench_cpu_ns(readers->reader[i].pid);
	if (broker) {
		look->broker_ns = bench_cpu_ns(broker);
		look->lane = ask_broker();
	}
}

static double rate(uint64_t from, uint64_t to, double seconds)
{
	return (double)(to - from) / seconds;
}

static void compare(struct result *result, const struct look *a,
		    const struct look *b)
{
	double s = (double)(b->time_ns - a->time_ns) / 1e9;
	double pps[CONSUMERS_MAX] = { 0 };
	uint64_t captured = b->lane.captured - a->lane.captured;

	result->frame_pps = rate(a->frames, b->frames, s);
	result->broker_cpu = rate(a->broker_ns, b->broker_ns, s * 1e9);
	result->consumer_cpu = rate(a->consumers_ns, b->consumers_ns, s * 1e9);
	for (unsigned i = 0; i < result->k; i++)
		pps[i] = rate(a->packets[i], b->packets[i], s);
	if (result->k) {
		result->median_pps = bench_median(pps, result->k);
		result->min_pps = pps[0];
		result->max_pps = pps[result->k - 1];
	}
	if (captured)
		result->lane_ns = (double)(b->lane.cpu_ns - a->lane.cpu_ns) /
				  (double)captured;
}

static uint64_t difference(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* Each frame was read, or somebody says where it was lost. */
static void account(struct result *result, const struct generator *generator,
		    const struct readers *readers,
		    const struct lane_counts *lane)
{
	uint64_t passed = generator->passed;

	result->sent = generator->sent;
	result->veth_lost = generator->sent - passed;
	if (lane)
		result->ring_lost = lane->drops;
	for (unsigned i = 0; readers && i < readers->count; i++) {
		const struct reader *r = &readers->reader[i];
		uint64_t drops = lane ? lane->drops : r->kernel_drops;

		if (!lane)
			result->ring_lost += drops;
		result->not_admitted += r->lost;
		result->missing += r->missing;
		result->unexplained += r->misordered;
		result->unexplained += difference(
			passed, r->packets + r->foreign + drops + r->lost);
	}
}

static struct readers *start_readers(const struct options *options,
				     const struct result *result)
{
	struct reader_options reader = {
		.is_plain = result->mode == PLAIN,
		.ring_size = options->ring_mib << 20,
		.ring_block = RING_BLOCK,
		.retire_ms = RETIRE_MS,
		.socket = SOCKET,
		.channel = "lan",
	};

	return result->k ? readers_start(&reader, result->k) : NULL;
}

static void end(struct result *result, struct generator *generator,
		struct readers *readers, pid_t broker)
{
	struct lane_counts lane;

	generator_stop(generator);
	if (broker)
		usleep(100000); /* its ring's last block is handed over */
	if (readers)
		readers_stop(readers);
	if (broker) {
		lane = ask_broker();
		kill(broker, SIGTERM);
		stage_reap(broker);
		unlink(LOG);
	}
	account(result, generator, readers, broker ? &lane : NULL);
	readers_free(readers);
}

static void measure(struct result *result, const struct options *options)
{
	static struct look before, after;
	struct generator generator;
	struct readers *readers;
	double hop = bench_hop_ns();
	pid_t broker = result->mode == NETRING ? broker_start(options) : 0;

	readers = start_readers(options, result);
	generator_start(&generator, options->generator, options->size);
	usleep(WARM_UP_MS * 1000);
	look_at(&before, readers, broker);
	usleep(options->seconds * 1000000);
	look_at(&after, readers, broker);
	if (broker)
		result->lane_priority = bench_priority(broker);
	compare(result, &before, &after);
	end(result, &generator, readers, broker);
	result->hop_ns = bench_hop_ns();
	if (result->hop_ns < hop)
		result->hop_ns = hop;
}

/* ------------------------------------------------------------------ tables */

static bool is_near(const struct result *result)
{
	return result->hop_ns < BENCH_NEAR_NS;
}

static void print_json(FILE *file, const struct result *r, bool is_first)
{
	fprintf(file,
		"%s\n  {\"round\": %u, \"mode\": \"%s\", \"k\": %u, "
		"\"hop_ns\": %.1f, \"placement\": \"%s\", "
		"\"frame_pps\": %.0f, \"min_pps\": %.0f, "
		"\"median_pps\": %.0f, \"max_pps\": %.0f, "
		"\"broker_cpu\": %.3f, \"consumer_cpu\": %.3f, "
		"\"lane_ns\": %.1f, \"lane_priority\": %u, "
		"\"sent\": %" PRIu64 ", \"veth_lost\": %" PRIu64
		", \"ring_lost\": %" PRIu64 ", \"not_admitted\": %" PRIu64
		", \"missing\": %" PRIu64 ", \"unexplained\": %" PRIu64 "}",
		is_first ? "" : ",", r->round, mode_names[r->mode], r->k,
		r->hop_ns, is_near(r) ? "near" : "far", r->frame_pps,
		r->min_pps, r->median_pps, r->max_pps, r->broker_cpu,
		r->consumer_cpu, r->lane_ns, r->lane_priority, r->sent,
		r->veth_lost, r->ring_lost, r->not_admitted, r->missing,
		r->unexplained);
}

/*
 * The results of one row, one a round: those with the CPUs near each other if
 * there are any, else all (that are far).
 */
static unsigned select_row(const struct result *all, unsigned count,
			   enum mode mode, unsigned k,
			   const struct result **row)
{
	unsigned n = 0;

	for (int near = 1; near >= 0 && n == 0; near--)
		for (unsigned i = 0; i < count; i++)
			if (all[i].mode == mode && all[i].k == k &&
			    is_near(&all[i]) == near)
				row[n++] = &all[i];
	return n;
}

#define MEDIAN(row, n, field) median_at(row, n, offsetof(struct result, field))
#define TOTAL(row, n, field) total_at(row, n, offsetof(struct result, field))

static double median_at(const struct result **row, unsigned n, size_t offset)
{
	double values[ROUNDS_MAX];

	for (unsigned i = 0; i < n; i++)
		memcpy(&values[i], (const char *)row[i] + offset,
		       sizeof(double));
	return bench_median(values, n);
}

static uint64_t total_at(const struct result **row, unsigned n, size_t offset)
{
	uint64_t total = 0, value;

	for (unsigned i = 0; i < n; i++) {
		memcpy(&value, (const char *)row[i] + offset, sizeof(value));
		total += value;
	}
	return total;
}

static void print_row(const struct result **row, unsigned n)
{
	double frame_pps = MEDIAN(row, n, frame_pps);
	double low = row[0]->min_pps, high = row[0]->max_pps;

	for (unsigned i = 1; i < n; i++) {
		if (row[i]->min_pps < low)
			low = row[i]->min_pps;
		if (row[i]->max_pps > high)
			high = row[i]->max_pps;
	}
	printf("%-10s %3u %4s*%-2u %6.3f %6.1f  %6.3f %6.3f %6.3f  ",
	       mode_names[row[0]->mode], row[0]->k,
	       is_near(row[0]) ? "near" : "far", n, frame_pps / 1e6,
	       1e9 / frame_pps, low / 1e6, MEDIAN(row, n, median_pps) / 1e6,
	       high / 1e6);
	printf("%8" PRIu64 " %10" PRIu64 " %10" PRIu64 " %7" PRIu64
	       "  %5.2f %5.2f",
	       TOTAL(row, n, veth_lost), TOTAL(row, n, ring_lost),
	       TOTAL(row, n, not_admitted), TOTAL(row, n, unexplained),
	       MEDIAN(row, n, broker_cpu), MEDIAN(row, n, consumer_cpu));
	if (row[0]->mode == NETRING)
		printf(" %6.1f", MEDIAN(row, n, lane_ns));
	printf("\n");
}

/* One line for each of the first round's results, @rows of them. */
static void print_table(const struct result *all, unsigned count, unsigned rows)
{
	const struct result *row[ROUNDS_MAX];

	printf("\n                         frames         received by each, "
	       "M/s             lost, all rounds and consumers     CPUs busy   "
	       "lane\n"
	       "consumers    k  hop*runs  M/s  ns each    min median    max  "
	       "  veth       ring notadmitted unexpl.  brok. cons. ns/pkt\n");
	for (unsigned i = 0; i < rows; i++) {
		unsigned n = select_row(all, count, all[i].mode, all[i].k, row);

		print_row(row, n);
	}
}

static const struct result *find(const struct result *all, unsigned count,
				 enum mode mode, unsigned k, unsigned round)
{
	for (unsigned i = 0; i < count; i++)
		if (all[i].mode == mode && all[i].k == k &&
		    all[i].round == round)
			return &all[i];
	return NULL;
}

/*
 * What the worst consumer of @mode receives, beside one plain socket in the
 * same round; only rounds in which both had the same placement.
 */
static void print_ratio(const struct result *all, unsigned count,
			enum mode mode, unsigned k, unsigned rounds)
{
	double ratios[ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned round = 0; round < rounds; round++) {
		const struct result *one = find(all, count, PLAIN, 1, round);
		const struct result *it = find(all, count, mode, k, round);

		if (one && it && is_near(one) == is_near(it) &&
		    one->median_pps > 0)
			ratios[n++] = it->min_pps / one->median_pps;
	}
	if (n) {
		double median = bench_median(ratios, n);

		printf("%-10s %3u  %5.3f %6.3f %6.3f  (%u pairs)\n",
		       mode_names[mode], k, ratios[0], median, ratios[n - 1],
		       n);
	}
}

static void print_ratios(const struct options *options,
			 const struct result *all, unsigned count)
{
	printf("\nthe slowest of k against one TPACKET_V3 socket\n"
	       "consumers    k    min median    max\n");
	for (enum mode mode = PLAIN; mode <= NETRING; mode++)
		for (unsigned i = 0; i < options->count_count; i++)
			if (mode == NETRING || options->counts[i] != 1)
				print_ratio(all, count, mode,
					    options->counts[i],
					    options->rounds);
}

static void print_machine(const struct options *options)
{
	struct utsname name;
	double load = 0;

	uname(&name);
	getloadavg(&load, 1);
	printf("%s, %ld CPUs, Linux %s, netring %s, load %.1f "
	       "before\n"
	       "generator and receive path on CPU %u, broker and consumers on "
	       "CPU %u\n"
	       "frames of %s bytes, kernel rings of %u MiB, %u rounds of %u s "
	       "each\n",
	       bench_cpu_model(), sysconf(_SC_NPROCESSORS_ONLN), name.release,
	       nr_version(), load, BENCH_SEND_CPU, BENCH_RECEIVE_CPU,
	       options->size, options->ring_mib, options->rounds,
	       options->seconds);
	if (options->json)
		fprintf(options->json,
			"{\"cpu\": \"%s\", \"cpus\": %ld, \"kernel\": \"%s\", "
			"\"version\": \"%s\", \"load\": %.2f, \"send_cpu\": %u, "
			"\"receive_cpu\": %u, \"size\": \"%s\", "
			"\"ring_mib\": %u, \"seconds\": %u, \"runs\": [",
			bench_cpu_model(), sysconf(_SC_NPROCESSORS_ONLN),
			name.release, nr_version(), load, BENCH_SEND_CPU,
			BENCH_RECEIVE_CPU, options->size, options->ring_mib,
			options->seconds);
}

/* ----------------------------------------------------------------- options */

enum {
	OPT_ROUNDS,
	OPT_SECONDS,
	OPT_SIZE,
	OPT_CONSUMERS,
	OPT_RING_MIB,
	OPT_PRIORITY,
	OPT_NETRINGD,
	OPT_GENERATOR,
	OPT_JSON,
	OPT_HELP
};

static const struct option longs[] = {
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "consumers", required_argument, NULL, OPT_CONSUMERS },
	{ "ring-mib", required_argument, NULL, OPT_RING_MIB },
	{ "priority", required_argument, NULL, OPT_PRIORITY },
	{ "netringd", required_argument, NULL, OPT_NETRINGD },
	{ "generator", required_argument, NULL, OPT_GENERATOR },
	{ "json", required_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

static unsigned number(const char *text, unsigned min, unsigned max, char **end)
{
	unsigned long value;

	errno = 0;
	value = strtoul(text, end, 10);
	if (errno || *end == text || (**end && **end != ',') || value < min ||
	    value > max)
		bench_die("%s: not a number from %u to %u", text, min, max);
	return (unsigned)value;
}

static void parse_counts(struct options *options, char *text)
{
	options->count_count = 0;
	for (;;) {
		if (options->count_count == COUNTS_MAX)
			bench_die("--consumers: at most %u", COUNTS_MAX);
		options->counts[options->count_count++] =
			number(text, 1, CONSUMERS_MAX, &text);
		if (!*text++)
			return;
	}
}

static void set_path(char *path, const char *text)
{
	if (!realpath(text, path))
		bench_die("%s: %s", text, strerror(errno));
}

static void set_option(struct options *options, int which)
{
	char *end;

	switch (which) {
	case OPT_ROUNDS:
		options->rounds = number(optarg, 1, ROUNDS_MAX, &end);
		return;
	case OPT_SECONDS:
		options->seconds = number(optarg, 1, 600, &end);
		return;
	case OPT_SIZE:
		options->size = optarg;
		return;
	case OPT_CONSUMERS:
		parse_counts(options, optarg);
		return;
	case OPT_RING_MIB:
		options->ring_mib = number(optarg, 1, 2048, &end);
		return;
	case OPT_PRIORITY:
		options->priority = (int)number(optarg, 0, 99, &end);
		return;
	case OPT_NETRINGD:
		set_path(options->netringd, optarg);
		return;
	case OPT_GENERATOR:
		set_path(options->generator, optarg);
		return;
	case OPT_JSON:
		options->json = fopen(optarg, "we");
		if (!options->json)
			bench_die("%s: %s", optarg, strerror(errno));
		return;
	default:
		fputs(usage, which == OPT_HELP ? stdout : stderr);
		exit(which == OPT_HELP ? 0 : 2);
	}
}

static void parse(struct options *options, int argc, char **argv)
{
	char self[PATH_MAX] = "", *dir;
	int which;

	*options = (struct options){ .rounds = 5,
				     .seconds = 2,
				     .ring_mib = 64,
				     .counts = { 1, 8, 32 },
				     .count_count = 3,
				     .priority = -2,
				     .size = "60" };
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		bench_die("/proc/self/exe: %s", strerror(errno));
	dir = dirname(self);
	if (snprintf(options->netringd, PATH_MAX, "%s/../broker/netringd",
		     dir) >= PATH_MAX ||
	    snprintf(options->generator, PATH_MAX, "%s/bench_generate", dir) >=
		    PATH_MAX)
		bench_die("%s: too long", dir);
	while ((which = getopt_long(argc, argv, "", longs, NULL)) != -1)
		set_option(options, which);
	if (optind < argc)
		set_option(options, -1);
}

/* -------------------------------------------------------------------- main */

/* One after the other, so that each has its neighbours' conditions. */
static unsigned plan_round(const struct options *options, unsigned round,
			   struct result *plan)
{
	unsigned n = 0;

	plan[n++] = (struct result){ .mode = NO_TAP, .round = round };
	plan[n++] = (struct result){ .mode = PLAIN, .k = 1, .round = round };
	for (enum mode mode = NETRING; mode >= PLAIN; mode--)
		for (unsigned i = 0; i < options->count_count; i++)
			if (mode == NETRING || options->counts[i] != 1)
				plan[n++] = (struct result){
					.mode = mode,
					.k = options->counts[i],
					.round = round,
				};
	return n;
}

static void print_progress(const struct result *r)
{
	fprintf(stderr,
		"round %u: %-10s k %3u, hop %3.0f ns, %.3f M frames/s, "
		"received %.3f to %.3f M/s",
		r->round + 1, mode_names[r->mode], r->k, r->hop_ns,
		r->frame_pps / 1e6, r->min_pps / 1e6, r->max_pps / 1e6);
	if (r->mode == NETRING)
		fprintf(stderr, ", lane at %s %u",
			r->lane_priority ? "SCHED_FIFO" : "normal priority",
			r->lane_priority);
	fputc('\n', stderr);
}

int main(int argc, char **argv)
{
	static struct result all[ROUNDS_MAX * (2 * COUNTS_MAX + 2)];
	struct options options;
	unsigned count = 0;

	parse(&options, argc, argv);
	stage_enter();
	atexit(broker_log);
	print_machine(&options);
	for (unsigned round = 0; round < options.rounds; round++) {
		unsigned n = plan_round(&options, round, all + count);

		for (; n > 0; n--, count++) {
			measure(&all[count], &options);
			print_progress(&all[count]);
			if (options.json)
				print_json(options.json, &all[count], !count);
		}
	}
	print_table(all, count, count / options.rounds);
	print_ratios(&options, all, count);
	if (options.json) {
		fprintf(options.json, "\n]}\n");
		if (fclose(options.json))
			bench_die("--json: %s", strerror(errno));
	}
	return 0;
}
