/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PIN is asked for when all else that the TPM demands is there. Nobody at the console, or
 * somebody who does not know it, says nothing about the image: while it is waited for, a boot on
 * trial has its try back, and one that gets no PIN ends by switching the machine off. So neither a
 * wrong PIN nor somebody who pulls the plug at the question makes a node fall back, and no loop of
 * restarts uses up the tries of the TPM.
 */
#include "agent/boot.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/console.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "efivars/loader.h"
#include "partition/mount.h"

#define TRY_MOUNT "/tb-agent/boot-esp"

/* --- the try of this boot --- */

static int on_esp(const struct boot *b,
                  int (*move)(const struct esp *, const char *, struct error *),
                  const char *count_path, struct error *e)
{
        _cleanup_free_ char *device = NULL, *target = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct esp esp;
        int r, unmounted;

        if (asprintf(&target, "%s" TRY_MOUNT, b->env->run) < 0) {
                target = NULL;
                return error_oom(e);
        }
        r = disk_partition_path(b->node->disk, b->node->esp->number, &device, e);
        if (r == 0)
                r = node_check_esp(device, target, e);
        if (r == 0)
                r = node_mount_vfat(device, target, true, e);
        if (r < 0)
                return r;
        fd = file_open_dir(AT_FDCWD, target);
        esp = (struct esp)ESP_INIT(fd);
        r = fd < 0 ? error_errno(e, -fd, "%s", target) : move(&esp, count_path, e);
        close_p(&fd);
        unmounted = mount_unmount(target, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
}

/* Also when that fails the boot goes on: what is lost is a try. */
static bool move_try(const struct boot *b,
                     int (*move)(const struct esp *, const char *, struct error *))
{
        _cleanup_(buf_done) struct buf path = BUF_INIT(4096);
        struct error error = ERROR_INIT;

        if (!b->counted || !b->node || loader_boot_count_path(b->env, &path) < 0)
                return false;
        if (on_esp(b, move, buf_str(&path), &error) == 0)
                return true;
        log_warning("the try of this boot: %s", error.text);
        return false;
}

void boot_pin_wait(struct boot *b)
{
        if (!b->pin.try_returned)
                b->pin.try_returned = move_try(b, esp_return_try);
}

void boot_pin_accepted(struct boot *b)
{
        if (b->pin.try_returned)
                b->pin.try_returned = !move_try(b, esp_take_try);
}

void boot_pin_forget(struct boot *b)
{
        b->pin.given_up = false;
        boot_pin_accepted(b);
}

/* --- asking --- */

static int give_up(struct boot *b, int code, const char *why, struct error *e)
{
        b->pin.given_up = true;
        error_set(e, ERROR_PRECONDITION, code, "%s", why);
        error_advise(e, "start again with the PIN, or start the recovery entry and use the "
                        "recovery key");
        return -code;
}

/* What the TPM would say to a right one, too. */
static int check_lockout(struct boot *b, char *left, size_t n, struct error *e)
{
        struct tpm_info info;

        *left = '\0';
        if (!b->tpm || tpm_get_info(b->tpm, &info, NULL) < 0)
                return 0;
        if (info.in_lockout)
                return give_up(b, ENOLCK,
                               "the TPM takes no PIN: too many were wrong, and its lockout lasts",
                               e);
        /* The next boot shall have a try, too. */
        if (b->pin.wrong > 0 && info.lockout_counter + 1 >= info.lockout_max)
                return give_up(b, EILSEQ, "one more wrong PIN would lock the TPM", e);
        if (info.lockout_max > info.lockout_counter)
                (void)snprintf(left, n, "The TPM locks itself after %" PRIu32 " more wrong ones.\n",
                               info.lockout_max - info.lockout_counter);
        return 0;
}

/* A line that says something. In recovery an empty one means "without". */
static int read_line(struct console *c, bool recovery, struct secret **ret)
{
        int r;

        for (;;) {
                _cleanup_(secret_free_p) struct secret *line = NULL;

                r = console_read(c, recovery ? LIMIT_RECOVERY_SECONDS : 0, &line);
                if (r < 0)
                        return r;
                if (line->len == 0 && recovery)
                        return -ECANCELED;
                if (line->len > 0) {
                        *ret = TAKE_PTR(line);
                        return 0;
                }
        }
}

static int ask(struct boot *b, const char *wrong, const char *left, struct error *e)
{
        static const char question[] = "\nThe data of this node opens with a PIN. Type it and "
                                       "press Enter (it is not shown): ";
        static const char without[] = "\nThe data of this node opens with a PIN. Type it and press "
                                      "Enter, or Enter alone to go on without\n(it is not shown): ";
        _cleanup_(console_close_p) struct console *c = NULL;
        bool recovery = b->entry.role == ENTRY_ROLE_RECOVERY;
        int r = console_open_all(b->env, &c, e);

        if (r < 0)
                return give_up(b, ENXIO, "there is no console to ask for the PIN on", e);
        if (wrong) {
                console_say(c, "\n");
                console_say(c, wrong);
                console_say(c, "\n");
                console_say(c, left);
        }
        console_say(c, recovery ? without : question);
        r = read_line(c, recovery, &b->pin.text);
        if (r == -ENOMEM)
                return error_oom(e);
        return r < 0 ? give_up(b, ENOANO, "no PIN was given", e) : 0;
}

int boot_pin_ask(struct boot *b, const char *wrong, struct error *e)
{
        char left[96];
        int r;

        if (b->pin.given_up)
                return give_up(b, ENOANO, "no PIN that opens was given", e);
        secret_free(b->pin.text);
        b->pin.text = NULL;
        b->pin.wrong += wrong != NULL;
        if (b->pin.wrong == LIMIT_PIN_TRIES)
                return give_up(b, EILSEQ, "too many wrong PINs for one boot", e);
        r = check_lockout(b, left, sizeof(left), e);
        if (r < 0)
                return r;
        boot_pin_wait(b);
        return ask(b, wrong, left, e);
}
