/* SPDX-License-Identifier: Apache-2.0 */
/* Images that are received: pieces of every size, breaks, what comes back after them, and lies. */
#include "tests/unit/esp_world.h"

#include <openssl/obj_mac.h>
#include <sys/wait.h>

#include "tests/support/usi.h"
#include "upgrade/image_receiver.h"

#define INITRD (300 * 1024)
#define PATH_7 ESP_IMAGE_DIR "/usi-00000007.efi"
#define PATH_8 ESP_IMAGE_DIR "/usi-00000008.efi"

static struct test_usi_world usis;
static struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
static uint8_t digest[SHA256_SIZE];

static struct image_receive ordinary(void)
{
        return (struct image_receive){
                .number = 7, .size = image.len, .sha256 = digest, .demands = &usis.demands};
}

static struct image_receiver *begin(const struct image_receive *what, uint64_t expected_offset)
{
        struct image_receiver *r = NULL;
        uint64_t offset = 99;

        assert_int_equal(image_receiver_begin(&esp, what, &r, &offset, &error), 0);
        assert_int_equal(offset, expected_offset);
        assert_int_equal(image_receiver_resumed(r), offset > 0);
        return r;
}

static int push(struct image_receiver *r, const struct buf *from, size_t start, size_t end,
                size_t step)
{
        for (size_t at = start; at < end; at += step) {
                size_t n = end - at < step ? end - at : step;
                int result = image_receiver_push(r, from->data + at, n, &error);

                if (result < 0)
                        return result;
        }
        return 0;
}

static void expect_image(const char *path)
{
        scratch_expect(&dir, path, image.data, image.len);
}

/* Sends the rest, and it is an image. */
static void finish(struct image_receiver *r, size_t start)
{
        struct verified_image *v = NULL;

        assert_int_equal(push(r, &image, start, image.len, 65536), 0);
        assert_int_equal(image_receiver_finish(r, &v, &error), 0);
        assert_memory_equal(image_sha256(v), digest, SHA256_SIZE);
        assert_true(image_stands_as(v, 7));
        assert_false(image_stands_as(v, 8));
        assert_non_null(image_receiver_proofs(r));
        assert_int_equal(image_receiver_written(r), image.len - start);
        image_receiver_free(r);
        image_free(v);
        expect_image(PATH_7);
}

static void test_pieces(void **state)
{
        static const size_t steps[] = {977, 4096, 65536, 1 << 20};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                struct image_receive what = ordinary();
                struct image_receiver *r = begin(&what, 0);
                struct verified_image *v = NULL;

                assert_null(image_receiver_proofs(r));
                assert_int_equal(push(r, &image, 0, image.len, steps[i]), 0);
                assert_int_equal(image_receiver_finish(r, &v, &error), 0);
                assert_int_equal(image_receiver_push(r, "x", 1, &error), -EINVAL);
                image_receiver_free(r);
                expect_image(PATH_7);
                assert_string_equal(image_version(v), "1.0");
                image_free(v);
        }
}

static void test_unknown(void **state)
{
        struct image_receive what = ordinary();

        (void)state;
        what.size = 0;
        what.sha256 = NULL;
        finish(begin(&what, 0), 0);
}

static void test_lies(void **state)
{
        struct image_receive what = ordinary();
        uint8_t other[SHA256_SIZE] = {1};
        struct verified_image *v = NULL;
        struct image_receiver *r;

        (void)state;
        /* Ends too early: that may be better next time. */
        r = begin(&what, 0);
        assert_int_equal(push(r, &image, 0, image.len - 1, 65536), 0);
        assert_int_equal(image_receiver_finish(r, &v, &error), -ENODATA);
        assert_int_equal(error.class, ERROR_SOURCE);
        image_receiver_free(r);
        assert_false(there(PATH_7));
        /* Goes on and on. */
        r = begin(&what, 0);
        assert_int_equal(push(r, &image, 0, image.len, 65536), 0);
        assert_int_equal(push(r, &image, 0, 1, 1), -EFBIG);
        assert_int_equal(error.class, ERROR_REFUSED);
        assert_int_equal(image_receiver_keep(r, &error), 0);
        assert_false(there(PATH_7));
        /* Another digest than promised. */
        what.sha256 = other;
        r = begin(&what, 0);
        assert_int_equal(push(r, &image, 0, image.len, 65536), 0);
        assert_int_equal(image_receiver_finish(r, &v, &error), -EBADMSG);
        assert_int_equal(error.class, ERROR_REFUSED);
        image_receiver_free(r);
        assert_false(there(PATH_7));
        assert_null(v);
}

