/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an engine that died leaves behind: a ring, how far it has come in it,
 * counters; and, if it had been taken over, anything it liked to write there.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "live.h"
#include "random.h"
#include "source_packet.h"
#include "users.h"
#include "warden_packet.h"

static struct live live;
static struct broker_stat stat;
static struct command command;
static unsigned engines; /* that have served */

static void make_network(void)
{
	live_network(&live);
}

TestSuite(restart_ring, .init = make_network, .timeout = 120);

static void start(const char *keys)
{
	live_broker(&live,
		    "[source lan]\ninterface = inside\nsmall_pages = yes\n%s"
		    "[channel lan]\nsource = lan\nallow = everyone\n",
		    keys);
	engines = 1;
}

static bool is_served(void)
{
	return broker_said_times(&live.broker, "serving") >= engines;
}

/* Returns when the next one serves. */
static void replace_engine(void)
{
	kill(broker_engine(&live.broker), SIGKILL);
	engines++;
	eventually(is_served());
}

static void send_some(uint64_t first, uint64_t count)
{
	struct traffic_frame frame = { .seq = first };

	cr_assert_eq(traffic_send_like(live.traffic, &frame, count, 0), 0);
}

static const struct nr_msg_source *look(void)
{
	broker_read_stat(&stat, NULL);
	return &stat.source[0];
}

/* ------------------------------------------------------------- the counters */

#define SMALL_RING "ring_size = 1M\nring_block = 128K\n"
#define FLOOD 20000

static bool has_all(uint64_t sent)
{
	const struct nr_msg_source *source = look();

	return source->captured + source->kernel_drops == sent;
}

Test(restart_ring, drops_between_engines_are_the_next_ones)
{
	uint64_t drops;

	start(SMALL_RING);
	/* Engines that die young: the next is waited for. */
	for (unsigned i = 0; i < 3; i++)
		replace_engine();
	send_some(0, 100);
	eventually(has_all(100));
	kill(broker_engine(&live.broker), SIGKILL);
	engines++;
	eventually(broker_said(&live.broker, "in 800 ms"));
	send_some(100, FLOOD);
	eventually(is_served() && has_all(FLOOD));
	drops = look()->kernel_drops;
	cr_assert_gt(drops, 0);
	cr_assert_gt(look()->freezes, 0);
	cr_assert_eq(look()->drops_before, 0);
	/* None twice, none forgotten. */
	replace_engine();
	cr_assert_eq(look()->kernel_drops, 0);
	cr_assert_eq(look()->drops_before, drops);
	send_some(FLOOD, 10);
	eventually(look()->captured == 10);
	cr_assert_eq(look()->kernel_drops, 0);
	live_stop(&live);
}

Test(restart_ring, a_ring_that_a_reload_has_changed_is_the_one_that_is_kept)
{
	start(SMALL_RING);
	cr_assert_eq(look()->ring_bytes, 1 << 20);
	network_run(&live.network,
		    "sed -i 's/ring_size = 1M/ring_size = 2M/' %s.conf",
		    live.broker.socket);
	command_reload();
	cr_assert_eq(look()->ring_bytes, 2 << 20);
	replace_engine();
	cr_assert(broker_said(&live.broker, "goes on with the ring it had"));
	cr_assert_eq(look()->ring_bytes, 2 << 20);
	send_some(0, 10);
	eventually(look()->captured == 10);
	live_stop(&live);
}

/* --------------------------------------------------------------- crash loops
 */

Test(restart_ring, engines_that_die_young_are_waited_for_and_counted)
{
	start("");
	cr_assert_eq(look()->captured, 0);
	cr_assert_eq(stat.broker.restarts, 0);
	cr_assert_eq(command_run(&command, "netring stat"), 0);
	cr_assert_not(strstr(command.out, "restarted"));
	for (unsigned i = 1; i <= 4; i++) {
		char words[64];

		replace_engine();
		snprintf(words, sizeof(words), "(for the %uth time) in %u ms",
			 i, 50u << i);
		cr_assert(broker_said(&live.broker, words), "%s", words);
	}
	look();
	cr_assert_eq(stat.broker.restarts, 4);
	cr_assert_leq(stat.broker.died_ns, stat.broker.started_ns);
	cr_assert_eq(command_run(&command, "netring stat"), 0);
	cr_assert(strstr(command.out, "engine restarted 4 times, last "));
	cr_assert_eq(command_run(&command, "netring stat --json"), 0);
	cr_assert(json_is_valid(command.out));
	cr_assert_eq(json_number_of(command.out, "restarts"), 4);
	/* One that has served for a second has paid for all of them. */
	sleep_ms(1050);
	replace_engine();
	cr_assert_not(broker_said(&live.broker, "(for the 5th time)"));
	live_stop(&live);
}

