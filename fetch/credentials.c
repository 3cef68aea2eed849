/*
 * credentials - see credentials.h.
 */
#include "fetch/credentials.h"

#include <errno.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/fd.h"
#include "fetch/aws_config.h"

#define FILE_MAX             (1 << 20)
#define METADATA_MS          1000
#define METADATA_ATTEMPTS    2
#define INSTANCE_METADATA    "http://169.254.169.254"
#define CONTAINER_METADATA   "http://169.254.170.2"
#define INSTANCE_CREDENTIALS "/latest/meta-data/iam/security-credentials/"

/* The two files, "" when there is none. */
struct files {
	const char *profile;
	bool chosen; /* by AWS_PROFILE */
	char *config;
	char *credentials;
};

/* A variable of the environment that says something, or NULL. */
static const char *
variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static char *
copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static int
read_file(const char *name, const char *fallback, char **ret_text, struct error *err)
{
	const char *path = variable(name), *home = variable("HOME");
	const struct passwd *user = home ? NULL : getpwuid(geteuid());
	char *whole;
	int r;

	home = home ? home : user ? user->pw_dir : "/";
	whole = path ? xstrdup(path) : xasprintf("%s/.aws/%s", home, fallback);
	r = file_read_all(whole, FILE_MAX, ret_text, NULL);
	if ((r == -ENOENT || r == -ENOTDIR || r == -EACCES) && !path) {
		*ret_text = xstrdup("");
		r = 0;
	}
	if (r < 0)
		error_set(err, r, "%s: cannot read \"%s\": %s", name, whole, strerror(-r));
	free(whole);
	return r;
}

/* What the profile says about something, the credentials file first. */
static char *
setting(const struct files *files, const char *name)
{
	char *value = aws_config_find(files->credentials, true, files->profile, name);

	return value ? value : aws_config_find(files->config, false, files->profile, name);
}

/* ---- the environment and the files ---- */

