/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions before their first boot, in plain files: what counts as blank, and how one becomes a
 * volume. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/limits.h"
#include "partition/blank.h"
#include "partition/luks.h"

#define NAME "persistent"
#define LABEL "COS_PERSISTENT"
#define SIZE (24 * MIB)
#define AT (1 * MIB)
#define CONTENT "what the image has to say"

struct world {
        char path[64];
        int fd; /* a partition of its own */
        int header;
        char header_path[64];
        struct secret *passphrase;
        int keyslot;
        struct error e;
};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        (void)snprintf(w->path, sizeof(w->path), "/tmp/tb-blank-XXXXXX");
        w->fd = mkstemp(w->path);
        assert_true(w->fd >= 0);
        assert_int_equal(ftruncate(w->fd, (off_t)SIZE), 0);
        w->header = -EBADF;
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        secret_free(w->passphrase);
        close_p(&w->header);
        close_p(&w->fd);
        (void)unlink(w->path);
        free(w);
        return 0;
}

static void mark(struct world *w)
{
        static const struct blank want = {.allow_software_tpm = true};

        assert_int_equal(blank_write(w->fd, 0, NAME, &want, CONTENT, strlen(CONTENT), &w->e), 0);
}

static int look(struct world *w)
{
        struct blank b;

        return blank_read(w->path, NAME, &b, &w->e);
}

/* As the boot stage does it: the header in memory, with a slot that opens. */
static void make_header(struct world *w)
{
        const struct luks_format_options options = {.label = LABEL, .sector_size = 512};
        _cleanup_(secret_free_p) struct secret *raw = secret_random(32);
        _cleanup_(luks_free_p) struct luks *luks = NULL;

        w->header = memfd_create("header", MFD_CLOEXEC);
        assert_true(w->header >= 0);
        assert_int_equal(ftruncate(w->header, (off_t)SIZE), 0);
        (void)snprintf(w->header_path, sizeof(w->header_path), "/proc/self/fd/%d", w->header);
        w->passphrase = secret_base64(raw);
        assert_non_null(w->passphrase);
        if (luks_format(w->header_path, &options, &luks, &w->e) < 0)
                fail_msg("%s", w->e.text);
        assert_int_equal(luks_add_keyslot(luks, NULL, w->passphrase, &w->keyslot, &w->e), 0);
}

static void expect_volume(struct world *w)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;

        if (luks_open(w->path, &luks, &w->e) < 0)
                fail_msg("%s", w->e.text);
        assert_string_equal(luks_label(luks), LABEL);
        assert_int_equal(luks_test_secret(luks, w->keyslot, w->passphrase, &w->e), 0);
        assert_int_equal(look(w), 0);
}

static void copy(struct world *w, uint64_t at, uint64_t end)
{
        size_t n = (size_t)(end - at);
        _cleanup_free_ uint8_t *data = malloc(n);

        assert_non_null(data);
        assert_int_equal(file_pread(w->header, data, n, at), n);
        assert_int_equal(file_pwrite(w->fd, data, n, at), 0);
}

static void mark_and_content_come_back(void **state)
{
        static const struct blank want = {.allow_discards = true};
        struct world *w = *state;
        _cleanup_(buf_done) struct buf content = BUF_INIT(1024);
        struct blank b;

        assert_int_equal(look(w), 0);
        mark(w);
        assert_int_equal(blank_read(w->path, NAME, &b, &w->e), 1);
        assert_true(b.allow_software_tpm && !b.allow_discards);
        assert_int_equal(b.content_size, strlen(CONTENT));
        assert_int_equal(blank_read_content(w->path, &b, &content, &w->e), 0);
        assert_string_equal(buf_str(&content), CONTENT);
        /* Inside of an image: at its offset and nowhere else. */
        assert_int_equal(blank_write(w->fd, AT, NAME, &want, NULL, 0, &w->e), 0);
        assert_int_equal(blank_read(w->path, NAME, &b, &w->e), 1);
        assert_int_equal(b.content_size, strlen(CONTENT));
}

