/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/digest.h"
#include "tests/unit/scratch.h"

static struct scratch dir;

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static unsigned count_names(void)
{
        DIR *d = opendir(dir.path);
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        (void)closedir(d);
        return n - 2;
}

static void test_read_bounds(void **state)
{
        _cleanup_(buf_done) struct buf exact = BUF_INIT(5), small = BUF_INIT(4), out = BUF_INIT(9);

        (void)state;
        scratch_put_text(&dir, "f", "hello");
        assert_int_equal(file_read(dir.fd, "f", &exact), 0);
        assert_string_equal(buf_str(&exact), "hello");
        assert_int_equal(file_read(dir.fd, "f", &small), -E2BIG);
        /* Appends. */
        assert_int_equal(buf_add_str(&out, "1234"), 0);
        assert_int_equal(file_read(dir.fd, "f", &out), 0);
        assert_string_equal(buf_str(&out), "1234hello");
        assert_int_equal(file_read(dir.fd, "absent", &out), -ENOENT);
        assert_int_equal(file_read(dir.fd, ".", &out), -EISDIR);
        scratch_put_text(&dir, "empty", "");
        assert_int_equal(file_read(dir.fd, "empty", &out), 0); /* although nothing fits */
}

/* What is no regular file is refused, and at once: nobody writes to the FIFO. */
static void test_regular_only(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(9);
        _cleanup_close_ int fd = -EBADF;

        (void)state;
        assert_int_equal(mkfifoat(dir.fd, "fifo", 0600), 0);
        (void)alarm(10); /* ends a program that waits */
        assert_int_equal(file_read(dir.fd, "fifo", &out), -EOPNOTSUPP);
        assert_int_equal(file_open_regular(dir.fd, "fifo"), -EOPNOTSUPP);
        (void)alarm(0);
        assert_int_equal(file_read(AT_FDCWD, "/dev/zero", &out), -EOPNOTSUPP);
        assert_int_equal(file_open_regular(dir.fd, "."), -EISDIR);
        assert_int_equal(file_open_regular(dir.fd, "absent"), -ENOENT);
        assert_int_equal(symlinkat("f", dir.fd, "link"), 0);
        scratch_put_text(&dir, "f", "x");
        fd = file_open_regular(dir.fd, "link");
        assert_true(fd >= 0);
}

static void test_words(void **state)
{
        (void)state;
        assert_string_equal(file_strerror(-E2BIG), "larger than what is accepted");
        assert_string_equal(file_strerror(-EOPNOTSUPP), "not a regular file");
        assert_string_equal(file_strerror(-ENOENT), "No such file or directory");
        assert_string_equal(file_strerror(-100000), "unknown error");
}

