# cortexd's build. `make help` lists what there is.
#
# One flavour is one folder below build/: the compiler and the sanitizers are part of its name, so that flavours never
# share an object. Sources are found by folder: a folder is a process or a library (docs/internals.md).

CC	   ?= gcc
ifeq ($(origin CC),default)
CC	   := gcc
endif
SANITIZE   ?=
DEVELOPER  ?= $(if $(CI),1,)
PREFIX	   ?= /usr/local
DESTDIR	   ?=
PYTHON	   ?= /usr/bin/python3.11
VERSION	   := 0.1.0

comma	   := ,
FLAVOUR	   := $(if $(SANITIZE),sanitize-$(subst $(comma),-,$(SANITIZE)),$(if $(COVERAGE),coverage,release))$(if $(findstring clang,$(CC)),-clang)
B	   := build/$(FLAVOUR)
BIN	   := $(B)/bin

# --- libraries ---------------------------------------------------------------------------------------------------------
# The library of PYTHON itself: there may be others, and pkg-config looks into /usr/local first.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
PYTHON_PC     := PKG_CONFIG_PATH="$(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_config_var("LIBPC"))' 2>/dev/null):$$PKG_CONFIG_PATH" \
		 pkg-config
PYTHON_CFLAGS := $(shell $(PYTHON_PC) --cflags python-$(PYTHON_VERSION)-embed 2>/dev/null)
PYTHON_LIBS   := $(shell $(PYTHON_PC) --libs python-$(PYTHON_VERSION)-embed 2>/dev/null)
PYTHON_FOUND  := $(shell $(PYTHON_PC) --modversion python-$(PYTHON_VERSION)-embed 2>/dev/null)
ifneq ($(filter-out help clean format build/test-venv/ready,$(or $(MAKECMDGOALS),all)),)
ifeq ($(PYTHON_VERSION),)
$(error $(PYTHON) does not run; scripts/install-deps build, or make PYTHON=/path/to/python)
endif
ifneq ($(PYTHON_FOUND),$(PYTHON_VERSION))
$(error $(PYTHON) is Python $(PYTHON_VERSION), but pkg-config finds $(or $(PYTHON_FOUND),nothing) for \
python-$(PYTHON_VERSION)-embed; scripts/install-deps build, or make PYTHON=/path/to/python)
endif
endif
EVENT_LIBS    := $(shell pkg-config --libs libevent_core 2>/dev/null)
YAML_LIBS     := $(shell pkg-config --libs yaml-0.1 2>/dev/null)
JANSSON_LIBS  := $(shell pkg-config --libs jansson 2>/dev/null)
CURL_LIBS     := $(shell pkg-config --libs libcurl libcrypto expat 2>/dev/null)
CMOCKA_LIBS   := $(shell pkg-config --libs cmocka 2>/dev/null)
CHART_JS      := /usr/share/javascript/chart.js/chart.min.js
LLHTTP_C      := /usr/share/llhttp
LLHTTP_CFLAGS := -isystem /usr/share/include -isystem /usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1

# --- flags -------------------------------------------------------------------------------------------------------------
WARNINGS   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla -Wundef -fno-common
CPPFLAGS   += -D_GNU_SOURCE -I. -DCORTEXD_VERSION='"$(VERSION)"' -DCORTEXD_PYTHON='"$(PYTHON)"' \
	      -DCORTEXD_PYTHON_VERSION='"$(PYTHON_VERSION)"' $(LLHTTP_CFLAGS)
CFLAGS_ALL := -std=gnu11 -g -pthread $(WARNINGS) $(if $(DEVELOPER),-Werror)
LDFLAGS_ALL := -pthread
ifneq ($(SANITIZE),)
CFLAGS_ALL += -O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined
LDFLAGS_ALL += -fsanitize=$(SANITIZE)
else ifneq ($(COVERAGE),)
CFLAGS_ALL += -O0 --coverage
LDFLAGS_ALL += --coverage
else
CFLAGS_ALL += -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -Wno-unused-result
LDFLAGS_ALL += -pie -Wl,-z,relro,-z,now
endif
CFLAGS_ALL += $(CFLAGS)

# --- what is built -----------------------------------------------------------------------------------------------------
PROGRAMS   := cortexd cortex cortexd-replica cortexd-activator cortexd-monitor cortexd-fetch
UNIT_TESTS := $(patsubst test/unit/%.c,%,$(wildcard test/unit/test_*.c))
FUZZERS	   := $(patsubst test/fuzz/fuzz_%.c,%,$(wildcard test/fuzz/fuzz_*.c))

