/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/bootorder.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "efivars/efivar.h"

#define NAME_LENGTH (LOADOPT_NAME_SIZE - 1)

void bootorder_done(struct bootorder *b)
{
        for (size_t i = 0; i < b->n; i++)
                loadopt_free(b->items[i].option);
        free(b->items);
        *b = (struct bootorder){.n = 0};
}

void bootorder_plan_done(struct bootorder_plan *p)
{
        buf_done(&p->value);
}

/* --- reading --------------------------------------------------------------------------------- */

int bootorder_add(struct bootorder *b, uint16_t number, const void *data, size_t n)
{
        _cleanup_(loadopt_free_p) struct loadopt *option = NULL;
        struct bootorder_item *grown;
        int r = loadopt_parse(data, n, &option);

        if (r == -ENOMEM)
                return r;
        if (b->n >= LIMIT_BOOT_ORDER)
                return -E2BIG;
        grown = reallocarray(b->items, b->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        b->items = grown;
        b->items[b->n++] = (struct bootorder_item){number, TAKE_PTR(option)};
        return 0;
}

int bootorder_set_order(struct bootorder *b, const void *data, size_t n)
{
        return loadopt_order_parse(data, n, b->order, LIMIT_BOOT_ORDER, &b->n_order);
}

static int broken(int r, const char *name, struct error *e)
{
        return error_set(e, ERROR_PRECONDITION, -r, "EFI variable %s: %s", name, file_strerror(r));
}

/* 1 and the number for the name of a Boot#### file, 0 for any other. */
static int is_entry(const char *file, uint16_t *ret)
{
        char name[LOADOPT_NAME_SIZE];

        if (strlen(file) <= NAME_LENGTH || strcmp(file + NAME_LENGTH, "-" EFIVAR_GUID_GLOBAL) != 0)
                return 0;
        memcpy(name, file, NAME_LENGTH);
        name[NAME_LENGTH] = '\0';
        return loadopt_name_parse(name, ret) == 0;
}

static int add_variable(const struct env *env, struct bootorder *b, uint16_t number,
                        struct error *e)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_EFI_VARIABLE);
        char name[LOADOPT_NAME_SIZE];
        int r;

        loadopt_name_format(number, name);
        r = efivar_read(env, name, EFIVAR_GUID_GLOBAL, &value, NULL);
        /* Gone meanwhile, or never written. What is too large to be an entry takes up its number.
         */
        if (r == -ENOENT)
                return 0;
        if (r == -EBADMSG || r == -E2BIG)
                buf_reset(&value);
        else if (r < 0)
                return broken(r, name, e);
        r = bootorder_add(b, number, value.data, value.len);
        if (r == -ENOMEM)
                return error_oom(e);
        return r < 0 ? error_set(e, ERROR_PRECONDITION, -r, "more than %u boot entries",
                                 LIMIT_BOOT_ORDER)
                     : 0;
}

static int read_entries(const struct env *env, DIR *dir, struct bootorder *b, struct error *e)
{
        const struct dirent *d;
        uint16_t number;
        int r = 0;

        while (r == 0 && (errno = 0, d = readdir(dir))) {
                if (is_entry(d->d_name, &number))
                        r = add_variable(env, b, number, e);
        }
        return r == 0 && errno != 0 ? error_errno(e, errno, "%s", env->efivarfs) : r;
}

static int read_order(const struct env *env, struct bootorder *b, struct error *e)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_EFI_VARIABLE);
        int r = efivar_read(env, "BootOrder", EFIVAR_GUID_GLOBAL, &value, NULL);

        if (r == -ENOENT)
                return 0;
        if (r == 0)
                r = bootorder_set_order(b, value.data, value.len);
        return r < 0 ? broken(r, "BootOrder", e) : 0;
}

int bootorder_read(const struct env *env, struct bootorder *ret, struct error *e)
{
        struct bootorder b = {.n = 0};
        DIR *dir;
        int r, fd = file_open_dir(AT_FDCWD, env->efivarfs);

        if (fd < 0)
                return error_set(e, ERROR_PRECONDITION, -fd, "%s: %s", env->efivarfs,
                                 file_strerror(fd));
        dir = fdopendir(fd);
        if (!dir) {
                r = error_errno(e, errno, "%s", env->efivarfs);
                (void)close(fd);
                return r;
        }
        r = read_entries(env, dir, &b, e);
        (void)closedir(dir);
        if (r == 0)
                r = read_order(env, &b, e);
        if (r < 0) {
                bootorder_done(&b);
                return r;
        }
        *ret = b;
        return 0;
}

