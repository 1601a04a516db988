/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reset_journal.h"

#include "agent/pcr_choice.h"
#include "tests/unit/esp_world.h"

#define UUID "0123abcd-4567-89ab-cdef-0123456789AB"

static const char good[] =
        "{\"schema\":1,\"id\":\"aa\",\"time\":5,\"overwrite\":false,\"encrypted\":[\"data\"],"
        "\"volumes\":["
        "{\"name\":\"oem\",\"partition\":\"" UUID "\",\"uuid\":\"\",\"label\":\"COS_OEM\","
        "\"file_system\":true,\"allow_discards\":false},"
        "{\"name\":\"data\",\"partition\":\"" UUID "\",\"uuid\":\"" UUID "\",\"label\":\"X\","
        "\"file_system\":false,\"allow_discards\":true}]}";

static void parsed_as_written(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 16);
        struct reset_journal j, again;

        (void)state;
        assert_int_equal(reset_journal_parse(good, strlen(good), &j, &error), 0);
        assert_int_equal(j.n, 2);
        assert_int_equal(j.time, 5);
        assert_int_equal(j.pcrs, PCR_CHOICE_NEEDED); /* of a version that made no choice */
        assert_false(j.pin);
        assert_true(reset_journal_names(&j, "data"));
        assert_false(reset_journal_names(&j, "persistent"));
        j.pcrs = PCR_CHOICE_LITERAL;
        j.pin = true;
        assert_string_equal(j.volume[0].name, "oem");
        assert_string_equal(j.volume[0].uuid, "");
        assert_string_equal(j.volume[1].label, "X");
        assert_false(j.volume[1].file_system);
        assert_true(j.volume[1].allow_discards);
        assert_int_equal(reset_journal_format(&j, &text), 0);
        assert_int_equal(reset_journal_parse(text.data, text.len, &again, &error), 0);
        assert_memory_equal(&j, &again, sizeof(j));
}

/* One piece of the good text replaced. */
static int with(const char *piece, const char *other)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 16);
        const char *at = strstr(good, piece);
        struct reset_journal j;

        assert_non_null(at);
        assert_int_equal(buf_add(&text, good, (size_t)(at - good)), 0);
        assert_int_equal(buf_add_str(&text, other), 0);
        assert_int_equal(buf_add_str(&text, at + strlen(piece)), 0);
        return reset_journal_parse(text.data, text.len, &j, &error);
}

static void anything_else_is_refused(void **state)
{
        static const struct {
                const char *piece, *other;
        } cases[] = {
                {"\"schema\":1", "\"schema\":2"},
                {"\"time\":5", "\"time\":-5"},
                {"\"time\":5", "\"time\":5,\"pcrs\":1"}, /* without 7 */
                {"\"time\":5", "\"time\":5,\"pcrs\":144"},
                {"\"time\":5", "\"time\":5,\"pcrs\":4294967424"},
                {"\"time\":5", "\"time\":5,\"pcrs\":\"7\""},
                {"\"time\":5", "\"time\":5,\"pin\":1"},
                {"\"overwrite\":false", "\"overwrite\":0"},
                {"\"oem\"", "\"efi\""},  /* never a partition that holds no data */
                {"\"oem\"", "\"data\""}, /* twice */
                {"\"name\":\"data\"", "\"name\":\"../data\""},
                {"\"name\":\"data\"", "\"name\":\"tb-reset\\u0000\""},
                {"COS_OEM", "COS_PERSISTENT"},
                {"\"X\"", "\"\""},
                {"\"X\"", "\"with blank\""},
                {"\"X\"", "\"12345678901234567\""},
                {"\"partition\":\"" UUID "\"", "\"partition\":\"\""},
                {"\"partition\":\"" UUID "\"", "\"partition\":\"" UUID "0\""},
                {"\"uuid\":\"\"", "\"uuid\":\"0123abcd04567-89ab-cdef-0123456789ab\""},
                {"\"uuid\":\"\"", "\"uuid\":\"0123abcd-4567-89ab-cdef-0123456789ag\""},
                {"\"file_system\":true", "\"file_system\":false"}, /* oem has one */
                {"\"volumes\":[", "\"volumes\":[1,"},
                {"[\"data\"]", "[\"efi\"]"},
                {"[\"data\"]", "[1]"},
                {"\"id\":\"aa\"", "\"id\":\"0123456789abcdef0123456789abcdef0\""},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                error_clear(&error);
                if (with(cases[i].piece, cases[i].other) != -EBADMSG)
                        fail_msg("%s -> %s is accepted", cases[i].piece, cases[i].other);
        }
        assert_int_equal(reset_journal_parse("", 0, &(struct reset_journal){.n = 0}, &error),
                         -EBADMSG);
        assert_int_equal(reset_journal_parse("[]", 2, &(struct reset_journal){.n = 0}, &error),
                         -EBADMSG);
}

static void kept_on_the_esp(void **state)
{
        uint8_t digest[SHA256_SIZE];
        struct reset_journal j, found;

        (void)state;
        assert_int_equal(reset_journal_load(&esp, NULL, &found, &error), -ENOENT);
        assert_int_equal(reset_journal_remove(&esp, &error), 0);
        assert_int_equal(reset_journal_parse(good, strlen(good), &j, &error), 0);
        assert_int_equal(reset_journal_store(&esp, &j, digest, &error), 0);
        j.overwrite = true; /* another one takes its place */
        assert_int_equal(reset_journal_store(&esp, &j, digest, &error), 0);
        assert_int_equal(reset_journal_load(&esp, NULL, &found, &error), 0);
        assert_memory_equal(&j, &found, sizeof(j));
        assert_int_equal(reset_journal_load(&esp, digest, &found, &error), 0);
        digest[0] ^= 1; /* the TPM knows of another */
        assert_int_equal(reset_journal_load(&esp, digest, &found, &error), -EKEYREJECTED);
        assert_int_equal(reset_journal_remove(&esp, &error), 0);
        assert_int_equal(reset_journal_load(&esp, NULL, &found, &error), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parsed_as_written),
                cmocka_unit_test(anything_else_is_refused),
                cmocka_unit_test_setup_teardown(kept_on_the_esp, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
