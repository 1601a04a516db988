/* SPDX-License-Identifier: Apache-2.0 */
/* agent/extension, _store, _release: what is installed is what was signed, and is used by nobody
 * whom it was not enabled for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/boot_report.h"
#include "agent/extension.h"
#include "agent/extension_release.h"
#include "agent/extension_report.h"
#include "agent/extension_store.h"
#include "agent/oem_file.h"
#include "base/codec.h"
#include "tests/support/ddi.h"
#include "tests/unit/scratch.h"

#define RECORD "oem/" OEM_FILE_EXTENSIONS
#define STORE "persistent/" EXTENSION_FOLDER

struct world {
        struct scratch dir;
        char root[96], oem[96], persistent[96], run[96], file[96];
        struct env env;
        int oem_fd, persistent_fd;
        struct signing_identity ours, foreign;
        struct buf certificates;
        struct ddi_made made;
        struct extension_list list;
        uint8_t root_hash[SHA256_SIZE];
        struct error e;
};

static const char *folder(struct world *w, const char *name, char ret[96])
{
        assert_int_equal(file_make_dirs(w->dir.fd, name, 0755), 0);
        (void)snprintf(ret, 96, "%s/%s", w->dir.path, name);
        return ret;
}

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->dir);
        w->env = (struct env)ENV_INIT;
        w->env.root = folder(w, "root", w->root);
        w->env.oem = folder(w, "oem", w->oem);
        w->env.persistent = folder(w, "persistent", w->persistent);
        w->env.run = folder(w, "run", w->run);
        (void)snprintf(w->file, sizeof(w->file), "%s/image", w->dir.path);
        w->oem_fd = file_open_dir(AT_FDCWD, w->oem);
        w->persistent_fd = file_open_dir(AT_FDCWD, w->persistent);
        assert_int_equal(file_make_dirs(w->dir.fd, "oem/tb-agent", 0755), 0);
        assert_int_equal(file_make_dirs(w->dir.fd, "root/usr/share/tb-agent", 0755), 0);
        w->certificates = (struct buf)BUF_INIT(65536);
        w->made = (struct ddi_made)DDI_MADE_INIT;
        ddi_identity(&w->ours, "ours");
        ddi_identity(&w->foreign, "foreign");
        ddi_certificate(&w->ours, &w->certificates);
        scratch_put(&w->dir, "root" EXTENSION_CERTIFICATES, w->certificates.data,
                    w->certificates.len);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        close_p(&w->oem_fd);
        close_p(&w->persistent_fd);
        signing_drop(&w->ours);
        signing_drop(&w->foreign);
        buf_done(&w->certificates);
        ddi_done(&w->made);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

/* --- names and lists --- */

