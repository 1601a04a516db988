/* SPDX-License-Identifier: Apache-2.0 */
#include "image/keyfile.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "base/file.h"
#include "image/input.h"
#include "image/token.h"

/* What the firmware and TPMs of today accept as a minimum. */
#define RSA_BITS_MIN 2048

int keyfile_open_dir(const char *path, struct error *e)
{
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, path);

        if (fd < 0) {
                int r = error_set(e, ERROR_CONFIG, -fd, "cannot read %s: %s", path,
                                  file_strerror(fd));

                error_advise(e, "make keys with \"tb-image keys %s\"", path);
                return r;
        }
        if (file_exists(fd, KEYFILE_INCOMPLETE)) {
                (void)error_set(e, ERROR_CONFIG, EINVAL, "the keys in %s are incomplete", path);
                error_advise(e, "remove the directory and make keys again");
                return -EINVAL;
        }
        return TAKE_FD(fd);
}

static void bio_free_p(BIO **bio)
{
        BIO_free_all(*bio);
        *bio = NULL;
}

/* OpenSSL reads the file itself, through a stdio stream without a buffer that would keep secrets.
 */
static int open_bio(int dirfd, const char *name, BIO **ret, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        FILE *stream;
        int r = input_open_at(dirfd, name, &fd, e);

        if (r < 0)
                return r;
        stream = fdopen(fd, "re");
        if (!stream)
                return error_oom(e);
        (void)TAKE_FD(fd);
        (void)setvbuf(stream, NULL, _IONBF, 0);
        *ret = BIO_new_fp(stream, BIO_CLOSE);
        if (!*ret) {
                (void)fclose(stream);
                return error_oom(e);
        }
        return 0;
}

/* Answers OpenSSL's question for a passphrase: there is none, and no terminal is asked. */
static int no_passphrase(char *buf, int size, int writing, void *ctx)
{
        (void)buf;
        (void)size;
        (void)writing;
        (void)ctx;
        return -1;
}

static int read_pem(int dirfd, const char *name, EVP_PKEY **ret, struct error *e)
{
        _cleanup_(bio_free_p) BIO *bio = NULL;
        int r = open_bio(dirfd, name, &bio, e);

        if (r < 0)
                return r;
        *ret = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        if (!*ret)
                return error_set(
                        e, ERROR_CONFIG, EBADMSG,
                        "%s: no unencrypted private key in PEM, and no " TOKEN_SCHEME " URI", name);
        return 0;
}

/* 1: the file names a key in a token, and does not hold one. Of a key itself not more is read than
 * this. */
static int names_token(int dirfd, const char *name, struct error *e)
{
        char head[sizeof(TOKEN_SCHEME)] = {0};
        _cleanup_close_ int fd = -EBADF;
        int r = input_open_at(dirfd, name, &fd, e);
        ssize_t n;

        if (r < 0)
                return r;
        n = file_pread(fd, head, sizeof(head) - 1, 0);
        if (n < 0)
                return error_errno(e, (int)-n, "cannot read %s", name);
        return token_is_uri(head);
}

static int read_token(int dirfd, const char *name, EVP_PKEY **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf uri = BUF_INIT(TOKEN_URI_MAX);
        int r = file_read_line(dirfd, name, &uri);

        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "cannot read %s: %s", name, file_strerror(r));
        r = token_private(buf_str(&uri), ret, e);
        return r < 0 ? error_wrap(e, r, "%s", name) : 0;
}

int keyfile_check_private(const EVP_PKEY *key, const char *name, struct error *e)
{
        if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= RSA_BITS_MIN)
                return 0;
        return error_set(e, ERROR_CONFIG, EOPNOTSUPP, "%s: not an RSA key of %d bits or more", name,
                         RSA_BITS_MIN);
}

int keyfile_private(int dirfd, const char *name, EVP_PKEY **ret, struct error *e)
{
        _cleanup_(keyfile_pkey_p) EVP_PKEY *key = NULL;
        int r = names_token(dirfd, name, e);

        if (r >= 0)
                r = r > 0 ? read_token(dirfd, name, &key, e) : read_pem(dirfd, name, &key, e);
        if (r == 0)
                r = keyfile_check_private(key, name, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(key);
        return 0;
}

int keyfile_cert(int dirfd, const char *name, X509 **ret, struct error *e)
{
        _cleanup_(bio_free_p) BIO *bio = NULL;
        X509 *cert;
        int r;

        r = open_bio(dirfd, name, &bio, e);
        if (r < 0)
                return r;
        cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
        if (!cert)
                return error_set(e, ERROR_CONFIG, EBADMSG, "%s: no certificate in PEM", name);
        *ret = cert;
        return 0;
}

int keyfile_open_public(const char *path, int *ret_dir, X509 **ret_cert, struct error *e)
{
        _cleanup_close_ int dir = keyfile_open_dir(path, e);
        int r;

        if (dir < 0)
                return dir;
        r = keyfile_cert(dir, KEYFILE_DB_CERT, ret_cert, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        *ret_dir = TAKE_FD(dir);
        return 0;
}

int keyfile_signer(int dirfd, EVP_PKEY **ret_key, X509 **ret_cert, struct error *e)
{
        _cleanup_(keyfile_pkey_p) EVP_PKEY *key = NULL;
        _cleanup_(keyfile_x509_p) X509 *cert = NULL;
        int r;

        r = keyfile_private(dirfd, KEYFILE_DB_KEY, &key, e);
        if (r == 0)
                r = keyfile_cert(dirfd, KEYFILE_DB_CERT, &cert, e);
        if (r < 0)
                return r;
        if (X509_check_private_key(cert, key) != 1)
                return error_set(e, ERROR_CONFIG, EKEYREJECTED, "%s and %s do not belong together",
                                 KEYFILE_DB_KEY, KEYFILE_DB_CERT);
        *ret_key = TAKE_PTR(key);
        *ret_cert = TAKE_PTR(cert);
        return 0;
}

int keyfile_bytes(int dirfd, const char *name, struct buf *out, struct error *e)
{
        return input_read_at(dirfd, name, out, e);
}
