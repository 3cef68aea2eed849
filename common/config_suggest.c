/*
 * config_suggest - which key did somebody mean who misspelt one?
 *
 * Edit distance (insert, delete, replace, swap two neighbours), blind to case and to the difference between "_" and
 * "-". A third of the word may be wrong, at least one letter; of a word of up to SHORT letters only one, and its first is
 * right: nearly any two short words have half of their letters in common. A word that begins with a key is that key
 * when it means nothing else (memory: mem). What the map has already is not what was meant.
 */
#include <ctype.h>
#include <string.h>

#include "common/config_reader.h"

#define WORD_MAX 40
#define SHORT    4

static char
fold(char c)
{
	return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

/* Both words are at most WORD_MAX long. */
static unsigned
edit_distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1], *before = rows[0], *above = rows[1], *row = rows[2];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		above[j] = before[j] = (unsigned)j;
	for (size_t i = 1; a[i - 1]; i++) {
		unsigned *oldest = before;

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned replace = above[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));

			row[j] = MIN(replace, MIN(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
				row[j] = MIN(row[j], before[j - 2] + 1);
		}
		before = above;
		above = row;
		row = oldest;
	}
	return above[n];
}

/* How many letters of word may be wrong when name was meant? */
static unsigned
allowed_distance(const char *word, const char *name)
{
	size_t length = MAX(strlen(word), strlen(name));

	if (MIN(strlen(word), strlen(name)) <= SHORT)
		return length <= SHORT + 1 && fold(word[0]) == fold(name[0]);
	return (unsigned)MAX(length / 3, 1u);
}

const char *
config_suggest(const char *word, const struct config_map *map, const struct node *node)
{
	const char *best = NULL, *beginning = NULL;
	unsigned best_distance = 0;

	if (strlen(word) > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < map->n_keys; i++) {
		const char *name = map->keys[i].name;
		unsigned distance = edit_distance(word, name);

		if (document_find(node, name))
			continue;
		if (distance <= allowed_distance(word, name) && (!best || distance < best_distance)) {
			best = name;
			best_distance = distance;
		}
		if (strlen(name) > 2 && strncmp(word, name, strlen(name)) == 0)
			beginning = name;
	}
	return best ? best : beginning;
}
