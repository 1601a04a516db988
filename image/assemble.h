/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making one system image: the sections on the stub, the PCR policies of its profiles, the
 * signature.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "image/commands.h"
#include "image/later.h"
#include "image/tree.h"
#include "upgrade/usi.h"

/* The only phase in which volumes may be unlocked. */
#define ASSEMBLE_PHASE "enter-initrd"
#define ASSEMBLE_PROFILES_MAX (WORDS_LIST_MAX + 1)

/* What the images of a call are made of. All borrowed. */
struct assemble_parts {
        int stub, kernel;
        const char *stub_name; /* for messages */
        const struct buf *os_release, *splash;
        const char *release; /* of the kernel; "": not known */
        EVP_PKEY *policy_private;
        const struct buf *policy_public;
        const struct later *later;
        EVP_PKEY *key; /* NULL: the image is not signed */
        X509 *cert;
        const struct tree *tree;
        unsigned level; /* of compression */
        uint64_t epoch;
};

struct assemble_image {
        const char *cmdline;             /* borrowed, as are these: */
        const struct commands *profiles; /* besides the one with cmdline */
        const struct usi *packed; /* an image that has the packed root already; NULL: none yet */
        /* What it came to. */
        uint64_t size;
        uint8_t digest[SHA256_SIZE];
        /* Of each profile; of an image without profiles the first. */
        uint8_t pcr11[ASSEMBLE_PROFILES_MAX][SHA256_SIZE];
        uint8_t policy[ASSEMBLE_PROFILES_MAX][SHA256_SIZE];
};

/* Number of its .profile sections: 0 for an image without profiles. */
unsigned assemble_profiles(const struct assemble_image *image);

/* Writes it to an empty file and fills in what it came to. */
int assemble_build(const struct assemble_parts *parts, struct assemble_image *image, int fd,
                   struct error *e) _must_check_;

/* For a file that the caller named and that is not what it has to be: a mistake in the call,
 * whatever the reader of that format thinks of the file. */
int assemble_bad_input(struct error *e, int r, const char *what, const char *path) _must_check_;
