/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/vouchers.h"

#include <openssl/crypto.h>

void vouchers_done(struct vouchers *v)
{
        for (unsigned i = 0; i < VOUCHERS; i++)
                OPENSSL_free(v->der[i]);
        *v = (struct vouchers)VOUCHERS_INIT;
}

/* -ENODATA when a hash vouches for the program. */
static int authority(const struct sigdb_entry *entry, uint8_t **der, struct pcr7_authority *ret)
{
        int n;

        if (!entry || !entry->cert)
                return -ENODATA;
        n = i2d_X509(entry->cert, der);
        if (n <= 0)
                return -ENOMEM;
        *ret = (struct pcr7_authority){entry->owner, *der, (size_t)n};
        return 0;
}

int vouchers_find(const struct bootloader *loader, const struct verified_image *image,
                  const struct sigdb *db, const struct sigdb *dbx, struct vouchers *ret,
                  struct error *e)
{
        int r = authority(bootloader_authority(loader, db, dbx), &ret->der[0], &ret->item[0]);

        if (r == 0)
                r = authority(image_authority(image), &ret->der[1], &ret->item[1]);
        return r < 0 ? error_set(e, ERROR_PRECONDITION, -r,
                                 "no certificate of db vouches for boot loader and image: PCR 7 "
                                 "cannot be predicted")
                     : 0;
}

bool vouchers_in_log(const struct vouchers *v, const struct eventlog *log)
{
        for (unsigned i = 0; i < VOUCHERS; i++) {
                if (pcr7_vouched(log, v->item[i].owner, v->item[i].data, v->item[i].size) != 1)
                        return false;
        }
        return true;
}
