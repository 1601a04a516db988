/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folders of a node, mounted for real: each "boot" is a process with a mount name space and a
 * root in memory of its own, and only the persistent folder is the same in all of them. Needs the
 * right to mount; skipped without it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "agent/boot_folders.h"
#include "base/log.h"
#include "partition/mount.h"
#include "tests/unit/scratch.h"

#define CANNOT_MOUNT 77
#define EXPECT(condition)                                                                          \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
                        _exit(1);                                                                  \
                }                                                                                  \
        } while (0)

static struct scratch scratch;

struct boot_world {
        struct env env;
        struct boot_report *report;
        struct error e;
};

static int set_up(void **state)
{
        (void)state;
        scratch_make(&scratch);
        assert_int_equal(file_make_dirs(scratch.fd, "root", 0755), 0);
        assert_int_equal(file_make_dirs(scratch.fd, "persistent", 0755), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&scratch);
        return 0;
}

static void put(const char *path, const char *text)
{
        EXPECT(file_write_volatile(AT_FDCWD, path, text, strlen(text), 0644) == 0);
}

static bool has(const char *path, const char *text)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(4096);

        return file_read(AT_FDCWD, path, &b) == 0 && strcmp(buf_str(&b), text) == 0;
}

static bool is_overlay(const char *path)
{
        struct statfs fs;

        return statfs(path, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

static unsigned long flags_of(const char *path)
{
        struct statvfs fs;

        return statvfs(path, &fs) == 0 ? fs.f_flag : 0;
}

static bool same_folder(const char *a, const char *b)
{
        struct stat x, y;

        return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static size_t problems(struct boot_world *w)
{
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *list;

        EXPECT(boot_report_write(w->report, &w->env, &w->e) == 0);
        EXPECT(boot_report_read(&w->env, &root, &w->e) == 0);
        EXPECT(json_get_array(root, "problems", &list) == 0);
        return json_object_array_length(list);
}

/* The image: a root in memory. */
static void unpack_image(void)
{
        static const char *const folders[] = {"/etc/ssh", "/home",    "/opt", "/oem/tb-agent",
                                              "/root",    "/run",     "/srv", "/usr/local",
                                              "/var/log", "/var/lib", "/tmp"};

        for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
                EXPECT(file_make_dirs(AT_FDCWD, folders[i], 0755) == 0);
        EXPECT(chmod("/root", 0700) == 0);
        put("/etc/ssh/config", "of the image\n");
        put("/etc/issue", "of the image\n");
        put("/opt/program", "of the image\n");
}

static void enter_world(bool persistent)
{
        const char *place = "persistent/usr-local";
        char root[128], local[192], kept[128];

        (void)snprintf(root, sizeof(root), "%s/root", scratch.path);
        (void)snprintf(local, sizeof(local), "%s/usr/local", root);
        (void)snprintf(kept, sizeof(kept), "%s/%s", scratch.path, place);
        if (mount_private(NULL) < 0 || mount("tmpfs", root, "tmpfs", 0, NULL) < 0)
                _exit(CANNOT_MOUNT);
        EXPECT(file_make_dirs(AT_FDCWD, local, 0755) == 0);
        if (persistent) {
                EXPECT(file_make_dirs(AT_FDCWD, kept, 0755) == 0);
                EXPECT(mount_bind(kept, local, NULL) == 0);
                EXPECT(mount_set_flags(local, MS_NOSUID | MS_NODEV | MS_NOATIME, NULL) == 0);
        }
        EXPECT(chroot(root) == 0 && chdir("/") == 0);
        unpack_image();
}

static void mount_folders(struct boot_world *w, bool persistent)
{
        const struct boot_data data = {.oem = true, .persistent = persistent};
        struct boot_layout *l = calloc(1, sizeof(*l));

        EXPECT(l);
        if (boot_folders_plan(&w->env, data, w->report, l, &w->e) < 0 ||
            boot_folders_mount(&w->env, l, w->report, &w->e) < 0) {
                (void)fprintf(stderr, "%s\n", w->e.text);
                _exit(1);
        }
        free(l);
}

/* One boot: before sees the unpacked image, after the mounted folders. */
static void boot(bool persistent, void (*before)(void), void (*after)(struct boot_world *))
{
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
                struct boot_world w = {.env = ENV_INIT, .report = boot_report_new()};

                log_set_level(LOG_LEVEL_ERROR);
                enter_world(persistent);
                if (before)
                        before();
                mount_folders(&w, persistent);
                after(&w);
                boot_report_free(w.report);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_MOUNT)
                skip();
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* --- boots --- */

static void first_boot(struct boot_world *w)
{
        struct stat st;

        EXPECT(problems(w) == 0);
        EXPECT(has("/etc/ssh/config", "of the image\n"));
        EXPECT(same_folder("/etc/ssh", "/usr/local/.state/etc-ssh.bind"));
        EXPECT(same_folder("/var/lib/rancher", "/usr/local/.state/var-lib-rancher.bind"));
        EXPECT(stat("/root", &st) == 0 && (st.st_mode & 07777) == 0700);
        EXPECT(is_overlay("/etc") && is_overlay("/opt") && is_overlay("/srv") &&
               is_overlay("/var"));
        EXPECT(has("/etc/issue", "of the image\n") && has("/opt/program", "of the image\n"));
        EXPECT((flags_of("/home") & (ST_NOSUID | ST_NODEV | ST_NOEXEC)) == (ST_NOSUID | ST_NODEV));
        EXPECT((flags_of("/var/log") & (ST_NOSUID | ST_NODEV | ST_NOEXEC)) ==
               (ST_NOSUID | ST_NODEV | ST_NOEXEC));
        EXPECT((flags_of("/etc") & (ST_NOSUID | ST_NODEV)) == (ST_NOSUID | ST_NODEV));
        put("/home/kept", "x");
        put("/etc/ssh/config", "of the node\n");
        put("/etc/lost", "x");
        put("/opt/lost", "x");
        put("/var/lib/lost", "x");
}

static void newer_image(void)
{
        put("/etc/ssh/more", "of a newer image\n");
        put("/etc/issue", "of a newer image\n");
}

static void second_boot(struct boot_world *w)
{
        EXPECT(problems(w) == 0);
        EXPECT(has("/home/kept", "x"));
        EXPECT(has("/etc/ssh/config", "of the node\n"));
        EXPECT(!file_exists(AT_FDCWD, "/etc/ssh/more")); /* the folder is the node's now */
        EXPECT(has("/etc/issue", "of a newer image\n"));
        EXPECT(!file_exists(AT_FDCWD, "/etc/lost") && !file_exists(AT_FDCWD, "/opt/lost") &&
               !file_exists(AT_FDCWD, "/var/lib/lost"));
}

static void folders_are_filled_once_and_kept(void **state)
{
        (void)state;
        boot(true, NULL, first_boot);
        boot(true, newer_image, second_boot);
}

static void wishes(void)
{
        put("/oem/tb-agent/mounts.json", "{\"bind\":[\"/data\",\"/data/a/b\",\"/opt\"],"
                                         "\"ephemeral\":[\"/scratch\",\"/data/a\"]}");
}

static void with_wishes(struct boot_world *w)
{
        EXPECT(problems(w) == 0);
        EXPECT(same_folder("/data", "/usr/local/.state/data.bind"));
        EXPECT(same_folder("/data/a/b", "/usr/local/.state/data-a-b.bind"));
        EXPECT(same_folder("/opt", "/usr/local/.state/opt.bind"));
        EXPECT(has("/opt/program", "of the image\n"));
        EXPECT(is_overlay("/scratch") && is_overlay("/data/a"));
}

static void user_adds_folders(void **state)
{
        (void)state;
        boot(true, wishes, with_wishes);
}

static void traps(void)
{
        EXPECT(symlink("/etc", "/link") == 0);
        put("/file", "");
        put("/oem/tb-agent/mounts.json", "{\"bind\":[\"/link/x\",\"/link\",\"/file\",\"/good\"]}");
        EXPECT(file_make_dirs(AT_FDCWD, "/usr/local/.state", 0755) == 0);
        put("/usr/local/.state/home.bind", "no folder");
}

static void after_traps(struct boot_world *w)
{
        EXPECT(problems(w) == 4);
        EXPECT(same_folder("/good", "/usr/local/.state/good.bind"));
        EXPECT(!file_exists(AT_FDCWD, "/etc/x"));
        /* Not kept, but there, and it takes writes. */
        EXPECT(is_overlay("/home"));
        put("/home/x", "x");
}

static void links_and_files_are_reported_and_survived(void **state)
{
        (void)state;
        boot(true, traps, after_traps);
}

static void in_recovery(struct boot_world *w)
{
        static const char *const folders[] = {"/etc", "/home",      "/opt", "/root",
                                              "/srv", "/usr/local", "/var"};

        EXPECT(problems(w) == 0);
        for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
                EXPECT(is_overlay(folders[i]));
        EXPECT(!file_exists(AT_FDCWD, "/home/kept"));
        EXPECT(!file_exists(AT_FDCWD, "/usr/local/.state"));
        put("/usr/local/x", "x");
        put("/var/log/x", "x");
}

static void without_persistent_nothing_is_kept(void **state)
{
        (void)state;
        boot(true, NULL, first_boot);
        boot(false, NULL, in_recovery);
        boot(true, newer_image, second_boot);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(folders_are_filled_once_and_kept, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(user_adds_folders, set_up, tear_down),
                cmocka_unit_test_setup_teardown(links_and_files_are_reported_and_survived, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(without_persistent_nothing_is_kept, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
