/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A configuration text, section by section. A key is stored when it is read;
 * what depends on other keys waits for the end of its section, and what
 * depends on other sections for the end of the text, so order never matters.
 */
#include "config_private.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config_text.h"
#include "filter.h"
#include "log.h"

#define SHOWN_MAX 128 /* of a value, in a message */

/*
 * Values are escaped where they are shown; libpcap and the rules over several
 * keys quote some too, and no byte of them is to be obeyed by a terminal.
 */
__attribute__((format(printf, 3, 4))) static void
complain(struct config_parse *parse, uint32_t line, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *at = text; *at; at++)
		if (iscntrl((unsigned char)*at))
			*at = '?';
	fprintf(parse->errors, "%s:%u: %s\n", parse->name, line, text);
	parse->error_count++;
}

static char *shown(char *out, const char *value)
{
	return log_escape(out, SHOWN_MAX, value, strlen(value));
}

/* ------------------------------------------------------------ suggestions */

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t min = a < b ? a : b;

	return min < c ? min : c;
}

/* Letters to add, drop or change to make one word the other. */
static size_t distance(const char *a, const char *b)
{
	size_t length = strlen(b);
	size_t row[64];

	if (length >= sizeof(row) / sizeof(row[0]))
		return SIZE_MAX;
	for (size_t j = 0; j <= length; j++)
		row[j] = j;
	for (size_t i = 1; *a; a++, i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= length; j++) {
			size_t above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1,
				      diagonal + (*a != b[j - 1]));
			diagonal = above;
		}
	}
	return row[length];
}

/* The closer of two words to what was typed, if either is close. */
static const char *nearer(const char *typed, const char *best, const char *word)
{
	size_t d = distance(typed, word);

	if (d > 2 || d >= strlen(word) || (best && d >= distance(typed, best)))
		return best;
	return word;
}

/* ---------------------------------------------------------- whole sections */

static uint32_t given_at(const struct config_parse *parse, const char *name)
{
	const struct config_key *keys = parse->section->keys;

	return parse
		->key_lines[config_key_find(keys, name, strlen(name)) - keys];
}

/* The line of the first key that a message speaks of and that is given. */
static uint32_t line_of(const struct config_parse *parse, const char *message)
{
	const struct config_key *keys = parse->section->keys;

	while (*message) {
		size_t length = strcspn(message, " ");
		const struct config_key *key =
			config_key_find(keys, message, length);

		if (key && parse->key_lines[key - keys])
			return parse->key_lines[key - keys];
		message += length + strspn(message + length, " ");
	}
	return parse->line;
}

static void *broker_begin(struct config_parse *parse, const char *name)
{
	(void)name;
	if (parse->broker_line) {
		complain(parse, parse->line,
			 "[broker] is there already, in line %u; there must be "
			 "one",
			 parse->broker_line);
		return NULL;
	}
	parse->broker_line = parse->line;
	return parse->config;
}

static void broker_end(struct config_parse *parse)
{
	(void)parse;
}

static bool name_is_taken(struct config_parse *parse, const char *name,
			  const char *other, uint32_t other_line)
{
	if (strcmp(name, other) != 0)
		return false;
	complain(parse, parse->line,
		 "[%s %s] is there already, in line %u; names must differ",
		 parse->section->name, name, other_line);
	return true;
}

static void *source_begin(struct config_parse *parse, const char *name)
{
	struct config *config = parse->config;
	struct config_source *source = &config->sources[config->source_count];

	for (uint32_t i = 0; i < config->source_count; i++)
		if (name_is_taken(parse, name, config->sources[i].name,
				  config->sources[i].line))
			return NULL;
	if (config->source_count == CONFIG_SOURCES_MAX) {
		complain(parse, parse->line, "there can be at most %d sources",
			 CONFIG_SOURCES_MAX);
		return NULL;
	}
	config->source_count++;
	config_source_init(source, name);
	source->line = parse->line;
	parse->backend_is_bad = false;
	parse->pending.profile = PROFILE_DEFAULT;
	parse->pending.filter[0] = '\0';
	return source;
}

