/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image keys: the Secure Boot key hierarchy and the PCR policy key. */
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "image/efisig.h"
#include "image/epoch.h"
#include "image/keyfile.h"
#include "image/later.h"
#include "image/token.h"
#include "image/vendor.h"
#include "image/verb.h"
#include "image/words.h"

#define FILE_NAME_MAX 40u
#define FILES_MAX 32u
#define SERIAL_SIZE 16u
/* Label of the policy key in a token; the others are called as their variables are. */
#define TOKEN_POLICY_OBJECT "tpm2-pcr"
#define TOKEN_LATER_OBJECT "tpm2-pcr-later"
#define SECONDS_PER_DAY 86400L

struct settings {
        const char *dir;
        const char *name;
        const char *from;   /* certificates of others; NULL: none */
        struct later later; /* phases of a second policy key; only the paths are used */
        const char *token;  /* URI of the token that has the keys; NULL: make them */
        unsigned days;
        unsigned bits;
        uint64_t epoch; /* timestamp of the variable writes */
};

struct keys {
        int dir;
        bool dir_made;
        unsigned n_vendor; /* entries of others */
        unsigned n_files;  /* what to remove when something fails */
        char files[FILES_MAX][FILE_NAME_MAX];
        uint8_t owner[EFISIG_GUID_SIZE];
        EVP_PKEY *key[EFISIG_VARIABLE_MAX];
        X509 *cert[EFISIG_VARIABLE_MAX];
};

static void keys_done(struct keys *k)
{
        for (unsigned i = 0; i < EFISIG_VARIABLE_MAX; i++) {
                EVP_PKEY_free(k->key[i]);
                X509_free(k->cert[i]);
        }
        close_p(&k->dir);
}

static void bio_free_p(BIO **bio)
{
        BIO_free_all(*bio);
        *bio = NULL;
}

/* Creates one file; it must not exist. */
static int put_file(struct keys *k, const char *name, const void *data, size_t n, mode_t mode,
                    struct error *e)
{
        _cleanup_close_ int fd =
                openat(k->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        int r;

        if (fd < 0 && errno == EEXIST)
                return error_set(e, ERROR_CONFIG, EEXIST, "%s exists", name);
        if (fd < 0)
                return error_errno(e, errno, "cannot create %s", name);
        (void)snprintf(k->files[k->n_files++], FILE_NAME_MAX, "%s", name);
        r = file_write(fd, data, n);
        if (r == 0)
                r = file_sync(fd);
        return r < 0 ? error_errno(e, -r, "cannot write %s", name) : 0;
}

/* The same for a key file of a variable: <variable><suffix>. */
static int put_named(struct keys *k, enum efisig_variable v, const char *suffix, const void *data,
                     size_t n, mode_t mode, struct error *e)
{
        char name[FILE_NAME_MAX];

        (void)snprintf(name, sizeof(name), "%s%s", efisig_name(v), suffix);
        return put_file(k, name, data, n, mode, e);
}

static int put_bio(struct keys *k, const char *name, BIO *bio, mode_t mode, struct error *e)
{
        char *data = NULL;
        long n = BIO_get_mem_data(bio, &data);

        if (n <= 0)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot encode %s", name);
        return put_file(k, name, data, (size_t)n, mode, e);
}

static int put_private(struct keys *k, const char *name, EVP_PKEY *key, struct error *e)
{
        _cleanup_(bio_free_p) BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when freed */

        if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot encode %s", name);
        return put_bio(k, name, bio, 0600, e);
}

static int generate(unsigned bits, EVP_PKEY **ret, struct error *e)
{
        EVP_PKEY *key = EVP_RSA_gen(bits);

        if (!key)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot generate an RSA key of %u bits",
                                 bits);
        *ret = key;
        return 0;
}

/* The key of that name in the token. Attributes of the path stand in front of those of the query
 * (pin-source), which begin with a question mark. */
static int take_from_token(struct keys *k, const char *token, const char *file, const char *object,
                           EVP_PKEY **ret, struct error *e)
{
        const char *query = strchr(token, '?');
        int path = (int)(query ? query - token : (long)strlen(token)), r;
        bool first = token[strlen(TOKEN_SCHEME)] == '\0' || path == (int)strlen(TOKEN_SCHEME);
        _cleanup_(buf_done) struct buf uri = BUF_INIT(TOKEN_URI_MAX);

        if (buf_printf(&uri, "%.*s%sobject=%s;type=private%s\n", path, token, first ? "" : ";",
                       object, query ? query : "") < 0)
                return error_set(e, ERROR_USAGE, E2BIG, "--pkcs11 is too long");
        uri.data[uri.len - 1] = '\0';
        r = token_private(buf_str(&uri), ret, e);
        if (r == 0)
                r = keyfile_check_private(*ret, object, e);
        if (r < 0)
                return error_wrap(e, r, "key \"%s\"", object);
        uri.data[uri.len - 1] = '\n';
        return put_file(k, file, uri.data, uri.len, 0600, e);
}