/* Told to read its configuration, and to stop, while there is no engine. */
Test(restart_ring, signals_between_engines_are_not_lost)
{
	start("");
	for (unsigned i = 0; i < 3; i++)
		replace_engine();
	kill(broker_engine(&live.broker), SIGKILL);
	eventually(broker_said(&live.broker, "in 800 ms"));
	kill(live.broker.pid, SIGHUP);
	eventually(broker_said(&live.broker, "configuration was read again"));
	kill(broker_engine(&live.broker), SIGKILL);
	eventually(broker_said(&live.broker, "in 1600 ms"));
	live_stop(&live);
}

/* It went together with the engine. */
Test(restart_ring, an_interface_that_is_gone_keeps_no_engine_from_serving)
{
	start("lanes = 2\n");
	for (unsigned i = 0; i < 3; i++)
		replace_engine();
	kill(broker_engine(&live.broker), SIGKILL);
	engines++;
	eventually(broker_said(&live.broker, "in 800 ms"));
	network_run(&live.network, "ip link del inside");
	eventually(is_served());
	cr_assert_eq(look()->state, NR_SOURCE_GONE);
	eventually(broker_said(&live.broker, "inside is gone"));
	network_run(&live.network,
		    "ip link add outside type veth peer name inside && "
		    "ip link set outside up && ip link set inside up");
	eventually(look()->state == NR_SOURCE_RUNNING &&
		   stat.source[1].state == NR_SOURCE_RUNNING);
	traffic_close(live.traffic);
	cr_assert_eq(traffic_open(&live.traffic, "outside"), 0);
	send_some(0, 100);
	eventually(look()->captured + stat.source[1].captured == 100);
	live_stop(&live);
}

Test(restart_ring, many_restarts_cost_the_warden_nothing_and_come_later)
{
	unsigned long rss = 0;
	unsigned fds = 0;

	start("lanes = 2\n");
	for (unsigned i = 0; i < 34; i++) {
		sleep_ms(1050);
		replace_engine();
		if (i == 1) {
			fds = process_fds(live.broker.pid);
			rss = process_rss_kb(live.broker.pid);
		}
	}
	cr_assert_not(broker_said(&live.broker, "(for the 32th time)"));
	cr_assert(broker_said(&live.broker, "(for the 33th time) in 100 ms"));
	cr_assert(broker_said(&live.broker, "(for the 34th time) in 200 ms"));
	cr_assert_eq(process_fds(live.broker.pid), fds);
	cr_assert_leq(process_rss_kb(live.broker.pid), rss + 64);
	send_some(0, 10);
	eventually(look()->captured + stat.source[1].captured == 10);
	live_stop(&live);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A second is what it may take; a machine that is busy with tests has more. */
Test(restart_ring, an_engine_that_was_killed_is_followed_within_a_second)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	int64_t least = INT64_MAX, since, ms;

	options.wait_ms = 10000;
	start("");
	for (unsigned i = 0; i < 3; i++) {
		sleep_ms(1050);
		kill(broker_engine(&live.broker), SIGKILL);
		since = now_ms();
		while (nr_capture_open("lan", &options, &capture))
			cr_assert_lt(now_ms() - since, 10000);
		ms = now_ms() - since;
		least = ms < least ? ms : least;
		fprintf(stderr, "attached %d ms after the kill\n", (int)ms);
		nr_capture_close(capture);
	}
	cr_assert_lt(least, 1000);
	cr_assert_eq(look()->state, NR_SOURCE_RUNNING);
	cr_assert_eq(stat.broker.restarts, 3);
	live_stop(&live);
}

/* ----------------------------------------------------------- who is back */

#define HELD 1000
/* Has what she had, and late; the other user is root. */
#define ALICE 61001

static void open_as(uid_t uid, struct taker *taker)
{
	cr_assert_eq(seteuid(uid), 0);
	taker_open(taker, "lan", 0);
	cr_assert_eq(seteuid(0), 0);
}

/* Each of the packets up to @count, which a reader may have had before. */
static bool has_each(struct taker *taker, uint64_t count)
{
	static uint8_t has[2 * HELD];
	uint64_t found = 0, seq;

	taker_take(taker);
	memset(has, 0, sizeof(has));
	for (size_t i = 0; i < taker->count; i++) {
		const struct taken *taken = &taker->packets[i];

		if (traffic_seq(taken->bytes, taken->record.caplen, &seq) &&
		    seq < count)
			found += !has[seq]++;
	}
	return found == count;
}

