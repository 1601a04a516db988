/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Besides the ordinary cases, whole sequences are cut at every step that changes the medium, the
 * state left behind is checked, and a second run has to finish the work.
 */
#include "tests/unit/esp_world.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "base/limits.h"
#include "upgrade/esp_path.h"
#include "upgrade/slots.h"

/* --- whole sequences, cut ------------------------------------------------------------------- */

static int install(void)
{
        int r = esp_make_dir(&esp, "EFI/BOOT", &error);

        if (r == 0)
                r = esp_add_file(&esp, "EFI/BOOT/BOOTX64.EFI", "MZ", 2, &error);
        /* A boot loader cut short is not rewritten behind the caller's back. */
        if (r == -EEXIST) {
                r = esp_remove(&esp, "EFI/BOOT/BOOTX64.EFI", &error);
                if (r == 0)
                        r = esp_add_file(&esp, "EFI/BOOT/BOOTX64.EFI", "MZ", 2, &error);
        }
        if (r == 0)
                r = add_image(1);
        if (r == 0)
                r = add_entry("active.conf", "0001", 1);
        return r == 0 ? add_entry("passive.conf", "0002", 1) : r;
}

static void installed(void)
{
        char file[NAME_MAX + 1];

        assert_bootable(file);
        assert_string_equal(file, "active.conf");
        assert_true(there("loader/entries/passive.conf"));
        scratch_expect(&dir, "EFI/BOOT/BOOTX64.EFI", "MZ", 2);
}

static void test_cut_install(void **state)
{
        static const struct scenario s = {.run = install, .after = installed};

        (void)state;
        cut_everywhere(&s, false);
        cut_everywhere(&s, true);
}

static void before_upgrade(void)
{
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_entry("active.conf", "0001", 2), 0);
        assert_int_equal(add_entry("passive.conf", "0002", 1), 0);
}

/* New image, passive to the one that runs, active on trial, then what is not needed any more. */
static int upgrade(void)
{
        int r = add_image(3);

        if (r == 0)
                r = switch_entry("passive.conf", "0002", 2);
        if (r == 0)
                r = add_entry("active+3-0.conf", "0001", 3);
        if (r == 0 && there("loader/entries/active.conf"))
                r = esp_remove(&esp, "loader/entries/active.conf", &error);
        if (r == 0 && there(ESP_IMAGE_DIR "/usi-00000001.efi"))
                r = esp_remove(&esp, ESP_IMAGE_DIR "/usi-00000001.efi", &error);
        return r;
}

static void upgraded(void)
{
        _cleanup_free_ struct esp_image *list = NULL;
        char file[NAME_MAX + 1];
        size_t n = 0;

        assert_bootable(file);
        assert_string_equal(file, "active+3-0.conf");
        assert_int_equal(esp_list_images(&esp, &list, &n, NULL), 0);
        assert_int_equal(n, 2);
        assert_int_equal(list[0].number, 2);
        assert_int_equal(list[1].number, 3);
        assert_true(list[0].named && list[1].named);
        assert_int_equal(list[0].size, IMAGE_SIZE);
        assert_false(there("loader/entries/active.conf"));
}

static void test_cut_upgrade(void **state)
{
        static const struct scenario s = {.before = before_upgrade,
                                          .run = upgrade,
                                          .after = upgraded,
                                          .always_bootable = true};

        (void)state;
        cut_everywhere(&s, false);
        cut_everywhere(&s, true);
}

static void before_bless(void)
{
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_entry("active+2-1.conf", "0001", 2), 0);
        assert_int_equal(add_entry("passive.conf", "0002", 1), 0);
}

static void before_bless_twin(void)
{
        before_bless();
        assert_int_equal(add_entry("active.conf", "0001", 1), 0);
}

static void before_bless_broken_twin(void)
{
        before_bless();
        scratch_put_text(&dir, "loader/entries/active.conf", "");
}

