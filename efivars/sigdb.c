/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/sigdb.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "efivars/efivar.h"

#define GUID_SIZE SIGDB_GUID_SIZE
#define LIST_HEADER_SIZE 28u /* type GUID, list size, header size, signature size */
#define EFI_TIME_SIZE 16u
#define CERT_HEADER_SIZE 24u /* WIN_CERTIFICATE and the GUID of its type */
#define CERT_REVISION 0x0200u
#define CERT_TYPE_EFI_GUID 0x0ef1u

struct sigdb {
        struct sigdb_entry **entries;
        size_t n, allocated;
        size_t ignored;
};

/* Types of UEFI 2.10, section 32.4.1, in EFI byte order. size: bytes of the data without the owner,
 * 0 = any. */
static const struct {
        uint8_t guid[GUID_SIZE];
        uint32_t size;
        uint8_t hash_size;
} types[SIGDB_TYPE_MAX] = {
        [SIGDB_X509] = {{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15,
                         0x5c, 0x2b, 0xf0, 0x72},
                        0,
                        0},
        [SIGDB_IMAGE_SHA256] = {{0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41,
                                 0xf9, 0x36, 0x93, 0x43, 0x28},
                                32,
                                32},
        [SIGDB_IMAGE_SHA384] = {{0x07, 0x53, 0x3e, 0xff, 0xd0, 0x9f, 0xc9, 0x48, 0x85, 0xf1, 0x8a,
                                 0xd5, 0x6c, 0x70, 0x1e, 0x01},
                                48,
                                48},
        [SIGDB_IMAGE_SHA512] = {{0xae, 0x0f, 0x3e, 0x09, 0xc4, 0xa6, 0x50, 0x4f, 0x9f, 0x1b, 0xd4,
                                 0x1e, 0x2b, 0x89, 0xc1, 0x9a},
                                64,
                                64},
        [SIGDB_TBS_SHA256] = {{0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc,
                               0xf9, 0x8e, 0xf1, 0x03, 0xed},
                              32 + EFI_TIME_SIZE,
                              32},
        [SIGDB_TBS_SHA384] = {{0x6e, 0x87, 0x76, 0x70, 0xc2, 0x80, 0xe6, 0x4e, 0xaa, 0xd2, 0x28,
                               0xb3, 0x49, 0xa6, 0x86, 0x5b},
                              48 + EFI_TIME_SIZE,
                              48},
        [SIGDB_TBS_SHA512] = {{0x63, 0xbf, 0x6d, 0x44, 0x02, 0x25, 0xda, 0x4c, 0xbc, 0xfa, 0x24,
                               0x65, 0xd2, 0xb0, 0xfe, 0x9d},
                              64 + EFI_TIME_SIZE,
                              64},
};

/* EFI_CERT_TYPE_PKCS7_GUID: the only type of certificate a time-based write may carry. */
static const uint8_t guid_pkcs7[GUID_SIZE] = {0x9d, 0xd2, 0xaf, 0x4a, 0xdf, 0x68, 0xee, 0x49,
                                              0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7};

/* Where the bytes come from: the class of what is wrong with them, and the name for messages. */
struct source {
        enum error_class class;
        const char *name;
};

#define bad(e, s, fmt, ...)                                                                        \
        error_set(e, (s)->class, EBADMSG, "%s: " fmt, (s)->name __VA_OPT__(, ) __VA_ARGS__)

static void bio_free_p(BIO **bio)
{
        BIO_free_all(*bio);
        *bio = NULL;
}

static void x509_free_p(X509 **cert)
{
        X509_free(*cert);
        *cert = NULL;
}

struct sigdb *sigdb_new(void)
{
        return calloc(1, sizeof(struct sigdb));
}

static void entry_free(struct sigdb_entry *entry)
{
        X509_free(entry->cert);
        free(entry);
}

static void truncate_to(struct sigdb *db, size_t n)
{
        while (db->n > n)
                entry_free(db->entries[--db->n]);
}

void sigdb_free(struct sigdb *db)
{
        if (!db)
                return;
        truncate_to(db, 0);
        free(db->entries);
        free(db);
}

size_t sigdb_hash_size(enum sigdb_type type)
{
        return types[type].hash_size;
}

static int append(struct sigdb *db, struct sigdb_entry **ret, const struct source *s,
                  struct error *e)
{
        struct sigdb_entry *entry;

