/*
 * SHA-256 against the vectors of FIPS 180-4, fed in one piece and byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "supervisor/sha256.h"

static const struct {
	const char *data;
	const char *hex;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
	"cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};

static void
test_known_answers(UNUSED void **state)
{
	char hex[2 * SHA256_BYTES + 1];
	struct sha256 hash;

	for (size_t i = 0; i < N_ELEMENTS(vectors); i++) {
		sha256_init(&hash);
		sha256_add(&hash, vectors[i].data, strlen(vectors[i].data));
		sha256_hex(&hash, hex, 2 * SHA256_BYTES);
		assert_string_equal(hex, vectors[i].hex);
		sha256_init(&hash);
		for (const char *at = vectors[i].data; *at; at++)
			sha256_add(&hash, at, 1);
		sha256_hex(&hash, hex, 2 * SHA256_BYTES);
		assert_string_equal(hex, vectors[i].hex);
	}
}

static void
test_a_million_bytes(UNUSED void **state)
{
	char hex[9], thousand[1000];
	struct sha256 hash;

	memset(thousand, 'a', sizeof(thousand));
	sha256_init(&hash);
	for (int i = 0; i < 1000; i++)
		sha256_add(&hash, thousand, sizeof(thousand));
	sha256_hex(&hash, hex, 8);
	assert_string_equal(hex, "cdc76e5c");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known_answers),
	    cmocka_unit_test(test_a_million_bytes),
	};

	return cmocka_run_group_tests_name("sha256", tests, NULL, NULL);
}
