/*
 * xml - see xml.h.
 */
#include "fetch/xml.h"

#include <errno.h>
#include <expat.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/address.h"

#define DEPTH_MAX 32
#define TEXT_MAX  8192 /* of one element */

/* One document being read: where we are, and the text of the element that is open. */
struct reader {
	XML_Parser parser;
	unsigned depth;
	bool in_object; /* inside Contents */
	bool complete;  /* the root was one that we know, and has ended */
	const char *root;
	char text[TEXT_MAX + 1];
	size_t length;
	bool encoded; /* keys are */
	struct xml_list *list;
	struct xml_error *error;
};

static void
replace(char **field, const char *text)
{
	free(*field);
	*field = xstrdup(text);
}

static void XMLCALL
begin_cb(void *arg, const XML_Char *name, UNUSED const XML_Char **attributes)
{
	struct reader *reader = arg;

	reader->length = 0;
	if (++reader->depth > DEPTH_MAX || (reader->depth == 1 && strcmp(name, reader->root) != 0)) {
		XML_StopParser(reader->parser, XML_FALSE);
	} else if (reader->list && reader->depth == 2 && !strcmp(name, "Contents")) {
		struct xml_list *list = reader->list;

		list->objects = xrealloc(list->objects, list->n + 1, sizeof(*list->objects));
		list->objects[list->n++] = (struct xml_object){.size = -1};
		reader->in_object = true;
	}
}

static void XMLCALL
text_cb(void *arg, const XML_Char *text, int length)
{
	struct reader *reader = arg;

	if (reader->length + (size_t)length > TEXT_MAX) {
		XML_StopParser(reader->parser, XML_FALSE);
		return;
	}
	memcpy(reader->text + reader->length, text, (size_t)length);
	reader->length += (size_t)length;
}

static int64_t
parse_size(const char *text)
{
	char *end;
	long long size;

	errno = 0;
	size = strtoll(text, &end, 10);
	return errno || end == text || *end || size < 0 ? -1 : size;
}

static void
take_of_object(struct xml_object *object, const char *name, const char *text)
{
	if (!strcmp(name, "Key"))
		replace(&object->key, text);
	else if (!strcmp(name, "ETag"))
		replace(&object->etag, text);
	else if (!strcmp(name, "Size"))
		object->size = parse_size(text);
}

static void
take_of_list(struct reader *reader, const char *name, const char *text)
{
	if (!strcmp(name, "IsTruncated"))
		reader->list->truncated = !strcmp(text, "true");
	else if (!strcmp(name, "NextContinuationToken"))
		replace(&reader->list->token, text);
	else if (!strcmp(name, "EncodingType"))
		reader->encoded = !strcmp(text, "url");
}

static void
take_of_error(struct xml_error *error, const char *name, const char *text)
{
	if (!strcmp(name, "Code"))
		replace(&error->code, text);
	else if (!strcmp(name, "Message"))
		replace(&error->message, text);
	else if (!strcmp(name, "Region"))
		replace(&error->region, text);
}

static void XMLCALL
end_cb(void *arg, const XML_Char *name)
{
	struct reader *reader = arg;

	reader->text[reader->length] = '\0';
	if (reader->in_object && reader->depth == 3)
		take_of_object(&reader->list->objects[reader->list->n - 1], name, reader->text);
	else if (reader->depth == 2 && reader->list && !reader->in_object)
		take_of_list(reader, name, reader->text);
	else if (reader->depth == 2 && reader->error)
		take_of_error(reader->error, name, reader->text);
	reader->depth--;
	reader->length = 0;
	if (reader->depth == 1)
		reader->in_object = false;
	else if (reader->depth == 0)
		reader->complete = true;
}

static void XMLCALL
doctype_cb(void *arg, UNUSED const XML_Char *name, UNUSED const XML_Char *system, UNUSED const XML_Char *public,
    UNUSED int has_internal)
{
	struct reader *reader = arg;

	XML_StopParser(reader->parser, XML_FALSE);
}

static int
parse(struct reader *reader, const char *text, size_t length)
{
	bool good;

	if (length > INT_MAX)
		return -EBADMSG;
	reader->parser = XML_ParserCreate(NULL);
	ASSERT(reader->parser);
	XML_SetUserData(reader->parser, reader);
	XML_SetElementHandler(reader->parser, begin_cb, end_cb);
	XML_SetCharacterDataHandler(reader->parser, text_cb);
	XML_SetStartDoctypeDeclHandler(reader->parser, doctype_cb);
	good = XML_Parse(reader->parser, text, (int)length, XML_TRUE) == XML_STATUS_OK && reader->complete;
	XML_ParserFree(reader->parser);
	return good ? 0 : -EBADMSG;
}

/* As form fields are, with + for a blank. False: that is none, or it has a NUL. */
static bool
decode_key(char *key)
{
	char *end = key;

	for (const char *at = key; *at; at++) {
		if (*at == '%') {
			int byte = address_decode(at, strnlen(at, 3));

			if (byte <= 0)
				return false;
			*end++ = (char)byte;
			at += 2;
		} else {
			*end++ = *at == '+' ? ' ' : *at;
		}
	}
	*end = '\0';
	return true;
}

int
xml_parse_list(const char *text, size_t length, struct xml_list *ret_list)
{
	struct xml_list list = {.objects = NULL};
	struct reader *reader = xcalloc(1, sizeof(*reader));
	int r;

	reader->list = &list;
	reader->root = "ListBucketResult";
	r = parse(reader, text, length);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		if (!list.objects[i].key || (reader->encoded && !decode_key(list.objects[i].key)))
			r = -EBADMSG;
	free(reader);
	if (r == 0)
		*ret_list = list;
	else
		xml_list_done(&list);
	return r;
}

void
xml_list_done(struct xml_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->objects[i].key);
		free(list->objects[i].etag);
	}
	free(list->objects);
	free(list->token);
	*list = (struct xml_list){.objects = NULL};
}

int
xml_parse_error(const char *text, size_t length, struct xml_error *ret_error)
{
	struct xml_error error = {.code = NULL};
	struct reader *reader = xcalloc(1, sizeof(*reader));
	int r;

	reader->error = &error;
	reader->root = "Error";
	r = parse(reader, text, length);
	free(reader);
	if (r == 0 && !error.code)
		r = -EBADMSG;
	if (r == 0)
		*ret_error = error;
	else
		xml_error_done(&error);
	return r;
}

void
xml_error_done(struct xml_error *error)
{
	free(error->code);
	free(error->message);
	free(error->region);
	*error = (struct xml_error){.code = NULL};
}
