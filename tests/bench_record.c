/* SPDX-License-Identifier: BSD-2-Clause */
/* One measurement as one line: JSON to a file, words to stderr. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

static FILE *file;
static char line[4096];
static size_t used;
static bool is_first;

void record_open_file(const char *path)
{
	file = fopen(path, "ae");
	if (!file)
		bench_die("%s: %s", path, strerror(errno));
}

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line + used, sizeof(line) - used, format, args);
	va_end(args);
	if (length < 0 || (size_t)length >= sizeof(line) - used)
		bench_die("a record is too long");
	used += (size_t)length;
}

static void put_key(const char *key)
{
	put("%s\"%s\": ", is_first ? "{" : ", ", key);
	is_first = false;
}

void record_text(const char *key, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* What would end the string or the line is of no use in a label. */
	for (char *at = text; *at; at++)
		if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ')
			*at = '\'';
	put_key(key);
	put("\"%s\"", text);
	fprintf(stderr, " %s", text);
}

void record_number(const char *key, double value)
{
	put_key(key);
	put("%.15g", value);
	fprintf(stderr, " %s=%.5g", key, value);
}

void record_begin(const char *bench, unsigned round)
{
	used = 0;
	is_first = true;
	put_key("bench");
	put("\"%s\"", bench);
	put_key("round");
	put("%u", round);
	fprintf(stderr, "%s %u:", bench, round + 1);
}

void record_end(void)
{
	put("}\n");
	fputc('\n', stderr);
	if (!file)
		return;
	if (fputs(line, file) == EOF || fflush(file))
		bench_die("cannot write the results: %s", strerror(errno));
}
