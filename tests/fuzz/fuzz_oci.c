/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of registries: manifests, indexes, image configurations. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/oci.h"

static void check_digest(const struct oci_digest *d)
{
        struct oci_digest again;

        FUZZ_CHECK(oci_digest_parse(d->text, &again) == 0);
        FUZZ_CHECK(memcmp(&again, d, sizeof(again)) == 0);
}

static void check_facts(const struct oci_facts *f)
{
        FUZZ_CHECK(strlen(f->version) < sizeof(f->version) && f->size <= LIMIT_IMAGE_SIZE);
}

static void check_manifest(const struct oci_manifest *m)
{
        unsigned usable = 0;

        FUZZ_CHECK(m->n_layers >= 1 && m->n_layers <= LIMIT_OCI_LAYERS);
        for (unsigned i = 0; i < m->n_layers; i++) {
                const struct oci_layer *l = &m->layers[i];

                check_digest(&l->blob.digest);
                FUZZ_CHECK(l->blob.size <= LIMIT_OCI_BLOB);
                FUZZ_CHECK(m->raw == (l->usable && l->format == LAYER_RAW));
                usable += l->usable;
        }
        FUZZ_CHECK(usable >= 1);
        FUZZ_CHECK(!m->raw || (m->n_layers == 1 && m->facts.size == m->layers[0].blob.size));
        check_digest(&m->config.digest);
        check_facts(&m->facts);
}

static void check_index(const struct oci_index *x)
{
        static const struct oci_platform wanted[] = {
                {"linux", "amd64", ""}, {"linux", "arm64", ""}, {"linux", "arm", "v7"}};

        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
                struct error e = ERROR_INIT;
                const struct oci_descriptor *d;
                struct oci_facts facts;
                int r = oci_index_pick(x, &wanted[i], &d, &facts, &e);

                fuzz_check_error(r, &e);
                FUZZ_CHECK(r == -E2BIG || (r == 0) == (oci_index_count(x, &wanted[i]) > 0));
                if (r < 0)
                        continue;
                FUZZ_CHECK(d->media == OCI_MEDIA_INDEX || d->media == OCI_MEDIA_MANIFEST);
                FUZZ_CHECK(d->size <= LIMIT_OCI_DOCUMENT);
                check_digest(&d->digest);
                check_facts(&facts);
        }
}

/* The first byte says what the transport announced. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const types[] = {NULL, "application/json",
                                            "application/vnd.oci.image.index.v1+json",
                                            "application/vnd.docker.distribution.manifest.v2+json"};
        _cleanup_(oci_manifest_free_p) struct oci_manifest *m = NULL;
        _cleanup_(oci_index_free_p) struct oci_index *x = NULL;
        struct error e = ERROR_INIT;
        struct oci_facts facts;
        int r;

        if (size < 1)
                return 0;
        r = oci_document_parse(data + 1, size - 1, types[data[0] % ARRAY_SIZE(types)],
                               OCI_MEDIA_UNKNOWN, &m, &x, &e);
        fuzz_check_error(r, &e);
        FUZZ_CHECK(r < 0 ? !m && !x && e.class == ERROR_REFUSED : !m != !x);
        if (m)
                check_manifest(m);
        if (x)
                check_index(x);
        error_clear(&e);
        r = oci_config_parse(data + 1, size - 1, oci_platform_here(), &facts, &e);
        fuzz_check_error(r, &e);
        if (r == 0)
                check_facts(&facts);
        return 0;
}
