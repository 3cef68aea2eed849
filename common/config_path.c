/*
 * config_path - the files and folders that cortex.yaml speaks of.
 *
 * Code must lie in the project folder, where the links end as well: a project that is copied or
 * read by another user stays whole. The kernel decides what a path means (realpath), not its text, because "a/.."
 * is not "." when a is a link. A model may lie anywhere: it is large, and several projects may share it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/config_reader.h"
#include "common/utf8.h"

char *
config_join_path(const char *folder, const char *text)
{
	const char *at = text;
	char *path = xcalloc(strlen(folder) + strlen(text) + 3, 1), *end = path;

	if (*text != '/')
		end = stpcpy(path, strcmp(folder, "/") == 0 ? "" : folder);
	while (*at) {
		size_t length = strcspn(at, "/");

		if (length == 2 && strncmp(at, "..", 2) == 0) {
			while (end > path && *--end != '/')
				;
		} else if (length > 0 && !(length == 1 && *at == '.')) {
			*end++ = '/';
			memcpy(end, at, length);
			end += length;
		}
		*end = '\0';
		at += length;
		at += *at == '/';
	}
	if (end == path)
		strcpy(path, "/");
	return path;
}

/* What follows folder in path: "" for the folder itself, NULL when path is not inside. */
static const char *
path_inside(const char *folder, const char *path)
{
	size_t length = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

	if (strncmp(folder, path, length) != 0 || (path[length] != '/' && path[length] != '\0'))
		return NULL;
	return path[length] == '/' ? path + length + 1 : path + length;
}

static bool
has_parent_part(const char *text)
{
	for (const char *at = text; (at = strstr(at, "..")); at += 2) {
		if ((at == text || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
			return true;
	}
	return false;
}

/* Is what is at path of the right kind and can be read? */
static bool
check_kind(struct config_reader *reader, const char *shown, const char *path, enum config_path_kind kind)
{
	struct stat status;

	if (stat(path, &status) < 0)
		config_error(reader, "%s: %s", shown, strerror(errno));
	else if (kind == CONFIG_FILE && S_ISDIR(status.st_mode))
		config_error(reader, "%s is a folder; must be a file", shown);
	else if (kind == CONFIG_FILE && !S_ISREG(status.st_mode))
		config_error(reader, "%s is not a regular file", shown);
	else if (kind == CONFIG_FOLDER && !S_ISDIR(status.st_mode))
		config_error(reader, "%s is not a folder", shown);
	else if (kind == CONFIG_FILE_OR_FOLDER && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
		config_error(reader, "%s is neither a file nor a folder", shown);
	else if (access(path, S_ISDIR(status.st_mode) ? R_OK | X_OK : R_OK) < 0)
		config_error(reader, "%s cannot be read: %s", shown, strerror(errno));
	else if (!utf8_is_valid(path, strlen(path)))
		config_error(reader, "%s: its name, with links resolved, is not UTF-8", shown);
	else
		return true;
	return false;
}

/* Resolve a path that is relative to the project folder, or absolute. NULL, and an error was reported, when it makes no sense;
 * *ret_real is NULL, with *ret_error, when nothing is there. */
static const char *
resolve(struct config_reader *reader, const struct node *value, char **ret_real, int *ret_error)
{
	const char *text = config_text(reader, value, "a path"), *folder = reader->config->folder;
	char *written;

	if (!text)
		return NULL;
	if (!*text) {
		config_wrong_type(reader, value, "a path");
		return NULL;
	}
	if (strlen(folder) + value->length + 2 > PATH_MAX) {
		config_error(reader, "%s is too long for a path", config_show(text, value->length).text);
		return NULL;
	}
	written = *text == '/' ? xstrdup(text) : xasprintf("%s/%s", folder, text);
	*ret_real = realpath(written, NULL);
	*ret_error = errno;
	free(written);
	return text;
}

bool
config_find_path(struct config_reader *reader, const struct node *value, enum config_path_kind kind,
    char **ret_relative, char **ret_absolute)
{
	const char *folder = reader->config->folder, *text, *inside;
	char *written = NULL, *real = NULL;
	struct config_shown shown;
	bool found = false;
	int error;

	text = resolve(reader, value, &real, &error);
	if (!text)
		return false;
	shown = config_show(text, value->length);
	written = config_join_path(folder, text);
	if (!real && path_inside(folder, written)) {
		if (error == ENOENT)
			config_error(reader, "%s does not exist in the project folder", shown.text);
		else
			config_error(reader, "%s: %s", shown.text, strerror(error));
		goto out;
	}
	if (!real || !path_inside(folder, real)) {
		config_error(reader, "%s leads out of the project folder; use a path inside it", shown.text);
		goto out;
	}
	if (!check_kind(reader, shown.text, real, kind))
		goto out;
	inside = has_parent_part(text) ? NULL : path_inside(folder, written);
	if (!inside)
		inside = path_inside(folder, real);
	if (ret_relative)
		*ret_relative = xstrdup(inside);
	if (ret_absolute)
		*ret_absolute = take_ptr(&real);
	found = true;
out:
	free(written);
	free(real);
	return found;
}

bool
config_find_model(
    struct config_reader *reader, const struct node *value, enum config_path_kind kind, char **ret_absolute)
{
	char *real = NULL;
	const char *text;
	bool found;
	int error;

	text = resolve(reader, value, &real, &error);
	if (!text)
		return false;
	if (!real && error == ENOENT && reader->models_may_lack) {
		*ret_absolute = config_join_path(reader->config->folder, text);
		return true;
	}
	if (!real && error == ENOENT)
		config_error(reader, "%s does not exist", config_show(text, value->length).text);
	else if (!real)
		config_error(reader, "%s: %s", config_show(text, value->length).text, strerror(error));
	found = real && check_kind(reader, config_show(text, value->length).text, real, kind);
	if (found)
		*ret_absolute = take_ptr(&real);
	free(real);
	return found;
}