/*
 * The next engine is told who had captures on a ring, not how many there were:
 * who comes back with more than before starts it for nobody else.
 */
Test(restart_ring, more_captures_of_one_user_cost_another_none_of_its_packets)
{
	struct taker alice, others[3];

	start("");
	open_as(ALICE, &alice);
	taker_open(&others[0], "lan", 0);
	sleep_ms(1050); /* served so long that another follows at once */
	kill(broker_engine(&live.broker), SIGKILL);
	send_some(0, HELD);
	engines++;
	taker_close(&alice);
	taker_close(&others[0]);
	eventually(is_served());
	for (unsigned i = 0; i < 3; i++)
		taker_open(&others[i], "lan", 0);
	/* A lane that has been started has given them something by then. */
	for (unsigned ms = 0; ms < 100; ms++) {
		cr_assert_eq(taker_take(&others[ms % 3]), 0);
		sleep_ms(1);
	}
	cr_assert_eq(look()->state, NR_SOURCE_WAITING);
	open_as(ALICE, &alice);
	eventually(has_each(&alice, HELD));
	for (unsigned i = 0; i < 3; i++)
		eventually(has_each(&others[i], HELD));
	cr_assert_eq(look()->kernel_drops, 0);
	taker_close(&alice);
	for (unsigned i = 0; i < 3; i++)
		taker_close(&others[i]);
	live_stop(&live);
}

/* Nor does it start before its time because they are too many to remember. */
Test(restart_ring, more_users_than_can_be_remembered_are_waited_for)
{
	static struct taker takers[USERS_MAX + 1];
	struct taker late;

	start("");
	for (unsigned i = 0; i <= USERS_MAX; i++)
		open_as(ALICE + i, &takers[i]);
	sleep_ms(1050);
	kill(broker_engine(&live.broker), SIGKILL);
	send_some(0, HELD);
	engines++;
	eventually(is_served());
	for (unsigned i = 0; i < USERS_MAX; i++) {
		taker_close(&takers[i]);
		open_as(ALICE + i, &takers[i]);
	}
	cr_assert_eq(taker_take(&takers[0]), 0);
	cr_assert_eq(look()->state, NR_SOURCE_WAITING);
	open_as(ALICE + USERS_MAX, &late);
	for (unsigned i = 0; i < USERS_MAX; i++)
		eventually(has_each(&takers[i], HELD));
	eventually(has_each(&late, HELD));
	taker_close(&late);
	for (unsigned i = 0; i <= USERS_MAX; i++)
		taker_close(&takers[i]);
	live_stop(&live);
}

/* ------------------------------------------------------------ a hostile ring
 */

static struct ring {
	uint8_t *base;
	size_t size;
	uint32_t block_size;
} ring;

static void map_ring(uint32_t block_size)
{
	int fd = live_socket(&live);

	ring.size = look()->ring_bytes;
	ring.block_size = block_size;
	ring.base = mmap(NULL, ring.size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, 0);
	cr_assert(ring.base != MAP_FAILED);
	close(fd);
}

static struct tpacket_block_desc *block_at(size_t i)
{
	return (void *)(ring.base + i * ring.block_size);
}

static struct tpacket_block_desc *ready_block(void)
{
	for (size_t i = 0; i < ring.size / ring.block_size; i++)
		if (__atomic_load_n(&block_at(i)->hdr.bh1.block_status,
				    __ATOMIC_ACQUIRE) &
		    TP_STATUS_USER)
			return block_at(i);
	return NULL;
}

static struct tpacket3_hdr *first_packet(struct tpacket_block_desc *block)
{
	return (void *)((uint8_t *)block + block->hdr.bh1.offset_to_first_pkt);
}

#define LIE(name, statement)                                                   \
	static void name(struct tpacket_block_desc *block)                     \
	{                                                                      \
		struct tpacket_hdr_v1 *head = &block->hdr.bh1;                 \
		struct tpacket3_hdr *packet = first_packet(block);             \
                                                                               \
		(void)head;                                                    \
		(void)packet;                                                  \
		statement;                                                     \
	}
LIE(endless, head->num_pkts = UINT32_MAX)
LIE(one_more, head->num_pkts++)
LIE(first_far, head->offset_to_first_pkt = UINT32_MAX)
LIE(first_at_the_end, head->offset_to_first_pkt = ring.block_size - 8)
LIE(first_odd, head->offset_to_first_pkt += 1)
LIE(next_far, packet->tp_next_offset = UINT32_MAX - 7)
LIE(next_at_the_end, packet->tp_next_offset = ring.block_size - 64)
/* To the first from the second: as far as 32 bits go, it lies in the block. */
LIE(next_back, ((struct tpacket3_hdr *)(void *)((uint8_t *)packet +
						packet->tp_next_offset))
		       ->tp_next_offset = 0u - packet->tp_next_offset)
