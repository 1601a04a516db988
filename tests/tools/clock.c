/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into a program: its clock of the day begins at $TB_CLOCK, seconds since 1970. Clocks
 * that only count go as they do. */
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static int (*true_clock)(clockid_t clock, struct timespec *ret);
static time_t ahead;

__attribute__((constructor)) static void begin(void)
{
        const char *p = getenv("TB_CLOCK");
        struct timespec now;
        time_t wish = 0;

        *(void **)&true_clock = dlsym(RTLD_NEXT, "clock_gettime");
        if (!p || !true_clock || true_clock(CLOCK_REALTIME, &now) != 0)
                abort();
        for (; *p >= '0' && *p <= '9'; p++)
                wish = wish * 10 + (*p - '0');
        ahead = wish - now.tv_sec;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
        int r = true_clock(clock, ret);

        if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
                ret->tv_sec += ahead;
        return r;
}

time_t time(time_t *ret)
{
        struct timespec now = {0};

        (void)clock_gettime(CLOCK_REALTIME, &now);
        if (ret)
                *ret = now.tv_sec;
        return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
        struct timespec now = {0};

        (void)zone;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        ret->tv_sec = now.tv_sec;
        ret->tv_usec = now.tv_nsec / 1000;
        return 0;
}
