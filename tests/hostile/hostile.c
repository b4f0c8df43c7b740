/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Plays all attacks, and random mixtures of them, as several users at once,
 * while honest consumers account for each packet; says what it did to whom, and
 * ends with 1 when a promise was broken.
 */
#include "hostile.h"

#include <criterion/criterion.h>

#include <dirent.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALONE_MS 1000
#define RELOAD_NS UINT64_C(1500000000)

#ifdef __has_feature /* clang */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif
/* What is free may be kept: by an allocator, or in quarantine. */
#ifdef __SANITIZE_ADDRESS__
#define RSS_SLACK_KB 65536
#else
#define RSS_SLACK_KB 3072
#endif

struct world *world;

static void print_log(void)
{
	char command[256];

	snprintf(command, sizeof(command), "cat %s /dev/null >&2",
		 scene.broker.log);
	(void)!system(command);
}

/* The helpers assert with Criterion, whose runner is not here. */
void criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (stats->passed)
		return;
	fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line,
		stats->message);
	print_log();
	exit(1);
}

/* ------------------------------------------------------------- footprint */

struct footprint {
	unsigned long rss_kb[2]; /* engine, warden */
	unsigned fds[2];
	unsigned long memfd_kb; /* that the engine has open */
};

/* Each once, however often it is open. */
static unsigned long memfd_kb(pid_t pid)
{
	ino_t seen[4096];
	unsigned count = 0;
	unsigned long kb = 0;
	char path[64], name[320], target[64];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) && count < 4096) {
		struct stat st;
		unsigned i = 0;
		ssize_t n;

		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		n = readlink(name, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (strncmp(target, "/memfd:", 7) || stat(name, &st))
			continue;
		while (i < count && seen[i] != st.st_ino)
			i++;
		if (i < count)
			continue;
		seen[count++] = st.st_ino;
		kb += (unsigned long)st.st_blocks / 2;
	}
	closedir(dir);
	return kb;
}

static struct footprint footprint_now(void)
{
	const pid_t pids[] = { scene.engine, scene.broker.pid };
	struct footprint f = { .memfd_kb = memfd_kb(pids[0]) };

	for (int i = 0; i < 2; i++) {
		f.rss_kb[i] = process_rss_kb(pids[i]);
		f.fds[i] = process_fds(pids[i]);
	}
	return f;
}

static bool is_quiet(void *data)
{
	static struct broker_stat stat;

	(void)data;
	broker_read_stat(&stat, NULL);
	return stat.captures == WITNESSES;
}

/* With nobody but the witnesses there, and the last connections closed. */
static struct footprint footprint_at_rest(void)
{
	struct footprint now, before;

	cr_assert(wait_until(is_quiet, NULL, 20000),
		  "captures of the attackers remain");
	now = footprint_now();
	do {
		before = now;
		sleep_ms(300);
		now = footprint_now();
	} while (now.fds[0] != before.fds[0] ||
		 now.memfd_kb != before.memfd_kb);
	return now;
}

/*
 * A user has as many return pages, each a descriptor of the engine, as it had
 * connections at once: all of them in the first round. Captures that were
 * moving at the moment had another each, and no more than these may.
 */
#define MOVING_MAX 6

static bool has_returned(const struct footprint *now,
			 const struct footprint *first)
{
	bool has = now->memfd_kb <= first->memfd_kb;

	for (int i = 0; i < 2; i++)
		has &= now->fds[i] <=
			       first->fds[i] + MOVING_MAX * world->users &&
		       now->rss_kb[i] <= first->rss_kb[i] + RSS_SLACK_KB;
	return has;
}

static void print_footprint(const char *when, const struct footprint *f)
{
	printf("%-24s engine %7lu kB, %4u fds, %7lu kB in memfds; warden "
	       "%6lu kB, %3u fds\n",
	       when, f->rss_kb[0], f->fds[0], f->memfd_kb, f->rss_kb[1],
	       f->fds[1]);
}

/* ------------------------------------------------------------- the rounds */

static unsigned reloads;

/* Until all are done with @round, which is told to end at @end_ns. */
static void play_round(unsigned round, uint64_t end_ns)
{
	uint64_t next_ns = scene_now_ns();

	players_begin(round);
	while (!players_are_done(round)) {
		uint64_t now = scene_now_ns();

		if (round == ROUND_RANDOM && now >= end_ns)
			players_begin(ROUND_OVER);
		if (now >= next_ns) {
			world_reload();
			reloads++;
			next_ns = scene_now_ns() + RELOAD_NS;
		}
		sleep_ms(2);
	}
}

