/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configurations, good and bad. Each Test() has a process of its own, and so a
 * configuration of its own: `config`, and in `said` what the parser said.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

static struct config config;
static char said[65536];

#define LAN "[source lan]\ninterface = eth0\n"
#define CHANNEL "[channel c]\nsource = lan\n"

static bool says(const char *words)
{
	return strstr(said, words) != NULL;
}

static int parse_bytes(const char *text, size_t length)
{
	FILE *errors = fmemopen(said, sizeof(said), "w");
	FILE *file = fmemopen((void *)(uintptr_t)text, length, "r");
	int count;

	config_init(&config);
	count = config_parse(&config, file, "net.conf", errors);
	fclose(file);
	fclose(errors);
	return count;
}

static int parse(const char *text)
{
	return parse_bytes(text, strlen(text));
}

static void parses(const char *text)
{
	cr_assert(eq(int, parse(text), 0), "%s", said);
	cr_assert(eq(str, said, ""));
	cr_assert(config_is_sane(&config));
}

/* Whether one differs from another is asked of its bytes. */
Test(config, has_the_same_bytes_when_it_is_read_again)
{
	static struct config first;

	parses(LAN "backend = xdp\nqueues = 1\n" CHANNEL
		   "filter = udp\nallow = user:root, user:nobody\n");
	memcpy(&first, &config, sizeof(first));
	memset(&config, 0xff, sizeof(config));
	parses(LAN "backend = xdp\nqueues = 1\n" CHANNEL
		   "filter = udp\nallow = user:root, user:nobody\n");
	cr_assert(memcmp(&first, &config, sizeof(first)) == 0);
}

/* One message, at @line, that has @words in it. */
static void refuses(const char *text, int line, const char *words)
{
	char where[32];

	snprintf(where, sizeof(where), "net.conf:%d: ", line);
	cr_assert(eq(int, parse(text), 1), "%s", said);
	cr_assert(strncmp(said, where, strlen(where)) == 0, "%s", said);
	cr_assert(says(words), "%s\nlacks: %s", said, words);
	cr_assert(strchr(said, '\n') == said + strlen(said) - 1, "%s", said);
}

/* Line 3 of a source, and of a channel: the source is line 1 and 2. */
static void source_refuses(const char *key, const char *words)
{
	char text[512];

	snprintf(text, sizeof(text), LAN "%s\n" CHANNEL, key);
	refuses(text, 3, words);
}

static void channel_refuses(const char *key, const char *words)
{
	char text[512];

	snprintf(text, sizeof(text), LAN CHANNEL "%s\n", key);
	refuses(text, 5, words);
}

static void replay_refuses(const char *key, const char *words)
{
	char text[512];

	snprintf(
		text, sizeof(text),
		"[source lan]\nbackend = replay\nfile = /dev/null\n%s\n" CHANNEL,
		key);
	refuses(text, 4, words);
}

static const struct config_source *source_with(const char *keys)
{
	char text[512];

	snprintf(text, sizeof(text), LAN "%s\n" CHANNEL, keys);
	parses(text);
	return &config.sources[0];
}

static const struct config_channel *channel_with(const char *keys)
{
	char text[512];

	snprintf(text, sizeof(text), LAN CHANNEL "%s\n", keys);
	parses(text);
	return &config.channels[0];
}

/* --------------------------------------------------------------- defaults */

Test(config, a_broker_has_its_defaults)
{
	parses(LAN CHANNEL);
	cr_assert(eq(str, config.socket, "/run/netring/broker.sock"));
	cr_assert(eq(str, config.user, ""));
	cr_assert(eq(u32, config.max_connections, 64));
	cr_assert(eq(u32, config.max_captures, 64));
	cr_assert(eq(u32, config.max_guaranteed, 256));
	cr_assert(eq(u32, config.attach_rate, 20));
}

Test(config, a_source_has_its_defaults)
{
	const struct config_source *s = source_with("");

	cr_assert(eq(str, (char *)s->name, "lan"));
	cr_assert(eq(u32, s->line, 1));
	cr_assert(eq(u32, s->backend, BACKEND_PACKET));
	cr_assert(eq(u32, s->interface_count, 1));
	cr_assert(eq(str, (char *)s->interfaces[0], "eth0"));
	cr_assert(eq(u32, s->lanes, 1));
	cr_assert(eq(u32, s->fanout, FANOUT_HASH));
	cr_assert(eq(u64, s->ring_size, 64 << 20));
	cr_assert(eq(u32, s->ring_block, 512 << 10));
	cr_assert(eq(u32, s->retire_timeout, 8));
	cr_assert(not(s->promiscuous || s->ignore_outgoing || s->small_pages));
	cr_assert(not(s->offloads_off || s->fanout_defrag));
	cr_assert(eq(u32, s->program_length, 0));
	cr_assert(eq(i32, s->cpu, -1));
	cr_assert(eq(i32, s->priority, -1));
}

Test(config, a_channel_has_its_defaults)
{
	const struct config_channel *c = channel_with("");

	cr_assert(eq(u32, c->line, 3));
	cr_assert(eq(u64, c->arena_size, 64 << 20));
	cr_assert(eq(u32, c->block_size, 256 << 10));
	cr_assert(eq(u32, c->guaranteed, 50));
	cr_assert(eq(u32, c->snaplen, 0));
	cr_assert(not(c->allow_everyone));
	cr_assert(eq(u32, c->allow_count, 0));
}

