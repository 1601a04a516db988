/* SPDX-License-Identifier: Apache-2.0 */
/* User data at a boot: which files are read, which engine there is, and what is written where. What
 * the texts become is shown by tests/config/test_userdata_file.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/config_source.h"
#include "agent/userdata.h"
#include "agent/userdata_accounts.h"
#include "agent/userdata_engine.h"
#include "agent/userdata_node.h"
#include "base/limits.h"
#include "tests/unit/scratch.h"

#define HEAD "#cloud-config\n"

struct world {
        struct scratch dir;
        char *path[6];
        struct env env;
        struct config_problems problems;
        struct config_documents documents;
        struct userdata *u;
        struct userdata_files files;
        struct error error;
};

static struct world w;

static void put(const char *name, const char *text)
{
        char folder[256];

        (void)snprintf(folder, sizeof(folder), "%s", name);
        *strrchr(folder, '/') = '\0';
        assert_int_equal(file_make_dirs(w.dir.fd, folder, 0755), 0);
        scratch_put_text(&w.dir, name, text);
}

static int set_up(void **state)
{
        static const char *const folders[] = {"root", "sys", "proc", "run", "oem", "persistent"};
        const char **const to[] = {&w.env.root, &w.env.sysfs, &w.env.proc,
                                   &w.env.run,  &w.env.oem,   &w.env.persistent};

        (void)state;
        w = (struct world){.problems = CONFIG_PROBLEMS_INIT};
        scratch_make(&w.dir);
        for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
                assert_true(asprintf(&w.path[i], "%s/%s", w.dir.path, folders[i]) > 0);
                assert_int_equal(file_make_dirs(w.dir.fd, folders[i], 0755), 0);
                *to[i] = w.path[i];
        }
        put("proc/sys/kernel/random/boot_id", "id\n");
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        userdata_free(w.u);
        userdata_files_done(&w.files);
        config_documents_free(w.documents.item, w.documents.n);
        config_problems_done(&w.problems);
        for (size_t i = 0; i < ARRAY_SIZE(w.path); i++)
                free(w.path[i]);
        scratch_clean(&w.dir);
        return 0;
}

static void read_all(bool persistent, bool oem)
{
        assert_int_equal(config_source_read_at_boot(&w.env, persistent, oem, &w.problems,
                                                    &w.documents, &w.error),
                         0);
        assert_int_equal(
                userdata_make(w.documents.item, w.documents.n, &w.problems, &w.u, &w.error), 0);
}

static const char *top(const char *key)
{
        return userdata_node_text(w.u->tree, key) ?: "";
}

static bool told(const char *text, bool warning)
{
        for (size_t i = 0; i < w.problems.n; i++) {
                if (strstr(w.problems.item[i].text, text) && w.problems.item[i].warning == warning)
                        return true;
        }
        return false;
}

/* --- what is read ------------------------------------------------------------------------------*/

static void fill(void)
{
        put("root/etc/kairos/a.yaml", HEAD "hostname: image\nlocale: image\ntimezone: image\n");
        put("persistent/cloud-config/a.yaml", HEAD "hostname: persistent\nlocale: persistent\n");
        put("oem/90_custom.yaml", HEAD "hostname: oem\n");
        put("run/initramfs/live/a.yaml", HEAD "hostname: evil\nkeyboard: evil\n");
}

static void test_order(void **state)
{
        (void)state;
        fill();
        read_all(true, true);
        assert_int_equal(w.documents.n, 3);
        assert_string_equal(top("hostname"), "oem");
        assert_string_equal(top("locale"), "persistent");
        assert_string_equal(top("timezone"), "image");
        assert_int_equal(w.problems.n, 0);
}

/* A live session, and recovery with locked data: the image alone is trusted. */
static void test_image_alone(void **state)
{
        (void)state;
        fill();
        read_all(false, false);
        assert_int_equal(w.documents.n, 1);
        assert_string_equal(top("hostname"), "image");
}

static void test_nothing_at_all(void **state)
{
        (void)state;
        read_all(true, true);
        assert_true(userdata_empty(w.u));
}

static void test_broken_files_are_left_out_whole(void **state)
{
        static char large[LIMIT_CONFIG_DOCUMENT + 2];

        (void)state;
        put("oem/10_good.yaml", HEAD "hostname: good\nlocale: C\n");
        put("oem/20_syntax.yaml", HEAD "locale: half\nusers: [\n");
        put("oem/30_twice.yaml", HEAD "locale: one\nlocale: two\n");
        put("oem/40_template.yaml", "## template: jinja\n" HEAD "locale: half\n");
        put("oem/50_second.yaml", HEAD "locale: half\n---\nlocale: second\n");
        put("oem/60_list.yaml", HEAD "- locale\n");
        memset(large, '#', sizeof(large) - 1);
        memcpy(large, HEAD, sizeof(HEAD) - 1);
        put("oem/70_large.yaml", large);
        assert_int_equal(file_make_dirs(w.dir.fd, "oem/80_folder.yaml", 0755), 0);
        put("oem/85_others.yaml", "locale: others\n");
        put("oem/90_good.yaml", HEAD "timezone: UTC\n");
        read_all(true, true);
        assert_string_equal(top("hostname"), "good");
        assert_string_equal(top("locale"), "C");
        assert_string_equal(top("timezone"), "UTC");
        assert_int_equal(w.problems.errors, 7);
        assert_int_equal(w.problems.warnings, 1);
        assert_true(told("templates", false) && told("given twice", false) &&
                    told("second document", false) && told("larger than 1 MiB", false) &&
                    told("header", true));
}

