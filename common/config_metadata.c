/*
 * config_metadata - predictor.metadata as JSON text, the form in which it travels to the replica.
 *
 * Numbers keep every digit they were written with: an integer of any size that Python takes, a float with its own
 * decimals (only made into JSON's form: 1. becomes 1.0, .nan NaN, 0x1F 31). The document has bounded the depth; the
 * size is bounded here, because an alias may repeat a long text.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config_reader.h"

#define INTEGER_DIGITS_MAX 4300 /* Python's int() refuses a longer decimal text (sys.set_int_max_str_digits) */

struct json {
	struct config_reader *reader;
	char *text;
	size_t length;
	size_t room;
	bool too_large; /* more than reader->metadata_room */
	bool failed;    /* an error was reported */
};

static void write_node(struct json *json, const struct node *node);

static void
write_bytes(struct json *json, const char *bytes, size_t length)
{
	if (json->too_large || length > json->reader->metadata_room - json->length) {
		json->too_large = true;
		return;
	}
	while (json->length + length >= json->room) {
		json->room = json->room ? 2 * json->room : 256;
		json->text = xrealloc(json->text, json->room, 1);
	}
	memcpy(json->text + json->length, bytes, length);
	json->length += length;
	json->text[json->length] = '\0';
}

static void
write_text(struct json *json, const char *text)
{
	write_bytes(json, text, strlen(text));
}

