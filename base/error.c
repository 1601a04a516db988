/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const class_names[ERROR_CLASS_MAX] = {
        [ERROR_NONE] = "success",
        [ERROR_INTERNAL] = "internal",
        [ERROR_USAGE] = "usage",
        [ERROR_NOTHING] = "nothing-to-do",
        [ERROR_CONFIG] = "config",
        [ERROR_SOURCE] = "source-unreachable",
        [ERROR_REFUSED] = "refused",
        [ERROR_SPACE] = "no-space",
        [ERROR_BUSY] = "busy",
        [ERROR_IO] = "target-io",
        [ERROR_PRECONDITION] = "precondition",
        [ERROR_INTERRUPTED] = "interrupted",
        [ERROR_SIGNATURE] = "refused-signature",
        [ERROR_REVOKED] = "refused-revoked",
        [ERROR_POLICY_KEY] = "refused-policy-key",
        [ERROR_PCR_SIGNATURE] = "refused-pcr-signature",
        [ERROR_VERSION] = "refused-version",
};

static _printf_(4, 0) void set_text(struct error *e, enum error_class class, int code,
                                    const char *fmt, va_list ap)
{
        e->class = class;
        e->code = code;
        e->advice[0] = '\0';
        (void)vsnprintf(e->text, sizeof(e->text), fmt, ap); /* a cut message is still a message */
}

static enum error_class class_of_errno(int code)
{
        if (code == ENOSPC || code == EDQUOT || code == EFBIG)
                return ERROR_SPACE;
        if (code == EBUSY || code == EWOULDBLOCK || code == ETXTBSY)
                return ERROR_BUSY;
        if (code == EINTR || code == ECANCELED)
                return ERROR_INTERRUPTED;
        if (code == ENOMEM || code == EMFILE || code == ENFILE)
                return ERROR_INTERNAL;
        return ERROR_IO;
}

/* What the user gave: words, a configuration, an image. */
static bool is_verdict(enum error_class class)
{
        return class == ERROR_USAGE || class == ERROR_CONFIG || class == ERROR_REFUSED ||
               class >= ERROR_SIGNATURE;
}

/* The machine failed, whatever was looked at. */
static bool is_of_machine(int code)
{
        return code == EIO || code == ENOMEM || code == EINTR || code == ENOSPC || code == EDQUOT ||
               code == EMFILE || code == ENFILE;
}

int error_set(struct error *e, enum error_class class, int code, const char *fmt, ...)
{
        va_list ap;

        assert(code > 0);
        if (!e)
                return -code;
        if (is_verdict(class) && is_of_machine(code))
                class = class_of_errno(code);
        va_start(ap, fmt);
        set_text(e, class, code, fmt, ap);
        va_end(ap);
        return -code;
}

int error_errno(struct error *e, int code, const char *fmt, ...)
{
        va_list ap;
        size_t n;

        assert(code > 0);
        if (!e)
                return -code;
        va_start(ap, fmt);
        set_text(e, class_of_errno(code), code, fmt, ap);
        va_end(ap);
        n = strlen(e->text);
        (void)snprintf(e->text + n, sizeof(e->text) - n, ": %s",
                       strerrordesc_np(code) ?: "unknown error");
        return -code;
}

int error_oom(struct error *e)
{
        return error_set(e, ERROR_INTERNAL, ENOMEM, "out of memory");
}

int error_wrap(struct error *e, int r, const char *fmt, ...)
{
        char context[sizeof(e->text)];
        size_t n, rest;
        va_list ap;

        if (!e)
                return r;
        va_start(ap, fmt);
        (void)vsnprintf(context, sizeof(context), fmt, ap);
        va_end(ap);

        n = strlen(context);
        if (n + 2 >= sizeof(e->text))
                return r;
        rest = sizeof(e->text) - n - 2;
        memmove(e->text + n + 2, e->text, rest);
        memcpy(e->text, context, n);
        memcpy(e->text + n, ": ", 2);
        e->text[sizeof(e->text) - 1] = '\0';
        return r;
}

void error_advise(struct error *e, const char *fmt, ...)
{
        va_list ap;

        if (!e || e->advice[0])
                return;
        va_start(ap, fmt);
        (void)vsnprintf(e->advice, sizeof(e->advice), fmt, ap);
        va_end(ap);
}

const char *error_advice(const struct error *e)
{
        if (*e->advice)
                return e->advice;
        if (e->class == ERROR_USAGE)
                return "--help tells what is expected";
        if (e->class == ERROR_SOURCE)
                return "check the name of the source and the network of this machine; the same "
                       "command goes on where this one ended";
        if (e->class == ERROR_BUSY)
                return "try again later";
        if (e->class == ERROR_IO)
                return "check the device and the messages of the kernel";
        if (e->class == ERROR_INTERRUPTED)
                return "run the same command again";
        return NULL;
}

void error_clear(struct error *e)
{
        if (e)
                *e = (struct error)ERROR_INIT;
}

int error_exit_code(enum error_class class)
{
        return class < ERROR_CLASS_MAX ? (int)class : (int)ERROR_INTERNAL;
}

int error_failure_code(const struct error *e)
{
        return error_exit_code(e->class == ERROR_NONE ? ERROR_INTERNAL : e->class);
}

const char *error_class_name(enum error_class class)
{
        return class < ERROR_CLASS_MAX ? class_names[class] : class_names[ERROR_INTERNAL];
}
