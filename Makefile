# SPDX-License-Identifier: Apache-2.0
# Non-recursive build of tb-agent and tb-image. "make help" lists the targets.

VERSION := 0.1.0
B ?= build
V ?= 0
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PYTHON := /usr/bin/python3
DESTDIR ?=
prefix ?= /usr
bindir ?= $(prefix)/bin
mandir ?= $(prefix)/share/man
unitdir ?= $(prefix)/lib/systemd/system

Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),@:,@printf '  %-8s %s\n' $(1) $(2))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

# --- what is built from what -----------------------------------------------------------------------------------------

LIB_DIRS := base efivars partition upgrade
LIB_SRC := $(sort $(wildcard $(addsuffix /*.c,$(LIB_DIRS))))
AGENT_SRC := $(sort $(wildcard agent/*.c))
IMAGE_SRC := $(sort $(wildcard image/*.c))
# Each test file is a program of its own; what agent/ and image/ offer besides main() is linked in.
TEST_SRC := $(sort $(wildcard tests/unit/test_*.c tests/integration/test_*.c))
SUPPORT_SRC := $(sort $(wildcard tests/support/*.c))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
REPLAY_SRC := tests/fuzz/replay.c
# First process of images whose root is a file system in a file: alone in its initramfs, so without libraries.
STAGE_SRC := agent/stage/tb-root.c
GUEST_SRC := $(wildcard vm-tests/guest/tb-guest.c vm-tests/guest/misdeed.c)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
LIB := $(B)/libtb.a
AGENT_LIB := $(B)/libagent.a
IMAGE_LIB := $(B)/libimage.a
TEST_BIN := $(patsubst %.c,$(B)/%,$(TEST_SRC))
FUZZ_BIN := $(patsubst %.c,$(B)/%,$(FUZZ_SRC))
UNITS := $(sort $(wildcard agent/*.service agent/*.timer deploy/*.service deploy/*.timer))
MAN_SRC := $(sort $(wildcard man/*.scd))
MAN := $(patsubst man/%.scd,$(B)/man/%,$(MAN_SRC))

# --- flags -----------------------------------------------------------------------------------------------------------

PKGS := fdisk libcryptsetup tss2-esys tss2-mu tss2-rc tss2-tctildr json-c libcrypto blkid libkmod devmapper libseccomp \
	libcurl libarchive libfyaml yaml-0.1 libqrencode ext2fs
IMAGE_PKGS := libarchive libcurl libseccomp
pkg_cflags := $(shell pkg-config --cflags $(PKGS) cmocka 2>/dev/null)
pkg_libs = $(shell pkg-config --libs $(PKGS))
image_libs = $(shell pkg-config --libs libcrypto json-c $(IMAGE_PKGS))
test_libs = $(shell pkg-config --libs $(PKGS) cmocka)

WARN := -Wall -Wextra -Wformat=2 -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-align -Wcast-qual -Wwrite-strings \
	-Wundef -Wvla -Wswitch-enum -Wimplicit-fallthrough -Wnull-dereference -Wdouble-promotion
ifneq ($(findstring clang,$(CC)),clang)
WARN += -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wold-style-declaration
endif
ifeq ($(WERROR),1)
WARN += -Werror
endif
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed
OPT ?= -O2 -g
SANITIZE ?=
# Paths in debug information and __FILE__ are relative to the tree: the same source gives the same bytes anywhere.
REPRO := -ffile-prefix-map=$(CURDIR)=.
CPPFLAGS += -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DTB_VERSION='"$(VERSION)"' -include base/banned.h
ALL_CFLAGS = -std=gnu11 $(OPT) $(WARN) $(if $(SANITIZE),$(SANITIZE) -fPIE,$(HARDEN)) $(coverage_flags) $(REPRO) $(pkg_cflags) $(CFLAGS)
ALL_LDFLAGS = $(LDHARDEN) $(SANITIZE) $(coverage_flags) $(LDFLAGS)
# Counts executed lines, those of sandboxed children too (tests/tools/coverage_shared.c).
ifeq ($(COVERAGE),1)
# Without the built-in forms, which gcov takes over: its fork() would clear the counters that are shared.
coverage_flags := --coverage -fdata-sections -fno-builtin-fork $(addprefix -fno-builtin-,execl execlp execle execv execvp execve)
COVERAGE_SRC := tests/tools/coverage_shared.c
coverage_link := -Wl,-T,tests/tools/coverage.ld
endif

# --- programs --------------------------------------------------------------------------------------------------------

.PHONY: all
all: $(B)/tb-agent $(B)/tb-image $(B)/tb-root $(MAN)

# Objects are built again when the flags change: compiler, sanitizers, version.
FLAGS_STAMP := $(B)/flags
flags_now := $(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS)
$(FLAGS_STAMP): FORCE
	$(Q)mkdir -p $(@D)
	$(Q)printf '%s\n' '$(subst ','\'',$(flags_now))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(flags_now))' > $@
.PHONY: FORCE
FORCE:

$(B)/obj/%.o: %.c $(FLAGS_STAMP)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

define archive
	$(call say,AR,$@)
	$(Q)rm -f $@
	$(Q)$(AR) rcsD $@ $(filter %.o,$^)
endef
$(LIB): $(call obj,$(LIB_SRC))
	$(archive)
$(AGENT_LIB): $(call obj,$(filter-out agent/main.c,$(AGENT_SRC)))
	$(archive)
$(IMAGE_LIB): $(call obj,$(filter-out image/main.c,$(IMAGE_SRC)))
	$(archive)

$(B)/tb-agent: $(B)/obj/agent/main.o $(AGENT_LIB) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(pkg_libs) -o $@

$(B)/tb-image: $(B)/obj/image/main.o $(IMAGE_LIB) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(image_libs) -o $@

$(B)/tb-root: $(call obj,$(STAGE_SRC))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -static-pie -Wl,-z,relro,-z,now,-z,noexecstack -s $^ -o $@

$(B)/tb-guest: $(B)/obj/vm-tests/guest/tb-guest.o
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(shell pkg-config --libs json-c) -o $@

$(TEST_BIN): $(B)/%: $(B)/obj/%.o $(call obj,$(SUPPORT_SRC) $(COVERAGE_SRC)) $(AGENT_LIB) $(IMAGE_LIB) $(LIB)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(test_wraps) $^ $(test_libs) $(coverage_link) -o $@
comma := ,
# Mounting vfat is up to the test: not every kernel can, and none fails when it is asked to.
$(B)/tests/integration/test_boot_reset: private test_wraps := $(addprefix -Wl$(comma)--wrap=,node_mount_vfat node_check_esp mount_unmount)
$(B)/tests/integration/test_node_check: private test_wraps := $(addprefix -Wl$(comma)--wrap=,mount_fs mount_unmount)

# The upgrade on a plain folder, for tests without a VM.
HERE_SRC := tests/tools/upgrade_here.c
$(B)/tests/upgrade-here: $(call obj,$(HERE_SRC)) $(AGENT_LIB) $(LIB)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(pkg_libs) -o $@

# Another day, for programs that it is preloaded into.
CLOCK_SRC := tests/tools/clock.c
$(call obj,$(CLOCK_SRC)): CFLAGS += -fPIC
$(B)/tests/clock.so: $(call obj,$(CLOCK_SRC))
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -shared $^ -o $@

# The programs once more, with calls that can be made to fail (tests/failcalls/failcalls.h). What has them fail is not
# instrumented: it reads the stack of its callers.
FAIL_SRC := tests/failcalls/failcalls.c
FAIL_NODE_SRC := tests/failcalls/node.c
FAIL_BIN := $(addprefix $(B)/failcalls/,tb-agent tb-image upgrade-here node)
$(B)/failcalls/wraps: tests/failcalls/calls.def
	$(Q)mkdir -p $(@D)
	$(Q)sed -n 's/^CALL(\([^,]*\),.*/-Wl,--wrap=\1/p' $< > $@
$(B)/failcalls/reals: tests/failcalls/calls.def
	$(Q)mkdir -p $(@D)
	$(Q)sed -n 's/^CALL(\([^,]*\),.*/\1 __real_\1/p' $< > $@
# What the test itself calls never fails.
$(B)/failcalls/node.o: $(call obj,$(FAIL_NODE_SRC)) $(B)/failcalls/reals
	$(Q)objcopy --redefine-syms=$(B)/failcalls/reals $< $@
$(call obj,$(FAIL_SRC)): SANITIZE :=
$(B)/failcalls/tb-agent: $(B)/obj/agent/main.o
$(B)/failcalls/tb-image: $(B)/obj/image/main.o $(IMAGE_LIB)
$(B)/failcalls/upgrade-here: $(call obj,$(HERE_SRC))
$(B)/failcalls/node: $(B)/failcalls/node.o $(call obj,$(SUPPORT_SRC))
$(FAIL_BIN): $(call obj,$(FAIL_SRC)) $(AGENT_LIB) $(LIB) | $(B)/failcalls/wraps
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) @$(B)/failcalls/wraps $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(test_libs) -o $@

$(B)/man/%: man/%.scd
	$(call say,MAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-0} scdoc < $< > $@

-include $(patsubst %.o,%.d,$(call obj,$(LIB_SRC) $(AGENT_SRC) $(STAGE_SRC) $(IMAGE_SRC) $(TEST_SRC) $(SUPPORT_SRC) $(GUEST_SRC) $(HERE_SRC) \
	$(FAIL_SRC) $(FAIL_NODE_SRC) $(CLOCK_SRC)))

# --- checks ----------------------------------------------------------------------------------------------------------
# Targets that a newcomer types install their packages first and then start make anew, because pkg-config's answers
# are read when make starts.

DEPS := tests/tools/install-deps tests/packages.txt
VM_DEPS := $(DEPS) vm-tests/packages.txt
# All processors, unless the caller said how many.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
SELF = $(MAKE) --no-print-directory $(JOBS)

.PHONY: deps
deps:
	$(Q)$(VM_DEPS)

# Style, unit and integration tests, both compilers: no VM, a minute or two.
.PHONY: check-fast
check-fast:
	$(Q)$(DEPS)
	+$(Q)$(SELF) check-fast-run
.PHONY: check-fast-run
check-fast-run:
	+$(Q)$(SELF) check-style
	+$(Q)$(SELF) both-compilers
	+$(Q)$(SELF) all tests
	$(Q)TB_FAST=1 TB_BUILD=$(abspath $(B)) tests/tools/run-tests $(TEST_BIN) --pytest tests/image tests/registry tests/config

# The real thing: firmware, TPM, boot loader, kernel.
.PHONY: check-vm
check-vm: deps
	+$(Q)$(SELF) check-vm-run
.PHONY: check-vm-run
check-vm-run: all $(B)/tb-guest
	$(Q)TB_BUILD=$(abspath $(B)) tests/tools/run-tests --pytest vm-tests

# Everything; what .ci/run runs.
.PHONY: check
check: deps
	+$(Q)$(SELF) check-run
.PHONY: check-run
check-run:
	+$(Q)$(SELF) check-style
	+$(Q)$(SELF) both-compilers
	+$(Q)$(SELF) analyze-run
	+$(Q)$(SELF) asan-run
	+$(Q)$(SELF) coverage-run
	+$(Q)$(SELF) fuzz-smoke-run
	+$(Q)$(SELF) all tests $(B)/tb-guest
	+$(Q)$(SELF) valgrind-run
	$(Q)TB_BUILD=$(abspath $(B)) tests/tools/run-tests $(TEST_BIN) --pytest vm-tests tests/image tests/registry tests/config

.PHONY: tests
tests: $(TEST_BIN) $(B)/tests/upgrade-here $(B)/tests/clock.so

.PHONY: check-style
check-style:
	$(Q)tests/tools/check-style

# Both compilers, warnings are errors; each into a folder of its own.
.PHONY: both-compilers
both-compilers:
	+$(Q)$(SELF) B=$(B)/werror-gcc CC=gcc WERROR=1 objects
	+$(Q)$(SELF) B=$(B)/werror-clang CC=clang WERROR=1 objects
.PHONY: objects
objects: $(call obj,$(LIB_SRC) $(AGENT_SRC) $(STAGE_SRC) $(IMAGE_SRC) $(TEST_SRC) $(SUPPORT_SRC) $(GUEST_SRC) $(HERE_SRC) $(FUZZ_SRC) $(REPLAY_SRC) $(FAIL_SRC) \
	$(FAIL_NODE_SRC) $(CLOCK_SRC))

# Unit and integration tests under AddressSanitizer and UndefinedBehaviorSanitizer.
.PHONY: asan
asan:
	$(Q)$(DEPS)
	+$(Q)$(SELF) asan-run
ASAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
.PHONY: asan-run
asan-run:
	+$(Q)$(SELF) B=$(B)/asan OPT='-O1 -g' SANITIZE='$(ASAN_FLAGS)' asan-tests
.PHONY: asan-tests
asan-tests: $(TEST_BIN) $(FAIL_BIN) $(B)/tb-image
	$(Q)TB_BUILD=$(abspath $(B)) tests/tools/run-tests $(TEST_BIN) --pytest tests/failcalls

# Every call that can fail fails once, on every path that leads to it: hours. A sample is part of asan.
.PHONY: failcalls
failcalls:
	$(Q)$(DEPS)
	+$(Q)$(SELF) failcalls-run
.PHONY: failcalls-run
failcalls-run:
	+$(Q)$(SELF) B=$(B)/asan OPT='-O1 -g' SANITIZE='$(ASAN_FLAGS)' failcalls-all
.PHONY: failcalls-all
failcalls-all: $(FAIL_BIN) $(B)/tb-image
	$(Q)TB_BUILD=$(abspath $(B)) tests/failcalls/run
	$(Q)$(B)/failcalls/node --deep

# Unit and integration tests with the executed lines counted; each folder has to reach its floor. A build of its own: a
# call of the counters that fails is nothing to test, and calls that fail are what the build above is about. The attacks on
# the sandbox execute nothing that its other tests do not.
.PHONY: coverage
coverage:
	$(Q)$(DEPS)
	+$(Q)$(SELF) coverage-run
	$(Q)tests/tools/coverage --build $(B)/coverage --files
.PHONY: coverage-run
coverage-run:
	+$(Q)$(SELF) B=$(B)/coverage CC=gcc OPT='-O1 -g' COVERAGE=1 coverage-tests
.PHONY: coverage-tests
coverage-tests: $(TEST_BIN)
	$(Q)find $(B) -name '*.gcda' -delete
	$(Q)tests/tools/run-tests $(filter-out %/test_sandbox_attacks,$(TEST_BIN))
	$(Q)tests/tools/coverage --build $(B) --floors tests/coverage-floors

# Three analyzers over everything but tests; a finding is an error. analyze-run is what make check has time for, and
# make analyze adds clang's path-sensitive analyzer. What is not asked of each tool, and why, stands beside its options:
# here, in .clang-tidy and in tests/cppcheck-suppressions.
ANALYZE_SRC := $(LIB_SRC) $(AGENT_SRC) $(IMAGE_SRC)
# Left out: leaks (gcc 12 loses what is stored into an array, or given back by the end of the process), NULL (it needs the
# promises of functions in other files: "success means it is there"), and unset values (it stumbles over a loop that
# goes on past a _cleanup_ variable; valgrind and the warnings of both compilers look for those). With -O0 it knows
# _cleanup_ at all.
ANALYZE_FLAGS := -fanalyzer -O0 -U_FORTIFY_SOURCE -Wno-analyzer-malloc-leak -Wno-analyzer-null-dereference \
	-Wno-analyzer-null-argument -Wno-analyzer-use-of-uninitialized-value
# clang's own: the same, of which it knows nothing of _cleanup_ (leaks, values that are written for it) either, nor
# va_start() of this C library; the last are functions of C11 Annex K, which no C library here has.
CLANG_ANALYZER := -*,clang-analyzer-*,-clang-analyzer-unix.Malloc,-clang-analyzer-core.NullDereference,$\
	-clang-analyzer-core.NonNullParamChecker,-clang-analyzer-core.CallAndMessage,$\
	-clang-analyzer-core.UndefinedBinaryOperatorResult,-clang-analyzer-core.uninitialized.*,$\
	-clang-analyzer-deadcode.DeadStores,-clang-analyzer-valist.Uninitialized,$\
	-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling
.PHONY: analyze
analyze:
	$(Q)$(DEPS)
	+$(Q)$(SELF) analyze-run
	+$(Q)$(SELF) TIDY_CHECKS='$(CLANG_ANALYZER)' TIDY=$(B)/tidy-deep tidy
.PHONY: analyze-run
analyze-run:
	+$(Q)$(SELF) B=$(B)/analyze CC=gcc WERROR=1 CFLAGS='$(ANALYZE_FLAGS)' analyze-objects
	+$(Q)$(SELF) cppcheck tidy
.PHONY: analyze-objects
analyze-objects: $(call obj,$(ANALYZE_SRC))

.PHONY: cppcheck
cppcheck:
	$(call say,CPPCHECK,$(LIB_DIRS) agent image)
	$(Q)cppcheck --quiet --std=c11 --error-exitcode=1 --enable=warning,portability,performance \
		--suppressions-list=tests/cppcheck-suppressions -I. $(ANALYZE_SRC)

# One stamp for each file, so that all processors work and only changed files are looked at again.
TIDY := $(B)/tidy
.PHONY: tidy
tidy: $(patsubst %.c,$(TIDY)/%.ok,$(ANALYZE_SRC))
$(TIDY)/%.ok: %.c .clang-tidy $(wildcard $(addsuffix /*.h,$(LIB_DIRS) agent image))
	$(call say,TIDY,$<)
	$(Q)mkdir -p $(@D)
	$(Q)clang-tidy --quiet $(if $(TIDY_CHECKS),--checks='$(TIDY_CHECKS)') $< -- -std=gnu11 $(CPPFLAGS) $(pkg_cflags) 2>/dev/null
	$(Q)touch $@

# Parsers and secrets under valgrind, which sees reads of unset memory that AddressSanitizer does not look for.
MEMCHECK := valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect \
	--show-leak-kinds=definite,indirect
MEMCHECK_TESTS := secret json_secret json codec pe pcrsig token sbat sigdb loadopt entry loaderconf oci oci_auth \
	oci_digest eventlog osrelease source_name recovery_key pin num buf
.PHONY: valgrind
valgrind:
	$(Q)$(DEPS)
	+$(Q)$(SELF) valgrind-run
.PHONY: valgrind-run
valgrind-run: $(patsubst %,$(B)/tests/unit/test_%,$(MEMCHECK_TESTS))
	$(Q)tests/tools/run-tests --under '$(MEMCHECK)' $^

# Parsers of everything that comes from outside, under libFuzzer and sanitizers: FUZZ_SECONDS for each target, two at a
# time. fuzz-smoke replays the corpora and past findings and then fuzzes for moments.
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
.PHONY: fuzz
fuzz:
	$(Q)$(DEPS)
	+$(Q)$(SELF) fuzz-run
.PHONY: fuzz-run
fuzz-run: fuzz-build fuzz-coverage-build
	$(Q)tests/tools/fuzz --build $(abspath $(B)) --seconds $(FUZZ_SECONDS) --coverage
.PHONY: fuzz-smoke
fuzz-smoke:
	$(Q)$(DEPS)
	+$(Q)$(SELF) fuzz-smoke-run
.PHONY: fuzz-smoke-run
fuzz-smoke-run: fuzz-build
	$(Q)tests/tools/fuzz --build $(abspath $(B)) --seconds 3 --smoke
.PHONY: fuzz-build
fuzz-build: $(B)/tb-image
	+$(Q)$(SELF) B=$(B)/fuzz CC=clang OPT='-O1 -g' SANITIZE='$(FUZZ_FLAGS)' fuzz-targets
.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_BIN)
$(FUZZ_BIN): $(B)/%: $(B)/obj/%.o $(AGENT_LIB) $(IMAGE_LIB) $(LIB)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -fsanitize=fuzzer $^ $(pkg_libs) -o $@
-include $(patsubst %.o,%.d,$(call obj,$(FUZZ_SRC) $(REPLAY_SRC)))

# The same targets without a fuzzer: each executes what was learned once, and the lines are counted.
REPLAY_BIN := $(patsubst %.c,$(B)/%-replay,$(FUZZ_SRC))
.PHONY: fuzz-coverage-build
fuzz-coverage-build:
	+$(Q)$(SELF) B=$(B)/fuzz-coverage CC=gcc OPT='-O1 -g' COVERAGE=1 fuzz-replays
.PHONY: fuzz-replays
fuzz-replays: $(REPLAY_BIN)
$(REPLAY_BIN): $(B)/%-replay: $(B)/obj/%.o $(call obj,$(REPLAY_SRC)) $(AGENT_LIB) $(IMAGE_LIB) $(LIB)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(pkg_libs) -o $@

# A machine installed and booted the trusted way, in front of your eyes.
.PHONY: demo
demo: deps
	+$(Q)$(SELF) demo-run
.PHONY: demo-run
demo-run: all $(B)/tb-guest
	$(Q)vm-tests/demo.py --build $(B)

.PHONY: bench
bench:
	$(Q)$(VM_DEPS) tests/bench/packages.txt
	+$(Q)$(SELF) bench-run
.PHONY: bench-run
bench-run: all $(B)/tb-guest $(B)/tests/integration/test_interop
	$(Q)tests/bench/run --build $(B)

# Power cuts by the thousand: replayed from write logs, and real ones. FAULT_REPAIRS, FAULT_BOOTS: replayed states of each operation
# that fsck.vfat repairs, or that are started. FAULT_CUTS: real ones of each operation. FAULT_OPTIONS: more for
# vm-tests/faults/run, e.g. --only reset.
FAULT_SAMPLES ?= 100
FAULT_REPAIRS ?= 24
FAULT_BOOTS ?= 3
FAULT_CUTS ?= 50
FAULT_OPTIONS ?=
.PHONY: faults
faults: deps
	+$(Q)$(SELF) faults-run
.PHONY: faults-run
faults-run: all $(B)/tb-guest $(B)/tests/integration/test_reset
	$(Q)TB_EVERY_CUT=1 $(B)/tests/integration/test_reset
	$(Q)vm-tests/faults/run --build $(B) --samples $(FAULT_SAMPLES) --repairs $(FAULT_REPAIRS) --boots $(FAULT_BOOTS) --cuts $(FAULT_CUTS) \
		$(FAULT_OPTIONS)

.PHONY: install
install: all
	install -D -m 0755 $(B)/tb-agent $(DESTDIR)$(bindir)/tb-agent
	install -D -m 0755 $(B)/tb-image $(DESTDIR)$(bindir)/tb-image
	install -D -m 0755 $(B)/tb-root $(DESTDIR)$(prefix)/lib/tb-agent/tb-root
	install -d $(DESTDIR)$(mandir)/man1 $(DESTDIR)$(mandir)/man5
	install -m 0644 $(filter %.1,$(MAN)) $(DESTDIR)$(mandir)/man1/
	install -m 0644 $(filter %.5,$(MAN)) $(DESTDIR)$(mandir)/man5/
	install -d $(DESTDIR)$(unitdir)
	install -m 0644 $(UNITS) $(DESTDIR)$(unitdir)/

.PHONY: help
help:
	@echo 'all         tb-agent, tb-image and the man pages, in $(B)/'
	@echo 'deps        install the Debian packages that build, tests and demo need (root)'
	@echo 'demo        install and boot a machine in a VM and print its status (root)'
	@echo 'check       what has to pass: style, both compilers, analyze-run, asan, fuzz-smoke, valgrind, all tests'
	@echo 'check-fast  style, both compilers, the tests without VMs; check-vm only those in VMs, check-style only the rules'
	@echo 'asan        unit and integration tests under sanitizers'
	@echo 'coverage    the share of lines that unit and integration tests execute; each folder has to reach its floor'
	@echo 'analyze     gcc -fanalyzer, cppcheck, clang-tidy (analyze-run) and clang'"'"'s own analyzer; a finding is an error'
	@echo 'valgrind    the tests of parsers and secrets under valgrind'
	@echo 'fuzz        every parser under libFuzzer, FUZZ_SECONDS=$(FUZZ_SECONDS) each; fuzz-smoke for moments'
	@echo 'bench       counts and timings'
	@echo 'faults      power cuts; takes hours (root): FAULT_SAMPLES=$(FAULT_SAMPLES) replayed of each group of writes,'
	@echo '            of each operation FAULT_REPAIRS=$(FAULT_REPAIRS) repaired, FAULT_BOOTS=$(FAULT_BOOTS) started; FAULT_CUTS=$(FAULT_CUTS) real ones;'
	@echo '            FAULT_OPTIONS="--only reset" (install, upgrade, enroll, reset, cuts), "--merge A.json B.json"'
	@echo 'failcalls   calls that fail, each once, on every path; takes hours. A sample is part of asan'
	@echo 'install     into DESTDIR=$(DESTDIR) prefix=$(prefix)'
	@echo 'clean       remove $(B)/'
	@echo 'V=1 shows every command; CC=clang builds with clang; WERROR=1 makes warnings errors'

.PHONY: clean
clean:
	rm -rf $(B)