static void
write_string(struct json *json, const char *text, size_t length)
{
	size_t begin = 0;

	write_text(json, "\"");
	for (size_t i = 0; i < length && !json->too_large; i++) {
		unsigned char c = (unsigned char)text[i];
		char escaped[8];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		write_bytes(json, text + begin, i - begin);
		begin = i + 1;
		if (c < 0x20)
			snprintf(escaped, sizeof(escaped), "\\u%04x", c);
		else
			snprintf(escaped, sizeof(escaped), "\\%c", c);
		write_text(json, escaped);
	}
	write_bytes(json, text + begin, length - begin);
	write_text(json, "\"");
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

static void
write_decimal(struct json *json, const char *digits)
{
	digits += strspn(digits, "0");
	if (strlen(digits) > INTEGER_DIGITS_MAX) {
		config_error(
		    json->reader, "integer of %zu digits; Python reads at most %d", strlen(digits), INTEGER_DIGITS_MAX);
		json->failed = true;
		return;
	}
	write_text(json, *digits ? digits : "0");
}

/* Digits of base 8 or 16. The limbs have nine decimal digits each, least significant first. */
static void
write_converted(struct json *json, const char *digits, unsigned bits)
{
	enum {
		LIMB = 1000000000,
		LIMB_DIGITS = 9,
		LIMBS_MAX = INTEGER_DIGITS_MAX * 4 / 3 / LIMB_DIGITS
	};
	uint32_t limbs[LIMBS_MAX] = {0};
	char text[LIMBS_MAX * LIMB_DIGITS + 1];
	size_t n_limbs = 0;

	digits += strspn(digits, "0");
	if (strlen(digits) > INTEGER_DIGITS_MAX) {
		write_decimal(json, digits);
		return;
	}
	for (; *digits; digits++) {
		unsigned digit = isdigit((unsigned char)*digits)
		    ? (unsigned)(*digits - '0')
		    : (unsigned)(tolower((unsigned char)*digits) - 'a' + 10);
		uint64_t carry = digit;

		for (size_t i = 0; i < n_limbs; i++) {
			carry += (uint64_t)limbs[i] << bits;
			limbs[i] = (uint32_t)(carry % LIMB);
			carry /= LIMB;
		}
		if (carry > 0) {
			ASSERT(n_limbs < LIMBS_MAX);
			limbs[n_limbs++] = (uint32_t)carry;
		}
	}
	text[0] = '\0';
	for (size_t i = 0; i < n_limbs; i++)
		snprintf(text + i * LIMB_DIGITS, LIMB_DIGITS + 1, "%09u", limbs[n_limbs - 1 - i]);
	write_decimal(json, text);
}

static void
write_integer(struct json *json, const char *text)
{
	if (strncmp(text, "0o", 2) == 0) {
		write_converted(json, text + 2, 3);
	} else if (strncmp(text, "0x", 2) == 0) {
		write_converted(json, text + 2, 4);
	} else {
		if (*text == '-')
			write_text(json, "-");
		write_decimal(json, text + (*text == '-' || *text == '+'));
	}
}

static void
write_float(struct json *json, const char *text)
{
	size_t whole, fraction;

	if (*text == '-')
		write_text(json, "-");
	text += *text == '-' || *text == '+';
	if (strcasecmp(text, ".nan") == 0 || strcasecmp(text, ".inf") == 0) {
		write_text(json, strcasecmp(text, ".nan") == 0 ? "NaN" : "Infinity");
		return;
	}
	text += strspn(text, "0");
	whole = strspn(text, "0123456789");
	write_bytes(json, whole ? text : "0", whole ? whole : 1);
	text += whole;
	if (*text == '.') {
		fraction = strspn(text + 1, "0123456789");
		write_bytes(json, fraction ? text : ".0", fraction ? fraction + 1 : 2);
		text += fraction + 1;
	} else if (!*text) {
		write_text(json, ".0"); /* !!float 5 */
	}
	write_text(json, text);
}

/* --- containers --------------------------------------------------------------------------------------------------- */

static void
write_sequence(struct json *json, const struct node *node)
{
	write_text(json, "[");
	for (size_t i = 0; i < node->n && !json->too_large; i++) {
		struct config_place place = config_enter(json->reader, NULL, i, node->items[i]->mark);

		if (i > 0)
			write_text(json, ",");
		write_node(json, node->items[i]);
		config_leave(json->reader, place);
	}
	write_text(json, "]");
}

static void
write_mapping(struct json *json, const struct node *node)
{
	write_text(json, "{");
	for (size_t i = 0; i < node->n && !json->too_large; i++) {
		const struct pair *pair = &node->pairs[i];
		struct config_place place = config_enter(json->reader, pair->key, 0, pair->key->mark);

		if (config_check_key(json->reader, pair)) {
			if (i > 0)
				write_text(json, ",");
			write_string(json, pair->key->text, pair->key->length);
			write_text(json, ":");
			write_node(json, pair->value);
		} else {
			json->failed = true;
		}
		config_leave(json->reader, place);
	}
	write_text(json, "}");
}

static void
write_node(struct json *json, const struct node *node)
{
	switch (node->kind) {
	case NODE_NULL:
		write_text(json, "null");
		break;
	case NODE_BOOL:
		write_text(json, tolower((unsigned char)node->text[0]) == 't' ? "true" : "false");
		break;
	case NODE_INTEGER:
		write_integer(json, node->text);
		break;
	case NODE_FLOAT:
		write_float(json, node->text);
		break;
	case NODE_STRING:
		write_string(json, node->text, node->length);
		break;
	case NODE_SEQUENCE:
		write_sequence(json, node);
		break;
	case NODE_MAPPING:
		write_mapping(json, node);
		break;
	case NODE_BAD:
		config_error(json->reader, "%s", node->text);
		json->failed = true;
		break;
	}
}

bool
config_read_metadata(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	struct json json = {.reader = reader};

	if (value->kind != NODE_MAPPING)
		return config_wrong_type(reader, value, key->allowed);
	write_node(&json, value);
	if (json.too_large)
		config_error(reader, "larger than %d KiB as JSON; keep large data in a file of the project",
		    CONFIG_METADATA_MAX / 1024);
	if (json.too_large || json.failed) {
		free(json.text);
		return false;
	}
	reader->metadata_room -= json.length;
	if (field)
		*(char **)field = take_ptr(&json.text);
	free(json.text);
	return true;
}