Test(config, every_key_of_a_source_arrives)
{
	const struct config_source *s = source_with(
		"lanes = 4\nfanout = cpu\nfanout_defrag = yes\n"
		"fanout_rollover = yes\nring_size = 32M\nring_block = 512K\n"
		"retire_timeout = 20\npromiscuous = yes\n"
		"ignore_outgoing = yes\noffloads = off\nbusy_poll = 50\n"
		"prefer_busy_poll = yes\nbusy_poll_budget = 16\n"
		"timestamp = hardware\nsnaplen = 100\nsmall_pages = yes\n"
		"cpu = 1\npriority = 5\n");

	cr_assert(eq(u32, s->lanes, 4));
	cr_assert(eq(u32, s->fanout, FANOUT_CPU));
	cr_assert(s->fanout_defrag && s->fanout_rollover);
	cr_assert(eq(u64, s->ring_size, 32 << 20));
	cr_assert(eq(u32, s->ring_block, 512 << 10));
	cr_assert(eq(u32, s->retire_timeout, 20));
	cr_assert(s->promiscuous && s->ignore_outgoing && s->offloads_off);
	cr_assert(eq(u32, s->busy_poll, 50));
	cr_assert(s->prefer_busy_poll && s->small_pages);
	cr_assert(eq(u32, s->busy_poll_budget, 16));
	cr_assert(eq(u32, s->clock, CLOCK_HARDWARE));
	cr_assert(eq(u32, s->snaplen, 100));
	cr_assert(eq(i32, s->cpu, 1));
	cr_assert(eq(i32, s->priority, 5));
}

Test(config, every_key_of_the_broker_arrives)
{
	parses("[broker]\nsocket = /tmp/b.sock\nuser = daemon\ngroup = 77\n"
	       "max_connections = 1\nmax_captures = 2\nmax_guaranteed = 3\n"
	       "attach_rate = 4\n" LAN CHANNEL);
	cr_assert(eq(str, config.socket, "/tmp/b.sock"));
	cr_assert(eq(str, config.user, "daemon"));
	cr_assert(config.socket_gid_set);
	cr_assert(eq(u32, config.socket_gid, 77));
	cr_assert(eq(u32, config.max_connections, 1));
	cr_assert(eq(u32, config.max_captures, 2));
	cr_assert(eq(u32, config.max_guaranteed, 3));
	cr_assert(eq(u32, config.attach_rate, 4));
}

Test(config, every_key_of_a_replay_arrives)
{
	const struct config_source *s = &config.sources[0];

	parses("[source lan]\nbackend = replay\nfile = /dev/null\n"
	       "rate = 1000\nwait = 2\npreload = yes\nloop = yes\n" CHANNEL);
	cr_assert(eq(u32, s->backend, BACKEND_REPLAY));
	cr_assert(eq(str, (char *)s->file, "/dev/null"));
	cr_assert(eq(u32, s->rate_mode, RATE_FIXED));
	cr_assert(eq(u64, s->rate, 1000));
	cr_assert(eq(u32, s->wait, 2));
	cr_assert(s->preload && s->loop);
}

Test(config, every_key_of_a_channel_arrives)
{
	const struct config_channel *c = channel_with(
		"filter = udp\nsnaplen = 96\nallow = user:daemon, group:1 "
		"user:7\narena = 8M\nblock_size = 128K\nguaranteed = 10\n");

	cr_assert(eq(str, (char *)c->filter, "udp"));
	cr_assert(eq(u32, c->snaplen, 96));
	cr_assert(eq(u32, c->allow_count, 3));
	cr_assert(eq(u32, c->allow[0].id, 1));
	cr_assert(not(c->allow[0].is_group));
	cr_assert(c->allow[1].is_group);
	cr_assert(eq(u32, c->allow[2].id, 7));
	cr_assert(eq(u64, c->arena_size, 8 << 20));
	cr_assert(eq(u32, c->block_size, 128 << 10));
	cr_assert(eq(u32, c->guaranteed, 10));
}

Test(config, counts_are_shown_unless_there_is_a_filter)
{
	cr_assert(channel_with("")->show_counts);
	cr_assert(not(channel_with("filter = udp")->show_counts));
	cr_assert(channel_with("counts = yes\nfilter = udp")->show_counts);
	cr_assert(not(channel_with("counts = no")->show_counts));
}

Test(config, everyone_may_be_allowed)
{
	const struct config_channel *c = channel_with("allow = everyone");

	cr_assert(c->allow_everyone);
	cr_assert(eq(u32, c->allow_count, 0));
}

Test(config, interfaces_are_a_list_parted_by_commas_or_blanks)
{
	const struct config_source *s = &config.sources[0];

	parses("[source lan]\ninterface = eth0,eth1  eth2.100\n" CHANNEL);
	cr_assert(eq(u32, s->interface_count, 3));
	cr_assert(eq(str, (char *)s->interfaces[1], "eth1"));
	cr_assert(eq(str, (char *)s->interfaces[2], "eth2.100"));
}