/* 1: found; 0: not; or a negative errno and err. */
static int
from_environment(struct account *account, struct error *err)
{
	const char *key = variable("AWS_ACCESS_KEY_ID"), *secret = variable("AWS_SECRET_ACCESS_KEY");

	if (!key && !secret)
		return 0;
	if (!key || !secret)
		return error_set(err, -EINVAL, "%s is set, but %s is not",
		    key ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
		    key ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
	account->identity = (struct identity){xstrdup(key), xstrdup(secret), copy(variable("AWS_SESSION_TOKEN"))};
	account->source = "the environment";
	return 1;
}

/* What the profile needs that we cannot. */
static int
refuse_others(const struct files *files, struct error *err)
{
	static const char *const others[] = {
	    "role_arn", "credential_process", "sso_session", "sso_start_url", "web_identity_token_file"};

	for (size_t i = 0; i < N_ELEMENTS(others); i++) {
		char *other = setting(files, others[i]);

		free(other);
		if (other)
			return error_set(err, -ENOTSUP,
			    "profile \"%s\" uses %s, which cortexd cannot; give it keys: aws configure "
			    "export-credentials",
			    files->profile, others[i]);
	}
	return 0;
}

/* All three from the file that has the key. */
static int
from_files(const struct files *files, struct account *account, struct error *err)
{
	struct identity *identity = &account->identity;
	int r = refuse_others(files, err);

	for (int is_credentials = 1; r == 0 && is_credentials >= 0; is_credentials--) {
		const char *text = is_credentials ? files->credentials : files->config;

		identity->access_key = aws_config_find(text, is_credentials, files->profile, "aws_access_key_id");
		identity->secret_key = aws_config_find(text, is_credentials, files->profile, "aws_secret_access_key");
		if (identity->access_key && identity->secret_key) {
			identity->token = aws_config_find(text, is_credentials, files->profile, "aws_session_token");
			account->source = "the shared credentials file";
			return 1;
		}
		if (identity->access_key || identity->secret_key)
			return error_set(err, -EINVAL,
			    "profile \"%s\" has only one of aws_access_key_id and aws_secret_access_key",
			    files->profile);
	}
	if (r == 0 && files->chosen)
		return error_set(err, -ENOENT, "profile \"%s\" (AWS_PROFILE) has no credentials", files->profile);
	return r;
}

/* EKS' way, by STS. */
static int
refuse_web_identity(struct error *err)
{
	if (!variable("AWS_WEB_IDENTITY_TOKEN_FILE"))
		return 0;
	return error_set(err, -ENOTSUP,
	    "AWS_WEB_IDENTITY_TOKEN_FILE is set, which cortexd cannot use; give it keys, or a container's credentials "
	    "(EKS Pod Identity)");
}

/* ---- metadata ---- */

static int
take_json(struct account *account, const struct reply *reply, const char *source, struct error *err)
{
	const char *key = NULL, *secret = NULL, *token = NULL;
	json_t *root = json_loadb(reply->body, reply->length, 0, NULL);

	if (json_unpack(root, "{ss ss s?s}", "AccessKeyId", &key, "SecretAccessKey", &secret, "Token", &token) < 0) {
		json_decref(root);
		return error_set(err, -EBADMSG, "%s does not give credentials", source);
	}
	account->identity = (struct identity){xstrdup(key), xstrdup(secret), copy(token)};
	account->source = source;
	json_decref(root);
	return 1;
}

/* https, or a host that is this machine's or the platform's own, as the SDKs have it: nobody else is sent the token. */
static bool
is_trusted(const char *url)
{
	static const char *const hosts[] = {
	    "localhost", "127.0.0.1", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
	const char *host = strstr(url, "://");
	size_t length;

	if (!strncasecmp(url, "https://", 8))
		return true;
	if (!host || strncasecmp(url, "http://", 7) != 0)
		return false;
	host += 3;
	length = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
	for (size_t i = 0; i < N_ELEMENTS(hosts); i++)
		if (strlen(hosts[i]) == length && !strncasecmp(host, hosts[i], length) &&
		    !memchr(host, '@', strcspn(host, "/")))
			return true;
	return false;
}

static int
from_container(const struct web *web, struct account *account, struct error *err)
{
	static const char source[] = "the container's credentials endpoint";
	const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	const char *token_file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	char *token = copy(variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")), *url, *header = NULL;
	struct request request = {.timeout_ms = 5 * METADATA_MS, .is_local = true};
	struct reply reply = {.body = NULL};
	int r = 0;

	if (!relative && !full) {
		free(token);
		return 0;
	}
	url = relative ? xasprintf(CONTAINER_METADATA "%s", relative) : xstrdup(full);
	if (!is_trusted(url))
		r = error_set(err, -EINVAL, "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor this machine");
	if (r == 0 && token_file) {
		free(take_ptr(&token));
		r = file_read_all(token_file, FILE_MAX, &token, NULL);
		if (r < 0)
			error_set(err, r, "cannot read \"%s\": %s", token_file, strerror(-r));
	}
	if (token)
		token[strcspn(token, "\r\n")] = '\0';
	header = token ? xasprintf("Authorization: %s", token) : NULL;
	request.url = url;
	request.headers[0] = header;
	if (r == 0)
		r = web_request(web, &request, &reply, err);
	if (r < 0)
		error_prefix(err, "%s", source);
	else if (reply.head.status != 200)
		r = error_set(err, -EACCES, "%s answers %ld", source, reply.head.status);
	else
		r = take_json(account, &reply, source, err);
	reply_done(&reply);
	free(header);
	free(token);
	free(url);
	return r;
}

/* The text of a metadata document, or NULL: there is none, or no such endpoint. */
static char *
ask_instance(const struct web *web, const char *method, const char *endpoint, const char *path, const char *header)
{
	char *url = xasprintf("%s%s", endpoint, path), *text = NULL;
	struct request request = {.method = method,
	    .url = url,
	    .headers = {header},
	    .timeout_ms = METADATA_MS,
	    .attempts = METADATA_ATTEMPTS,
	    .is_local = true};
	struct reply reply;
	struct error err;

	if (web_request(web, &request, &reply, &err) == 0) {
		if (reply.head.status == 200)
			text = take_ptr(&reply.body);
		reply_done(&reply);
	}
	free(url);
	return text;
}

/* IMDSv2, https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html */
static int
from_instance(const struct web *web, struct account *account, struct error *err)
{
	const char *disabled = variable("AWS_EC2_METADATA_DISABLED");
	const char *endpoint = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	char *token, *header = NULL, *role = NULL, *path = NULL, *text = NULL;
	int r = 0;

	if (disabled && !strcasecmp(disabled, "true"))
		return 0;
	endpoint = endpoint ? endpoint : INSTANCE_METADATA;
	token = ask_instance(web, "PUT", endpoint, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 300");
	if (!token)
		return 0;
	header = xasprintf("X-aws-ec2-metadata-token: %.*s", (int)strcspn(token, "\r\n"), token);
	role = ask_instance(web, NULL, endpoint, INSTANCE_CREDENTIALS, header);
	if (role) {
		role[strcspn(role, "\r\n")] = '\0';
		path = xasprintf(INSTANCE_CREDENTIALS "%s", role);
		text = *role ? ask_instance(web, NULL, endpoint, path, header) : NULL;
	}
	if (text) {
		struct reply reply = {.body = text, .length = strlen(text)};

		r = take_json(account, &reply, "the instance's metadata", err);
	}
	if (r >= 0 && !account->region) {
		account->region = ask_instance(web, NULL, endpoint, "/latest/meta-data/placement/region", header);
		if (account->region)
			account->region[strcspn(account->region, "\r\n")] = '\0';
	}
	free(text);
	free(path);
	free(role);
	free(header);
	free(token);
	return r;
}

/* ---- all of it ---- */

static void
find_place(const struct files *files, struct account *account)
{
	const char *region = variable("AWS_REGION"), *endpoint = variable("AWS_ENDPOINT_URL_S3");
	char *style = setting(files, "s3.addressing_style");
	size_t length;

	region = region ? region : variable("AWS_DEFAULT_REGION");
	endpoint = endpoint ? endpoint : variable("AWS_ENDPOINT_URL");
	account->region = region ? xstrdup(region) : setting(files, "region");
	account->endpoint = endpoint ? xstrdup(endpoint) : setting(files, "endpoint_url");
	length = account->endpoint ? strlen(account->endpoint) : 0;
	while (length > 0 && account->endpoint[length - 1] == '/')
		account->endpoint[--length] = '\0';
	account->by_host = style ? !strcmp(style, "virtual") : !account->endpoint;
	if (style && !strcmp(style, "auto"))
		account->by_host = !account->endpoint;
	free(style);
}

int
account_find(const struct web *web, struct account *ret_account, struct error *err)
{
	struct files files = {.profile = variable("AWS_PROFILE")};
	struct account account = {.source = "nobody: there are no credentials"};
	int r;

	if (!files.profile)
		files.profile = variable("AWS_DEFAULT_PROFILE");
	files.chosen = files.profile != NULL;
	files.profile = files.chosen ? files.profile : "default";
	r = read_file("AWS_SHARED_CREDENTIALS_FILE", "credentials", &files.credentials, err);
	if (r == 0)
		r = read_file("AWS_CONFIG_FILE", "config", &files.config, err);
	if (r < 0)
		goto out;
	find_place(&files, &account);
	r = from_environment(&account, err);
	if (r == 0)
		r = refuse_web_identity(err);
	if (r == 0)
		r = from_files(&files, &account, err);
	if (r == 0)
		r = from_container(web, &account, err);
	if (r == 0)
		r = from_instance(web, &account, err);
	if (r < 0)
		goto out;
	if (!account.region)
		account.region = xstrdup("us-east-1");
	*ret_account = account;
	account = (struct account){.source = NULL};
	r = 0;
out:
	account_done(&account);
	free(files.config);
	free(files.credentials);
	return r;
}

void
account_done(struct account *account)
{
	free(account->identity.access_key);
	free(account->identity.secret_key);
	free(account->identity.token);
	free(account->region);
	free(account->endpoint);
	*account = (struct account){.source = NULL};
}
