/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries of db that vouch for what a boot of ours starts: the boot loader, then the image.
 * The firmware measures each into PCR 7.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "efivars/sigdb.h"
#include "partition/eventlog.h"
#include "partition/pcr7.h"
#include "upgrade/bootloader.h"
#include "upgrade/image.h"

#define VOUCHERS 2u

struct vouchers {
        struct pcr7_authority item[VOUCHERS];
        uint8_t *der[VOUCHERS]; /* what the items point to */
};

#define VOUCHERS_INIT                                                                              \
        {                                                                                          \
                .der = { NULL }                                                                    \
        }

/*
 * image was verified against this db, which stays as long as *ret. ERROR_PRECONDITION: -ENODATA
 * when a hash vouches for one of them. vouchers_done() in any case.
 */
int vouchers_find(const struct bootloader *loader, const struct verified_image *image,
                  const struct sigdb *db, const struct sigdb *dbx, struct vouchers *ret,
                  struct error *e) _must_check_;
void vouchers_done(struct vouchers *v);

/* Whether both vouched for something in the boot of the log. */
bool vouchers_in_log(const struct vouchers *v, const struct eventlog *log);
