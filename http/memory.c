/*
 * memory - see memory.h.
 *
 * A block that was given back keeps its pages while there are few of its size, and returns them to the kernel beyond
 * that, so a burst of large bodies does not stay.
 */
#include "http/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"

#define WARM_BYTES     (4u << 20) /* of free blocks of one size that keep their pages */
#define ENTRIES_OFFSET 128        /* in the mapping; before it is the number of entries used */

static size_t
block_size(unsigned class)
{
	return (size_t)HTTP_BLOCK_MIN << class;
}

static unsigned
class_of(size_t size)
{
	unsigned class = 0;

	while (class < HTTP_BLOCK_CLASSES && block_size(class) < size)
		class ++;
	return class;
}

/* The bookkeeping in private memory, the rest in the mapping. */
static void
lay_out(struct http_memory *memory, unsigned max_connections, size_t entries_size)
{
	char *at = memory->mapping + entries_size;

	memory->n_entries_used = (_Atomic(unsigned) *)memory->mapping;
	memory->entries = (struct http_kept *)(memory->mapping + ENTRIES_OFFSET);
	memory->n_entries = max_connections;
	memory->free_entries = xcalloc(max_connections, sizeof(*memory->free_entries));
	for (unsigned i = 0; i < memory->n_classes; i++) {
		struct http_block_class *class = &memory->classes[i];
		size_t size = MAX(HTTP_MEMORY_REGION, 4 * block_size(i));

		class->region = at;
		class->n_blocks = size / block_size(i);
		at += size;
	}
}

int
http_memory_init(struct http_memory *memory, unsigned max_connections, uint64_t largest, struct error *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), entries_size;
	int fd, r = 0;

	memset(memory, 0, sizeof(*memory));
	entries_size = (ENTRIES_OFFSET + max_connections * sizeof(struct http_kept) + page - 1) / page * page;
	memory->n_classes = MIN(class_of(largest) + 1, HTTP_BLOCK_CLASSES);
	memory->mapping_size = entries_size;
	for (unsigned i = 0; i < memory->n_classes; i++)
		memory->mapping_size += MAX(HTTP_MEMORY_REGION, 4 * block_size(i));
	/* Of a file, because that is not accounted for before it is used. */
	fd = memfd_create("cortexd-connections", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)memory->mapping_size) < 0) {
		r = error_set(err, -errno, "cannot make the memory of connections: %s", strerror(errno));
		goto out;
	}
	memory->mapping = mmap(NULL, memory->mapping_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory->mapping == MAP_FAILED) {
		memory->mapping = NULL;
		r = error_set(err, -errno,
		    "cannot map %zu MiB of address space for connections: %s; is there a limit (ulimit -v)?",
		    memory->mapping_size >> 20, strerror(errno));
		goto out;
	}
	madvise(memory->mapping, memory->mapping_size, MADV_DONTDUMP);
	lay_out(memory, max_connections, entries_size);
out:
	fd_close(&fd);
	return r;
}

void
http_memory_done(struct http_memory *memory)
{
	if (memory->mapping)
		munmap(memory->mapping, memory->mapping_size);
	free(memory->free_entries);
	for (unsigned i = 0; i < memory->n_classes; i++)
		free(memory->classes[i].cold);
	memset(memory, 0, sizeof(*memory));
}

void
http_memory_keep_from_children(struct http_memory *memory)
{
	madvise(memory->mapping, memory->mapping_size, MADV_DONTFORK);
}

struct http_kept *
http_memory_get_entry(struct http_memory *memory)
{
	unsigned n_used = http_memory_entries_used(memory);

	if (memory->n_free_entries > 0)
		return &memory->entries[memory->free_entries[--memory->n_free_entries]];
	if (n_used == memory->n_entries)
		return NULL;
	atomic_store_explicit(memory->n_entries_used, n_used + 1, memory_order_release);
	return &memory->entries[n_used];
}

void
http_memory_put_entry(struct http_memory *memory, struct http_kept *entry)
{
	memset(entry, 0, sizeof(*entry)); /* begins with the phase, so FREE comes first or all at once */
	memory->free_entries[memory->n_free_entries++] = (unsigned)(entry - memory->entries);
}

char *
http_memory_get(struct http_memory *memory, size_t size, size_t *ret_room)
{
	unsigned number = class_of(size);
	struct http_block_class *class = &memory->classes[number];
	char *block;

	if (number >= memory->n_classes)
		return NULL;
	if (class->free) {
		block = class->free;
		memcpy(&class->free, block, sizeof(char *));
		class->n_warm--;
	} else if (class->n_cold > 0) {
		block = class->region + class->cold[--class->n_cold] * block_size(number);
	} else if (class->n_used < class->n_blocks) {
		block = class->region + class->n_used++ * block_size(number);
	} else {
		return NULL;
	}
	*ret_room = block_size(number);
	return block;
}

void
http_memory_put(struct http_memory *memory, char *block, size_t room)
{
	unsigned number = class_of(room);
	struct http_block_class *class = &memory->classes[number];

	if (class->n_warm < MAX(WARM_BYTES / room, 1) || madvise(block, room, MADV_REMOVE) < 0) {
		memcpy(block, &class->free, sizeof(char *));
		class->free = block;
		class->n_warm++;
		return;
	}
	if (class->n_cold == class->cold_room) {
		class->cold_room = MAX(2 * class->cold_room, 64u);
		class->cold = xrealloc(class->cold, class->cold_room, sizeof(*class->cold));
	}
	class->cold[class->n_cold++] = (size_t)(block - class->region) / room;
}