/* ---------------------------------------------------------------- the report
 */

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static bool print_table(void)
{
	bool is_right = true;

	printf("%-30s %6s %7s %7s %7s %10s %9s\n", "attack", "played",
	       "refused", "killed", "broken", "rounds", "stall (machine)");
	for (unsigned i = 0; i < attack_count; i++) {
		const struct tally *t = &world->tallies[i];

		printf("%-30s %6llu %7llu %7llu %7llu %10llu %6.1f (%.1f) ms\n",
		       attacks[i].name, (unsigned long long)t->played,
		       (unsigned long long)t->refused,
		       (unsigned long long)t->killed,
		       (unsigned long long)t->broken,
		       (unsigned long long)t->rounds, ms(t->stall_ns),
		       ms(t->machine_ns));
		is_right &= t->broken == 0 &&
			    (t->played > 0 || world->only < ATTACKS_MAX);
	}
	return is_right;
}

static void print_json(bool is_right, const struct footprint *first,
		       const struct footprint *last)
{
	printf("{\"seed\": %llu, \"kept\": %s, \"stall_ms\": %.1f, "
	       "\"stall_max_ms\": %d, \"stall_alone_ms\": %.1f, "
	       "\"stall_machine_ms\": %.1f, "
	       "\"reloads\": %u, \"evicted\": %llu,\n \"fds\": [%u, %u], "
	       "\"memfd_kb\": [%lu, %lu], \"rss_kb\": [%lu, %lu],\n"
	       " \"attacks\": [",
	       (unsigned long long)world->seed, is_right ? "true" : "false",
	       ms(world->stall_ns), SCENE_STALL_MAX_MS,
	       ms(world->alone.stall_ns), ms(world->machine_ns), reloads,
	       (unsigned long long)world->offences, first->fds[0], last->fds[0],
	       first->memfd_kb, last->memfd_kb, first->rss_kb[0],
	       last->rss_kb[0]);
	for (unsigned i = 0; i < attack_count; i++) {
		const struct tally *t = &world->tallies[i];

		printf("%s\n  {\"name\": \"%s\", \"played\": %llu, "
		       "\"refused\": %llu, \"killed\": %llu, \"broken\": %llu, "
		       "\"stall_ms\": %.1f}",
		       i ? "," : "", attacks[i].name,
		       (unsigned long long)t->played,
		       (unsigned long long)t->refused,
		       (unsigned long long)t->killed,
		       (unsigned long long)t->broken, ms(t->stall_ns));
	}
	printf("]}\n");
}

static bool print_witnesses(void)
{
	bool is_right = true;

	for (int i = 0; i < WITNESSES; i++) {
		const struct honest *h = witnesses[i].honest;

		printf("%-24s delivered %8llu, lost %llu, wrong %u, longest "
		       "stall %.1f ms, %s\n",
		       witnesses[i].name, (unsigned long long)h->delivered,
		       (unsigned long long)h->lost, h->is_wrong,
		       ms(witnesses[i].stall_ns), nr_strerror(h->result));
		is_right &= h->lost == 0 && h->is_wrong == 0 && h->result == 0;
	}
	return is_right;
}

static bool promise(bool is_kept, const char *what)
{
	printf("%-9s %s\n", is_kept ? "kept:" : "BROKEN:", what);
	return is_kept;
}

static bool verdict(bool all_arrived, const struct footprint *first,
		    const struct footprint *last)
{
	struct broker *broker = &scene.broker;
	unsigned evicted = broker_said_times(broker, "evicted: ");
	bool is_right = true;

	printf("longest stall of a live lane %.1f ms (alone %.1f ms; bound %d ms; the machine "
	       "itself %.1f ms); %u "
	       "reloads; %llu evictions seen, %u logged; %u lines of ended "
	       "connections\n",
	       ms(world->stall_ns), ms(world->alone.stall_ns),
	       SCENE_STALL_MAX_MS, ms(world->machine_ns), reloads,
	       (unsigned long long)world->offences, evicted,
	       broker_said_times(broker, "close uid "));
	is_right &= promise(print_table(), "no attack got what it must not");
	is_right &= promise(print_witnesses(), "the honest lost nothing");
	is_right &= promise(all_arrived, "each packet sent is accounted for");
	is_right &= promise(world->stall_ns <
				    SCENE_STALL_MAX_MS * UINT64_C(1000000) +
					    world->machine_ns,
			    "no live lane stood still longer than the bound");
	if (world->only == ATTACKS_MAX)
		is_right &= promise(has_returned(last, first),
				    "memory and descriptors are where they "
				    "were after the first round");
	is_right &= promise(world->offences <= evicted,
			    "whoever was evicted is in the log, with a reason");
	is_right &= promise(broker_engine(broker) == scene.engine,
			    "the engine is the one that was started");
	return is_right;
}

