/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the YAML of one configuration file, by the events of libfyaml: no alias is ever followed,
 * and the sections of others (users, write_files, stages ...) are checked to be YAML and then left
 * alone; their values are neither copied nor kept.
 *
 * Pure: text in, tree and problems out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/config_node.h"

/* Whether one of the first lines is #cloud-config, #kairos-config or #node-config. */
bool config_yaml_has_header(const char *text, size_t n);

/*
 * Reads text of n bytes. file names it in all places, and has to live as long as the tree. ours
 * says which keys of the uppermost map are read; the others become CONFIG_FOREIGN. The root is a
 * map, empty when the file is. Problems are noted, and the tree then holds what could be read; NULL
 * only when memory ran out.
 */
struct config_node *config_yaml_read(const char *text, size_t n, const char *file,
                                     bool (*ours)(const char *key),
                                     struct config_problems *problems);