/* The firmware's rename was cut and left both names. */
static void before_bless_double(void)
{
        before_bless();
        assert_int_equal(add_entry("active+3-0.conf", "0001", 2), 0);
}

static int bless(void)
{
        return esp_bless(&esp, "\\loader\\entries\\active+2-1.conf", &error);
}

static void blessed(void)
{
        char text[ENTRY_SIZE], file[NAME_MAX + 1];

        entry_text("entry", "0001", 2, text);
        scratch_expect(&dir, "loader/entries/active.conf", text, sizeof(text));
        assert_false(there("loader/entries/active+2-1.conf"));
        assert_false(there("loader/entries/active+3-0.conf"));
        assert_bootable(file);
        assert_string_equal(file, "active.conf");
}

static void test_cut_bless(void **state)
{
        static void (*const starts[])(void) = {before_bless, before_bless_twin,
                                               before_bless_broken_twin, before_bless_double};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
                struct scenario s = {.before = starts[i],
                                     .run = bless,
                                     .after = blessed,
                                     .always_bootable = true};

                cut_everywhere(&s, false);
                cut_everywhere(&s, true);
        }
}

/* --- ordinary cases -------------------------------------------------------------------------- */

static void test_paths(void **state)
{
        static const char *const bad[] = {"/EFI/x", "EFI//x", "EFI/../x", "../x",   "EFI/./x",
                                          "EFI\\x", "",       "EFI/",     "link/x", "EFI/kairos"};

        (void)state;
        assert_int_equal(symlinkat("/tmp", dir.fd, "link"), 0);
        assert_int_equal(symlinkat("/etc/passwd", dir.fd, "EFI/passwd"), 0);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_true(esp_add_file(&esp, bad[i], "x", 1, &error) < 0);
        assert_int_equal(esp_add_file(&esp, "EFI/passwd", "x", 1, &error), -EINVAL);
        assert_int_equal(esp_add_file(&esp, "missing/x", "x", 1, &error), -ENOENT);
        assert_int_equal(esp_make_dir(&esp, "a/../b", &error), -EINVAL);
        assert_int_equal(esp_make_dir(&esp, "/a", &error), -EINVAL);
        assert_int_equal(esp_make_dir(&esp, "a/b/c", &error), 0);
        assert_int_equal(esp_make_dir(&esp, "a/b/c", &error), 0);
        assert_true(there("a/b/c"));
}

static void test_add_file(void **state)
{
        static uint8_t big[LIMIT_BOOT_LOADER + 1];

        (void)state;
        assert_int_equal(esp_add_file(&esp, "loader/loader.conf", "timeout 3\n", 10, &error), 0);
        assert_int_equal(esp_add_file(&esp, "loader/loader.conf", "timeout 3\n", 10, &error), 0);
        assert_int_equal(esp_add_file(&esp, "loader/loader.conf", "timeout 4\n", 10, &error),
                         -EEXIST);
        assert_int_equal(error.class, ERROR_PRECONDITION);
        scratch_expect(&dir, "loader/loader.conf", "timeout 3\n", 10);
        assert_int_equal(esp_add_file(&esp, "loader/empty", "", 0, &error), 0);
        assert_int_equal(esp_add_file(&esp, "loader/big", big, sizeof(big), &error), -EINVAL);
        assert_int_equal(esp_add_file(&esp, "loader/big", big, sizeof(big) - 1, &error), 0);
        assert_int_equal(esp_add_file(&esp, "loader/big", big, sizeof(big) - 1, &error), 0);
        assert_int_equal(esp_add_file(&esp, "loader/entries/a.conf", "x", 1, &error), -EINVAL);
        assert_int_equal(esp_add_file(&esp, "LOADER/Entries/a.conf", "x", 1, &error), -EINVAL);
}