/* ---------------------------------------------------------------------- main
 */

static const char usage[] =
	"Usage: hostile [--seconds N] [--seed S] [--users K] [--only ATTACK]\n"
	"               [--json] [--log]\n"
	"Plays every attack of the trust table once, and then for N s "
	"(default 5) random\nmixtures of them, as K users at once (default "
	"4), against a broker of its own that\nreplays, captures from a veth "
	"pair and lends XDP frames. Honest consumers account\nfor each "
	"packet. Needs root.\n"
	"Ends with 1 when a promise is broken. No live lane may stand still "
	"longer than %d ms,\nas consumers see it, whatever the attackers do (beyond what "
	"the machine itself\nstands still). The replay's lane has no such "
	"priority: its time is shown.\n"
	"  --only  this attack alone, to see what it does\n"
	"  --log   the broker's log at the end\n";

struct options {
	uint64_t seconds;
	bool json;
	bool log;
};

static unsigned attack_named(const char *name)
{
	for (unsigned i = 0; i < attack_count; i++)
		if (strcmp(attacks[i].name, name) == 0)
			return i;
	fprintf(stderr, "hostile: there is no attack '%s'\n", name);
	exit(2);
}

static void read_options(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {
		{ "seconds", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "users", required_argument, NULL, 'u' },
		{ "only", required_argument, NULL, 'o' },
		{ "json", no_argument, NULL, 'j' },
		{ "log", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1)
		switch (c) {
		case 'n':
			options->seconds = strtoull(optarg, NULL, 10);
			break;
		case 's':
			world->seed = strtoull(optarg, NULL, 10);
			break;
		case 'u':
			world->users = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'o':
			world->only = attack_named(optarg);
			break;
		case 'j':
			options->json = true;
			break;
		case 'l':
			options->log = true;
			break;
		default:
			printf(usage, SCENE_STALL_MAX_MS);
			exit(c == 'h' ? 0 : 2);
		}
	if (world->users < 1 || world->users > USERS_MAX) {
		fprintf(stderr, "hostile: 1 to %d users\n", USERS_MAX);
		exit(2);
	}
}

/* Of the broker, so that what it leaks can be seen. */
static void keep_quarantine_small(void)
{
	const char *options = getenv("ASAN_OPTIONS");
	char text[512];

	snprintf(text, sizeof(text), "%s:quarantine_size_mb=4",
		 options ? options : "");
	setenv("ASAN_OPTIONS", text, 1);
}

int main(int argc, char **argv)
{
	struct options options = { .seconds = 5 };
	struct footprint before, first, last;
	uint64_t end_ns;
	bool is_right;

	keep_quarantine_small();
	setvbuf(stdout, NULL, _IOLBF, 0);
	world = shared_memory(sizeof(*world));
	world->seed = 1;
	world->users = 4;
	world->only = ATTACKS_MAX;
	read_options(argc, argv, &options);
	if (geteuid() != 0) {
		printf("hostile: needs root\n");
		return 77;
	}
	printf("seed %llu, %u users, %llu s\n", (unsigned long long)world->seed,
	       world->users, (unsigned long long)options.seconds);
	world_start();
	players_start();
	sleep_ms(ALONE_MS);
	before = footprint_at_rest();
	play_round(ROUND_FIRST, 0);
	first = footprint_at_rest();
	end_ns = scene_now_ns() + options.seconds * 1000000000;
	play_round(ROUND_RANDOM, end_ns);
	players_end();
	last = footprint_at_rest();
	is_right = world_end();
	print_footprint("before", &before);
	print_footprint("after the first round", &first);
	print_footprint("at the end", &last);
	is_right = verdict(is_right, &first, &last);
	if (options.json)
		print_json(is_right, &first, &last);
	if (options.log || !is_right)
		print_log();
	broker_stop(&scene.broker);
	return is_right ? 0 : 1;
}
