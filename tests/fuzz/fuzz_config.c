// SPDX-License-Identifier: BSD-2-Clause
/*
 * Configuration text. Whatever it says: one line a complaint, each with the
 * file's name and a line, none with a byte that a terminal would obey. What is
 * accepted the warden accepts too, gives the same when it is read again, and
 * the same one line further down behind a comment.
 * Input: the text.
 */
#include "fuzz.h"

#include <ctype.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdlib.h>

#include "config.h"

#define NAME "fuzz.conf"

/* The users of this machine are none of the input, and names no question to
 * the network. */
struct passwd *getpwnam(const char *name)
{
	static struct passwd root = { .pw_name = (char *)(uintptr_t) "root" };

	return strcmp(name, "root") == 0 ? &root : NULL;
}

struct group *getgrnam(const char *name)
{
	static struct group soc = { .gr_name = (char *)(uintptr_t) "soc",
				    .gr_gid = 7 };

	return strcmp(name, "soc") == 0 ? &soc : NULL;
}

int getaddrinfo(const char *node, const char *service,
		const struct addrinfo *hints, struct addrinfo **result)
{
	(void)node;
	(void)service;
	(void)hints;
	(void)result;
	return EAI_NONAME;
}

static void check_complaints(const char *text, size_t size, int count)
{
	const char *end = text + size;
	int lines = 0;

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *line = text + strlen(NAME ":");

		assert(newline);
		assert(strncmp(text, NAME ":", strlen(NAME ":")) == 0);
		assert(isdigit((unsigned char)*line));
		for (; text < newline; text++)
			assert((unsigned char)*text >= ' ' && *text != 0x7f);
		text = newline + 1;
		lines++;
	}
	assert(lines == count);
}

/* @before: a line to put in front. Returns the number of errors. */
static int parse(struct config *config, const char *before, const uint8_t *data,
		 size_t size)
{
	size_t length = strlen(before), said_size;
	char *text = malloc(length + size + 1), *said;
	FILE *file, *errors = open_memstream(&said, &said_size);
	int count;

	assert(text && errors);
	memcpy(text, before, length);
	memcpy(text + length, data, size);
	file = fmemopen(text, length + size, "r");
	assert(file);
	config_init(config);
	count = config_parse(config, file, NAME, errors);
	fclose(file);
	fclose(errors);
	check_complaints(said, said_size, count);
	free(said);
	free(text);
	return count;
}

static void check_same(struct config *a, const struct config *b, unsigned lines)
{
	for (uint32_t i = 0; i < a->source_count; i++)
		a->sources[i].line += lines;
	for (uint32_t i = 0; i < a->channel_count; i++)
		a->channels[i].line += lines;
	assert(memcmp(a, b, sizeof(*a)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* On the heap: they have a fence there, and a megabyte. */
	struct config *config, *again;
	int count;

	if (size > 16384)
		return 0;
	config = malloc(sizeof(*config));
	again = malloc(sizeof(*again));
	assert(config && again);
	count = parse(config, "", data, size);
	if (count == 0) {
		assert(config_is_sane(config));
		assert(config->channel_count > 0);
		assert(parse(again, "", data, size) == 0);
		check_same(config, again, 0);
		/* A byte order mark is one at the start only. */
		if (*data != 0xef) {
			assert(parse(again, "; one more\n", data, size) == 0);
			check_same(config, again, 1);
		}
	}
	free(config);
	free(again);
	return 0;
}