Test(config, the_order_of_sections_does_not_matter)
{
	parses(CHANNEL "[source first]\ninterface = eth1\n" LAN);
	cr_assert(eq(u32, config.channels[0].source, 1));
}

/* --------------------------------------------------------------- profiles */

Test(config, a_profile_shapes_the_kernel_ring)
{
	const struct config_source *s = source_with("profile = throughput");

	cr_assert(eq(u64, s->ring_size, 256 << 20));
	cr_assert(eq(u32, s->ring_block, 4 << 20));
	cr_assert(eq(u32, s->retire_timeout, 60));
	s = source_with("profile = latency");
	cr_assert(eq(u64, s->ring_size, 16 << 20));
	cr_assert(eq(u32, s->ring_block, 256 << 10));
	cr_assert(eq(u32, s->retire_timeout, 1));
	s = source_with("profile = memory");
	cr_assert(eq(u64, s->ring_size, 16 << 20));
	cr_assert(eq(u32, s->ring_block, 1 << 20));
	cr_assert(eq(u32, s->retire_timeout, 100));
	s = source_with("profile = jumbo");
	cr_assert(eq(u64, s->ring_size, 64 << 20));
}

Test(config, a_key_goes_before_the_profile_in_either_order)
{
	const struct config_source *s =
		source_with("retire_timeout = 9\nprofile = latency");

	cr_assert(eq(u32, s->retire_timeout, 9));
	cr_assert(eq(u32, s->ring_block, 256 << 10));
	s = source_with("profile = latency\nretire_timeout = 9");
	cr_assert(eq(u32, s->retire_timeout, 9));
	cr_assert(eq(u32, s->ring_block, 256 << 10));
}

Test(config, a_profile_does_not_reach_the_next_source)
{
	parses("[source a]\ninterface = eth1\nprofile = latency\nfilter = "
	       "udp\n" LAN CHANNEL);
	cr_assert(eq(u64, config.sources[1].ring_size, 64 << 20));
	cr_assert(eq(u32, config.sources[1].program_length, 0));
}

/* ------------------------------------------------------------- the text */

Test(config, comments_and_blank_lines_mean_nothing)
{
	parses("\xef\xbb\xbf; one\n# two\n\n  ; three\n[source lan] ; four\n"
	       "interface = eth0\t; five = 5\n\n" CHANNEL);
	cr_assert(eq(str, (char *)config.sources[0].interfaces[0], "eth0"));
	cr_assert(eq(u32, config.sources[0].line, 5));
}

Test(config, lines_may_end_as_on_windows)
{
	parses("[source lan]\r\ninterface = eth0\r\n[channel c]\r\n"
	       "source = lan\r\n");
}

Test(config, an_indented_line_goes_on_with_the_value)
{
	const struct config_channel *c = channel_with(
		"filter = port 53 or ; dns\n ; a comment\n\n   port 5353\n"
		"\tor ether\n [0] = 1\n   or len = 7\n");

	cr_assert(eq(str, (char *)c->filter,
		     "port 53 or port 5353 or ether [0] = 1 or len = 7"));
}

Test(config, an_error_in_a_long_value_is_told_at_its_first_line)
{
	refuses(LAN CHANNEL "filter = port 53\n or\n prot 54\n", 5, "filter");
	/* Where it is compiled again there is no /etc/services. */
	refuses(LAN CHANNEL "filter = port domain\n", 5, "names are not");
}

Test(config, a_key_indented_under_another_is_told)
{
	refuses("[source lan]\n  interface = eth0\n  lanes = 2\n" CHANNEL, 3,
		"first column");
}

/* Terms until it is longer than @length. */
static char *long_filter(size_t length)
{
	char *text = calloc(1, length + 64);

	strcpy(text, "port 1");
	for (unsigned i = 2; strlen(text) < length; i++)
		sprintf(text + strlen(text), " or port %u", i);
	return text;
}

Test(config, a_long_line_arrives_as_it_was_written)
{
	static char text[CONFIG_FILTER_MAX + 256];

	for (size_t length = 150; length < 900; length++) {
		char *filter = long_filter(length);

		snprintf(text, sizeof(text), LAN CHANNEL "filter =  %s\n",
			 filter);
		cr_assert(eq(int, parse(text), 0), "%zu: %s", length, said);
		cr_assert(eq(str, (char *)config.channels[0].filter, filter));
		free(filter);
	}
}

Test(config, a_filter_may_be_almost_4096_characters_long)
{
	static char text[2 * CONFIG_FILTER_MAX];
	char *filter = long_filter(CONFIG_FILTER_MAX - 20);

	snprintf(text, sizeof(text), LAN CHANNEL "filter = %s ; %0500d\n",
		 filter, 0);
	parses(text);
	cr_assert(eq(str, (char *)config.channels[0].filter, filter));
	free(filter);
	filter = long_filter(CONFIG_FILTER_MAX + 1);
	snprintf(text, sizeof(text), LAN CHANNEL "filter = %s\n", filter);
	refuses(text, 5, "at most 4095 characters");
	free(filter);
}

Test(config, a_value_beyond_measure_is_told)
{
	static char text[32768];
	char *filter = long_filter(20000);

	snprintf(text, sizeof(text), LAN CHANNEL "filter = %s\n", filter);
	refuses(text, 5, "longer than 8000 characters");
	free(filter);
}

