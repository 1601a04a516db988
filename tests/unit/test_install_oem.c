/* SPDX-License-Identifier: Apache-2.0 */
/* What an installation leaves of its configuration: documents as they were, and words that the boot
 * stage reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>

#include "agent/boot_layout.h"
#include "agent/install_oem.h"
#include "base/num.h"
#include "tests/unit/config_run.h"
#include "tests/unit/scratch.h"

#define HEAD "#cloud-config\n"

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

static bool there(const char *name)
{
        struct stat st;

        return fstatat(dir.fd, name, &st, 0) == 0;
}

static void test_documents_alone(void **state)
{
        static const char first[] = HEAD "users: [{name: admin, passwd: secret}]\n",
                          second[] = HEAD "install: {device: /dev/a}\n";
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        struct stat st;

        (void)state;
        assert_int_equal(config_run(&run, first, second, NULL), 0);
        if (install_oem_write(run.c, dir.fd, &run.error) < 0)
                fail_msg("%s", run.error.text);
        scratch_expect(&dir, "90_custom.yaml", first, strlen(first));
        scratch_expect(&dir, "91_custom.yaml", second, strlen(second));
        assert_int_equal(fstatat(dir.fd, "90_custom.yaml", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_false(there("tb-agent") || there("92_custom.yaml"));
}

static void test_words_for_the_boot_stage(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_(buf_done) struct buf text = BUF_INIT(4096);
        struct boot_additions *a = calloc(1, sizeof(*a));

        (void)state;
        assert_non_null(a);
        assert_int_equal(config_run(&run,
                                    HEAD "install: {bind_mounts: [/var/lib/mine, /opt/x], "
                                         "ephemeral_mounts: [/mnt/e], swap: 2G}\n",
                                    NULL, NULL),
                         0);
        if (install_oem_write(run.c, dir.fd, &run.error) < 0)
                fail_msg("%s", run.error.text);
        assert_int_equal(file_read(dir.fd, "tb-agent/mounts.json", &text), 0);
        assert_int_equal(boot_layout_parse(text.data, text.len, "mounts.json", a, &run.error), 0);
        assert_int_equal(a->n_binds, 2);
        assert_int_equal(a->n_ephemeral, 1);
        scratch_expect(&dir, "tb-agent/swap.json", "{\"size\":\"2147483648\"}", 21);
        free(a);
}

/* A disk image carries the same files to its machine. */
static void test_packed_and_unpacked(void **state)
{
        static const char first[] = HEAD "users: [{name: admin, passwd: secret}]\n",
                          second[] = HEAD "install: {bind_mounts: [/var/lib/mine], swap: 1G}\n";
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 16), mounts = BUF_INIT(4096);
        struct scratch other;

        (void)state;
        assert_int_equal(config_run(&run, first, second, NULL), 0);
        if (install_oem_pack(run.c, &text, &run.error) < 0 ||
            install_oem_unpack(text.data, text.len, dir.fd, &run.error) < 0)
                fail_msg("%s", run.error.text);
        scratch_make(&other);
        assert_int_equal(install_oem_write(run.c, other.fd, &run.error), 0);
        assert_int_equal(file_read(other.fd, "tb-agent/mounts.json", &mounts), 0);
        scratch_clean(&other);
        scratch_expect(&dir, "90_custom.yaml", first, strlen(first));
        scratch_expect(&dir, "91_custom.yaml", second, strlen(second));
        scratch_expect(&dir, "tb-agent/mounts.json", mounts.data, mounts.len);
        scratch_expect(&dir, "tb-agent/swap.json", "{\"size\":\"1073741824\"}", 21);
}

/* What came on a disk writes no file that an installation would not. */
static void test_unpacking_takes_our_names_only(void **state)
{
        static const char *const bad[] = {
                "",
                "[]",
                "{}",
                "{\"files\":{}}",
                "{\"files\":[7]}",
                "{\"files\":[{\"name\":\"90_custom.yaml\"}]}",
                "{\"files\":[{\"name\":\"90_custom.yaml\",\"content\":\"not base64\"}]}",
                "{\"files\":[{\"name\":\"../90_custom.yaml\",\"content\":\"\"}]}",
                "{\"files\":[{\"name\":\"/etc/passwd\",\"content\":\"\"}]}",
                "{\"files\":[{\"name\":\"80_custom.yaml\",\"content\":\"\"}]}",
                "{\"files\":[{\"name\":\"9x_custom.yaml\",\"content\":\"\"}]}",
                "{\"files\":[{\"name\":\"90_custom.yaml2\",\"content\":\"\"}]}",
                "{\"files\":[{\"name\":\"tb-agent-floor.json\",\"content\":\"\"}]}",
                "{\"files\":[{\"name\":\"tb-agent/first-boot.json\",\"content\":\"\"}]}",
        };
        struct error e = ERROR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                if (install_oem_unpack(bad[i], strlen(bad[i]), dir.fd, &e) != -EBADMSG)
                        fail_msg("%s", bad[i]);
        }
        assert_false(there("90_custom.yaml"));
}

static void test_full_partition(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        int full = open("/dev/null", O_RDONLY | O_CLOEXEC);

        (void)state;
        assert_int_equal(config_run(&run, HEAD, NULL, NULL), 0);
        assert_true(install_oem_write(run.c, full, &run.error) < 0);
        assert_non_null(strstr(run.error.text, "90_custom.yaml"));
        assert_int_equal(close(full), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_documents_alone),     CASE(test_words_for_the_boot_stage),
                CASE(test_packed_and_unpacked), CASE(test_unpacking_takes_our_names_only),
                CASE(test_full_partition),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
