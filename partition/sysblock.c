/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/sysblock.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

/* Vital product data: type, page, length in two bytes, then the text (SPC-4, section 7.8). */
#define VPD_HEADER 4u

static void close_dir(DIR **d)
{
        if (*d)
                (void)closedir(*d);
}

void sysblock_names_done(struct sysblock_names *names)
{
        for (size_t i = 0; i < names->n; i++)
                free(names->name[i]);
        free(names->name);
        *names = (struct sysblock_names){.n = 0};
}

int sysblock_names_add(struct sysblock_names *names, const char *name)
{
        char **grown = reallocarray(names->name, names->n + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        names->name = grown;
        grown[names->n] = strdup(name);
        if (!grown[names->n])
                return -ENOMEM;
        names->n++;
        return 0;
}

static char *attribute_path(const struct env *env, const char *device, const char *attribute)
{
        char *path;

        if (asprintf(&path, "%s/class/block/%s/%s", env->sysfs, device, attribute) < 0)
                return NULL;
        return path;
}

int sysblock_read(const struct env *env, const char *device, const char *attribute, struct buf *out)
{
        _cleanup_free_ char *path = attribute_path(env, device, attribute);
        int r;

        buf_reset(out);
        if (!path)
                return -ENOMEM;
        r = file_read_line(AT_FDCWD, path, out);
        /* SCSI names the attribute of a disk that cannot tell it: ENXIO without page 0x83 of vital
         * product data (USB sticks are never asked for it), EINVAL without a name in it. */
        if (r == -ENXIO || r == -EINVAL || r == -EIO)
                buf_reset(out);
        else if (r != -ENOENT && r != -ENODEV && r != -ENOTDIR)
                return r;
        return 0;
}

int sysblock_number(const struct env *env, const char *device, const char *attribute, uint64_t *ret)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_SYSFS_FILE);
        int r = sysblock_read(env, device, attribute, &b);

        return r < 0 ? r : parse_u64(buf_str(&b), ret);
}

static int trim(const char *s, char **ret)
{
        size_t n;

        s += strspn(s, " \t");
        n = strlen(s);
        while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
                n--;
        *ret = strndup(s, n);
        return *ret ? 0 : -ENOMEM;
}

int sysblock_text(const struct env *env, const char *device, const char *attribute, char **ret)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_SYSFS_FILE);
        int r = sysblock_read(env, device, attribute, &b);

        return r < 0 ? r : trim(buf_str(&b), ret);
}

/* The first of several attributes that says something. */
static int first_text(const struct env *env, const char *device, const char *const *attributes,
                      size_t n, char **ret)
{
        for (size_t i = 0;; i++) {
                _cleanup_free_ char *text = NULL;
                int r = sysblock_text(env, device, attributes[i], &text);

                if (r < 0)
                        return r;
                if (*text || i == n - 1) {
                        *ret = TAKE_PTR(text);
                        return 0;
                }
        }
}

int sysblock_model(const struct env *env, const char *disk, char **ret)
{
        static const char *const attributes[] = {"device/model", "device/name"};

        /* Cards call it "name"; with other drivers that is something else. */
        return first_text(env, disk, attributes,
                          sysblock_bus(env, disk) == SYSBLOCK_BUS_MMC ? 2 : 1, ret);
}

/* Not every device has the page, and some fill it with bytes that are no text. */
static int vpd_serial(const struct env *env, const char *disk, char **ret)
{
        _cleanup_free_ char *path = attribute_path(env, disk, "device/vpd_pg80");
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_SYSFS_FILE);
        size_t length;

        if (!path)
                return -ENOMEM;
        if (file_read(AT_FDCWD, path, &b) < 0 || b.len < VPD_HEADER)
                return trim("", ret);
        length = (size_t)b.data[2] << 8 | b.data[3];
        if (length > b.len - VPD_HEADER)
                length = b.len - VPD_HEADER;
        b.data[VPD_HEADER + length] = '\0';
        for (char *p = (char *)b.data + VPD_HEADER; *p; p++) {
                if (!isprint((unsigned char)*p))
                        *p = '?';
        }
        return trim((const char *)b.data + VPD_HEADER, ret);
}

int sysblock_serial(const struct env *env, const char *disk, char **ret)
{
        static const char *const attributes[] = {"serial", "device/serial"};
        _cleanup_free_ char *text = NULL;
        int r = first_text(env, disk, attributes, ARRAY_SIZE(attributes), &text);

        if (r < 0)
                return r;
        if (!*text)
                return vpd_serial(env, disk, ret);
        *ret = TAKE_PTR(text);
        return 0;
}

int sysblock_wwn(const struct env *env, const char *disk, char **ret)
{
        static const char *const attributes[] = {"wwid", "device/wwid"};

        return first_text(env, disk, attributes, ARRAY_SIZE(attributes), ret);
}

/* "usb3" for "usb", "ata1" for "ata": the name, then nothing but a number or the end. */
static bool is_component(const char *s, size_t n, const char *name, bool number_needed)
{
        size_t k = strlen(name);

        if (n < k || strncmp(s, name, k) != 0 || (number_needed && n == k))
                return false;
        for (size_t i = k; i < n; i++) {
                if (!isdigit((unsigned char)s[i]))
                        return false;
        }
        return true;
}

/* The place of a disk, e.g. /sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda. */
static enum sysblock_bus bus_of_path(const char *path)
{
        static const struct {
                const char *name;
                bool number;
                enum sysblock_bus bus;
        } names[] = {
                {"virtio", true, SYSBLOCK_BUS_VIRTIO},    {"host", true, SYSBLOCK_BUS_SCSI},
                {"ata", true, SYSBLOCK_BUS_SATA},         {"usb", true, SYSBLOCK_BUS_USB},
                {"mmc_host", false, SYSBLOCK_BUS_MMC},    {"nvme", false, SYSBLOCK_BUS_NVME},
                {"nvme-subsys", true, SYSBLOCK_BUS_NVME},
        };
        enum sysblock_bus found = SYSBLOCK_BUS_OTHER;