/* No image at all: refused with the first bytes, and nothing stays, not even on keep. */
static void test_early_refusal(void **state)
{
        static const char html[2048] = "<html>Not found</html>";
        struct image_receive what = ordinary();
        const struct proofs *proofs;
        struct image_receiver *r;

        (void)state;
        r = begin(&what, 0);
        assert_true(image_receiver_push(r, html, sizeof(html), &error) < 0);
        assert_int_equal(error.class, ERROR_REFUSED);
        proofs = image_receiver_proofs(r);
        assert_non_null(proofs);
        assert_int_equal(proofs->item[PROOF_FORMAT].state, PROOF_FAILED);
        assert_int_equal(image_receiver_push(r, html, sizeof(html), &error), -EINVAL);
        assert_int_equal(image_receiver_keep(r, &error), 0);
        assert_false(there(PATH_7));
}

/* Whole, and not good enough: nothing stays. */
static void test_refused_proofs(void **state)
{
        struct image_receive what = ordinary();
        struct image_demands demands = usis.demands;
        struct verified_image *v = NULL;
        struct image_receiver *r;

        (void)state;
        demands.db = demands.dbx; /* trusts nobody */
        what.demands = &demands;
        r = begin(&what, 0);
        assert_int_equal(push(r, &image, 0, image.len, 65536), 0);
        assert_true(image_receiver_finish(r, &v, &error) < 0);
        assert_int_equal(error.class, ERROR_SIGNATURE);
        assert_int_equal(image_receiver_proofs(r)->item[PROOF_SECURE_BOOT].state, PROOF_FAILED);
        image_receiver_free(r);
        assert_false(there(PATH_7));
        assert_null(v);
}

/* --- breaking off and going on --------------------------------------------------------------- */

static void leave_partial(size_t n)
{
        struct image_receive what = ordinary();
        struct image_receiver *r = begin(&what, 0);

        assert_int_equal(push(r, &image, 0, n, 4096), 0);
        assert_int_equal(image_receiver_keep(r, &error), 0);
        assert_int_equal(there(PATH_7), n > 0);
}

static void test_resume(void **state)
{
        const size_t sizes[] = {0, 1, 511, 70000, FILE_CHUNK, image.len - 1, image.len};
        struct image_receive what = ordinary();

        (void)state;
        what.resume = true;
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                leave_partial(sizes[i]);
                finish(begin(&what, sizes[i]), sizes[i]);
        }
        /* Also in three goes, and where the size is not known. */
        leave_partial(1000);
        {
                struct image_receiver *r = begin(&what, 1000);

                assert_int_equal(push(r, &image, 1000, 200000, 4096), 0);
                assert_int_equal(image_receiver_keep(r, &error), 0);
        }
        what.size = 0;
        finish(begin(&what, 200000), 200000);
}

/* The rest goes through the same proofs: bytes that a power cut spoiled are noticed, late or early.
 */
static void test_resume_damaged(void **state)
{
        struct image_receive what = ordinary();
        struct verified_image *v = NULL;
        struct image_receiver *r;

        (void)state;
        what.resume = true;
        leave_partial(200000);
        {
                _cleanup_close_ int fd = openat(dir.fd, PATH_7, O_WRONLY | O_CLOEXEC);

                assert_int_equal(file_pwrite(fd, "spoiled", 7, 150000), 0);
        }
        r = begin(&what, 200000);
        assert_int_equal(push(r, &image, 200000, image.len, 65536), 0);
        assert_int_equal(image_receiver_finish(r, &v, &error), -EBADMSG);
        assert_true(image_receiver_resumed(r));
        image_receiver_free(r);
        assert_false(there(PATH_7));
        /* Nothing like an image: of no use at once, begun anew. */
        scratch_put(&dir, PATH_7, (char[5000]){0}, 5000);
        finish(begin(&what, 0), 0);
        /* Too long. */
        scratch_put(&dir, PATH_7, image.data, image.len);
        {
                _cleanup_close_ int fd = openat(dir.fd, PATH_7, O_WRONLY | O_CLOEXEC);

                assert_int_equal(file_pwrite(fd, "x", 1, image.len), 0);
        }
        finish(begin(&what, 0), 0);
        /* Without resume what is there is replaced. */
        leave_partial(200000);
        what.resume = false;
        finish(begin(&what, 0), 0);
}

static int one_cluster(int fd, uint64_t offset, uint64_t *ret)
{
        (void)fd;
        (void)offset;
        *ret = 7;
        return 0;
}

