/* SPDX-License-Identifier: Apache-2.0 */
/* What oci.c offers oci_document.c. */
#pragma once

#include "base/json.h"
#include "upgrade/oci.h"

/* One word of a platform. */
#define OCI_WORD_SIZE 32u

/* Copies a word for comparing and for messages; one that no platform has becomes "?". */
void oci_word_copy(const char *text, char ret[OCI_WORD_SIZE]);

/* The same media type, parameters and case aside. */
bool oci_same_type(const char *a, const char *b);

/* What the annotations of an object say. */
int oci_facts_read(struct json_object *o, struct oci_facts *ret, struct error *e) _must_check_;
