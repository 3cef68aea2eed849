# Functions that a unit test replaces; see `ld --wrap`.
$(B)/test/test_spawn: WRAP = fork
