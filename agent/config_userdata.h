/* SPDX-License-Identifier: Apache-2.0 */
/* User data for people who write configurations: what a boot would do with it. For
 * agent/config_verb.c. */
#pragma once

#include "agent/config.h"
#include "agent/userdata.h"
#include "base/env.h"
#include "base/json.h"

/*
 * Looks at the user data of the documents, and adds its mistakes and what is left out to problems.
 * engine: "cloud-init" or "systemd", whose files are made; NULL with find: that of the image; NULL
 * without it: none, files stays empty. -EBADMSG (ERROR_CONFIG) when there was a mistake.
 */
int config_userdata_make(const struct env *env, const struct config *c, const char *engine,
                         bool find, struct config_problems *problems, struct userdata_files *files,
                         struct error *e) _must_check_;

/* The same for the engine of the image, and nobody sees the files: what an installation asks of its
 * configuration. */
int config_userdata_check(const struct env *env, const struct config *c,
                          struct config_problems *problems, struct error *e) _must_check_;

/*
 * The configuration that an operation is told to follow: config_load(), the check above, and every
 * mistake on standard error. Owned by the caller, also after an error (config_free()).
 */
int config_load_checked(const struct env *env, const struct config_wish *wish, struct config **ret,
                        struct error *e) _must_check_;

/* Each file as a line with its mode and path, and its content. */
void config_userdata_print(const struct userdata_files *files);
/* [{"path","mode","content"}]. NULL when memory ran out. */
struct json_object *config_userdata_json(const struct userdata_files *files) _must_check_;
