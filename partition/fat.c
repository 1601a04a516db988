/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/fat.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/fat_geometry.h"

/* Sector of free cluster counts. */
#define INFO_FREE_AT 488u
#define INFO_NEXT_AT 492u
#define INFO_SIGNATURE_AT 484u
#define INFO_SIGNATURE 0x61417272u

#define CLUSTER_FIRST FAT_CLUSTER_FIRST
#define CLUSTER_END 0x0fffffffu
/* Directory entries. */
#define ENTRY_SIZE 32u
#define ENTRY_ATTRIBUTES_AT 11u
#define ENTRY_CREATED_AT 16u
#define ENTRY_ACCESSED_AT 18u
#define ENTRY_CLUSTER_HIGH_AT 20u
#define ENTRY_WRITTEN_AT 24u
#define ENTRY_CLUSTER_LOW_AT 26u
#define ENTRY_FILE_SIZE_AT 28u
#define ATTRIBUTE_LABEL 0x08u
#define ATTRIBUTE_FOLDER 0x10u
#define ATTRIBUTE_FILE 0x20u
#define ATTRIBUTE_LONG 0x0fu
#define DATE_1980 0x0021u
#define SHORT_SIZE 11u
#define LONG_LAST 0x40u
#define LONG_CHARACTERS 13u
#define LONG_CHECKSUM_AT 13u
#define NAME_SIZE 256u
/* A folder of more than this is none that anybody makes here. */
#define FOLDER_MAX (LIMIT_ESP_FILES * 4 * ENTRY_SIZE)

struct node {
        char name[NAME_SIZE];
        uint8_t short_name[SHORT_SIZE];
        size_t folder; /* index of the one around it */
        bool is_folder;
        uint64_t size;
        uint32_t cluster; /* first one; 0: empty file */
};

/* The root is node 0. */
struct fat {
        int fd;
        uint64_t at, data_at; /* bytes into fd: file system, first cluster */
        uint64_t cluster;     /* bytes */
        uint64_t sector;
        uint64_t fat_at[FAT_COPIES_MAX], fat_size; /* bytes into fd; bytes */
        unsigned fats;
        uint64_t info_at;
        uint32_t end;  /* first number that is no cluster */
        uint32_t next; /* free from here on */
        uint8_t label[ENTRY_SIZE];
        bool has_label;
        struct node *nodes;
        size_t n;
        uint64_t written, expected; /* of the file that is being written */
        uint64_t write_at;
};

void fat_free(struct fat *f)
{
        if (!f)
                return;
        free(f->nodes);
        free(f);
}

static uint64_t cluster_at(const struct fat *f, uint32_t cluster)
{
        return f->data_at + (uint64_t)(cluster - CLUSTER_FIRST) * f->cluster;
}

static int take_geometry(struct fat *f, const uint8_t *boot, uint64_t size)
{
        struct fat_geometry g;
        int r = fat_geometry_parse(boot, size, &g);

        if (r < 0)
                return r;
        f->sector = g.sector;
        f->cluster = g.cluster;
        f->fats = g.fats;
        f->fat_size = g.fat_size;
        for (unsigned i = 0; i < g.fats; i++)
                f->fat_at[i] = f->at + g.fat_at[i];
        f->data_at = f->at + g.data_at;
        f->info_at = f->at + g.info_at;
        f->end = g.end;
        f->next = CLUSTER_FIRST + 1; /* behind the root folder */
        return 0;
}

/* The root folder has the label of the file system and nothing else. */
static int take_root(struct fat *f)
{
        uint8_t root[2 * ENTRY_SIZE];
        const uint8_t *behind = root;
        ssize_t n = file_pread(f->fd, root, sizeof(root), cluster_at(f, CLUSTER_FIRST));

        if (n < 0)
                return (int)n;
        if ((size_t)n < sizeof(root))
                return -EMEDIUMTYPE;
        f->has_label = root[ENTRY_ATTRIBUTES_AT] == ATTRIBUTE_LABEL;
        if (f->has_label) {
                memcpy(f->label, root, ENTRY_SIZE);
                behind += ENTRY_SIZE;
        }
        return behind[0] == 0 ? 0 : -EMEDIUMTYPE;
}