/* --- looking --------------------------------------------------------------------------------- */

/* n_order: it is not listed. */
static size_t place_of(const struct bootorder *b, uint16_t number)
{
        size_t i = 0;

        while (i < b->n_order && b->order[i] != number)
                i++;
        return i;
}

static bool starts(const struct bootorder_item *item, const char *uuid, const char *path)
{
        return item->option && loadopt_starts(item->option, uuid, path);
}

/* Of several entries for the file the one that firmware tries first, else that of the lowest
 * number. */
static const struct bootorder_item *find(const struct bootorder *b, const char *uuid,
                                         const char *path)
{
        const struct bootorder_item *best = NULL;

        for (size_t i = 0; i < b->n; i++) {
                const struct bootorder_item *item = &b->items[i];
                size_t here = place_of(b, item->number), there;

                if (!starts(item, uuid, path))
                        continue;
                there = best ? place_of(b, best->number) : SIZE_MAX;
                if (here < there || (here == there && item->number < best->number))
                        best = item;
        }
        return best;
}

static enum bootorder_state state_of(const struct bootorder *b, const struct bootorder_item *item)
{
        size_t place = item ? place_of(b, item->number) : 0;

        if (!item)
                return BOOTORDER_MISSING;
        if (place == b->n_order)
                return BOOTORDER_UNLISTED;
        return place == 0 ? BOOTORDER_FIRST : BOOTORDER_NOT_FIRST;
}

enum bootorder_state bootorder_find(const struct bootorder *b, const char *uuid, const char *path,
                                    uint16_t *ret_number)
{
        const struct bootorder_item *item = find(b, uuid, path);

        if (item && ret_number)
                *ret_number = item->number;
        return state_of(b, item);
}

/* --- planning -------------------------------------------------------------------------------- */

static bool is_active(const struct loadopt *o)
{
        return (loadopt_attributes(o) & LOADOPT_ACTIVE) != 0;
}

/* Description and optional data are the firmware's and people's to change. */
static bool is_right(const struct loadopt *o, const struct loadopt_disk *disk)
{
        const struct loadopt_disk *has = loadopt_disk(o);

        return is_active(o) && has && has->number == disk->number && has->start == disk->start &&
               has->size == disk->size;
}

static bool is_listed(const uint16_t *list, size_t n, uint16_t number)
{
        for (size_t i = 0; i < n; i++)
                if (list[i] == number)
                        return true;
        return false;
}

/* Old installations on the same disk, and doubles of the entry itself. */
static void plan_removals(const struct bootorder *b, const struct bootorder_entry *entry,
                          const char (*gone)[LOADOPT_UUID_SIZE], size_t n_gone,
                          const struct bootorder_item *keep, struct bootorder_plan *p)
{
        for (size_t i = 0; i < b->n; i++) {
                const struct bootorder_item *item = &b->items[i];
                bool stale = item != keep && starts(item, entry->disk.uuid, entry->path);

                for (size_t k = 0; k < n_gone && item != keep && !stale; k++)
                        stale = starts(item, gone[k], entry->path);
                if (stale)
                        p->removed[p->n_removed++] = item->number;
        }
}

/* A number that neither has a variable nor is waited for by BootOrder. */
static int free_number(const struct bootorder *b, const struct bootorder_plan *p, uint16_t *ret)
{
        for (uint32_t number = 0; number <= UINT16_MAX; number++) {
                bool taken = is_listed(b->order, b->n_order, (uint16_t)number) &&
                             !is_listed(p->removed, p->n_removed, (uint16_t)number);

                for (size_t i = 0; i < b->n && !taken; i++)
                        taken = b->items[i].number == number &&
                                !is_listed(p->removed, p->n_removed, (uint16_t)number);
                if (!taken) {
                        *ret = (uint16_t)number;
                        return 0;
                }
        }
        return -E2BIG;
}

