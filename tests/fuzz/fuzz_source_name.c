/* SPDX-License-Identifier: Apache-2.0 */
/* Names of sources: what is accepted can be put together again and means the same. */
#include <stdbool.h>

#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/oci_digest.h"
#include "upgrade/source_name.h"

static bool same(const char *a, const char *b)
{
        return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static void check_oci(const struct source_name *s)
{
        struct error e = ERROR_INIT;
        struct source_name again;
        struct oci_digest d;
        char *text;

        FUZZ_CHECK(s->registry && s->repository && (s->tag || s->digest) && !s->path && !s->url);
        FUZZ_CHECK(strlen(s->repository) <= LIMIT_REPOSITORY && !strstr(s->repository, ".."));
        FUZZ_CHECK(!s->tag || strlen(s->tag) <= LIMIT_TAG);
        FUZZ_CHECK(!s->digest || oci_digest_parse(s->digest, &d) == 0);
        FUZZ_CHECK(asprintf(&text, "oci:%s/%s%s%s%s%s", s->registry, s->repository,
                            s->tag ? ":" : "", s->tag ?: "", s->digest ? "@" : "",
                            s->digest ?: "") > 0);
        FUZZ_CHECK(source_name_parse(text, &again, &e) == 0);
        FUZZ_CHECK(same(s->registry, again.registry) && same(s->repository, again.repository));
        FUZZ_CHECK(same(s->tag, again.tag) && same(s->digest, again.digest));
        source_name_done(&again);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = fuzz_text(data, size);
        struct error e = ERROR_INIT;
        struct source_name s;
        int r = source_name_parse(text, &s, &e);

        fuzz_check_error(r, &e);
        if (r < 0) {
                FUZZ_CHECK(e.class == ERROR_USAGE);
                return 0;
        }
        FUZZ_CHECK(s.text);
        if (s.kind == SOURCE_KIND_OCI)
                check_oci(&s);
        else if (s.kind == SOURCE_KIND_HTTP)
                FUZZ_CHECK(s.url && !s.path);
        else
                FUZZ_CHECK(s.path && s.path[0] && !s.url);
        source_name_done(&s);
        return 0;
}
