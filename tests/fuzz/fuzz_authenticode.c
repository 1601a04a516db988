/* SPDX-License-Identifier: Apache-2.0 */
/* Any image as firmware sees it: digests as a stream and from a file, and its signatures. */
#include "tests/fuzz/fuzz.h"
#include "upgrade/authenticode.h"
#include "upgrade/authenticode_image.h"
#include "upgrade/authenticode_signature.h"

static int push(const uint8_t *data, size_t size, struct authenticode_image **ret)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        struct error e = ERROR_INIT;
        size_t piece = size > 0 ? data[size - 1] % 251 + 1u : 1;
        int r;

        FUZZ_CHECK(authenticode_image_new(AUTHENTICODE_MASK_ALL, &image) == 0);
        for (size_t at = 0; at < size; at += piece) {
                r = authenticode_image_push(image, data + at, size - at < piece ? size - at : piece,
                                            &e);
                fuzz_check_error(r, &e);
                if (r < 0)
                        return r;
        }
        r = authenticode_image_finish(image, &e);
        fuzz_check_error(r, &e);
        if (r == 0)
                *ret = TAKE_PTR(image);
        return r;
}

/* The strict reader computes the same SHA-256 where it takes the image at all. */
static void compare_strict(int fd, const struct authenticode_digests *digests)
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        uint8_t sha256[SHA256_SIZE];

        if (pe_open(fd, &pe, NULL) < 0 || authenticode_digest(pe, sha256, NULL) < 0)
                return;
        FUZZ_CHECK(memcmp(sha256, digests->value[AUTHENTICODE_SHA256], SHA256_SIZE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_close_ int fd = fuzz_file(data, size);
        _cleanup_(authenticode_image_free_p) struct authenticode_image *a = NULL, *b = NULL;
        _cleanup_(authenticode_signatures_free_p) struct authenticode_signatures *list = NULL;
        const struct authenticode_digests *digests;
        struct error e = ERROR_INIT;
        int r = push(data, size, &a);

        FUZZ_CHECK((authenticode_image_read(fd, AUTHENTICODE_MASK_ALL, &b, NULL) < 0) == (r < 0));
        if (r < 0)
                return 0;
        digests = authenticode_image_digests(a);
        FUZZ_CHECK(memcmp(digests, authenticode_image_digests(b), sizeof(*digests)) == 0);
        FUZZ_CHECK(authenticode_image_size(a) == size);
        compare_strict(fd, digests);
        fuzz_check_error(
                authenticode_signatures_read(authenticode_image_table(a), digests, &list, &e), &e);
        return 0;
}