static void test_sections_of_ours_go_nowhere(void **state)
{
        (void)state;
        put("oem/a.yaml", HEAD "install: {source: 'https://u:hunter2@h/x'}\nupgrade: {x: hunter2}\n"
                               "reset: {x: hunter2}\nbind-pcrs: [0]\nk3s: {token: hunter2}\n"
                               "datasource: {NoCloud: {seedfrom: hunter2}}\npower_state: x\n"
                               "hostname: node\n");
        read_all(true, true);
        assert_int_equal(w.u->tree->n, 1);
        assert_true(told("power_state", true) && told("datasource", true));
}

static void test_modes(void **state)
{
        static const struct {
                const char *text;
                int mode; /* -1: refused */
        } cases[] = {{"0644", 0644},  {"'0644'", 0644},  {"'644'", 0644}, {"420", 0644},
                     {"0o640", 0640}, {"'0o640'", 0640}, {"~", 0600},     {"04755", 04755},
                     {"0", 0},        {"0999", -1},      {"rw", -1},      {"'010000'", -1},
                     {"4096", -1},    {"[1]", -1},       {"''", -1},      {"-1", -1}};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct config_document d = {.name = (char *)(uintptr_t) "x",
                                            .text = BUF_INIT(4096)};
                struct userdata *u = NULL;
                mode_t mode = 0;
                int r;

                assert_int_equal(
                        buf_printf(&d.text, HEAD "apt: {permissions: %s}\n", cases[i].text), 0);
                assert_int_equal(userdata_make(&d, 1, &w.problems, &u, &w.error), 0);
                r = userdata_mode(config_node_find(u->tree, "apt"), 0600, &mode);
                if (r != (cases[i].mode < 0 ? -EINVAL : 0) ||
                    (r == 0 && (int)mode != cases[i].mode))
                        fail_msg("%s: %d, 0%o", cases[i].text, r, mode);
                userdata_free(u);
                buf_done(&d.text);
        }
}

/* --- the engine --------------------------------------------------------------------------------*/

static enum userdata_engine found(bool *dangerous)
{
        return userdata_engine_find(&w.env, dangerous);
}

static void test_engine(void **state)
{
        bool dangerous;

        (void)state;
        assert_int_equal(found(&dangerous), USERDATA_ENGINE_NONE);
        put("root/usr/bin/systemd-tmpfiles", "");
        assert_int_equal(found(&dangerous), USERDATA_ENGINE_SYSTEMD);
        put("root/usr/bin/cloud-init", "");
        assert_int_equal(found(&dangerous), USERDATA_ENGINE_SYSTEMD); /* nothing starts it */
        put("root/lib/systemd/system/cloud-init.target", "");
        assert_int_equal(found(&dangerous), USERDATA_ENGINE_CLOUD_INIT);
        put("sys/class/dmi/id/product_serial", "ABC-1\n");
        put("proc/cmdline", "console=ttyS0\n");
        assert_int_equal(found(&dangerous), USERDATA_ENGINE_CLOUD_INIT);
        assert_false(dangerous);
        put("sys/class/dmi/id/product_serial", "ds=NoCloud-net;s=http://evil/\n");
        assert_int_equal(found(&dangerous), USERDATA_ENGINE_SYSTEMD);
        assert_true(dangerous);
        put("sys/class/dmi/id/product_serial", "ABC-1\n");
        put("proc/cmdline", "console=ttyS0 cloud-init=disabled\n");
        assert_int_equal(found(&dangerous), USERDATA_ENGINE_SYSTEMD);
        assert_false(dangerous);
        put("proc/cmdline", "console=ttyS0\n");
        put("root/etc/cloud/cloud-init.disabled", "");
        assert_int_equal(found(&dangerous), USERDATA_ENGINE_SYSTEMD);
}

static const struct userdata_file *file(const char *path)
{
        for (size_t i = 0; i < w.files.n; i++) {
                if (strcmp(w.files.item[i].path, path) == 0)
                        return &w.files.item[i];
        }
        return NULL;
}

static void make_files(enum userdata_engine engine)
{
        put("oem/a.yaml", HEAD "hostname: node\nstages: {boot: [{modules: [overlay]}]}\n");
        read_all(true, true);
        assert_int_equal(
                userdata_engine_files(&w.env, engine, w.u, &w.problems, &w.files, &w.error), 0);
}

