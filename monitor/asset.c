/*
 * asset - see asset.h. The table is made by the Makefile of what lies in the folder monitor/assets.
 */
#include "monitor/asset.h"

#include <string.h>

#define ASSET(number, name, path)                                  \
	__asm__(".section .rodata\n"                               \
		".global asset_" #number "\n"                      \
		".type asset_" #number ", @object\n"               \
		"asset_" #number ":\n"                             \
		".incbin \"" path "\"\n"                           \
		".global asset_" #number "_end\n"                  \
		"asset_" #number "_end:\n"                         \
		".byte 0\n"                                        \
		".size asset_" #number ", . - asset_" #number "\n" \
		".previous\n");                                    \
	extern const char asset_##number[], asset_##number##_end[];
#include "monitor/assets.inc"
#undef ASSET

static const struct {
	const char *name, *begin, *end;
} assets[] = {
#define ASSET(number, name, path) {name, asset_##number, asset_##number##_end},
#include "monitor/assets.inc"
#undef ASSET
};

static const struct {
	const char *ending, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".json", "application/json"},
    {".txt", "text/plain; charset=utf-8"},
};

static const char *
type_of(const char *name)
{
	const char *ending = strrchr(name, '.');

	for (size_t i = 0; ending && i < N_ELEMENTS(types); i++)
		if (!strcmp(ending, types[i].ending))
			return types[i].type;
	return "application/octet-stream";
}

bool
asset_find(const char *name, struct asset *ret_asset)
{
	for (size_t i = 0; i < N_ELEMENTS(assets); i++)
		if (!strcmp(assets[i].name, name)) {
			*ret_asset = (struct asset){
			    .name = assets[i].name,
			    .content_type = type_of(name),
			    .bytes = assets[i].begin,
			    .length = (size_t)(assets[i].end - assets[i].begin),
			};
			return true;
		}
	return false;
}