        if (db->n >= LIMIT_SIGDB_ENTRIES)
                return error_set(e, s->class, E2BIG, "%s: more than %u entries", s->name,
                                 LIMIT_SIGDB_ENTRIES);
        if (db->n == db->allocated) {
                size_t wanted = db->allocated ? 2 * db->allocated : 64;
                struct sigdb_entry **grown =
                        reallocarray(db->entries, wanted, sizeof(struct sigdb_entry *));

                if (!grown)
                        return error_oom(e);
                db->entries = grown;
                db->allocated = wanted;
        }
        entry = calloc(1, sizeof(*entry));
        if (!entry)
                return error_oom(e);
        db->entries[db->n++] = entry;
        *ret = entry;
        return 0;
}

static int append_cert(struct sigdb *db, const uint8_t owner[GUID_SIZE], X509 *cert,
                       const struct source *s, struct error *e)
{
        struct sigdb_entry *entry;
        int r = append(db, &entry, s, e);

        if (r < 0)
                return r;
        entry->type = SIGDB_X509;
        memcpy(entry->owner, owner, GUID_SIZE);
        if (X509_up_ref(cert) != 1)
                return error_oom(e);
        entry->cert = cert;
        return 0;
}

/* NULL when the bytes are no certificate. *ret_rest: how many follow it. */
static X509 *read_der(const uint8_t *der, size_t n, size_t *ret_rest)
{
        const uint8_t *p = der;
        X509 *cert;

        if (n == 0 || n > LIMIT_EFI_VARIABLE)
                return NULL;
        cert = d2i_X509(NULL, &p, (long)n);
        ERR_clear_error();
        *ret_rest = n - (size_t)(p - der);
        return cert;
}

static struct sigdb_time read_time(const uint8_t *p)
{
        return (struct sigdb_time){
                .year = le16_at(p),
                .month = p[2],
                .day = p[3],
                .hour = p[4],
                .minute = p[5],
                .second = p[6],
        };
}

/* One EFI_SIGNATURE_DATA: n bytes, the owner first. */
static int add_signature(struct sigdb *db, enum sigdb_type type, const uint8_t *p, size_t n,
                         const struct source *s, struct error *e)
{
        struct sigdb_entry *entry;
        int r;

        if (type == SIGDB_X509) {
                size_t rest;
                _cleanup_(x509_free_p) X509 *cert = read_der(p + GUID_SIZE, n - GUID_SIZE, &rest);

                if (cert) /* padding behind it is what firmware takes too */
                        return append_cert(db, p, cert, s, e);
                /* Firmware cannot read it either: it neither allows nor revokes anything. */
                db->ignored++;
                return 0;
        }
        r = append(db, &entry, s, e);
        if (r < 0)
                return r;
        entry->type = type;
        memcpy(entry->owner, p, GUID_SIZE);
        memcpy(entry->hash, p + GUID_SIZE, types[type].hash_size);
        if (types[type].size > types[type].hash_size)
                entry->revoked = read_time(p + GUID_SIZE + types[type].hash_size);
        return 0;
}

static enum sigdb_type find_type(const uint8_t *guid)
{
        enum sigdb_type type = 0;

        while (type < SIGDB_TYPE_MAX && memcmp(types[type].guid, guid, GUID_SIZE) != 0)
                type++;
        return type;
}

/* One EFI_SIGNATURE_LIST at p, of which n bytes are there. */
static int add_list(struct sigdb *db, const uint8_t *p, size_t n, size_t *ret_size,
                    const struct source *s, struct error *e)
{
        enum sigdb_type type;
        uint64_t list_size, header_size, size, room;
        int r;

        if (n < LIST_HEADER_SIZE)
                return bad(e, s, "%zu bytes are left where a signature list should begin", n);
        type = find_type(p);
        list_size = le32_at(p + 16);
        header_size = le32_at(p + 20);
        size = le32_at(p + 24);
        if (list_size > n || list_size < LIST_HEADER_SIZE ||
            header_size > list_size - LIST_HEADER_SIZE)
                return bad(e, s, "signature list of %llu bytes (header %llu) where %zu are left",
                           (unsigned long long)list_size, (unsigned long long)header_size, n);
        room = list_size - LIST_HEADER_SIZE - header_size;
        if (size <= GUID_SIZE || room % size != 0)
                return bad(e, s, "entries of %llu bytes do not fill a signature list of %llu",
                           (unsigned long long)size, (unsigned long long)list_size);
        if (type < SIGDB_TYPE_MAX && types[type].size > 0 && size != GUID_SIZE + types[type].size)
                return bad(e, s, "signature list with entries of %llu bytes, its type has %u",
                           (unsigned long long)size, GUID_SIZE + types[type].size);
        if (type == SIGDB_TYPE_MAX)
                db->ignored += (size_t)(room / size);
        for (uint64_t at = 0; type < SIGDB_TYPE_MAX && at < room; at += size) {
                r = add_signature(db, type, p + LIST_HEADER_SIZE + header_size + at, (size_t)size,
                                  s, e);
                if (r < 0)
                        return r;
        }
        *ret_size = (size_t)list_size;
        return 0;
}

