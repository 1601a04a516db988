/* SPDX-License-Identifier: Apache-2.0 */
/* PCR signature documents. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/pcrsig.h"

static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0V0vFdTlEq413AwSSSIR\n"
                          "hQXxEav2VQDES5RowuJHQjPQwvKwJ0tgh07Nsj2stmsGU1KUEOBgc3sbFCwYVTk4\n"
                          "o6LJqeiN1pwhOGaVxM0P6Y2EV+CSSl75CHTo0AS5bZ74n0c99jKJreoMNtyYmXK1\n"
                          "+WrC6oB88tIG1vOKbSbNxib2DiQaNpgUlzTeOhPP0nMaKufuy0tGiNMuFxgNJkXr\n"
                          "Xk5AxtrRLsPjBIJtJodn8rK7tBRf0fWwx/l8hqT6pwZs3yU48bXWJ+8DiPdUqENX\n"
                          "mtNHhOYdzBmlqiRlwcfHM/z73yBr2uuZqeNJYJS4/a6mUYwA7lXcXhz2tG7AwNVT\n"
                          "sQIDAQAB\n"
                          "-----END PUBLIC KEY-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(pcrsig_free_p) struct pcrsig *p = NULL;
        static const uint8_t pcr11[SHA256_SIZE];
        const struct pcrsig_entry *entry;
        struct error e = ERROR_INIT;
        int r = pcrsig_parse(data, size, &p, &e);

        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        for (unsigned i = 0; (entry = pcrsig_at(p, i)); i++) {
                FUZZ_CHECK(i < LIMIT_PCRSIG_ENTRIES);
                FUZZ_CHECK(entry->mask < 1u << 24);
                FUZZ_CHECK(pcrsig_find(p, entry->mask, entry->pkfp, entry->pol));
        }
        /* No document signs a PCR of zeros under this key: its private half is gone. */
        r = pcrsig_check(p, pem, sizeof(pem) - 1, pcr11, NULL, &e);
        FUZZ_CHECK(r < 0);
        fuzz_check_error(r, &e);
        return 0;
}