int fat_open(int fd, uint64_t offset, uint64_t size, struct fat **ret, struct error *e)
{
        _cleanup_(fat_free_p) struct fat *f = calloc(1, sizeof(*f));
        uint8_t boot[FAT_BOOT_SIZE];
        ssize_t n;
        int r;

        if (!f)
                return error_oom(e);
        f->nodes = calloc(1, sizeof(*f->nodes));
        if (!f->nodes)
                return error_oom(e);
        f->nodes[0] = (struct node){.is_folder = true, .cluster = CLUSTER_FIRST};
        f->n = 1;
        f->fd = fd;
        f->at = offset;
        n = file_pread(fd, boot, sizeof(boot), offset);
        if (n < 0)
                return error_errno(e, (int)-n, "file system of the disk image");
        r = (size_t)n < sizeof(boot) ? -EMEDIUMTYPE : take_geometry(f, boot, size);
        if (r == 0)
                r = take_root(f);
        if (r == -EMEDIUMTYPE)
                return error_set(e, ERROR_INTERNAL, EMEDIUMTYPE,
                                 "disk image: not an empty FAT32 file system");
        if (r < 0)
                return error_errno(e, -r, "file system of the disk image");
        *ret = TAKE_PTR(f);
        return 0;
}

/* --- names --- */

static bool is_short_character(char c)
{
        return isupper((unsigned char)c) || isdigit((unsigned char)c) || c == '_' || c == '-';
}

/* Length of what stands before the extension; the extension is at *ret_ext, "" for none. */
static size_t split_name(const char *name, const char **ret_ext)
{
        const char *dot = strrchr(name, '.');

        *ret_ext = dot ? dot + 1 : "";
        return dot ? (size_t)(dot - name) : strlen(name);
}

static bool is_short(const char *name)
{
        const char *ext;
        size_t n = split_name(name, &ext), n_ext = strlen(ext);

        if (n < 1 || n > 8 || n_ext > 3 || (n_ext == 0 && name[n]))
                return false;
        for (size_t i = 0; i < n; i++) {
                if (!is_short_character(name[i]))
                        return false;
        }
        for (size_t i = 0; i < n_ext; i++) {
                if (!is_short_character(ext[i]))
                        return false;
        }
        return true;
}

static size_t take_characters(const char *from, size_t n, uint8_t *to, size_t room)
{
        size_t used = 0;

        for (size_t i = 0; i < n && used < room; i++) {
                char c = (char)toupper((unsigned char)from[i]);

                if (is_short_character(c))
                        to[used++] = (uint8_t)c;
        }
        return used;
}

/* "systemd-bootx64.efi", 2 -> "SYSTEM~2EFI": number 0 leaves it as it is. */
static void make_short(const char *name, unsigned number, uint8_t ret[SHORT_SIZE])
{
        char tail[12] = "";
        const char *ext;
        size_t n = split_name(name, &ext), used, tail_size;

        if (number > 0)
                (void)snprintf(tail, sizeof(tail), "~%u", number);
        tail_size = strlen(tail);
        memset(ret, ' ', SHORT_SIZE);
        used = take_characters(name, n, ret, 8 - tail_size);
        memcpy(ret + used, tail, tail_size);
        (void)take_characters(ext, strlen(ext), ret + 8, 3);
}

static bool is_long_name(const char *name)
{
        size_t n = strlen(name);

        if (n == 0 || n >= NAME_SIZE || name[0] == '.' || name[n - 1] == '.' || name[n - 1] == ' ')
                return false;
        for (size_t i = 0; i < n; i++) {
                if (!isprint((unsigned char)name[i]) || strchr("\"*/:<>?\\|", name[i]))
                        return false;
        }
        return true;
}

/* --- the tree --- */

static const struct node *find_child(const struct fat *f, size_t folder, const char *name, size_t n)
{
        for (size_t i = 1; i < f->n; i++) {
                const struct node *c = &f->nodes[i];

                if (c->folder == folder && strlen(c->name) == n &&
                    strncasecmp(c->name, name, n) == 0)
                        return c;
        }
        return NULL;
}

/* The node of the path without its last name, which *ret_last gets. -ENOENT. */
static int find_folder(const struct fat *f, const char *path, size_t *ret, const char **ret_last)
{
        size_t folder = 0;

        for (;;) {
                size_t n = strcspn(path, "/");
                const struct node *c;

                if (!path[n])
                        break;
                c = find_child(f, folder, path, n);
                if (!c || !c->is_folder)
                        return -ENOENT;
                folder = (size_t)(c - f->nodes);
                path += n + 1;
        }
        *ret = folder;
        *ret_last = path;
        return 0;
}

