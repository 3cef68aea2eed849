/*
 * The life of a slot: every cell of the table state x event, written down a second time, and the setter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "supervisor/slot.h"

struct expected {
	enum slot_event event;
	/* for EMPTY, SPAWNED, LOADING, READY, DRAINING, EXITING, BACKOFF: the next state by its initial (X = EXITING),
	 * "-" it stays, "." it cannot happen; then d drain, t terminate, k kill, e escalate */
	const char *cells[SLOT_N_STATES];
};

static const struct expected expectations[] = {
    {SLOT_ON_FORK, {"S", ".", ".", ".", ".", ".", "."}},
    {SLOT_ON_DELAY, {"B", ".", ".", ".", ".", ".", "."}},
    {SLOT_ON_EXEC, {".", "L", ".", "-", "-", "-", "."}},
    {SLOT_ON_READY, {".", "R", "R", "Xk", "Xk", "-", "."}},
    {SLOT_ON_FAILED, {".", "X", "X", "X", "X", "-", "."}},
    {SLOT_ON_NONSENSE, {".", "Xk", "Xk", "Xk", "Xk", "-", "."}},
    {SLOT_ON_UNWANTED, {"-", "Xt", "Xt", "Dd", "-", "-", "E"}},
    {SLOT_ON_DEADLINE, {".", "Xt", "Xt", "Xk", "Xt", "-e", "E"}},
    {SLOT_ON_HANGUP, {".", "X", "X", "X", "X", "-", "."}},
    {SLOT_ON_REAPED, {".", "X", "X", "X", "X", "-", "."}},
    {SLOT_ON_FREE, {".", ".", ".", ".", ".", "E", "."}},
};

static enum slot_state
state_of(char initial, enum slot_state now)
{
	static const char initials[] = "ESLRDXB";

	return initial == '-' || initial == '.' ? now : (enum slot_state)(strchr(initials, initial) - initials);
}

static enum slot_action
action_of(const char *cell)
{
	static const char letters[] = "dtke";
	static const enum slot_action actions[] = {SLOT_DO_DRAIN, SLOT_DO_TERMINATE, SLOT_DO_KILL, SLOT_DO_ESCALATE};

	if (cell[0] == '.')
		return SLOT_DO_BUG;
	return cell[1] ? actions[strchr(letters, cell[1]) - letters] : SLOT_DO_NOTHING;
}

static void
test_every_cell_of_the_table(UNUSED void **unused)
{
	bool used[SLOT_N_STATES][SLOT_N_STATES] = {{false}};

	assert_int_equal(N_ELEMENTS(expectations), SLOT_N_EVENTS);
	for (size_t i = 0; i < N_ELEMENTS(expectations); i++) {
		assert_int_equal(expectations[i].event, i);
		for (int s = 0; s < SLOT_N_STATES; s++) {
			enum slot_event event = expectations[i].event;
			enum slot_state state = (enum slot_state)s, next;
			const char *cell = expectations[i].cells[s];
			struct slot slot;

			assert_int_equal(slot_look_up(state, event, &next), action_of(cell));
			assert_int_equal(next, state_of(cell[0], state));
			if (action_of(cell) == SLOT_DO_BUG)
				continue;
			slot_init(&slot, "replica iris/3");
			slot.state = state;
			assert_int_equal(slot_handle(&slot, event, 77), action_of(cell));
			assert_int_equal(slot.state, next);
			assert_int_equal(slot.since_ms, next == state ? 0 : 77);
			if (next != state) {
				assert_true(slot_may_become(state, next));
				used[state][next] = true;
			}
		}
	}
	for (int from = 0; from < SLOT_N_STATES; from++)
		for (int to = 0; to < SLOT_N_STATES; to++)
			assert_int_equal(slot_may_become((enum slot_state)from, (enum slot_state)to), used[from][to]);
}

static void
test_a_slot_is_free_only_when_reaped_and_hung_up(UNUSED void **unused)
{
	struct slot slot;

	slot_init(&slot, "replica iris/0");
	assert_true(slot_is_free(&slot));
	slot.pid = 42;
	slot.control = 7;
	assert_false(slot_is_free(&slot));
	slot.control = -1;
	assert_false(slot_is_free(&slot));
	slot.pid = 0;
	slot.control = 7;
	assert_false(slot_is_free(&slot));
	slot.control = -1;
	assert_true(slot_is_free(&slot));
}

static void
test_every_state_and_event_has_a_name_of_its_own(UNUSED void **unused)
{
	for (int a = 0; a < SLOT_N_STATES; a++)
		for (int b = 0; b < a; b++)
			assert_string_not_equal(
			    slot_state_name((enum slot_state)a), slot_state_name((enum slot_state)b));
	for (int a = 0; a < SLOT_N_EVENTS; a++)
		for (int b = 0; b < a; b++)
			assert_string_not_equal(
			    slot_event_name((enum slot_event)a), slot_event_name((enum slot_event)b));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_cell_of_the_table),
	    cmocka_unit_test(test_a_slot_is_free_only_when_reaped_and_hung_up),
	    cmocka_unit_test(test_every_state_and_event_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