LIE(next_odd, packet->tp_next_offset += 1)
LIE(next_here, packet->tp_next_offset = 0)
LIE(long_packet, packet->tp_snaplen = UINT32_MAX)
LIE(longer_than_its_block, packet->tp_snaplen = ring.block_size)
LIE(bytes_in_the_header, packet->tp_mac = 8)
LIE(another_number, head->seq_num += 5)
LIE(all_ones, (memset(ring.base, 0xff, ring.size)))
LIE(all_zero, (memset(ring.base, 0, ring.size)))

static void all_ready(struct tpacket_block_desc *block)
{
	(void)block;
	for (size_t i = 0; i < ring.size / ring.block_size; i++)
		block_at(i)->hdr.bh1.block_status = TP_STATUS_USER;
}

/* Each of its threads stops by itself, some later than the others. */
static bool is_stopped(pid_t pid)
{
	return command_run(&command,
			   "cat /proc/%d/task/*/stat | "
			   "grep -qv '^[0-9]* ([^)]*) T'",
			   (int)pid) == 1;
}

static void stop_engine(void)
{
	pid_t engine = broker_engine(&live.broker);

	kill(engine, SIGSTOP);
	eventually(is_stopped(engine));
}

/* Packets lie in a ring that a stopped engine has lied in, and then dies. */
static void lie(void (*write)(struct tpacket_block_desc *))
{
	map_ring(128 << 10);
	stop_engine();
	send_some(0, 20);
	eventually(ready_block());
	write(ready_block());
	munmap(ring.base, ring.size);
	replace_engine();
}

#define NEW_FIRST 1000000u

/* A packet that is sent now is given to a capture, of this engine or the next.
 */
static bool goes_on(void *data)
{
	struct taker *taker = data;
	static uint64_t next = NEW_FIRST;
	struct nr_batch batch;
	bool is_new = false;
	uint64_t seq;
	int n;

	send_some(next++, 1);
	while ((n = nr_capture_recv(taker->capture, &batch, 0)) > 0) {
		for (uint32_t i = 0; i < batch.count; i++) {
			const struct nr_record *r = nr_batch_record(&batch, i);

			is_new |= traffic_seq(nr_batch_data(&batch, r),
					      r->caplen, &seq) &&
				  seq >= NEW_FIRST;
		}
		nr_batch_release(&batch);
	}
	if (n < 0)
		cr_assert_eq(nr_capture_reattach(taker->capture, 10000), 0);
	return is_new;
}

/* Dead are the liar, and at most one that has not believed it. */
static void check_goes_on(void)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct taker taker = { 0 };

	options.wait_ms = 10000; /* it may end while it answers */
	cr_assert_eq(nr_capture_open("lan", &options, &taker.capture), 0);
	cr_assert(wait_until(goes_on, &taker, 10000));
	taker_close(&taker);
	look();
	cr_assert_eq(stat.broker.restarts,
		     1 + broker_said(&live.broker, "opened anew"),
		     "another engine has died of it");
}

Test(restart_ring, nothing_that_another_engine_wrote_is_believed)
{
	static const struct {
		const char *name;
		void (*write)(struct tpacket_block_desc *block);
	} lies[] = {
		{ "endless", endless },
		{ "one more", one_more },
		{ "first far", first_far },
		{ "first at the end", first_at_the_end },
		{ "first odd", first_odd },
		{ "next far", next_far },
		{ "next at the end", next_at_the_end },
		{ "next back", next_back },
		{ "next odd", next_odd },
		{ "next here", next_here },
		{ "long packet", long_packet },
		{ "longer than its block", longer_than_its_block },
		{ "bytes in the header", bytes_in_the_header },
		{ "another number", another_number },
		{ "all ones", all_ones },
		{ "all zero", all_zero },
		{ "all ready", all_ready },
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		start(SMALL_RING);
		lie(lies[i].write);
		check_goes_on();
		cr_assert(broker_said(&live.broker, "opened anew"), "%s",
			  lies[i].name);
		broker_stop(&live.broker);
	}
	traffic_close(live.traffic);
}

/* Of words in headers, where it hurts. */
static void any_lie(struct tpacket_block_desc *block)
{
	uint32_t *words = (void *)block;

	for (uint32_t left = 1 + below(8); left > 0; left--) {
		uint32_t at = below(100);

		if (chance(50))
			words[at] ^= 1u << below(32);
		else
			words[at] = below(UINT32_MAX);
	}
}