Test(config, a_long_path_is_not_broken_at_its_semicolons)
{
	char text[1024], path[512];

	memset(path, ';', sizeof(path));
	memcpy(path, "/dev/", 5);
	for (size_t i = 5; i < 300; i++)
		path[i] = i % 7 ? ';' : 'x';
	path[300] = '\0';
	snprintf(text, sizeof(text),
		 "[source lan]\nbackend = replay\nfile = %s\n" CHANNEL, path);
	cr_assert(eq(int, parse(text), 1));
	cr_assert(eq(str, (char *)config.sources[0].file, path));
}

Test(config, a_line_that_cannot_be_split_is_told)
{
	char text[1024];

	snprintf(text, sizeof(text), LAN CHANNEL "filter = %*s\n", 500, "x");
	refuses(text, 5, "too long a line");
}

Test(config, a_name_may_have_63_characters_but_not_64)
{
	char text[512], name[] = "0123456789_.-abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXY";

	cr_assert(eq(sz, strlen(name), 64));
	snprintf(text, sizeof(text), LAN "[channel %s]\nsource = lan\n",
		 name + 1);
	parses(text);
	cr_assert(eq(str, (char *)config.channels[0].name, name + 1));
	snprintf(text, sizeof(text), LAN "[channel %s]\nsource = lan\n", name);
	refuses(text, 3, "1 to 63 characters");
}

Test(config, a_name_has_only_plain_characters)
{
	refuses(LAN "[channel a b]\nsource = lan\n", 3, "a-z");
	refuses(LAN "[channel a/b]\nsource = lan\n", 3, "a-z");
	refuses(LAN "[channel a\x1b]\nsource = lan\n", 3, "a\\x1b");
}

Test(config, a_line_that_is_nothing_is_told)
{
	source_refuses("lanes 2", "KEY = VALUE");
	source_refuses("= 2", "KEY = VALUE");
	refuses(LAN CHANNEL "[source\n", 5, "[source NAME]");
	refuses(LAN "[channel c] source = lan\nsource = lan\n", 3,
		"on a line of its own");
}

Test(config, bytes_that_are_no_text_are_told)
{
	static const char text[] = LAN CHANNEL "fil\0ter = udp\n";

	cr_assert(eq(int, parse_bytes(text, sizeof(text) - 1), 1));
	cr_assert(says("net.conf:5: a NUL byte"), "%s", said);
}

Test(config, a_file_that_cannot_be_read_is_told)
{
	FILE *directory = fopen("/", "r");

	config_init(&config);
	cr_assert(gt(int, config_parse(&config, directory, "/", stderr), 0));
	fclose(directory);
}

/* ---------------------------------------------------- sections and keys */

Test(config, an_unknown_section_is_told_with_the_known_ones)
{
	refuses(LAN CHANNEL "[sorce x]\nfoo = bar\n", 5,
		"[sorce] (did you mean source?); there are [broker]");
	refuses(LAN CHANNEL "[]\n", 5, "there are [broker]");
}

Test(config, an_unknown_key_is_told_with_the_known_ones)
{
	source_refuses("lane = 2", "lane (did you mean lanes?)");
	source_refuses("bogus = 2", "a source has: backend interface lanes");
	channel_refuses("bogus = 2", "a channel has: source filter");
}

Test(config, a_key_of_another_section_is_told_where_it_belongs)
{
	source_refuses("allow = everyone",
		       "allow is a key of [channel NAME], not of [source]");
	channel_refuses("socket = x", "is a key of [broker]");
}

Test(config, a_key_outside_of_a_section_is_told_once)
{
	refuses("lanes = 2\nlanes = 3\n" LAN CHANNEL, 1, "in a section");
}

Test(config, a_key_may_be_given_once_only)
{
	refuses(LAN "lanes = 2\nlanes = 2\n" CHANNEL, 4,
		"lanes is given already, in line 3");
}

Test(config, sections_may_not_repeat)
{
	refuses("[broker]\n" LAN CHANNEL "[broker]\n", 6, "in line 1");
	refuses(LAN LAN CHANNEL, 3, "[source lan] is there already, in line 1");
	refuses(LAN CHANNEL CHANNEL, 5, "[channel c] is there already");
}

Test(config, sections_have_a_name_or_have_none)
{
	refuses("[broker main]\n" LAN CHANNEL, 1, "takes no name");
	refuses(LAN CHANNEL "[channel ]\n", 5, "must be [channel NAME]");
}

Test(config, there_are_limits_to_the_number_of_sections)
{
	static char text[16384];

	strcpy(text, LAN);
	for (int i = 0; i < CONFIG_CHANNELS_MAX; i++)
		sprintf(text + strlen(text), "[channel c%d]\nsource = lan\n",
			i);
	parses(text);
	strcat(text, CHANNEL);
	refuses(text, 3 + 2 * CONFIG_CHANNELS_MAX, "at most 64 channels");
	strcpy(text, CHANNEL LAN);
	for (int i = 0; i < CONFIG_SOURCES_MAX; i++)
		sprintf(text + strlen(text), "[source s%d]\ninterface = e\n",
			i);
	refuses(text, 3 + 2 * CONFIG_SOURCES_MAX, "at most 16 sources");
}