static bool short_is_taken(const struct fat *f, size_t folder, const uint8_t name[SHORT_SIZE])
{
        for (size_t i = 1; i < f->n; i++) {
                if (f->nodes[i].folder == folder &&
                    memcmp(f->nodes[i].short_name, name, SHORT_SIZE) == 0)
                        return true;
        }
        return false;
}

static int choose_short(const struct fat *f, struct node *c)
{
        unsigned number = is_short(c->name) ? 0 : 1;

        for (; number <= LIMIT_ESP_FILES; number++) {
                make_short(c->name, number, c->short_name);
                if (!short_is_taken(f, c->folder, c->short_name))
                        return 0;
        }
        return -ENOSPC;
}

static int add_node(struct fat *f, size_t folder, const char *name, struct node **ret)
{
        struct node *grown, *c;
        int r;

        if (!is_long_name(name))
                return -EINVAL;
        if (find_child(f, folder, name, strlen(name)))
                return -EEXIST;
        if (f->n >= LIMIT_ESP_FILES)
                return -ENOSPC;
        grown = reallocarray(f->nodes, f->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        f->nodes = grown;
        c = &grown[f->n];
        *c = (struct node){.folder = folder};
        (void)snprintf(c->name, sizeof(c->name), "%s", name);
        r = choose_short(f, c);
        if (r < 0)
                return r;
        f->n++;
        *ret = c;
        return 0;
}

/* A run of clusters; 0 for no bytes. */
static int allocate(struct fat *f, uint64_t size, uint32_t *ret)
{
        uint64_t n = size / f->cluster + (size % f->cluster > 0);

        if (n > f->end - f->next)
                return -ENOSPC;
        *ret = n > 0 ? f->next : 0;
        f->next += (uint32_t)n;
        return 0;
}

static int tell(struct error *e, int r, const char *path)
{
        return r < 0 ? error_errno(e, -r, "disk image: %s", path) : 0;
}

int fat_make_dir(struct fat *f, const char *path, struct error *e)
{
        const char *rest = path;
        size_t folder = 0;

        for (;;) {
                char name[NAME_SIZE];
                size_t n = strcspn(rest, "/");
                const struct node *old = find_child(f, folder, rest, n);
                struct node *new;
                int r = 0;

                if (old && !old->is_folder)
                        return tell(e, -ENOTDIR, path);
                if (!old) {
                        (void)snprintf(name, sizeof(name), "%.*s", (int)n, rest);
                        r = n < sizeof(name) ? add_node(f, folder, name, &new) : -EINVAL;
                        if (r < 0)
                                return tell(e, r, path);
                        new->is_folder = true;
                        old = new;
                }
                folder = (size_t)(old - f->nodes);
                if (!rest[n])
                        return 0;
                rest += n + 1;
        }
}

static const struct node *find_file(const struct fat *f, const char *path)
{
        const struct node *c;
        const char *name;
        size_t folder;

        path += *path == '/';
        if (find_folder(f, path, &folder, &name) < 0)
                return NULL;
        c = find_child(f, folder, name, strlen(name));
        return c && !c->is_folder ? c : NULL;
}

bool fat_has_file(const struct fat *f, const char *path)
{
        return find_file(f, path) != NULL;
}

int fat_begin_file(struct fat *f, const char *path, uint64_t size, struct error *e)
{
        const char *name;
        struct node *c;
        size_t folder;
        int r;

        if (f->written != f->expected)
                return error_set(e, ERROR_INTERNAL, EBUSY, "disk image: a file is not complete");
        r = size > LIMIT_IMAGE_SIZE ? -EFBIG : find_folder(f, path, &folder, &name);
        if (r == 0)
                r = add_node(f, folder, name, &c);
        if (r < 0)
                return tell(e, r, path);
        r = allocate(f, size, &c->cluster);
        if (r < 0) {
                f->n--;
                return tell(e, r, path);
        }
        c->size = size;
        f->expected = size;
        f->written = 0;
        f->write_at = size > 0 ? cluster_at(f, c->cluster) : 0;
        return 0;
}

int fat_write(struct fat *f, const void *data, size_t n, struct error *e)
{
        int r;

        if (n > f->expected - f->written)
                return error_set(e, ERROR_INTERNAL, EFBIG, "disk image: a file became larger");
        r = file_pwrite(f->fd, data, n, f->write_at + f->written);
        if (r < 0)
                return error_errno(e, -r, "disk image: write");
        f->written += n;
        return 0;
}

int fat_add_file(struct fat *f, const char *path, const void *data, size_t n, struct error *e)
{
        int r = fat_begin_file(f, path, n, e);

        return r < 0 ? r : fat_write(f, data, n, e);
}

/* --- the end --- */

static uint8_t checksum(const uint8_t name[SHORT_SIZE])
{
        uint8_t sum = 0;

        for (size_t i = 0; i < SHORT_SIZE; i++)
                sum = (uint8_t)((uint8_t)(sum >> 1 | sum << 7) + name[i]);
        return sum;
}

/* Part (from 1 on) of a long name: characters at three places, a NUL behind the last one, then
 * ones. */
static void fill_long(uint8_t entry[ENTRY_SIZE], const struct node *c, unsigned part, bool last)
{
        static const uint8_t places[LONG_CHARACTERS] = {1,  3,  5,  7,  9,  14, 16,
                                                        18, 20, 22, 24, 28, 30};
        size_t n = strlen(c->name), from = (part - 1) * LONG_CHARACTERS;

        memset(entry, 0, ENTRY_SIZE);
        entry[0] = (uint8_t)(part | (last ? LONG_LAST : 0));
        entry[ENTRY_ATTRIBUTES_AT] = ATTRIBUTE_LONG;
        entry[LONG_CHECKSUM_AT] = checksum(c->short_name);
        for (size_t i = 0; i < LONG_CHARACTERS; i++) {
                uint16_t v = 0xffff;

                if (from + i < n)
                        v = (uint16_t)(unsigned char)c->name[from + i];
                else if (from + i == n)
                        v = 0;
                put_le16(entry + places[i], v);
        }
}

static void fill_short(uint8_t entry[ENTRY_SIZE], const uint8_t name[SHORT_SIZE],
                       const struct node *c, uint32_t cluster)
{
        memset(entry, 0, ENTRY_SIZE);
        memcpy(entry, name, SHORT_SIZE);
        entry[ENTRY_ATTRIBUTES_AT] = c->is_folder ? ATTRIBUTE_FOLDER : ATTRIBUTE_FILE;
        put_le16(entry + ENTRY_CREATED_AT, DATE_1980);
        put_le16(entry + ENTRY_ACCESSED_AT, DATE_1980);
        put_le16(entry + ENTRY_WRITTEN_AT, DATE_1980);
        put_le16(entry + ENTRY_CLUSTER_HIGH_AT, (uint16_t)(cluster >> 16));
        put_le16(entry + ENTRY_CLUSTER_LOW_AT, (uint16_t)cluster);
        put_le32(entry + ENTRY_FILE_SIZE_AT, c->is_folder ? 0 : (uint32_t)c->size);
}

static int add_entry(struct buf *out, const struct node *c)
{
        unsigned parts = (unsigned)((strlen(c->name) + LONG_CHARACTERS - 1) / LONG_CHARACTERS);
        uint8_t entry[ENTRY_SIZE];
        int r = 0;

        for (unsigned part = is_short(c->name) ? 0 : parts; part > 0 && r == 0; part--) {
                fill_long(entry, c, part, part == parts);
                r = buf_add(out, entry, sizeof(entry));
        }
        fill_short(entry, c->short_name, c, c->cluster);
        return r < 0 ? r : buf_add(out, entry, sizeof(entry));
}

/* "." and "..": the root is 0 there. */
static int add_dots(const struct fat *f, const struct node *c, struct buf *out)
{
        uint8_t entry[ENTRY_SIZE];
        int r;

        fill_short(entry, (const uint8_t *)".          ", c, c->cluster);
        r = buf_add(out, entry, sizeof(entry));
        fill_short(entry, (const uint8_t *)"..         ", c,
                   c->folder == 0 ? 0 : f->nodes[c->folder].cluster);
        return r < 0 ? r : buf_add(out, entry, sizeof(entry));
}

static int list_folder(const struct fat *f, size_t folder, struct buf *out)
{
        int r;

        if (folder > 0)
                r = add_dots(f, &f->nodes[folder], out);
        else
                r = f->has_label ? buf_add(out, f->label, ENTRY_SIZE) : 0;
        for (size_t i = 1; i < f->n && r == 0; i++) {
                if (f->nodes[i].folder == folder)
                        r = add_entry(out, &f->nodes[i]);
        }
        return r;
}

/* The root has one cluster; a folder of this program never needs more than that there. */
static int write_folder(const struct fat *f, size_t folder, uint64_t room)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(FOLDER_MAX);
        int r = list_folder(f, folder, &list);

        if (r == 0 && list.len > room)
                r = -ENOSPC;
        return r < 0 ? r
                     : file_pwrite(f->fd, list.data, list.len,
                                   cluster_at(f, f->nodes[folder].cluster));
}