static void test_space(void **state)
{
        struct statvfs v;
        uint64_t available = 0;

        (void)state;
        assert_int_equal(esp_free_space(&esp, &available, &error), 0);
        assert_int_equal(fstatvfs(dir.fd, &v), 0);
        assert_true(available < v.f_bavail * v.f_frsize);
        assert_int_equal(esp_check_space(&esp, 1, &error), 0);
        assert_int_equal(esp_check_space(&esp, UINT64_MAX, &error), -ENOSPC);
        assert_int_equal(esp_check_space(&esp, LIMIT_IMAGE_SIZE + 1, &error), -ENOSPC);
        assert_int_equal(error.class, ERROR_SPACE);
        assert_true(error.advice[0]);
}

static void test_stream(void **state)
{
        uint8_t sha[SHA256_SIZE], wrong[SHA256_SIZE] = {0}, found[SHA256_SIZE];
        _cleanup_free_ uint8_t *bytes = image_bytes(1, sha);
        _cleanup_close_ int out = -EBADF, in = -EBADF;
        char path[64];
        uint64_t size = 0;
        int fds[2];

        (void)state;
        image_name(1, path);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        out = fds[0];
        in = fds[1];
        assert_int_equal(file_write(in, bytes, 1000), 0);
        close_p(&in);
        /* Ends too early: refused, nothing stays. */
        assert_int_equal(esp_add_stream(&esp, path, out, IMAGE_SIZE, sha, &error), -ENODATA);
        assert_int_equal(error.class, ERROR_SOURCE);
        assert_false(there(path));

        scratch_put(&dir, "source", bytes, IMAGE_SIZE);
        close_p(&out);
        out = openat(dir.fd, "source", O_RDONLY | O_CLOEXEC);
        assert_int_equal(lseek(out, 77, SEEK_SET), 77);
        assert_int_equal(esp_add_stream(&esp, path, out, IMAGE_SIZE, wrong, &error), -EBADMSG);
        assert_int_equal(error.class, ERROR_REFUSED);
        assert_false(there(path));
        assert_int_equal(esp_add_stream(&esp, path, out, IMAGE_SIZE, sha, &error), 0);
        assert_int_equal(lseek(out, 0, SEEK_CUR), 77);
        scratch_expect(&dir, path, bytes, IMAGE_SIZE);
        assert_int_equal(esp_digest(&esp, path, found, &size, &error), 0);
        assert_memory_equal(found, sha, SHA256_SIZE);
        assert_int_equal(size, IMAGE_SIZE);

        /* A cut can leave the right size and wrong data. */
        bytes[IMAGE_SIZE - 1] ^= 1;
        scratch_put(&dir, path, bytes, IMAGE_SIZE);
        bytes[IMAGE_SIZE - 1] ^= 1;
        assert_int_equal(esp_add_stream(&esp, path, out, IMAGE_SIZE, sha, &error), 0);
        scratch_expect(&dir, path, bytes, IMAGE_SIZE);

        /* Other bytes under that name: replaced while nobody names it, refused afterwards. */
        scratch_put_text(&dir, path, "half");
        assert_int_equal(esp_add_stream(&esp, path, out, IMAGE_SIZE, sha, &error), 0);
        assert_int_equal(add_entry("active.conf", "0001", 1), 0);
        scratch_put_text(&dir, path, "half");
        assert_int_equal(esp_add_stream(&esp, path, out, IMAGE_SIZE, sha, &error), -EBUSY);
        scratch_expect(&dir, path, "half", 4);
}

