/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Killed at random instants, under load, again and again: engine, warden and
 * consumers. After each kill everything that was the dead one's is gone, and
 * what the living were given is right, byte for byte. tests/soak runs this for
 * long; here it is short.
 *
 * A round is: wait a random while, kill somebody, check, put it back.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "random.h"
#include "trace.h"

#define ROUNDS 30
#define CONSUMERS 6
#define UID 12345
#define RATE 8000 /* packets/s */
#define GONE_MS 1000
/* Its sockets close under a lock that all network namespaces share. */
#define ENGINE_GONE_MS 5000
#define BACK_MS 20000
#define GIVEN (1u << 18) /* packets that are looked back on, some 30 s */
/* What the warden may have more than at first: libc keeps some. */
#define GROWTH_MAX_KB 2048
#define OBJECTS_MAX 256
#define FORGIVEN_NS UINT64_C(2000000000)
#define BURST 256 /* records that a lane counts at once */

TestSuite(soak, .timeout = 36000);

/* --------------------------------------------------------------- consumers */

/* In shared memory: survives whom it is about. */
struct consumer {
	uint32_t id;
	bool has_group;
	bool follows;
	bool is_live; /* frames of our sender; else of a file */

	pid_t pid;
	uint32_t attached; /* how often */
	uint32_t ended;	   /* captures whose end it has seen */
	int refused;	   /* the last attach, and why */
	char refusal[NR_TEXT_MAX];
	uint64_t packets;
	uint64_t lost;
	uint64_t next;	/* number above all it was given */
	uint64_t again; /* given before, to it or its group */
	uint64_t wrong; /* bytes, order, counts */
	char what[160]; /* the first of these */
};

struct soak {
	struct consumer consumers[CONSUMERS];
	/* The group's: the packet given last at a place, + 1. */
	uint64_t given[GIVEN];
	/* A new engine goes on where the dead one may have been already. */
	uint64_t forgiven_until_ns;
};

static struct soak *soak;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

__attribute__((format(printf, 2, 3))) static void
note_wrong(struct consumer *consumer, const char *format, ...)
{
	va_list args;

	if (consumer->wrong++ > 0)
		return;
	va_start(args, format);
	vsnprintf(consumer->what, sizeof(consumer->what), format, args);
	va_end(args);
}

/* One capture's life, as it has seen it. */
struct seen {
	uint64_t count;
	uint64_t gaps;
	uint64_t next_seq;
	uint64_t last; /* number of the packet, + 1 */
};

/* To this one, in whatever capture, or to another of its group. */
static bool is_given_again(struct consumer *consumer, uint64_t number)
{
	bool again = number < consumer->next;

	if (consumer->has_group)
		again |= __atomic_exchange_n(&soak->given[number % GIVEN],
					     number + 1,
					     __ATOMIC_RELAXED) == number + 1;
	if (!again)
		consumer->next = number + 1;
	return again && now_ns() > __atomic_load_n(&soak->forgiven_until_ns,
						   __ATOMIC_RELAXED);
}

static void check_frame(struct consumer *consumer, struct seen *seen,
			const uint8_t *bytes, const struct nr_record *record)
{
	static uint8_t built[TRAFFIC_FRAME_MAX];
	struct traffic_frame frame;
	uint64_t number;

	if (!bytes || !traffic_seq(bytes, record->caplen, &number)) {
		note_wrong(consumer, "a packet that nobody sent");
		return;
	}
	traffic_mix(&frame, number, NULL);
	if (traffic_build(&frame, built) != record->caplen ||
	    memcmp(built, bytes, record->caplen) != 0)
		note_wrong(consumer, "packet %llu has other bytes",
			   (unsigned long long)number);
	if (consumer->is_live && number < seen->last)
		note_wrong(consumer, "packet %llu behind %llu",
			   (unsigned long long)number,
			   (unsigned long long)seen->last - 1);
	seen->last = number + 1;
	if (consumer->is_live && is_given_again(consumer, number))
		consumer->again++;
}