static void *channel_begin(struct config_parse *parse, const char *name)
{
	struct config *config = parse->config;
	struct config_channel *channel =
		&config->channels[config->channel_count];

	for (uint32_t i = 0; i < config->channel_count; i++)
		if (name_is_taken(parse, name, config->channels[i].name,
				  config->channels[i].line))
			return NULL;
	if (config->channel_count == CONFIG_CHANNELS_MAX) {
		complain(parse, parse->line, "there can be at most %d channels",
			 CONFIG_CHANNELS_MAX);
		return NULL;
	}
	config->channel_count++;
	config_channel_init(channel, name);
	channel->line = parse->line;
	return channel;
}

/* "replay", or "af_packet or xdp" */
static void backends_text(char *out, size_t size, uint32_t backends)
{
	size_t used = 0;

	out[0] = '\0';
	for (uint32_t b = BACKEND_PACKET; b <= BACKEND_REPLAY; b++)
		if (backends & ONLY(b))
			used += (size_t)snprintf(out + used, size - used,
						 "%s%s", used ? " or " : "",
						 config_backend_name(b));
}

/* Returns the number of keys that belong to another backend. */
static unsigned check_backend(struct config_parse *parse,
			      const struct config_source *source)
{
	const struct config_key *keys = parse->section->keys;
	const char *backend = config_backend_name(source->backend);
	bool is_default = !given_at(parse, "backend");
	unsigned strangers = 0;
	char owners[64];

	for (uint32_t i = 0; keys[i].name; i++) {
		if (!parse->key_lines[i] || !keys[i].backends ||
		    keys[i].backends & ONLY(source->backend))
			continue;
		backends_text(owners, sizeof(owners), keys[i].backends);
		complain(parse, parse->key_lines[i],
			 "%s belongs to backend = %s, but the backend of "
			 "source %s is %s%s; drop one of them",
			 keys[i].name, owners, source->name, backend,
			 is_default ? " (the default)" : "");
		strangers++;
	}
	return strangers;
}

/* The shapes of a kernel ring; keys that are given go before them. */
static void apply_profile(struct config_parse *parse,
			  struct config_source *source)
{
	static const struct {
		uint32_t size_mib, block_kib, retire_ms;
	} profiles[PROFILE_COUNT] = {
		/*
		 * A block is used up by its time, however little comes: 128 of
		 * them hold a second in which there is no engine.
		 */
		[PROFILE_DEFAULT] = { 64, 512, 8 },
		[PROFILE_THROUGHPUT] = { 256, 4096, 60 },
		[PROFILE_LATENCY] = { 16, 256, 1 },
		[PROFILE_MEMORY] = { 16, 1024, 100 },
		[PROFILE_JUMBO] = { 64, 1024, 8 },
	};
	uint32_t i = parse->pending.profile;

	if (!given_at(parse, "ring_size"))
		source->ring_size = (uint64_t)profiles[i].size_mib << 20;
	if (!given_at(parse, "ring_block"))
		source->ring_block = profiles[i].block_kib << 10;
	if (!given_at(parse, "retire_timeout"))
		source->retire_timeout = profiles[i].retire_ms;
}

static void compile_kernel_filter(struct config_parse *parse,
				  struct config_source *source)
{
	char error[256], value[SHOWN_MAX];
	int length = filter_compile_kernel(parse->pending.filter,
					   source->snaplen, source->program,
					   CONFIG_PROGRAM_MAX, error);

	if (length < 0)
		complain(parse, given_at(parse, "filter"),
			 "filter = %s: %s; must be a pcap filter, see "
			 "pcap-filter(7)",
			 shown(value, parse->pending.filter), error);
	else
		source->program_length = (uint32_t)length;
}

static void source_end(struct config_parse *parse)
{
	struct config_source *source = parse->target;
	char right[RIGHT_MAX];

	if (parse->backend_is_bad)
		return;
	if (check_backend(parse, source))
		return;
	if (source->backend == BACKEND_REPLAY) {
		if (!given_at(parse, "file"))
			complain(parse, parse->line,
				 "source %s needs file = a capture file",
				 source->name);
		return;
	}
	if (!given_at(parse, "interface"))
		complain(parse, parse->line,
			 "source %s needs interface = NAME (or backend = "
			 "replay and file = a capture file)",
			 source->name);
	apply_profile(parse, source);
	compile_kernel_filter(parse, source);
	if (!config_source_fits(source, right))
		complain(parse, line_of(parse, right), "%s", right);
}

