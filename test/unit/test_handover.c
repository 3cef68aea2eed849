/*
 * What one supervisor gives to the next: what is encoded arrives, what another build adds is skipped, what is broken is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "supervisor/handover.h"

static struct handover_listener listeners[] = {
    {(char *)"127.0.0.1:8888", false}, {(char *)"unix:/run/caf\xc3\xa9.sock", true}};
static struct handover_api apis[] = {{(char *)"iris", 3, false}, {(char *)"b", 0, true}};

static const struct handover handover = {
    .pid = 4711,
    .state_dir = (char *)"/srv/.cortex",
    .reload_number = 7,
    .listeners = listeners,
    .n_listeners = 2,
    .apis = apis,
    .n_apis = 2,
};

static void
test_it_survives_the_way(UNUSED void **state)
{
	char *json = handover_encode(&handover);
	struct handover got;
	struct error err;

	assert_int_equal(handover_decode(json, strlen(json), &got, &err), 0);
	assert_int_equal(got.pid, 4711);
	assert_string_equal(got.state_dir, "/srv/.cortex");
	assert_int_equal(got.reload_number, 7);
	assert_int_equal(got.n_listeners, 2);
	assert_string_equal(got.listeners[1].text, listeners[1].text);
	assert_true(!got.listeners[0].made_file && got.listeners[1].made_file);
	assert_int_equal(got.n_apis, 2);
	assert_string_equal(got.apis[0].name, "iris");
	assert_int_equal(got.apis[0].wanted, 3);
	assert_true(!got.apis[0].awaits_model && got.apis[1].awaits_model);
	handover_done(&got);
	for (size_t cut = 0; cut < strlen(json); cut++)
		assert_int_equal(handover_decode(json, cut, &got, &err), -EBADMSG);
	free(json);
}

static void
test_keys_of_a_later_build_are_skipped(UNUSED void **state)
{
	static const char json[] =
	    "{\"pid\": 1, \"state_dir\": \"/a\", \"reload_number\": 0, \"listeners\": [], \"apis\": "
	    "[{\"name\": \"a\", \"wanted\": 1, \"mood\": \"good\"}], \"later\": [1]}";
	struct handover got;
	struct error err;

	assert_int_equal(handover_decode(json, strlen(json), &got, &err), 0);
	assert_int_equal(got.n_apis, 1);
	assert_int_equal(got.n_listeners, 0);
	handover_done(&got);
}

static void
test_nonsense_is_refused(UNUSED void **state)
{
	static const char *const texts[] = {
	    "",
	    "[]",
	    "{\"pid\": 0, \"state_dir\": \"/a\", \"reload_number\": 0, \"listeners\": [], \"apis\": []}",
	    "{\"pid\": 1, \"state_dir\": \"a\", \"reload_number\": 0, \"listeners\": [], \"apis\": []}",
	    "{\"pid\": 1, \"state_dir\": \"/a\", \"reload_number\": -1, \"listeners\": [], \"apis\": []}",
	    "{\"pid\": 1, \"state_dir\": \"/a\", \"reload_number\": 0, \"listeners\": {}, \"apis\": []}",
	    "{\"pid\": 1, \"state_dir\": \"/a\", \"reload_number\": 0, \"listeners\": [{\"text\": 1}], \"apis\": []}",
	    "{\"pid\": 1, \"state_dir\": \"/a\", \"reload_number\": 0, \"listeners\": [], \"apis\": [1]}",
	    ("{\"pid\": 1, \"state_dir\": \"/a\", \"reload_number\": 0, \"listeners\": [], \"apis\": [{\"name\": "
	     "\"a\", "
	     "\"wanted\": -1}]}"),
	};
	struct handover got;
	struct error err;

	for (size_t i = 0; i < N_ELEMENTS(texts); i++)
		assert_int_equal(handover_decode(texts[i], strlen(texts[i]), &got, &err), -EBADMSG);
}

static void
test_more_listeners_than_there_can_be_are_refused(UNUSED void **state)
{
	struct handover_listener many[HANDOVER_LISTENERS_MAX + 1];
	struct handover too_many = handover, got;
	struct error err;
	char *json;

	for (size_t i = 0; i < N_ELEMENTS(many); i++)
		many[i] = listeners[0];
	too_many.listeners = many;
	too_many.n_listeners = N_ELEMENTS(many);
	json = handover_encode(&too_many);
	assert_int_equal(handover_decode(json, strlen(json), &got, &err), -EBADMSG);
	free(json);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_it_survives_the_way),
	    cmocka_unit_test(test_keys_of_a_later_build_are_skipped),
	    cmocka_unit_test(test_nonsense_is_refused),
	    cmocka_unit_test(test_more_listeners_than_there_can_be_are_refused),
	};

	return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
