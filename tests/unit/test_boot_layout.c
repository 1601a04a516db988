/* SPDX-License-Identifier: Apache-2.0 */
/* Which folders are bound and which are ephemeral: every rule of the planner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "agent/boot_layout.h"

static struct boot_additions additions;
static struct boot_layout layout;
static struct error error;

static int reset(void **state)
{
        (void)state;
        additions = (struct boot_additions){.n_binds = 0};
        error = (struct error)ERROR_INIT;
        return 0;
}

static void want(bool bind, const char *path)
{
        struct boot_path *p = bind ? &additions.binds[additions.n_binds++]
                                   : &additions.ephemeral[additions.n_ephemeral++];

        (void)snprintf(p->text, sizeof(p->text), "%s", path);
}

static int plan(bool persistent)
{
        return boot_layout_plan(&additions, persistent, &layout, &error);
}

static void planned(void)
{
        if (plan(true) < 0)
                fail_msg("%s", error.text);
}

/* Place in the order, -1 when the plan does not have it. */
static int place(const char *path)
{
        for (size_t i = 0; i < layout.n; i++) {
                if (strcmp(layout.mounts[i].path.text, path) == 0)
                        return (int)i;
        }
        return -1;
}

static const struct boot_mount *get(const char *path)
{
        if (place(path) < 0)
                fail_msg("%s is not in the plan", path);
        return &layout.mounts[place(path)];
}

/* Of the list of Kairos: what is kept, and what is not because it would carry an old image along.
 */
static void defaults_are_those_of_kairos_without_code_and_trust(void **state)
{
        static const char *const kept[] = {"/etc/cni",
                                           "/etc/kubernetes",
                                           "/etc/rancher",
                                           "/etc/ssh",
                                           "/home",
                                           "/root",
                                           "/var/lib/cni",
                                           "/var/lib/containerd",
                                           "/var/lib/etcd",
                                           "/var/lib/kubelet",
                                           "/var/lib/longhorn",
                                           "/var/lib/rancher",
                                           "/var/lib/rook",
                                           "/var/lib/tailscale",
                                           "/var/log",
                                           "/snap",
                                           "/var/lib/snapd",
                                           "/etc/modprobe.d",
                                           "/etc/iscsi",
                                           "/etc/zfs",
                                           "/var/lib/kairos",
                                           "/var/lib/wicked",
                                           "/var/snap",
                                           "/var/cores",
                                           "/etc/sysconfig",
                                           "/var/lib/dbus",
                                           "/var/lib/calico",
                                           "/var/lib/osd",
                                           "/etc/pwx",
                                           "/etc/k0s",
                                           "/var/lib/k0s"};
        static const char *const left_out[] = {
                "/etc/systemd", "/etc/init.d",       "/etc/runlevels",
                "/usr/libexec", "/etc/ssl/certs",    "/var/lib/ca-certificates",
                "/usr/local",   "/var/lib/confexts", "/var/lib/extensions"};

        (void)state;
        assert_int_equal(boot_layout_plan(NULL, true, &layout, &error), 0);
        for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
                assert_true(get(kept[i])->bind);
        for (size_t i = 0; i < ARRAY_SIZE(left_out); i++)
                assert_int_equal(place(left_out[i]), -1);
        assert_int_equal(layout.n, ARRAY_SIZE(kept) + 4);
        for (const char *const *p = (const char *const[]){"/etc", "/opt", "/srv", "/var", NULL}; *p;
             p++)
                assert_false(get(*p)->bind);
}

static void nothing_is_mounted_with_devices_or_suid(void **state)
{
        (void)state;
        want(true, "/data");
        planned();
        for (size_t i = 0; i < layout.n; i++)
                assert_int_equal(layout.mounts[i].flags & (MS_NOSUID | MS_NODEV),
                                 MS_NOSUID | MS_NODEV);
        assert_true(get("/var/log")->flags & MS_NOEXEC);
        assert_false(get("/var/lib/rancher")->flags & MS_NOEXEC);
}

static void folders_come_after_those_around_them(void **state)
{
        (void)state;
        want(true, "/var/lib");
        want(true, "/var-x");
        want(true, "/data/a/b");
        want(true, "/data");
        want(false, "/data/a");
        planned();
        for (size_t i = 0; i < layout.n; i++) {
                const char *inner = layout.mounts[i].path.text;

                for (size_t j = i; j < layout.n; j++) {
                        const char *outer = layout.mounts[j].path.text;
                        size_t n = strlen(outer);

                        if (strncmp(inner, outer, n) == 0 && inner[n] == '/')
                                fail_msg("%s before %s", inner, outer);
                }
        }
        assert_true(place("/data") < place("/data/a") && place("/data/a") < place("/data/a/b"));
}

