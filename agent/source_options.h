/* SPDX-License-Identifier: Apache-2.0 */
/* Options of every verb that gets an image from somewhere. */
#pragma once

#include "agent/options.h"
#include "base/limits.h"
#include "upgrade/fetch.h"

struct source_options {
        const char *ca, *auth;
        struct option_list insecure, mirrors;
        uint64_t limit_rate, attempts;
};

/* As many as source_specs() fills. */
#define SOURCE_SPECS 6u

void source_specs(struct source_options *o, struct option_spec specs[SOURCE_SPECS]);

/* What is no HOST[:PORT] or HOST=URL: -EINVAL or -EPERM (ERROR_USAGE), with the right form. */
int source_check_options(const struct source_options *o, struct error *e) _must_check_;

/* "HOST:PORT", or "[ADDRESS]:PORT". */
#define SOURCE_HOST_SIZE (LIMIT_HOST_NAME + 16u)

/*
 * What a configuration says of its own source: its server may be spoken to without protection,
 * which is logged. The host is added to o->insecure, written in room. A source that is not on
 * another machine changes nothing. key names the setting; ERROR_CONFIG when there are too many.
 */
int source_allow_insecure(struct source_options *o, const char *source, char room[SOURCE_HOST_SIZE],
                          const char *key, struct error *e) _must_check_;

/* Lines for the help of a verb. */
extern const char source_help[];

/*
 * What the fetcher needs to know, pointing into o. Names, logins and the sandbox's own /proc are
 * those of this process, wherever the node is mounted. A signal that was noted (agent/stop.h) ends
 * a transfer.
 */
void source_fetch_options(const struct source_options *o, struct fetch_options *ret);
