/*
 * The board: each api has places of its own, a place belongs to one process at a time, and comes back cleared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "supervisor/board.h"
#include "supervisor/slot.h"

static void
test_places_are_taken_and_released(UNUSED void **state)
{
	struct board board;
	struct slot slot;
	struct error err;
	int first, second, other, last = -1, n = 0;

	assert_int_equal(board_init(&board, &err), 0);
	assert_int_equal(board_add_api(&board, 2, &err), 0);
	assert_int_equal(board_add_api(&board, 100, &err), 1);
	first = board_take(&board, 0, 0, &slot);
	second = board_take(&board, 0, 1, &slot);
	other = board_take(&board, 1, 5, NULL);
	assert_true(first >= 0 && second >= 0 && other >= 0 && first != second && other > second);
	assert_int_equal(board.scoreboard->slots[other].api, 1);
	assert_int_equal(board.scoreboard->slots[other].replica, 5);
	assert_int_equal(atomic_load(&board.scoreboard->slots[first].state), REPLICA_STARTING);
	assert_int_equal(atomic_load(&board.scoreboard->apis[0].n_used), 2);
	assert_ptr_equal(board.places[first].slot, &slot);
	atomic_store(&board.scoreboard->slots[first].connections, 9);
	board_release(&board, (uint32_t)first);
	assert_int_equal(atomic_load(&board.scoreboard->slots[first].state), REPLICA_DEAD);
	assert_int_equal(board_take(&board, 0, 3, NULL), first);
	assert_int_equal(atomic_load(&board.scoreboard->slots[first].connections), 0);
	while ((last = board_take(&board, 0, 0, NULL)) >= 0) {
		assert_true(last < (int)board.scoreboard->apis[1].first_slot);
		n++;
	}
	assert_int_equal(last, -ENOSPC);
	assert_true(n >= 10); /* room for those on their way out */
	board_done(&board);
}

/* Reloads may add and remove apis for years. */
static void
test_numbers_and_their_places_are_used_again(UNUSED void **state)
{
	struct board board;
	struct slot slot;
	struct error err;
	unsigned n;
	int place;

	assert_int_equal(board_init(&board, &err), 0);
	assert_int_equal(board_add_api(&board, 50, &err), 0);
	assert_int_equal(board_add_api(&board, 10, &err), 1);
	assert_int_equal(board_add_api(&board, 20, &err), 2);
	for (uint32_t i = 0; i < 3; i++)
		board_remove_api(&board, i);
	assert_int_equal(board_add_api(&board, 11, &err), 2); /* the smallest that is large enough */
	assert_int_equal(board_add_api(&board, 1, &err), 1);
	assert_true(board_has_room(&board, 1, 10));
	assert_false(board_has_room(&board, 1, 11));
	for (int i = 0; i < 10000; i++) {
		int number = board_add_api(&board, 50, &err);

		assert_int_equal(number, 0);
		assert_true(board_is_unused(&board, 0));
		place = board_take(&board, 0, 0, NULL);
		assert_false(board_is_unused(&board, 0));
		board_release(&board, (uint32_t)place);
		assert_true(board_is_unused(&board, 0));
		board_remove_api(&board, 0);
	}
	for (n = 0; board_has_places(&board, 1, n + 1); n++)
		continue;
	assert_false(board_will_have_place(&board, 1));
	for (place = 0; n > 0; n--) {
		assert_true(board_has_places(&board, 1, n));
		place = board_take(&board, 1, 0, &slot);
		assert_true(place >= 0);
		assert_false(board_has_places(&board, 1, n));
	}
	assert_int_equal(board_take(&board, 1, 0, &slot), -ENOSPC);
	assert_false(board_will_have_place(&board, 1));
	board.places[place].slot =
	    NULL; /* its process is gone; the activator has not said yet that it is done with it */
	assert_true(board_will_have_place(&board, 1));
	assert_false(board_has_places(&board, 1, 1));
	board_release(&board, (uint32_t)place);
	assert_true(board_has_places(&board, 1, 1));
	assert_false(board_waits(&board, 1));
	atomic_store(&board.scoreboard->apis[1].waiting_ns, 1);
	assert_true(board_waits(&board, 1));
	board_done(&board);
}

/* Every replica can write to it, so any of them may spoil it. */
static void
test_garbage_in_the_shared_memory_leads_nobody_astray(UNUSED void **state)
{
	static const unsigned char patterns[] = {0, 0x55, 0x80, 0xff};
	struct board board;
	struct error err;

	for (size_t p = 0; p < sizeof(patterns); p++) {
		assert_int_equal(board_init(&board, &err), 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(board_add_api(&board, 1, &err), i);
		memset(board.scoreboard->apis, patterns[p], sizeof(board.scoreboard->apis));
		memset(board.scoreboard->slots, patterns[p], 1000 * sizeof(board.scoreboard->slots[0]));
		for (uint32_t api = 0; api < 3; api++) {
			int n = (int)board.n_places / 3, last;

			for (int i = 0; i < n; i++) {
				assert_int_equal(board_take(&board, api, 0, NULL), (int)api * n + i);
				assert_int_equal(board.scoreboard->slots[(int)api * n + i].api, api);
				assert_int_equal(atomic_load(&board.scoreboard->apis[api].n_used), i + 1);
			}
			last = board_take(&board, api, 0, NULL);
			assert_int_equal(last, -ENOSPC);
		}
		for (uint32_t i = 0; i < board.n_places; i++)
			board_release(&board, i);
		board_done(&board);
	}
}

static void
test_too_many_replicas_are_an_error_that_says_so(UNUSED void **state)
{
	struct board board;
	struct error err;
	int r = 0, n;

	assert_int_equal(board_init(&board, &err), 0);
	for (n = 0; r >= 0; n++)
		r = board_add_api(&board, 1000, &err);
	assert_int_equal(r, -ENOSPC);
	assert_in_range(n, 100, 140);
	assert_non_null(strstr(err.text, "compute.max_replicas"));
	board_done(&board);
	assert_int_equal(board_init(&board, &err), 0);
	r = 0;
	for (n = 0; r >= 0; n++)
		r = board_add_api(&board, 1, &err);
	assert_int_equal(n, SCOREBOARD_APIS_MAX + 1);
	board_done(&board);
}

static void
test_states_have_names_and_some_are_out(UNUSED void **state)
{
	for (int a = REPLICA_DEAD; a <= REPLICA_DRAINING; a++)
		for (int b = REPLICA_DEAD; b < a; b++)
			assert_string_not_equal(
			    replica_state_name((enum replica_state)a), replica_state_name((enum replica_state)b));
	assert_string_equal(replica_state_name((enum replica_state)99), "?");
	assert_false(replica_state_is_out(REPLICA_IDLE) || replica_state_is_out(REPLICA_CLAIMED) ||
	    replica_state_is_out(REPLICA_BUSY));
	assert_true(replica_state_is_out(REPLICA_LONG) && replica_state_is_out(REPLICA_DEAD) &&
	    replica_state_is_out(REPLICA_STARTING) && replica_state_is_out(REPLICA_DRAINING));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers_and_their_places_are_used_again),
	    cmocka_unit_test(test_places_are_taken_and_released),
	    cmocka_unit_test(test_garbage_in_the_shared_memory_leads_nobody_astray),
	    cmocka_unit_test(test_too_many_replicas_are_an_error_that_says_so),
	    cmocka_unit_test(test_states_have_names_and_some_are_out),
	};

	return cmocka_run_group_tests_name("board", tests, NULL, NULL);
}
