/*
 * test_content_type - which Content-Type headers mean JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/util.h"
#include "replica/content_type.h"

static void
classifies(void **state UNUSED)
{
	static const struct {
		const char *value;
		enum content_type expected;
	} cases[] = {
	    {"application/json", CONTENT_JSON},
	    {"Application/JSON", CONTENT_JSON},
	    {"application/json;charset=utf-8", CONTENT_JSON},
	    {"  application/json ; charset=\"utf-8\"", CONTENT_JSON},
	    {"application/ld+json", CONTENT_JSON},
	    {"application/vnd.api+JSON; version=1", CONTENT_JSON},
	    {NULL, CONTENT_UNKNOWN},
	    {"", CONTENT_UNKNOWN},
	    {" ", CONTENT_UNKNOWN},
	    {";", CONTENT_UNKNOWN},
	    {"*/*", CONTENT_UNKNOWN},
	    {"application/*", CONTENT_UNKNOWN},
	    {"*/*; q=0.8", CONTENT_UNKNOWN},
	    {"application/x-www-form-urlencoded", CONTENT_UNKNOWN},
	    {"APPLICATION/X-WWW-FORM-URLENCODED; charset=utf-8", CONTENT_UNKNOWN},
	    {"application/jsonx", CONTENT_OTHER},
	    {"application/jso", CONTENT_OTHER},
	    {"application/+json", CONTENT_OTHER},
	    {"xapplication/json", CONTENT_OTHER},
	    {"text/json+json", CONTENT_OTHER},
	    {"text/plain", CONTENT_OTHER},
	    {"text/*", CONTENT_OTHER},
	    {"json", CONTENT_OTHER},
	    {"+json", CONTENT_OTHER},
	    {"application/x-ndjson", CONTENT_OTHER},
	    {"multipart/form-data; boundary=application/json", CONTENT_OTHER},
	    {"\xff\xfe", CONTENT_OTHER},
	};

	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		if (content_type_classify(cases[i].value) != cases[i].expected)
			fail_msg("%s", cases[i].value ? cases[i].value : "NULL");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(classifies)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
