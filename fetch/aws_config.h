/*
 * aws_config - the files ~/.aws/config and ~/.aws/credentials.
 *
 * Pure. https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html: sections in brackets, "name = value" lines, comments by #
 * or ;. The indented lines of a nested setting ("s3 =") are known as "s3.name".
 */
#ifndef FETCH_AWS_CONFIG_H
#define FETCH_AWS_CONFIG_H

#include "common/util.h"

/* A copy of the value that a profile has, or NULL; the last one counts. is_credentials: sections are named [name] and not
 * [profile name]; [default] is so in both. Any bytes are safe. */
char *aws_config_find(const char *text, bool is_credentials, const char *profile, const char *name);

#endif
