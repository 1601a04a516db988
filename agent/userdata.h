/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User data: what of a configuration (tb-agent-config(5)) is applied at every boot, by an engine of
 * the image. Nothing here applies anything: the documents are merged, brought into the words of
 * cloud-config alone, and turned into the files that the engine reads.
 *
 * The sections install, upgrade and reset and everything that no engine knows is left out: what
 * others keep in the configuration stays there.
 *
 * Life cycle: userdata_make() -> userdata_cloudinit() or userdata_systemd() -> userdata_write() ->
 * free. All but the last are pure. Files may hold passwords; they are wiped when freed.
 */
#pragma once

#include <sys/types.h>

#include "agent/config.h"
#include "base/buf.h"

/* A file for an engine, path absolute. */
struct userdata_file {
        char *path;
        mode_t mode;
        struct buf content;
};

struct userdata_files {
        struct userdata_file *item;
        size_t n;
};

struct userdata {
        /* Merged; keys of userdata_top_keys with use BOTH or CLOUD. users is a list of maps, or of
         * names that cloud-init knows; write_files, bootcmd and runcmd are lists. */
        struct config_node *tree;
        /* What systemd applies in any image: modules, sysctl, time servers, name servers. */
        struct userdata_files common;
};

/*
 * Documents that are wrong in themselves (errors) are left out as a whole, what is wrong or not
 * done in the others (errors, warnings) is left out one by one; the caller decides what that means.
 * The documents have to live as long as the result. -ENOMEM.
 */
int userdata_make(const struct config_document *documents, size_t n,
                  struct config_problems *problems, struct userdata **ret, struct error *e)
        _must_check_;
void userdata_free(struct userdata *u);
DEFINE_CLEANUP(struct userdata, userdata_free)

/* Whether there is nothing for an engine to do. */
bool userdata_empty(const struct userdata *u);

/* Appends an empty file to the list and returns it; NULL when memory ran out. Valid until the next
 * call. */
struct userdata_file *userdata_files_add(struct userdata_files *files, const char *path,
                                         mode_t mode);
void userdata_files_done(struct userdata_files *files);

/*
 * The mode that "permissions" of a map says, as YAML and cloud-init read it: in quotes or with a
 * zero in front octal, else a decimal number. fallback where it says nothing. -EINVAL.
 */
int userdata_mode(const struct config_node *map, mode_t fallback, mode_t *ret) _must_check_;
/* An absolute path without "." and ".." and of characters that every engine takes. */
bool userdata_path_ok(const char *path);

/* Writes them below root ("" is none), each in place of what was there. The first failure ends
 * it. */
int userdata_write(const struct userdata_files *files, const char *root, struct error *e)
        _must_check_;
