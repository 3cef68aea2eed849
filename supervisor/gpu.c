/*
 * gpu - see gpu.h.
 */
#include "supervisor/gpu.h"

#include <stdio.h>
#include <string.h>

static bool
has(const struct gpu_set *set, int device)
{
	return set->words[device / 64] >> (device % 64) & 1;
}

bool
gpu_take(struct gpu_set *in_use, int n_devices, int count, struct gpu_set *ret_taken)
{
	struct gpu_set taken = {.words = {0}};
	int missing = count;

	for (int device = 0; device < MIN(n_devices, CONFIG_GPUS_MAX) && missing > 0; device++) {
		if (has(in_use, device))
			continue;
		taken.words[device / 64] |= 1ull << (device % 64);
		missing--;
	}
	if (missing > 0)
		return false;
	for (size_t i = 0; i < N_ELEMENTS(taken.words); i++)
		in_use->words[i] |= taken.words[i];
	*ret_taken = taken;
	return true;
}

void
gpu_give_back(struct gpu_set *in_use, struct gpu_set *taken)
{
	for (size_t i = 0; i < N_ELEMENTS(taken->words); i++)
		in_use->words[i] &= ~taken->words[i];
	memset(taken, 0, sizeof(*taken));
}

/* The entry of a list that begins at *at, without blanks, and the place behind it; its length. */
static size_t
next_entry(const char **at, const char **ret_entry)
{
	const char *entry = *at + strspn(*at, " ");
	size_t length = strcspn(entry, ",");

	*at = entry + length + (entry[length] == ',');
	while (length > 0 && entry[length - 1] == ' ')
		length--;
	*ret_entry = entry;
	return length;
}

int
gpu_count_named(const char *inherited)
{
	const char *entry;
	int n = 0;

	while (n < CONFIG_GPUS_MAX && next_entry(&inherited, &entry) > 0 && *entry != '-')
		n++;
	return n;
}

void
gpu_name(const struct gpu_set *set, const char *inherited, char ret_text[GPU_TEXT_MAX])
{
	size_t used = 0;

	ret_text[0] = '\0';
	for (int device = 0; device < CONFIG_GPUS_MAX; device++) {
		char number[16];
		const char *entry = number;
		size_t length = (size_t)snprintf(number, sizeof(number), "%d", device);

		if (inherited)
			length = next_entry(&inherited, &entry);
		if (!has(set, device) || length == 0 || used + length + 2 > GPU_TEXT_MAX)
			continue;
		if (used > 0)
			ret_text[used++] = ',';
		memcpy(ret_text + used, entry, length);
		used += length;
		ret_text[used] = '\0';
	}
}