/* ------------------------------------------------------------- missing */

Test(config, a_source_needs_its_interface_or_its_file)
{
	refuses("\n[source lan]\n" CHANNEL, 2, "needs interface = NAME");
	refuses("[source lan]\nbackend = replay\n" CHANNEL, 1, "needs file =");
}

Test(config, a_channel_needs_a_source_that_is_there)
{
	refuses(LAN "[channel c]\n", 3, "needs source =");
	refuses(LAN "[channel c]\nsource = wan\n", 4,
		"no such source; must be one of: lan");
}

Test(config, there_must_be_a_channel)
{
	refuses(LAN, 1, "there is no channel");
	refuses("", 1, "there is no channel");
}

static void xdp_refuses(const char *key, const char *words)
{
	char text[512];

	snprintf(text, sizeof(text), LAN "backend = xdp\n%s\n" CHANNEL, key);
	refuses(text, 4, words);
}

Test(config, an_xdp_source_has_keys_of_its_own)
{
	source_refuses("queues = 0", "queues belongs to backend = xdp");
	xdp_refuses("ring_size = 64M",
		    "ring_size belongs to backend = af_packet");
	xdp_refuses("lanes = 2", "belongs to backend");
	xdp_refuses("queues = 0, 1, 0", "name each queue once");
	xdp_refuses("queues = some", "must be all, or a list of numbers");
	xdp_refuses("frame_size = 3000", "must be a power of two");
	xdp_refuses("frame_count = 4096", "must be 5632 or more");
	xdp_refuses("mode = skb", "must be auto, driver or generic");
	xdp_refuses("bind = zc", "must be auto, zerocopy or copy");
}

Test(config, a_key_of_another_backend_is_told)
{
	replay_refuses("lanes = 2",
		       "lanes belongs to backend = af_packet, but the "
		       "backend of source lan is replay");
	replay_refuses("promiscuous = yes",
		       "promiscuous belongs to backend = af_packet or xdp");
	source_refuses("file = /dev/null",
		       "file belongs to backend = replay, but the backend of "
		       "source lan is af_packet (the default)");
	source_refuses("loop = yes", "loop belongs to backend = replay");
}

Test(config, a_misspelt_backend_is_one_error_not_three)
{
	refuses("[source lan]\nbackend = repaly\nfile = /dev/null\n" CHANNEL, 2,
		"must be af_packet, xdp or replay");
}

/* ----------------------------------------------------------- bad values */

Test(config, a_number_out_of_range_is_told_with_the_range)
{
	source_refuses("lanes = 0", "must be a number from 1 to 16");
	source_refuses("lanes = 17", "must be a number from 1 to 16");
	source_refuses("lanes = -1", "must be a number from 1 to 16");
	source_refuses("retire_timeout = 1001", "from 1 to 1000");
	source_refuses("priority = 100", "from -1 to 99");
	source_refuses("lanes = 4294967297", "from 1 to 16");
	source_refuses("lanes = 99999999999999999999", "from 1 to 16");
	channel_refuses("guaranteed = 100", "from 1 to 99");
	replay_refuses("wait = 0", "from 1 to 1024");
}

Test(config, a_number_with_junk_is_told)
{
	source_refuses("lanes = 2x", "lanes = 2x: must be a number");
	source_refuses("lanes = two", "must be a number");
	source_refuses("lanes = +2", "must be a number");
	source_refuses("lanes = 0x2", "must be a number");
	source_refuses("lanes = 1 2", "must be a number");
	source_refuses("lanes =", "must be a number");
	source_refuses("cpu = --1", "must be a number");
}

Test(config, a_bad_size_is_told_with_the_range)
{
	source_refuses("ring_size = 64Q", "from 256K to 16G");
	source_refuses("ring_size = M", "from 256K to 16G");
	source_refuses("ring_size = -64M", "from 256K to 16G");
	source_refuses("ring_size = 99999999999G", "from 256K to 16G");
	source_refuses("ring_block = 64K", "from 128K to 64M");
	channel_refuses("arena = 5G", "from 4M to 4G");
	channel_refuses("block_size = 64K", "from 128K to 16M");
}

Test(config, sizes_must_fit_each_other)
{
	source_refuses("ring_block = 768K", "must be a power of two");
	source_refuses("ring_block = 64M", "ring_size = 64M: must be two");
	channel_refuses("arena = 5M", "must be a multiple of 2M");
	channel_refuses("block_size = 300K", "must be a power of two");
	channel_refuses("block_size = 16M", "less than a quarter of arena");
	refuses(LAN CHANNEL "arena = 4M\nblock_size = 1M\n", 6,
		"block_size = 1M: must be less than a quarter of arena = 4M");
	refuses(LAN "ring_size = 1025K\n" CHANNEL, 3, "whole blocks");
}

Test(config, an_arena_may_be_as_large_as_an_offset_can_say)
{
	cr_assert(eq(u64, channel_with("arena = 4G")->arena_size,
		     UINT64_C(4) << 30));
}

Test(config, all_lanes_together_are_at_most_16)
{
	refuses("[source lan]\ninterface = a b c\nlanes = 6\n" CHANNEL, 3,
		"at most 5");
}

