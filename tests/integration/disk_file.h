/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in a sparse file, with the wishes for its partitions that a node has by default. */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "partition/layout.h"

#define DISK_FILE_SIZE (2 * GIB)
#define DISK_FILE_SECTOR UINT64_C(512)

static const struct layout_wishes disk_file_wishes = {.esp_size = 512 * MIB};

struct disk_file {
        char path[64];
        struct disk disk;
        struct layout plan; /* for it; written by disk_file_write() */
        struct error e;
};

static inline int disk_file_make(void **state)
{
        struct disk_file *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        (void)snprintf(f->path, sizeof(f->path), "/tmp/tb-disk-XXXXXX");
        f->disk.fd = mkstemp(f->path);
        assert_true(f->disk.fd >= 0);
        assert_int_equal(ftruncate(f->disk.fd, (off_t)DISK_FILE_SIZE), 0);
        f->disk.path = f->path;
        f->disk.size = DISK_FILE_SIZE;
        f->disk.sector_size = DISK_FILE_SECTOR;
        assert_int_equal(
                layout_plan(DISK_FILE_SIZE, DISK_FILE_SECTOR, &disk_file_wishes, &f->plan, &f->e),
                0);
        *state = f;
        return 0;
}

static inline int disk_file_end(void **state)
{
        struct disk_file *f = *state;

        (void)close(f->disk.fd);
        (void)unlink(f->path);
        free(f);
        return 0;
}

static inline void disk_file_write(struct disk_file *f)
{
        if (layout_write(&f->disk, &f->plan, &f->e) < 0)
                fail_msg("%s", f->e.text);
}
