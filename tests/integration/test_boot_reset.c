/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a boot does with a reset that the TPM knows of: on LUKS2 in files and a software TPM. The
 * boot partition is a folder, which this program mounts in place of the kernel, or refuses to.
 */
#include "agent/boot.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>

#include "agent/pcr_choice.h"
#include "agent/reset_journal.h"
#include "agent/reset_pin.h"
#include "base/log.h"
#include "partition/mount.h"
#include "partition/tpm_note.h"
#include "tests/support/swtpm.h"
#include "tests/unit/node_world.h"

struct world {
        struct node_world n;
        struct boot b;
        struct swtpm *emulator;
        struct reset_journal journal;
        char *uuid; /* of persistent */
        char run[96];
        struct error e;
};

/* --- the kernel's part ----------------------------------------------------------------------- */

static struct {
        bool takes_writes;
        unsigned looked, written; /* how often it was mounted so */
} kernel;

int __wrap_node_mount_vfat(const char *device, const char *target, bool writable, struct error *e);
int __wrap_node_check_esp(const char *device, const char *target, struct error *e);
int __wrap_mount_unmount(const char *target, struct error *e);

int __wrap_node_mount_vfat(const char *device, const char *target, bool writable, struct error *e)
{
        assert_non_null(strstr(device, "vda1"));
        assert_non_null(strstr(target, "boot-esp"));
        if (writable && !kernel.takes_writes)
                return error_set(e, ERROR_IO, EROFS, "it takes no writes");
        kernel.looked += !writable;
        kernel.written += writable;
        return 0;
}

int __wrap_node_check_esp(const char *device, const char *target, struct error *e)
{
        (void)device;
        (void)target;
        (void)e;
        return 0;
}

int __wrap_mount_unmount(const char *target, struct error *e)
{
        (void)target;
        (void)e;
        return 0;
}

/* --- the node -------------------------------------------------------------------------------- */

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        struct reset_volume *v;

        assert_non_null(w);
        *state = w;
        log_set_level(LOG_LEVEL_ERROR);
        node_world_make(&w->n);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        (void)snprintf(w->run, sizeof(w->run), "%s/run", w->n.w.s.path);
        assert_int_equal(file_make_dirs(w->n.w.s.fd, "run/tb-agent/boot-esp/EFI/kairos", 0755), 0);
        assert_int_equal(file_make_dirs(w->n.w.s.fd, "run/tb-agent/boot-esp/loader/entries", 0755),
                         0);
        w->n.w.env.run = w->run;
        w->n.w.env.extra = w->run;
        w->uuid = node_world_luks(&w->n, "vda4");
        w->b = (struct boot){.env = &w->n.w.env,
                             .node = &w->n.node,
                             .report = boot_report_new(),
                             .entry.role = ENTRY_ROLE_ACTIVE,
                             .why = BUF_INIT(4096)};
        assert_non_null(w->b.report);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->b.tpm, &w->e), 0);
        (void)snprintf(w->n.node.layout.partitions[3].uuid, LAYOUT_UUID_SIZE, "%s", w->uuid);
        w->journal = (struct reset_journal){.id = "aa", .time = 1, .pcrs = PCR_CHOICE_NEEDED};
        v = &w->journal.volume[w->journal.n++];
        *v = (struct reset_volume){
                .name = "persistent", .label = "COS_PERSISTENT", .file_system = true};
        (void)snprintf(v->partition, sizeof(v->partition), "%s", w->uuid);
        (void)snprintf(v->uuid, sizeof(v->uuid), "%s", w->uuid);
        memset(&kernel, 0, sizeof(kernel));
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        boot_report_free(w->b.report);
        buf_done(&w->b.why);
        secret_free(w->b.pin.text);
        tpm_free(w->b.tpm);
        swtpm_stop(w->emulator);
        free(w->uuid);
        node_world_end(&w->n);
        free(w);
        return 0;
}

