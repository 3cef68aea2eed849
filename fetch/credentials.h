/*
 * credentials - who asks S3, and where: as the AWS command line finds it.
 *
 * https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html, in this order: the environment; the shared
 * credentials and config files, of AWS_PROFILE; the container's endpoint; the instance's metadata (IMDSv2). When none of them has
 * any, requests are not signed, which is right for public buckets. What cannot be done here is said as an error and not passed
 * over: a profile that is not there, or one that wants a role, a process or SSO.
 *
 * Secrets stay in memory; no message has any.
 */
#ifndef FETCH_CREDENTIALS_H
#define FETCH_CREDENTIALS_H

#include "fetch/web.h"

struct account {
	struct identity identity;
	const char *source; /* where it was found, in words */
	char *region;
	char *endpoint; /* AWS_ENDPOINT_URL, without a slash at its end; NULL: Amazon's own */
	bool by_host;   /* the bucket is part of the host's name */
};

/* 0 and *ret_account (release with account_done), or a negative errno and err. Asks the network only when nothing else has any. */
MUSTCHECK int account_find(const struct web *web, struct account *ret_account, struct error *err);
void account_done(struct account *account);

#endif
