/* SPDX-License-Identifier: Apache-2.0 */
#include "image/vendor.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "upgrade/trust.h" /* and the key databases that it is about */

static int add_entry(const struct sigdb_entry *entry, const uint8_t owner[EFISIG_GUID_SIZE],
                     struct buf *out, struct error *e)
{
        static const uint8_t nobody[EFISIG_GUID_SIZE];
        bool named = memcmp(entry->owner, nobody, sizeof(nobody)) != 0;
        const uint8_t *whose = named ? entry->owner : owner;
        int r = -EOPNOTSUPP;

        if (entry->type == SIGDB_X509)
                r = efisig_list(whose, entry->cert, out);
        else if (entry->type == SIGDB_IMAGE_SHA256)
                r = efisig_hash_list(whose, entry->hash, out);
        if (r == -EOPNOTSUPP)
                return error_set(e, ERROR_CONFIG, EOPNOTSUPP,
                                 "an entry that is neither certificate nor SHA-256 digest");
        if (r == -E2BIG)
                return error_set(e, ERROR_CONFIG, E2BIG, "too much for one variable");
        return r < 0 ? error_oom(e) : 0;
}

static int add_file(const char *path, const uint8_t owner[EFISIG_GUID_SIZE], struct buf *out,
                    unsigned *n, struct error *e)
{
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        int r;

        if (!db)
                return error_oom(e);
        r = sigdb_add_file(db, path, e);
        if (r == 0 && sigdb_ignored(db) > 0)
                r = error_set(e, ERROR_CONFIG, EBADMSG, "an entry that cannot be read");
        for (size_t i = 0; r == 0 && sigdb_at(db, i); i++, ++*n)
                r = add_entry(sigdb_at(db, i), owner, out, e);
        return r < 0 ? error_wrap(e, r, "%s", path) : 0;
}

static int not_hidden(const struct dirent *d)
{
        return d->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_folder(const char *folder, const uint8_t owner[EFISIG_GUID_SIZE], struct buf *out,
                      unsigned *many, struct error *e)
{
        struct dirent **found = NULL;
        int n = scandir(folder, &found, not_hidden, by_bytes), r = 0;

        if (n < 0)
                return errno == ENOENT ? 0
                                       : error_set(e, ERROR_CONFIG, errno, "cannot read %s: %s",
                                                   folder, strerrordesc_np(errno));
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *path = NULL;

                if (r == 0 && asprintf(&path, "%s/%s", folder, found[i]->d_name) < 0) {
                        path = NULL;
                        r = error_oom(e);
                }
                if (r == 0)
                        r = add_file(path, owner, out, many, e);
                free(found[i]);
        }
        free(found);
        return r;
}

int vendor_add(const char *dir, enum efisig_variable v, const uint8_t owner[EFISIG_GUID_SIZE],
               struct buf *out, unsigned *ret_n, struct error *e)
{
        static const char *const endings[] = {".esl", ".auth", ".der", ".pem", ""};
        unsigned n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
                _cleanup_free_ char *path = NULL;
                bool folder = endings[i][0] == '\0';
                int r;

                if (asprintf(&path, "%s/%s%s", dir, efisig_name(v), endings[i]) < 0) {
                        path = NULL;
                        return error_oom(e);
                }
                /* One form of the same thing is enough. */
                if (!folder && (n > 0 || !file_exists(AT_FDCWD, path)))
                        continue;
                r = folder ? add_folder(path, owner, out, &n, e)
                           : add_file(path, owner, out, &n, e);
                if (r < 0)
                        return r;
        }
        *ret_n = n;
        return 0;
}
