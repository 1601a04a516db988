/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The single steps that change the ESP, for the files of upgrade/esp.h alone: each asks the hook of
 * struct esp first. Negative errno where there is no struct error.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "upgrade/esp.h"

/* The hook's answer. */
int esp_step(const struct esp *esp, const char *what, const char *path) _must_check_;

/* fsync of an open file or directory; what is "sync" or "sync-dir". */
int esp_step_sync(const struct esp *esp, const char *what, const char *path, int fd) _must_check_;

/* Makes a file durable that an earlier run wrote: what that run may not have got to. */
int esp_step_sync_existing(const struct esp *esp, const char *path, struct error *e) _must_check_;

/* Deletes without looking: esp_remove() looks first. An absent file is fine. */
int esp_step_unlink(const struct esp *esp, const char *path, struct error *e) _must_check_;

/* -EUCLEAN when the file shares clusters with another one: deleting it would take that one's data.
 */
int esp_step_check_shared(const struct esp *esp, const char *path, struct error *e) _must_check_;

/* A path of the entry directory: only the functions that check the text may write there. */
bool esp_step_is_entry(const char *path);

/* Writes a small file that does not exist yet. */
int esp_step_write_small(const struct esp *esp, const char *path, const void *data, size_t n,
                         struct error *e) _must_check_;

/* The same bytes. */
bool esp_step_same(const struct buf *b, const void *data, size_t n);

/* The exchange of esp_exchange_file() for any file, entries included. */
int esp_step_exchange(const struct esp *esp, const char *path, const void *data, size_t n,
                      struct error *e) _must_check_;
