/* SPDX-License-Identifier: Apache-2.0 */
/* The boot stage's part of user data: what is written below the root, what is told, and that
 * nothing of it is a reason to stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>

#include "agent/boot.h"
#include "base/json.h"
#include "tests/unit/scratch.h"

#define HEAD "#cloud-config\n"

static struct scratch dir;
static char path[5][128];
static struct env env;
static struct boot b;
static struct json_object *told; /* boot.json */

static void put(const char *name, const char *text)
{
        char folder[256];

        (void)snprintf(folder, sizeof(folder), "%s", name);
        *strrchr(folder, '/') = '\0';
        assert_int_equal(file_make_dirs(dir.fd, folder, 0755), 0);
        scratch_put_text(&dir, name, text);
}

static int set_up(void **state)
{
        static const char *const names[] = {"root", "sys", "proc", "oem", "run"};
        const char **const to[] = {&env.root, &env.sysfs, &env.proc, &env.oem, &env.run};

        (void)state;
        scratch_make(&dir);
        env = (struct env)ENV_INIT;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                (void)snprintf(path[i], sizeof(path[i]), "%s/%s", dir.path, names[i]);
                assert_int_equal(file_make_dirs(dir.fd, names[i], 0755), 0);
                *to[i] = path[i];
        }
        env.persistent = path[4];
        put("root/usr/bin/systemd-tmpfiles", "");
        put("proc/sys/kernel/random/boot_id", "id\n");
        b = (struct boot){.env = &env, .report = boot_report_new()};
        assert_non_null(b.report);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        json_put_p(&told);
        boot_report_free(b.report);
        scratch_clean(&dir);
        return 0;
}

static void run(bool oem)
{
        struct error e = ERROR_INIT;

        boot_userdata(&b, (struct boot_data){.oem = oem});
        assert_int_equal(boot_report_write(b.report, &env, &e), 0);
        assert_int_equal(boot_report_read(&env, &told, &e), 0);
}

static bool there(const char *name)
{
        return file_exists(dir.fd, name);
}

static size_t problems(void)
{
        struct json_object *list;

        assert_int_equal(json_get_array(told, "problems", &list), 0);
        return json_object_array_length(list);
}

static const char *word(const char *key, size_t i)
{
        struct json_object *o, *list;

        assert_int_equal(json_get_obj(told, "user_data", &o), 0);
        assert_int_equal(json_get_array(o, key, &list), 0);
        return json_object_get_string(json_object_array_get_idx(list, i)) ?: "";
}

static const char *engine(void)
{
        struct json_object *o;
        const char *name = "";

        assert_int_equal(json_get_obj(told, "user_data", &o), 0);
        assert_int_equal(json_get_str(o, "engine", &name), 0);
        return name;
}

static void test_systemd(void **state)
{
        struct stat st;

        (void)state;
        put("oem/90_custom.yaml", HEAD "hostname: node7\nusers: [{name: a, passwd: hunter2}]\n");
        put("oem/95_broken.yaml", HEAD "hostname: half\nusers: [\n");
        run(true);
        assert_string_equal(engine(), "systemd");
        assert_string_equal(word("given", 0), "hostname");
        assert_true(strstr(word("files", 0), "/oem/90_custom.yaml") != NULL);
        assert_int_equal(problems(), 1);
        scratch_expect(&dir, "root/etc/hostname", "node7\n", 6);
        assert_int_equal(fstatat(dir.fd,
                                 "root/run/tb-agent/userdata/credentials/"
                                 "passwd.plaintext-password.a",
                                 &st, 0),
                         0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_null(strstr(json_object_to_json_string(told), "hunter2"));
}

/* Data that is locked is not read, whatever stands where it would be. */
static void test_without_data(void **state)
{
        (void)state;
        put("oem/90_custom.yaml", HEAD "hostname: node7\n");
        run(false);
        assert_string_equal(word("given", 0), "");
        assert_false(there("root/etc/hostname"));
        assert_int_equal(problems(), 0);
}

static void add_cloud_init(void)
{
        put("root/usr/bin/cloud-init", "");
        put("root/usr/lib/systemd/system/cloud-init.target", "");
}

static void test_cloud_init_gets_a_seed_even_for_nothing(void **state)
{
        (void)state;
        add_cloud_init();
        run(true);
        assert_string_equal(engine(), "cloud-init");
        assert_true(there("root/var/lib/cloud/seed/nocloud/user-data"));
        assert_true(there("root/etc/cloud/ds-identify.cfg"));
        assert_false(there("root/etc/cloud/cloud-init.disabled"));
        assert_int_equal(problems(), 0);
}

/* An engine that was not told where to look must not start. */
static void test_cloud_init_without_a_seed_is_kept_off(void **state)
{
        (void)state;
        add_cloud_init();
        put("root/var/lib/cloud", "a file in its place");
        run(true);
        assert_true(there("root/etc/cloud/cloud-init.disabled"));
        assert_int_equal(problems(), 1);
}

static void test_machine_that_leads_elsewhere(void **state)
{
        (void)state;
        add_cloud_init();
        put("sys/class/dmi/id/product_serial", "ds=nocloud;s=http://192.0.2.1/\n");
        put("oem/90_custom.yaml", HEAD "hostname: node7\n");
        run(true);
        assert_string_equal(engine(), "systemd");
        assert_true(there("root/etc/cloud/cloud-init.disabled"));
        scratch_expect(&dir, "root/etc/hostname", "node7\n", 6);
        assert_int_equal(problems(), 1);
}

static void test_image_without_an_engine(void **state)
{
        (void)state;
        assert_int_equal(unlinkat(dir.fd, "root/usr/bin/systemd-tmpfiles", 0), 0);
        put("oem/90_custom.yaml", HEAD "hostname: node7\n");
        run(true);
        assert_string_equal(engine(), "none");
        assert_false(there("root/etc/hostname"));
        assert_int_equal(problems(), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_systemd),
                TEST(test_without_data),
                TEST(test_cloud_init_gets_a_seed_even_for_nothing),
                TEST(test_cloud_init_without_a_seed_is_kept_off),
                TEST(test_machine_that_leads_elsewhere),
                TEST(test_image_without_an_engine),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