        /* USB and ATA disks are SCSI hosts as well, below the bus that counts. */
        for (const char *p = path; *p; p += strcspn(p, "/")) {
                size_t n = strcspn(p += strspn(p, "/"), "/");

                for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                        if (!is_component(p, n, names[i].name, names[i].number))
                                continue;
                        if (names[i].bus == SYSBLOCK_BUS_SCSI &&
                            (found == SYSBLOCK_BUS_USB || found == SYSBLOCK_BUS_SATA))
                                continue;
                        found = names[i].bus;
                }
        }
        return found;
}

enum sysblock_bus sysblock_bus(const struct env *env, const char *disk)
{
        _cleanup_free_ char *link = attribute_path(env, disk, ".");
        _cleanup_free_ char *path = link ? realpath(link, NULL) : NULL;

        return path ? bus_of_path(path) : SYSBLOCK_BUS_OTHER;
}

bool sysblock_is_virtual(const struct env *env, const char *device)
{
        _cleanup_free_ char *link = attribute_path(env, device, ".");
        _cleanup_free_ char *path = link ? realpath(link, NULL) : NULL;

        /* NVMe with several controllers is there as well, and is a disk. */
        return path && strstr(path, "/devices/virtual/") && bus_of_path(path) != SYSBLOCK_BUS_NVME;
}

const char *sysblock_bus_name(enum sysblock_bus bus)
{
        static const char *const names[SYSBLOCK_BUS_MAX] = {
                [SYSBLOCK_BUS_OTHER] = "other",   [SYSBLOCK_BUS_NVME] = "nvme",
                [SYSBLOCK_BUS_VIRTIO] = "virtio", [SYSBLOCK_BUS_SCSI] = "scsi",
                [SYSBLOCK_BUS_SATA] = "sata",     [SYSBLOCK_BUS_USB] = "usb",
                [SYSBLOCK_BUS_MMC] = "mmc",
        };

        return names[bus];
}

static int compare_names(const void *a, const void *b)
{
        const char *const *x = a, *const *y = b;

        return strverscmp(*x, *y);
}

/* Names in a folder; with an attribute: those that have it. */
static int list_folder(const char *path, const char *attribute, struct sysblock_names *ret)
{
        _cleanup_(close_dir) DIR *dir = opendir(path);
        _cleanup_(sysblock_names_done) struct sysblock_names names = {.n = 0};
        struct dirent *entry;
        int r = 0;

        if (!dir && errno != ENOENT && errno != ENOTDIR)
                return -errno;
        while (dir && r == 0 && (entry = readdir(dir))) {
                char inside[2 * NAME_MAX + 2];

                if (entry->d_name[0] == '.')
                        continue;
                (void)snprintf(inside, sizeof(inside), "%s/%s", entry->d_name, attribute ?: "");
                if (!attribute || file_exists(dirfd(dir), inside))
                        r = sysblock_names_add(&names, entry->d_name);
        }
        if (r < 0)
                return r;
        if (names.n > 0)
                qsort(names.name, names.n, sizeof(*names.name), compare_names);
        *ret = names;
        names = (struct sysblock_names){.n = 0};
        return 0;
}

int sysblock_list(const struct env *env, const char *device, const char *folder,
                  struct sysblock_names *ret)
{
        _cleanup_free_ char *path = attribute_path(env, device, folder);

        return path ? list_folder(path, NULL, ret) : -ENOMEM;
}

int sysblock_partitions(const struct env *env, const char *disk, struct sysblock_names *ret)
{
        _cleanup_free_ char *path = attribute_path(env, disk, ".");

        return path ? list_folder(path, "partition", ret) : -ENOMEM;
}

/* Vendor, model and serial are for people; numbers of the transport are not. */
static bool is_number_name(const char *name)
{
        static const char *const prefixes[] = {"wwn-",  "nvme-eui.", "nvme-nvme.", "nvme-uuid.",
                                               "scsi-", "md-uuid-",  "dm-uuid-"};

        for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
                if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
                        return true;
        }
        return false;
}

static bool leads_to(const char *link, const char *device)
{
        char target[PATH_MAX];
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        const char *base;

        if (n <= 0)
                return false;
        target[n] = '\0';
        base = strrchr(target, '/');
        return strcmp(base ? base + 1 : target, device) == 0;
}

int sysblock_link(const struct env *env, const char *folder, const char *device, char **ret)
{
        _cleanup_(sysblock_names_done) struct sysblock_names names = {.n = 0};
        _cleanup_free_ char *dir = NULL, *best = NULL;
        bool best_is_number = true;
        int r;

        if (asprintf(&dir, "%s/%s", env->dev, folder) < 0) {
                dir = NULL;
                return -ENOMEM;
        }
        r = list_folder(dir, NULL, &names);
        for (size_t i = 0; i < names.n && r == 0; i++) {
                _cleanup_free_ char *link = NULL;

                if (asprintf(&link, "%s/%s", dir, names.name[i]) < 0) {
                        link = NULL;
                        return -ENOMEM;
                }
                if (!leads_to(link, device))
                        continue;
                if (best && (!best_is_number || is_number_name(names.name[i])))
                        continue;
                best_is_number = is_number_name(names.name[i]);
                free(best);
                best = TAKE_PTR(link);
        }
        if (r == 0 && !best)
                return trim("", ret);
        if (r == 0)
                *ret = TAKE_PTR(best);
        return r;
}