/* Whether an opened file keeps clear of 0 to 2 although those were closed. */
static int open_without_stdio(unsigned closed)
{
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                for (int fd = 0; fd <= 2; fd++)
                        if (closed & 1u << fd)
                                (void)close(fd);
                file_ensure_stdio();
                for (int fd = 0; fd <= 2; fd++)
                        if (fcntl(fd, F_GETFD) != 0)
                                _exit(2);
                if ((closed & 2) && write(STDOUT_FILENO, "x", 1) != 1)
                        _exit(3);
                _exit(openat(dir.fd, ".", O_RDONLY | O_CLOEXEC) > 2 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_closed_stdio(void **state)
{
        (void)state;
        for (unsigned closed = 0; closed < 8; closed++)
                assert_int_equal(open_without_stdio(closed), 0);
}

/* Files that report a size of zero and have content. */
static void test_read_proc(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(1 << 20);

        (void)state;
        assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", &out), 0);
        assert_true(out.len > 0);
}

static void test_read_large(void **state)
{
        _cleanup_(buf_done) struct buf in = BUF_INIT(3 * FILE_CHUNK),
                                       out = BUF_INIT(3 * FILE_CHUNK);
        uint8_t *p;

        (void)state;
        assert_int_equal(buf_reserve(&in, 2 * FILE_CHUNK + 7, &p), 0);
        for (size_t i = 0; i < 2 * FILE_CHUNK + 7; i++)
                p[i] = (uint8_t)(i * 31 >> 3);
        buf_commit(&in, 2 * FILE_CHUNK + 7);
        scratch_put(&dir, "f", in.data, in.len);
        assert_int_equal(file_read(dir.fd, "f", &out), 0);
        assert_int_equal(out.len, in.len);
        assert_memory_equal(out.data, in.data, in.len);
}

static void test_read_line(void **state)
{
        static const struct {
                const char *content, *line;
        } table[] = {{"abc\n", "abc"}, {"abc", "abc"}, {"a b \n\n\n", "a b "},
                     {"\n", ""},       {"", ""},       {"a\nb\n", "a\nb"}};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf out = BUF_INIT(100);

                scratch_put_text(&dir, "f", table[i].content);
                assert_int_equal(file_read_line(dir.fd, "f", &out), 0);
                assert_string_equal(buf_str(&out), table[i].line);
        }
}

static void test_positions(void **state)
{
        _cleanup_close_ int fd = openat(dir.fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        char out[8] = "";

        (void)state;
        assert_int_equal(file_pwrite(fd, "abc", 3, 5), 0);
        assert_int_equal(file_pread(fd, out, 8, 0), 8);
        assert_memory_equal(out, "\0\0\0\0\0abc", 8);
        assert_int_equal(file_pread(fd, out, 8, 6), 2);
        assert_int_equal(file_pread(fd, out, 8, 8), 0);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
        assert_int_equal(file_write(fd, "xy", 2), 0);
        assert_int_equal(file_pread(fd, out, 2, 0), 2);
        assert_memory_equal(out, "xy", 2);
        assert_int_equal(file_pread(-1, out, 2, 0), -EBADF);
        assert_int_equal(file_pwrite(-1, out, 2, 0), -EBADF);
        assert_int_equal(file_write(-1, out, 2), -EBADF);
        assert_int_equal(file_sync(-1), -EBADF);
        assert_int_equal(file_sync(fd), 0);
}

static void test_full_device(void **state)
{
        _cleanup_close_ int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

        (void)state;
        if (fd < 0)
                skip();
        assert_int_equal(file_write(fd, "x", 1), -ENOSPC);
        assert_int_equal(file_pwrite(fd, "x", 1, 0), -ENOSPC);
}

static void test_replace(void **state)
{
        _cleanup_close_ int old = -EBADF;
        char text[4] = "";
        struct stat st;

        (void)state;
        assert_int_equal(file_replace(dir.fd, "f", "one", 3, 0640), 0);
        scratch_expect(&dir, "f", "one", 3);
        assert_int_equal(fstatat(dir.fd, "f", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0640);
        /* A reader of the old file keeps the old file: it is replaced, not rewritten. */
        old = openat(dir.fd, "f", O_RDONLY | O_CLOEXEC);
        assert_int_equal(file_replace(dir.fd, "f", "second", 6, 0600), 0);
        scratch_expect(&dir, "f", "second", 6);
        assert_int_equal(file_pread(old, text, 3, 0), 3);
        assert_string_equal(text, "one");
        assert_int_equal(count_names(), 1);
}

static void test_replace_fails(void **state)
{
        (void)state;
        assert_int_equal(mkdirat(dir.fd, "f", 0700), 0);
        scratch_put_text(&dir, "f/inside", "x");
        /* The rename is what fails: the temporary file must not stay. */
        assert_true(file_replace(dir.fd, "f", "one", 3, 0600) < 0);
        assert_int_equal(count_names(), 1);
        assert_int_equal(file_replace(dir.fd, "absent/f", "one", 3, 0600), -ENOENT);
        assert_int_equal(file_replace(dir.fd, "f/g", "one", 3, 0600), 0);
        scratch_expect(&dir, "f/g", "one", 3);
}

/* A link is replaced, what it points at stays. */
static void test_replace_link(void **state)
{
        (void)state;
        scratch_put_text(&dir, "target", "t");
        assert_int_equal(symlinkat("target", dir.fd, "link"), 0);
        assert_int_equal(file_replace(dir.fd, "link", "new", 3, 0600), 0);
        scratch_expect(&dir, "target", "t", 1);
        scratch_expect(&dir, "link", "new", 3);
}

static void test_write_volatile(void **state)
{
        (void)state;
        assert_int_equal(file_write_volatile(dir.fd, "f", "long text", 9, 0600), 0);
        assert_int_equal(file_write_volatile(dir.fd, "f", "ab", 2, 0600), 0);
        scratch_expect(&dir, "f", "ab", 2);
        assert_int_equal(file_write_volatile(dir.fd, "no/f", "ab", 2, 0600), -ENOENT);
}

static void test_make_dirs(void **state)
{
        struct stat st;

        (void)state;
        assert_int_equal(file_make_dirs(dir.fd, "a/b/c", 0750), 0);
        assert_int_equal(file_make_dirs(dir.fd, "a/b/c", 0700), 0);
        assert_int_equal(file_make_dirs(dir.fd, "a/b/d/", 0750), 0);
        assert_int_equal(fstatat(dir.fd, "a/b/c", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0750);
        assert_true(file_exists(dir.fd, "a/b/d"));
        scratch_put_text(&dir, "f", "x");
        assert_int_equal(file_make_dirs(dir.fd, "f/x", 0700), -ENOTDIR);
        assert_true(file_exists(dir.fd, "f"));
        assert_false(file_exists(dir.fd, "g"));
        assert_false(file_exists(dir.fd, "f/x"));
}

static void test_open_dir(void **state)
{
        _cleanup_close_ int fd = file_open_dir(dir.fd, ".");

        (void)state;
        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        scratch_put_text(&dir, "f", "x");
        assert_int_equal(file_open_dir(dir.fd, "f"), -ENOTDIR);
        assert_int_equal(file_open_dir(dir.fd, "g"), -ENOENT);
}

static void test_random(void **state)
{
        uint8_t a[1000] = {0}, b[1000] = {0};

        (void)state;
        assert_int_equal(random_bytes(a, sizeof(a)), 0);
        assert_int_equal(random_bytes(b, sizeof(b)), 0);
        assert_memory_not_equal(a, b, sizeof(a));
        assert_memory_not_equal(a + 900, b + 900, 100);
}

/* FIPS 180-2 vectors, in one call, in pieces and from a file. */
static void test_digest(void **state)
{
        static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                      0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                      0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                      0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        _cleanup_close_ int fd = -EBADF;
        uint8_t out[SHA256_SIZE];
        uint64_t size = 0;

        (void)state;
        assert_int_equal(sha256("abc", 3, out), 0);
        assert_memory_equal(out, abc, sizeof(abc));
        assert_int_equal(digest_add(d, "a", 1), 0);
        assert_int_equal(digest_add(d, NULL, 0), 0);
        assert_int_equal(digest_add(d, "bc", 2), 0);
        assert_int_equal(digest_final(d, out), 0);
        assert_memory_equal(out, abc, sizeof(abc));
        scratch_put_text(&dir, "f", "abc");
        fd = openat(dir.fd, "f", O_RDONLY | O_CLOEXEC);
        assert_int_equal(lseek(fd, 2, SEEK_SET), 2);
        assert_int_equal(digest_fd(fd, out, &size), 0);
        assert_memory_equal(out, abc, sizeof(abc));
        assert_int_equal(size, 3);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 2);
        assert_int_equal(digest_fd(dir.fd, out, NULL), -EISDIR);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_read_bounds),    CASE(test_read_proc),     CASE(test_read_large),
                CASE(test_read_line),      CASE(test_positions),     CASE(test_full_device),
                CASE(test_replace),        CASE(test_replace_fails), CASE(test_replace_link),
                CASE(test_write_volatile), CASE(test_make_dirs),     CASE(test_open_dir),
                CASE(test_random),         CASE(test_digest),        CASE(test_regular_only),
                CASE(test_words),          CASE(test_closed_stdio),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
