/*
 * table - rows and columns, as wide as they need to be.
 *
 * Columns are three blanks apart. On a terminal that is too narrow they are two, or one, and have their short names; if that is not enough the
 * widest column is cut, with "…". In a pipe nothing is.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli/text.h"

#define TABLE_COLUMNS_MAX 16

struct table {
	size_t n_columns;
	const char *const *short_names; /* NULL: there are none */
	size_t n_cells;
	struct table_cell {
		char *text; /* clean */
		enum color color;
	} * cells;
};

/* With its head: n names of columns, and short ones (NULL: none), both the caller's for the life of the table. */
void table_init(struct table *table, size_t n, const char *const *names, const char *const *short_names);
void table_done(struct table *table);

/* One cell after the other, row by row. The text is cleaned. */
void table_add(struct table *table, const char *text, enum color color);
void table_add_number(struct table *table, double number);

/* On standard output. */
void table_print(struct table *table);

#endif