# An archive per folder, without the file that holds main().
objects	    = $(patsubst %.c,$(B)/obj/%.o,$(filter-out $(1)/main.c,$(wildcard $(1)/*.c)))
COMMON_A   := $(B)/lib/common.a
HTTP_A	   := $(B)/lib/http.a
SUPERVISOR_A := $(B)/lib/supervisor.a
REPLICA_A  := $(B)/lib/replica.a
ACTIVATOR_A := $(B)/lib/activator.a
CLI_A	   := $(B)/lib/cli.a
MONITOR_A  := $(B)/lib/monitor.a
FETCH_A	   := $(B)/lib/fetch.a
LLHTTP_O   := $(patsubst %,$(B)/obj/llhttp/%.o,llhttp api http)
ALL_LIBS   := $(PYTHON_LIBS) $(EVENT_LIBS) $(YAML_LIBS) $(JANSSON_LIBS) $(CURL_LIBS)

.DELETE_ON_ERROR:
.PHONY: all
all: $(PROGRAMS:%=$(BIN)/%)

$(BIN)/cortexd: $(B)/obj/supervisor/main.o $(SUPERVISOR_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(EVENT_LIBS) $(YAML_LIBS) $(JANSSON_LIBS)

$(BIN)/cortex: $(B)/obj/cli/main.o $(CLI_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(CURL_LIBS) $(YAML_LIBS) $(JANSSON_LIBS)

$(BIN)/cortexd-replica: $(B)/obj/replica/main.o $(REPLICA_A) $(HTTP_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(PYTHON_LIBS) $(EVENT_LIBS) $(JANSSON_LIBS)

$(BIN)/cortexd-activator: $(B)/obj/activator/main.o $(ACTIVATOR_A) $(HTTP_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(EVENT_LIBS) $(JANSSON_LIBS)

$(BIN)/cortexd-monitor: $(B)/obj/monitor/main.o $(MONITOR_A) $(HTTP_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(EVENT_LIBS) $(JANSSON_LIBS) -lm

$(BIN)/cortexd-fetch: $(B)/obj/fetch/main.o $(FETCH_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(CURL_LIBS) $(JANSSON_LIBS)

$(COMMON_A): $(call objects,common)
$(HTTP_A): $(call objects,http) $(LLHTTP_O)
$(SUPERVISOR_A): $(call objects,supervisor)
$(REPLICA_A): $(call objects,replica)
$(ACTIVATOR_A): $(call objects,activator)
$(MONITOR_A): $(call objects,monitor)
$(CLI_A): $(call objects,cli)
$(FETCH_A): $(call objects,fetch)
$(B)/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(CFLAGS_FILE) -MMD -MP -c -o $@ $<

$(B)/obj/llhttp/%.o: $(LLHTTP_C)/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(filter-out -W%,$(CFLAGS_ALL)) -c -o $@ $<

# Only the files of replica/ see Python.h; its headers do not pass our warnings.
$(B)/obj/replica/%.o: CFLAGS_FILE = $(subst -I,-isystem ,$(PYTHON_CFLAGS))
$(B)/obj/test/%.o: CFLAGS_FILE = $(subst -I,-isystem ,$(PYTHON_CFLAGS))
$(B)/obj/replica/support.o: replica/support.py $(wildcard replica/handlers/*.py)
# The parts of the page, as they lie in monitor/assets, are in the program, and so is Debian's Chart.js.
ASSETS	   := $(sort $(filter-out monitor/assets/chart.js,$(wildcard monitor/assets/*))) $(CHART_JS)
$(B)/obj/monitor/asset.o: $(ASSETS) $(B)/include/monitor/assets.inc
$(B)/obj/monitor/asset.o: CFLAGS_FILE = -I$(B)/include
$(B)/include/monitor/assets.inc: monitor/assets Makefile
	@mkdir -p $(@D)
	n=0; for f in $(ASSETS); do name=$${f##*/}; [ $$f != $(CHART_JS) ] || name=chart.js; \
		echo "ASSET($$n, \"$$name\", \"$$f\")"; n=$$((n + 1)); done >$@
$(B)/obj/replica/decimal.o: $(B)/include/replica/powers_of_ten.inc
$(B)/obj/replica/decimal.o: CFLAGS_FILE = -I$(B)/include
$(B)/include/replica/powers_of_ten.inc: replica/powers_of_ten.py
	@mkdir -p $(@D)
	$(PYTHON) $< >$@

# --- tests -------------------------------------------------------------------------------------------------------------
include test/test.mk
include test/wrap.mk

# Objects that only a chain of rules mentions are kept all the same.
.SECONDARY:

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
