/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A boot partition in a folder of its own, images and entries to put on it, and a way to run a
 * sequence of changes again and again, cut at another step each time.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/scratch.h"
#include "upgrade/esp.h"

#define IMAGE_SIZE (FILE_CHUNK + 4321)

static struct scratch dir;
static struct esp esp;
static struct error error;

/* --- a world with faults --------------------------------------------------------------------- */

static struct {
        int steps;             /* taken so far */
        int cut_at;            /* from this step on everything fails; -1 = never */
        bool lose_data;        /* a file whose sync was cut comes back as garbage */
        const char *fail_what; /* only this step fails */
        char created[PATH_MAX];
        int changes; /* steps that change content */
} faults;

static inline int fault_step(void *arg, const char *what, const char *path)
{
        int now = faults.steps++;

        (void)arg;
        if (strcmp(what, "create") == 0 && (faults.cut_at < 0 || now < faults.cut_at))
                (void)snprintf(faults.created, sizeof(faults.created), "%s", path);
        if (strcmp(what, "sync") != 0 && strcmp(what, "sync-dir") != 0 &&
            strcmp(what, "read-back") != 0 && strcmp(what, "mkdir") != 0)
                faults.changes++;
        if (faults.fail_what && strcmp(what, faults.fail_what) == 0)
                return -EIO;
        if (faults.cut_at < 0 || now < faults.cut_at)
                return 0;
        if (now == faults.cut_at && faults.lose_data && strcmp(what, "sync") == 0 &&
            strcmp(path, faults.created) == 0)
                scratch_put(&dir, path, "\0\0\0\0garbage", 11);
        return -EIO;
}

static inline void faults_reset(int cut_at, bool lose_data)
{
        memset(&faults, 0, sizeof(faults));
        faults.cut_at = cut_at;
        faults.lose_data = lose_data;
        error_clear(&error);
}

static inline int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        esp = (struct esp){.root = dir.fd, .step = fault_step};
        faults_reset(-1, false);
        assert_int_equal(esp_make_dir(&esp, ESP_IMAGE_DIR, &error), 0);
        assert_int_equal(esp_make_dir(&esp, ESP_ENTRY_DIR, &error), 0);
        return 0;
}

static inline int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

/* --- images and entries ---------------------------------------------------------------------- */

/* Content of image number n. The caller frees. */
static inline uint8_t *image_bytes(uint32_t n, uint8_t sha[SHA256_SIZE])
{
        uint8_t *p = malloc(IMAGE_SIZE);

        assert_non_null(p);
        for (size_t i = 0; i < IMAGE_SIZE; i++)
                p[i] = (uint8_t)(i * 7 + n);
        assert_int_equal(sha256(p, IMAGE_SIZE, sha), 0);
        return p;
}

static inline void image_name(uint32_t n, char path[64])
{
        (void)snprintf(path, 64, ESP_IMAGE_DIR "/usi-%08u.efi", n);
}

/* Adds image n from a file, as an upgrade does. */
static inline int add_image(uint32_t n)
{
        uint8_t sha[SHA256_SIZE];
        _cleanup_free_ uint8_t *bytes = image_bytes(n, sha);
        char source[] = "/tmp/tb-test-image.XXXXXX", path[64];
        _cleanup_close_ int fd = mkstemp(source);

        assert_true(fd >= 0);
        (void)unlink(source);
        assert_int_equal(file_write(fd, bytes, IMAGE_SIZE), 0);
        image_name(n, path);
        return esp_add_stream(&esp, path, fd, IMAGE_SIZE, sha, &error);
}

static inline void entry_text(const char *role, const char *sort_key, uint32_t image,
                              char text[ENTRY_SIZE])
{
        struct entry e = {.key = ENTRY_KEY_EFI, .has_sha256 = true};

        free(image_bytes(image, e.sha256)); /* for the digest */
        (void)snprintf(e.title, sizeof(e.title), "Test %s", role);
        (void)snprintf(e.sort_key, sizeof(e.sort_key), "%s", sort_key);
        (void)snprintf(e.version, sizeof(e.version), "%u", image);
        (void)snprintf(e.image, sizeof(e.image), "/" ESP_IMAGE_DIR "/usi-%08u.efi", image);
        assert_int_equal(entry_format(&e, text), 0);
}

static inline int add_entry(const char *file, const char *sort_key, uint32_t image)
{
        char text[ENTRY_SIZE];

        entry_text("entry", sort_key, image, text);
        return esp_add_entry(&esp, file, text, &error);
}

static inline int switch_entry(const char *file, const char *sort_key, uint32_t image)
{
        char text[ENTRY_SIZE];

        entry_text("entry", sort_key, image, text);
        return esp_write_entry_in_place(&esp, file, text, &error);
}

/* What the boot loader would start must be an image with the digest its entry says. */
static inline void assert_bootable(char ret_file[NAME_MAX + 1])
{
        _cleanup_free_ struct entry_file *list = NULL;
        const struct entry_file *best;
        uint8_t sha[SHA256_SIZE];
        char path[PATH_MAX];
        uint64_t size = 0;
        size_t n = 0;

        assert_int_equal(esp_list_entries(&esp, &list, &n, NULL), 0);
        best = entry_select(list, n, 257);
        assert_non_null(best);
        assert_int_equal(entry_image_path(&best->entry, path), 0);
        assert_int_equal(esp_digest(&esp, path, sha, &size, NULL), 0);
        assert_int_equal(size, IMAGE_SIZE);
        assert_true(best->entry.has_sha256);
        assert_memory_equal(sha, best->entry.sha256, SHA256_SIZE);
        if (ret_file)
                memcpy(ret_file, best->file, sizeof(best->file));
}

static inline bool there(const char *path)
{
        return file_exists(dir.fd, path);
}

/* --- cutting --------------------------------------------------------------------------------- */

struct scenario {
        void (*before)(void);
        int (*run)(void);
        void (*after)(void); /* checks the finished state */
        bool always_bootable;
};

static inline void cut_everywhere(const struct scenario *s, bool lose_data)
{
        for (int cut = 0;; cut++) {
                int r;

                (void)set_up(NULL);
                if (s->before)
                        s->before();
                faults_reset(cut, lose_data);
                r = s->run();
                if (faults.steps <= cut) {
                        assert_int_equal(r, 0);
                        assert_true(cut > 1); /* the sequence did take steps */
                        s->after();
                        (void)tear_down(NULL);
                        return;
                }
                assert_int_equal(r, -EIO);
                if (s->always_bootable)
                        assert_bootable(NULL);

                faults_reset(-1, false);
                assert_int_equal(s->run(), 0);
                s->after();
                assert_bootable(NULL);

                faults_reset(-1, false);
                assert_int_equal(s->run(), 0);
                assert_int_equal(faults.changes, 0);
                s->after();
                (void)tear_down(NULL);
                assert_true(cut < 1000);
        }
}
