/* SPDX-License-Identifier: BSD-2-Clause */
/* Commas and escapes in one place, so that no verb thinks about either. */
#include <inttypes.h>
#include <string.h>

#include "json.h"

#define REPLACEMENT 0xfffdu

void json_init(struct json *json, FILE *out, bool is_compact)
{
	memset(json, 0, sizeof(*json));
	json->out = out;
	json->is_compact = is_compact;
}

static void new_line(struct json *json)
{
	if (json->is_compact)
		return;
	fputc('\n', json->out);
	for (unsigned i = 0; i < json->depth; i++)
		fputs("  ", json->out);
}

/*
 * The character at @text, of @size bytes, and how many bytes it takes. What is
 * not UTF-8 (RFC 3629: no overlong form, no surrogate) is one byte long.
 */
static uint32_t utf8_next(const unsigned char *text, size_t size,
			  size_t *length)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char c = text[0];
	size_t want = c < 0x80 ? 1 :
		      c < 0xc2 ? 0 :
		      c < 0xe0 ? 2 :
		      c < 0xf0 ? 3 :
		      c < 0xf5 ? 4 :
				 0;
	uint32_t point = want < 2 ? c : c & (0x7fu >> want);

	*length = 1;
	if (want == 0 || want > size)
		return REPLACEMENT;
	for (size_t i = 1; i < want; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return REPLACEMENT;
		point = point << 6 | (text[i] & 0x3fu);
	}
	if (point < least[want] || point > 0x10ffff ||
	    (point >= 0xd800 && point < 0xe000))
		return REPLACEMENT;
	*length = want;
	return point;
}

static void put_point(FILE *out, uint32_t point)
{
	if (point == '"' || point == '\\')
		fprintf(out, "\\%c", (int)point);
	else if (point >= 0x20 && point < 0x7f)
		fputc((int)point, out);
	else if (point < 0x10000)
		fprintf(out, "\\u%04" PRIx32, point);
	else
		fprintf(out, "\\u%04" PRIx32 "\\u%04" PRIx32,
			0xd800 + ((point - 0x10000) >> 10),
			0xdc00 + ((point - 0x10000) & 0x3ff));
}

static void put_string(FILE *out, const char *text, size_t size)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t left = strnlen(text, size);
	size_t length;

	fputc('"', out);
	for (; left; at += length, left -= length)
		put_point(out, utf8_next(at, left, &length));
	fputc('"', out);
}

/* What comes before any value. */
static void put_key(struct json *json, const char *key)
{
	if (json->depth) {
		if (json->has_items[json->depth])
			fputc(',', json->out);
		json->has_items[json->depth] = true;
		new_line(json);
	}
	if (!key)
		return;
	put_string(json->out, key, SIZE_MAX);
	fputs(json->is_compact ? ":" : ": ", json->out);
}

static void open_level(struct json *json, const char *key, char bracket)
{
	put_key(json, key);
	fputc(bracket, json->out);
	json->depth++;
	json->has_items[json->depth] = false;
}

static void close_level(struct json *json, char bracket)
{
	bool has_items = json->has_items[json->depth--];

	if (has_items)
		new_line(json);
	fputc(bracket, json->out);
	if (!json->depth)
		fputc('\n', json->out);
}

void json_object(struct json *json, const char *key)
{
	open_level(json, key, '{');
}

void json_object_end(struct json *json)
{
	close_level(json, '}');
}

void json_array(struct json *json, const char *key)
{
	open_level(json, key, '[');
}

void json_array_end(struct json *json)
{
	close_level(json, ']');
}

void json_string(struct json *json, const char *key, const char *text,
		 size_t size)
{
	put_key(json, key);
	put_string(json->out, text, size);
}

void json_number(struct json *json, const char *key, uint64_t value)
{
	put_key(json, key);
	fprintf(json->out, "%" PRIu64, value);
}

void json_null(struct json *json, const char *key)
{
	put_key(json, key);
	fputs("null", json->out);
}