/* All folders get their place before the first is written: entries name the places of others. */
static int write_folders(struct fat *f)
{
        int r = 0;

        for (size_t i = 1; i < f->n && r == 0; i++) {
                _cleanup_(buf_done) struct buf list = BUF_INIT(FOLDER_MAX);

                if (!f->nodes[i].is_folder)
                        continue;
                r = list_folder(f, i, &list);
                if (r == 0)
                        r = allocate(f, list.len, &f->nodes[i].cluster);
                f->nodes[i].size = list.len;
        }
        for (size_t i = 0; i < f->n && r == 0; i++) {
                if (f->nodes[i].is_folder)
                        r = write_folder(f, i, i == 0 ? f->cluster : f->nodes[i].size);
        }
        return r;
}

static void chain(const struct fat *f, uint8_t *table, const struct node *c)
{
        uint64_t n = c->size / f->cluster + (c->size % f->cluster > 0);

        for (uint64_t i = 0; i < n; i++)
                put_le32(table + 4 * (c->cluster + i),
                         i + 1 < n ? c->cluster + (uint32_t)i + 1 : CLUSTER_END);
}

/* mkfs wrote the first three entries: media, state, root. The rest is free. */
static int write_tables(const struct fat *f)
{
        size_t size = (size_t)f->next * 4;
        _cleanup_free_ uint8_t *table = calloc(1, size);
        ssize_t n;
        int r = 0;

        if (!table)
                return -ENOMEM;
        n = file_pread(f->fd, table, (CLUSTER_FIRST + 1) * 4, f->fat_at[0]);
        if (n < 0)
                return (int)n;
        for (size_t i = 1; i < f->n; i++)
                chain(f, table, &f->nodes[i]);
        for (unsigned i = 0; i < f->fats && r == 0; i++)
                r = file_pwrite(f->fd, table, size, f->fat_at[i]);
        return r;
}

