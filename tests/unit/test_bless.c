/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a boot on trial while another run of the agent is at work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "agent/lock.h"
#include "agent/verbs.h"
#include "base/codec.h"
#include "base/log.h"
#include "efivars/efivar.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct env env = ENV_INIT;
static char efivars[PATH_MAX];

static int set_up(void **state)
{
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);

        (void)state;
        log_set_level(LOG_LEVEL_ERROR);
        scratch_make(&dir);
        assert_int_equal(file_make_dirs(dir.fd, "efivars", 0755), 0);
        assert_int_equal(file_make_dirs(dir.fd, "tb-agent", 0755), 0);
        (void)snprintf(efivars, sizeof(efivars), "%s/efivars", dir.path);
        env.run = env.proc = env.sysfs = env.dev = env.oem = dir.path;
        env.efivarfs = efivars;
        scratch_put_text(&dir, "tb-agent/boot.json", "{\"schema\":1,\"role\":\"active\"}");
        assert_int_equal(utf8_to_utf16("\\loader\\entries\\active+2-1.conf", &wide), 0);
        assert_int_equal(efivar_write(&env, "LoaderBootCountPath", EFIVAR_GUID_LOADER,
                                      EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, wide.data, wide.len),
                         0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static int run(const char *option)
{
        char *argv[] = {(char *)(uintptr_t) "bless", (char *)(uintptr_t)option, NULL};

        return verb_bless(&env, option ? 2 : 1, argv);
}

/* The boot was completed, and an upgrade that takes long keeps it from being confirmed: the time
 * limit is for boots that hang. */
static void test_completed_while_busy(void **state)
{
        int lock;

        (void)state;
        if (geteuid() != 0)
                skip();
        lock = lock_take(&env, "upgrade", 0, NULL);
        assert_true(lock >= 0);
        assert_int_equal(run(NULL), ERROR_BUSY);
        (void)close(lock);
        assert_int_equal(run("--expire"), 0);
}

static void test_never_completed(void **state)
{
        (void)state;
        if (geteuid() != 0)
                skip();
        assert_int_equal(run("--expire"), ERROR_PRECONDITION);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_completed_while_busy),
                CASE(test_never_completed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