static int add_lists(struct sigdb *db, const uint8_t *p, size_t n, const struct source *s,
                     struct error *e)
{
        size_t before = db->n, ignored = db->ignored, size = 0;

        if (n > LIMIT_EFI_VARIABLE)
                return error_set(e, s->class, E2BIG, "%s: %zu bytes, at most %llu are accepted",
                                 s->name, n, (unsigned long long)LIMIT_EFI_VARIABLE);
        for (size_t at = 0; at < n; at += size) {
                int r = add_list(db, p + at, n - at, &size, s, e);

                if (r < 0) {
                        truncate_to(db, before);
                        db->ignored = ignored;
                        return r;
                }
        }
        return 0;
}

int sigdb_add_lists(struct sigdb *db, const void *data, size_t n, const char *source,
                    struct error *e)
{
        const struct source s = {ERROR_CONFIG, source};

        return add_lists(db, data, n, &s, e);
}

int sigdb_add_variable(struct sigdb *db, const struct env *env, const char *name, struct error *e)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_EFI_VARIABLE);
        const struct source s = {ERROR_PRECONDITION, name};
        int r;

        r = efivar_read(env, name, EFIVAR_GUID_SECURITY, &value, NULL);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "cannot read the variable %s: %s", name,
                                 strerror(-r));
        r = add_lists(db, value.data, value.len, &s, e);
        return r < 0 ? r : 1;
}

static bool is_auth(const uint8_t *p, size_t n)
{
        const uint8_t *cert = p + EFI_TIME_SIZE;

        return n >= EFI_TIME_SIZE + CERT_HEADER_SIZE && le16_at(cert + 4) == CERT_REVISION &&
               le16_at(cert + 6) == CERT_TYPE_EFI_GUID &&
               memcmp(cert + 8, guid_pkcs7, GUID_SIZE) == 0;
}

int sigdb_auth_payload(const void *data, size_t n, size_t *ret)
{
        uint64_t size;

        if (n < EFI_TIME_SIZE + CERT_HEADER_SIZE || !is_auth(data, n))
                return -EBADMSG;
        size = le32_at((const uint8_t *)data + EFI_TIME_SIZE);
        if (size < CERT_HEADER_SIZE || !range_fits(EFI_TIME_SIZE, size, n))
                return -EBADMSG;
        *ret = EFI_TIME_SIZE + (size_t)size;
        return 0;
}

static int add_auth(struct sigdb *db, const uint8_t *p, size_t n, const struct source *s,
                    struct error *e)
{
        size_t at;

        if (sigdb_auth_payload(p, n, &at) < 0)
                return bad(e, s, "signature of %u bytes in a file of %zu",
                           le32_at(p + EFI_TIME_SIZE), n);
        return add_lists(db, p + at, n - at, s, e);
}

static bool is_pem(const struct buf *content)
{
        static const char begin[] = "-----BEGIN ";

        return memmem(content->data, content->len, begin, sizeof(begin) - 1) != NULL;
}

/* Certificates only: a private key that stands among them is no reason to look further. */
static int add_pem(struct sigdb *db, const struct buf *content, const struct source *s,
                   struct error *e)
{
        static const uint8_t nobody[GUID_SIZE];
        _cleanup_(bio_free_p) BIO *bio = BIO_new_mem_buf(content->data, (int)content->len);
        size_t before = db->n;
        unsigned long why;
        int r = 0;

        if (!bio)
                return error_oom(e);
        for (;;) {
                _cleanup_(x509_free_p) X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

                if (!cert)
                        break;
                r = append_cert(db, nobody, cert, s, e);
                if (r < 0)
                        break;
        }
        why = ERR_peek_last_error();
        ERR_clear_error();
        if (r == 0 && (db->n == before || ERR_GET_LIB(why) != ERR_LIB_PEM ||
                       ERR_GET_REASON(why) != PEM_R_NO_START_LINE))
                r = bad(e, s, "a certificate in it cannot be read");
        if (r < 0)
                truncate_to(db, before);
        return r;
}

