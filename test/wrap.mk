# Functions that a unit test replaces; see `ld --wrap`.
$(B)/test/test_spawn: WRAP = fork
$(B)/test/test_json: WRAP = malloc realloc
$(B)/test/test_usage: WRAP = open
