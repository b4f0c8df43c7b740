/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the configuration share: keys, and a parse under way. */
#ifndef NETRINGD_CONFIG_PRIVATE_H
#define NETRINGD_CONFIG_PRIVATE_H

#include "config.h"

#define KEYS_MAX 48		   /* of a section */
#define RIGHT_MAX 512		   /* "what would be right" */
#define CONFIG_RATE_MAX 1000000000 /* packets/s */
#define CONFIG_QUEUE_MAX 1023	   /* number of a receive queue */

#define ONLY(backend) (1u << (backend))

enum config_profile {
	PROFILE_DEFAULT,
	PROFILE_THROUGHPUT,
	PROFILE_LATENCY,
	PROFILE_MEMORY,
	PROFILE_JUMBO,
	PROFILE_COUNT,
};

/* What is decided only when the section, or the text, is complete. */
struct config_pending {
	uint32_t profile;		/* of the open source */
	char filter[CONFIG_FILTER_MAX]; /* of the open source */
	uint32_t filter_lines[CONFIG_CHANNELS_MAX];
	uint32_t source_lines[CONFIG_CHANNELS_MAX];
	char sources[CONFIG_CHANNELS_MAX][NR_NAME_MAX]; /* empty: none */
};

struct config_section;
struct config_parse {
	struct config *config;
	const char *name;
	FILE *errors;
	int error_count;

	const struct config_section *section; /* NULL: none */
	bool skips;    /* the section is bad; so its keys are not looked at */
	void *target;  /* the structure its keys go to */
	uint32_t line; /* of the section */
	uint32_t key_lines[KEYS_MAX]; /* where each was given; 0: not */
	bool backend_is_bad; /* of the open source: which keys fit is unknown */

	uint32_t broker_line;
	struct config_pending pending;
};

struct config_key {
	const char *name;
	const struct config_type *type;
	size_t offset;			 /* in its structure */
	int64_t min, max;		 /* of a number */
	const struct config_word *words; /* of a choice */
	const char *help;
	uint32_t backends; /* it belongs to, as ONLY(); 0: all */
};

struct config_word {
	const char *word;
	uint32_t value;
};

struct config_type {
	/*
	 * Stores what @value says in @field; or returns false, with what would
	 * be right in @right (RIGHT_MAX) unless the type can tell by itself.
	 */
	bool (*parse)(const struct config_key *key, const char *value,
		      void *field, struct config_parse *parse, char *right);
	/* Says what would be right, whatever the value. May be NULL. */
	void (*describe)(const struct config_key *key, char *right);
	/* Whether the field is in range. NULL: its owner looks. */
	bool (*is_sane)(const struct config_key *key, const void *field);
};

enum config_section_kind {
	SECTION_BROKER,
	SECTION_SOURCE,
	SECTION_CHANNEL,
	SECTION_COUNT,
};

struct config_section {
	const char *name;
	bool is_named;
	const struct config_key *keys; /* ends with one without a name */
	/* The structure for a new one; NULL after a message. */
	void *(*begin)(struct config_parse *parse, const char *name);
	void (*end)(struct config_parse *parse);
};

/* config_types.c */
extern const struct config_type config_type_u32;
extern const struct config_type config_type_i32;
extern const struct config_type config_type_size32;
extern const struct config_type config_type_size64;
extern const struct config_type config_type_choice;
extern const struct config_type config_type_bool;
extern const struct config_type config_type_switch;
extern const struct config_type config_type_profile;
extern const struct config_type config_type_text;
extern const struct config_type config_type_file;
extern const struct config_type config_type_user;
extern const struct config_type config_type_group;
extern const struct config_type config_type_kernel_filter;
extern const struct config_type config_type_interfaces;
extern const struct config_type config_type_queues;
extern const struct config_type config_type_rate;
extern const struct config_type config_type_allow;
extern const struct config_type config_type_source_ref;
/* "64M" */
char *config_size_text(char *out, size_t size, uint64_t bytes);

/* config_keys.c */
extern const struct config_key config_broker_keys[];
extern const struct config_key config_source_keys[];
extern const struct config_key config_channel_keys[];
const struct config_key *config_key_find(const struct config_key *keys,
					 const char *name, size_t length);
bool config_keys_are_sane(const struct config_key *keys, const void *target);

/* config_check.c: rules over several keys, each with what would be right. */
bool config_name_is_valid(const char *name);
bool config_interface_is_valid(const char *name);
bool config_queues_are_sane(const struct config_source *source);
/* Return false with a message in @right. */
bool config_source_fits(const struct config_source *source, char *right);
bool config_channel_fits(const struct config_channel *channel, char *right);
/* Whether @path may be a capture file, as far as this process can see. */
bool config_file_is_there(const char *path, char *right);
bool config_channel_filter_compiles(const struct config_channel *channel,
				    const struct config_source *source,
				    char *right);

#endif
