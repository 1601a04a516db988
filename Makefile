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
GUEST_SRC := $(wildcard vm-tests/guest/tb-guest.c)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
LIB := $(B)/libtb.a
AGENT_LIB := $(B)/libagent.a
IMAGE_LIB := $(B)/libimage.a
TEST_BIN := $(patsubst %.c,$(B)/%,$(TEST_SRC))
UNIT_BIN := $(filter $(B)/tests/unit/%,$(TEST_BIN))
INTEGRATION_BIN := $(filter $(B)/tests/integration/%,$(TEST_BIN))
ALL_C := $(wildcard $(addsuffix /*.[ch],$(LIB_DIRS) agent image tests/unit tests/integration tests/support vm-tests/guest))
MAN_SRC := $(sort $(wildcard man/*.scd))
MAN := $(patsubst man/%.scd,$(B)/man/%,$(MAN_SRC))

# --- flags -----------------------------------------------------------------------------------------------------------

PKGS := fdisk libcryptsetup tss2-esys tss2-mu tss2-rc tss2-tctildr json-c libcrypto blkid libkmod devmapper
IMAGE_PKGS := libarchive
pkg_cflags := $(shell pkg-config --cflags $(PKGS) $(IMAGE_PKGS) cmocka 2>/dev/null)
pkg_libs = $(shell pkg-config --libs $(PKGS))
image_libs = $(shell pkg-config --libs libcrypto json-c $(IMAGE_PKGS))
test_libs = $(shell pkg-config --libs $(PKGS) $(IMAGE_PKGS) cmocka)

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
ALL_CFLAGS = -std=gnu11 $(OPT) $(WARN) $(if $(SANITIZE),$(SANITIZE) -fPIE,$(HARDEN)) $(REPRO) $(pkg_cflags) $(CFLAGS)
ALL_LDFLAGS = $(LDHARDEN) $(SANITIZE) $(LDFLAGS)

# --- programs --------------------------------------------------------------------------------------------------------

.PHONY: all
all: $(B)/tb-agent $(B)/tb-image $(MAN)

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

$(B)/tb-guest: $(B)/obj/vm-tests/guest/tb-guest.o
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(shell pkg-config --libs json-c) -o $@

$(TEST_BIN): $(B)/%: $(B)/obj/%.o $(call obj,$(SUPPORT_SRC)) $(AGENT_LIB) $(IMAGE_LIB) $(LIB)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(test_libs) -o $@

$(B)/man/%: man/%.scd
	$(call say,MAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-0} scdoc < $< > $@

-include $(patsubst %.o,%.d,$(call obj,$(LIB_SRC) $(AGENT_SRC) $(IMAGE_SRC) $(TEST_SRC) $(SUPPORT_SRC) $(GUEST_SRC)))

.PHONY: clean
clean:
	rm -rf $(B)
