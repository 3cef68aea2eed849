/*
 * Deaths: what is said about each kind of evidence, and what is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "supervisor/death.h"

#define EXIT(code)   W_EXITCODE(code, 0)
#define SIGNAL(name) W_EXITCODE(0, name)

static const struct {
	struct death_evidence evidence;
	enum death_kind kind;
	const char *text;
} cases[] = {
    {{.wait_status = EXIT(0), .told = true}, DEATH_TOLD, "stopped"},
    {{.wait_status = SIGNAL(SIGTERM), .told = true, .signal_sent = SIGTERM}, DEATH_TOLD, "ended by SIGTERM"},
    {{.wait_status = SIGNAL(SIGKILL), .told = true, .signal_sent = SIGKILL, .oom_kills = 1}, DEATH_TOLD,
	"ended by SIGKILL"},
    {{.wait_status = EXIT(3), .told = true}, DEATH_EXIT, "exit code 3 when told to stop"},
    {{.wait_status = SIGNAL(SIGSEGV), .told = true}, DEATH_SIGNAL, "killed by SIGSEGV when told to stop"},
    {{.wait_status = EXIT(3)}, DEATH_EXIT, "exit code 3"},
    {{.wait_status = EXIT(0)}, DEATH_EXIT_UNTOLD,
	"exit code 0 without being told to stop; does the predictor call os._exit?"},
    {{.wait_status = SIGNAL(SIGSEGV)}, DEATH_SIGNAL, "killed by SIGSEGV"},
    {{.wait_status = SIGNAL(SIGSEGV) | WCOREFLAG}, DEATH_SIGNAL, "killed by SIGSEGV (core dumped)"},
    {{.wait_status = SIGNAL(SIGKILL)}, DEATH_SIGNAL, "killed by SIGKILL"},
    {{.wait_status = SIGNAL(SIGKILL), .oom_kills = 1}, DEATH_SIGNAL,
	"killed by SIGKILL; perhaps out of memory: the kernel killed 1 process for that meanwhile"},
    {{.wait_status = SIGNAL(SIGKILL), .oom_kills = 2}, DEATH_SIGNAL,
	"killed by SIGKILL; perhaps out of memory: the kernel killed 2 processes for that meanwhile"},
    {{.wait_status = SIGNAL(SIGSEGV), .oom_kills = 2}, DEATH_SIGNAL, "killed by SIGSEGV"},
    {{.wait_status = SIGNAL(SIGKILL), .oom_kills = 1, .oom_certain = true}, DEATH_OUT_OF_MEMORY,
	"killed by SIGKILL: out of memory"},
    {{.wait_status = SIGNAL(SIGKILL), .oom_kills = 2, .oom_certain = true, .memory_peak_bytes = 852 << 20},
	DEATH_OUT_OF_MEMORY, "killed by SIGKILL: out of memory; it had used 852 MiB"},
    {{.wait_status = SIGNAL(SIGKILL), .oom_certain = true, .memory_peak_bytes = 852 << 20}, DEATH_SIGNAL,
	"killed by SIGKILL"},
    {{.wait_status = SIGNAL(SIGKILL), .signal_sent = SIGKILL, .oom_kills = 1, .oom_certain = true, .overdue = true},
	DEATH_OVERDUE, "killed by SIGKILL: a prediction did not end after requests.timeout"},
    {{.wait_status = EXIT(1), .oom_kills = 1, .oom_certain = true}, DEATH_EXIT,
	"exit code 1; out of memory: the kernel killed 1 process that it had started"},
    {{.wait_status = EXIT(1), .oom_kills = 1}, DEATH_EXIT, "exit code 1"},
    {{.wait_status = EXIT(1), .failure = "no such module"}, DEATH_START_FAILED, "start failed: no such module"},
    {{.wait_status = EXIT(1), .failure = "lost", .was_ready = true}, DEATH_GAVE_UP, "gave up: lost"},
    {{.wait_status = SIGNAL(SIGTERM), .signal_sent = SIGTERM, .start_timed_out = true}, DEATH_START_TIMEOUT,
	"start timeout: killed by SIGTERM"},
    {{.wait_status = SIGNAL(SIGKILL), .signal_sent = SIGKILL, .spoke_nonsense = true}, DEATH_NONSENSE,
	"killed by SIGKILL: it broke the protocol of its control socket or channel"},
    {{.wait_status = SIGNAL(SIGKILL), .signal_sent = SIGKILL, .was_ready = true, .overdue = true}, DEATH_OVERDUE,
	"killed by SIGKILL: a prediction did not end after requests.timeout"},
    {{.wait_status = EXIT(0), .signal_sent = SIGTERM, .hung_up = true}, DEATH_HUNG_UP,
	"exit code 0: its control socket was closed while it ran; does the predictor close file descriptors?"},
    {{.wait_status = SIGNAL(SIGBUS), .signal_sent = SIGTERM, .hung_up = true}, DEATH_SIGNAL, "killed by SIGBUS"},
};

static void
test_each_kind_of_evidence(UNUSED void **state)
{
	bool seen[DEATH_N_KINDS] = {false};
	char text[DEATH_TEXT_MAX];

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		assert_int_equal(death_classify(&cases[i].evidence, text), cases[i].kind);
		assert_string_equal(text, cases[i].text);
		seen[cases[i].kind] = true;
	}
	for (int kind = 0; kind < DEATH_N_KINDS; kind++)
		assert_true(seen[kind]);
}

static void
test_the_longest_failure_fits(UNUSED void **state)
{
	struct death_evidence evidence = {.wait_status = EXIT(1)};
	char text[DEATH_TEXT_MAX];

	memset(evidence.failure, 'x', RECORD_TEXT_MAX);
	assert_int_equal(death_classify(&evidence, text), DEATH_START_FAILED);
	assert_int_equal(strlen(text), strlen("start failed: ") + RECORD_TEXT_MAX);
}

static void
test_signals_have_names(UNUSED void **state)
{
	char text[32];

	assert_string_equal(death_signal_name(SIGKILL, text), "SIGKILL");
	assert_string_equal(death_signal_name(SIGRTMIN + 3, text), "signal 37");
}

static void
test_the_count_of_oom_kills(UNUSED void **state)
{
	assert_int_equal(death_parse_oom_kills("nr_free_pages 12\noom_kill 7\nx 1\n"), 7);
	assert_int_equal(death_parse_oom_kills("oom_kill 0"), 0);
	assert_int_equal(death_parse_oom_kills("oom_kill_other 3\n"), -1);
	assert_int_equal(death_parse_oom_kills("oom_kill \n"), -1);
	assert_int_equal(death_parse_oom_kills("oom_kill 99999999999999999999\n"), -1);
	assert_int_equal(death_parse_oom_kills(""), -1);
	assert_true(death_read_oom_kills() >= 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_kind_of_evidence),
	    cmocka_unit_test(test_the_longest_failure_fits),
	    cmocka_unit_test(test_signals_have_names),
	    cmocka_unit_test(test_the_count_of_oom_kills),
	};

	return cmocka_run_group_tests_name("death", tests, NULL, NULL);
}
