/* SPDX-License-Identifier: Apache-2.0 */
/* The mounts that this process sees: /proc/self/mountinfo, proc(5). */
#pragma once

#include "base/cleanup.h"
#include "base/env.h"
#include "base/error.h"

struct mountinfo_mount {
        unsigned id, parent;
        unsigned major, minor; /* of the file system; major 0: without a block device of its own */
        char *target;          /* mount point */
        char *type;            /* "ext4" */
        char *source;          /* what was mounted, in the words of the one who did */
};

struct mountinfo {
        struct mountinfo_mount *mount;
        size_t n;
};

/* -EBADMSG for what is no mountinfo. Free with mountinfo_done. */
int mountinfo_read(const struct env *env, struct mountinfo *ret, struct error *e) _must_check_;
void mountinfo_done(struct mountinfo *m);

/* Parses the text; it is cut into pieces. The same errors. */
int mountinfo_parse(char *text, struct mountinfo *ret, struct error *e) _must_check_;

/* The mount an absolute path lies on, judged by names alone; NULL when there is none. */
const struct mountinfo_mount *mountinfo_find(const struct mountinfo *m, const char *path);

/* Undoes the octal escapes ("\040") of mountinfo and swaps, in place. */
void mountinfo_unescape(char *s);