static void additions_come_once_and_win(void **state)
{
        size_t defaults;

        (void)state;
        planned();
        defaults = layout.n;
        want(true, "/etc/ssh"); /* already bound */
        want(true, "/opt");     /* ephemeral by default */
        want(true, "/opt");
        want(false, "/home"); /* bound by default */
        want(false, "/etc/kubernetes");
        want(true, "/etc/systemd");
        planned();
        assert_int_equal(layout.n, defaults + 1 - 1); /* a unit folder more, kubernetes dropped */
        assert_true(get("/opt")->bind && get("/opt")->user);
        assert_false(get("/home")->bind);
        assert_true(get("/etc/systemd")->bind);
        assert_true(get("/etc/ssh")->bind);
        /* Inside /etc, which is ephemeral, nothing has to be done for it. */
        assert_int_equal(place("/etc/kubernetes"), -1);
}

static void ephemeral_inside_a_bound_folder_is_mounted(void **state)
{
        (void)state;
        want(false, "/var/log/noise");
        want(false, "/var/noise");
        planned();
        assert_false(get("/var/log/noise")->bind);
        assert_int_equal(place("/var/noise"), -1);
}

static void both_kinds_at_once_are_refused(void **state)
{
        (void)state;
        want(true, "/data");
        want(false, "/data");
        assert_int_equal(plan(true), -EINVAL);
        assert_int_equal(error.class, ERROR_CONFIG);
}

static void bad_paths_are_refused(void **state)
{
        static const char *const bad[] = {"",
                                          "/",
                                          "data",
                                          "./data",
                                          "/data/",
                                          "//data",
                                          "/data//x",
                                          "/data/.",
                                          "/data/..",
                                          "/../data",
                                          "/a/../b",
                                          "/a,b",
                                          "/a:b",
                                          "/a b",
                                          "/a\\b",
                                          "/a\nb",
                                          "/a\"b",
                                          "/\xc3\xa4",
                                          "/run",
                                          "/run/x",
                                          "/proc",
                                          "/proc/sys",
                                          "/sys",
                                          "/dev",
                                          "/dev/shm",
                                          "/oem",
                                          "/oem/x",
                                          "/usr",
                                          "/usr/local",
                                          "/usr/local/x",
                                          "/usr/bin",
                                          "/usr/lib/x",
                                          "/lib",
                                          "/bin",
                                          "/sbin",
                                          "/lib64/x",
                                          "/boot",
                                          "/efi",
                                          "/.extra",
                                          "/tmp",
                                          "/init",
                                          "/a/$x",
                                          "/usr/libexec",
                                          "/usr/libexec/kubernetes-x"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                for (int bind = 0; bind <= 1; bind++) {
                        (void)reset(NULL);
                        want(bind, bad[i]);
                        if (plan(true) != -EINVAL)
                                fail_msg("\"%s\" was accepted", bad[i]);
                        assert_int_equal(error.class, ERROR_CONFIG);
                }
        }
        (void)reset(NULL);
        want(true, "/etc");
        assert_int_equal(plan(true), -EINVAL);
}

/* The twins of the refused ones. */
static void good_paths_are_accepted(void **state)
{
        static const char *const good[] = {"/data",      "/runner",    "/etc/x",
                                           "/devices",   "/oem2",      "/a/...",
                                           "/a/.hidden", "/var",       "/srv",
                                           "/lib3",      "/mnt/x-y_z", "/usr/libexec/kubernetes"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                (void)reset(NULL);
                want(true, good[i]);
                planned();
                assert_true(get(good[i])->bind);
        }
}

static void paths_that_would_share_a_place_are_refused(void **state)
{
        (void)state;
        want(true, "/var/lib-rancher");
        assert_int_equal(plan(true), -EINVAL);
        assert_non_null(strstr(error.text, "/var/lib/rancher"));
}

/* Recovery, live, or a disk that stays locked: the same places can be written to, nothing is kept.
 */
static void without_persistent_everything_is_ephemeral(void **state)
{
        (void)state;
        want(true, "/data");
        assert_int_equal(plan(false), 0);
        for (size_t i = 0; i < layout.n; i++)
                assert_false(layout.mounts[i].bind);
        (void)get("/data");
        (void)get("/home");
        (void)get("/usr/local");
        assert_int_equal(place("/etc/ssh"), -1);
}

