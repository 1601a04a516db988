/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput(): it hands the
 * bytes to one parser, uses everything the parser promises, and checks what must hold for any
 * input (FUZZ_CHECK). tests/tools/fuzz builds nothing and runs them all; make-seeds gives each a
 * folder of real inputs to begin with.
 */
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(x)                                                                              \
        do {                                                                                       \
                if (!(x)) {                                                                        \
                        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);              \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)

/* A parser that fails says why and how bad it is; one that does not leaves the error alone. */
static inline void fuzz_check_error(int r, const struct error *e)
{
        if (r < 0)
                FUZZ_CHECK(e->code == -r && e->class != ERROR_NONE && e->text[0]);
        else
                FUZZ_CHECK(e->code == 0);
}

/* An unnamed file with these bytes, read position at the start. The caller closes it. */
static inline int fuzz_file(const uint8_t *data, size_t size)
{
        int fd = memfd_create("fuzz", MFD_CLOEXEC);

        FUZZ_CHECK(fd >= 0);
        FUZZ_CHECK(size == 0 || pwrite(fd, data, size, 0) == (ssize_t)size);
        return fd;
}

/* Its path, for functions that open by name. */
static inline void fuzz_file_path(int fd, char ret[64])
{
        (void)snprintf(ret, 64, "/proc/self/fd/%d", fd);
}

/* The bytes as a C string, cut at the first NUL. The caller frees it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
        char *s = malloc(size + 1);

        FUZZ_CHECK(s);
        if (size > 0)
                memcpy(s, data, size);
        s[size] = '\0';
        return s;
}
