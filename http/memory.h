/*
 * memory - where connections keep what must outlive their process.
 *
 * One large mapping, shared with whoever is cloned later, and holding two things: a table of entries (kept.h), one per
 * connection, and blocks for bytes, in sizes that are powers of two. Only what is touched costs memory. Whoever inherits
 * the mapping after the owner's death sees all of it at the same addresses (replica/keeper.h); nothing here is locked,
 * the owner sees to it that one thread at a time gets and puts.
 *
 * Blocks of each size come from a region of their own of at least HTTP_MEMORY_REGION bytes, so what all connections
 * together can take is bounded; a region that is used up gives no more.
 */
#ifndef HTTP_MEMORY_H
#define HTTP_MEMORY_H

#include "common/error.h"
#include "common/util.h"
#include "http/kept.h"

#define HTTP_BLOCK_MIN     16384u /* the usual request fits */
#define HTTP_MEMORY_REGION (1ull << 30)
#define HTTP_BLOCK_CLASSES 20

struct http_memory {
	char *mapping;
	size_t mapping_size;

	_Atomic(unsigned) *n_entries_used; /* in the mapping too: entries beyond were never used */
	struct http_kept *entries;
	unsigned n_entries;
	unsigned *free_entries; /* a stack of their numbers */
	unsigned n_free_entries;

	unsigned n_classes;
	struct http_block_class {
		char *region;
		size_t n_blocks;
		size_t n_used; /* those beyond were never used */
		char *free;    /* list, linked by the first bytes of each */
		unsigned n_warm;
		size_t *cold; /* a stack of the numbers of those without memory behind them; grows */
		size_t n_cold, cold_room;
	} classes[HTTP_BLOCK_CLASSES];
};

/* For so many connections and blocks of at most `largest` bytes or somewhat more. 0, or a negative errno and err. */
MUSTCHECK int http_memory_init(
    struct http_memory *memory, unsigned max_connections, uint64_t largest, struct error *err);
void http_memory_done(struct http_memory *memory);

/* Processes forked from now on do not have the mapping; one that was cloned before has it. */
void http_memory_keep_from_children(struct http_memory *memory);

/* How many entries there may be to look at. */
static inline unsigned
http_memory_entries_used(const struct http_memory *memory)
{
	return atomic_load_explicit(memory->n_entries_used, memory_order_acquire);
}

/* Its number, from 1; the same for whoever shares the mapping. */
static inline uint32_t
http_memory_entry_number(const struct http_memory *memory, const struct http_kept *entry)
{
	return (uint32_t)(entry - memory->entries) + 1;
}

/* An entry in phase FREE, all zero but for that; NULL when all are taken. */
struct http_kept *http_memory_get_entry(struct http_memory *memory);
void http_memory_put_entry(struct http_memory *memory, struct http_kept *entry);

/* A block of at least size bytes and how many it has; NULL when there is none, or none that large. */
char *http_memory_get(struct http_memory *memory, size_t size, size_t *ret_room);
void http_memory_put(struct http_memory *memory, char *block, size_t room);

#endif