static void check_batch(struct consumer *consumer, struct seen *seen,
			const struct nr_batch *batch)
{
	if (seen->count > 0 && batch->seq != seen->next_seq + batch->gap)
		note_wrong(consumer, "record %llu behind %llu, gap %llu",
			   (unsigned long long)batch->seq,
			   (unsigned long long)seen->next_seq,
			   (unsigned long long)batch->gap);
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *record = nr_batch_record(batch, i);

		check_frame(consumer, seen, nr_batch_data(batch, record),
			    record);
	}
	seen->next_seq = batch->seq + batch->count;
	seen->count += batch->count;
	seen->gaps += batch->gap;
	__atomic_fetch_add(&consumer->packets, batch->count, __ATOMIC_RELAXED);
}

/*
 * At its end all must add up: exactly, but that an engine that was killed may
 * have published a burst that it had not counted yet.
 */
static void check_counts(struct consumer *consumer, const struct seen *seen,
			 struct nr_capture *capture, int why)
{
	uint64_t slack = why == -EPIPE ? BURST : 0, sum, lost = 0;
	struct nr_stats stats = NR_STATS_INIT;

	nr_capture_stats(capture, &stats);
	for (int i = 0; i < NR_LOST_CAUSES; i++)
		lost += stats.lost[i];
	sum = stats.delivered + stats.filtered + stats.to_others + lost;
	if (stats.counts_shown &&
	    (stats.seen > sum + slack || sum > stats.seen + slack))
		note_wrong(consumer, "seen %llu, the sum is %llu (%d)",
			   (unsigned long long)stats.seen,
			   (unsigned long long)sum, why);
	if (stats.delivered > seen->count + slack ||
	    seen->count > stats.delivered + slack)
		note_wrong(consumer, "delivered %llu, read %llu (%d)",
			   (unsigned long long)stats.delivered,
			   (unsigned long long)seen->count, why);
	if (seen->gaps > lost + slack)
		note_wrong(consumer, "gaps of %llu, lost %llu (%d)",
			   (unsigned long long)seen->gaps,
			   (unsigned long long)lost, why);
	consumer->lost += lost;
	__atomic_fetch_add(&consumer->ended, 1, __ATOMIC_RELAXED);
}

/* One capture, to its end. */
static void read_to_end(struct consumer *consumer, struct nr_capture *capture)
{
	struct seen seen = { 0 };
	struct nr_batch batch;
	int r;

	__atomic_fetch_add(&consumer->attached, 1, __ATOMIC_RELAXED);
	while ((r = nr_capture_recv(capture, &batch, -1)) > 0) {
		check_batch(consumer, &seen, &batch);
		nr_batch_release(&batch);
	}
	if (r != -EPIPE)
		note_wrong(consumer, "ended by %d", r);
	check_counts(consumer, &seen, capture, r);
	nr_capture_close(capture);
}

/* Attaches for ever, to whatever broker there is. */
static int consume(void *data)
{
	struct consumer *consumer = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	options.wait_ms = -1;
	options.group = consumer->has_group ? "soak" : NULL;
	options.follow = consumer->follows;
	options.error_text = consumer->refusal;
	options.error_text_size = sizeof(consumer->refusal);
	while (consumer->wrong == 0) {
		consumer->refused = nr_capture_open("c", &options, &capture);
		/* It died meanwhile, or is full of those that died. */
		if (consumer->refused)
			sleep_ms(1);
		else
			read_to_end(consumer, capture);
	}
	return 1;
}

static void consumer_start(struct consumer *consumer)
{
	consumer->pid = child_start(UID, consume, consumer);
}

static void consumer_kill(struct consumer *consumer)
{
	if (chance(30))
		kill(consumer->pid, SIGSTOP);
	if (chance(30))
		sleep_ms((int)below(20));
	kill(consumer->pid, SIGKILL);
	child_wait(consumer->pid);
	consumer->pid = 0;
}

/* -------------------------------------------------------- what a broker has */

static struct live live;
static const char *keys;

/* The BPF objects that a process holds, by kind and id. */
struct objects {
	unsigned count;
	struct {
		char kind; /* m, p, l */
		uint32_t id;
	} object[OBJECTS_MAX];
};

static void add_object(struct objects *objects, const char *line)
{
	static const char *const kinds[] = { "map_id:", "prog_id:",
					     "link_id:" };

	for (int k = 0; k < 3 && objects->count < OBJECTS_MAX; k++) {
		size_t length = strlen(kinds[k]);

		if (strncmp(line, kinds[k], length) != 0)
			continue;
		objects->object[objects->count].kind = kinds[k][0];
		objects->object[objects->count++].id =
			(uint32_t)strtoul(line + length, NULL, 10);
	}
}

