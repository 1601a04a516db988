/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/keyset.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "efivars/efivar.h"

static const struct {
        const char *name, *guid;
        bool optional;
} variables[KEYSET_MAX] = {
        [KEYSET_DB] = {"db", EFIVAR_GUID_SECURITY, false},
        [KEYSET_DBX] = {"dbx", EFIVAR_GUID_SECURITY, true},
        [KEYSET_KEK] = {"KEK", EFIVAR_GUID_GLOBAL, false},
        [KEYSET_PK] = {"PK", EFIVAR_GUID_GLOBAL, false},
};

const char *keyset_name(enum keyset_variable v)
{
        return v < KEYSET_MAX ? variables[v].name : NULL;
}

void keyset_done(struct keyset *k)
{
        for (unsigned i = 0; i < KEYSET_MAX; i++) {
                buf_done(&k->item[i].raw);
                sigdb_free(k->item[i].db);
        }
        *k = (struct keyset){0};
}

/* --- reading --------------------------------------------------------------------------------- */

static int take_lists(struct keyset_item *item, const char *source, struct error *e)
{
        item->given = true;
        return sigdb_add_lists(item->db, item->raw.data + item->payload,
                               item->raw.len - item->payload, source, e);
}

static int load_file(const char *dir, enum keyset_variable v, struct keyset_item *item,
                     struct error *e)
{
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/%s.auth", dir, variables[v].name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_read(AT_FDCWD, path, &item->raw);
        if (r == -ENOENT && variables[v].optional)
                return 0;
        if (r < 0) {
                error_set(e, ERROR_CONFIG, -r, "cannot read %s: %s", path, file_strerror(r));
                error_advise(e, "name a folder with PK.auth, KEK.auth and db.auth, as \"tb-image "
                                "keys\" makes it");
                return r;
        }
        r = sigdb_auth_payload(item->raw.data, item->raw.len, &item->payload);
        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "%s: not a signed write of a variable", path);
        r = take_lists(item, path, e);
        if (r == 0 && v != KEYSET_DBX && sigdb_count(item->db) == 0)
                r = error_set(e, ERROR_CONFIG, EBADMSG, "%s: holds no key", path);
        if (r == 0 && v == KEYSET_PK &&
            (sigdb_count(item->db) != 1 || sigdb_at(item->db, 0)->type != SIGDB_X509))
                r = error_set(e, ERROR_CONFIG, EBADMSG, "%s: a platform key is one certificate",
                              path);
        return r;
}

static int read_variable(const struct env *env, enum keyset_variable v, struct keyset_item *item,
                         struct error *e)
{
        int r = efivar_read(env, variables[v].name, variables[v].guid, &item->raw, NULL);

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "cannot read EFI variable %s: %s",
                                 variables[v].name, file_strerror(r));
        r = take_lists(item, variables[v].name, e);
        if (r < 0 && e)
                e->class = ERROR_PRECONDITION;
        return r;
}

/* From the folder, or from the machine. */
static int collect(const struct env *env, const char *dir, struct keyset *ret, struct error *e)
{
        struct keyset k = {0};
        int r = 0;

        for (unsigned i = 0; i < KEYSET_MAX && r == 0; i++) {
                struct keyset_item *item = &k.item[i];

                item->raw = (struct buf)BUF_INIT(LIMIT_EFI_VARIABLE);
                item->db = sigdb_new();
                if (!item->db)
                        r = error_oom(e);
                else if (dir)
                        r = load_file(dir, (enum keyset_variable)i, item, e);
                else
                        r = read_variable(env, (enum keyset_variable)i, item, e);
        }
        if (r < 0) {
                keyset_done(&k);
                return r;
        }
        *ret = k;
        return 0;
}

int keyset_load(const char *dir, struct keyset *ret, struct error *e)
{
        return collect(NULL, dir, ret, e);
}

int keyset_read(const struct env *env, struct keyset *ret, struct error *e)
{
        return collect(env, NULL, ret, e);
}

const void *keyset_lists(const struct keyset *k, enum keyset_variable v, size_t *ret_size)
{
        const struct keyset_item *item = &k->item[v];

        *ret_size = item->given ? item->raw.len - item->payload : 0;
        return *ret_size > 0 ? item->raw.data + item->payload : NULL;
}

/* --- comparing ------------------------------------------------------------------------------- */

static bool contains(const struct sigdb *db, const struct sigdb_entry *entry)
{
        return entry->type == SIGDB_X509 ? sigdb_find_cert(db, entry->cert) != NULL
                                         : sigdb_find_hash(db, entry->type, entry->hash) != NULL;
}