static void plant(struct world *w, bool noted)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 16);
        uint8_t digest[SHA256_SIZE];

        assert_int_equal(reset_journal_format(&w->journal, &text), 0);
        scratch_put(&w->n.w.s, "run/tb-agent/boot-esp/" RESET_JOURNAL_FILE, text.data, text.len);
        assert_int_equal(sha256(text.data, text.len, digest), 0);
        if (noted)
                assert_int_equal(tpm_note_write(w->b.tpm, digest, &w->e), 0);
}

static bool is_noted(struct world *w)
{
        uint8_t digest[SHA256_SIZE];
        int r = tpm_note_read(w->b.tpm, digest, &w->e);

        assert_true(r >= 0);
        return r > 0;
}

static bool has_journal(struct world *w)
{
        return file_exists(w->n.w.s.fd, "run/tb-agent/boot-esp/" RESET_JOURNAL_FILE);
}

/* What the report says of it; NULL: no problem. */
static bool told(struct world *w, const char *text)
{
        _cleanup_json_ struct json_object *report = NULL;
        struct json_object *problems;

        assert_int_equal(boot_report_write(w->b.report, w->b.env, &w->e), 0);
        assert_int_equal(boot_report_read(w->b.env, &report, &w->e), 0);
        assert_int_equal(json_get_array(report, "problems", &problems), 0);
        return text ? strstr(json_object_to_json_string(problems), text) != NULL
                    : json_object_array_length(problems) == 0;
}

/* --- tests ----------------------------------------------------------------------------------- */

/* Without a note nobody even looks at the boot partition, but in recovery, for its entries. */
static void test_no_note(void **state)
{
        struct world *w = *state;

        plant(w, false);
        assert_int_equal(boot_reset(&w->b, &w->e), 0);
        assert_int_equal(kernel.looked + kernel.written, 0);
        w->b.entry.role = ENTRY_ROLE_RECOVERY;
        assert_int_equal(boot_reset(&w->b, &w->e), 0);
        assert_int_equal(kernel.looked, 1);
        assert_int_equal(kernel.written, 0);
        assert_true(told(w, NULL) && has_journal(w));
}

/* Nothing is destroyed yet, or nothing is left to do: that can wait, and the node starts. */
static void test_no_writes(void **state)
{
        struct world *w = *state;

        plant(w, true);
        for (unsigned round = 0; round < 2; round++) {
                if (round == 1) { /* the journal is of a volume that was there before */
                        memset(w->journal.volume[0].uuid, '1', 8);
                        plant(w, true);
                }
                assert_int_equal(boot_reset(&w->b, &w->e), 0);
                assert_true(told(w, "has to wait, because the boot partition takes no writes"));
                assert_true(has_journal(w) && is_noted(w));
        }
        assert_int_equal(kernel.written, 0);
}

/* Half of the data is gone: no node is left that could start. */
static void test_no_writes_and_begun(void **state)
{
        struct world *w = *state;

        plant(w, true);
        node_world_plain(&w->n, "vda4");
        assert_int_equal(boot_reset(&w->b, &w->e), -EROFS);
        assert_true(has_journal(w) && is_noted(w));
}

/* The TPM knows of a journal, and what is there is another one, or nothing. */
static void test_other_journal(void **state)
{
        struct world *w = *state;

        kernel.takes_writes = true;
        plant(w, true);
        w->journal.overwrite = true;
        plant(w, false);
        assert_int_equal(boot_reset(&w->b, &w->e), 0);
        assert_true(told(w, "not the journal that the TPM knows of"));
        assert_false(is_noted(w));
        assert_int_equal(kernel.written, 0);
        plant(w, true);
        assert_int_equal(unlinkat(w->n.w.s.fd, "run/tb-agent/boot-esp/" RESET_JOURNAL_FILE, 0), 0);
        assert_int_equal(boot_reset(&w->b, &w->e), 0);
        assert_false(is_noted(w));
}