/* A private key, and the file that holds or names it. object is its label in a token. */
static int make_key(struct keys *k, const struct settings *s, const char *file, const char *object,
                    EVP_PKEY **ret, struct error *e)
{
        int r;

        if (s->token)
                return take_from_token(k, s->token, file, object, ret, e);
        r = generate(s->bits, ret, e);
        return r == 0 ? put_private(k, file, *ret, e) : r;
}

static int add_extension(X509 *cert, int nid, const char *value)
{
        X509V3_CTX ctx;
        X509_EXTENSION *ext;
        int r;

        X509V3_set_ctx_nodb(&ctx);
        X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
        ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        if (!ext)
                return -EIO;
        r = X509_add_ext(cert, ext, -1) == 1 ? 0 : -ENOMEM;
        X509_EXTENSION_free(ext);
        return r;
}

static int set_identity(X509 *cert, const struct settings *s, enum efisig_variable v)
{
        uint8_t serial[SERIAL_SIZE];
        BIGNUM *bn;
        X509_NAME *name = X509_get_subject_name(cert);
        _cleanup_free_ char *cn = NULL;
        int r;

        r = random_bytes(serial, sizeof(serial));
        if (r < 0)
                return r;
        serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive, full length */
        bn = BN_bin2bn(serial, sizeof(serial), NULL);
        if (!bn)
                return -ENOMEM;
        r = BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) ? 0 : -ENOMEM;
        BN_free(bn);
        if (r < 0)
                return r;
        if (asprintf(&cn, "%s %s", s->name, efisig_name(v)) < 0) {
                cn = NULL;
                return -ENOMEM;
        }
        if (X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0) !=
                    1 ||
            X509_set_issuer_name(cert, name) != 1)
                return -EINVAL;
        return 0;
}

/* Self-signed end-entity certificate. Firmware ignores its dates; the tools of build machines do
 * not, so it starts a day early for those whose clocks differ. */
static int certify(const struct settings *s, enum efisig_variable v, EVP_PKEY *key, X509 *cert)
{
        int r;

        if (X509_set_version(cert, X509_VERSION_3) != 1 ||
            !X509_gmtime_adj(X509_getm_notBefore(cert), -SECONDS_PER_DAY) ||
            !X509_gmtime_adj(X509_getm_notAfter(cert), (long)s->days * SECONDS_PER_DAY) ||
            X509_set_pubkey(cert, key) != 1)
                return -ENOMEM;
        r = set_identity(cert, s, v);
        if (r == 0)
                r = add_extension(cert, NID_basic_constraints, "critical,CA:FALSE");
        if (r == 0)
                r = add_extension(cert, NID_key_usage, "critical,digitalSignature");
        if (r == 0 && v == EFISIG_DB)
                r = add_extension(cert, NID_ext_key_usage, "codeSigning");
        if (r == 0)
                r = add_extension(cert, NID_subject_key_identifier, "hash");
        if (r < 0)
                return r;
        return X509_sign(cert, key, EVP_sha256()) > 0 ? 0 : -EIO;
}

/* What is to be in the databases besides our own. A machine has one PK: that is ours. */
static int add_vendors(struct keys *k, const struct settings *s, enum efisig_variable v,
                       struct buf *list, struct error *e)
{
        unsigned n = 0;
        int r = vendor_add(s->from, v, k->owner, list, &n, e);

        k->n_vendor += n;
        return r;
}

/* Key, certificate and signature list of one variable. list gets the content of the latter. */
static int make_pair(struct keys *k, const struct settings *s, enum efisig_variable v,
                     struct buf *list, struct error *e)
{
        _cleanup_(bio_free_p) BIO *pem = BIO_new(BIO_s_mem()), *der = BIO_new(BIO_s_mem());
        char name[FILE_NAME_MAX];
        int r;

