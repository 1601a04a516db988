/* SPDX-License-Identifier: Apache-2.0 */
/* The accounts that there are before user data is applied: those of the image, and owners of the
 * folders in /home, which a node keeps while /etc is new at every boot. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

/* User ids for people begin here. */
#define USERDATA_FIRST_UID 1000u
#define USERDATA_LAST_UID 59999u

struct userdata_account {
        char *name;
        uid_t uid;
        gid_t gid;
        char *home;    /* of an account of the image */
        bool in_image; /* else: the owner of /home/NAME */
};

struct userdata_accounts {
        struct userdata_account *item;
        size_t n;
        bool has_bash;
};

/* root ("" is none) in front of /etc/passwd, /home and /bin/bash. */
int userdata_accounts_read(const char *root, struct userdata_accounts *ret, struct error *e)
        _must_check_;
void userdata_accounts_done(struct userdata_accounts *a);

/* The image's account of this name, NULL: none. */
const struct userdata_account *userdata_accounts_find(const struct userdata_accounts *a,
                                                      const char *name);
/* The one whose home folder this name has; only with an id for people. */
const struct userdata_account *userdata_accounts_owner(const struct userdata_accounts *a,
                                                       const char *name);
/* Whether the id belongs to an account or to a folder of somebody else than name. */
bool userdata_accounts_used(const struct userdata_accounts *a, uid_t uid, const char *name);
