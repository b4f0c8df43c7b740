/* SPDX-License-Identifier: BSD-2-Clause */
/* The records of bench_record.c, read back: one flat object a line. */
#include "bench_results.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

/* What is between the next two quotes, cut out of the line. */
static char *take_string(char **at)
{
	char *start = strchr(*at, '"'), *end;

	if (!start)
		return NULL;
	end = strchr(start + 1, '"');
	if (!end)
		return NULL;
	*end = 0;
	*at = end + 1;
	return start + 1;
}

static char *copy(const char *text)
{
	char *made = strdup(text);

	if (!made)
		bench_die("no memory");
	return made;
}

/* A number as a person writes it: 8, not 8.0000. */
static char *number_text(double number)
{
	char text[64];

	snprintf(text, sizeof(text), "%.6g", number);
	if (number == (double)(long)number)
		snprintf(text, sizeof(text), "%ld", (long)number);
	return copy(text);
}

static bool take_field(char **at, struct field *field)
{
	char *key = take_string(at), *end;

	if (!key)
		return false;
	*at += strspn(*at, ": ");
	field->key = copy(key);
	field->is_number = **at != '"';
	if (!field->is_number) {
		char *text = take_string(at);

		field->text = copy(text ? text : "");
		return text != NULL;
	}
	field->number = strtod(*at, &end);
	field->text = number_text(field->number);
	if (end == *at)
		return false;
	*at = end;
	return true;
}

static void parse(struct result *result, char *line)
{
	struct field field = { 0 };

	*result = (struct result){ 0 };
	while (result->count < FIELDS_MAX && take_field(&line, &field)) {
		result->field[result->count++] = field;
		if (strcmp(field.key, "round") == 0)
			result->round = (unsigned)field.number;
		if (strcmp(field.key, "placement") == 0)
			result->is_far = strcmp(field.text, "far") == 0;
	}
}

void results_load(struct results *results, const char *path)
{
	FILE *file = fopen(path, "re");
	size_t room = 0, size = 0;
	char *line = NULL;

	*results = (struct results){ 0 };
	if (!file)
		bench_die("%s: %s", path, strerror(errno));
	while (getline(&line, &size, file) > 0) {
		if (results->count == room) {
			room = room ? room * 2 : 256;
			results->all = realloc(results->all,
					       room * sizeof(*results->all));
			if (!results->all)
				bench_die("no memory");
		}
		parse(&results->all[results->count++], line);
	}
	free(line);
	fclose(file);
}

const struct field *result_field(const struct result *result, const char *key)
{
	for (unsigned i = 0; i < result->count; i++)
		if (strcmp(result->field[i].key, key) == 0)
			return &result->field[i];
	return NULL;
}

const char *result_text(const struct result *result, const char *key)
{
	const struct field *field = result_field(result, key);

	return field ? field->text : "";
}

/* @wanted is @length long; its * stands for any rest. */
static bool text_is(const char *text, const char *wanted, size_t length)
{
	if (length > 0 && wanted[length - 1] == '*')
		return strncmp(text, wanted, length - 1) == 0;
	return strlen(text) == length && strncmp(text, wanted, length) == 0;
}

bool result_is(const struct result *result, const char *where)
{
	size_t length = strcspn(where, ";");
	char key[32];

	if (length && !text_is(result_text(result, "bench"), where, length))
		return false;
	for (where += length; *where == ';'; where += length) {
		where++;
		length = strcspn(where, "=");
		snprintf(key, sizeof(key), "%.*s", (int)length, where);
		where += length + 1;
		length = strcspn(where, ";");
		if (!text_is(result_text(result, key), where, length))
			return false;
	}
	return true;
}

bool result_is_like(const struct result *result, const struct result *model,
		    const char *const *keys)
{
	for (; *keys; keys++)
		if (strcmp(result_text(result, *keys),
			   result_text(model, *keys)) != 0)
			return false;
	return true;
}

unsigned results_select(const struct results *results, const char *where,
			const struct result *model, const char *const *keys,
			const struct result **selected, unsigned max)
{
	unsigned n = 0;

	for (int far = 0; far < 2 && n == 0; far++)
		for (size_t i = 0; i < results->count && n < max; i++) {
			const struct result *result = &results->all[i];

			if (result->is_far == far && result_is(result, where) &&
			    (!model || result_is_like(result, model, keys)))
				selected[n++] = result;
		}
	return n;
}

unsigned results_values(const struct result **selected, unsigned count,
			const char *key, double *values)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		const struct field *field = result_field(selected[i], key);

		if (field && field->is_number)
			values[n++] = field->number;
	}
	return n;
}
