/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/oci_digest.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/codec.h"

struct oci_hash {
        EVP_MD_CTX *ctx;
        enum oci_algorithm algorithm;
};

static const struct {
        const char *prefix;
        size_t size;
} algorithms[] = {
        [OCI_SHA256] = {"sha256:", SHA256_SIZE},
        [OCI_SHA512] = {"sha512:", OCI_DIGEST_SIZE},
};

static const EVP_MD *method(enum oci_algorithm algorithm)
{
        return algorithm == OCI_SHA512 ? EVP_sha512() : EVP_sha256();
}

int oci_digest_parse(const char *text, struct oci_digest *ret)
{
        struct oci_digest d = {.algorithm = OCI_SHA256};
        size_t prefix, size;

        if (strncmp(text, algorithms[OCI_SHA512].prefix, strlen(algorithms[OCI_SHA512].prefix)) ==
            0)
                d.algorithm = OCI_SHA512;
        prefix = strlen(algorithms[d.algorithm].prefix);
        size = algorithms[d.algorithm].size;
        if (strncmp(text, algorithms[d.algorithm].prefix, prefix) != 0 ||
            strlen(text) != prefix + 2 * size)
                return -EINVAL;
        /* Upper-case digits would make two names of one thing; the specification has none. */
        if (text[prefix + strspn(text + prefix, "0123456789abcdef")] != '\0' ||
            hex_decode(text + prefix, d.bytes, size) < 0)
                return -EINVAL;
        memcpy(d.text, text, prefix + 2 * size + 1);
        *ret = d;
        return 0;
}

int oci_digest_of(const void *data, size_t n, struct oci_digest *ret)
{
        struct oci_digest d = {.algorithm = OCI_SHA256};
        size_t prefix = strlen(algorithms[OCI_SHA256].prefix);
        int r = sha256(data, n, d.bytes);

        if (r < 0)
                return r;
        memcpy(d.text, algorithms[OCI_SHA256].prefix, prefix);
        hex_encode(d.bytes, SHA256_SIZE, d.text + prefix);
        *ret = d;
        return 0;
}

int oci_digest_check(const struct oci_digest *d, const void *data, size_t n, const char *what,
                     struct error *e)
{
        _cleanup_(oci_hash_free_p) struct oci_hash *h = oci_hash_new(d->algorithm);

        if (!h || oci_hash_add(h, data, n) < 0)
                return error_oom(e);
        return oci_hash_check(h, d, what, e);
}

struct oci_hash *oci_hash_new(enum oci_algorithm algorithm)
{
        struct oci_hash *h = calloc(1, sizeof(*h));

        if (!h)
                return NULL;
        h->algorithm = algorithm;
        h->ctx = EVP_MD_CTX_new();
        if (!h->ctx || EVP_DigestInit_ex(h->ctx, method(algorithm), NULL) != 1) {
                oci_hash_free(h);
                return NULL;
        }
        return h;
}

void oci_hash_free(struct oci_hash *h)
{
        if (!h)
                return;
        EVP_MD_CTX_free(h->ctx);
        free(h);
}

int oci_hash_add(struct oci_hash *h, const void *data, size_t n)
{
        return EVP_DigestUpdate(h->ctx, data, n) == 1 ? 0 : -EIO;
}

int oci_hash_check(struct oci_hash *h, const struct oci_digest *d, const char *what,
                   struct error *e)
{
        uint8_t bytes[OCI_DIGEST_SIZE] = {0};
        char hex[2 * OCI_DIGEST_SIZE + 1];

        if (h->algorithm != d->algorithm)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: hashed by another algorithm",
                                 what);
        if (EVP_DigestFinal_ex(h->ctx, bytes, NULL) != 1)
                return error_oom(e);
        if (memcmp(bytes, d->bytes, sizeof(bytes)) == 0)
                return 0;
        hex_encode(bytes, algorithms[d->algorithm].size, hex);
        return error_set(e, ERROR_REFUSED, EBADMSG, "%s: the digest is not %s but %s%s", what,
                         d->text, algorithms[d->algorithm].prefix, hex);
}

/* Names the blob in messages. */
static const char *checked_name(const struct oci_checked *c)
{
        return c->hash ? c->digest.text : "source";
}

/* All bytes are there: nothing may follow, and the digest must hold. */
static int checked_end(struct oci_checked *c, struct error *e)
{
        uint8_t extra;
        ssize_t n = stream_read(c->inner, &extra, 1, e);

        if (n < 0)
                return (int)n;
        if (n > 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: has more than the %" PRIu64 " bytes announced",
                                 checked_name(c), c->size);
        return c->hash ? oci_hash_check(c->hash, &c->digest, "blob", e) : 0;
}

static ssize_t checked_some(struct oci_checked *c, void *buf, size_t n, struct error *e)
{
        uint64_t left = c->size - c->at;
        ssize_t got;

        if (left == 0)
                return checked_end(c, e);
        got = stream_read(c->inner, buf, left < n ? (size_t)left : n, e);
        if (got < 0)
                return got;
        if (got == 0)
                return error_set(e, ERROR_SOURCE, EPIPE,
                                 "%s: ends after %" PRIu64 " of %" PRIu64 " bytes", checked_name(c),
                                 c->at, c->size);
        if (c->hash && oci_hash_add(c->hash, buf, (size_t)got) < 0)
                return error_oom(e);
        c->at += (uint64_t)got;
        return got;
}

static ssize_t checked_read(struct stream *stream, void *buf, size_t n, struct error *e)
{
        struct oci_checked *c = (struct oci_checked *)stream;
        ssize_t got;

        if (c->result <= 0) {
                if (c->result < 0 && e)
                        *e = c->error;
                return c->result;
        }
        got = checked_some(c, buf, n, &c->error);
        if (got <= 0)
                c->result = (int)got;
        if (got < 0 && e)
                *e = c->error;
        return got;
}

int oci_checked_init(struct oci_checked *c, struct stream *inner, const struct oci_digest *digest,
                     uint64_t size, struct error *e)
{
        *c = (struct oci_checked){
                .stream = {.read = checked_read}, .inner = inner, .size = size, .result = 1};
        if (!digest)
                return 0;
        c->digest = *digest;
        c->hash = oci_hash_new(digest->algorithm);
        return c->hash ? 0 : error_oom(e);
}

void oci_checked_done(struct oci_checked *c)
{
        oci_hash_free(c->hash);
        c->hash = NULL;
}