static void names_are_file_names(void **state)
{
        static const char *const good[] = {"a", "tools-1.2_x", "_x", "0"},
                                 *const bad[] = {"",    ".",   "..",  ".x",       "-x", "a/b",
                                                 "a b", "a:b", "a,b", "\xc3\xa4", "a\n"};
        char longest[LIMIT_EXTENSION_NAME + 2];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                assert_true(extension_name_ok(good[i]));
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_false(extension_name_ok(bad[i]));
        memset(longest, 'x', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        assert_false(extension_name_ok(longest));
        longest[sizeof(longest) - 2] = '\0';
        assert_true(extension_name_ok(longest));
}

static void a_list_is_ordered_and_bounded(void **state)
{
        struct world *w = *state;
        struct extension *x;

        assert_non_null(extension_add(&w->list, "m"));
        assert_non_null(extension_add(&w->list, "z"));
        assert_non_null(extension_add(&w->list, "a"));
        x = extension_add(&w->list, "m");
        assert_ptr_equal(x, &w->list.item[1]);
        x->root_hash[0] = 1;
        assert_int_equal(w->list.n, 3);
        assert_true(extension_is_shared(&w->list, &w->list.item[0]));
        assert_false(extension_is_shared(&w->list, x));
        extension_drop(&w->list, x);
        assert_null(extension_find(&w->list, "m"));
        assert_string_equal(w->list.item[1].name, "z");
        for (unsigned i = w->list.n; i < LIMIT_EXTENSIONS; i++) {
                char name[8];

                (void)snprintf(name, sizeof(name), "n%u", i);
                assert_non_null(extension_add(&w->list, name));
        }
        assert_null(extension_add(&w->list, "more"));
        assert_non_null(extension_add(&w->list, "z"));
}

static void it_is_enabled_for_images_one_by_one(void **state)
{
        struct extension x = {.n_images = 0};
        struct extension_image image = {.pcr11 = {0}};

        (void)state;
        assert_false(extension_is_enabled(&x, image.pcr11));
        for (uint8_t i = 0; i <= LIMIT_EXTENSION_IMAGES; i++) {
                image.pcr11[31] = i;
                extension_enable(&x, &image);
                extension_enable(&x, &image);
                assert_true(extension_is_enabled(&x, image.pcr11));
        }
        /* The oldest went. */
        assert_int_equal(x.n_images, LIMIT_EXTENSION_IMAGES);
        image.pcr11[31] = 0;
        assert_false(extension_is_enabled(&x, image.pcr11));
        image.pcr11[31] = 1;
        assert_true(extension_is_enabled(&x, image.pcr11));
}

static void records_come_back(void **state)
{
        struct extension_image image = {.pcr11 = {7, 8}, .version = "1.2"};
        struct world *w = *state;
        struct extension_list read;
        struct extension *x = extension_add(&w->list, "tools");

        assert_int_equal(extension_list_read(&w->env, &read, &w->e), 0);
        assert_int_equal(read.n, 0);
        x->confext = true;
        x->size = 5;
        x->root_hash[3] = 9;
        extension_enable(x, &image);
        assert_non_null(extension_add(&w->list, "base"));
        assert_int_equal(extension_list_write(&w->list, w->oem_fd, &w->e), 0);
        assert_int_equal(extension_list_read(&w->env, &read, &w->e), 0);
        assert_int_equal(read.n, 2);
        x = extension_find(&read, "tools");
        assert_true(x->confext && x->size == 5 && x->root_hash[3] == 9 && x->n_images == 1);
        assert_true(extension_is_enabled(x, image.pcr11));
        assert_string_equal(x->image[0].version, "1.2");
        assert_false(extension_find(&read, "base")->confext);
}

#define HASH "0000000000000000000000000000000000000000000000000000000000000000"
#define ITEM(name, kind, hash)                                                                     \
        "{\"name\":\"" name "\",\"kind\":\"" kind "\",\"root_hash\":\"" hash                       \
        "\",\"size\":1,\"images\":[]}"

static void records_are_never_half_believed(void **state)
{
        static const char *const bad[] = {
                "",
                "[]",
                "{}",
                "{\"extensions\":{}}",
                "{\"extensions\":[1]}",
                "{\"extensions\":[" ITEM("../x", "sysext", HASH) "]}",
                "{\"extensions\":[" ITEM("x", "other", HASH) "]}",
                "{\"extensions\":[" ITEM("x", "sysext", "00") "]}",
                "{\"extensions\":[" ITEM("x", "sysext", HASH) "," ITEM("x", "sysext", HASH) "]}",
                "{\"extensions\":[" ITEM("y", "sysext", HASH) ",{\"name\":\"x\"}]}",
                "{\"extensions\":[{\"name\":\"x\",\"kind\":\"sysext\",\"root_hash\":\"" HASH
                "\",\"size\":1,\"images\":[{\"pcr11\":\"00\",\"version\":\"\"}]}]}",
        };
        struct world *w = *state;

        scratch_put_text(&w->dir, RECORD, "{\"extensions\":[" ITEM("x", "sysext", HASH) "]}");
        assert_int_equal(extension_list_read(&w->env, &w->list, &w->e), 0);
        assert_int_equal(w->list.n, 1);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                scratch_put_text(&w->dir, RECORD, bad[i]);
                assert_true(extension_list_read(&w->env, &w->list, &w->e) < 0);
                assert_int_equal(w->e.class, ERROR_CONFIG);
                assert_int_equal(w->list.n, 0);
        }
}

