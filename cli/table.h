/*
 * table - rows and columns, as wide as they need to be.
 *
 * Columns are three blanks apart; on a terminal that is too narrow, one, and then the widest column is cut, with "…". In a pipe nothing is.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli/text.h"

#define TABLE_COLUMNS_MAX 16

struct table {
	size_t n_columns;
	size_t n_cells;
	struct table_cell {
		char *text; /* clean */
		enum color color;
	} * cells;
};

/* With its head: n names of columns. */
void table_init(struct table *table, size_t n, const char *const *names);
void table_done(struct table *table);

/* One cell after the other, row by row. The text is cleaned. */
void table_add(struct table *table, const char *text, enum color color);
void table_add_number(struct table *table, double number);

/* On standard output. */
void table_print(const struct table *table);

#endif
