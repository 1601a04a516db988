/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_end.h"

#include <stdio.h>
#include <unistd.h>

#include "agent/hooks.h"
#include "agent/install.h"
#include "agent/restart.h"
#include "base/codec.h"

const char *install_end_name(enum install_end end)
{
        switch (end) {
        case INSTALL_END_STAY:
                return "none";
        case INSTALL_END_REBOOT:
                return "reboot";
        case INSTALL_END_POWEROFF:
                return "poweroff";
        }
        return "none";
}

int install_end_choose(bool reboot, bool poweroff, enum install_end *ret, struct error *e)
{
        if (reboot && poweroff)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--reboot and --poweroff exclude each other");
        *ret = reboot ? INSTALL_END_REBOOT : poweroff ? INSTALL_END_POWEROFF : INSTALL_END_STAY;
        return 0;
}

int install_end_prepare(struct install_plan *p, struct error *e)
{
        p->escrow.leaving = p->end != INSTALL_END_STAY;
        if (!p->escrow.leaving || p->escrow.place != INSTALL_ESCROW_SHOWN || isatty(STDIN_FILENO))
                return 0;
        error_set(e, ERROR_USAGE, EPERM,
                  "the recovery key would be gone from the terminal before anybody read it");
        error_advise(e, "give --recovery-key-file, or leave out the restart");
        return -EPERM;
}

/* --- hooks --- */

static int run_hooks(const struct install_plan *p, enum hook_event event,
                     const struct config_list *programs, unsigned *ret_run, struct error *e)
{
        char sha256[SHA256_HEX_SIZE];
        const struct hook_places places = {.root = p->env->root,
                                           .folders = hook_folders,
                                           .programs = programs ? programs->item : NULL,
                                           .n_programs = programs ? programs->n : 0};
        const struct hook_facts facts = {.source = p->source.image_path,
                                         .disk = p->disk->path,
                                         .to_version = image_version(p->source.image),
                                         .to_sha256 = sha256,
                                         .result =
                                                 event == HOOK_AFTER_INSTALL ? "installed" : NULL};
        unsigned run = 0;
        int r;

        hex_encode(image_sha256(p->source.image), SHA256_SIZE, sha256);
        r = hooks_run(&places, event, &facts, &run, e);
        *ret_run += run;
        return r < 0 ? error_wrap(e, r, "%s", hook_event_name(event)) : 0;
}

int install_end_ask_hooks(const struct install_plan *p, unsigned *ret_run, struct error *e)
{
        int r = run_hooks(p, HOOK_BEFORE_INSTALL,
                          p->config ? &p->config->install.hooks.before : NULL, ret_run, e);

        if (r < 0)
                error_advise(e, "nothing was changed; correct what the hook complains about");
        return r;
}

int install_end_tell_hooks(const struct install_plan *p, unsigned *ret_run, struct error *e)
{
        int r = run_hooks(p, HOOK_AFTER_INSTALL, p->config ? &p->config->install.hooks.after : NULL,
                          ret_run, e);

        if (r < 0)
                error_advise(e, "the installation itself is complete; do the hook's work by hand");
        return r;
}

/* --- leaving --- */

/* Whoever sits there was shown the key a moment ago. The end of the input is no answer that counts:
 * the key is on the screen, and stays there. */
static int wait_for_reader(struct error *e)
{
        int c;

        (void)fputs("Press Enter when the recovery key is written down: ", stderr);
        do
                c = getchar();
        while (c != EOF && c != '\n');
        return c == '\n' ? 0
                         : error_set(e, ERROR_INTERRUPTED, ECANCELED,
                                     "nobody confirmed that the recovery key was read; the "
                                     "machine stays on");
}

int install_end_wait(const struct install_plan *p, struct error *e)
{
        return p->end != INSTALL_END_STAY && p->escrow.place == INSTALL_ESCROW_SHOWN
                       ? wait_for_reader(e)
                       : 0;
}

int install_end_leave(const struct install_plan *p, struct error *e)
{
        if (p->end == INSTALL_END_STAY)
                return 0;
        return p->end == INSTALL_END_REBOOT ? restart_node(p->env, e)
                                            : restart_power_off(p->env, e);
}
