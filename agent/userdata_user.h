/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users of user data, in the words of cloud-init and of Kairos, brought into one form: a password
 * is hashed_passwd or plain_text_passwd, and counts unless lock_passwd says otherwise.
 */
#pragma once

#include "agent/config_node.h"

/* What useradd and systemd accept as a name. */
bool userdata_user_name_ok(const char *name);

/* Makes "users" of the tree a list in that form; users that are wrong are left out, with an error.
 * -ENOMEM. */
int userdata_user_settle(struct config_node *tree, struct config_problems *problems) _must_check_;

/* The member of the list of users with this name, NULL: none. */
struct config_node *userdata_user_find(const struct config_node *users, const char *name);

/* Adds a user, which it takes over, or puts it over the one of the same name. One that is no map is
 * an error and left out. -ENOMEM. */
int userdata_user_add(struct config_node *users, const char *name, struct config_node *user,
                      struct config_problems *problems) _must_check_;

/* Adds all users of a map {NAME: {...}}, which loses them. -ENOMEM. */
int userdata_user_add_map(struct config_node *users, struct config_node *map,
                          struct config_problems *problems) _must_check_;
