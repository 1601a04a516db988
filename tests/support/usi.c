/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/usi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "tests/support/peimage.h"
#include "upgrade/pcrsig.h"
#include "upgrade/usi.h"

void test_usi_world_make(struct test_usi_world *w)
{
        memset(w, 0, sizeof(*w));
        signing_identity(&w->vendor, EVP_RSA_gen(2048), "vendor", NULL, true, -3600, 3600);
        w->policy = test_key_new(2048);
        w->db = sigdb_new();
        w->dbx = sigdb_new();
        assert_non_null(w->db);
        assert_non_null(w->dbx);
        signing_add_cert(w->db, w->vendor.cert);
        w->demands = (struct image_demands){
                .db = w->db, .dbx = w->dbx, .pcr7 = PROOF_PASSED, .pcr7_text = "test"};
}

void test_usi_world_drop(struct test_usi_world *w)
{
        signing_drop(&w->vendor);
        test_key_free(w->policy);
        sigdb_free(w->db);
        sigdb_free(w->dbx);
}

/* The measurement of the image that is in the file, for the phase of unlocking. */
static void measure(int fd, uint8_t pcr11[SHA256_SIZE])
{
        _cleanup_(usi_free_p) struct usi *u = NULL;

        assert_int_equal(usi_open(fd, &u, NULL), 0);
        assert_int_equal(usi_pcr11(u, IMAGE_PHASE_PATH, pcr11, NULL), 0);
}

void test_usi_make(const struct test_usi_world *w, const char *version, size_t initrd,
                   struct buf *image)
{
        _cleanup_(buf_done) struct buf osrel = BUF_INIT(4096), sig = BUF_INIT(8192);
        _cleanup_free_ uint8_t *filler = malloc(initrd + 1);
        _cleanup_close_ int fd = -EBADF;
        uint8_t pcr11[1][SHA256_SIZE], *p;
        size_t pem_size = 0;
        const uint8_t *pem = policy_key_pem(w->policy->policy, &pem_size);
        struct stat st;

        assert_non_null(filler);
        for (size_t i = 0; i < initrd; i++)
                filler[i] = (uint8_t)(i * 31 + i / 253 + (uint8_t)version[0]);
        assert_int_equal(buf_printf(&osrel,
                                    "ID=test\nIMAGE_ID=test\nIMAGE_VERSION=%s\n"
                                    "PRETTY_NAME=\"Test system %s\"\n",
                                    version, version),
                         0);
        {
                static const char magic[] = "#### LoaderInfo: systemd-stub 252.39 ####";
                struct peimage_section sections[] = {
                        {.name = ".sdmagic", .data = magic, .size = sizeof(magic) - 1},
                        {.name = ".osrel", .data = osrel.data, .size = osrel.len},
                        {.name = ".cmdline", .data = "quiet", .size = 5},
                        {.name = ".initrd", .data = filler, .size = initrd},
                        {.name = ".linux", .data = "kernel", .size = 6},
                        {.name = ".pcrpkey", .data = pem, .size = pem_size},
                        {.name = ".pcrsig"},
                };

                /* The signature is not measured: first without, then with it. */
                fd = peimage_make(sections, ARRAY_SIZE(sections) - 1);
                measure(fd, pcr11[0]);
                assert_int_equal(pcrsig_build(w->policy->pkey, pem, pem_size, pcr11, 1, &sig, NULL),
                                 0);
                sections[ARRAY_SIZE(sections) - 1].data = sig.data;
                sections[ARRAY_SIZE(sections) - 1].size = sig.len;
                close_p(&fd);
                fd = peimage_make(sections, ARRAY_SIZE(sections));
        }
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(buf_reserve(image, (size_t)st.st_size, &p), 0);
        assert_int_equal(file_pread(fd, p, (size_t)st.st_size, 0), st.st_size);
        buf_commit(image, (size_t)st.st_size);
        signing_sign_how(image, &w->vendor, &w->how);
}
