/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting sections on a systemd-stub (PE/COFF specification 11): the stub's own headers and
 * sections are copied, new sections follow in file and address space, and the headers are rewritten
 * at the end. Content is streamed; VirtualSize of a new section is its exact length, because that
 * is what gets measured.
 *
 * Order: stub_begin() ... stub_add() / stub_add_file() / stub_start(), stub_append(), stub_end()
 * for each section ... stub_finish(). Errors: ERROR_CONFIG for a stub that cannot take the sections
 * (-E2BIG no header room, -EEXIST it has such a section) and for an image that grows too large
 * (-EFBIG).
 *
 * A section .profile begins a profile: what follows it belongs to that profile alone, and may have
 * the name of a section before.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct stub;

/* Copies the stub from one descriptor to the start of an empty file. n_sections is how many will be
 * added. Both descriptors stay the caller's. */
int stub_begin(int stub_fd, int out_fd, unsigned n_sections, struct stub **ret, struct error *e)
        _must_check_;
void stub_free(struct stub *s);
DEFINE_CLEANUP(struct stub, stub_free)

/* Machine type of the stub. */
uint16_t stub_machine(const struct stub *s);

/* One section in pieces. */
int stub_start(struct stub *s, const char *name, struct error *e) _must_check_;
int stub_append(struct stub *s, const void *data, size_t n, struct error *e) _must_check_;
int stub_end(struct stub *s, struct error *e) _must_check_;

/* One section in one go, from memory or from a whole file. */
int stub_add(struct stub *s, const char *name, const void *data, size_t n, struct error *e)
        _must_check_;
int stub_add_file(struct stub *s, const char *name, int fd, struct error *e) _must_check_;

/* Rewrites the headers: the file is a valid, unsigned PE image from here on. */
int stub_finish(struct stub *s, struct error *e) _must_check_;