static void test_not_to_be_touched(void **state)
{
        struct image_receive what = ordinary();
        struct image_receiver *r = NULL;
        uint64_t offset = 0;

        (void)state;
        scratch_put(&dir, PATH_7, image.data, 5000);
        scratch_put_text(&dir, "loader/entries/x.conf", "efi /EFI/kairos/usi-00000007.efi\n");
        for (int resume = 0; resume < 2; resume++) {
                what.resume = resume == 1;
                assert_int_equal(image_receiver_begin(&esp, &what, &r, &offset, &error), -EBUSY);
        }
        assert_int_equal(unlinkat(dir.fd, "loader/entries/x.conf", 0), 0);
        scratch_put(&dir, PATH_8, image.data, 5000);
        esp.clusters = one_cluster;
        for (int resume = 0; resume < 2; resume++) {
                what.resume = resume == 1;
                assert_int_equal(image_receiver_begin(&esp, &what, &r, &offset, &error), -EUCLEAN);
        }
        scratch_expect(&dir, PATH_7, image.data, 5000);
        what.number = ENTRY_IMAGE_NUMBER_MAX + 1;
        assert_int_equal(image_receiver_begin(&esp, &what, &r, &offset, &error), -ERANGE);
        what.number = 9;
        what.size = UINT64_MAX;
        assert_int_equal(image_receiver_begin(&esp, &what, &r, &offset, &error), -ENOSPC);
        assert_null(r);
}

/* Killed in the middle of the stream, again and again: each run goes on where the last one was. */
static void test_killed(void **state)
{
        struct image_receive what = ordinary();
        size_t had = 0, sent = 0;
        unsigned runs = 0;

        (void)state;
        what.resume = true;
        while (had < image.len && runs++ < 100) {
                struct stat st;
                pid_t pid = fork();
                int status;

                assert_true(pid >= 0);
                if (pid == 0) {
                        struct image_receiver *r = NULL;
                        uint64_t offset = 0;
                        size_t end;

                        if (image_receiver_begin(&esp, &what, &r, &offset, &error) < 0 ||
                            offset != had)
                                _exit(1);
                        end = image.len - had < 40000 ? image.len : had + 40000;
                        _exit(push(r, &image, had, end, 9999) < 0 ? 2 : 42);
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), 42);
                assert_int_equal(fstatat(dir.fd, PATH_7, &st, 0), 0);
                sent += (size_t)st.st_size - had;
                had = (size_t)st.st_size;
        }
        assert_true(runs > 5);
        assert_int_equal(sent, image.len); /* no byte twice */
        finish(begin(&what, image.len), image.len);
}

/* Each step fails once; nothing half stays after free, and the next run succeeds. */
static void test_failing_steps(void **state)
{
        (void)state;
        for (int cut = 0;; cut++) {
                struct image_receive what = ordinary();
                struct image_receiver *r = NULL;
                struct verified_image *v = NULL;
                uint64_t offset = 0;
                int result;

                what.resume = cut % 2 == 0;
                faults_reset(cut, false);
                result = image_receiver_begin(&esp, &what, &r, &offset, &error);
                if (result == 0)
                        result = push(r, &image, 0, image.len, 65536);
                if (result == 0)
                        result = image_receiver_finish(r, &v, &error);
                image_receiver_free(r);
                if (faults.steps <= cut) {
                        assert_int_equal(result, 0);
                        assert_true(cut > 8);
                        image_free(v);
                        return;
                }
                assert_int_equal(result, -EIO);
                assert_null(v);
                faults_reset(-1, false);
                what.resume = false;
                finish(begin(&what, 0), 0);
                assert_int_equal(esp_remove(&esp, PATH_7, &error), 0);
        }
}

/* --- images that are there ------------------------------------------------------------------- */

static void test_copy(void **state)
{
        struct image_receive what = ordinary();
        struct verified_image *v = NULL;
        struct proofs proofs;
        uint8_t other[SHA256_SIZE] = {1};

        (void)state;
        finish(begin(&what, 0), 0);
        what.number = 8;
        what.size = 0;
        assert_int_equal(image_receiver_copy(&esp, 7, &what, &proofs, &v, &error), 0);
        assert_true(image_stands_as(v, 8));
        assert_int_equal(proofs.item[PROOF_SECURE_BOOT].state, PROOF_PASSED);
        image_free(TAKE_PTR(v));
        expect_image(PATH_8);
        expect_image(PATH_7);
        /* The original is not what it was. */
        what.sha256 = other;
        assert_int_equal(image_receiver_copy(&esp, 7, &what, NULL, &v, &error), -EBADMSG);
        assert_false(there(PATH_8));
        scratch_put(&dir, PATH_7, image.data, image.len - 512);
        what.sha256 = digest;
        assert_true(image_receiver_copy(&esp, 7, &what, NULL, &v, &error) < 0);
        assert_false(there(PATH_8));
        assert_true(there(PATH_7));
        what.sha256 = NULL;
        assert_int_equal(image_receiver_copy(&esp, 7, &what, NULL, &v, &error), -EINVAL);
        what = ordinary();
        assert_int_equal(image_receiver_copy(&esp, 7, &what, NULL, &v, &error), -EINVAL);
        what.number = 8;
        assert_int_equal(image_receiver_copy(&esp, 5, &what, NULL, &v, &error), -ENOENT);
        assert_null(v);
}