/* --- the store --- */

static int install(struct world *w, const struct signing_identity *id)
{
        const struct ddi_how how = {.id = id};
        uint64_t size;

        ddi_make(w->dir.path, &how, &w->made);
        scratch_put(&w->dir, "image", w->made.image.data, w->made.image.len);
        return extension_store_add(&w->env, w->persistent_fd, w->file, w->root_hash, &size, &w->e);
}

static const char *stored(struct world *w, char ret[160])
{
        char name[EXTENSION_FILE_SIZE];

        extension_file_name(w->made.root_hash, name);
        (void)snprintf(ret, 160, STORE "/%s", name);
        return ret;
}

static void good_ones_are_stored(void **state)
{
        struct world *w = *state;
        char name[160];

        scratch_put_text(&w->dir, "persistent/x", "");
        assert_int_equal(file_make_dirs(w->dir.fd, STORE, 0700), 0);
        scratch_put_text(&w->dir, STORE "/incoming", "of a run that was cut");
        assert_int_equal(install(w, &w->ours), 0);
        assert_memory_equal(w->root_hash, w->made.root_hash, SHA256_SIZE);
        scratch_expect(&w->dir, stored(w, name), w->made.image.data, w->made.image.len);
        assert_false(file_exists(w->dir.fd, STORE "/incoming"));
        assert_int_equal(install(w, &w->ours), 0);
        assert_int_equal(extension_store_drop(w->persistent_fd, w->root_hash, &w->e), 0);
        assert_false(file_exists(w->dir.fd, name));
        assert_int_equal(extension_store_drop(w->persistent_fd, w->root_hash, &w->e), 0);
}

static void others_leave_nothing_behind(void **state)
{
        struct world *w = *state;
        uint64_t size;
        char name[160];

        assert_int_equal(install(w, &w->foreign), -EKEYREJECTED);
        assert_int_equal(w->e.class, ERROR_SIGNATURE);
        assert_false(file_exists(w->dir.fd, stored(w, name)));
        /* A block that is not the signed one: found in the copy. */
        assert_int_equal(install(w, &w->ours), 0);
        assert_int_equal(extension_store_drop(w->persistent_fd, w->root_hash, &w->e), 0);
        w->made.image.data[DDI_DATA + 12345] ^= 1;
        scratch_put(&w->dir, "image", w->made.image.data, w->made.image.len);
        assert_int_equal(
                extension_store_add(&w->env, w->persistent_fd, w->file, w->root_hash, &size, &w->e),
                -EBADMSG);
        assert_int_equal(w->e.class, ERROR_REFUSED);
        assert_false(file_exists(w->dir.fd, stored(w, name)));
        assert_false(file_exists(w->dir.fd, STORE "/incoming"));
        /* Larger than anybody needs, and no file at all. */
        assert_int_equal(truncate(w->file, (off_t)LIMIT_EXTENSION_SIZE + 1), 0);
        assert_int_equal(
                extension_store_add(&w->env, w->persistent_fd, w->file, w->root_hash, &size, &w->e),
                -EFBIG);
        assert_int_equal(extension_store_add(&w->env, w->persistent_fd, w->dir.path, w->root_hash,
                                             &size, &w->e),
                         -EISDIR);
        assert_int_equal(w->e.class, ERROR_USAGE);
}

static void an_image_without_certificates_takes_none(void **state)
{
        struct world *w = *state;

        assert_int_equal(unlinkat(w->dir.fd, "root" EXTENSION_CERTIFICATES, 0), 0);
        assert_int_equal(install(w, &w->ours), -ENOKEY);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
}

