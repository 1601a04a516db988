/* SPDX-License-Identifier: Apache-2.0 */
/* A boot of the entry "statereset" (agent/statereset.h): all that may be missing makes it a
 * recovery session like any other. */
#include "agent/boot.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/console.h"
#include "agent/reset.h"
#include "agent/statereset.h"
#include "base/log.h"

/* NULL: it is allowed, and somebody wants it. */
static const char *why_not(const struct boot *b, bool opened_by_tpm, bool has_oem, struct error *e)
{
        int r;

        if (!b->chosen)
                return "the boot loader came to it by itself, or starts it always";
        if (!opened_by_tpm || !has_oem)
                return "the TPM did not open the data of this node";
        if (!b->pair.proven)
                return "nothing vouches for the configuration in oem";
        r = statereset_allowed(b->env, e);
        if (r < 0)
                return e->text;
        return r > 0 ? NULL : "the configuration does not allow it (reset.unattended)";
}

/* In a process of its own, as in a session: its mounts are not ours. */
static int run(const struct boot *b, struct error *ret)
{
        int status = 0;
        pid_t pid = fork();

        if (pid < 0)
                return error_errno(ret, errno, "fork");
        if (pid == 0)
                _exit(reset_unattended(b->env, ret) < 0);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                continue;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        if (ret->code == 0)
                return error_set(ret, ERROR_INTERNAL, ECHILD, "it ended before its time");
        return -ret->code;
}

/* Whoever sees the machine shall know what it does. */
static void announce(const struct boot *b)
{
        static const char text[] = "The boot entry asks for a reset of this node, and its "
                                   "configuration allows it: it begins.";
        _cleanup_(console_close_p) struct console *c = NULL;

        log_warning("%s", text);
        if (console_open_all(b->env, &c, NULL) < 0)
                return;
        console_say(c, "\n");
        console_say(c, text);
        console_say(c, "\n");
}

static int reset(struct boot *b, struct error *e)
{
        struct error *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int r;

        if (shared == MAP_FAILED)
                return error_oom(e);
        /* Some TPM devices can be opened once. */
        tpm_free(b->tpm);
        b->tpm = NULL;
        announce(b);
        r = run(b, shared);
        if (r < 0)
                *e = *shared;
        (void)munmap(shared, sizeof(*shared));
        return r;
}

bool boot_statereset(struct boot *b, bool opened_by_tpm, bool has_oem)
{
        struct error error = ERROR_INIT;
        const char *why;

        if (!entry_is_reset(&b->entry))
                return false;
        why = why_not(b, opened_by_tpm, has_oem, &error);
        if (!why && reset(b, &error) == 0)
                return true;
        if (why) {
                struct error told = ERROR_INIT;

                error_set(&told, ERROR_PRECONDITION, EPERM, "no unattended reset: %.400s", why);
                error = told;
        } else {
                error_wrap(&error, -error.code, "the reset failed");
        }
        log_error("%s", error.text);
        boot_report_problem(b->report, error.text);
        if (boot_report_write(b->report, b->env, &error) < 0)
                log_warning("%s", error.text);
        return false;
}