static void test_writer(void **state)
{
        uint8_t expect[SHA256_SIZE], got[SHA256_SIZE];
        struct esp_writer *w = NULL, *second = NULL;
        uint64_t size = 0;

        (void)state;
        assert_int_equal(sha256("abcdef", 6, expect), 0);
        assert_int_equal(esp_writer_begin(&esp, "EFI/w", 10, &w, &error), 0);
        assert_int_equal(esp_writer_begin(&esp, "EFI/w", 10, &second, &error), -EEXIST);
        assert_null(second);
        assert_true(there("EFI/w")); /* the failed one did not delete the other's file */
        assert_int_equal(esp_writer_write(w, "abc", 3, &error), 0);
        assert_int_equal(esp_writer_write(w, "def", 3, &error), 0);
        assert_int_equal(esp_writer_write(w, "12345", 5, &error), -EFBIG);
        assert_int_equal(esp_writer_finish(w, NULL, got, &size, &error), 0);
        assert_memory_equal(got, expect, SHA256_SIZE);
        assert_int_equal(size, 6);
        esp_writer_free(w);
        scratch_expect(&dir, "EFI/w", "abcdef", 6);
        /* Without finish nothing stays. */
        assert_int_equal(esp_writer_begin(&esp, "EFI/v", 10, &w, &error), 0);
        assert_int_equal(esp_writer_write(w, "abc", 3, &error), 0);
        esp_writer_free(w);
        assert_false(there("EFI/v"));
        assert_int_equal(esp_writer_begin(&esp, "EFI/v", UINT64_MAX, &w, &error), -ENOSPC);
        assert_false(there("EFI/v"));
        esp_writer_free(NULL);
}

static int bad_medium(void *arg, const char *what, const char *path)
{
        (void)arg;
        if (strcmp(what, "read-back") == 0) {
                _cleanup_close_ int fd = openat(dir.fd, path, O_WRONLY | O_CLOEXEC);

                assert_int_equal(file_pwrite(fd, "X", 1, 1), 0);
        }
        return 0;
}

static void test_read_back(void **state)
{
        (void)state;
        esp.step = bad_medium;
        assert_int_equal(esp_add_file(&esp, "EFI/x", "abc", 3, &error), -EIO);
        assert_int_equal(error.class, ERROR_IO);
        assert_false(there("EFI/x"));
}

/* One step fails while the machine goes on: the new file is gone, the old state is whole. */
static void test_failing_steps(void **state)
{
        static const char *const steps[] = {"create", "write", "sync", "sync-dir", "read-back"};

        (void)state;
        before_upgrade();
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                faults_reset(-1, false);
                faults.fail_what = steps[i];
                assert_int_equal(add_image(3), -EIO);
                assert_int_equal(error.class, ERROR_IO);
                assert_false(there(ESP_IMAGE_DIR "/usi-00000003.efi"));
                assert_bootable(NULL);
        }
}

static void test_entries(void **state)
{
        char text[ENTRY_SIZE], other[ENTRY_SIZE], nowhere[ENTRY_SIZE];

        (void)state;
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_image(2), 0);
        entry_text("a", "0001", 1, text);
        entry_text("b", "0001", 2, other);
        entry_text("c", "0001", 9, nowhere);
        assert_int_equal(esp_add_entry(&esp, "active.conf", nowhere, &error), -ENOENT);
        assert_false(there("loader/entries/active.conf"));
        assert_int_equal(esp_add_entry(&esp, "../active.conf", text, &error), -EINVAL);
        assert_int_equal(esp_add_entry(&esp, "active.txt", text, &error), -EINVAL);
        assert_int_equal(esp_write_entry_in_place(&esp, "active.conf", text, &error), -ENOENT);
        assert_int_equal(esp_add_entry(&esp, "active.conf", text, &error), 0);
        assert_int_equal(esp_add_entry(&esp, "active.conf", other, &error), -EEXIST);
        assert_int_equal(esp_write_entry_in_place(&esp, "active.conf", nowhere, &error), -ENOENT);
        scratch_expect(&dir, "loader/entries/active.conf", text, ENTRY_SIZE);
        assert_int_equal(esp_write_entry_in_place(&esp, "active.conf", other, &error), 0);
        scratch_expect(&dir, "loader/entries/active.conf", other, ENTRY_SIZE);
        scratch_put_text(&dir, "loader/entries/short.conf", "title x\nefi /x\n");
        assert_int_equal(esp_write_entry_in_place(&esp, "short.conf", text, &error), -EINVAL);
        /* An entry that leads nowhere is a leftover, and is replaced. */
        assert_int_equal(esp_add_entry(&esp, "short.conf", text, &error), 0);
        scratch_expect(&dir, "loader/entries/short.conf", text, ENTRY_SIZE);
}