Test(restart_ring, whatever_another_engine_wrote_the_next_goes_on)
{
	random_seed(17);
	for (unsigned i = 0; i < 30; i++) {
		start(SMALL_RING);
		lie(any_lie);
		check_goes_on();
		broker_stop(&live.broker);
	}
	traffic_close(live.traffic);
}

/* ------------------------------------------------ two engines on one ring */

static struct config_source config;
static struct packet_socket ring_socket = { .fd = -1 };
static struct priv_reply geometry;

static struct source *take_ring(bool is_kept)
{
	struct source *source;

	void *base =
		mmap(NULL, geometry.packet.ring_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, ring_socket.fd, 0);

	cr_assert_neq(base, MAP_FAILED, "%s", strerror(errno));
	geometry.packet.is_kept = is_kept;
	cr_assert_eq(source_packet_new(&source, &config, base,
				       dup(ring_socket.epoll_fd), &geometry, 0),
		     0);
	return source;
}

static int take_burst(struct source *source, struct burst *burst, uint32_t most)
{
	int n = 0;

	for (int ms = 0; n == 0 && ms < 10000; ms++) {
		n = source->ops->burst(source, burst, most, SIZE_MAX);
		sleep_ms(n == 0);
	}
	return n;
}

static void open_ring(void)
{
	config_source_init(&config, "lan");
	config.interface_count = 1;
	config.ring_size = 1 << 20;
	config.ring_block = 128 << 10;
	strcpy(config.interfaces[0], "inside");
	cr_assert_eq(asroot_packet_open(&config, 0, 0, &ring_socket,
					&ring_socket, &geometry),
		     0);
	cr_assert_eq(asroot_packet_start(&config, &ring_socket), 0);
}

static uint64_t seq_of(const struct packet *packet)
{
	uint64_t seq = UINT64_MAX;

	cr_assert(traffic_seq(packet->data, packet->caplen, &seq));
	return seq;
}

Test(restart_ring, the_next_goes_on_behind_the_last_packet_done)
{
	static struct burst burst;
	struct source *source;

	open_ring();
	source = take_ring(false);
	send_some(0, 10);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(take_burst(source, &burst, 1), 1);
		source->ops->done(source);
	}
	cr_assert_eq(take_burst(source, &burst, 1), 1); /* not done */
	source->ops->free(source);
	source = take_ring(true);
	for (unsigned i = 4; i < 10; i++) {
		cr_assert_eq(take_burst(source, &burst, 1), 1);
		cr_assert_eq(seq_of(&burst.packets[0]), i);
		source->ops->done(source);
	}
	source->ops->free(source);
	/* All is done, and given back: it waits where the kernel is. */
	for (unsigned i = 0; i < 40; i++) {
		source = take_ring(true);
		cr_assert_eq(source->ops->burst(source, &burst, BURST_MAX,
						SIZE_MAX),
			     SOURCE_NOTHING);
		send_some(100 + i, 1);
		cr_assert_eq(take_burst(source, &burst, BURST_MAX), 1);
		cr_assert_eq(seq_of(&burst.packets[0]), 100 + i);
		source->ops->done(source);
		source->ops->free(source);
	}
	asroot_packet_close(&ring_socket);
	traffic_close(live.traffic);
}

/* Killed while it moves the MAC addresses, at any byte. */
Test(restart_ring, a_tag_that_was_half_restored_is_restored)
{
	static uint8_t expected[TRAFFIC_FRAME_MAX];
	static struct burst burst;
	struct traffic_frame frame = { .seq = 7,
				       .vlan_count = 1,
				       .vlan[0].tci = 123 };
	struct source *source;
	size_t length = traffic_build(&frame, expected);

	open_ring();
	source = take_ring(false);
	/* As a program sends it, so that the kernel takes the tag out. */
	send_through("outside", expected, length);
	for (size_t i = 0; i < 16; i++) {
		const struct packet *packet = &burst.packets[0];
		uint8_t *bytes;

		cr_assert_eq(take_burst(source, &burst, BURST_MAX), 1);
		cr_assert_eq(packet->caplen, length);
		cr_assert_eq(packet->wirelen, length);
		cr_assert_eq(packet->vlan_tci, 123);
		cr_assert(memcmp(packet->data, expected, length) == 0, "%zu",
			  i);
		bytes = (uint8_t *)(uintptr_t)packet->data;
		memset(bytes + i, 0xee, 16 - i);
		source->ops->free(source);
		source = take_ring(true);
	}
	source->ops->free(source);
	asroot_packet_close(&ring_socket);
	traffic_close(live.traffic);
}
