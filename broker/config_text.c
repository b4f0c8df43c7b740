/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inih splits lines into keys and values, but it knows no line numbers, cuts
 * lines at some 200 and section names at 50 characters without a word, and
 * does not tell of a section without keys. So it reads through a function of
 * ours, which counts, takes the sections for itself, and hands a long line
 * over in pieces that inih believes to be continued lines.
 */
#include "config_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#define NAME_MAX_LENGTH 48 /* inih keeps 49 characters of a name */
#define VALUE_MAX 8192

struct text {
	const struct text_events *events;
	void *data;
	FILE *file;
	int err; /* of reading it */

	uint32_t line;
	char *buffer; /* of getline() */
	size_t buffer_size;
	const char *rest;  /* of the line, not yet handed over; NULL: none */
	bool is_continued; /* what inih reads now goes on with the open key */
	bool is_glued;	   /* and without a blank between */

	bool key_is_open;
	bool value_is_cut;
	uint32_t key_line;
	char key[NAME_MAX_LENGTH + 2];
	char value[VALUE_MAX];
	size_t value_length;
};

static void text_error(struct text *text, uint32_t line, const char *message)
{
	text->events->error(text->data, line, message);
}

/* A value is complete only when something else begins. */
static void key_close(struct text *text)
{
	if (!text->key_is_open)
		return;
	text->key_is_open = false;
	if (text->value_is_cut)
		text_error(text, text->key_line,
			   "the value is longer than 8000 characters");
	else
		text->events->key(text->data, text->key_line, text->key,
				  text->value);
}

static void value_append(struct text *text, const char *more)
{
	bool wants_blank = text->value_length && *more && !text->is_glued;
	size_t length = strlen(more);

	if (text->value_length + length + 2 > sizeof(text->value)) {
		text->value_is_cut = true;
		return;
	}
	if (wants_blank)
		text->value[text->value_length++] = ' ';
	memcpy(text->value + text->value_length, more, length + 1);
	text->value_length += length;
}

static void key_open(struct text *text, const char *name)
{
	key_close(text);
	text->key_is_open = true;
	text->value_is_cut = false;
	text->key_line = text->line;
	text->value_length = 0;
	text->value[0] = '\0';
	snprintf(text->key, sizeof(text->key), "%s", name);
}

/* Keys that are indented under their section would vanish in the first. */
static bool looks_like_key(struct text *text, const char *value)
{
	size_t length = strcspn(value, " \t=:");
	const char *after = value + length + strspn(value + length, " \t");

	return *after == '=' && after[1] != '=' &&
	       text->events->is_key(text->data, value, length);
}

static int on_pair(void *user, const char *section, const char *name,
		   const char *value)
{
	struct text *text = user;

	(void)section;
	if (!text->is_continued)
		key_open(text, name);
	else if (!text->is_glued && looks_like_key(text, value))
		text_error(text, text->line,
			   "an indented line goes on with the key above it; "
			   "a key of its own starts in the first column");
	value_append(text, value);
	return 1;
}

/* As inih: a blank, then a semicolon. */
static void cut_comment(char *line)
{
	for (char *at = line; *at; at++)
		if (*at == ';' && at > line && isspace((unsigned char)at[-1])) {
			*at = '\0';
			break;
		}
}

static void trim_end(char *line)
{
	size_t length = strlen(line);

	while (length && isspace((unsigned char)line[length - 1]))
		line[--length] = '\0';
}

static void read_section(struct text *text, char *start)
{
	char *end = strchr(start, ']');

	key_close(text);
	if (!end || end[1 + strspn(end + 1, " \t")]) {
		text_error(text, text->line,
			   "a section is written [broker], [source NAME] or "
			   "[channel NAME], on a line of its own");
		if (!end)
			return;
	}
	*end = '\0';
	text->events->section(text->data, text->line, start + 1);
}

/*
 * What inih gets instead of a line that has been dealt with: a section, which
 * makes it forget the key before.
 */
static const char *dealt_with(struct text *text)
{
	key_close(text);
	text->rest = NULL;
	return "[]";
}

static bool has_key(const char *line)
{
	size_t length = strcspn(line, "=:");

	return length > 0 && line[length];
}

/* What inih is to see of the line in the buffer. */
static const char *read_line(struct text *text, char *line)
{
	char *start = line + strspn(line, " \t\r\n\f\v");

	if (*start == '\0' || *start == ';' || *start == '#')
		return "";
	cut_comment(start);
	trim_end(start);
	text->is_continued = text->key_is_open && start > line;
	text->is_glued = false;
	if (text->is_continued)
		return line;
	if (*start == '[') {
		read_section(text, start);
		return dealt_with(text);
	}
	if (!has_key(start)) {
		text_error(text, text->line,
			   "this is no section, key or comment; "
			   "write KEY = VALUE");
		return dealt_with(text);
	}
	if (strcspn(start, "=:") > NAME_MAX_LENGTH) {
		text_error(text, text->line, "no key has so long a name");
		return dealt_with(text);
	}
	return start;
}

static const char *next_line(struct text *text)
{
	ssize_t length = getline(&text->buffer, &text->buffer_size, text->file);
	char *line = text->buffer;

	if (length < 0) {
		if (ferror(text->file))
			text->err = -errno;
		return NULL;
	}
	text->line++;
	if (strlen(line) != (size_t)length) {
		text_error(text, text->line, "a NUL byte: this is not text");
		return dealt_with(text);
	}
	if (text->line == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0)
		line += 3;
	return read_line(text, line);
}

/*
 * Where to cut a line of which @room characters fit: inside a word, so that
 * the pieces are joined as they were, at a place that does not make the next
 * piece a comment. 0: nowhere.
 */
static size_t place_to_cut(const char *line, size_t room)
{
	size_t at = room;

	while (at > 0 &&
	       (isspace((unsigned char)line[at]) ||
		isspace((unsigned char)line[at - 1]) || strchr(";#", line[at])))
		at--;
	return at;
}

/* The fgets() of inih. A piece after the first is indented: continued. */
static char *read_piece(char *out, int size, void *stream)
{
	struct text *text = stream;
	size_t room =
		(size_t)size - 4; /* tab, newline, NUL, and one to spare */
	bool is_first = !text->rest;
	const char *line = is_first ? next_line(text) : text->rest;
	size_t length;

	if (!line)
		return NULL;
	text->rest = NULL;
	if (!is_first)
		text->is_continued = text->is_glued = true;
	length = strlen(line);
	if (length > room) {
		length = place_to_cut(line, room);
		text->rest = length ? line + length : NULL;
		if (!length)
			text_error(text, text->line,
				   "too long a line: continue it on an "
				   "indented one");
	}
	snprintf(out, (size_t)size, "%s%.*s\n", is_first ? "" : "\t",
		 (int)length, line);
	return out;
}

int text_read(FILE *file, const struct text_events *events, void *data)
{
	struct text *text = calloc(1, sizeof(*text));
	int err;

	if (!text)
		return -ENOMEM;
	text->events = events;
	text->data = data;
	text->file = file;
	/* Its error is the first bad line only; we have told of each. */
	if (ini_parse_stream(read_piece, text, on_pair, text) == -2)
		text->err = -ENOMEM;
	key_close(text);
	err = text->err;
	free(text->buffer);
	free(text);
	return err;
}
