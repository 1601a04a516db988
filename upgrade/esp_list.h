/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on the ESP, without changing it: the helpers behind esp_list_entries() and
 * esp_list_images() that the rest of the module needs as well.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "upgrade/entry.h"

/* The image an entry names is a file with content. */
bool esp_list_image_present(int root, const struct entry *entry);

/* The text parses and its image is present: systemd-boot would show such an entry. */
bool esp_list_usable(int root, const void *text, size_t n);

/* What a cut in esp_exchange_file() left: no entry, and nobody's any more. */
bool esp_list_is_temporary(const char *name);

/*
 * -EBUSY when a file of the entry directory mentions the name, or cannot be read. Textual on
 * purpose, in any case of letters and over every file there but temporary ones: better an image too
 * many than an entry that points nowhere.
 */
int esp_list_check_unnamed(int root, const char *name, struct error *e) _must_check_;
