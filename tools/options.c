/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One table a verb: getopt's tables and the help text are both made from it,
 * so that they cannot differ.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

#define OPTION_SOCKET 0x100
#define OPTION_HELP 0x101
#define OPTION_FIRST 0x200 /* + index in the verb's table */

struct getopt_tables {
	char letters[2 * OPTIONS_MAX + 4];
	struct option names[OPTIONS_MAX + 3];
};

static int argument_of(const struct option_spec *spec)
{
	switch (spec->kind) {
	case OPTION_FLAG:
		return no_argument;
	case OPTION_INTERVAL:
	case OPTION_LIMIT:
		return optional_argument;
	default:
		return required_argument;
	}
}

static void tables_make(struct getopt_tables *tables,
			const struct option_spec *specs)
{
	char *letter = tables->letters;
	int n = 0;

	*letter++ = '+'; /* options end where the filter begins */
	*letter++ = 'h';
	for (; specs[n].name; n++) {
		int argument = argument_of(&specs[n]);

		tables->names[n] = (struct option){ specs[n].name, argument,
						    NULL, OPTION_FIRST + n };
		if (!specs[n].letter)
			continue;
		*letter++ = specs[n].letter;
		if (argument == required_argument)
			*letter++ = ':';
	}
	*letter = '\0';
	tables->names[n++] = (struct option){ "socket", required_argument, NULL,
					      OPTION_SOCKET };
	tables->names[n++] =
		(struct option){ "help", no_argument, NULL, OPTION_HELP };
	tables->names[n] = (struct option){ NULL, 0, NULL, 0 };
}

static void help_line(char letter, const char *name, const char *argument,
		      const char *help)
{
	char left[48];

	snprintf(left, sizeof(left), "%c%c%s--%s%s", letter ? '-' : ' ',
		 letter ? letter : ' ', letter ? ", " : "  ", name, argument);
	printf("  %-26s %s\n", left, help);
}

static void help_print(const struct verb *verb)
{
	const char *space = verb->name[0] ? " " : "";

	printf("Usage: netring%s%s %s\n%s\n\nOptions:\n", space, verb->name,
	       verb->arguments, verb->summary);
	for (const struct option_spec *o = verb->options; o->name; o++) {
		char argument[32] = "";

		if (argument_of(o) == optional_argument)
			snprintf(argument, sizeof(argument), "[=%s]",
				 o->argument);
		else if (o->argument)
			snprintf(argument, sizeof(argument), " %s",
				 o->argument);
		help_line(o->letter, o->name, argument, o->help);
	}
	help_line(0, "socket", " PATH",
		  "the broker's socket; default $" NR_SOCKET_ENV ", else");
	printf("%29s%s\n", "", NR_SOCKET_DEFAULT);
	help_line('h', "help", "", "print this");
	if (verb->notes)
		printf("\n%s", verb->notes);
}

enum status options_wrong(const struct verb *verb, const char *format, ...)
{
	const char *space = verb->name[0] ? " " : "";
	va_list args;

	va_start(args, format);
	fputs("netring: ", stderr);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nUsage: netring%s%s %s\n", space, verb->name,
		verb->arguments);
	return STATUS_USAGE;
}

static bool number_is(const char *text, const struct option_spec *spec,
		      uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return isdigit((unsigned char)text[0]) && !*end && !errno &&
	       *value >= spec->min && *value <= spec->max;
}

static bool seconds_are(const char *text, const struct option_spec *spec,
			uint64_t *ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (!isdigit((unsigned char)text[0]) || *end ||
	    !(seconds <= (double)spec->max / 1000))
		return false;
	*ms = (uint64_t)(seconds * 1000 + 0.5);
	return *ms >= spec->min;
}

static bool list_add(const struct verb *verb, const struct option_spec *spec,
		     const char *text, struct option_list *list)
{
	const unsigned most = sizeof(list->values) / sizeof(list->values[0]);

	if (list->count == most) {
		options_wrong(verb, "--%s: at most %u of them", spec->name,
			      most);
		return false;
	}
	list->values[list->count++] = text;
	return true;
}

static bool value_set(const struct verb *verb, const struct option_spec *spec,
		      const char *text, void *values)
{
	char *at = (char *)values + spec->offset;
	uint64_t number = spec->kind == OPTION_LIMIT ? OPTION_FOR_EVER : 1000;
	bool ok = true;

	switch (spec->kind) {
	case OPTION_FLAG:
		*(bool *)(void *)at = true;
		return true;
	case OPTION_STRING:
		*(const char **)(void *)at = text;
		return true;
	case OPTION_NUMBER:
		ok = number_is(text, spec, &number);
		if (!ok)
			options_wrong(
				verb,
				"--%s %s: give a number from %llu to %llu",
				spec->name, text, (unsigned long long)spec->min,
				(unsigned long long)spec->max);
		break;
	case OPTION_LIST:
		return list_add(verb, spec, text, (void *)at);
	case OPTION_SECONDS:
	case OPTION_INTERVAL:
	case OPTION_LIMIT:
		ok = !text || seconds_are(text, spec, &number);
		if (!ok)
			options_wrong(verb,
				      "--%s %s: give seconds from %g to %g",
				      spec->name, text,
				      (double)spec->min / 1000,
				      (double)spec->max / 1000);
		break;
	}
	*(uint64_t *)(void *)at = number;
	return ok;
}

static const struct option_spec *spec_of(const struct verb *verb, int code)
{
	const struct option_spec *spec = verb->options;

	if (code >= OPTION_FIRST)
		return &spec[code - OPTION_FIRST];
	while (spec->name && spec->letter != code)
		spec++;
	return spec->name ? spec : NULL;
}

/* One option that getopt found. */
static enum options_outcome option_take(const struct verb *verb, int code,
					void *values,
					struct arguments *arguments)
{
	const struct option_spec *spec;

	if (code == OPTION_HELP || code == 'h') {
		help_print(verb);
		return OPTIONS_HELP;
	}
	if (code == OPTION_SOCKET) {
		arguments->socket = optarg;
		return OPTIONS_OK;
	}
	spec = spec_of(verb, code);
	if (!spec) { /* getopt has said what is wrong */
		fprintf(stderr, "Try: netring%s%s --help\n",
			verb->name[0] ? " " : "", verb->name);
		return OPTIONS_WRONG;
	}
	return value_set(verb, spec, optarg, values) ? OPTIONS_OK :
						       OPTIONS_WRONG;
}

enum options_outcome options_parse(const struct verb *verb, int argc,
				   char **argv, void *values,
				   struct arguments *arguments)
{
	enum options_outcome outcome = OPTIONS_OK;
	static char title[] = "netring";
	struct getopt_tables tables;

	tables_make(&tables, verb->options);
	argv[0] = title; /* what getopt's messages start with */
	optind = 0;	 /* glibc: start anew */
	while (outcome == OPTIONS_OK) {
		int code = getopt_long(argc, argv, tables.letters, tables.names,
				       NULL);

		if (code != -1) {
			outcome = option_take(verb, code, values, arguments);
			continue;
		}
		if (!verb->takes_channel || arguments->channel ||
		    optind >= argc)
			break;
		arguments->channel = argv[optind++];
	}
	arguments->rest = optind;
	return outcome;
}