static void list_objects(struct objects *objects, pid_t pid)
{
	char path[64], line[256];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.20s", pid,
			 entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		while (file && fgets(line, sizeof(line), file))
			add_object(objects, line);
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);
}

static unsigned objects_left(const struct objects *objects)
{
	unsigned left = 0;

	for (unsigned i = 0; i < objects->count; i++) {
		uint32_t id = objects->object[i].id;
		int fd;

		if (objects->object[i].kind == 'm')
			fd = bpf_map_get_fd_by_id(id);
		else if (objects->object[i].kind == 'p')
			fd = bpf_prog_get_fd_by_id(id);
		else
			fd = bpf_link_get_fd_by_id(id);
		left += fd >= 0;
		if (fd >= 0)
			close(fd);
	}
	return left;
}

static bool program_is_gone(void *data)
{
	uint32_t id = 0;

	(void)data;
	return bpf_xdp_query_id((int)if_nametoindex("inside"), 0, &id) == 0 &&
	       id == 0;
}

static bool are_gone(void *objects)
{
	return objects_left(objects) == 0;
}

static bool pidfd_has_ended(void *data)
{
	struct pollfd fd = { .fd = *(int *)data, .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

/* ------------------------------------------------------------------- rounds */

struct totals {
	unsigned engines, wardens, both, consumers;
	uint64_t gone_max_ns; /* until a dead warden had left nothing */
	uint64_t back_max_ns; /* until the captures were back */
};

static struct totals totals;
static uint64_t seed;
static unsigned round_number;
static unsigned long warden_kb;		  /* when it was new */
static unsigned warden_fds, engine_kills; /* of this warden */

#define hold(condition, ...)                                                   \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, __VA_ARGS__);                          \
			cr_assert_fail("seed %llu, round %u: not so: %s",      \
				       (unsigned long long)seed, round_number, \
				       #condition);                            \
		}                                                              \
	} while (0)

static void raise_to(uint64_t *most, uint64_t value)
{
	if (value > *most)
		*most = value;
}

/* All of them, since there were @data. */
static bool all_have_attached(void *data)
{
	const uint32_t *before = data;

	for (int i = 0; i < CONSUMERS; i++)
		if (__atomic_load_n(&soak->consumers[i].attached,
				    __ATOMIC_RELAXED) == before[i])
			return false;
	return true;
}

static void check_consumers(void)
{
	for (int i = 0; i < CONSUMERS; i++) {
		const struct consumer *consumer = &soak->consumers[i];

		hold(consumer->wrong == 0, "consumer %d: %llu wrong: %s\n", i,
		     (unsigned long long)consumer->wrong, consumer->what);
		hold(consumer->again == 0, "consumer %d: %llu packets twice\n",
		     i, (unsigned long long)consumer->again);
	}
}

/* Whose refusals are to be seen. */
static void check_attached(const uint32_t before[CONSUMERS])
{
	check_consumers();
	for (int i = 0; i < CONSUMERS; i++) {
		const struct consumer *consumer = &soak->consumers[i];

		hold(consumer->attached != before[i],
		     "consumer %d cannot attach: %s (%s)\n", i,
		     nr_strerror(consumer->refused), consumer->refusal);
	}
}

static void note_attached(uint32_t before[CONSUMERS])
{
	for (int i = 0; i < CONSUMERS; i++)
		before[i] = __atomic_load_n(&soak->consumers[i].attached,
					    __ATOMIC_RELAXED);
}

/* Always at the same place, as one that has died leaves it. */
static void start_again(void)
{
	struct broker *broker = &live.broker;

	if (broker->socket[0] == '\0')
		live_broker(
			&live,
			"[source s]\n%s[channel c]\nsource = s\n"
			"allow = everyone\narena = 16M\nblock_size = 128K\n",
			keys);
	else
		broker_start_again(broker, live.network.netns);
	warden_kb = process_rss_kb(broker->pid);
	warden_fds = 0;
	engine_kills = 0;
}

/* The engine may be between two lives. */
static pid_t engine_now(void)
{
	char path[64];
	int pid = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children",
		 live.broker.pid, live.broker.pid);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%d", &pid) != 1)
		pid = 0;
	if (file)
		fclose(file);
	return pid;
}