static void channel_end(struct config_parse *parse)
{
	struct config_channel *channel = parse->target;
	uint32_t i = (uint32_t)(channel - parse->config->channels);
	char right[RIGHT_MAX];

	parse->pending.source_lines[i] = given_at(parse, "source");
	parse->pending.filter_lines[i] = given_at(parse, "filter");
	if (!given_at(parse, "source"))
		complain(parse, parse->line,
			 "channel %s needs source = the name of a source",
			 channel->name);
	/* How much a filter kept back tells about what it kept back. */
	if (!given_at(parse, "counts"))
		channel->show_counts = !*channel->filter;
	if (!config_channel_fits(channel, right))
		complain(parse, line_of(parse, right), "%s", right);
}

static const struct config_section sections[SECTION_COUNT] = {
	[SECTION_BROKER] = { "broker", false, config_broker_keys, broker_begin,
			     broker_end },
	[SECTION_SOURCE] = { "source", true, config_source_keys, source_begin,
			     source_end },
	[SECTION_CHANNEL] = { "channel", true, config_channel_keys,
			      channel_begin, channel_end },
};

/* --------------------------------------------------------------- the text */

static void section_close(struct config_parse *parse)
{
	if (parse->section && !parse->skips)
		parse->section->end(parse);
	parse->section = NULL;
}

static const struct config_section *section_find(const char *name)
{
	for (unsigned i = 0; i < SECTION_COUNT; i++)
		if (strcmp(sections[i].name, name) == 0)
			return &sections[i];
	return NULL;
}

static void complain_section(struct config_parse *parse, const char *kind)
{
	char value[SHOWN_MAX];
	const char *hint = NULL;

	for (unsigned i = 0; i < SECTION_COUNT; i++)
		hint = nearer(kind, hint, sections[i].name);
	complain(parse, parse->line,
		 "there is no section [%s]%s%s%s; there are [broker], [source "
		 "NAME] and [channel NAME]",
		 shown(value, kind), hint ? " (did you mean " : "",
		 hint ? hint : "", hint ? "?)" : "");
}

static bool name_fits(struct config_parse *parse, const char *name)
{
	const struct config_section *section = parse->section;
	char value[SHOWN_MAX];

	if (!section->is_named && *name)
		complain(parse, parse->line, "[%s] takes no name",
			 section->name);
	else if (section->is_named && !*name)
		complain(parse, parse->line, "must be [%s NAME]",
			 section->name);
	else if (section->is_named && !config_name_is_valid(name))
		complain(parse, parse->line,
			 "[%s %s]: a name has 1 to 63 characters of a-z, A-Z, "
			 "0-9, _ . and -",
			 section->name, shown(value, name));
	else
		return true;
	return false;
}

static void on_section(void *data, uint32_t line, char *head)
{
	static const char blanks[] = " \t";
	struct config_parse *parse = data;
	char *kind = head + strspn(head, blanks);
	char *name = kind + strcspn(kind, blanks);
	size_t length;

	section_close(parse);
	if (*name)
		*name++ = '\0';
	name += strspn(name, blanks);
	length = strlen(name);
	while (length && strchr(blanks, name[length - 1]))
		name[--length] = '\0';
	memset(parse->key_lines, 0, sizeof(parse->key_lines));
	parse->line = line;
	parse->target = NULL;
	parse->section = section_find(kind);
	if (!parse->section)
		complain_section(parse, kind);
	else if (name_fits(parse, name))
		parse->target = parse->section->begin(parse, name);
	parse->skips = !parse->target;
}

static bool is_key(void *data, const char *name, size_t length)
{
	const struct config_parse *parse = data;

	return parse->section &&
	       config_key_find(parse->section->keys, name, length);
}

/* Where else @name is a key; or what it may be meant to be; or all keys. */
static void complain_key(struct config_parse *parse, uint32_t line,
			 const char *name)
{
	const struct config_key *keys = parse->section->keys;
	const char *hint = NULL;
	char known[RIGHT_MAX] = "", value[SHOWN_MAX];
	size_t used = 0;

	shown(value, name);
	for (unsigned i = 0; i < SECTION_COUNT; i++)
		if (config_key_find(sections[i].keys, name, strlen(name))) {
			complain(parse, line,
				 "%s is a key of [%s%s], not of [%s]", value,
				 sections[i].name,
				 sections[i].is_named ? " NAME" : "",
				 parse->section->name);
			return;
		}
	for (; keys->name; keys++) {
		hint = nearer(name, hint, keys->name);
		used += (size_t)snprintf(known + used, sizeof(known) - used,
					 " %s", keys->name);
	}
	complain(parse, line, "unknown key %s%s%s%s; a %s has:%s", value,
		 hint ? " (did you mean " : "", hint ? hint : "",
		 hint ? "?)" : "", parse->section->name, known);
}