Test(config, a_choice_is_told_with_its_words)
{
	source_refuses("fanout = hsah",
		       "must be hash, lb, cpu, rollover, random or qm");
	source_refuses("offloads = yes", "must be keep or off");
	source_refuses("promiscuous = maybe", "must be yes or no");
	source_refuses("profile = fast", "must be default, throughput");
	source_refuses("timestamp = raw", "must be software or hardware");
	replay_refuses("rate = fast", "must be max, recorded, or a number");
	replay_refuses("rate = 0", "must be max, recorded, or a number");
}

Test(config, an_interface_that_cannot_be_one_is_told)
{
	refuses("[source lan]\ninterface = abcdefghijklmnop\n" CHANNEL, 2,
		"1 to 15 characters");
	refuses("[source lan]\ninterface = eth0:1\n" CHANNEL, 2, "without /");
	refuses("[source lan]\ninterface = ,\n" CHANNEL, 2, "must name");
	refuses("[source lan]\ninterface = a b c d e f g h i\n" CHANNEL, 2,
		"at most 8 interfaces");
	refuses("[source lan]\ninterface = a b a\n" CHANNEL, 2, "once");
}

Test(config, an_unknown_user_or_group_is_named)
{
	channel_refuses("allow = user:daemon, user:nobody-here",
			"there is no user nobody-here");
	channel_refuses("allow = group:nobody-here",
			"there is no group nobody-here");
	channel_refuses("allow = user:-1", "there is no user -1");
	channel_refuses("allow = user:4294967295", "there is no user");
	channel_refuses("allow = daemon", "everyone, or a list of user:NAME");
	channel_refuses("allow =", "everyone, or a list of user:NAME");
	channel_refuses("allow = everyone, user:1", "everyone, or a list");
	refuses("[broker]\nuser = nobody-here\n" LAN CHANNEL, 2,
		"there is no such user");
	refuses("[broker]\nuser = root\n" LAN CHANNEL, 2, "must not be root");
	refuses("[broker]\ngroup = nobody-here\n" LAN CHANNEL, 2,
		"there is no such group");
}

Test(config, too_many_users_are_told)
{
	char key[512] = "allow =";

	for (int i = 0; i <= CONFIG_ALLOW_MAX; i++)
		sprintf(key + strlen(key), " user:%d", i);
	channel_refuses(key, "at most 32 users and groups");
}

Test(config, a_socket_path_must_fit_its_address)
{
	char text[512];

	snprintf(text, sizeof(text), "[broker]\nsocket = /%0103d\n" LAN CHANNEL,
		 0);
	refuses(text, 2, "at most 103 characters");
	refuses("[broker]\nsocket =\n" LAN CHANNEL, 2, "path of the control");
}

Test(config, a_capture_file_that_is_not_there_is_told)
{
	refuses("[source lan]\nbackend = replay\nfile = /nowhere/x.pcap\n" CHANNEL,
		3, "No such file");
	refuses("[source lan]\nbackend = replay\nfile = /\n" CHANNEL, 3,
		"is a directory");
}

Test(config, a_filter_that_does_not_compile_is_told)
{
	channel_refuses("filter = prot 53", "filter = prot 53: ");
	source_refuses("filter = prot 53", "pcap-filter(7)");
}

Test(config, a_replay_filter_may_be_for_any_usual_link_type)
{
	static const char replay[] = "[source lan]\nbackend = replay\n"
				     "file = /dev/null\n" CHANNEL;
	char text[256];

	snprintf(text, sizeof(text), "%sfilter = wlan type mgt\n", replay);
	parses(text);
	snprintf(text, sizeof(text), "%sfilter = wlan typo\n", replay);
	refuses(text, 6, "filter = wlan typo");
	/* of an interface: Ethernet */
	channel_refuses("filter = wlan type mgt subtype beacon", "filter");
}

Test(config, the_kernel_filter_is_compiled_with_its_snap_length)
{
	const struct config_source *s =
		source_with("filter = udp\nsnaplen = 77");
	bool returns_snaplen = false;

	cr_assert(gt(u32, s->program_length, 1));
	for (uint32_t i = 0; i < s->program_length; i++)
		if (s->program[i].code == (BPF_RET | BPF_K))
			returns_snaplen |= s->program[i].k == 77;
	cr_assert(returns_snaplen);
}

Test(config, all_errors_are_told_in_one_run)
{
	cr_assert(eq(int,
		     parse(LAN "lanes = x\nbogus = 1\n[channel c]\n"
			       "source = wan\nguaranteed = 0\nnonsense\n"),
		     5));
	for (int line = 3; line <= 8; line++) {
		char where[32];

		snprintf(where, sizeof(where), "net.conf:%d: ", line);
		cr_assert(eq(int, says(where), line != 5), "%s", said);
	}
}

/* ------------------------------------------------------- the example */

static char *example(void)
{
	static char text[16384];
	char path[4096] = __FILE__;
	char *slash = strrchr(path, '/');
	FILE *file;

	cr_assert(slash != NULL);
	strcpy(slash, "/../tools/netring.conf");
	file = fopen(path, "r");
	cr_assert(file != NULL, "%s", path);
	cr_assert(gt(sz, fread(text, 1, sizeof(text) - 1, file), 0));
	fclose(file);
	return text;
}

