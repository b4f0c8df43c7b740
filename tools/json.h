/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A JSON document, written as it comes. Inside an object every value has a
 * key; elsewhere @key is NULL. Numbers are exact 64-bit integers.
 */
#ifndef NETRING_TOOL_JSON_H
#define NETRING_TOOL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 8

struct json {
	FILE *out;
	bool is_compact; /* all on one line */
	unsigned depth;
	bool has_items[JSON_DEPTH_MAX]; /* a comma comes before the next */
};

void json_init(struct json *json, FILE *out, bool is_compact);

/* The outermost one ends with a new line. */
void json_object(struct json *json, const char *key);
void json_object_end(struct json *json);
void json_array(struct json *json, const char *key);
void json_array_end(struct json *json);

/*
 * At most @size bytes of @text. The output is ASCII: a character beyond it
 * becomes \uXXXX, a byte that is not UTF-8 the replacement character.
 */
void json_string(struct json *json, const char *key, const char *text,
		 size_t size);
void json_number(struct json *json, const char *key, uint64_t value);
void json_null(struct json *json, const char *key);

#endif
