/* SPDX-License-Identifier: BSD-2-Clause */
/* Cells are kept as text until the last has come and the widths are known. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "table.h"

void table_init(struct table *table, const char *const *headings)
{
	memset(table, 0, sizeof(*table));
	table->headings = headings;
	while (headings[table->columns])
		table->columns++;
}

void table_deinit(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	memset(table, 0, sizeof(*table));
}

/* Takes @cell. */
static void table_add(struct table *table, char *cell)
{
	if (table->count == table->capacity) {
		size_t capacity = table->capacity ? 2 * table->capacity : 64;
		char **cells = realloc(table->cells, capacity * sizeof(*cells));

		if (!cells)
			abort();
		table->cells = cells;
		table->capacity = capacity;
	}
	table->cells[table->count++] = cell;
}

void table_cell(struct table *table, const char *format, ...)
{
	va_list args;
	char *cell;

	va_start(args, format);
	if (vasprintf(&cell, format, args) < 0)
		abort();
	va_end(args);
	table_add(table, cell);
}

void table_text(struct table *table, const char *text, size_t size)
{
	size_t room = ESCAPED(strnlen(text, size));
	char *cell = malloc(room);

	if (!cell)
		abort();
	table_add(table, escape(cell, room, text, size));
}

void table_number(struct table *table, uint64_t value)
{
	table_cell(table, "%" PRIu64, value);
}

static void print_row(const struct table *table, const char *const *row,
		      const int *widths, FILE *out)
{
	for (unsigned c = 0; c < table->columns; c++) {
		bool is_last = c + 1 == table->columns;
		bool is_right = table->headings[c][0] == '>';
		int width = is_right ? widths[c] : is_last ? 0 : -widths[c];

		fprintf(out, "%*s%s", width, row[c], is_last ? "\n" : "  ");
	}
}

void table_print(const struct table *table, FILE *out)
{
	const char *heads[TABLE_COLUMNS_MAX];
	int widths[TABLE_COLUMNS_MAX];

	if (!table->count)
		return;
	for (unsigned c = 0; c < table->columns; c++) {
		heads[c] = table->headings[c] + (table->headings[c][0] == '>');
		widths[c] = (int)strlen(heads[c]);
	}
	for (size_t i = 0; i < table->count; i++) {
		int width = (int)strlen(table->cells[i]);

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	print_row(table, heads, widths, out);
	for (size_t i = 0; i + table->columns <= table->count;
	     i += table->columns)
		print_row(table, (const char *const *)table->cells + i, widths,
			  out);
}