Test(config, the_example_parses)
{
	parses(example());
	cr_assert(eq(str, (char *)config.channels[1].filter,
		     "port 53 or (udp port 5353 and dst net 224.0.0.0/24)"));
}

/*
 * With all that is commented out put in: what is wrong then is only what this
 * machine does not have.
 */
Test(config, what_the_example_comments_out_is_right)
{
	char *text = example();
	char *line = NULL;

	for (char *at = text; *at; at++)
		if ((at == text || at[-1] == '\n') && *at == '#' &&
		    (at[1] == '[' || (at[1] >= 'a' && at[1] <= 'z')))
			*at = '\n';
	parse(text);
	for (line = strtok(said, "\n"); line; line = strtok(NULL, "\n"))
		cr_expect(strstr(line, "there is no user dnsmon") ||
				  strstr(line, "there is no such user") ||
				  strstr(line, "there is no such group") ||
				  strstr(line, "No such file"),
			  "%s", line);
	cr_assert(eq(u32, config.source_count, 2));
	cr_assert(eq(u32, config.channel_count, 3));
}

Test(config, what_the_example_calls_a_default_is_one)
{
	static struct config plain;
	char *text = example();

	parses(LAN CHANNEL);
	plain = config;
	for (char *at = text; *at; at++)
		if ((at == text || at[-1] == '\n') && *at == '#' &&
		    at[1] >= 'a' && at[1] <= 'z')
			*at = '\n';
	parse(text);
	config.sources[0].line = plain.sources[0].line;
	memcpy(config.sources[0].interfaces, plain.sources[0].interfaces,
	       sizeof(plain.sources[0].interfaces));
	cr_assert(memcmp(&config.sources[0], &plain.sources[0],
			 sizeof(plain.sources[0])) == 0);
}

/* ---------------------------------------------------------- short forms */

static int add_interface(const char *spec)
{
	FILE *errors = fmemopen(said, sizeof(said), "w");
	int err = config_add_interface(&config, spec, errors);

	fclose(errors);
	return err;
}

static int add_file(const char *path, bool everyone)
{
	FILE *errors = fmemopen(said, sizeof(said), "w");
	int err = config_add_file(&config, path, everyone, errors);

	fclose(errors);
	return err;
}

Test(config, an_interface_by_itself_is_a_source_and_a_channel)
{
	config_init(&config);
	cr_assert(eq(int, add_interface("eth0.100"), 0));
	cr_assert(eq(int, add_interface("br@0:af_packet"), 0));
	cr_assert(config_is_sane(&config));
	cr_assert(eq(str, config.sources[0].name, "eth0.100"));
	cr_assert(eq(str, config.channels[0].name, "eth0.100"));
	cr_assert(eq(str, config.sources[1].name, "br-0"));
	cr_assert(eq(str, (char *)config.sources[1].interfaces[0], "br@0"));
	cr_assert(eq(u32, config.channels[1].source, 1));
	cr_assert(eq(int, add_interface("xs0:xdp"), 0));
	cr_assert(config_is_sane(&config));
	cr_assert(eq(str, (char *)config.sources[2].interfaces[0], "xs0"));
	cr_assert(eq(u32, config.sources[2].backend, BACKEND_XDP));
	cr_assert(eq(u32, config.sources[1].backend, BACKEND_PACKET));
	cr_assert(not(config.channels[1].allow_everyone));
}

Test(config, an_interface_by_itself_must_be_one)
{
	config_init(&config);
	cr_assert(eq(int, add_interface("eth0:foo"), 1));
	cr_assert(says("IFACE:af_packet"));
	cr_assert(eq(int, add_interface("abcdefghijklmnop"), 1));
	cr_assert(eq(int, add_interface(""), 1));
	cr_assert(eq(int, add_interface("eth0"), 0));
	cr_assert(eq(int, add_interface("eth0"), 1));
	cr_assert(says("names must differ"));
	cr_assert(eq(u32, config.source_count, 1));
}

Test(config, a_file_by_itself_is_a_source_and_a_channel)
{
	char directory[] = "/tmp/netring-test-XXXXXX", path[128];

	cr_assert(mkdtemp(directory) != NULL);
	snprintf(path, sizeof(path), "%s/my trace.2.pcap", directory);
	fclose(fopen(path, "w"));
	config_init(&config);
	cr_assert(eq(int, add_file(path, true), 0), "%s", said);
	cr_assert(config_is_sane(&config));
	cr_assert(eq(str, config.sources[0].name, "my-trace.2"));
	cr_assert(eq(str, (char *)config.sources[0].file, path));
	cr_assert(eq(u32, config.sources[0].backend, BACKEND_REPLAY));
	cr_assert(config.channels[0].allow_everyone);
	unlink(path);
	cr_assert(eq(int, add_file(path, true), 1));
	cr_assert(says("No such file"));
	rmdir(directory);
}

/* --------------------------------------------------------------- sanity */

/* A good one, of each backend; then one field is spoilt. */
static void good(void)
{
	parses("[broker]\nuser = daemon\ngroup = 1\n" LAN
	       "filter = udp\n[source r]\nbackend = replay\n"
	       "file = /dev/null\nrate = 5\n" CHANNEL
	       "allow = user:1\nfilter = tcp\n[channel d]\nsource = r\n");
}

