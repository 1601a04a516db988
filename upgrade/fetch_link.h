/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent's end of the connection to the child of a fetch: starts it, answers its questions,
 * takes its frames, and believes none of them. For upgrade/fetch.c alone.
 */
#pragma once

#include "upgrade/fetch.h"
#include "upgrade/fetch_config.h"
#include "upgrade/fetch_wire.h"

struct link;

/*
 * Starts the child for a source. file: the archive it reads, or -EBADF; layout: the folder of an
 * OCI layout, or -EBADF; both borrowed, as are name and options (these only now).
 */
int link_open(const struct source_name *name, const struct fetch_options *options, int file,
              int layout, struct link **ret, struct error *e) _must_check_;
void link_free(struct link *l);
DEFINE_CLEANUP(struct link, link_free)

int link_command(struct link *l, enum wire_command_kind kind, uint64_t offset, struct error *e)
        _must_check_;

/*
 * Waits for the next frame that matters here: WIRE_INFO, WIRE_DATA, WIRE_LOADER or WIRE_END;
 * notes, the spool and errors are dealt with. Its payload is the caller's to take with link_take().
 */
int link_frame(struct link *l, struct wire_header *ret, struct error *e) _must_check_;

/* Between 1 and n bytes of the payload. */
ssize_t link_take(struct link *l, void *buf, size_t n, struct error *e) _must_check_;
int link_take_all(struct link *l, void *buf, size_t n, struct error *e) _must_check_;

/* The child did what it may not do: ends it. */
int link_broken(struct link *l, struct error *e);

/* A call of this side failed (r: negative errno) with the child in the middle of something: ends
 * it, too. */
int link_failed(struct link *l, int r, struct error *e);

/* Whether there is more than one place that bytes can come from. */
bool link_has_choice(const struct link *l);

/* Whether the last error came with the offer to begin again. */
bool link_again(const struct link *l);

const struct fetch_counters *link_counters(const struct link *l);