/* Nothing of a dead broker is left, an XDP program within a second. */
static void check_gone(pid_t engine, int engine_fd, struct objects *objects)
{
	uint64_t start = now_ns();
	char look[128];

	if (engine_fd >= 0 &&
	    !wait_until(pidfd_has_ended, &engine_fd, ENGINE_GONE_MS)) {
		snprintf(look, sizeof(look),
			 "grep -h . /proc/%d/status /proc/%d/task/*/stack >&2",
			 engine, engine);
		hold(system(look) < 0, "the engine lives on\n");
	}
	hold(wait_until(program_is_gone, NULL, GONE_MS),
	     "an XDP program is left\n");
	raise_to(&totals.gone_max_ns, now_ns() - start);
	/* Return pages are also their captures', which let go at the end. */
	hold(wait_until(are_gone, objects, BACK_MS),
	     "%u of %u BPF objects are left\n", objects_left(objects),
	     objects->count);
}

/* With an engine killed at the same time, or not. */
static void kill_warden(bool with_engine)
{
	struct objects objects = { 0 };
	pid_t engine = engine_now();
	int engine_fd = engine ? (int)syscall(SYS_pidfd_open, engine, 0) : -1;
	struct stat st;

	list_objects(&objects, live.broker.pid);
	if (engine)
		list_objects(&objects, engine);
	if (with_engine && engine_fd >= 0 && chance(50))
		syscall(SYS_pidfd_send_signal, engine_fd, SIGKILL, NULL, 0);
	kill(live.broker.pid, SIGKILL);
	if (with_engine && engine_fd >= 0)
		syscall(SYS_pidfd_send_signal, engine_fd, SIGKILL, NULL, 0);
	hold(child_wait(live.broker.pid) == 256 + SIGKILL, "?\n");
	check_gone(engine, engine_fd, &objects);
	if (engine_fd >= 0)
		close(engine_fd);
	hold(lstat(live.broker.socket, &st) == 0, "who removed it?\n");
	start_again();
}

static bool has_new_engine(void *data)
{
	pid_t now = engine_now();

	return now != 0 && now != *(pid_t *)data && broker_answers(NULL);
}

/* Its warden starts another, later each time. */
static void kill_engine(void)
{
	pid_t engine = engine_now();

	if (engine == 0)
		return;
	__atomic_store_n(&soak->forgiven_until_ns, UINT64_MAX,
			 __ATOMIC_RELAXED);
	kill(engine, SIGKILL);
	engine_kills++;
	hold(wait_until(has_new_engine, &engine, BACK_MS),
	     "there is no new engine\n");
	__atomic_store_n(&soak->forgiven_until_ns, now_ns() + FORGIVEN_NS,
			 __ATOMIC_RELAXED);
}

static bool nobody_waits(void *data)
{
	static struct broker_stat stat;

	(void)data;
	broker_read_stat(&stat, "c");
	return stat.captures == CONSUMERS * stat.channel_lanes;
}

/* A warden with the same captures has the same descriptors and memory. */
static void check_warden(void)
{
	unsigned fds = process_fds(live.broker.pid);
	unsigned long kb = process_rss_kb(live.broker.pid);

	if (warden_fds == 0)
		warden_fds = fds;
	hold(fds <= warden_fds, "the warden has %u descriptors, had %u\n", fds,
	     warden_fds);
	hold(kb <= warden_kb + GROWTH_MAX_KB,
	     "the warden has %lu kB, had %lu\n", kb, warden_kb);
}

/* The others stay attached. */
static void kill_consumers(uint32_t before[CONSUMERS])
{
	unsigned first = below(CONSUMERS), count = 1 + below(3);

	for (unsigned i = 0; i < CONSUMERS; i++) {
		unsigned index = (first + i) % CONSUMERS;

		if (i >= count) {
			before[index] = UINT32_MAX;
			continue;
		}
		consumer_kill(&soak->consumers[index]);
		consumer_start(&soak->consumers[index]);
		totals.consumers++;
	}
}

