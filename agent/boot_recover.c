/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot.h"

#include <stdio.h>
#include <unistd.h>

#include "agent/console.h"
#include "base/limits.h"
#include "base/log.h"
#include "partition/recovery_key.h"

/* A locked partition that a recovery key may open. */
struct locked {
        const struct data_volume *volume;
        char *device;
        struct luks *luks; /* NULL: open by now */
};

struct recovery {
        struct boot *boot;
        struct tpm *tpm; /* to measure volume keys; NULL: none */
        struct data_list list;
        struct locked locked[ARRAY_SIZE(((struct data_list *)NULL)->item)];
        size_t n;
        int events; /* the kernel's devices; negative: not to be had */
};

static void recovery_done(struct recovery *r)
{
        if (r->events >= 0)
                (void)close(r->events);
        for (size_t i = 0; i < r->n; i++) {
                free(r->locked[i].device);
                luks_free(r->locked[i].luks);
        }
        tpm_free(r->tpm);
}

/* What cannot be opened this way was reported when the TPM was tried. */
static void find_locked(struct recovery *r)
{
        data_list(r->boot->node, &r->list);
        for (size_t i = 0; i < r->list.n; i++) {
                struct locked l = {.volume = &r->list.item[i]};
                struct error error = ERROR_INIT;
                int token = 0;

                if (data_is_open(r->boot->node, l.volume))
                        continue;
                if (data_open_header(r->boot->node, l.volume, &l.device, &l.luks, &error) < 0 ||
                    recovery_key_next_slot(l.luks, &token) < 0) {
                        free(l.device);
                        luks_free(l.luks);
                        continue;
                }
                r->locked[r->n++] = l;
        }
}

/* console_attempt_fn: 0 when nothing is left to open. */
static int attempt(void *ctx, const struct secret *key, struct error *e)
{
        struct recovery *r = ctx;
        int first = 0;

        for (size_t i = 0; i < r->n; i++) {
                struct locked *l = &r->locked[i];
                const char *name = l->volume->partition->name;
                _cleanup_(secret_free_p) struct secret *volume_key = NULL;
                struct error error = ERROR_INIT;
                int opened;

                if (!l->luks)
                        continue;
                opened = data_open_by_key(l->luks, l->volume, key, r->tpm, &volume_key, &error);
                if (opened == 0) {
                        boot_pair_take(r->boot, l->volume->mapping, volume_key);
                        boot_report_partition(
                                r->boot->report,
                                &(struct boot_report_volume){.name = name,
                                                             .device = l->device,
                                                             .uuid = luks_uuid(l->luks),
                                                             .encrypted = true,
                                                             .unlocked_by = "recovery-key"});
                        luks_free(l->luks);
                        l->luks = NULL;
                } else if (first == 0) {
                        first = error_wrap(&error, opened, "%s", name);
                        *e = error;
                }
        }
        return first;
}

/* The closing word is in the TPM: what it is used for now is PCR 15 alone. */
static void open_tpm(struct recovery *r)
{
        struct error error = ERROR_INIT;

        if (tpm_open(r->boot->env->tcti, &r->tpm, &error) < 0) {
                r->tpm = NULL;
                log_warning("%s", error.text);
        }
}

/* A keyboard may be found while its owner is looking for the key. */
static void start_drivers(void *ctx)
{
        struct recovery *r = ctx;
        struct error error = ERROR_INIT;

        if (r->events >= 0 && uevent_wait(r->events, 0) < 0)
                return;
        if (module_load_for_devices(r->boot->modules, MODULE_ALL, &error) < 0)
                log_warning("%s", error.text);
}

static int check_open(const struct recovery *r, struct error *e)
{
        const struct node *node = r->boot->node;

        for (size_t i = 0; i < r->list.n; i++) {
                if (r->list.item[i].label && !data_is_open(node, &r->list.item[i]))
                        return error_set(e, ERROR_PRECONDITION, ENOKEY,
                                         "%s: no recovery key opens this partition",
                                         r->list.item[i].partition->name);
        }
        return node->oem && node->persistent
                       ? 0
                       : error_set(e, ERROR_PRECONDITION, ENXIO, "a partition is missing");
}

int boot_recover(struct boot *b, struct error *e)
{
        static const char question[] =
                "\nThe data of this node is locked. Type its recovery key "
                "and press Enter, or wait to go on\nwithout, where \"tb-agent "
                "doctor\" tells what is wrong (it is not shown): ";
        _cleanup_(recovery_done) struct recovery r = {.boot = b, .events = -EBADF};
        _cleanup_(console_close_p) struct console *console = NULL;
        struct error error = ERROR_INIT;
        int done;

        find_locked(&r);
        if (r.n == 0)
                return check_open(&r, e);
        r.events = uevent_open(&error);
        start_drivers(&r);
        done = console_open_all(b->env, &console, e);
        if (done < 0)
                return done;
        if (r.events >= 0)
                console_watch(console, r.events, start_drivers, &r);
        open_tpm(&r);
        done = console_ask_key(console, question, LIMIT_RECOVERY_SECONDS, attempt, &r, e);
        /* What a key of the user's may still open is no reason to leave ours closed. */
        if (check_open(&r, &error) == 0)
                return 0;
        if (done == 0)
                *e = error;
        return done < 0 ? done : -error.code;
}
