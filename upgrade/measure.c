/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/measure.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "efivars/sigdb.h"
#include "partition/eventlog.h"
#include "partition/pcr7.h"
#include "upgrade/authenticode_image.h"
#include "upgrade/trust.h"

/* Text of the EV_EFI_ACTION that begins the first attempt to boot; without a NUL. */
#define FIRST_ATTEMPT "Calling EFI Application from Boot Option"
#define PROGRAMS 2u /* boot loader, image */
/* "4294967295" and a NUL. */
#define NUMBER_SIZE 11u

static int extend(uint8_t value[SHA256_SIZE], const void *data, size_t n)
{
        uint8_t digest[SHA256_SIZE];
        int r = sha256(data, n, digest);

        return r < 0 ? r : eventlog_extend(value, digest);
}

/* --- PCR 4 --- */

static int extend_image(uint8_t value[SHA256_SIZE], const struct authenticode_image *image)
{
        return eventlog_extend(value,
                               authenticode_image_digests(image)->value[AUTHENTICODE_SHA256]);
}

static int extend_file(uint8_t value[SHA256_SIZE], int fd, struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        int r = authenticode_image_read(fd, AUTHENTICODE_MASK(AUTHENTICODE_SHA256), &image, e);

        if (r < 0)
                return r;
        return extend_image(value, image) < 0 ? error_oom(e) : 0;
}

int measure_pcr4(const struct measure_boot *b, uint8_t ret[SHA256_SIZE], struct error *e)
{
        static const uint8_t separator[4] = {0};
        uint8_t value[SHA256_SIZE] = {0};
        int r = 0;

        if (extend(value, FIRST_ATTEMPT, strlen(FIRST_ATTEMPT)) < 0 ||
            extend(value, separator, sizeof(separator)) < 0)
                return error_oom(e);
        if (b->loader >= 0) {
                r = extend_file(value, b->loader, e);
                if (r < 0)
                        return error_wrap(e, r, "boot loader");
        }
        r = extend_file(value, b->image, e);
        if (r == 0)
                memcpy(ret, value, SHA256_SIZE);
        return r;
}

/* --- PCR 7 --- */

struct vouchers {
        struct sigdb *db, *dbx;
        unsigned n;
        struct pcr7_authority item[PROGRAMS];
        uint8_t *der[PROGRAMS];
};

static void vouchers_done(struct vouchers *v)
{
        for (unsigned i = 0; i < v->n; i++)
                OPENSSL_free(v->der[i]);
        sigdb_free(v->db);
        sigdb_free(v->dbx);
}

static int load_databases(const struct measure_keys *keys, struct vouchers *v, struct error *e)
{
        int r;

        v->db = sigdb_new();
        v->dbx = sigdb_new();
        if (!v->db || !v->dbx)
                return error_oom(e);
        r = sigdb_add_lists(v->db, keys->db.data, keys->db.len, "db", e);
        return r < 0 ? r : sigdb_add_lists(v->dbx, keys->dbx.data, keys->dbx.len, "dbx", e);
}

static int add_voucher(struct vouchers *v, int fd, const char *what, struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        _cleanup_free_ struct trust_report *report = NULL;
        const struct sigdb_entry *entry;
        int n, r = authenticode_image_read(fd, AUTHENTICODE_MASK_ALL, &image, e);

        if (r == 0)
                r = trust_check(image, v->db, v->dbx, &report, e);
        if (r == 0)
                r = trust_enforce(report, e);
        if (r < 0)
                return error_wrap(e, r, "%s", what);
        entry = trust_authority(report);
        if (!entry || !entry->cert)
                return error_set(e, ERROR_CONFIG, EOPNOTSUPP,
                                 "%s: no certificate of db vouches for it, so PCR 7 cannot be "
                                 "predicted",
                                 what);
        n = i2d_X509(entry->cert, &v->der[v->n]);
        if (n <= 0)
                return error_oom(e);
        v->item[v->n] = (struct pcr7_authority){entry->owner, v->der[v->n], (size_t)n};
        v->n++;
        return 0;
}

int measure_pcr7(const struct measure_boot *b, const struct measure_keys *keys,
                 uint8_t ret[SHA256_SIZE], struct error *e)
{
        static const uint8_t on[1] = {1};
        const struct pcr7_contents contents = {
                .variable[PCR7_SECUREBOOT] = {true, on, sizeof(on)},
                .variable[PCR7_PK] = {true, keys->pk.data, keys->pk.len},
                .variable[PCR7_KEK] = {true, keys->kek.data, keys->kek.len},
                .variable[PCR7_DB] = {true, keys->db.data, keys->db.len},
                .variable[PCR7_DBX] = {true, keys->dbx.data, keys->dbx.len}};
        _cleanup_(vouchers_done) struct vouchers v = {.n = 0};
        int r = load_databases(keys, &v, e);

        if (r == 0 && b->loader >= 0)
                r = add_voucher(&v, b->loader, "boot loader", e);
        if (r == 0)
                r = add_voucher(&v, b->image, "image", e);
        if (r < 0)
                return r;
        return pcr7_fresh(&contents, v.item, v.n, ret) < 0 ? error_oom(e) : 0;
}

/* --- PCR 12 --- */

int measure_pcr12(unsigned profile, uint8_t ret[SHA256_SIZE])
{
        char number[NUMBER_SIZE];
        uint8_t utf16[2 * NUMBER_SIZE] = {0}, value[SHA256_SIZE] = {0};
        int r = 0;

        if (profile > 0) {
                size_t n = (size_t)snprintf(number, sizeof(number), "%u", profile);

                for (size_t i = 0; i < n; i++)
                        utf16[2 * i] = (uint8_t)number[i];
                r = extend(value, utf16, 2 * (n + 1));
        }
        if (r == 0)
                memcpy(ret, value, SHA256_SIZE);
        return r;
}