static int add_content(struct sigdb *db, const struct buf *content, const struct source *s,
                       struct error *e)
{
        static const uint8_t nobody[GUID_SIZE];
        _cleanup_(x509_free_p) X509 *cert = NULL;
        size_t rest;

        if (content->len == 0)
                return bad(e, s, "the file is empty");
        if (is_auth(content->data, content->len))
                return add_auth(db, content->data, content->len, s, e);
        cert = read_der(content->data, content->len, &rest);
        if (cert && rest == 0)
                return append_cert(db, nobody, cert, s, e);
        if (content->len >= LIST_HEADER_SIZE && find_type(content->data) < SIGDB_TYPE_MAX)
                return add_lists(db, content->data, content->len, s, e);
        if (is_pem(content))
                return add_pem(db, content, s, e);
        return bad(e, s, "neither signature lists (.esl, .auth) nor a certificate (DER, PEM)");
}

int sigdb_add_file(struct sigdb *db, const char *path, struct error *e)
{
        _cleanup_(buf_done) struct buf content = BUF_INIT(LIMIT_EFI_VARIABLE);
        const struct source s = {ERROR_CONFIG, path};
        size_t before = db->n, ignored = db->ignored;
        int r;

        r = file_read(AT_FDCWD, path, &content);
        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "cannot read %s: %s", path, file_strerror(r));
        r = add_content(db, &content, &s, e);
        /* Somebody named this file to say something with it: nothing is not what was meant. */
        if (r == 0 && db->n == before) {
                db->ignored = ignored;
                r = bad(e, &s, "it holds no entry of a known type");
        }
        return r;
}

const struct sigdb_entry *sigdb_at(const struct sigdb *db, size_t i)
{
        return i < db->n ? db->entries[i] : NULL;
}

size_t sigdb_count(const struct sigdb *db)
{
        return db->n;
}

size_t sigdb_ignored(const struct sigdb *db)
{
        return db->ignored;
}

const struct sigdb_entry *sigdb_find_hash(const struct sigdb *db, enum sigdb_type type,
                                          const uint8_t *hash)
{
        for (size_t i = 0; i < db->n; i++)
                if (db->entries[i]->type == type && types[type].hash_size > 0 &&
                    memcmp(db->entries[i]->hash, hash, types[type].hash_size) == 0)
                        return db->entries[i];
        return NULL;
}

const struct sigdb_entry *sigdb_find_cert(const struct sigdb *db, const X509 *cert)
{
        for (size_t i = 0; i < db->n; i++)
                if (db->entries[i]->type == SIGDB_X509 && X509_cmp(db->entries[i]->cert, cert) == 0)
                        return db->entries[i];
        return NULL;
}

/* The to-be-signed part is the first element of the certificate, with its tag and length. */
static bool find_tbs(const uint8_t *der, long n, const uint8_t **ret, size_t *ret_size)
{
        const uint8_t *p = der, *content;
        int tag, class;
        long length;

        if ((ASN1_get_object(&p, &length, &tag, &class, n) & 0x80) != 0 || tag != V_ASN1_SEQUENCE)
                return false;
        content = p;
        if ((ASN1_get_object(&p, &length, &tag, &class, length) & 0x80) != 0)
                return false;
        *ret = content;
        *ret_size = (size_t)(p - content) + (size_t)length;
        return true;
}

const struct sigdb_entry *sigdb_find_tbs(const struct sigdb *db, const X509 *cert)
{
        const struct {
                enum sigdb_type type;
                const EVP_MD *md;
        } kinds[] = {
                {SIGDB_TBS_SHA256, EVP_sha256()},
                {SIGDB_TBS_SHA384, EVP_sha384()},
                {SIGDB_TBS_SHA512, EVP_sha512()},
        };
        const struct sigdb_entry *found = NULL;
        const uint8_t *tbs;
        uint8_t *der = NULL;
        size_t size;
        int n = i2d_X509(cert, &der);

        if (n <= 0)
                return NULL;
        for (size_t i = 0; i < ARRAY_SIZE(kinds) && !found; i++) {
                uint8_t hash[EVP_MAX_MD_SIZE];

                if (find_tbs(der, n, &tbs, &size) &&
                    EVP_Digest(tbs, size, hash, NULL, kinds[i].md, NULL) == 1)
                        found = sigdb_find_hash(db, kinds[i].type, hash);
        }
        OPENSSL_free(der);
        return found;
}
