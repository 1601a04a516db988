/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blank partitions: the data partitions of a disk image, before their first boot. An image holds no
 * key, so they hold no volume; the boot stage of the machine makes one in the place of each
 * (design, section 3). What a blank partition has:
 *
 *   0        mark of 4 KiB: "tb-agent blank 1", flags, GPT name, size and digest of the content,
 *            and at its end the SHA-256 of itself
 *   4 KiB    content: what the image has to say to the machine, only in "persistent"
 *   16 MiB   nothing; the payload of the volume to be
 *
 * A mark proves nothing: whoever can write the disk can make one. That is why it is only a
 * question, and agent/boot.h says when it is answered. A partition that has a LUKS2 header is never
 * blank, be it the second copy of one that a mark was written over.
 *
 * A volume is made beside the partition: header in memory, payload in its place, where the mark and
 * the content do not lie. blank_replace() then puts the header in the place of the mark. Until its
 * one deciding write the partition is blank, and everything can be done again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"

#define BLANK_MARK_SIZE 4096u

struct blank {
        bool allow_discards;     /* wishes of who made the image */
        bool allow_software_tpm; /* likewise */
        uint64_t content_size;   /* bytes; 0: none */
        uint8_t content_sha256[SHA256_SIZE];
        uint8_t sha256[SHA256_SIZE]; /* of the mark */
};

/*
 * Marks the partition of this GPT name that begins at offset of a disk image, with n bytes of
 * content, at most LIMIT_BLANK_CONTENT. Of want only the wishes are looked at. Places where a LUKS2
 * header of the disk that gets the image could lie are written as zeros, not left as holes.
 */
int blank_write(int fd, uint64_t offset, const char *name, const struct blank *want,
                const void *content, size_t n, struct error *e) _must_check_;

/*
 * Looks at the partition at path. 1: blank, *ret is filled; 0: it has no mark. ERROR_PRECONDITION:
 * -EEXIST for a mark over a LUKS2 header, -EBADMSG for one that is damaged or of another partition.
 */
int blank_read(const char *path, const char *name, struct blank *ret, struct error *e) _must_check_;

/* Appends the content. -EBADMSG (ERROR_PRECONDITION) when it is not what the mark says. */
int blank_read_content(const char *path, const struct blank *b, struct buf *ret, struct error *e)
        _must_check_;

/* Discards what lies where the payload will be; devices that cannot do that keep it. */
void blank_discard(const char *path);

/*
 * Makes the blank partition at path a volume: the LUKS2 header in the file header_fd takes the
 * place of mark and content. First all of it but the two places that make a header valid, then the
 * first of these, which decides, then the other, which libcryptsetup also restores by itself.
 */
int blank_replace(const char *path, int header_fd, struct error *e) _must_check_;
