/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership by scope. A variable that owns something is declared with _cleanup_(f) and an "owns
 * nothing" value (NULL, or -EBADF for descriptors); TAKE_PTR()/TAKE_FD() hand the thing on and
 * leave the variable empty.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _must_check_ __attribute__((warn_unused_result))
#define _printf_(a, b) __attribute__((format(printf, a, b)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define TAKE_PTR(p)                                                                                \
        ({                                                                                         \
                __typeof__(p) take_tmp_ = (p);                                                     \
                (p) = NULL;                                                                        \
                take_tmp_;                                                                         \
        })

#define TAKE_FD(fd)                                                                                \
        ({                                                                                         \
                int take_fd_ = (fd);                                                               \
                (fd) = -EBADF;                                                                     \
                take_fd_;                                                                          \
        })

/* Makes name_p(T **), fit for _cleanup_(), from a destructor that takes T * and accepts NULL. */
#define DEFINE_CLEANUP(type, name)                                                                 \
        static inline void name##_p(type **p)                                                      \
        {                                                                                          \
                if (*p)                                                                            \
                        name(*p);                                                                  \
                *p = NULL;                                                                         \
        }

static inline void free_p(void *p)
{
        void **pp = p;

        free(*pp);
        *pp = NULL;
}

/* Closes a descriptor that was only read from, or whose data was already synced: nothing is left to
 * report. */
static inline void close_p(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
        *fd = -EBADF;
}

#define _cleanup_free_ _cleanup_(free_p)
#define _cleanup_close_ _cleanup_(close_p)
