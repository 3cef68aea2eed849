# Functions that a unit test replaces; see `ld --wrap`.
$(B)/test/test_spawn: WRAP = fork
$(B)/test/test_json: WRAP = malloc realloc
$(B)/test/test_usage: WRAP = open
$(B)/test/test_text: WRAP = isatty ioctl
$(B)/test/test_table: WRAP = isatty ioctl