static void only_the_recorded_one_is_opened(void **state)
{
        _cleanup_close_ int fd = -EBADF;
        struct extension x = {.name = "x"};
        struct world *w = *state;
        struct ddi ddi;
        char name[160];

        assert_int_equal(install(w, &w->ours), 0);
        memcpy(x.root_hash, w->root_hash, SHA256_SIZE);
        assert_int_equal(extension_open(&w->env, &x, &w->certificates, &fd, &ddi, &w->e), 0);
        /* A signed one, in the place of another. */
        x.root_hash[0] ^= 1;
        memcpy(w->made.root_hash, x.root_hash, SHA256_SIZE);
        scratch_put(&w->dir, stored(w, name), w->made.image.data, w->made.image.len);
        close_p(&fd);
        assert_int_equal(extension_open(&w->env, &x, &w->certificates, &fd, &ddi, &w->e), -EBADMSG);
        assert_int_equal(w->e.class, ERROR_REFUSED);
        /* An image that does not know the signer any more. */
        x.root_hash[0] ^= 1;
        buf_reset(&w->certificates);
        ddi_certificate(&w->foreign, &w->certificates);
        assert_int_equal(extension_open(&w->env, &x, &w->certificates, &fd, &ddi, &w->e),
                         -EKEYREJECTED);
        x.root_hash[5] ^= 1;
        assert_int_equal(extension_open(&w->env, &x, &w->certificates, &fd, &ddi, &w->e), -ENOENT);
        assert_int_equal(fd, -EBADF);
}

/* --- what runs --- */

static void write_report(struct world *w, const uint8_t pcr11[SHA256_SIZE], const char *root_hash)
{
        _cleanup_(boot_report_free_p) struct boot_report *report = boot_report_new();
        struct json_object *array = json_object_new_array(), *o = json_object_new_object();
        char hex[SHA256_HEX_SIZE];

        hex_encode(pcr11, SHA256_SIZE, hex);
        boot_report_set(report, EXTENSION_REPORT_IMAGE, hex);
        assert_int_equal(json_append(array, o), 0);
        assert_int_equal(json_add_str(o, "name", "x"), 0);
        assert_int_equal(json_add_str(o, "root_hash", root_hash), 0);
        assert_int_equal(json_add_bool(o, "active", true), 0);
        assert_int_equal(json_add_str(o, "error", NULL), 0);
        boot_report_set_json(report, EXTENSION_REPORT_LIST, array);
        assert_int_equal(boot_report_write(report, &w->env, &w->e), 0);
}

static void expect_state(struct world *w, bool enabled, bool active)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *array, *o;
        bool value;

        assert_int_equal(extension_report_add(&w->env, root, &w->e), 0);
        assert_int_equal(json_get_array(root, "extensions", &array), 0);
        o = json_object_array_get_idx(array, 0);
        assert_int_equal(json_get_bool(o, "enabled", &value), 0);
        assert_int_equal(value, enabled);
        assert_int_equal(json_get_bool(o, "active", &value), 0);
        assert_int_equal(value, active);
}

static void another_image_does_not_have_it(void **state)
{
        struct extension_image image = {.pcr11 = {1}}, running;
        struct world *w = *state;

        extension_enable(extension_add(&w->list, "x"), &image);
        assert_int_equal(extension_list_write(&w->list, w->oem_fd, &w->e), 0);
        write_report(w, image.pcr11, HASH);
        assert_int_equal(extension_running_image(&w->env, &running, &w->e), 0);
        assert_memory_equal(running.pcr11, image.pcr11, SHA256_SIZE);
        expect_state(w, true, true);
        /* Installed anew since: what is in use is something else. */
        write_report(w, image.pcr11, "00");
        expect_state(w, true, false);
        image.pcr11[0] = 2;
        write_report(w, image.pcr11, "00");
        expect_state(w, false, false);
}

