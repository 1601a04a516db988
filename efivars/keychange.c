/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/keychange.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "efivars/efivar.h"

#define GUID_SIZE 16u
/* EFI_SIGNATURE_LIST: type, size of all, of a header, of each entry. */
#define LIST_SIZE (GUID_SIZE + 12u)

static const char *guid_of(enum keyset_variable v)
{
        return v == KEYSET_DB || v == KEYSET_DBX ? EFIVAR_GUID_SECURITY : EFIVAR_GUID_GLOBAL;
}

void keychange_done(struct keychange *k)
{
        for (unsigned i = 0; i < KEYSET_MAX; i++) {
                buf_done(&k->item[i].write);
                buf_done(&k->item[i].now);
                buf_done(&k->item[i].next);
        }
        *k = (struct keychange){.n = 0};
}

/* --- appending ------------------------------------------------------------------------------- */

struct list {
        const uint8_t *p;
        uint32_t size, header, each;
};

/* -EBADMSG for a list that does not fit into its n bytes, or whose entries do not fill it. */
static int list_at(const uint8_t *p, size_t n, struct list *ret)
{
        struct list l = {.p = p};

        if (n < LIST_SIZE)
                return -EBADMSG;
        l.size = le32_at(p + GUID_SIZE);
        l.header = le32_at(p + GUID_SIZE + 4);
        l.each = le32_at(p + GUID_SIZE + 8);
        if (l.size < LIST_SIZE || l.size > n || l.header > l.size - LIST_SIZE ||
            l.each <= GUID_SIZE || (l.size - LIST_SIZE - l.header) % l.each != 0)
                return -EBADMSG;
        *ret = l;
        return 0;
}

/* Whether lists of the same type and entry size hold the entry. */
static bool holds(const struct buf *lists, const struct list *of, const uint8_t *entry)
{
        struct list l;

        for (size_t at = 0; at < lists->len; at += l.size) {
                if (list_at(lists->data + at, lists->len - at, &l) < 0)
                        return false;
                if (l.each != of->each || memcmp(l.p, of->p, GUID_SIZE) != 0)
                        continue;
                for (uint32_t i = LIST_SIZE + l.header; i < l.size; i += l.each)
                        if (memcmp(l.p + i, entry, l.each) == 0)
                                return true;
        }
        return false;
}

/* The list without the entries that are there. */
static int append_list(const struct buf *now, const struct list *l, struct buf *out)
{
        size_t begin = out->len, head = LIST_SIZE + l->header;
        uint32_t kept = 0;
        int r = buf_add(out, l->p, head);

        for (uint32_t i = (uint32_t)head; i < l->size && r == 0; i += l->each) {
                if (holds(now, l, l->p + i))
                        continue;
                r = buf_add(out, l->p + i, l->each);
                kept++;
        }
        if (r < 0)
                return r;
        if (kept == 0)
                out->len = begin;
        else
                put_le32(out->data + begin + GUID_SIZE, (uint32_t)(out->len - begin));
        return 0;
}

int keychange_append(const struct buf *now, const void *data, size_t n, struct buf *ret)
{
        const uint8_t *p = data;
        struct list l;
        int r = buf_add(ret, now->data, now->len);

        for (size_t at = 0; at < n && r == 0; at += l.size) {
                r = list_at(p + at, n - at, &l);
                if (r == 0)
                        r = append_list(now, &l, ret);
        }
        return r;
}

/* --- reading --------------------------------------------------------------------------------- */

static int read_now(const struct env *env, enum keyset_variable v, struct keychange_item *item,
                    struct error *e)
{
        int r = efivar_read(env, keyset_name(v), guid_of(v), &item->now, NULL);

        item->exists = r == 0;
        if (r == -ENOENT)
                r = 0;
        if (r == 0)
                r = buf_add(&item->next, item->now.data, item->now.len);
        return r < 0 ? error_set(e, ERROR_PRECONDITION, -r, "cannot read EFI variable %s: %s",
                                 keyset_name(v), file_strerror(r))
                     : 0;
}

static int no_such_form(const char *word, struct error *e)
{
        error_set(e, ERROR_USAGE, EINVAL, "%s: not a change of a key variable", word);
        error_advise(e, "write VARIABLE=FILE to replace or VARIABLE+=FILE to add, where VARIABLE "
                        "is PK, KEK, db or dbx");
        return -EINVAL;
}

/* "db+=FILE" -> variable and file. */
static int take_apart(const char *word, enum keyset_variable *ret, bool *ret_append,
                      const char **ret_path)
{
        size_t n = strcspn(word, "+=");

        for (unsigned i = 0; i < KEYSET_MAX; i++) {
                const char *name = keyset_name((enum keyset_variable)i);

                if (strlen(name) != n || strncmp(word, name, n) != 0)
                        continue;
                *ret = (enum keyset_variable)i;
                *ret_append = word[n] == '+';
                n += *ret_append;
                if (word[n] != '=' || !word[n + 1])
                        return -EINVAL;
                *ret_path = word + n + 1;
                return 0;
        }
        return -EINVAL;
}