/* The entry in front, what was removed left out, the others as they stood. */
static int plan_order(const struct bootorder *b, struct bootorder_plan *p)
{
        p->order[p->n_order++] = p->number;
        for (size_t i = 0; i < b->n_order; i++) {
                if (b->order[i] == p->number || is_listed(p->removed, p->n_removed, b->order[i]))
                        continue;
                if (p->n_order == LIMIT_BOOT_ORDER)
                        return -E2BIG;
                p->order[p->n_order++] = b->order[i];
        }
        p->write_order = p->n_order != b->n_order ||
                         memcmp(p->order, b->order, p->n_order * sizeof(p->order[0])) != 0;
        return 0;
}

static int plan_entry(const struct bootorder *b, const struct bootorder_entry *entry,
                      const struct bootorder_item *item, struct bootorder_plan *p, struct error *e)
{
        int r = 0;

        p->write_entry = !item || !is_right(item->option, &entry->disk);
        if (!p->write_entry)
                return 0;
        p->inactive = false;
        if (!item)
                r = free_number(b, p, &p->number);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "no number is free for a boot entry");
        r = loadopt_format(LOADOPT_ACTIVE, entry->description, &entry->disk, entry->path,
                           &p->value);
        return r < 0 ? error_set(e, ERROR_INTERNAL, -r, "boot entry for %s", entry->path) : 0;
}

int bootorder_plan(const struct bootorder *b, const struct bootorder_entry *entry,
                   enum bootorder_wish wish, const char (*gone)[LOADOPT_UUID_SIZE], size_t n_gone,
                   struct bootorder_plan *ret, struct error *e)
{
        const struct bootorder_item *item = find(b, entry->disk.uuid, entry->path);
        struct bootorder_plan p = {.before = state_of(b, item),
                                   .number = item ? item->number : 0,
                                   .inactive = item && !is_active(item->option),
                                   .value = BUF_INIT(LIMIT_LOAD_OPTION)};
        int r;

        if (wish == BOOTORDER_REPAIR && p.before >= BOOTORDER_NOT_FIRST) {
                *ret = p;
                return 0;
        }
        if (wish == BOOTORDER_MAKE_FIRST)
                plan_removals(b, entry, gone, n_gone, item, &p);
        r = plan_entry(b, entry, item, &p, e);
        if (r == 0 && plan_order(b, &p) < 0)
                r = error_set(e, ERROR_PRECONDITION, E2BIG, "BootOrder has no room");
        if (r < 0) {
                bootorder_plan_done(&p);
                return r;
        }
        *ret = p;
        return 0;
}

/* --- writing --------------------------------------------------------------------------------- */

static int not_written(int r, const char *name, struct error *e)
{
        error_set(e, ERROR_PRECONDITION, -r, "cannot write EFI variable %s: %s", name,
                  r == -ENOSPC ? "the firmware's memory is full" : file_strerror(r));
        error_advise(e,
                     "the node starts all the same, by the fallback path of its disk; if it does "
                     "not, choose the disk in the firmware setup");
        return r;
}

int bootorder_apply(const struct env *env, const struct bootorder_plan *p, struct error *e)
{
        _cleanup_(buf_done) struct buf order = BUF_INIT(2 * LIMIT_BOOT_ORDER);
        char name[LOADOPT_NAME_SIZE];
        int r;

        for (size_t i = 0; i < p->n_removed; i++) {
                loadopt_name_format(p->removed[i], name);
                r = efivar_delete(env, name, EFIVAR_GUID_GLOBAL);
                if (r < 0)
                        return not_written(r, name, e);
        }
        loadopt_name_format(p->number, name);
        if (p->write_entry) {
                r = efivar_write(env, name, EFIVAR_GUID_GLOBAL, EFIVAR_PERSISTENT, p->value.data,
                                 p->value.len);
                if (r < 0)
                        return not_written(r, name, e);
        }
        if (!p->write_order)
                return 0;
        r = loadopt_order_format(p->order, p->n_order, &order);
        if (r < 0)
                return error_oom(e);
        r = efivar_write(env, "BootOrder", EFIVAR_GUID_GLOBAL, EFIVAR_PERSISTENT, order.data,
                         order.len);
        return r < 0 ? not_written(r, "BootOrder", e) : 0;
}
