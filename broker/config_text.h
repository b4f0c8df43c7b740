/* SPDX-License-Identifier: BSD-2-Clause */
/* The text of a configuration: sections, keys, values, and their lines. */
#ifndef NETRINGD_CONFIG_TEXT_H
#define NETRINGD_CONFIG_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Called in the order of the text; strings are lent for the call. */
struct text_events {
	/* @head: what is between the brackets */
	void (*section)(void *data, uint32_t line, char *head);
	/* @value: with its continued lines, joined by a blank */
	void (*key)(void *data, uint32_t line, const char *name,
		    const char *value);
	/* What is wrong with a line, and what would be right. */
	void (*error)(void *data, uint32_t line, const char *message);
	/* Whether the open section knows a key of this name. */
	bool (*is_key)(void *data, const char *name, size_t length);
};

/* Returns 0, or -errno if the file cannot be read (to its end). */
int text_read(FILE *file, const struct text_events *events, void *data);

#endif
