/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secure Boot keys that an installation brings into a machine in setup mode.
 *
 * They are verified before they are used: boot loader and image of the source have to be accepted
 * by the db that will be, and the partitions are sealed to the value PCR 7 will have then, so that
 * the node unlocks at its first boot with Secure Boot on.
 *
 * Whoever enrols them, the files lie in loader/keys/auto of the new ESP and loader.conf tells
 * systemd-boot to enrol them as long as the firmware is in setup mode: when the agent could not
 * write the variables (design, invariant I6), the first start does it. What the variables held is
 * kept in loader/keys/old-TIME of the ESP.
 *
 * Life cycle: install_keys_load() -> install_keys_predict() -> install_keys_fill_esp() ->
 * install_keys_enrol(); install_keys_done() in any case.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "agent/machine.h"
#include "agent/source.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "efivars/keyset.h"

enum install_keys_outcome {
        INSTALL_KEYS_NOT_TRIED,
        INSTALL_KEYS_WRITTEN,
        INSTALL_KEYS_LEFT, /* to the boot loader, as it was wished */
        INSTALL_KEYS_FAILED,
};

struct install_keys {
        bool wanted; /* else nothing below is set */
        bool by_loader;
        struct keyset next, now;
        struct keyset_change *changes; /* entries of both */
        size_t n_changes;
        enum install_keys_outcome outcome;
        char reason[512]; /* of a failure */
};

/* dir NULL: no keys are wanted. by: "agent", "loader", or NULL for the agent. ERROR_USAGE,
 * ERROR_CONFIG (the files) or ERROR_PRECONDITION (the variables). */
int install_keys_load(const struct env *env, const char *dir, const char *by,
                      struct install_keys *ret, struct error *e) _must_check_;
void install_keys_done(struct install_keys *k);

/*
 * PCR 7 of the first boot with these keys. machine: what the source was verified against, with
 * these keys. ERROR_PRECONDITION when the value cannot be known for sure.
 */
int install_keys_predict(const struct env *env, const struct install_keys *k,
                         const struct source *source, const struct machine *machine,
                         uint8_t ret[SHA256_SIZE], struct error *e) _must_check_;

/* The old variables and, for the boot loader, the new keys. */
int install_keys_fill_esp(const struct install_keys *k, const struct esp *esp, struct error *e)
        _must_check_;

/* Writes the variables, unless that is left to the boot loader. A failure is kept and told. */
void install_keys_enrol(const struct env *env, struct install_keys *k);

/* The plan for people; and {"by","changes":[{"variable","change","entry"}]}, json null when no keys
 * are wanted. NULL when memory ran out. */
void install_keys_describe(const struct install_keys *k, FILE *out);
int install_keys_add_plan(struct json_object *root, const struct install_keys *k) _must_check_;
/* The result, "keys":{"state","reason"}. */
int install_keys_add_result(struct json_object *root, const struct install_keys *k) _must_check_;
