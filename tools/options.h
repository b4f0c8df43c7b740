/* SPDX-License-Identifier: BSD-2-Clause */
/* The options of a verb, as a table: parsed by it, and explained by it. */
#ifndef NETRING_TOOL_OPTIONS_H
#define NETRING_TOOL_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "common.h"

#define OPTIONS_MAX 16

enum option_kind {
	OPTION_FLAG,	 /* bool */
	OPTION_STRING,	 /* const char * */
	OPTION_NUMBER,	 /* uint64_t, min to max */
	OPTION_SECONDS,	 /* uint64_t, in ms; min to max in ms */
	OPTION_INTERVAL, /* the same; the argument may be left out: 1 s */
	OPTION_LIMIT,	 /* the same; left out: OPTION_FOR_EVER */
	OPTION_LIST,	 /* struct option_list; may be given several times */
};

#define OPTION_FOR_EVER UINT64_MAX
#define OPTION_NOT_GIVEN (UINT64_MAX - 1) /* for the verb to begin with */

struct option_list {
	const char *values[16];
	unsigned count;
};

struct option_spec {
	const char *name;
	char letter; /* or 0 */
	enum option_kind kind;
	size_t offset; /* of the value in the verb's structure */
	uint64_t min;
	uint64_t max;
	const char *argument; /* what help calls it */
	const char *help;
};

struct verb {
	const char *name; /* "" is the command itself */
	const char *arguments;
	const char *summary;
	const struct option_spec *options; /* ends with a name of NULL */
	const char *notes;
	bool takes_channel; /* a first argument; options may follow it */
	enum status (*run)(const struct verb *verb, int argc, char **argv,
			   const char *socket);
};

/* What was found besides the verb's own options. */
struct arguments {
	const char *socket;  /* --socket; left alone if not given */
	const char *channel; /* NULL: none */
	int rest;	     /* index in argv of what follows */
};

enum options_outcome { OPTIONS_OK, OPTIONS_HELP, OPTIONS_WRONG };

/*
 * Parses argv[1] and on. Each value goes into the structure at @values. On
 * --help the explanation is printed; on a wrong option, what would be right.
 */
enum options_outcome options_parse(const struct verb *verb, int argc,
				   char **argv, void *values,
				   struct arguments *arguments);

/* Says what is wrong with the command line. Returns STATUS_USAGE. */
__attribute__((format(printf, 2, 3))) enum status
options_wrong(const struct verb *verb, const char *format, ...);

#endif