        (void)snprintf(name, sizeof(name), "%s.key", efisig_name(v));
        r = make_key(k, s, name, efisig_name(v), &k->key[v], e);
        if (r < 0)
                return r;
        k->cert[v] = X509_new();
        if (!k->cert[v] || !pem || !der)
                return error_oom(e);
        r = certify(s, v, k->key[v], k->cert[v]);
        if (r == -EINVAL)
                return error_set(e, ERROR_USAGE, EINVAL, "\"%s\" cannot be part of a common name",
                                 s->name);
        if (r < 0 || PEM_write_bio_X509(pem, k->cert[v]) != 1 ||
            i2d_X509_bio(der, k->cert[v]) != 1 || efisig_list(k->owner, k->cert[v], list) < 0)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot make the %s certificate",
                                 efisig_name(v));
        if (s->from && v != EFISIG_PK) {
                r = add_vendors(k, s, v, list, e);
                if (r < 0)
                        return r;
        }
        (void)snprintf(name, sizeof(name), "%s.pem", efisig_name(v));
        r = put_bio(k, name, pem, 0644, e);
        if (r < 0)
                return r;
        (void)snprintf(name, sizeof(name), "%s.der", efisig_name(v));
        r = put_bio(k, name, der, 0644, e);
        if (r < 0)
                return r;
        return put_named(k, v, ".esl", list->data, list->len, 0644, e);
}