static void test_remove(void **state)
{
        (void)state;
        before_upgrade();
        assert_int_equal(esp_remove(&esp, "EFI/absent", &error), 0);
        assert_int_equal(esp_remove(&esp, "absent/absent", &error), 0);
        assert_int_equal(esp_remove(&esp, "EFI", &error), -EINVAL);
        assert_int_equal(esp_remove(&esp, ESP_IMAGE_DIR "/usi-00000001.efi", &error), -EBUSY);
        assert_int_equal(esp_remove(&esp, "EFI/../EFI/kairos/usi-00000001.efi", &error), -EINVAL);
        assert_int_equal(add_image(3), 0);
        assert_int_equal(esp_remove(&esp, ESP_IMAGE_DIR "/usi-00000003.efi", &error), 0);
        /* Any mention counts, in any case, in any file of the directory. */
        assert_int_equal(add_image(3), 0);
        scratch_put_text(&dir, "loader/entries/other.txt", "xUSI-00000003.EFIx");
        assert_int_equal(esp_remove(&esp, ESP_IMAGE_DIR "/usi-00000003.efi", &error), -EBUSY);
        assert_int_equal(unlinkat(dir.fd, "loader/entries/other.txt", 0), 0);
        /* An entry that cannot be read might name it. */
        scratch_put(&dir, "loader/entries/huge.conf", (char[LIMIT_LOADER_ENTRY + 1]){0},
                    LIMIT_LOADER_ENTRY + 1);
        assert_int_equal(esp_remove(&esp, ESP_IMAGE_DIR "/usi-00000003.efi", &error), -EBUSY);
        assert_int_equal(unlinkat(dir.fd, "loader/entries/huge.conf", 0), 0);
        /* One entry has to stay. */
        assert_int_equal(esp_remove(&esp, "loader/entries/active.conf", &error), 0);
        assert_int_equal(esp_remove(&esp, "loader/entries/passive.conf", &error), -EBUSY);
        assert_bootable(NULL);
}

static void test_bless_refuses(void **state)
{
        static const struct {
                const char *path;
                int result;
        } table[] = {
                {"", -EINVAL},
                {"\\loader\\entries\\active.conf", -EINVAL},
                {"\\EFI\\Linux\\active+2-1.conf", -EINVAL},
                {"\\loader\\entries\\..\\active+2-1.conf", -EINVAL},
                {"\\loader\\entries\\x+1-1.conf", -ENOENT},
                {"loader/entries/active+2-1.conf", 0},
                {"\\loader\\entries\\active+2-1.conf", 0}, /* again */
        };

        (void)state;
        before_bless();
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_int_equal(esp_bless(&esp, table[i].path, &error), table[i].result);
        blessed();
}

/* A newer image on trial is not touched by the confirmation of the one that runs. */
static void test_bless_keeps_others(void **state)
{
        (void)state;
        before_bless();
        assert_int_equal(add_image(3), 0);
        assert_int_equal(add_entry("active+3-0.conf", "0001", 3), 0);
        assert_int_equal(bless(), 0);
        assert_true(there("loader/entries/active+3-0.conf"));
        assert_true(there("loader/entries/active.conf"));
        assert_false(there("loader/entries/active+2-1.conf"));
}

/* Entries of other installers have any size. */
static void test_bless_foreign(void **state)
{
        static const char text[] = "title x\nefi /EFI/kairos/usi-00000001.efi\n";

        (void)state;
        assert_int_equal(add_image(1), 0);
        scratch_put_text(&dir, "loader/entries/active+2-1.conf", text);
        scratch_put_text(&dir, "loader/entries/active.conf", "title old\nefi /x\n");
        assert_int_equal(bless(), 0);
        scratch_expect(&dir, "loader/entries/active.conf", text, sizeof(text) - 1);
        assert_false(there("loader/entries/active+2-1.conf"));
}

