/* SPDX-License-Identifier: Apache-2.0 */
/* Images: the strict reader over a file and as a stream, and what a USI is measured to. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/pe.h"
#include "upgrade/usi.h"
#include "upgrade/usi_reader.h"

/* A header of a few bytes may promise gigabytes of zeros in memory. That is right to measure, and
 * only a waste of time here. */
static bool is_small(const struct pe *pe)
{
        const struct pe_section *s;
        uint64_t sum = 0;

        for (unsigned i = 0; (s = pe_section_at(pe, i)); i++)
                sum += s->virtual_size;
        return sum <= 16 * MIB;
}

static void use(struct usi *u, const struct pe *pe, uint8_t ret_pcr11[SHA256_SIZE])
{
        const struct pe_section *s;

        for (enum usi_section k = 0; k < USI_SECTION_MAX; k++) {
                s = usi_section(u, k);
                FUZZ_CHECK(!s || s->raw_size == 0 ||
                           (uint64_t)s->raw_offset + s->raw_size <= pe_header(pe)->file_size);
                (void)usi_content(u, 0, k);
        }
        for (unsigned i = 0; i < 4; i++) {
                struct error e = ERROR_INIT;

                fuzz_check_error(usi_pcr11_profile(u, i, "enter-initrd", ret_pcr11, &e), &e);
        }
        if (usi_pcr11(u, "", ret_pcr11, NULL) < 0)
                memset(ret_pcr11, 0, SHA256_SIZE);
}

/* Pushed in pieces of any size, the same bytes are the same image. */
static void stream(const uint8_t *data, size_t size, int expected, const uint8_t pcr11[SHA256_SIZE])
{
        _cleanup_(usi_reader_free_p) struct usi_reader *reader = NULL;
        _cleanup_(usi_free_p) struct usi *u = NULL;
        struct error e = ERROR_INIT;
        uint8_t value[SHA256_SIZE] = {0};
        size_t piece = size > 0 ? data[size - 1] % 251 + 1u : 1;
        int r;

        FUZZ_CHECK(usi_reader_new(LIMIT_IMAGE_SIZE, &reader) == 0);
        for (size_t at = 0; at < size; at += piece) {
                r = usi_reader_push(reader, data + at, size - at < piece ? size - at : piece, &e);
                fuzz_check_error(r, &e);
                if (r < 0) {
                        FUZZ_CHECK(expected < 0);
                        return;
                }
        }
        r = usi_reader_finish(reader, &u, &e);
        fuzz_check_error(r, &e);
        FUZZ_CHECK((r < 0) == (expected < 0));
        if (r == 0 && usi_pcr11(u, "", value, NULL) == 0)
                FUZZ_CHECK(memcmp(value, pcr11, SHA256_SIZE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_close_ int fd = fuzz_file(data, size);
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        _cleanup_(usi_free_p) struct usi *u = NULL;
        uint8_t pcr11[SHA256_SIZE] = {0};
        struct error e = ERROR_INIT;
        uint16_t machine;
        int r = pe_open(fd, &pe, &e);

        fuzz_check_error(r, &e);
        /* What the strict reader takes, the lenient one takes. */
        FUZZ_CHECK(pe_probe_machine(fd, &machine, NULL) == 0 || r < 0);
        if (r < 0 || !is_small(pe))
                return 0;
        r = usi_open(fd, &u, &e);
        fuzz_check_error(r, &e);
        if (r == 0)
                use(u, pe, pcr11);
        stream(data, size, r, pcr11);
        return 0;
}
