/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/optical.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "partition/loop.h"

#define SECTOR 2048u
/* The boot record volume descriptor stands in this sector, and nowhere else. */
#define BOOT_RECORD 17u
#define BOOT_RECORD_CATALOG 0x47u
/* The catalog: an entry that validates it, then the one that is started. */
#define CATALOG_ENTRY 32u
#define VALIDATION_HEADER 0x01
#define PLATFORM_UEFI 0xef
#define BOOTABLE 0x88
#define ENTRY_LBA 8u
#define DRIVE_PREFIX "sr"

int optical_list(const struct env *env, struct sysblock_names *ret, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        struct dirent **found = NULL;
        int n, r = 0;

        if (asprintf(&path, "%s/block", env->sysfs) < 0) {
                path = NULL;
                return error_oom(e);
        }
        n = scandir(path, &found, NULL, versionsort);
        if (n < 0)
                return error_errno(e, errno, "%s", path);
        for (int i = 0; i < n; i++) {
                const char *name = found[i]->d_name;

                if (r == 0 && strncmp(name, DRIVE_PREFIX, strlen(DRIVE_PREFIX)) == 0 &&
                    sysblock_names_add(ret, name) < 0)
                        r = error_oom(e);
                free(found[i]);
        }
        free(found);
        return r;
}

static int read_sector(int fd, uint64_t number, uint8_t data[SECTOR], struct error *e)
{
        ssize_t n = file_pread(fd, data, SECTOR, number * SECTOR);

        if (n < 0)
                return error_errno(e, (int)-n, "reading the disc");
        return n == (ssize_t)SECTOR
                       ? 0
                       : error_set(e, ERROR_IO, ENODATA, "no disc that machines start from");
}

static bool is_valid(const uint8_t entry[CATALOG_ENTRY])
{
        uint16_t sum = 0;

        for (unsigned i = 0; i < CATALOG_ENTRY; i += 2)
                sum = (uint16_t)(sum + le16_at(entry + i));
        return sum == 0 && entry[0] == VALIDATION_HEADER && entry[1] == PLATFORM_UEFI &&
               entry[30] == 0x55 && entry[31] == 0xaa;
}

int optical_find_image(int fd, uint64_t *ret_offset, uint64_t *ret_size, struct error *e)
{
        static const char mark[] = "\0CD001\1EL TORITO SPECIFICATION";
        uint8_t data[SECTOR];
        const uint8_t *entry = data + CATALOG_ENTRY;
        off_t end = lseek(fd, 0, SEEK_END);
        uint64_t offset;
        int r;

        if (end < 0)
                return error_errno(e, errno, "size of the disc");
        r = read_sector(fd, BOOT_RECORD, data, e);
        if (r < 0)
                return r;
        if (memcmp(data, mark, sizeof(mark) - 1) != 0)
                return error_set(e, ERROR_IO, ENODATA, "no disc that machines start from");
        r = read_sector(fd, le32_at(data + BOOT_RECORD_CATALOG), data, e);
        if (r < 0)
                return r;
        offset = (uint64_t)le32_at(entry + ENTRY_LBA) * SECTOR;
        if (!is_valid(data) || entry[0] != BOOTABLE || (entry[1] & 0x0f) != 0 ||
            offset <= (uint64_t)BOOT_RECORD * SECTOR || offset >= (uint64_t)end)
                return error_set(e, ERROR_IO, ENODATA, "no disc that UEFI machines start from");
        *ret_offset = offset;
        *ret_size = (uint64_t)end - offset;
        return 0;
}

int optical_attach(const struct env *env, const char *drive, int *ret_fd, char **ret_path,
                   struct error *e)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int disc = loop_open_device(env, drive, O_RDONLY, &path, e);
        uint64_t offset, size;
        int r;

        if (disc < 0)
                return disc;
        r = optical_find_image(disc, &offset, &size, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        return loop_attach(env, disc, offset, size, ret_fd, ret_path, e);
}