static void test_lists(void **state)
{
        _cleanup_free_ struct entry_file *entries = NULL;
        _cleanup_free_ struct esp_image *images = NULL;
        size_t n = 0, m = 0;

        (void)state;
        before_upgrade();
        assert_int_equal(add_image(10), 0);
        scratch_put_text(&dir, ESP_IMAGE_DIR "/norole.efi", "x");
        scratch_put_text(&dir, "loader/entries/zero.conf", "");
        scratch_put_text(&dir, "loader/entries/gone.conf", "efi /EFI/gone.efi\n");
        scratch_put_text(&dir, "loader/entries/README", "x");
        assert_int_equal(esp_list_entries(&esp, &entries, &n, &error), 0);
        assert_int_equal(n, 4);
        assert_string_equal(entries[0].file, "active.conf");
        assert_int_equal(entries[0].name.role, ENTRY_ROLE_ACTIVE);
        assert_int_equal(entries[0].size, ENTRY_SIZE);
        assert_true(entries[0].valid && entries[0].image_present);
        assert_true(entries[1].valid && !entries[1].image_present);
        assert_string_equal(entries[2].file, "passive.conf");
        assert_false(entries[3].valid || entries[3].unreadable);
        assert_int_equal(esp_list_images(&esp, &images, &m, &error), 0);
        assert_int_equal(m, 3);
        assert_int_equal(images[2].number, 10);
        assert_false(images[2].named);
        assert_true(images[0].named);
}

static void test_lists_of_nothing(void **state)
{
        struct entry_file *entries = NULL;
        struct esp_image *images = NULL;
        size_t n = 1, m = 1;

        (void)state;
        assert_int_equal(unlinkat(dir.fd, "loader/entries", AT_REMOVEDIR), 0);
        assert_int_equal(unlinkat(dir.fd, "EFI/kairos", AT_REMOVEDIR), 0);
        assert_int_equal(esp_list_entries(&esp, &entries, &n, &error), 0);
        assert_int_equal(esp_list_images(&esp, &images, &m, &error), 0);
        assert_int_equal(n + m, 0);
        assert_null(entries);
        assert_null(images);
}

static void note_bytes(void *arg, uint64_t done)
{
        uint64_t *last = arg;

        assert_true(done > *last);
        *last = done;
}

static void test_copying_is_told(void **state)
{
        uint64_t last = 0;

        (void)state;
        esp.copied = note_bytes;
        esp.copied_arg = &last;
        assert_int_equal(add_image(1), 0);
        assert_int_equal(last, IMAGE_SIZE);
}

/* readdir() has all names in hand when the second one is taken away. */
static void test_file_goes_away(void **state)
{
        _cleanup_(esp_path_dir_close) struct esp_path_dir d = ESP_PATH_DIR_INIT;
        const char *other;

        (void)state;
        scratch_put_text(&dir, "loader/entries/active+3-0.conf", "x");
        scratch_put_text(&dir, "loader/entries/active.conf", "x");
        assert_int_equal(esp_path_dir_open(&d, dir.fd, "loader/entries"), 0);
        assert_int_equal(esp_path_dir_next(&d), 1);
        other = strcmp(d.name, "active.conf") == 0 ? "loader/entries/active+3-0.conf"
                                                   : "loader/entries/active.conf";
        assert_int_equal(unlinkat(dir.fd, other, 0), 0);
        assert_int_equal(esp_path_dir_next(&d), -ESTALE);
}

/* But not faster than anybody could look, and not longer than the test. */
static void change_for_ever(void)
{
        const struct timespec pause = {.tv_nsec = 200000};

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
                close(openat(dir.fd, "loader/entries/active+3-0.conf", O_CREAT | O_WRONLY, 0600));
                (void)unlinkat(dir.fd, "loader/entries/active+3-0.conf", 0);
                (void)nanosleep(&pause, NULL);
        }
}

