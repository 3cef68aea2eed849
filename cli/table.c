/*
 * table - see table.h.
 */
#include "cli/table.h"

#include <stdlib.h>
#include <string.h>

#define GAP       3
#define GAP_SHORT 2
#define GAP_MIN   1
#define NARROWEST 5 /* that a column is cut to */

struct table_widths {
	int columns[TABLE_COLUMNS_MAX];
	int gap;
	int total;
};

void
table_init(struct table *table, size_t n, const char *const *names, const char *const *short_names)
{
	memset(table, 0, sizeof(*table));
	ASSERT(n <= TABLE_COLUMNS_MAX);
	table->n_columns = n;
	table->short_names = short_names;
	for (size_t i = 0; i < n; i++)
		table_add(table, names[i], COLOR_BOLD);
}

void
table_done(struct table *table)
{
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i].text);
	free(table->cells);
}

void
table_add(struct table *table, const char *text, enum color color)
{
	table->cells = xrealloc(table->cells, table->n_cells + 1, sizeof(*table->cells));
	table->cells[table->n_cells].text = text_clean(text, strlen(text), false);
	for (char *tab = table->cells[table->n_cells].text; (tab = strchr(tab, '\t'));)
		*tab = ' ';
	table->cells[table->n_cells++].color = color;
}

void
table_add_number(struct table *table, double number)
{
	char text[32];

	snprintf(text, sizeof(text), "%.0f", number);
	table_add(table, text, COLOR_NONE);
}

static void
measure(const struct table *table, int gap, struct table_widths *widths)
{
	memset(widths, 0, sizeof(*widths));
	widths->gap = gap;
	for (size_t i = 0; i < table->n_cells; i++) {
		int *width = &widths->columns[i % table->n_columns];

		*width = MAX(*width, text_columns(table->cells[i].text));
	}
	for (size_t i = 0; i < table->n_columns; i++)
		widths->total += widths->columns[i] + (i > 0 ? gap : 0);
}

static void
use_short_names(struct table *table)
{
	for (size_t i = 0; table->short_names && i < table->n_columns; i++) {
		free(table->cells[i].text);
		table->cells[i].text = xstrdup(table->short_names[i]);
	}
}

/* Cut the widest, until all of it fits. */
static void
narrow(const struct table *table, struct table_widths *widths)
{
	while (widths->total > text_width()) {
		int *widest = &widths->columns[0], cut;

		for (size_t i = 1; i < table->n_columns; i++)
			if (widths->columns[i] > *widest)
				widest = &widths->columns[i];
		cut = MIN(widths->total - text_width(), *widest - NARROWEST);
		if (cut <= 0)
			break;
		*widest -= cut;
		widths->total -= cut;
	}
}

static void
print_cell(const struct table_cell *cell, int width, int blanks)
{
	int columns = text_columns(cell->text);
	size_t n = strlen(cell->text);
	bool cut = columns > width;

	if (cut) {
		n = text_fit(cell->text, width - 1);
		columns -= text_columns(cell->text + n) - 1;
	}
	printf("%s%.*s%s%s", cell->color == COLOR_NONE ? "" : text_color(cell->color), (int)n, cell->text,
	    cut ? "…" : "", cell->color == COLOR_NONE ? "" : text_color(COLOR_NONE));
	if (blanks > 0)
		printf("%*s", width - columns + blanks, "");
}

void
table_print(struct table *table)
{
	struct table_widths widths;

	measure(table, GAP, &widths);
	if (widths.total > text_width()) {
		use_short_names(table);
		measure(table, GAP_SHORT, &widths);
		if (widths.total > text_width())
			measure(table, GAP_MIN, &widths);
		narrow(table, &widths);
	}
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t column = i % table->n_columns;
		bool last = column + 1 == table->n_columns;

		print_cell(&table->cells[i], widths.columns[column], last ? 0 : widths.gap);
		if (last)
			putchar('\n');
	}
}