/* This machine has no Secure Boot: the reset cannot be carried out. With its data whole the node
 * starts with it; else there is nothing to start with. */
static void test_cannot_go_on(void **state)
{
        struct world *w = *state;

        kernel.takes_writes = true;
        plant(w, true);
        assert_int_equal(boot_reset(&w->b, &w->e), 0);
        assert_true(told(w, "taken back"));
        assert_false(has_journal(w) || is_noted(w));
        plant(w, true);
        node_world_plain(&w->n, "vda4");
        assert_true(boot_reset(&w->b, &w->e) < 0);
        assert_non_null(strstr(w->e.text, "reset: "));
        assert_true(has_journal(w) && is_noted(w));
}

/* --- a PIN ----------------------------------------------------------------------------------- */

struct person {
        int terminal, line; /* the line stays open: a terminal that nobody has open ends */
        pid_t pid;
};

/* Answers each question with the next line. What is typed before a question is thrown away. */
static void begin_person(struct world *w, struct person *p, const char *const *lines, unsigned n)
{
        char name[64];

        p->terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(p->terminal >= 0);
        assert_int_equal(grantpt(p->terminal) | unlockpt(p->terminal), 0);
        assert_int_equal(ptsname_r(p->terminal, name, sizeof(name)), 0);
        p->line = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(p->line >= 0);
        world_link(&w->n.w, name, "dev/ttyT0");
        world_put(&w->n.w, "proc/consoles", "ttyT0                -W- (EC p a)    4:64\n");
        p->pid = fork();
        assert_true(p->pid >= 0);
        if (p->pid > 0)
                return;
        for (unsigned i = 0; i < n; i++) {
                char seen[2048] = "";
                size_t used = 0;

                while (!strstr(seen, "not shown): ") && !strstr(seen, "same again: ")) {
                        ssize_t got = read(p->terminal, seen + used, sizeof(seen) - 1 - used);

                        if (got <= 0)
                                _exit(1);
                        used += (size_t)got;
                        seen[used] = '\0';
                }
                if (file_write(p->terminal, lines[i], strlen(lines[i])) < 0 ||
                    file_write(p->terminal, "\r", 1) < 0)
                        _exit(1);
        }
        _exit(0);
}

static void end_person(struct person *p)
{
        int status;

        assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
        assert_int_equal(status, 0);
        close_p(&p->line);
        close_p(&p->terminal);
}

/* Nothing that stays has a PIN: a new one, as long as it takes. */
static void test_new_pin(void **state)
{
        static const char *const lines[] = {"123", "1234", "1243", "1234", "1234"};
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *pin = NULL;
        struct person p;

        begin_person(w, &p, lines, ARRAY_SIZE(lines));
        assert_int_equal(boot_reset_pin(&w->b, &w->journal, &pin, &w->e), 0);
        end_person(&p);
        assert_int_equal(pin->len, 4);
        assert_memory_equal(pin->data, "1234", 4);
        assert_false(w->b.pin.given_up);
}

/* Nobody can type one: no fault of the image, so the node does not fall back for it. */
static void test_no_console(void **state)
{
        struct world *w = *state;
        struct secret *pin = NULL;

        world_put(&w->n.w, "proc/consoles", "netcon0              -W- (E     )\n");
        assert_int_equal(boot_reset_pin(&w->b, &w->journal, &pin, &w->e), -ENXIO);
        assert_true(w->b.pin.given_up);
        w->b.pin.given_up = false;
        w->b.entry.role = ENTRY_ROLE_RECOVERY;
        assert_int_equal(boot_reset_pin(&w->b, &w->journal, &pin, &w->e), -ENXIO);
        assert_false(w->b.pin.given_up); /* recovery asks for what is kept all the same */
        assert_null(pin);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_no_note),       TEST(test_no_writes),    TEST(test_no_writes_and_begun),
                TEST(test_other_journal), TEST(test_cannot_go_on), TEST(test_new_pin),
                TEST(test_no_console),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