static void an_unmeasured_image_has_no_name(void **state)
{
        _cleanup_(boot_report_free_p) struct boot_report *report = boot_report_new();
        struct extension_image running;
        struct world *w = *state;

        assert_int_equal(boot_report_write(report, &w->env, &w->e), 0);
        assert_int_equal(extension_running_image(&w->env, &running, &w->e), -ENODATA);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
}

/* --- extension-release --- */

static int check_release(const char *host, const char *extension, bool confext)
{
        _cleanup_(osrelease_free_p) struct osrelease *a = NULL, *b = NULL;
        struct error error = ERROR_INIT;

        assert_int_equal(osrelease_parse(host, strlen(host), &a, &error), 0);
        assert_int_equal(osrelease_parse(extension, strlen(extension), &b, &error), 0);
        return extension_release_check(a, b, confext, &error);
}

static void it_is_made_for_this_system(void **state)
{
        static const struct {
                const char *host, *extension;
                int r;
                bool confext;
        } cases[] = {
                {"ID=a\nVERSION_ID=1\n", "ID=a\nVERSION_ID=1\n", 0, false},
                {"ID=a\nVERSION_ID=1\n", "ID=a\nVERSION_ID=2\n", -ENOEXEC, false},
                {"ID=a\nVERSION_ID=1\n", "ID=a\n", -ENOEXEC, false},
                {"ID=a\n", "ID=a\nVERSION_ID=2\n", 0, false},
                {"ID=a\nVERSION_ID=1\n", "ID=b\nVERSION_ID=1\n", -ENOEXEC, false},
                {"ID=a\nVERSION_ID=1\n", "VERSION_ID=1\n", -ENOEXEC, false},
                {"ID=a\nVERSION_ID=1\n", "ID=_any\n", 0, false},
                {"ID=a\n", "ID=_any\nARCHITECTURE=sparc\n", -ENOEXEC, false},
                {"ID=a\n", "ID=a\nARCHITECTURE=_any\n", 0, false},
                {"ID=a\nVERSION_ID=1\nSYSEXT_LEVEL=3\n", "ID=a\nVERSION_ID=2\nSYSEXT_LEVEL=3\n", 0,
                 false},
                {"ID=a\nVERSION_ID=1\nSYSEXT_LEVEL=3\n", "ID=a\nVERSION_ID=1\nSYSEXT_LEVEL=4\n",
                 -ENOEXEC, false},
                {"ID=a\nVERSION_ID=1\nCONFEXT_LEVEL=3\n", "ID=a\nVERSION_ID=2\nCONFEXT_LEVEL=3\n",
                 0, true},
                {"ID=a\nVERSION_ID=1\nCONFEXT_LEVEL=3\n", "ID=a\nVERSION_ID=2\nCONFEXT_LEVEL=3\n",
                 -ENOEXEC, false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(check_release(cases[i].host, cases[i].extension, cases[i].confext),
                                 cases[i].r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_file_names),
                cmocka_unit_test_setup_teardown(a_list_is_ordered_and_bounded, set_up, tear_down),
                cmocka_unit_test(it_is_enabled_for_images_one_by_one),
                cmocka_unit_test_setup_teardown(records_come_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(records_are_never_half_believed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(good_ones_are_stored, set_up, tear_down),
                cmocka_unit_test_setup_teardown(others_leave_nothing_behind, set_up, tear_down),
                cmocka_unit_test_setup_teardown(an_image_without_certificates_takes_none, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(only_the_recorded_one_is_opened, set_up, tear_down),
                cmocka_unit_test_setup_teardown(another_image_does_not_have_it, set_up, tear_down),
                cmocka_unit_test_setup_teardown(an_unmeasured_image_has_no_name, set_up, tear_down),
                cmocka_unit_test(it_is_made_for_this_system),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
