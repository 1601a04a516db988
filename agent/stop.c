/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stop.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

static volatile sig_atomic_t wanted;

static void note(int number)
{
        wanted = number;
}

int stop_prepare(struct error *e)
{
        /* No SA_RESTART: a wait has to end. */
        struct sigaction action = {.sa_handler = note}, ignore = {.sa_handler = SIG_IGN};

        if (sigaction(SIGTERM, &action, NULL) < 0 || sigaction(SIGINT, &action, NULL) < 0 ||
            sigaction(SIGPIPE, &ignore, NULL) < 0)
                return error_errno(e, errno, "signals");
        return 0;
}

bool stop_wanted(void *unused)
{
        (void)unused;
        return wanted != 0;
}

int stop_check(struct error *e)
{
        if (!wanted)
                return 0;
        error_set(e, ERROR_INTERRUPTED, ECANCELED, "stopped by a signal");
        error_advise(e, "run the same command again: it continues where this one ended");
        return -ECANCELED;
}

int stop_wait(uint64_t seconds, struct error *e)
{
        /* In steps, because a signal between the check and the wait would not end the wait. */
        for (uint64_t i = 0; i < seconds && !wanted; i++) {
                const struct timespec second = {.tv_sec = 1};

                (void)nanosleep(&second, NULL);
        }
        return stop_check(e);
}
