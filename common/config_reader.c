/*
 * config_reader - see config_reader.h: maps by their tables, and the values that several tables use.
 */
#include "common/config_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/quantity.h"

/* --- maps --------------------------------------------------------------------------------------------------------- */

bool
config_wrong_type(struct config_reader *reader, const struct node *value, const char *allowed)
{
	config_error(reader, "found %s; must be %s", config_found(value).text, allowed);
	return false;
}

bool
config_check_value(struct config_reader *reader, const struct node *value, const char *allowed)
{
	if (value->kind == NODE_NULL)
		return config_wrong_type(reader, value, allowed);
	if (value->kind == NODE_BAD)
		config_error(reader, "%s", value->text);
	return value->kind != NODE_BAD;
}

bool
config_check_key(struct config_reader *reader, const struct pair *pair)
{
	const struct node *key = pair->key;

	if (key->kind == NODE_BAD) {
		config_error(reader, "%s", key->text);
		return false;
	}
	if (key->kind != NODE_STRING) {
		config_error(reader, "the key is %s; a key must be a string%s", config_found(key).text,
		    key->kind == NODE_SEQUENCE || key->kind == NODE_MAPPING ? "" : ": put it in quotes");
		return false;
	}
	if (memchr(key->text, '\0', key->length)) {
		config_error(reader, "the key holds a NUL character");
		return false;
	}
	if (key->plain && strcmp(key->text, "<<") == 0) {
		config_error(reader, "merge keys are not part of YAML 1.2; use an alias for the whole map");
		return false;
	}
	if (pair->first) {
		config_error(
		    reader, "duplicate key; first given at %d:%d", pair->first->mark.line, pair->first->mark.column);
		return false;
	}
	return true;
}

static void
report_unknown_key(
    struct config_reader *reader, const struct config_map *map, const struct node *node, const char *name)
{
	const char *meant = config_suggest(name, map, node);
	char allowed[512] = "";

	if (meant) {
		config_error(reader, "unknown key; did you mean \"%s\"?", meant);
		return;
	}
	for (size_t i = 0; i < map->n_keys; i++)
		snprintf(allowed + strlen(allowed), sizeof(allowed) - strlen(allowed), "%s%s", i ? ", " : "",
		    map->keys[i].name);
	config_error(reader, "unknown key; allowed: %s", allowed);
}

static void
read_key(struct config_reader *reader, const struct config_key *key, const struct node *value, void *target)
{
	void *field = target && key->offset != CONFIG_NO_FIELD ? (char *)target + key->offset : NULL;

	/* Nothing means the default, as in Kubernetes. */
	if (value->kind == NODE_NULL && !(key->flags & CONFIG_REQUIRED))
		return;
	if (config_check_value(reader, value, key->allowed) && key->read(reader, key, value, field) &&
	    (key->flags & CONFIG_NOT_YET))
		config_error(reader, "not supported yet");
}

static const struct config_key *
find_key(const struct config_map *map, const char *name)
{
	for (size_t i = 0; i < map->n_keys; i++) {
		if (strcmp(map->keys[i].name, name) == 0)
			return &map->keys[i];
	}
	return NULL;
}

static void
report_missing_keys(struct config_reader *reader, const struct config_map *map, const struct node *node)
{
	for (size_t i = 0; i < map->n_keys; i++) {
		const struct config_key *key = &map->keys[i];
		struct node name = {.kind = NODE_STRING, .text = (char *)key->name, .length = strlen(key->name)};
		struct config_place place;

		if (!(key->flags & CONFIG_REQUIRED) || document_find(node, key->name))
			continue;
		place = config_enter(reader, &name, 0, node->mark);
		config_error(reader, "missing; must be %s", key->allowed);
		config_leave(reader, place);
	}
}

bool
config_read_keys(struct config_reader *reader, const struct config_map *map, const struct node *node, void *target)
{
	if (node->kind != NODE_MAPPING)
		return config_wrong_type(reader, node, "a map");
	report_missing_keys(reader, map, node);
	for (size_t i = 0; i < node->n; i++) {
		const struct pair *pair = &node->pairs[i];
		struct config_place place = config_enter(reader, pair->key, 0, pair->key->mark);

		if (config_check_key(reader, pair)) {
			const struct config_key *key = find_key(map, pair->key->text);

			if (key)
				read_key(reader, key, pair->value, target);
			else
				report_unknown_key(reader, map, node, pair->key->text);
		}
		config_leave(reader, place);
	}
	if (map->check)
		map->check(reader, node, target);
	return true;
}