#define SPOILT(field, value)                                                   \
	do {                                                                   \
		good();                                                        \
		(field) = (value);                                             \
		cr_expect(not(config_is_sane(&config)), #field " = " #value);  \
	} while (0)

/* An array without a NUL in it. */
#define UNENDED(field)                                                         \
	do {                                                                   \
		good();                                                        \
		memset((field), 'a', sizeof(field));                           \
		cr_expect(not(config_is_sane(&config)), #field);               \
	} while (0)

#define NO_BOOL(field)                                                         \
	do {                                                                   \
		good();                                                        \
		memset(&(field), 2, 1);                                        \
		cr_expect(not(config_is_sane(&config)), #field);               \
	} while (0)

Test(config, a_spoilt_broker_is_not_sane)
{
	UNENDED(config.socket);
	UNENDED(config.user);
	UNENDED(config.group);
	SPOILT(config.socket[0], '\0');
	NO_BOOL(config.socket_gid_set);
	SPOILT(config.max_connections, 0);
	SPOILT(config.max_captures, UINT32_MAX);
	SPOILT(config.max_guaranteed, 0);
	SPOILT(config.attach_rate, 0);
	SPOILT(config.source_count, CONFIG_SOURCES_MAX + 1);
	SPOILT(config.channel_count, CONFIG_CHANNELS_MAX + 1);
	SPOILT(config.channel_count, UINT32_MAX);
}

Test(config, a_spoilt_source_is_not_sane)
{
	struct config_source *s = &config.sources[0];

	UNENDED(s->name);
	SPOILT(s->name[0], '\0');
	SPOILT(s->name[0], '/');
	SPOILT(s->name[0], '\n');
	SPOILT(s->backend, 3);
	SPOILT(s->interface_count, 0);
	SPOILT(s->interface_count, CONFIG_INTERFACES_MAX + 1);
	SPOILT(s->interface_count, 2); /* the second has no name */
	UNENDED(s->interfaces[0]);
	SPOILT(s->interfaces[0][0], '/');
	SPOILT(s->lanes, 0);
	SPOILT(s->lanes, NR_LANES_MAX + 1);
	SPOILT(s->fanout, 6);
	NO_BOOL(s->fanout_defrag);
	NO_BOOL(s->fanout_rollover);
	SPOILT(s->ring_size, 0);
	SPOILT(s->ring_size, (64 << 20) + 4096);
	SPOILT(s->ring_size, UINT64_MAX);
	SPOILT(s->ring_block, 0);
	SPOILT(s->ring_block, 768 << 10);
	SPOILT(s->ring_block, 1u << 31);
	SPOILT(s->retire_timeout, 0);
	NO_BOOL(s->promiscuous);
	NO_BOOL(s->ignore_outgoing);
	NO_BOOL(s->offloads_off);
	SPOILT(s->busy_poll, UINT32_MAX);
	NO_BOOL(s->prefer_busy_poll);
	SPOILT(s->busy_poll_budget, 65536);
	SPOILT(s->clock, 2);
	SPOILT(s->snaplen, 262145);
	SPOILT(s->program_length, CONFIG_PROGRAM_MAX + 1);
	UNENDED(s->file);
	SPOILT(s->rate_mode, 3);
	SPOILT(s->wait, 0);
	NO_BOOL(s->preload);
	NO_BOOL(s->loop);
	NO_BOOL(s->small_pages);
	SPOILT(s->cpu, -2);
	SPOILT(s->cpu, 1024);
	SPOILT(s->priority, -2);
	SPOILT(s->priority, 100);
}

Test(config, a_spoilt_replay_is_not_sane)
{
	struct config_source *s = &config.sources[1];

	SPOILT(s->file[0], '\0');
	SPOILT(s->rate, 0);
	SPOILT(s->interface_count, 1);
	SPOILT(s->backend, BACKEND_PACKET);
	good();
	strcpy(s->name, config.sources[0].name);
	cr_expect(not(config_is_sane(&config)));
}

Test(config, a_spoilt_channel_is_not_sane)
{
	struct config_channel *c = &config.channels[0];

	UNENDED(c->name);
	SPOILT(c->name[0], '\0');
	SPOILT(c->source, 2);
	SPOILT(c->source, UINT32_MAX);
	UNENDED(c->filter);
	SPOILT(c->snaplen, 262145);
	NO_BOOL(c->allow_everyone);
	SPOILT(c->allow_count, CONFIG_ALLOW_MAX + 1);
	NO_BOOL(c->allow[0].is_group);
	SPOILT(c->allow[0].id, UINT32_MAX);
	SPOILT(c->arena_size, 0);
	SPOILT(c->arena_size, 5 << 20);
	SPOILT(c->arena_size, UINT64_C(6) << 30);
	SPOILT(c->block_size, 300 << 10);
	SPOILT(c->block_size, 64 << 10);
	SPOILT(c->block_size, 16 << 20);
	SPOILT(c->guaranteed, 0);
	SPOILT(c->guaranteed, 100);
	NO_BOOL(c->show_counts);
	good();
	strcpy(c[1].name, c[0].name);
	cr_expect(not(config_is_sane(&config)));
}