static int read_write(const char *path, struct keychange_item *item, struct error *e)
{
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        size_t payload;
        int r = db ? file_read(AT_FDCWD, path, &item->write) : -ENOMEM;

        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "cannot read %s: %s", path, file_strerror(r));
        r = sigdb_auth_payload(item->write.data, item->write.len, &payload);
        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "%s: not a signed write of a variable", path);
        r = sigdb_add_lists(db, item->write.data + payload, item->write.len - payload, path, e);
        if (r < 0)
                return r;
        buf_reset(&item->next);
        r = item->append
                    ? keychange_append(&item->now, item->write.data + payload,
                                       item->write.len - payload, &item->next)
                    : buf_add(&item->next, item->write.data + payload, item->write.len - payload);
        return r < 0 ? error_set(e, ERROR_CONFIG, -r, "%s: %s", path, file_strerror(r)) : 0;
}

static int add_file(struct keychange *k, const char *word, struct error *e)
{
        struct keychange_item *item;
        enum keyset_variable v;
        const char *path;
        bool append;

        if (take_apart(word, &v, &append, &path) < 0)
                return no_such_form(word, e);
        item = &k->item[v];
        if (item->given)
                return error_set(e, ERROR_USAGE, EINVAL, "%s is named twice", keyset_name(v));
        item->given = true;
        item->append = append;
        k->order[k->n++] = v;
        return read_write(path, item, e);
}

int keychange_read(const struct env *env, const char *const *files, unsigned n,
                   struct keychange *ret, struct error *e)
{
        struct keychange k = {.n = 0};
        int r = 0;

        for (unsigned i = 0; i < KEYSET_MAX; i++) {
                k.item[i].write = (struct buf)BUF_INIT(LIMIT_EFI_VARIABLE);
                k.item[i].now = (struct buf)BUF_INIT(LIMIT_EFI_VARIABLE);
                k.item[i].next = (struct buf)BUF_INIT(LIMIT_EFI_VARIABLE);
        }
        for (unsigned i = 0; i < KEYSET_MAX && r == 0; i++)
                r = read_now(env, (enum keyset_variable)i, &k.item[i], e);
        for (unsigned i = 0; i < n && r == 0; i++)
                r = add_file(&k, files[i], e);
        if (r < 0) {
                keychange_done(&k);
                return r;
        }
        *ret = k;
        return 0;
}

/* --- writing --------------------------------------------------------------------------------- */

static bool same(const struct buf *a, const struct buf *b)
{
        return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

bool keychange_differs(const struct keychange *k)
{
        for (unsigned i = 0; i < KEYSET_MAX; i++)
                if (!same(&k->item[i].now, &k->item[i].next))
                        return true;
        return false;
}

static int write_item(const struct env *env, enum keyset_variable v,
                      const struct keychange_item *item, struct error *e)
{
        _cleanup_(buf_done) struct buf seen = BUF_INIT(LIMIT_EFI_VARIABLE);
        uint32_t attributes =
                EFIVAR_PERSISTENT | EFIVAR_AUTHENTICATED | (item->append ? EFIVAR_APPEND : 0);
        int r = efivar_write(env, keyset_name(v), guid_of(v), attributes, item->write.data,
                             item->write.len);

        if (r == 0)
                r = efivar_read(env, keyset_name(v), guid_of(v), &seen, NULL);
        if (r == -EACCES || r == -EINVAL) {
                error_set(e, ERROR_PRECONDITION, -r, "the firmware refuses the write of %s",
                          keyset_name(v));
                error_advise(e,
                             "it has to be signed by a key of %s, for this variable%s, with a "
                             "newer time than the last one",
                             v == KEYSET_DB || v == KEYSET_DBX ? "KEK" : "PK",
                             item->append ? " and for appending" : "");
                return r;
        }
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "cannot write EFI variable %s: %s",
                                 keyset_name(v),
                                 r == -ENOSPC ? "the firmware's memory is full" : file_strerror(r));
        return same(&seen, &item->next)
                       ? 0
                       : error_set(e, ERROR_PRECONDITION, EKEYREJECTED,
                                   "the firmware made something else of %s than was predicted",
                                   keyset_name(v));
}

int keychange_write(const struct env *env, const struct keychange *k, bool *ret_written,
                    struct error *e)
{
        int r = 0;

        memset(ret_written, 0, KEYSET_MAX * sizeof(*ret_written));
        for (unsigned i = 0; i < k->n && r == 0; i++) {
                enum keyset_variable v = k->order[i];

                if (same(&k->item[v].now, &k->item[v].next))
                        continue;
                r = write_item(env, v, &k->item[v], e);
                ret_written[v] = r == 0;
        }
        return r;
}
