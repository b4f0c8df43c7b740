/* SPDX-License-Identifier: BSD-2-Clause */
/* A table for people: columns as wide as what is in them. */
#ifndef NETRING_TOOL_TABLE_H
#define NETRING_TOOL_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 20

struct table {
	const char *const *headings; /* '>' in front: right-aligned */
	unsigned columns;
	char **cells; /* row by row */
	size_t count;
	size_t capacity;
};

/* @headings ends with NULL and is borrowed. */
void table_init(struct table *table, const char *const *headings);
void table_deinit(struct table *table);

/* The next cell. Text of others is escaped, at most @size bytes of it. */
void table_text(struct table *table, const char *text, size_t size);
void table_number(struct table *table, uint64_t value);
__attribute__((format(printf, 2, 3))) void table_cell(struct table *table,
						      const char *format, ...);

/* Ends without spaces at the end of a line. A table without rows: nothing. */
void table_print(const struct table *table, FILE *out);

#endif