/* A status query beside a confirmation: never an error, never less than what stays. */
static void test_read_while_it_changes(void **state)
{
        pid_t child;

        (void)state;
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_entry("passive.conf", "0002", 1), 0);
        assert_int_equal(add_entry("recovery.conf", "0003", 1), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
                change_for_ever();
        for (int i = 0; i < 1000; i++) {
                struct slots_situation s = {0};

                assert_int_equal(slots_read(&esp, &s, &error), 0);
                assert_in_range(s.n_entries, 2, 3);
                assert_int_equal(s.n_images, 1);
                slots_done(&s);
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
}

/* A stand-in for the allocation table: the byte at the offset is the cluster. */
static int byte_is_cluster(int fd, uint64_t offset, uint64_t *ret)
{
        uint8_t c = 0;

        if (file_pread(fd, &c, 1, offset) < 0)
                return -EIO;
        *ret = c;
        return 0;
}

static int no_permission(int fd, uint64_t offset, uint64_t *ret)
{
        (void)fd;
        (void)offset;
        (void)ret;
        return -EPERM;
}

static void test_cross_links(void **state)
{
        static uint8_t two[3 * 65536];
        struct statvfs v;

        (void)state;
        assert_int_equal(fstatvfs(dir.fd, &v), 0);
        assert_true(v.f_bsize <= 65536);
        memset(two, 'a', v.f_bsize);
        memset(two + v.f_bsize, 'b', v.f_bsize);
        scratch_put(&dir, "EFI/kairos/live", two, 2 * v.f_bsize);
        scratch_put_text(&dir, "EFI/kairos/alone", "c");
        scratch_put_text(&dir, "EFI/kairos/shared", "b");
        scratch_put_text(&dir, "EFI/kairos/empty", "");
        esp.clusters = byte_is_cluster;
        assert_int_equal(esp_remove(&esp, "EFI/kairos/shared", &error), -EUCLEAN);
        assert_non_null(strstr(error.text, "EFI/kairos/live"));
        assert_true(error.advice[0]);
        assert_true(there("EFI/kairos/shared"));
        assert_int_equal(esp_remove(&esp, "EFI/kairos/live", &error), -EUCLEAN);
        assert_int_equal(esp_remove(&esp, "EFI/kairos/alone", &error), 0);
        assert_int_equal(esp_remove(&esp, "EFI/kairos/empty", &error), 0);
        assert_false(there("EFI/kairos/alone"));
        esp.clusters = no_permission;
        assert_int_equal(esp_remove(&esp, "EFI/kairos/shared", &error), -EPERM);
        assert_non_null(strstr(error.advice, "CAP_SYS_RAWIO"));
}

/* In place it would write into the other file. */
static void test_entry_that_shares_gets_its_own_cluster(void **state)
{
        char before[ENTRY_SIZE], after[ENTRY_SIZE];

        (void)state;
        assert_int_equal(add_image(7), 0);
        assert_int_equal(add_image(8), 0);
        assert_int_equal(add_entry("passive.conf", "0002", 7), 0);
        entry_text("entry", "0002", 8, after);
        assert_int_equal(switch_entry("passive.conf", "0002", 8), 0);
        scratch_expect(&dir, "loader/entries/passive.conf", after, sizeof(after));
        assert_false(there("loader/entries/TBAGENT0.TMP"));
        entry_text("entry", "0002", 7, before);
        assert_int_equal(switch_entry("passive.conf", "0002", 7), 0);
        scratch_put(&dir, "EFI/kairos/usi-00000009.efi", before, sizeof(before));
        esp.clusters = byte_is_cluster;
        if (switch_entry("passive.conf", "0002", 8) < 0)
                fail_msg("%s", error.text);
        scratch_expect(&dir, "loader/entries/passive.conf", after, sizeof(after));
        /* The old cluster is the other's as well, and freed for neither. */
        scratch_expect(&dir, "loader/entries/TBAGENT0.TMP", before, sizeof(before));
        esp.clusters = no_permission;
        assert_int_equal(switch_entry("passive.conf", "0002", 7), -EPERM);
        scratch_expect(&dir, "loader/entries/passive.conf", after, sizeof(after));
}

/* Who may be cut, when something has to be. */
static void test_what_is_needed(void **state)
{
        (void)state;
        scratch_put_text(&dir, "EFI/kairos/usi-00000007.efi", "a");
        scratch_put_text(&dir, "EFI/kairos/usi-00000009.efi", "b");
        scratch_put_text(&dir, "loader/entries/active.conf",
                         "title x\nefi /EFI/kairos/usi-00000007.efi\n");
        assert_true(esp_needs(&esp, "/EFI/kairos/usi-00000007.efi"));
        assert_true(esp_needs(&esp, "/loader/entries/active.conf"));
        assert_true(esp_needs(&esp, "/EFI/BOOT/BOOTX64.EFI"));
        assert_true(esp_needs(&esp, "/EFI/kairos"));
        assert_true(esp_needs(&esp, "/EFI/other/usi-00000009.efi"));
        assert_true(esp_needs(&esp, "/EFI/FSCK0000.REC"));
        assert_true(esp_needs(&esp, ""));
        assert_false(esp_needs(&esp, "/EFI/kairos/usi-00000009.efi"));
        assert_false(esp_needs(&esp, "/loader/entries/TBAGENT0.TMP"));
        assert_false(esp_needs(&esp, "/FSCK0000.REC"));
        assert_true(esp_needs(&esp, "/FSCK000.REC"));
}

static void test_salvaged_clusters(void **state)
{
        (void)state;
        scratch_put_text(&dir, "FSCK0000.REC", "x");
        scratch_put_text(&dir, "FSCK0017.REC", "y");
        scratch_put_text(&dir, "FSCK0017.RE", "z");
        scratch_put_text(&dir, "EFI/FSCK0000.REC", "z");
        scratch_put_text(&dir, "loader/entries/active.conf",
                         "title x\nefi /EFI/kairos/usi-00000007.efi\n");
        /* It may be what the entry leads to. */
        assert_int_equal(esp_drop_salvaged(&esp, &error), 0);
        assert_true(there("FSCK0000.REC") && there("FSCK0017.REC"));
        scratch_put_text(&dir, "EFI/kairos/usi-00000007.efi", "y");
        esp.clusters = byte_is_cluster;
        if (esp_drop_salvaged(&esp, &error) < 0)
                fail_msg("%s", error.text);
        assert_false(there("FSCK0000.REC"));
        assert_true(there("FSCK0017.REC")); /* shares */
        assert_true(there("FSCK0017.RE") && there("EFI/FSCK0000.REC"));
        esp.clusters = NULL;
        assert_int_equal(esp_drop_salvaged(&esp, &error), 0);
        assert_false(there("FSCK0017.REC"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cut_install),
                cmocka_unit_test(test_cut_upgrade),
                cmocka_unit_test(test_cut_bless),
                CASE(test_entry_that_shares_gets_its_own_cluster),
                CASE(test_what_is_needed),
                CASE(test_salvaged_clusters),
                CASE(test_paths),
                CASE(test_add_file),
                CASE(test_space),
                CASE(test_stream),
                CASE(test_writer),
                CASE(test_read_back),
                CASE(test_failing_steps),
                CASE(test_entries),
                CASE(test_remove),
                CASE(test_bless_refuses),
                CASE(test_bless_keeps_others),
                CASE(test_bless_foreign),
                CASE(test_lists),
                CASE(test_lists_of_nothing),
                CASE(test_copying_is_told),
                CASE(test_file_goes_away),
                CASE(test_read_while_it_changes),
                CASE(test_cross_links),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