static void state_names_are_those_of_kairos(void **state)
{
        char name[NAME_MAX + 1];

        (void)state;
        boot_layout_state_name(&(struct boot_path){"/var/lib/rancher"}, name);
        assert_string_equal(name, "var-lib-rancher.bind");
        boot_layout_state_name(&(struct boot_path){"/home"}, name);
        assert_string_equal(name, "home.bind");
}

static int parse(const char *text)
{
        return boot_layout_parse(text, strlen(text), "mounts.json", &additions, &error);
}

static void documents_are_read(void **state)
{
        (void)state;
        assert_int_equal(parse("{\"bind\":[\"/a\",\"/b\"],\"ephemeral\":[\"/c\"]}"), 0);
        assert_int_equal(additions.n_binds, 2);
        assert_string_equal(additions.binds[1].text, "/b");
        assert_int_equal(additions.n_ephemeral, 1);
        assert_string_equal(additions.ephemeral[0].text, "/c");
        assert_int_equal(parse("{}"), 0);
        assert_int_equal(additions.n_binds + additions.n_ephemeral, 0);
}

static void bad_documents_are_refused(void **state)
{
        static const char *const bad[] = {
                "",
                "nonsense",
                "[]",
                "\"/a\"",
                "{\"bind\":\"/a\"}",
                "{\"bind\":null}",
                "{\"bind\":[1]}",
                "{\"bind\":[null]}",
                "{\"bind\":[[\"/a\"]]}",
                "{\"bind\":[\"/a\\u0000b\"]}",
                "{\"binds\":[\"/a\"]}",
                "{\"bind\":[],\"bind\":[]}",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                if (parse(bad[i]) >= 0)
                        fail_msg("%s was accepted", bad[i]);
        }
}

static void lists_and_paths_have_limits(void **state)
{
        char text[16 * (LIMIT_BOOT_ADDITIONS + 1)] = "{\"bind\":[\"/a0\"";
        char path[BOOT_LAYOUT_PATH_MAX + 2], document[sizeof(path) + 32];

        (void)state;
        for (unsigned i = 1; i < LIMIT_BOOT_ADDITIONS; i++)
                (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), ",\"/a%u\"", i);
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "]}");
        assert_int_equal(parse(text), 0);
        assert_int_equal(additions.n_binds, LIMIT_BOOT_ADDITIONS);
        for (size_t i = 0; i < LIMIT_BOOT_ADDITIONS; i++) {
                char *p = additions.ephemeral[i].text;

                (void)snprintf(p, sizeof(additions.ephemeral[i].text), "/b%zu", i);
        }
        additions.n_ephemeral = LIMIT_BOOT_ADDITIONS;
        assert_int_equal(plan(false), 0);
        text[strlen(text) - 2] = '\0';
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), ",\"/a\"]}");
        assert_int_equal(parse(text), -E2BIG);

        memset(path, 'a', sizeof(path) - 1);
        path[0] = '/';
        path[sizeof(path) - 1] = '\0';
        (void)snprintf(document, sizeof(document), "{\"bind\":[\"%s\"]}", path);
        assert_true(parse(document) < 0);
        (void)snprintf(document, sizeof(document), "{\"bind\":[\"%s\"]}", path + 1);
        document[strlen("{\"bind\":[\"")] = '/';
        assert_int_equal(parse(document), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(defaults_are_those_of_kairos_without_code_and_trust, reset),
                cmocka_unit_test_setup(nothing_is_mounted_with_devices_or_suid, reset),
                cmocka_unit_test_setup(folders_come_after_those_around_them, reset),
                cmocka_unit_test_setup(additions_come_once_and_win, reset),
                cmocka_unit_test_setup(ephemeral_inside_a_bound_folder_is_mounted, reset),
                cmocka_unit_test_setup(both_kinds_at_once_are_refused, reset),
                cmocka_unit_test_setup(bad_paths_are_refused, reset),
                cmocka_unit_test_setup(good_paths_are_accepted, reset),
                cmocka_unit_test_setup(paths_that_would_share_a_place_are_refused, reset),
                cmocka_unit_test_setup(without_persistent_everything_is_ephemeral, reset),
                cmocka_unit_test_setup(state_names_are_those_of_kairos, reset),
                cmocka_unit_test_setup(documents_are_read, reset),
                cmocka_unit_test_setup(bad_documents_are_refused, reset),
                cmocka_unit_test_setup(lists_and_paths_have_limits, reset),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