static void key_store(struct config_parse *parse, uint32_t line,
		      const struct config_key *key, const char *value)
{
	char right[RIGHT_MAX] = "", clip[SHOWN_MAX];
	void *field = (char *)parse->target + key->offset;

	if (key->type->parse(key, value, field, parse, right))
		return;
	if (strcmp(key->name, "backend") == 0)
		parse->backend_is_bad = true;
	if (!*right)
		key->type->describe(key, right);
	complain(parse, line, "%s = %s: %s", key->name, shown(clip, value),
		 right);
}

static void on_key(void *data, uint32_t line, const char *name,
		   const char *value)
{
	struct config_parse *parse = data;
	const struct config_key *key;
	uint32_t *given;

	if (parse->skips)
		return;
	if (!parse->section) {
		complain(parse, line,
			 "a key must be in a section: [broker], [source NAME] "
			 "or [channel NAME]");
		parse->skips = true; /* say it once */
		return;
	}
	key = config_key_find(parse->section->keys, name, strlen(name));
	if (!key) {
		complain_key(parse, line, name);
		return;
	}
	given = &parse->key_lines[key - parse->section->keys];
	if (*given)
		complain(parse, line,
			 "%s is given already, in line %u; give it once", name,
			 *given);
	else
		key_store(parse, line, key, value);
	if (!*given)
		*given = line;
}

static void on_error(void *data, uint32_t line, const char *message)
{
	complain(data, line, "%s", message);
}

/* ---------------------------------------------------------- whole texts */

static const struct config_source *find_source(struct config *config,
					       const char *name)
{
	for (uint32_t i = 0; i < config->source_count; i++)
		if (strcmp(config->sources[i].name, name) == 0)
			return &config->sources[i];
	return NULL;
}

static void complain_source(struct config_parse *parse, uint32_t line,
			    const char *name)
{
	char known[16 * NR_NAME_MAX + 64] = " (there is none)";
	char value[SHOWN_MAX];
	size_t used = 0;

	for (uint32_t i = 0; i < parse->config->source_count; i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used,
					 " %s", parse->config->sources[i].name);
	complain(parse, line,
		 "source = %s: there is no such source; must be one of:%s",
		 shown(value, name), known);
}

static void channel_resolve(struct config_parse *parse, uint32_t i)
{
	struct config_channel *channel = &parse->config->channels[i];
	const char *name = parse->pending.sources[i];
	const struct config_source *source;
	char right[RIGHT_MAX], value[SHOWN_MAX];

	if (!*name)
		return; /* told already; or one of -i or -r */
	source = find_source(parse->config, name);
	if (!source) {
		complain_source(parse, parse->pending.source_lines[i], name);
		return;
	}
	channel->source = (uint32_t)(source - parse->config->sources);
	if (!config_channel_filter_compiles(channel, source, right))
		complain(parse, parse->pending.filter_lines[i],
			 "filter = %s: %s", shown(value, channel->filter),
			 right);
}

static void text_end(struct config_parse *parse)
{
	section_close(parse);
	for (uint32_t i = 0; i < parse->config->channel_count; i++)
		channel_resolve(parse, i);
	if (!parse->config->channel_count && !parse->error_count)
		complain(parse, 1,
			 "there is no channel; must have a [channel NAME] with "
			 "source = the name of a source");
}

int config_parse(struct config *config, FILE *file, const char *name,
		 FILE *errors)
{
	static const struct text_events events = {
		.section = on_section,
		.key = on_key,
		.error = on_error,
		.is_key = is_key,
	};
	struct config_parse *parse = calloc(1, sizeof(*parse));
	int err;

	if (!parse) {
		fprintf(errors, "%s:1: out of memory\n", name);
		return 1;
	}
	parse->config = config;
	parse->name = name;
	parse->errors = errors;
	err = text_read(file, &events, parse);
	if (err < 0)
		complain(parse, 1, "cannot be read: %s", strerror(-err));
	text_end(parse);
	err = parse->error_count;
	free(parse);
	return err;
}