/* An engine that is not used must not begin to look for itself. */
static void test_cloud_init_is_kept_off(void **state)
{
        (void)state;
        put("root/usr/bin/cloud-init", "");
        put("root/usr/lib/systemd/system/cloud-init.target", "");
        make_files(USERDATA_ENGINE_SYSTEMD);
        assert_non_null(file(USERDATA_CLOUD_INIT_OFF));
        assert_non_null(file("/etc/hostname"));
        assert_non_null(file("/run/modules-load.d/tb-agent.conf"));
        assert_null(file("/var/lib/cloud/seed/nocloud/user-data"));
}

static void test_seed(void **state)
{
        const struct userdata_file *seed;

        (void)state;
        make_files(USERDATA_ENGINE_CLOUD_INIT);
        seed = file("/var/lib/cloud/seed/nocloud/user-data");
        if (!seed) {
                fail_msg("there is no seed");
                return;
        }
        assert_string_equal(buf_str(&seed->content), HEAD "hostname: node\n");
        assert_int_equal(seed->mode, 0600);
        assert_non_null(file("/run/modules-load.d/tb-agent.conf"));
        assert_null(file("/etc/hostname"));
        assert_null(file(USERDATA_CLOUD_INIT_OFF));
        /* Without the text that makes this boot a new instance, there is no seed. */
        assert_int_equal(unlinkat(w.dir.fd, "proc/sys/kernel/random/boot_id", 0), 0);
        assert_true(userdata_engine_files(&w.env, USERDATA_ENGINE_CLOUD_INIT, w.u, &w.problems,
                                          &w.files, &w.error) < 0);
}

/* --- writing -----------------------------------------------------------------------------------*/

static void test_write(void **state)
{
        struct userdata_file *f;
        struct stat st;
        mode_t old = umask(0);

        (void)state;
        f = userdata_files_add(&w.files, "/run/tb-agent/userdata/secret", 0600);
        assert_int_equal(buf_add_str(&f->content, "secret"), 0);
        assert_non_null(userdata_files_add(&w.files, "/etc/hostname", 0644));
        /* What an image or a user has put there is replaced, not followed. */
        put("root/run/tb-agent/userdata/x", "");
        put("root/victim/file", "victim");
        assert_int_equal(
                symlinkat("../../../victim/file", w.dir.fd, "root/run/tb-agent/userdata/secret"),
                0);
        assert_int_equal(userdata_write(&w.files, w.env.root, &w.error), 0);
        assert_int_equal(userdata_write(&w.files, w.env.root, &w.error), 0);
        (void)umask(old);
        scratch_expect(&w.dir, "root/victim/file", "victim", 6);
        scratch_expect(&w.dir, "root/run/tb-agent/userdata/secret", "secret", 6);
        assert_int_equal(
                fstatat(w.dir.fd, "root/run/tb-agent/userdata/secret", &st, AT_SYMLINK_NOFOLLOW),
                0);
        assert_int_equal(st.st_mode, S_IFREG | 0600);
        scratch_expect(&w.dir, "root/etc/hostname", "", 0);
        /* A folder in the place of a file. */
        assert_int_equal(unlinkat(w.dir.fd, "root/etc/hostname", 0), 0);
        assert_int_equal(file_make_dirs(w.dir.fd, "root/etc/hostname", 0755), 0);
        assert_true(userdata_write(&w.files, w.env.root, &w.error) < 0);
}

static void test_accounts(void **state)
{
        struct userdata_accounts a = {.item = NULL};
        const struct userdata_account *root;

        (void)state;
        put("root/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbroken:x\n\n"
                               "svc:x:1003:99::/srv/svc:/bin/false\nbad:x:y:1:::\n");
        assert_int_equal(file_make_dirs(w.dir.fd, "root/home/mine", 0755), 0);
        put("root/home/file", "no home");
        assert_int_equal(userdata_accounts_read(w.env.root, &a, &w.error), 0);
        assert_int_equal(a.n, 3);
        root = userdata_accounts_find(&a, "root");
        assert_non_null(root);
        assert_string_equal(root->home, "/root");
        assert_null(userdata_accounts_find(&a, "mine"));
        assert_null(userdata_accounts_find(&a, "bad"));
        assert_true(userdata_accounts_used(&a, 1003, "other"));
        assert_false(userdata_accounts_used(&a, 1003, "svc"));
        /* The owner of this folder is whoever runs the test; an id of the system is none. */
        if (getuid() < USERDATA_FIRST_UID)
                assert_null(userdata_accounts_owner(&a, "mine"));
        userdata_accounts_done(&a);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_order),
                TEST(test_image_alone),
                TEST(test_nothing_at_all),
                TEST(test_broken_files_are_left_out_whole),
                TEST(test_sections_of_ours_go_nowhere),
                TEST(test_modes),
                TEST(test_engine),
                TEST(test_cloud_init_is_kept_off),
                TEST(test_seed),
                TEST(test_write),
                TEST(test_accounts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