static int write_info(const struct fat *f)
{
        uint8_t info[FAT_BOOT_SIZE];
        ssize_t n = file_pread(f->fd, info, sizeof(info), f->info_at);

        if (n < 0)
                return (int)n;
        if ((size_t)n < sizeof(info) || le32_at(info + INFO_SIGNATURE_AT) != INFO_SIGNATURE)
                return -EMEDIUMTYPE;
        put_le32(info + INFO_FREE_AT, f->end - f->next);
        put_le32(info + INFO_NEXT_AT, f->next - 1);
        return file_pwrite(f->fd, info, sizeof(info), f->info_at);
}

int fat_finish(struct fat *f, struct error *e)
{
        int r;

        if (f->written != f->expected)
                return error_set(e, ERROR_INTERNAL, EBUSY, "disk image: a file is not complete");
        r = write_folders(f);
        if (r == 0)
                r = write_tables(f);
        if (r == 0)
                r = write_info(f);
        if (r == 0)
                r = file_sync(f->fd);
        return r < 0 ? error_errno(e, -r, "disk image: its boot partition") : 0;
}

int fat_digest_file(const struct fat *f, const char *path, uint8_t ret[SHA256_SIZE],
                    struct error *e)
{
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        const struct node *c = find_file(f, path);
        uint64_t done = 0;
        ssize_t n;
        int r;

        if (!d || !chunk)
                return error_oom(e);
        if (!c)
                return tell(e, -ENOENT, path);
        r = file_sync(f->fd);
        if (r < 0)
                return tell(e, r, path);
        /* Clean pages are let go of: what is read then comes from where it was written to. */
        (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
        while (done < c->size) {
                uint64_t left = c->size - done;

                n = file_pread(f->fd, chunk, left < FILE_CHUNK ? (size_t)left : FILE_CHUNK,
                               cluster_at(f, c->cluster) + done);
                if (n <= 0 || digest_add(d, chunk, (size_t)n) < 0)
                        return tell(e, n < 0 ? (int)n : -EIO, path);
                done += (uint64_t)n;
        }
        return digest_final(d, ret) < 0 ? tell(e, -EIO, path) : 0;
}
