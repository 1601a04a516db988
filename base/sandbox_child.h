/* SPDX-License-Identifier: Apache-2.0 */
/* The child's side of base/sandbox.h, for base/sandbox.c alone: from the clone to the function. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/sandbox.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZED 1
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

/* Layers a caller gets unless he says otherwise. */
#define SANDBOX_POSSIBLE (SANDBOX_SANITIZED ? SANDBOX_ALL & ~(unsigned)SANDBOX_MEMORY : SANDBOX_ALL)

/* What a child is told once it exists: the id it shall become, or 0 when its user namespace knows
 * only the user it already is. */
struct sandbox_go {
        uint32_t id;
};

/* What it answers, just before the function runs. Until then the child is trusted. */
struct sandbox_report {
        uint32_t layers;
        uint32_t missing; /* the first layer that failed, 0 = none */
        int32_t code;     /* and its errno */
};

struct sandbox_child {
        const struct sandbox_options *options;
        sandbox_main run;
        void *ctx;
        unsigned namespaces; /* layers that the clone has set up */
        unsigned required;
        int go;     /* to be read; closed by the parent only after the report */
        int report; /* to be written */
        int null;   /* /dev/null */
};

/* Never returns and never runs exit handlers: they are the parent's. */
_Noreturn void sandbox_child(const struct sandbox_child *c);

/* Loads the system call filter. For sandbox_child(). */
int sandbox_filter_load(void) _must_check_;