bool
config_read_map(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	return config_read_keys(reader, key->map, value, field);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

bool
config_read_nothing(UNUSED struct config_reader *reader, UNUSED const struct config_key *key,
    UNUSED const struct node *value, UNUSED void *field)
{
	return true;
}

const char *
config_text(struct config_reader *reader, const struct node *value, const char *allowed)
{
	if (!config_check_value(reader, value, allowed))
		return NULL;
	if (value->kind == NODE_SEQUENCE || value->kind == NODE_MAPPING) {
		config_wrong_type(reader, value, allowed);
		return NULL;
	}
	if (memchr(value->text, '\0', value->length)) {
		config_error(reader, "%s holds a NUL character", config_show(value->text, value->length).text);
		return NULL;
	}
	return value->text;
}

bool
config_read_string(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed);

	if (!text)
		return false;
	if (!*text)
		return config_wrong_type(reader, value, key->allowed);
	if (key->max > 0 && strlen(text) > (size_t)key->max) {
		config_error(
		    reader, "%s is longer than %d characters", config_show(text, value->length).text, (int)key->max);
		return false;
	}
	if (field)
		*(char **)field = xstrdup(text);
	return true;
}

/* Decimal, 0o or 0x. False when it does not fit. */
static bool
parse_integer(const struct node *value, int64_t *ret_number)
{
	const char *text = value->text;
	int base = 10;

	if (strncmp(text, "0o", 2) == 0 || strncmp(text, "0x", 2) == 0) {
		base = text[1] == 'o' ? 8 : 16;
		text += 2;
	}
	errno = 0;
	*ret_number = strtoll(text, NULL, base);
	return errno == 0;
}

bool
config_read_int(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	int64_t number;

	if (value->kind != NODE_INTEGER || !parse_integer(value, &number) || number < key->min || number > key->max)
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(int *)field = (int)number;
	return true;
}

bool
config_read_choice(
    struct config_reader *reader, const struct config_key *key, const struct node *value, UNUSED void *field)
{
	const char *text = config_text(reader, value, key->allowed);
	const char *at = key->allowed;

	if (!text)
		return false;
	while (*text && *at) {
		size_t length = strcspn(at, " ,");

		if (strlen(text) == length && strncmp(text, at, length) == 0 && strcmp(text, "or") != 0)
			return true;
		at += length;
		at += strspn(at, " ,");
	}
	return config_wrong_type(reader, value, key->allowed);
}

/* A number or a string that may be a quantity; how an example of one looks is in the caller's words. */
static bool
read_quantity(struct config_reader *reader, const struct node *value, MUSTCHECK int (*parse)(const char *, int64_t *),
    const char *examples, int64_t *ret_value)
{
	const char *text;
	int r;

	if (value->kind != NODE_INTEGER && value->kind != NODE_FLOAT && value->kind != NODE_STRING)
		return config_wrong_type(reader, value, "a quantity");
	text = config_text(reader, value, "a quantity");
	if (!text)
		return false;
	r = parse(text, ret_value);
	if (r == -ERANGE)
		config_error(reader, "%s is too large", config_show(text, value->length).text);
	else if (r < 0)
		config_error(reader, "%s is not a quantity; use %s", config_show(text, value->length).text, examples);
	return r == 0;
}

bool
config_read_cpu(
    struct config_reader *reader, UNUSED const struct config_key *key, const struct node *value, void *field)
{
	int64_t millicpu;

	if (!read_quantity(reader, value, quantity_parse_milli, "200m, 0.5 or 2", &millicpu))
		return false;
	if (millicpu <= 0)
		return config_wrong_type(reader, value, "more than 0");
	if (field)
		*(int64_t *)field = millicpu;
	return true;
}

bool
config_read_bytes(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	int64_t bytes;

	if (!read_quantity(reader, value, quantity_parse_bytes, "512Mi, 2G or 1000000", &bytes))
		return false;
	if (bytes < key->min || bytes > key->max)
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(int64_t *)field = bytes;
	return true;
}

bool
config_read_duration(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}};
	const char *text = config_text(reader, value, key->allowed);
	size_t n_digits = text ? strspn(text, "0123456789") : 0;

	if (!text)
		return false;
	for (size_t i = 0; i < N_ELEMENTS(units); i++) {
		int64_t ms;

		if (n_digits == 0 || n_digits > 9 || strcmp(text + n_digits, units[i].name) != 0)
			continue;
		ms = strtoll(text, NULL, 10) * units[i].ms;
		if (ms < key->min || (key->max > 0 && ms > key->max))
			break;
		if (field)
			*(int64_t *)field = ms;
		return true;
	}
	return config_wrong_type(reader, value, key->allowed);
}

bool
config_read_percent(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed);
	size_t n_digits = text ? strspn(text, "0123456789") : 0;
	int64_t percent;

	if (!text)
		return false;
	if (n_digits == 0 || n_digits > 9 || strcmp(text + n_digits, "%") != 0)
		return config_wrong_type(reader, value, key->allowed);
	percent = strtoll(text, NULL, 10);
	if (percent < key->min || percent > key->max)
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(int *)field = (int)percent;
	return true;
}

bool
config_is_dns_label(const char *text, bool letter_first)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz", digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	size_t length = strlen(text);

	return length > 0 && length <= CONFIG_NAME_MAX && strchr(letter_first ? letters : digits, text[0]) &&
	    strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == length && text[length - 1] != '-';
}
