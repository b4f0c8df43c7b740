/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker of the hostile world, its traffic, and the honest consumers: each
 * knows the number that has to come next, and all bytes of it.
 */
#include "hostile.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIVE_RATE 4000
#define FRAMES_RATE 2000
#define WITNESS_UID 32000

enum { ON_REPLAY, ON_MOVING, ON_LIVE, ON_FRAMES, IN_GROUP, IN_GROUP_TOO };

struct witness witnesses[WITNESSES] = {
	[ON_REPLAY] = { .name = "all (replay)" },
	[ON_MOVING] = { .name = "moving (reloads)" },
	[ON_LIVE] = { .name = "live (af_packet)" },
	[ON_FRAMES] = { .name = "frames (xdp, loaned)" },
	[IN_GROUP] = { .name = "live, in a group" },
	[IN_GROUP_TOO] = { .name = "live, in a group" },
};

struct scene scene;
static struct network network;
static struct stream_of_frames live = { .describe = traffic_mix,
					.rate = LIVE_RATE,
					.cpu = -1 };
static struct stream_of_frames loaned = { .describe = traffic_mix,
					  .rate = FRAMES_RATE,
					  .cpu = -1 };
static uint64_t live_sent, loaned_sent;

/* --------------------------------------------------------------- checking */

