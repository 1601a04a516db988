/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an installation leaves about itself on the encrypted OEM partition, where nobody changes it
 * from outside: which partitions have to be encrypted, and what somebody accepted. The boot stage
 * compares the disk with it, and status tells what was accepted.
 *
 * A node that was installed before there were records has none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/env.h"
#include "base/error.h"
#include "partition/extra.h"
#include "upgrade/state.h"

/* How the node came to be. */
#define INSTALL_RECORD_DISK "disk"   /* on its machine */
#define INSTALL_RECORD_IMAGE "image" /* as a disk image, sealed to its TPM from afar */
#define INSTALL_RECORD_RESET "reset"

struct install_record {
        uint64_t time; /* seconds since 1970; 0: not known */
        char version[128];
        uint8_t sha256[SHA256_SIZE];         /* of the image */
        char image_override[STATE_TEXT_MAX]; /* proofs that the image did not give; "": all given */
        char machine_override[STATE_TEXT_MAX]; /* checks that the machine did not pass */
        char made[32];      /* INSTALL_RECORD_*; "": by a version that did not say */
        size_t n_encrypted; /* the user's partitions; oem and persistent always are */
        char encrypted[LIMIT_EXTRA_PARTITIONS][EXTRA_NAME_MAX + 1];
};

/* Puts the names of the encrypted ones into the record. */
void install_record_extras(struct install_record *r, const struct extra_list *extras);

/* Appends its text, which goes to OEM_FILE_INSTALL (agent/oem_file.h). */
int install_record_format(const struct install_record *r, struct buf *ret, struct error *e)
        _must_check_;

/* Durable when it returns 0. dirfd: the root of the partition. */
int install_record_write(const struct install_record *r, int dirfd, struct error *e) _must_check_;

/* 1: *ret is filled; 0: this node has none. A record that cannot be read, or not all of it, is an
 * error: it cannot be known then what has to be encrypted. */
int install_record_read(const struct env *env, struct install_record *ret, struct error *e)
        _must_check_;
