/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "partition/ddi.h"

static void free_bio(BIO **b)
{
        BIO_free_all(*b);
}

static void free_pkcs7(PKCS7 **p)
{
        PKCS7_free(*p);
}

static void free_certificates(STACK_OF(X509) * *s)
{
        sk_X509_pop_free(*s, X509_free);
}

static int refuse(struct error *e, const char *why)
{
        return error_set(e, ERROR_REFUSED, EBADMSG, "signature of the disk image: %s", why);
}

/* The partition is filled up with zeros behind the text. */
static int read_text(int fd, const struct ddi *d, struct buf *ret, struct error *e)
{
        uint64_t size = d->signature.size;
        uint8_t *p;
        ssize_t n;
        int r;

        if (size > LIMIT_DDI_SIGNATURE)
                return refuse(e, "its partition is too large");
        r = buf_reserve(ret, (size_t)size, &p);
        if (r < 0)
                return error_oom(e);
        n = file_pread(fd, p, (size_t)size, d->signature.offset);
        if (n < 0)
                return error_errno(e, (int)-n, "reading the disk image");
        buf_commit(ret, strnlen((const char *)p, (size_t)n));
        return 0;
}

static int parse(const struct buf *text, uint8_t ret_root_hash[SHA256_SIZE],
                 struct buf *ret_signature, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        const char *hash, *signature;
        int r = json_read_text(text->data, text->len, LIMIT_DDI_SIGNATURE,
                               "signature of the disk image", &root, e);

        if (r < 0)
                return refuse(e, "no JSON");
        if (!json_object_is_type(root, json_type_object) ||
            json_get_str(root, "rootHash", &hash) < 0 ||
            json_get_str(root, "signature", &signature) < 0 ||
            hex_decode(hash, ret_root_hash, SHA256_SIZE) < 0 ||
            base64_decode(signature, strlen(signature), ret_signature) < 0)
                return refuse(e, "not {\"rootHash\",\"signature\"} of a SHA-256 hash");
        return 0;
}

static int read_certificates(const void *text, size_t n, STACK_OF(X509) * *ret, struct error *e)
{
        _cleanup_(free_bio) BIO *bio =
                BIO_new_mem_buf(n > 0 ? text : "", n <= INT_MAX ? (int)n : 0);
        _cleanup_(free_certificates) STACK_OF(X509) *list = sk_X509_new_null();
        X509 *c;

        if (!bio || !list)
                return error_oom(e);
        while ((c = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
                if (sk_X509_push(list, c) <= 0) {
                        X509_free(c);
                        return error_oom(e);
                }
        }
        /* The end of the file is an error of reading, too: anything else is a damaged one. */
        if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE || sk_X509_num(list) == 0)
                return error_set(e, ERROR_CONFIG, EBADMSG,
                                 "certificates for extensions: not all of them can be read");
        *ret = TAKE_PTR(list);
        return 0;
}

/* Collisions of older hashes are for sale. */
static bool hashes_are_strong(PKCS7 *p7)
{
        STACK_OF(PKCS7_SIGNER_INFO) *infos = PKCS7_get_signer_info(p7);

        for (int i = 0; i < sk_PKCS7_SIGNER_INFO_num(infos); i++) {
                X509_ALGOR *digest = NULL;
                const ASN1_OBJECT *oid = NULL;
                int nid;

                PKCS7_SIGNER_INFO_get0_algs(sk_PKCS7_SIGNER_INFO_value(infos, i), NULL, &digest,
                                            NULL);
                X509_ALGOR_get0(&oid, NULL, NULL, digest);
                nid = OBJ_obj2nid(oid);
                if (nid != NID_sha256 && nid != NID_sha384 && nid != NID_sha512)
                        return false;
        }
        return sk_PKCS7_SIGNER_INFO_num(infos) > 0;
}

static bool is_signed(const struct buf *signature, const uint8_t root_hash[SHA256_SIZE],
                      STACK_OF(X509) * certificates)
{
        const uint8_t *p = signature->data, *end = signature->data + signature->len;
        _cleanup_(free_pkcs7) PKCS7 *p7 = p ? d2i_PKCS7(NULL, &p, (long)signature->len) : NULL;
        _cleanup_(free_bio) BIO *content = NULL;
        char hex[SHA256_HEX_SIZE];

        if (!p7 || p != end || !PKCS7_type_is_signed(p7) || !PKCS7_get_detached(p7) ||
            !hashes_are_strong(p7))
                return false;
        hex_encode(root_hash, SHA256_SIZE, hex);
        content = BIO_new_mem_buf(hex, SHA256_HEX_SIZE - 1);
        /* The certificates inside of it say nothing: the signer is one of ours. */
        return content && PKCS7_verify(p7, certificates, NULL, content, NULL,
                                       PKCS7_NOINTERN | PKCS7_NOVERIFY | PKCS7_BINARY) == 1;
}

int ddi_check_signature(int fd, const struct ddi *d, const void *certificates, size_t n,
                        uint8_t ret_root_hash[SHA256_SIZE], struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_DDI_SIGNATURE),
                                       signature = BUF_INIT(LIMIT_DDI_SIGNATURE);
        _cleanup_(free_certificates) STACK_OF(X509) *list = NULL;
        uint8_t root_hash[SHA256_SIZE];
        bool good;
        int r;

        ERR_clear_error();
        r = read_certificates(certificates, n, &list, e);
        if (r == 0)
                r = read_text(fd, d, &text, e);
        if (r == 0)
                r = parse(&text, root_hash, &signature, e);
        if (r < 0)
                return r;
        good = is_signed(&signature, root_hash, list);
        ERR_clear_error();
        if (!good) {
                error_set(e, ERROR_SIGNATURE, EKEYREJECTED,
                          "the disk image is not signed by a key that this system's image names");
                error_advise(e, "sign it with a key whose certificate is in the image");
                return -EKEYREJECTED;
        }
        memcpy(ret_root_hash, root_hash, SHA256_SIZE);
        return 0;
}