static void kill_somebody(uint32_t before[CONSUMERS])
{
	uint32_t dice = below(100);
	bool both = dice >= 90;

	if (dice < 60) {
		kill_consumers(before);
	} else if (dice < 70 && engine_kills == 0) {
		kill_engine();
		totals.engines++;
	} else {
		kill_warden(both);
		totals.wardens += !both;
		totals.both += both;
	}
}

static void play_round(void)
{
	uint32_t before[CONSUMERS];
	uint64_t start;

	/* In the middle of attaches, or when all is at work. */
	sleep_ms((int)below(40));
	note_attached(before);
	kill_somebody(before);
	start = now_ns();
	if (chance(30))
		return; /* the next one comes before they are back */
	if (!wait_until(all_have_attached, before, BACK_MS))
		check_attached(before);
	hold(wait_until(nobody_waits, NULL, BACK_MS), "not all are there\n");
	raise_to(&totals.back_max_ns, now_ns() - start);
	check_consumers();
	check_warden();
}

/* ---------------------------------------------------------------- the tests */

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void start_consumers(bool is_live)
{
	soak = shared_memory(sizeof(*soak));
	for (uint32_t i = 0; i < CONSUMERS; i++) {
		soak->consumers[i].id = i;
		soak->consumers[i].has_group = i % 3 == 1;
		soak->consumers[i].follows = i % 2;
		soak->consumers[i].is_live = is_live;
		consumer_start(&soak->consumers[i]);
	}
}

static void say(const char *backend)
{
	uint64_t packets = 0, lost = 0, attached = 0, ended = 0;

	for (int i = 0; i < CONSUMERS; i++) {
		packets += soak->consumers[i].packets;
		lost += soak->consumers[i].lost;
		attached += soak->consumers[i].attached;
		ended += soak->consumers[i].ended;
	}
	fprintf(stderr,
		"%s, seed %llu: %u rounds: killed %u engines, %u wardens, %u "
		"times both, %u consumers; %llu captures, %llu of them to a "
		"broker's end; %llu packets checked, %llu lost; all gone in "
		"%llu ms, all back in %llu ms\n",
		backend, (unsigned long long)seed, round_number, totals.engines,
		totals.wardens, totals.both, totals.consumers,
		(unsigned long long)attached, (unsigned long long)ended,
		(unsigned long long)packets, (unsigned long long)lost,
		(unsigned long long)totals.gone_max_ns / 1000000,
		(unsigned long long)totals.back_max_ns / 1000000);
}

static void play(const char *backend, bool is_live)
{
	static struct stream_of_frames frames = { .interface = "outside",
						  .describe = traffic_mix,
						  .rate = RATE };
	uint64_t rounds = number_from("NETRING_SOAK_ROUNDS", ROUNDS);

	seed = number_from("NETRING_SOAK_SEED", 1);
	random_seed(seed);
	start_again();
	start_consumers(is_live);
	frames_start(&frames);
	while (round_number < rounds) {
		round_number++;
		play_round();
		if (round_number % 100 == 0)
			say(backend);
	}
	for (int i = 0; i < CONSUMERS; i++)
		consumer_kill(&soak->consumers[i]);
	check_consumers();
	frames_stop(&frames);
	live_stop(&live);
	hold(wait_until(program_is_gone, NULL, GONE_MS),
	     "an XDP program is left\n");
	say(backend);
}

Test(soak, of_af_packet)
{
	live_network(&live);
	keys = "interface = inside\nring_size = 4M\n";
	play("af_packet", true);
}

Test(soak, of_af_xdp)
{
	live_network(&live);
	keys = "interface = inside\nbackend = xdp\nsmall_pages = yes\n";
	play("af_xdp", true);
}

Test(soak, of_replay)
{
	const struct traffic_plan plan = { .describe = traffic_mix,
					   .count = 20000 };
	static char text[256];
	FILE *file;

	live_network(&live);
	file = fopen(test_path("trace.pcap"), "we");
	cr_assert(file && traffic_write_trace(file, &plan) == 0);
	cr_assert_eq(fclose(file), 0);
	snprintf(text, sizeof(text),
		 "backend = replay\nfile = %s\nrate = %d\nloop = yes\n",
		 test_path("trace.pcap"), RATE);
	keys = text;
	play("replay", false);
}
