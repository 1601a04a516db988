/* SPDX-License-Identifier: Apache-2.0 */
/* Measured boot logs, their replay, and the prediction of PCR 7 from them. */
#include "agent/measured.h"
#include "agent/pcr_choice.h"
#include "partition/eventlog.h"
#include "partition/pcr7.h"
#include "tests/fuzz/fuzz.h"

static void predict(const struct eventlog *log)
{
        static const uint8_t nothing[1];
        struct pcr7_contents contents = {.variable[PCR7_DBX] = {.given = true, .data = nothing}};
        _cleanup_(buf_done) struct buf text = BUF_INIT(65536);
        struct pcr7_prediction p;
        struct error e = ERROR_INIT;
        uint8_t value[SHA256_SIZE];
        int r = pcr7_predict(log, &contents, &p, &e);

        fuzz_check_error(r, &e);
        if (r < 0)
                return;
        FUZZ_CHECK(eventlog_replay(log, 7, value) == 0);
        FUZZ_CHECK(memcmp(value, p.now, SHA256_SIZE) == 0);
        FUZZ_CHECK(pcr7_explains(log, value, NULL) == 0);
        FUZZ_CHECK(!p.certain || p.differs == (memcmp(p.now, p.next, SHA256_SIZE) != 0));
        FUZZ_CHECK(pcr7_describe(&p, &text) == 0);
}

/* What is noted of a boot comes back from its text as it was. */
static void note(const struct eventlog *log)
{
        _cleanup_(measured_done) struct measured m = {.n = 0}, again = {.n = 0};
        _cleanup_(buf_done) struct buf text = BUF_INIT(MEASURED_FILE_MAX);
        struct measured_change change;
        struct error e = ERROR_INIT;
        uint8_t value[SHA256_SIZE], noted[SHA256_SIZE];

        if (measured_take(log, PCR_CHOICE_LITERAL, &m) < 0)
                return;
        FUZZ_CHECK(eventlog_replay(log, 7, value) == 0 && measured_value(&m, 7, noted) == 0);
        FUZZ_CHECK(memcmp(value, noted, SHA256_SIZE) == 0);
        if (measured_format(&m, &text) < 0)
                return;
        FUZZ_CHECK(measured_parse(text.data, text.len, "text", &again, &e) == 0);
        FUZZ_CHECK(measured_same(&m, &again) && measured_compare(&m, &again, 7, &change, 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;
        struct error e = ERROR_INIT;
        uint8_t value[SHA256_SIZE];
        int r = eventlog_parse(data, size, &log, &e);

        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        for (size_t i = 0; i < eventlog_count(log); i++) {
                const struct eventlog_event *ev = eventlog_at(log, i);

                FUZZ_CHECK(ev->digest >= data && ev->digest + SHA256_SIZE <= data + size);
                FUZZ_CHECK(ev->data >= data && ev->data + ev->size <= data + size);
        }
        for (unsigned pcr = 0; pcr < 24; pcr++)
                FUZZ_CHECK(eventlog_replay(log, pcr, value) == 0);
        FUZZ_CHECK(eventlog_replay(log, 24, value) == -EINVAL);
        predict(log);
        note(log);
        return 0;
}
