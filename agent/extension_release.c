/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/extension_release.h"

#include <string.h>

#if defined(__x86_64__)
#define ARCHITECTURE "x86-64"
#elif defined(__aarch64__)
#define ARCHITECTURE "arm64"
#endif
#define ANY "_any"

static bool same(const char *a, const char *b)
{
        return a && b && strcmp(a, b) == 0;
}

static int refuse(struct error *e, const char *key, const char *have, const char *want)
{
        return error_set(e, ERROR_REFUSED, ENOEXEC,
                         "made for another system: %s \"%s\", this one has \"%s\"", key,
                         have ? have : "", want ? want : "");
}

int extension_release_check(const struct osrelease *host, const struct osrelease *extension,
                            bool confext, struct error *e)
{
        const char *level_key = confext ? "CONFEXT_LEVEL" : "SYSEXT_LEVEL";
        const char *id = osrelease_get(extension, "ID"),
                   *architecture = osrelease_get(extension, "ARCHITECTURE"),
                   *level = osrelease_get(extension, level_key),
                   *version = osrelease_get(extension, "VERSION_ID");
        const char *want_id = osrelease_get(host, "ID"),
                   *want_level = osrelease_get(host, level_key),
                   *want_version = osrelease_get(host, "VERSION_ID");

        if (architecture && !same(architecture, ANY) && !same(architecture, ARCHITECTURE))
                return refuse(e, "ARCHITECTURE", architecture, ARCHITECTURE);
        if (same(id, ANY))
                return 0;
        if (!same(id, want_id))
                return refuse(e, "ID", id, want_id);
        if (level && want_level)
                return same(level, want_level) ? 0 : refuse(e, level_key, level, want_level);
        /* A system without versions rolls. */
        if (want_version && !same(version, want_version))
                return refuse(e, "VERSION_ID", version, want_version);
        return 0;
}