static void raise_to(uint64_t *word, uint64_t value)
{
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

	while (old < value &&
	       !__atomic_compare_exchange_n(word, &old, value, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		continue;
}

/* Whoever attacked meanwhile may have caused it. */
static void blame(uint64_t from_ns, uint64_t to_ns,
		  void (*note)(struct tally *tally, uint64_t ns))
{
	for (unsigned user = 0; user < world->users; user++) {
		const struct stage *stage = &world->stages[user];

		if (stage->attack < ATTACKS_MAX && stage->start_ns < to_ns)
			note(&world->tallies[stage->attack], to_ns - from_ns);
		if (stage->previous < ATTACKS_MAX &&
		    stage->previous_end_ns > from_ns)
			note(&world->tallies[stage->previous], to_ns - from_ns);
	}
}

static void note_lane(struct tally *tally, uint64_t ns)
{
	raise_to(&tally->stall_ns, ns);
}

static void note_machine(struct tally *tally, uint64_t ns)
{
	raise_to(&tally->machine_ns, ns);
}

/* In a witness's process. Of the end, when nothing is sent, nothing counts. */
static void note_stall(uint64_t from_ns, uint64_t to_ns)
{
	uint32_t round = __atomic_load_n(&world->must_attack, __ATOMIC_ACQUIRE);

	if (round == ROUND_NONE)
		raise_to(&world->alone.stall_ns, to_ns - from_ns);
	else if (round < ROUND_LEAVE)
		raise_to(&world->stall_ns, to_ns - from_ns);
	if (round < ROUND_LEAVE)
		blame(from_ns, to_ns, note_lane);
}

/* The frame's bytes are those of its number, which is @honest->next or more. */
static bool is_frame(struct honest *honest, const struct nr_batch *batch,
		     uint32_t index, uint64_t *seq)
{
	static uint8_t must_be[TRAFFIC_FRAME_MAX];
	const struct nr_record *r = nr_batch_record(batch, index);
	const uint8_t *data = nr_batch_data(batch, r);
	struct traffic_frame frame;

	if (!data || !traffic_seq(data, r->caplen, seq) || *seq < honest->next)
		return false;
	traffic_mix(&frame, *seq, NULL);
	return traffic_build(&frame, must_be) == r->wirelen &&
	       r->caplen == r->wirelen && memcmp(data, must_be, r->caplen) == 0;
}

static bool check_frame(struct honest *honest, const struct nr_batch *batch,
			uint32_t index)
{
	int i = honest == witnesses[ON_LIVE].honest ? ON_LIVE : ON_FRAMES;
	uint64_t seq;

	if (!is_frame(honest, batch, index, &seq))
		return false;
	world->missing[i] += seq - honest->next;
	honest->next = seq + 1;
	return true;
}

/* Of a group each frame goes to one. */
static bool check_member(struct honest *honest, const struct nr_batch *batch,
			 uint32_t index)
{
	uint64_t seq;

	if (!is_frame(honest, batch, index, &seq) || seq >= LIVE_MAX)
		return false;
	honest->next = seq + 1;
	return !__atomic_exchange_n(&world->owners[seq], 1, __ATOMIC_RELAXED);
}

/*
 * On each CPU somebody whom only the machine can keep waiting: on a virtual one
 * all of its CPUs stand still now and then, lanes and all.
 */
static int watch_cpu(void *data)
{
	uint64_t last = scene_now_ns(), now;

	stay_on_cpu(*(unsigned *)data);
	while (world->must_attack < ROUND_LEAVE) {
		sleep_ms(1);
		now = scene_now_ns();
		raise_to(world->must_attack ? &world->machine_ns :
					      &world->alone.machine_ns,
			 now - last);
		blame(last, now, note_machine);
		last = now;
	}
	return 0;
}

static void watch_cpus(void)
{
	for (unsigned cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
		process_be_urgent(child_start(0, watch_cpu, &cpu));
}

/* --------------------------------------------------------------- the broker */

static const char *write_config(unsigned snaplen)
{
	const char *path = test_path("hostile.conf");
	FILE *file = fopen(path, "we");

	cr_assert(file, "%s: %s", path, strerror(errno));
	fprintf(file,
		"[broker]\nattach_rate = 200\n"
		"[source scene]\nbackend = replay\nfile = %s\nrate = %d\n"
		"loop = yes\n"
		"[source live]\ninterface = inside\npriority = 1\n"
		"[source frames]\nbackend = xdp\ninterface = inside2\n"
		"mode = generic\npriority = 1\n",
		test_path("scene.pcap"), SCENE_RATE);
	fprintf(file,
		"[channel all]\nsource = scene\nallow = everyone\n"
		"[channel none]\nsource = scene\nallow = everyone\n"
		"filter = udp and tcp\n"
		"[channel short]\nsource = scene\nallow = everyone\n"
		"snaplen = %d\n"
		"[channel closed]\nsource = scene\nallow = user:root\n"
		"[channel moving]\nsource = scene\nallow = everyone\n"
		"arena = 16M\nblock_size = 128K\nsnaplen = %u\n"
		"[channel live]\nsource = live\nallow = everyone\n"
		"[channel frames]\nsource = frames\nallow = everyone\n",
		SCENE_HEAD, snaplen);
	cr_assert_eq(fclose(file), 0);
	return path;
}

void world_reload(void)
{
	static unsigned times;
	char text[NR_TEXT_MAX] = "";
	int err;

	write_config(times++ % 2 ? 0 : 1000);
	err = nr_broker_reload(NULL, text, sizeof(text));
	cr_assert_eq(err, 0, "reload: %s: %s", nr_strerror(err), text);
}

static void start_witness(int i, const char *channel,
			  bool (*check)(struct honest *,
					const struct nr_batch *, uint32_t))
{
	struct honest *honest = honest_new(channel, WITNESS_UID + (uid_t)i);

	if (check != honest_check_trace)
		honest->next = 0;
	if (i == IN_GROUP || i == IN_GROUP_TOO) {
		honest->uid = WITNESS_UID + IN_GROUP;
		honest->group = "ids";
	}
	if (i == ON_FRAMES)
		honest->guarantee = 4; /* its blocks last longer */
	honest->follows = i == ON_MOVING;
	honest->is_urgent = true;
	honest->check = check;
	/* Of the others one shares its flows, and the lane of the others is
	 * of normal priority: it has the CPU that the scheduler gives it. */
	if (i == ON_LIVE || i == ON_FRAMES)
		honest->stalled = note_stall;
	witnesses[i].honest = honest;
	honest_start(honest);
}

void world_start(void)
{
	scene_write_trace(test_path("scene.pcap"));
	network_make(&network);
	network_run(&network,
		    "ip link add outside2 type veth peer name inside2\n"
		    "ip link set outside2 up\nip link set inside2 up\n");
	network_enter(&network);
	broker_start_args(&scene.broker, NULL, "-c", write_config(0), NULL);
	scene.engine = broker_engine(&scene.broker);
	world->owners = shared_memory(LIVE_MAX);
	watch_cpus();
	start_witness(ON_REPLAY, "all", honest_check_trace);
	start_witness(ON_MOVING, "moving", honest_check_trace);
	start_witness(ON_LIVE, "live", check_frame);
	start_witness(ON_FRAMES, "frames", check_frame);
	start_witness(IN_GROUP, "live", check_member);
	start_witness(IN_GROUP_TOO, "live", check_member);
	strcpy(live.interface, network.outside);
	strcpy(loaned.interface, "outside2");
	frames_start(&live);
	frames_start(&loaned);
	process_be_urgent(live.pid);
	process_be_urgent(loaned.pid);
}

/* ------------------------------------------------------------- accounting */

static uint64_t delivered_to(int i)
{
	return __atomic_load_n(&witnesses[i].honest->delivered,
			       __ATOMIC_ACQUIRE);
}

static uint64_t captured_by(const char *source, uint64_t *drops)
{
	static struct broker_stat stat;

	broker_read_stat(&stat, NULL);
	for (unsigned i = 0; i < stat.sources; i++)
		if (strcmp(stat.source[i].source, source) == 0) {
			*drops = stat.source[i].kernel_drops;
			return stat.source[i].captured;
		}
	cr_assert_fail("no source %s", source);
	return 0;
}

/* All that the broker has, its readers have too. */
static bool has_arrived(void *data)
{
	uint64_t drops, captured = captured_by("live", &drops);

	(void)data;
	return delivered_to(ON_LIVE) == captured &&
	       delivered_to(IN_GROUP) + delivered_to(IN_GROUP_TOO) ==
		       captured &&
	       delivered_to(ON_FRAMES) == captured_by("frames", &drops);
}

/*
 * 64 blocks, each closed after 8 ms: so long the kernel's ring holds what comes
 * when the machine, and with it the lane, stands still.
 */
#define RING_HOLDS_NS (64 * 8 * UINT64_C(1000000))

static bool account_for(const char *source, int i, uint64_t sent)
{
	uint64_t drops, captured = captured_by(source, &drops);
	uint64_t behind = sent - witnesses[i].honest->next;

	printf("%s: sent %llu, captured %llu, dropped by the kernel's ring "
	       "%llu, before it %llu, delivered %llu\n",
	       source, (unsigned long long)sent, (unsigned long long)captured,
	       (unsigned long long)drops,
	       (unsigned long long)(world->missing[i] + behind - drops),
	       (unsigned long long)delivered_to(i));
	return captured + world->missing[i] + behind == sent &&
	       (drops == 0 || world->machine_ns > RING_HOLDS_NS);
}

bool world_end(void)
{
	bool is_right;

	for (int i = 0; i < WITNESSES; i++)
		witnesses[i].stall_ns = witnesses[i].honest->stall_ns;
	players_begin(ROUND_LEAVE);
	live_sent = frames_stop(&live);
	loaned_sent = frames_stop(&loaned);
	is_right = wait_until(has_arrived, NULL, 10000);
	if (!is_right)
		printf("the group got %llu and %llu\n",
		       (unsigned long long)delivered_to(IN_GROUP),
		       (unsigned long long)delivered_to(IN_GROUP_TOO));
	is_right &= account_for("live", ON_LIVE, live_sent);
	is_right &= account_for("frames", ON_FRAMES, loaned_sent);
	for (int i = 0; i < WITNESSES; i++) {
		struct honest *honest = witnesses[i].honest;
		uint64_t before = delivered_to(i);

		if (i <= ON_MOVING) /* they still get packets */
			eventually(delivered_to(i) > before);
		__atomic_store_n(&honest->must_stop, 1, __ATOMIC_RELEASE);
		is_right &= child_wait(honest->pid) == 0 && honest->lost == 0 &&
			    honest->is_wrong == 0;
	}
	return is_right;
}