/* Entries of the first that the second has not. */
static void add_changes(const struct keyset_item *has, const struct keyset_item *lacks,
                        enum keyset_variable v, bool added, struct keyset_change *list, size_t *n)
{
        const struct sigdb_entry *entry;

        for (size_t i = 0; (entry = sigdb_at(has->db, i)); i++) {
                if (!contains(lacks->db, entry))
                        list[(*n)++] = (struct keyset_change){v, added, entry};
        }
}

int keyset_compare(const struct keyset *now, const struct keyset *next, struct keyset_change **ret,
                   size_t *ret_n)
{
        struct keyset_change *list;
        size_t n = 0, most = 0;

        for (unsigned i = 0; i < KEYSET_MAX; i++)
                most += sigdb_count(now->item[i].db) + sigdb_count(next->item[i].db);
        list = calloc(most + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        for (unsigned i = 0; i < KEYSET_MAX; i++) {
                const enum keyset_variable v = (enum keyset_variable)i;

                if (!next->item[i].given)
                        continue;
                add_changes(&next->item[i], &now->item[i], v, true, list, &n);
                add_changes(&now->item[i], &next->item[i], v, false, list, &n);
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

static void bio_free_p(BIO **bio)
{
        BIO_free_all(*bio);
        *bio = NULL;
}

static void describe_cert(X509 *cert, char ret[KEYSET_TEXT_SIZE])
{
        const unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)XN_FLAG_DN_REV;
        _cleanup_(bio_free_p) BIO *bio = BIO_new(BIO_s_mem());
        char name[200] = "", hex[SHA256_HEX_SIZE] = "";
        uint8_t fingerprint[SHA256_SIZE];
        unsigned size = 0;

        if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, flags) >= 0)
                (void)BIO_read(bio, name, (int)sizeof(name) - 1);
        if (X509_digest(cert, EVP_sha256(), fingerprint, &size) == 1 && size == SHA256_SIZE)
                hex_encode(fingerprint, SHA256_SIZE, hex);
        (void)snprintf(ret, KEYSET_TEXT_SIZE, "certificate %s, SHA-256 %s", name, hex);
}

void keyset_describe(const struct sigdb_entry *entry, char ret[KEYSET_TEXT_SIZE])
{
        const bool image = entry->type == SIGDB_IMAGE_SHA256 || entry->type == SIGDB_IMAGE_SHA384 ||
                           entry->type == SIGDB_IMAGE_SHA512;
        const size_t size = sigdb_hash_size(entry->type);
        char hex[2 * SIGDB_HASH_MAX + 1];

        if (entry->type == SIGDB_X509) {
                describe_cert(entry->cert, ret);
                return;
        }
        hex_encode(entry->hash, size, hex);
        (void)snprintf(ret, KEYSET_TEXT_SIZE, "hash of %s, SHA-%zu %s",
                       image ? "an image" : "a certificate", 8 * size, hex);
}

/* --- writing --------------------------------------------------------------------------------- */

/* 1 when the variable has this content, 0 when not. */
static int has_content(const struct env *env, const struct keyset *k, enum keyset_variable v)
{
        _cleanup_(buf_done) struct buf now = BUF_INIT(LIMIT_EFI_VARIABLE);
        size_t n;
        const void *lists = keyset_lists(k, v, &n);
        int r = efivar_read(env, variables[v].name, variables[v].guid, &now, NULL);

        if (r == -ENOENT)
                return n == 0;
        return r < 0 ? r : now.len == n && (n == 0 || memcmp(now.data, lists, n) == 0);
}

static int write_variable(const struct env *env, const struct keyset *k, enum keyset_variable v,
                          struct error *e)
{
        const struct keyset_item *item = &k->item[v];
        int r = has_content(env, k, v);

        if (r == 0) {
                r = efivar_write(env, variables[v].name, variables[v].guid,
                                 EFIVAR_PERSISTENT | EFIVAR_AUTHENTICATED, item->raw.data,
                                 item->raw.len);
                if (r == 0)
                        r = has_content(env, k, v);
                if (r == 0)
                        return error_set(e, ERROR_PRECONDITION, EKEYREJECTED,
                                         "the firmware did not take %s as it was written",
                                         variables[v].name);
        }
        if (r > 0)
                return 0;
        return error_set(e, ERROR_PRECONDITION, -r, "cannot write EFI variable %s: %s",
                         variables[v].name,
                         r == -ENOSPC ? "the firmware's memory is full" : file_strerror(r));
}

int keyset_write(const struct env *env, const struct keyset *k, struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < KEYSET_MAX && r == 0; i++) {
                if (k->item[i].given)
                        r = write_variable(env, k, (enum keyset_variable)i, e);
        }
        return r;
}
