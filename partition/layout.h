/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The partition table of a node: a pure plan (design, section 3), and reading and writing it as GPT
 * by libfdisk.
 */
#pragma once

#include <stdint.h>

#include "base/codec.h"
#include "base/error.h"
#include "base/limits.h"
#include "partition/disk.h"
#include "partition/extra.h"

#define LAYOUT_UUID_SIZE UUID_TEXT_SIZE

#define LAYOUT_ESP_NAME "efi"
#define LAYOUT_OEM_NAME "oem"
#define LAYOUT_PERSISTENT_NAME "persistent"
#define LAYOUT_ESP_LABEL "COS_GRUB"
#define LAYOUT_OEM_LABEL "COS_OEM"
#define LAYOUT_PERSISTENT_LABEL "COS_PERSISTENT"
/* Of the header of a volume that a reset is making. */
#define LAYOUT_RESET_LABEL "COS_RESET"

#define LAYOUT_TYPE_ESP "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
#define LAYOUT_TYPE_LINUX "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

/* Partitions start and end on multiples of this. */
#define LAYOUT_ALIGN (1 * MIB)
/* The ESP has room for three images and one spare of at least this size each. */
#define LAYOUT_IMAGE_ROOM (1 * GIB)
#define LAYOUT_IMAGE_COPIES 4u
/* FAT32 on 4 KiB sectors needs 65525 clusters of one sector. */
#define LAYOUT_ESP_MIN (260 * MIB)
#define LAYOUT_OEM_SIZE (128 * MIB)
/* Header of 16 MiB, and a file system that is of use. */
#define LAYOUT_OEM_MIN (64 * MIB)
#define LAYOUT_PERSISTENT_MIN (128 * MIB)

struct layout_partition {
        unsigned number;
        char name[37]; /* GPT name, ASCII here */
        char type[LAYOUT_UUID_SIZE];
        char uuid[LAYOUT_UUID_SIZE]; /* lower case */
        uint64_t start;              /* bytes */
        uint64_t size;               /* bytes */
};

struct layout {
        size_t n;
        struct layout_partition partitions[LIMIT_PARTITIONS];
};

/*
 * Room an ESP needs for images of image_size bytes. esp_size 0 means "as large as it should be",
 * else it is taken when an upgrade can still work with it: running image, fallback, recovery and
 * the one being written.
 */
int layout_esp_size(uint64_t image_size, uint64_t wanted, uint64_t *ret, struct error *e)
        _must_check_;

/* Sizes in bytes. */
struct layout_wishes {
        uint64_t esp_size;        /* of layout_esp_size() */
        uint64_t oem_size;        /* 0: LAYOUT_OEM_SIZE */
        uint64_t persistent_size; /* 0: the rest of the disk */
        struct extra_list extras; /* between oem and persistent, in this order */
};

/*
 * Plans ESP, oem, the user's partitions and persistent on a disk of this size. Every partition gets
 * a random UUID. -ENOSPC says what would be needed.
 */
int layout_plan(uint64_t disk_size, uint64_t sector_size, const struct layout_wishes *wishes,
                struct layout *ret, struct error *e) _must_check_;

/* Writes a new GPT with random disk GUID; then reads it back and compares. Needs disk_lock(). */
int layout_write(struct disk *d, const struct layout *l, struct error *e) _must_check_;

/* Reads the GPT of a disk. -ENOENT when it has none. */
int layout_read(const struct disk *d, struct layout *ret, struct error *e) _must_check_;

/* Partition of this GPT name. -ENOENT when there is none, -ENOTUNIQ when there are several. */
int layout_find(const struct layout *l, const char *name, const struct layout_partition **ret)
        _must_check_;
