/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System extensions: signed disk images (partition/ddi.h) on the persistent partition that the boot
 * stage lays over /usr ("sysext") or /etc ("confext").
 *
 * An image takes part in this by bringing certificates, which are measured with it; without them
 * there are no extensions. What is installed stands in a record on the OEM partition, with the root
 * hash of its file system, and with the images it was enabled for: those, told apart by PCR 11 as
 * the boot stage finds it, start with it, and no other. So neither a file that somebody puts on a
 * partition, nor an extension made for an older system, gets into a new one by itself.
 *
 * In every boot the signature is checked again with the certificates of the image that runs, and
 * the kernel proves each block that is read (partition/verity.h). An extension that does not pass
 * is left out, and the boot goes on: without it less is trusted, not more.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "partition/ddi.h"

/* In the image: PEM, any number. */
#define EXTENSION_CERTIFICATES "/usr/share/tb-agent/extension.pem"
/* Below the mount point of the persistent partition: <root hash>.raw. */
#define EXTENSION_FOLDER ".state/extensions"
/* In the report of the boot stage: PCR 11 of the image that runs, and what became of each. */
#define EXTENSION_REPORT_IMAGE "image"
#define EXTENSION_REPORT_LIST "extensions"

#define EXTENSION_VERSION_SIZE 65u

/* An image that an extension is enabled for. */
struct extension_image {
        uint8_t pcr11[SHA256_SIZE];
        char version[EXTENSION_VERSION_SIZE]; /* for people; "" = not known */
};

struct extension {
        char name[LIMIT_EXTENSION_NAME + 1];
        bool confext;
        uint8_t root_hash[SHA256_SIZE];
        uint64_t size; /* of the file */
        unsigned n_images;
        struct extension_image image[LIMIT_EXTENSION_IMAGES]; /* the latest last */
};

struct extension_list {
        unsigned n;
        struct extension item[LIMIT_EXTENSIONS]; /* by name */
};

/* Letters, digits, "-", "_" and ".", the first one no "." or "-". */
bool extension_name_ok(const char *name);
const char *extension_kind_name(bool confext);

/* An empty list when there is no record. One that cannot be read is an error (ERROR_CONFIG). */
int extension_list_read(const struct env *env, struct extension_list *ret, struct error *e)
        _must_check_;
/* Durable when it returns 0. oem: the root of the mounted partition. */
int extension_list_write(const struct extension_list *l, int oem, struct error *e) _must_check_;

/* Appends the images that an extension is enabled for, {"pcr11","version"} each, as the record and
 * the reports have them. Negative errno. */
int extension_images(const struct extension *x, struct json_object *array) _must_check_;

struct extension *extension_find(struct extension_list *l, const char *name);
/* The one of this name, made when it is missing, in its place; NULL when the list is full. */
struct extension *extension_add(struct extension_list *l, const char *name);
void extension_drop(struct extension_list *l, struct extension *x);
/* Whether another item has the same file. */
bool extension_is_shared(const struct extension_list *l, const struct extension *x);

bool extension_is_enabled(const struct extension *x, const uint8_t pcr11[SHA256_SIZE]);
/* The oldest image goes when there are too many. */
void extension_enable(struct extension *x, const struct extension_image *image);

/* Which image runs, as the boot stage found it. -ENODATA (ERROR_PRECONDITION) when it found no
 * measurement. */
int extension_running_image(const struct env *env, struct extension_image *ret, struct error *e)
        _must_check_;

/* The certificates of this image, at most LIMIT_KEY_FILE bytes. -ENOKEY (ERROR_PRECONDITION) when
 * it has none. */
int extension_certificates(const struct env *env, struct buf *ret, struct error *e) _must_check_;

/* Reads table and signature of a file, whose root hash is told. */
int extension_prove(int fd, const struct buf *certificates, struct ddi *ret,
                    uint8_t ret_root_hash[SHA256_SIZE], uint64_t *ret_size, struct error *e)
        _must_check_;

/* Opens the file of an installed one and proves that it is the one that was recorded. */
int extension_open(const struct env *env, const struct extension *x, const struct buf *certificates,
                   int *ret_fd, struct ddi *ret, struct error *e) _must_check_;

/* <root hash>.raw */
#define EXTENSION_FILE_SIZE (SHA256_HEX_SIZE + 4)
void extension_file_name(const uint8_t root_hash[SHA256_SIZE], char ret[EXTENSION_FILE_SIZE]);