static int make_hierarchy(struct keys *k, const struct settings *s, struct error *e)
{
        for (unsigned i = 0; i < EFISIG_VARIABLE_MAX; i++) {
                enum efisig_variable v = (enum efisig_variable)i;
                /* PK owns itself and KEK, KEK owns db. */
                enum efisig_variable owner = v == EFISIG_DB ? EFISIG_KEK : EFISIG_PK;
                _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_EFI_VARIABLE);
                _cleanup_(buf_done) struct buf auth = BUF_INIT(LIMIT_EFI_VARIABLE);
                int r;

                r = make_pair(k, s, v, &list, e);
                if (r == 0)
                        r = efisig_auth(v, s->epoch, &list, k->key[owner], k->cert[owner], &auth,
                                        e);
                if (r == 0)
                        r = put_named(k, v, ".auth", auth.data, auth.len, 0644, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int make_policy_key(struct keys *k, const struct settings *s, const char *private,
                           const char *public, const char *object, struct error *e)
{
        _cleanup_(keyfile_pkey_p) EVP_PKEY *key = NULL;
        _cleanup_(bio_free_p) BIO *bio = BIO_new(BIO_s_mem());
        int r;

        if (!bio)
                return error_oom(e);
        r = make_key(k, s, private, object, &key, e);
        if (r < 0)
                return r;
        if (PEM_write_bio_PUBKEY(bio, key) != 1)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot encode the policy key");
        return put_bio(k, public, bio, 0644, e);
}

static int make_policy_keys(struct keys *k, const struct settings *s, struct error *e)
{
        _cleanup_(buf_done) struct buf paths = BUF_INIT(LATER_PHASES_TEXT);
        int r = make_policy_key(k, s, KEYFILE_POLICY_PRIVATE, KEYFILE_POLICY_PUBLIC,
                                TOKEN_POLICY_OBJECT, e);

        if (r < 0 || s->later.n == 0)
                return r;
        for (unsigned i = 0; i < s->later.n; i++)
                if (buf_printf(&paths, "%s\n", s->later.path[i]) < 0)
                        return error_oom(e);
        r = make_policy_key(k, s, KEYFILE_LATER_PRIVATE, KEYFILE_LATER_PUBLIC, TOKEN_LATER_OBJECT,
                            e);
        return r == 0 ? put_file(k, KEYFILE_LATER_PHASES, paths.data, paths.len, 0644, e) : r;
}

/* An existing directory is fine as long as no file of ours is in it; that is found out file by file
 * when they are created, and the early ones are checked here, before seconds go into keys. */
static int open_target(struct keys *k, const struct settings *s, struct error *e)
{
        static const char *const names[] = {"PK.key",
                                            "KEK.key",
                                            KEYFILE_DB_KEY,
                                            KEYFILE_DB_CERT,
                                            KEYFILE_POLICY_PRIVATE,
                                            KEYFILE_POLICY_PUBLIC,
                                            KEYFILE_LATER_PRIVATE,
                                            KEYFILE_LATER_PUBLIC,
                                            KEYFILE_LATER_PHASES,
                                            "guid.txt"};

        if (mkdir(s->dir, 0700) == 0)
                k->dir_made = true;
        else if (errno != EEXIST)
                return error_errno(e, errno, "cannot make directory %s", s->dir);
        k->dir = file_open_dir(AT_FDCWD, s->dir);
        if (k->dir < 0)
                return error_errno(e, -k->dir, "cannot open directory %s", s->dir);
        if (file_exists(k->dir, KEYFILE_INCOMPLETE)) {
                (void)error_set(e, ERROR_CONFIG, EEXIST,
                                "%s holds incomplete keys: making them was interrupted", s->dir);
                error_advise(e, "remove the directory %s and make keys again", s->dir);
                return -EEXIST;
        }
        for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
                if (!file_exists(k->dir, names[i]))
                        continue;
                (void)error_set(e, ERROR_CONFIG, EEXIST, "%s is in %s already", names[i], s->dir);
                error_advise(e, "name another directory, or move the old keys away");
                return -EEXIST;
        }
        return 0;
}

static int make_all(struct keys *k, const struct settings *s, struct error *e)
{
        char guid[EFISIG_GUID_TEXT_SIZE + 1];
        int r;

        r = put_file(k, KEYFILE_INCOMPLETE, "", 0, 0644, e);
        if (r < 0)
                return r;
        r = efisig_guid_random(k->owner);
        if (r < 0)
                return error_errno(e, -r, "no random numbers");
        efisig_guid_text(k->owner, guid);
        guid[EFISIG_GUID_TEXT_SIZE - 1] = '\n';
        r = put_file(k, "guid.txt", guid, EFISIG_GUID_TEXT_SIZE, 0644, e);
        if (r == 0)
                r = make_hierarchy(k, s, e);
        if (r == 0)
                r = make_policy_keys(k, s, e);
        if (r < 0)
                return r;
        r = file_sync(k->dir);
        if (r == 0 && unlinkat(k->dir, KEYFILE_INCOMPLETE, 0) < 0)
                r = -errno;
        if (r == 0)
                r = file_sync(k->dir);
        return r < 0 ? error_errno(e, -r, "cannot complete %s", s->dir) : 0;
}

/* The marker is the first file made and goes last, so that a crash on the way keeps it. */
static void roll_back(struct keys *k, const char *dir)
{
        for (unsigned i = k->n_files; i > 0; i--)
                (void)unlinkat(k->dir, k->files[i - 1], 0);
        if (k->dir_made)
                (void)rmdir(dir);
}

int verb_keys(char *const argv[], bool *json, struct error *e)
{
        struct settings s = {.name = NULL, .days = 3650, .bits = 2048};
        _cleanup_(keys_done) struct keys k = {.dir = -EBADF};
        const char *days = NULL, *bits = NULL, *phases = NULL;
        const struct words_option options[] = {
                {.name = "name", .value = &s.name, .not_empty = true},
                {.name = "from", .value = &s.from, .not_empty = true},
                {.name = "pkcs11", .value = &s.token, .not_empty = true},
                {.name = "days", .value = &days},
                {.name = "bits", .value = &bits},
                {.name = "phases", .value = &phases, .not_empty = true},
        };
        int r;

        (void)json;
        r = words_parse(argv, options, ARRAY_SIZE(options), &s.dir, 1, "the directory", e);
        if (r == 0)
                r = words_number("days", days, 1, 36500, &s.days, e);
        if (r == 0)
                r = words_number("bits", bits, 2048, 4096, &s.bits, e);
        if (r == 0 && phases)
                r = later_parse(phases, ",", &s.later, e);
        if (r != 0)
                return r;
        if (s.bits % 8 != 0)
                return error_set(e, ERROR_USAGE, EINVAL, "--bits is a multiple of 8");
        if (s.token && !token_is_uri(s.token))
                return error_set(e, ERROR_USAGE, EINVAL, "--pkcs11 begins with " TOKEN_SCHEME);
        if (s.token && token_check_uri(s.token, e) < 0)
                return -EINVAL;
        if (s.token && bits)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--bits is for keys that are made: a token has its own");
        if (!s.name)
                s.name = "Trusted Boot";
        for (const char *p = s.name; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        return error_set(e, ERROR_USAGE, EINVAL,
                                         "control character in the common name");
        r = epoch_get((uint64_t)time(NULL), &s.epoch, e);
        if (r == 0)
                r = open_target(&k, &s, e);
        if (r == 0)
                r = make_all(&k, &s, e);
        if (r == 0 && s.from && k.n_vendor == 0)
                r = error_set(e, ERROR_CONFIG, ENODATA, "nothing for KEK or db is in %s", s.from);
        if (r < 0) {
                roll_back(&k, s.dir);
                return r;
        }
        printf("keys in %s\n", s.dir);
        if (s.from)
                printf("with %u entries of %s in KEK and db\n", k.n_vendor, s.from);
        return 0;
}