static void test_take(void **state)
{
        struct image_receive what = ordinary();
        struct verified_image *v = NULL;
        struct proofs proofs;

        (void)state;
        assert_int_equal(image_receiver_take(&esp, &what, NULL, &v, &error), -ENOENT);
        scratch_put(&dir, PATH_7, image.data, image.len);
        assert_int_equal(image_receiver_take(&esp, &what, &proofs, &v, &error), 0);
        assert_true(image_stands_as(v, 7));
        image_free(TAKE_PTR(v));
        image.data[image.len / 2] ^= 1;
        scratch_put(&dir, PATH_7, image.data, image.len);
        image.data[image.len / 2] ^= 1;
        assert_true(image_receiver_take(&esp, &what, &proofs, &v, &error) < 0);
        assert_int_equal(error.class, ERROR_SIGNATURE);
        assert_null(v);
        assert_true(there(PATH_7)); /* whose it is, others know */
}

/* A signature with a digest that nothing else needs: it is taken from the file, afterwards. */
static void test_other_digest(void **state)
{
        _cleanup_(buf_done) struct buf other = BUF_INIT(SIGNING_IMAGE_MAX);
        struct image_receive what = ordinary();
        struct image_reader *reader = NULL;
        struct verified_image *v = NULL;
        struct image_receiver *r;
        uint8_t sha[SHA256_SIZE];

        (void)state;
        usis.how = (struct signing_how){.image_hash = NID_sha384, .sign_hash = NID_sha384};
        test_usi_make(&usis, "1.0", INITRD, &other);
        usis.how = (struct signing_how){0};
        assert_int_equal(sha256(other.data, other.len, sha), 0);
        what.size = other.len;
        what.sha256 = sha;
        r = begin(&what, 0);
        assert_int_equal(push(r, &other, 0, other.len, 65536), 0);
        assert_int_equal(image_receiver_finish(r, &v, &error), 0);
        image_receiver_free(r);
        image_free(TAKE_PTR(v));
        assert_int_equal(image_receiver_take(&esp, &what, NULL, &v, &error), 0);
        image_free(TAKE_PTR(v));
        /* Other bytes the second time. */
        assert_int_equal(esp_remove(&esp, PATH_7, &error), 0);
        r = begin(&what, 0);
        assert_int_equal(push(r, &other, 0, other.len, 65536), 0);
        other.data[other.len / 2] ^= 1;
        scratch_put(&dir, PATH_7, other.data, other.len);
        other.data[other.len / 2] ^= 1;
        assert_int_equal(image_receiver_finish(r, &v, &error), -EIO);
        assert_int_equal(error.class, ERROR_IO);
        image_receiver_free(r);
        assert_null(v);
        assert_false(there(PATH_7));
        /* A stream that cannot be read again. */
        assert_int_equal(image_reader_new(&usis.demands, &reader, &error), 0);
        assert_int_equal(image_reader_push(reader, other.data, other.len, &error), 0);
        assert_int_equal(image_reader_finish(reader, -EBADF, &usis.demands, NULL, &v, &error),
                         -EBADF);
        assert_int_equal(error.class, ERROR_INTERNAL);
        image_reader_free(TAKE_PTR(reader));
        assert_int_equal(image_reader_new(NULL, &reader, &error), 0);
        assert_int_equal(image_reader_push(reader, other.data, other.len, &error), 0);
        assert_int_equal(image_reader_finish(reader, -EBADF, &usis.demands, NULL, &v, &error), 0);
        image_reader_free(reader);
        image_free(v);
}

static int make_images(void **state)
{
        (void)state;
        test_usi_world_make(&usis);
        test_usi_make(&usis, "1.0", INITRD, &image);
        return sha256(image.data, image.len, digest);
}

static int drop_images(void **state)
{
        (void)state;
        buf_done(&image);
        test_usi_world_drop(&usis);
        return 0;
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_pieces),         CASE(test_unknown),
                CASE(test_lies),           CASE(test_early_refusal),
                CASE(test_refused_proofs), CASE(test_resume),
                CASE(test_resume_damaged), CASE(test_not_to_be_touched),
                CASE(test_killed),         CASE(test_failing_steps),
                CASE(test_copy),           CASE(test_take),
                CASE(test_other_digest),
        };

        return cmocka_run_group_tests(tests, make_images, drop_images);
}
