/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upgrade images: the containers that system images travel in. Documents of the OCI image
 * specification 1.1 and of "docker save", as upgrade/oci.h and upgrade/archive_source.h read them.
 */
#pragma once

#include "base/codec.h"
#include "image/bundle.h"
#include "image/finished.h"

struct container {
        const struct finished_usi *image;
        const char *name; /* repository, for docker-archive; NULL: none */
        const char *tag;
        uint64_t epoch;
};

/* What was made, for the person who makes it. */
struct container_facts {
        uint8_t manifest[SHA256_SIZE]; /* digest of the manifest; of a docker-archive: of its
                                          configuration, the image's id */
        uint8_t layer[SHA256_SIZE];
        uint64_t layer_size;
};

/* An OCI layout with one image of one layer, or, with layer NULL, with an artifact that is the raw
 * image. The layer is taken over in every case. */
int container_oci(const struct container *c, struct bundle *layer, struct bundle **ret,
                  struct container_facts *facts, struct error *e) _must_check_;

/* The members of a docker-archive. */
int container_docker(const struct container *c, struct bundle *layer, struct bundle **ret,
                     struct container_facts *facts, struct error *e) _must_check_;
