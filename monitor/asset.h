/*
 * asset - the dashboard's files, inside the program: an installed monitor needs no files of its own, and works without a network.
 */
#ifndef MONITOR_ASSET_H
#define MONITOR_ASSET_H

#include "common/util.h"

struct asset {
	const char *name; /* of the file */
	const char *content_type;
	const char *bytes;
	size_t length;
};

/* The one with that name, exactly; NULL: there is none. ret_asset is good for ever. */
bool asset_find(const char *name, struct asset *ret_asset);

#endif