static void damage_is_no_mark(void **state)
{
        static const uint64_t places[] = {17, 24, 40, 66, 2000, 4095};
        struct world *w = *state;
        _cleanup_(buf_done) struct buf content = BUF_INIT(1024);
        struct blank b;
        uint8_t byte;

        mark(w);
        assert_int_equal(blank_read(w->path, "oem", &b, &w->e), -EBADMSG);
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                assert_int_equal(file_pread(w->fd, &byte, 1, places[i]), 1);
                byte ^= 1;
                assert_int_equal(file_pwrite(w->fd, &byte, 1, places[i]), 0);
                assert_int_equal(look(w), -EBADMSG);
                assert_int_equal(w->e.class, ERROR_PRECONDITION);
                byte ^= 1;
                assert_int_equal(file_pwrite(w->fd, &byte, 1, places[i]), 0);
        }
        assert_int_equal(blank_read(w->path, NAME, &b, &w->e), 1);
        assert_int_equal(file_pwrite(w->fd, "X", 1, BLANK_MARK_SIZE), 0);
        assert_int_equal(blank_read_content(w->path, &b, &content, &w->e), -EBADMSG);
        assert_int_equal(content.len, 0);
}

static void mark_over_a_volume_is_refused(void **state)
{
        struct world *w = *state;
        uint8_t first[BLANK_MARK_SIZE];

        mark(w);
        assert_int_equal(file_pread(w->fd, first, sizeof(first), 0), sizeof(first));
        make_header(w);
        if (blank_replace(w->path, w->header, &w->e) < 0)
                fail_msg("%s", w->e.text);
        expect_volume(w);
        assert_int_equal(file_pwrite(w->fd, first, sizeof(first), 0), 0);
        assert_int_equal(look(w), -EEXIST);
}

/* What a power cut leaves between the writes of blank_replace(), in its order. */
static void every_cut_is_blank_or_a_volume(void **state)
{
        struct world *w = *state;

        mark(w);
        make_header(w);
        copy(w, 4096, 0x4000);
        assert_int_equal(look(w), 1);
        copy(w, 0x5000, LUKS_HEADER_SIZE);
        assert_int_equal(look(w), 1);
        copy(w, 0, 4096);
        expect_volume(w);
        copy(w, 0x4000, 0x5000);
        expect_volume(w);
}

/* The other order of the last two would leave a mark that is refused for good. */
static void second_header_before_the_first_would_be_refused(void **state)
{
        struct world *w = *state;

        mark(w);
        make_header(w);
        copy(w, 4096, LUKS_HEADER_SIZE);
        assert_int_equal(look(w), -EEXIST);
}

static void nothing_of_the_content_stays(void **state)
{
        struct world *w = *state;
        _cleanup_free_ uint8_t *all = malloc(LUKS_HEADER_SIZE);

        mark(w);
        make_header(w);
        assert_int_equal(blank_replace(w->path, w->header, &w->e), 0);
        assert_non_null(all);
        assert_int_equal(file_pread(w->fd, all, LUKS_HEADER_SIZE, 0), LUKS_HEADER_SIZE);
        assert_null(memmem(all, LUKS_HEADER_SIZE, CONTENT, strlen(CONTENT)));
        assert_null(memmem(all, LUKS_HEADER_SIZE, "tb-agent", 8));
}

static void too_much_content(void **state)
{
        struct world *w = *state;
        _cleanup_free_ uint8_t *much = calloc(1, LIMIT_BLANK_CONTENT + 1);

        assert_non_null(much);
        assert_int_equal(blank_write(w->fd, 0, NAME, &(struct blank){0}, much,
                                     LIMIT_BLANK_CONTENT + 1, &w->e),
                         -E2BIG);
        assert_int_equal(look(w), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(mark_and_content_come_back),
                CASE(damage_is_no_mark),
                CASE(mark_over_a_volume_is_refused),
                CASE(every_cut_is_blank_or_a_volume),
                CASE(second_header_before_the_first_would_be_refused),
                CASE(nothing_of_the_content_stays),
                CASE(too_much_content),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
